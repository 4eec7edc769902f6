"""What both codec classes share: parsed headers, the check of chunk shapes, decoding into numpy."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from s2ice._s2ice import TileCodec
from s2ice.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Buffer, Mapping, Sequence

    from s2ice._selection import Range

CODEC_NAME = "s2ice.jpeg2000"

READ_ONLY = (
    f"the codec {CODEC_NAME} only decodes: its chunks are ranges of the original Sentinel-2 files, which s2ice never "
    "rewrites. To change values, load them and write a new array with another codec"
)


@lru_cache(maxsize=512)
def tile_codec(main_header: str, reduce: int) -> TileCodec:
    """Return the parsed header of a configuration; arrays and pickled copies share it."""
    return TileCodec(main_header, reduce)


def parse_configuration(configuration: object, extra: Mapping[str, object]) -> dict[str, Any]:
    """Check the keys and types of a codec configuration.

    Parameters
    ----------
    configuration
        As it stands in the array metadata.
    extra
        Further keys that are allowed, with their defaults; all are integers.
    """
    if not isinstance(configuration, dict):
        raise CodecError(f"{CODEC_NAME}: the configuration must be an object with main_header, not {configuration!r}")
    known = {"reduce": 0, **extra}
    unknown = sorted(set(configuration) - {"main_header", *known})
    if unknown:
        raise CodecError(
            f"{CODEC_NAME}: unknown configuration {', '.join(unknown)}; it may come from a newer s2ice than this one"
        )
    header = configuration.get("main_header")
    if not isinstance(header, str):
        raise CodecError(f"{CODEC_NAME}: main_header must be the base64 text of a JPEG 2000 main header")
    parsed: dict[str, Any] = {"main_header": header}
    for key, default in known.items():
        value = configuration.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise CodecError(f"{CODEC_NAME}: {key} must be an integer, not {value!r}")
        parsed[key] = value
    if not 0 <= parsed["reduce"] <= 32:
        raise CodecError(f"{CODEC_NAME}: reduce must be 0 to 32, not {parsed['reduce']}")
    return parsed


def check_array(codec: TileCodec, chunk_shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Check that an array fits its codec's header.

    Raises
    ------
    CodecError
        Names what the array has and what the header asks for.
    """
    height, width = codec.chunk_shape
    tile = (codec.components, height, width)
    padded = (1, *chunk_shape) if codec.components == 1 else tuple(chunk_shape)
    if padded[-3:] != tile or any(n != 1 for n in padded[:-3]):
        wanted = f"(1, {height}, {width})" if codec.components == 1 else f"(1, {', '.join(map(str, tile))})"
        raise CodecError(
            f"{CODEC_NAME}: the array's chunks are {tuple(chunk_shape)}, but its main header describes tiles of "
            f"{codec.components} x {height} x {width} (components, rows, columns), so they must be {wanted}"
        )
    if dtype.newbyteorder("=") != np.dtype(codec.dtype):
        raise CodecError(
            f"{CODEC_NAME}: the array's data type is {dtype}, but its main header describes {codec.dtype} samples"
        )


def decode(
    codec: TileCodec,
    chunk: Buffer | list[tuple[int, Buffer]],
    shape: Sequence[int],
    fill: int,
    window: tuple[Range, Range] | None = None,
) -> np.ndarray[Any, Any]:
    """Decode a chunk, or a window of its rows and columns.

    Parameters
    ----------
    chunk
        The bytes of the chunk, or the parts of it that the window needs, each with its offset.
    shape
        Shape of the whole chunk, which has been checked against the header.
    fill
        Value beyond the edge of the image.
    window
        Half-open ranges of rows and columns; neither may be empty.

    Returns
    -------
    numpy.ndarray
        With as many axes as `shape`; the last two have the size of the window.
    """
    rows, columns = window or ((0, shape[-2]), (0, shape[-1]))
    out = np.empty((*shape[:-2], rows[1] - rows[0], columns[1] - columns[0]), dtype=codec.dtype)
    whole = window is None or (rows == (0, shape[-2]) and columns == (0, shape[-1]))
    cut = None if whole else (*rows, *columns)
    if isinstance(chunk, list):
        codec.decode_parts(chunk, out.view(np.uint8), fill, cut)
    else:
        codec.decode(chunk, out.view(np.uint8), fill, cut)
    return out
