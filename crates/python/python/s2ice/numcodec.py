"""The codecs of s2ice for numcodecs: Zarr format 2 and kerchunk reference files.

``s2ice.jpeg2000`` stands as the compressor of an array of format 2::

    "compressor": {"id": "s2ice.jpeg2000", "main_header": "<base64>", "reduce": 0, "fill_value": 0}

A codec of format 2 is told nothing about its array, so the value beyond the edge of the image stands in the codec's
own configuration; it should equal the array's ``fill_value``. Whole tiles are decoded, also where few pixels are asked
for: format 2 has no partial decoding. Where there is a choice, open the Icechunk store instead.

``s2ice.horizontal_differencing`` stands among the filters of tiles of GeoTIFFs::

    "filters": [{"id": "s2ice.horizontal_differencing", "dtype": "<u2", "columns": 1024, "components": 1}]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray_like, ndarray_copy

from s2ice._tile import CODEC_NAME, READ_ONLY, decode, parse_configuration, tile_codec
from s2ice.differencing import FILTER_NAME
from s2ice.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HorizontalDifferencing", "Jpeg2000"]


class Jpeg2000(Codec):  # type: ignore[misc]
    """Decoder of single JPEG 2000 tiles; it does not encode.

    Parameters
    ----------
    main_header
        SOC and the SIZ, COD, COC, QCD, QCC, RGN, POC marker segments of the source file, byte for byte, in base64.
    reduce
        Number of resolutions that the chunks leave out.
    fill_value
        Value of the samples beyond the edge of the image.
    """

    codec_id = CODEC_NAME

    def __init__(self, main_header: str, reduce: int = 0, fill_value: int = 0) -> None:
        self.main_header = main_header
        self.reduce = reduce
        self.fill_value = fill_value

    def encode(self, buf: object) -> NoReturn:
        """Refuse to encode."""
        raise CodecError(READ_ONLY)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk.

        Parameters
        ----------
        buf
            The bytes of the chunk.
        out
            Array or buffer of exactly the decoded size, to be filled.

        Returns
        -------
        numpy.ndarray
            (rows, columns), or (components, rows, columns) where there are several; little-endian samples. `out` where
            it was given.
        """
        codec = tile_codec(self.main_header, self.reduce)
        shape = codec.chunk_shape if codec.components == 1 else (codec.components, *codec.chunk_shape)
        pixels = decode(codec, ensure_contiguous_ndarray_like(buf).view(np.uint8), shape, self.fill_value)
        pixels = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
        return pixels if out is None else ndarray_copy(pixels, out)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration for the array metadata."""
        return {
            "id": self.codec_id,
            "main_header": self.main_header,
            "reduce": self.reduce,
            "fill_value": self.fill_value,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the codec from its configuration in the array metadata."""
        return cls(**parse_configuration({k: v for k, v in config.items() if k != "id"}, {"fill_value": 0}))

    def __repr__(self) -> str:
        header = self.main_header if len(self.main_header) <= 16 else f"{self.main_header[:12]}..."
        return f"Jpeg2000(main_header={header!r}, reduce={self.reduce}, fill_value={self.fill_value})"


class HorizontalDifferencing(Codec):  # type: ignore[misc]
    """TIFF predictor 2, undone row by row; it does not encode.

    Parameters
    ----------
    dtype
        Data type of the samples, unsigned integers, as NumPy writes it.
    columns
        Pixels of a row.
    components
        Samples of a pixel, which stand side by side.
    """

    codec_id = FILTER_NAME

    def __init__(self, dtype: str, columns: int, components: int = 1) -> None:
        self.dtype = dtype
        self.columns = columns
        self.components = components
        if np.dtype(dtype).kind != "u" or columns < 1 or components < 1:
            raise CodecError(f"{FILTER_NAME}: {self.get_config()} are no rows of unsigned integers")

    def encode(self, buf: object) -> NoReturn:
        """Refuse to encode."""
        raise CodecError(f"{FILTER_NAME} only decodes in Zarr format 2")

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk.

        Parameters
        ----------
        buf
            The differences of whole rows.
        out
            Array or buffer of exactly the decoded size, to be filled.

        Returns
        -------
        numpy.ndarray
            (rows, columns, components) in the data type and byte order of the configuration. `out` where it was given.
        """
        dtype = np.dtype(self.dtype)
        differences = ensure_contiguous_ndarray_like(buf).view(dtype).reshape(-1, self.columns, self.components)
        # In the type of the array, so that sums wrap around as differences did.
        samples = np.cumsum(differences, axis=1, dtype=dtype.newbyteorder("=")).astype(dtype, copy=False)
        return samples if out is None else ndarray_copy(samples, out)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration for the array metadata."""
        return {"id": self.codec_id, "dtype": self.dtype, "columns": self.columns, "components": self.components}
