"""What a chunk that failed is: array, product, time and file. Asked for when it has failed, and never else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr.api.asynchronous as zarr_async

from s2ice import _eras
from s2ice._failure import plain
from s2ice._missing import MissingChunk

if TYPE_CHECKING:
    from zarr.abc.store import Store

SECONDS = 10.0
"""Longest time for each of the questions; what has no answer by then is left out."""


def split(key: str) -> tuple[str, tuple[int, ...]] | None:
    """Take the key of a chunk apart, or tell that it is none."""
    array, found, place = key.rpartition("/c/")
    if not found:
        return None
    try:
        return array, tuple(map(int, place.split("/")))
    except ValueError:
        return None


class Places:
    """Finds the places of a store's chunks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: tuple[str, np.ndarray[Any, Any], list[str]] | None = None

    async def find(self, key: str, reason: str) -> MissingChunk:
        """Describe a chunk by what the store itself says, as far as that can be read."""
        array, chunk = split(key) or (key, ())
        time = product = url = None
        with suppress(Exception):
            async with asyncio.timeout(SECONDS):
                time, product = await self._step(array, chunk)
        with suppress(Exception):
            async with asyncio.timeout(SECONDS):
                url = await self._url(array, chunk)
        return MissingChunk(array, chunk, time, product, url, reason)

    async def attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes of an array."""
        array = await zarr_async.open_array(store=self._store, path=path, mode="r")
        return dict(array.attrs)

    async def _step(self, path: str, chunk: tuple[int, ...]) -> tuple[str, str | None]:
        array: Any = await zarr_async.open_array(store=self._store, path=path, mode="r")
        if array.metadata.dimension_names[0] != _eras.TIME or array.chunks[0] != 1:
            raise LookupError(path)
        group = path.rpartition("/")[0]
        times: Any = await zarr_async.open_array(store=self._store, path=f"{group}/{_eras.TIME}", mode="r")
        stored = xr.Variable((), np.asarray(await times.getitem(chunk[0])), dict(times.attrs))
        time = xr.decode_cf(xr.Dataset({_eras.TIME: stored}))[_eras.TIME].dt.strftime("%Y-%m-%dT%H:%M:%S").item()
        product = None
        with suppress(Exception):
            parts = path.split("/")
            base = "/".join(parts[:2]) if parts[0] == _eras.ERAS else ""
            table = _eras.within(base, f"{_eras.PRODUCTS}/{_eras.PRODUCT}")
            names: Any = await zarr_async.open_array(store=self._store, path=table, mode="r")
            product = str(np.asarray(await names.getitem(chunk[0])).item())
        return str(time), product

    async def _url(self, array: str, chunk: tuple[int, ...]) -> str | None:
        if self._last is None or self._last[0] != array:
            coordinates, urls = [], []
            store: Any = self._store
            async for places, _, addresses, *_ in store.array_chunk_iterator(f"/{array}"):
                coordinates.append(places)
                urls += addresses
            # One array at a time: failures come in flocks.
            self._last = array, np.concatenate(coordinates), urls
        _, known, urls = self._last
        found = np.flatnonzero((known == chunk).all(axis=1))
        return plain(urls[found[0]]) if len(found) else None
