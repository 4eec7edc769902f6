"""From a Zarr selection inside a chunk to the smallest rectangle that has to be decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

type Range = tuple[int, int]


def bounds(selection: Any, shape: Sequence[int]) -> tuple[tuple[Range, ...], tuple[Any, ...]]:
    """Bounding box of a selection, and the selection seen from the corner of that box.

    ``array[selection]`` equals ``array[box][shifted]`` for every selection that Zarr's indexers make for a chunk:
    slices with any step, integers, integer arrays of any shape (points or ``numpy.ix_``), one-dimensional masks.

    Parameters
    ----------
    selection
        One entry per axis, or fewer; what is missing at the end is taken whole.
    shape
        Shape of the chunk.

    Returns
    -------
    (box, shifted)
        ``box`` holds a half-open (first, end) per axis. It is empty on an axis where nothing is selected.
    """
    items = list(selection) if isinstance(selection, tuple) else [selection]
    if len(items) > len(shape) or any(not _is_per_axis(item) for item in items):
        # Newaxis, Ellipsis, masks over several axes: no indexer of Zarr hands these to a codec.
        return tuple((0, n) for n in shape), tuple(items)
    items += [slice(None)] * (len(shape) - len(items))
    pairs = [_axis(item, n) for item, n in zip(items, shape, strict=True)]
    return tuple(box for box, _ in pairs), tuple(shifted for _, shifted in pairs)


def _is_per_axis(item: Any) -> bool:
    if isinstance(item, slice):
        return True
    if item is None or item is Ellipsis or isinstance(item, bool):
        return False
    array = np.asarray(item)
    return array.dtype.kind in "iu" or (array.dtype.kind == "b" and array.ndim == 1)


def _axis(item: Any, n: int) -> tuple[Range, Any]:
    if isinstance(item, slice):
        chosen = range(*item.indices(n))
        if len(chosen) == 0:
            return (0, 0), slice(0, 0)
        low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
        if chosen.step > 0:
            return (low, high + 1), slice(0, high + 1 - low, chosen.step)
        return (low, high + 1), slice(None, None, chosen.step)
    array = np.asarray(item)
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise IndexError(f"a mask of {array.shape[0]} does not fit an axis of {n}")
        (chosen_at,) = np.nonzero(array)
        if chosen_at.size == 0:
            return (0, 0), array[:0]
        low, high = int(chosen_at[0]), int(chosen_at[-1])
        return (low, high + 1), array[low : high + 1]
    if array.size == 0:
        return (0, 0), array
    if (array < -n).any() or (array >= n).any():
        raise IndexError(f"index out of range for an axis of {n}")
    array = np.where(array < 0, array.astype(np.int64) + n, array)
    low, high = int(array.min()), int(array.max())
    shifted = array - low
    return (low, high + 1), int(shifted) if array.ndim == 0 else shifted
