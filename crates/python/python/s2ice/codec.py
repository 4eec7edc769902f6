"""The codec ``s2ice.jpeg2000`` for zarr-python 3.

A chunk is a byte range of a Sentinel-2 file: the whole tile-parts of one JPEG 2000 tile, or a prefix of them. The array
metadata carries what decoding needs beside those bytes, the main header of the file::

    {"name": "s2ice.jpeg2000", "configuration": {"main_header": "<base64>", "reduce": 0}}

Of a selection smaller than a tile only the packets that it needs are read, where that is cheaper; see `_precincts`.

zarr-python finds the codec by its name through the entry point, so no import of `s2ice` is needed to read a store. It
must be the only codec of its array: any other in the chain would make Zarr decode whole tiles for single pixels.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import RangeByteRequest

from s2ice._pace import locate, locate_async
from s2ice._precincts import read_window, tally_of
from s2ice._progress import count
from s2ice._selection import bounds
from s2ice._tile import CODEC_NAME, READ_ONLY, check_array, decode, parse_configuration, tile_codec
from s2ice.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Generator

    from zarr.abc.store import ByteGetter, SyncByteGetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON
    from zarr.core.indexing import SelectorTuple

    from s2ice._pace import Chunk
    from s2ice._precincts import Span, Step

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
        codec = tile_codec(self.main_header, self.reduce)
        check_array(codec, chunk_spec.shape, chunk_spec.dtype.to_native_dtype())
        return _buffer(decode(codec, chunk_data.as_numpy_array(), chunk_spec.shape, _fill(chunk_spec)), chunk_spec)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: SelectorTuple, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        place = await locate_async(byte_getter)

        async def get(span: Span) -> Any:
            begin = perf_counter()
            chunk = await byte_getter.get(chunk_spec.prototype, _request(span))
            return _taken(chunk, place, begin)

        steps = self._steps(place, selection, chunk_spec)
        try:
            step = next(steps)
            while True:
                answer: Any
                try:
                    if isinstance(step, list):
                        answer = await asyncio.gather(*map(get, step))
                    else:
                        answer = await asyncio.to_thread(step)
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def _decode_partial_sync(
        self, byte_getter: SyncByteGetter, selection: SelectorTuple, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        place = locate(byte_getter)

        def get(span: Span) -> Any:
            begin = perf_counter()
            chunk = byte_getter.get_sync(prototype=chunk_spec.prototype, byte_range=_request(span))
            return _taken(chunk, place, begin)

        steps = self._steps(place, selection, chunk_spec)
        try:
            step = next(steps)
            while True:
                try:
                    answer: Any = list(map(get, step)) if isinstance(step, list) else step()
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def _steps(self, place: Chunk, selection: SelectorTuple, spec: ArraySpec) -> Generator[Step, Any, NDBuffer | None]:
        """Read and decode a selection of a chunk; None stands for a chunk that is not in the store."""
        box, shifted = bounds(selection, spec.shape)
        codec = tile_codec(self.main_header, self.reduce)
        check_array(codec, spec.shape, spec.dtype.to_native_dtype())
        if any(low >= high for low, high in box):
            return _buffer(np.empty([high - low for low, high in box], dtype=codec.dtype)[shifted], spec)

        def decoded(data: Any) -> NDBuffer:
            count()
            pixels = decode(codec, data, spec.shape, _fill(spec), (box[-2], box[-1]))
            # Rows and columns were cut by the decoder; what is left are components and axes of length 1.
            return _buffer(pixels[tuple(slice(*ends) for ends in box[:-2])][shifted], spec)

        tally = tally_of(self.main_header, self.reduce)
        found: NDBuffer | None = yield from read_window(tally, place, (box[-2], box[-1]), decoded)
        return found

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NoReturn:
        raise CodecError(READ_ONLY)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NoReturn:
        raise CodecError(READ_ONLY)


def _fill(spec: ArraySpec) -> int:
    return 0 if spec.fill_value is None else int(spec.fill_value)


def _buffer(pixels: np.ndarray[Any, Any], spec: ArraySpec) -> NDBuffer:
    dtype = spec.dtype.to_native_dtype()
    return spec.prototype.nd_buffer.from_numpy_array(np.asarray(pixels).astype(dtype, copy=False))


def _request(span: Span) -> RangeByteRequest | None:
    return None if span is None else RangeByteRequest(*span)


def _taken(chunk: Buffer | None, place: Chunk, begin: float) -> Any:
    if chunk is None:
        return None
    if not place.measured:
        place.pace.learn(len(chunk), perf_counter() - begin)
    return chunk.as_numpy_array()
