"""The codec ``s2ice.jpeg2000`` for zarr-python 3.

A chunk is a byte range of a Sentinel-2 file: the whole tile-parts of one JPEG 2000 tile, or a prefix of them. The array
metadata carries what decoding needs beside those bytes, the main header of the file::

    {"name": "s2ice.jpeg2000", "configuration": {"main_header": "<base64>", "reduce": 0}}

zarr-python finds the codec by its name through the entry point, so no import of `s2ice` is needed to read a store. It
must be the only codec of its array: any other in the chain would make Zarr decode whole tiles for single pixels.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin

from s2ice._progress import count
from s2ice._selection import bounds
from s2ice._tile import CODEC_NAME, READ_ONLY, check_array, decode, parse_configuration, tile_codec
from s2ice.errors import CodecError

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter, SyncByteGetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON
    from zarr.core.indexing import SelectorTuple

__all__ = ["CodecError", "Jpeg2000Codec"]


@dataclass(frozen=True)
class Jpeg2000Codec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Decoder of single JPEG 2000 tiles; it does not encode.

    Parameters
    ----------
    main_header
        SOC and the SIZ, COD, COC, QCD, QCC, RGN, POC marker segments of the source file, byte for byte, in base64.
    reduce
        Number of resolutions that the chunks leave out: 0 for the image itself, 1 for the overview of half its size.
    """

    main_header: str
    reduce: int = 0

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Read the codec's entry in the array metadata."""
        if data.get("name") != CODEC_NAME:
            raise CodecError(f"expected the codec {CODEC_NAME}, not {data.get('name')!r}")
        return cls(**parse_configuration(data.get("configuration"), {}))

    def to_dict(self) -> dict[str, JSON]:
        """Return the entry for the array metadata, with the header's text as it came."""
        return {"name": CODEC_NAME, "configuration": {"main_header": self.main_header, "reduce": self.reduce}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Check, when an array is opened, that its chunks and data type are those of the header.

        Raises
        ------
        CodecError
            The header is malformed, or the array does not fit it.
        """
        chunk_shape = getattr(chunk_grid, "chunk_shape", None)
        if chunk_shape is None:
            raise CodecError(f"{CODEC_NAME}: needs a regular chunk grid, not {chunk_grid!r}")
        check_array(tile_codec(self.main_header, self.reduce), chunk_shape, dtype.to_native_dtype())

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Refuse: the size of a compressed tile is known only from its index."""
        raise NotImplementedError("compressed tiles have no fixed size")

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._decode_window(chunk_data, (), chunk_spec)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: SelectorTuple, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        # None stands for a chunk that is not in the store; the pipeline writes the fill value for it.
        chunk = await byte_getter.get(prototype=chunk_spec.prototype)
        if chunk is None:
            return None
        return await asyncio.to_thread(self._decode_window, chunk, selection, chunk_spec)

    def _decode_partial_sync(
        self, byte_getter: SyncByteGetter, selection: SelectorTuple, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        chunk = byte_getter.get_sync(prototype=chunk_spec.prototype)
        return None if chunk is None else self._decode_window(chunk, selection, chunk_spec)

    def _decode_window(self, chunk: Buffer, selection: SelectorTuple, spec: ArraySpec) -> NDBuffer:
        count()
        codec = tile_codec(self.main_header, self.reduce)
        dtype = spec.dtype.to_native_dtype()
        check_array(codec, spec.shape, dtype)
        box, shifted = bounds(selection, spec.shape)
        if all(low < high for low, high in box):
            pixels = decode(codec, chunk.as_numpy_array(), spec.shape, _fill(spec), (box[-2], box[-1]))
            # Rows and columns were cut by the decoder; what is left are components and axes of length 1.
            pixels = pixels[tuple(slice(*ends) for ends in box[:-2])][shifted]
        else:
            pixels = np.empty([high - low for low, high in box], dtype=codec.dtype)[shifted]
        return spec.prototype.nd_buffer.from_numpy_array(np.asarray(pixels).astype(dtype, copy=False))

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NoReturn:
        raise CodecError(READ_ONLY)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NoReturn:
        raise CodecError(READ_ONLY)


def _fill(spec: ArraySpec) -> int:
    return 0 if spec.fill_value is None else int(spec.fill_value)
