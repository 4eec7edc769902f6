"""`s2ice.estimate`: what a selection will cost, before anything of it is read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr
from xarray.core import indexing
from zarr.core.sync import sync

from s2ice._band import Band
from s2ice._eras import Joined
from s2ice._precincts import SHARES
from s2ice._scaled import Scaled
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

type Part = tuple[zarr.Array[Any], tuple[Any, ...]]
"""An array of the store, and what is selected of it."""

SAMPLE = 200
"""So many chunks are looked up in the manifests; the others are taken to be like these."""

# Bytes per pixel of compressed tiles, as seen in products of all seasons.
_TYPICAL = {1: 0.12, 2: 1.3}


@dataclass(frozen=True)
class Estimate:
    """What it takes to load a selection.

    Attributes
    ----------
    chunks
        Tiles of files that are touched; those that hold no data cost nothing, and are counted.
    requests
        Requests to the source: one for each chunk that is there.
    bytes
        Bytes of these requests.
    memory
        Bytes of the loaded selection; while it is loaded, up to 200 MB more.
    known
        Share of the chunks whose size the manifests told. The others are taken to be like them, or typical where it is
        0.
    """

    chunks: int
    requests: int
    bytes: int
    memory: int
    known: float

    def __str__(self) -> str:
        how = {0.0: "typical sizes", 1.0: "sizes of all"}.get(self.known, f"sizes of {self.known:.0%} of them")
        return (
            f"{self.requests:,} requests for {_size(self.bytes)} (of {self.chunks:,} chunks, {how}); "
            f"{_size(self.memory)} of memory"
        )

    def __repr__(self) -> str:
        return f"<Estimate: {self}>"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def estimate(selection: xr.Dataset | xr.DataArray) -> Estimate:
    """Tell what it will cost to load a selection; nothing but manifests is read.

    Parameters
    ----------
    selection
        What `open` or `cube` returned, with anything selected of it. Of arithmetic on dask arrays, what all of it
        reads.

    Returns
    -------
    Estimate

    Raises
    ------
    RequestError
        Nothing in it is read from a store: it was loaded, or is no selection.
    """
    if not isinstance(selection, xr.Dataset | xr.DataArray):
        raise RequestError(f"estimate takes a Dataset or DataArray, not {type(selection).__name__}")
    arrays = selection.data_vars.values() if isinstance(selection, xr.Dataset) else [selection]
    chunks: dict[tuple[int, str], tuple[zarr.Array[Any], set[tuple[int, ...]]]] = {}
    for array, key in (part for one in arrays for part in _parts_of(one.variable)):
        _, places = chunks.setdefault((id(array.store), array.path), (array, set()))
        places.update(_places(array, key))
    if not chunks:
        raise RequestError(
            "nothing of this is to be read from a store: it is loaded already, or was not opened by s2ice"
        )
    every = [(array, place) for array, places in chunks.values() for place in sorted(places)]
    return _measured(every, sum(one.nbytes for one in arrays))


def _parts_of(variable: xr.Variable) -> Iterator[Part]:
    """Say what arrays of the store are read, and where."""
    if hasattr(variable._data, "__dask_graph__"):
        from dask.base import optimize

        (array,) = optimize(variable._data)
        for task in dict(array.__dask_graph__()).values():
            yield from _tasks(task)
    else:
        yield from _parts(variable._data)


def _tasks(task: Any, bound: dict[Any, Any] | None = None) -> Iterator[Part]:
    """Look for what s2ice is asked by a task of dask and those fused with it; `bound` are their arguments."""
    bound = bound or {}
    arguments = [bound.get(getattr(argument, "key", None), argument) for argument in getattr(task, "args", ())]
    if _name(task).startswith("getter"):
        lazy, key = (getattr(argument, "value", argument) for argument in arguments[:2])
        yield from _parts(lazy, key if isinstance(key, tuple) else (key,))
    if _name(task) == "_execute_subgraph":
        inner, _, keys, *given = arguments
        inside = inner | dict(zip(keys, given, strict=True))
        for one in inner.values():
            yield from _tasks(one, inside)
        return
    for argument in arguments:
        # Others of the same subgraph are looked at by themselves.
        if hasattr(argument, "args") and not any(argument is other for other in bound.values()):
            yield from _tasks(argument, bound)


def _name(task: Any) -> str:
    return str(getattr(getattr(task, "func", None), "__name__", ""))


def _parts(data: Any, key: tuple[Any, ...] | None = None) -> Iterator[Part]:
    while not isinstance(data, indexing.LazilyIndexedArray):
        if not hasattr(data, "array"):
            return
        data = data.array
    if key is not None:
        data = data.oindex[indexing.OuterIndexer(tuple(map(_explicit, key)))]
    array, own = data.array, data.key.tuple
    if isinstance(array, Scaled):
        yield from _parts(array.inner(own)._data)
    elif isinstance(array, (Joined, Band)):
        for part in array.read_of(own):
            yield from _parts(part._data)
    elif isinstance(inner := getattr(array, "_array", None), zarr.Array):
        yield inner, own


def _explicit(key: Any) -> Any:
    return key if isinstance(key, slice) else np.asarray(key) if np.ndim(key) else int(key)


def _places(array: zarr.Array[Any], key: tuple[Any, ...]) -> Iterator[tuple[int, ...]]:
    """Return the places of the chunks that a selection touches."""
    axes = [
        np.unique(np.arange(size)[one] // chunk).tolist()
        for one, size, chunk in zip(key, array.shape, array.chunks, strict=True)
    ]
    return product(*axes)


def _measured(chunks: list[tuple[zarr.Array[Any], tuple[int, ...]]], memory: int) -> Estimate:
    chosen = chunks
    if len(chunks) > SAMPLE:
        # Evenly, from all arrays and dates.
        chosen = [chunks[at] for at in np.linspace(0, len(chunks) - 1, SAMPLE).astype(int)]
    sizes = sync(_sizes(chosen))
    known = [size for size in sizes if size is not None]
    there = sum(size != 0 for size in sizes) / len(sizes)
    typical = sum(prod(array.chunks) * _TYPICAL.get(array.dtype.itemsize, 1.0) for array, _ in chosen) / len(chosen)
    total = sum(known) / len(known) * len(chunks) if known else typical * len(chunks)
    share = len(known) / len(chunks)
    return Estimate(len(chunks), round(there * len(chunks)), round(total), memory, share)


def _share(array: zarr.Array[Any]) -> float:
    """Return the share of a tile that is read: of an overview, its lowest resolutions."""
    reduce = max((getattr(codec, "reduce", 0) for codec in getattr(array.metadata, "codecs", ())), default=0)
    return SHARES[min(reduce, len(SHARES) - 1)] if reduce else 1.0


async def _sizes(chunks: list[tuple[zarr.Array[Any], tuple[int, ...]]]) -> list[int | None]:
    """Return the sizes that the manifests tell: 0 for what is not there, ``None`` where it is not told."""

    async def size(array: zarr.Array[Any], place: tuple[int, ...]) -> int | None:
        try:
            whole = int(await array.store.getsize(f"{array.path}/{array.metadata.encode_chunk_key(place)}"))
        except FileNotFoundError:
            return 0
        except NotImplementedError:
            return None
        return round(whole * _share(array))

    return list(await asyncio.gather(*(size(array, place) for array, place in chunks)))
