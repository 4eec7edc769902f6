"""The filter ``s2ice.horizontal_differencing`` for zarr-python 3: TIFF predictor 2, undone row by row.

In such a tile every sample is the difference to the sample on its left, modulo the range of its type, and every row
begins anew (TIFF 6.0, section 14). One running sum over the whole chunk, as ``numcodecs.delta`` takes it, is right in
the first row only. The array metadata has no configuration of it::

    {"name": "s2ice.horizontal_differencing"}
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from zarr.abc.codec import ArrayArrayCodec

from s2ice._progress import count
from s2ice.errors import CodecError

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import NDBuffer
    from zarr.core.common import JSON

__all__ = ["FILTER_NAME", "HorizontalDifferencing"]

FILTER_NAME = "s2ice.horizontal_differencing"


@dataclass(frozen=True)
class HorizontalDifferencing(ArrayArrayCodec):
    """Differences along the last axis of a chunk, modulo the range of the unsigned data type."""

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Read the filter's entry in the array metadata."""
        if data.get("name") != FILTER_NAME:
            raise CodecError(f"expected the codec {FILTER_NAME}, not {data.get('name')!r}")
        if configuration := data.get("configuration"):
            raise CodecError(
                f"{FILTER_NAME}: it has no configuration, found {configuration!r}; it may come from a newer s2ice than "
                "this one"
            )
        return cls()

    def to_dict(self) -> dict[str, JSON]:
        """Return the entry for the array metadata."""
        return {"name": FILTER_NAME}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Check, when an array is opened, that its samples are unsigned integers and its chunks have rows.

        Raises
        ------
        CodecError
            They are not, or have not.
        """
        native = dtype.to_native_dtype()
        if native.kind != "u":
            raise CodecError(f"{FILTER_NAME}: the array's data type is {native}, not an unsigned integer")
        if not shape:
            raise CodecError(f"{FILTER_NAME}: the array has no axis along which it could differ")

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Return the number of bytes, which stays the same."""
        return input_byte_length

    def _decode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        count()
        differences = chunk_data.as_numpy_array()
        # In the type of the array, so that sums wrap around as differences did.
        dtype = differences.dtype.newbyteorder("=")
        samples = np.cumsum(differences, axis=-1, dtype=dtype)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(samples)

    async def _decode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        samples = chunk_data.as_numpy_array()
        differences = samples.copy()
        differences[..., 1:] -= samples[..., :-1]
        return chunk_spec.prototype.nd_buffer.from_numpy_array(differences)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._encode_sync(chunk_data, chunk_spec)
