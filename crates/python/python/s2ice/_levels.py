"""A store seen at a coarser resolution: the same references, of which only the lowest packets are read and decoded.

Sample k of a raster that leaves out r resolutions is centred on pixel k * 2^r, so its coordinates are every 2^r-th of
the raster's own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from zarr import AsyncArray
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import StorePath, WrapperStore

from s2ice._tile import CODEC_NAME, tile_codec
from s2ice.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

METADATA = "zarr.json"
RASTERS = re.compile(r"(.*/)?r\d+m")
"""Path of a group of rasters; its pixel size stands in its attributes."""
OVERVIEWS = re.compile(r"(.*/)?r\d+m_x\d+")
"""Path of a group of their overviews that are stored: a view is made of the rasters themselves."""
CHUNK = re.compile(r"(?P<path>.*)/c(?P<at>(/\d+)+)")
PLANE = ["y", "x"]


@dataclass(frozen=True)
class View:
    """A node as it is seen: its metadata, ``None`` for one that is left out."""

    metadata: dict[str, Any] | None
    every: int = 1
    """How far apart the samples are that stand in the chunks, where these are not the tiles themselves."""


class LevelStore(WrapperStore[Store]):
    """A store whose rasters have pixels of `resolution` metres.

    Rasters that cannot have them are left out, and so are class rasters, whose codes no filter may blend, and what is
    no JPEG 2000; with `nearest` these are every 2^r-th pixel of the raster.
    """

    # Zarr would otherwise be free to read through the wrapped store's synchronous methods.
    _supports_sync_io = False

    def __init__(self, store: Store, resolution: float, *, nearest: bool = False) -> None:
        super().__init__(store)
        self.resolution, self.nearest = resolution, nearest
        self._views: dict[str, View] = {}
        self.sizes: dict[str, float] = {}
        """Pixel sizes of the rasters that were met, in metres, by the groups they are in."""
        self.shown: set[str] = set()
        """Of these groups, those that have the resolution."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Fetch a value as it is seen."""
        path, _, name = key.rpartition("/")
        if name == METADATA:
            metadata = (await self._view(path)).metadata
            return None if metadata is None else prototype.buffer.from_bytes(json.dumps(metadata).encode())
        chunk = CHUNK.fullmatch(key)
        if chunk is not None:
            view = await self._view(chunk["path"])
            if view.metadata is not None and view.every > 1:
                at = [int(n) for n in chunk["at"].split("/")[1:]]
                return prototype.buffer.from_bytes(await self._sampled(chunk["path"], view, at))
        return await super().get(key, prototype, byte_range)

    async def getsize(self, key: str) -> int:
        """Return the bytes of a value; Zarr's own wrapper would read it."""
        return await self._store.getsize(key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List what is below a prefix and is not left out."""
        async for name in super().list_dir(prefix):
            path = f"{prefix.rstrip('/')}/{name}".lstrip("/")
            seen = name in (METADATA, "c") or await self._inner(path) is None
            if seen or (await self._view(path)).metadata is not None:
                yield name

    async def _inner(self, path: str) -> dict[str, Any] | None:
        key = f"{path}/{METADATA}".lstrip("/")
        found = await super().get(key, default_buffer_prototype())
        return None if found is None else json.loads(found.to_bytes())

    async def _view(self, path: str) -> View:
        if path not in self._views:
            self._views[path] = await self._made(path)
        return self._views[path]

    async def _made(self, path: str) -> View:
        metadata = await self._inner(path)
        group = path if metadata is not None and metadata["node_type"] == "group" else path.rpartition("/")[0]
        if OVERVIEWS.fullmatch(group):
            return View(None)
        if metadata is None or RASTERS.fullmatch(group) is None:
            return View(metadata)
        around = metadata if group == path else await self._inner(group)
        size = ((around or {}).get("attributes", {}).get("spatial:transform") or [None])[0]
        if size is None:
            return View(metadata)
        self.sizes[group] = size
        factor = self.resolution / size
        reduce = int(factor).bit_length() - 1
        if factor < 1 or factor != 1 << reduce:
            return View(None)
        if reduce == 0:
            self.shown.add(group)
            return View(metadata)
        if group == path:
            return View(_placed(metadata, reduce) if await self._any_raster(path) else None)
        return self._array(path, metadata, reduce)

    async def _any_raster(self, group: str) -> bool:
        """Tell whether a group has a raster at the resolution."""
        names = [name async for name in super().list_dir(group) if name != METADATA]
        for name in names:
            view = await self._view(f"{group}/{name}")
            if view.metadata is not None and (view.metadata.get("dimension_names") or [])[-2:] == PLANE:
                self.shown.add(group)
                return True
        return False

    def _array(self, path: str, metadata: dict[str, Any], reduce: int) -> View:
        dimensions = metadata.get("dimension_names") or []
        if dimensions in (["y"], ["x"]):
            return View(_every(metadata, reduce, 1), 1 << reduce)
        if dimensions[-2:] != PLANE:
            return View(_placed(metadata, reduce))
        reduced = None if "flag_values" in metadata["attributes"] else _reduced(metadata, reduce)
        if reduced is not None:
            return View(reduced)
        if not self.nearest:
            return View(None)
        sampled = _every(_placed(metadata, reduce), reduce, 2)
        every = 1 << reduce
        sampled["attributes"]["comment"] = f"the first pixel of every {every} x {every}, not averaged"
        return View(sampled, every)

    async def _sampled(self, path: str, view: View, at: list[int]) -> bytes:
        assert view.metadata is not None
        array = await AsyncArray.open(StorePath(self._store, path))
        chunks = view.metadata["chunk_grid"]["configuration"]["chunk_shape"]
        plane = 1 if array.ndim == 1 else 2
        steps = [1] * (array.ndim - plane) + [view.every] * plane
        selection = tuple(
            slice(i * n * step, min((i + 1) * n * step, end), step)
            for i, n, step, end in zip(at, chunks, steps, array.shape, strict=True)
        )
        found = np.asarray(await array.getitem(selection))
        out = np.full(chunks, array.metadata.fill_value, dtype=found.dtype)
        out[tuple(slice(n) for n in found.shape)] = found
        return out.astype(out.dtype.newbyteorder("<")).tobytes()

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self.resolution, nearest=self.nearest)


def _less(n: int, reduce: int) -> int:
    return -(-n >> reduce)


def _placed(metadata: dict[str, Any], reduce: int) -> dict[str, Any]:
    """Rewrite what attributes say of the place of pixels."""
    attributes = dict(metadata.get("attributes", {}))
    factor = 1 << reduce
    if "spatial:shape" in attributes:
        attributes["spatial:shape"] = [_less(n, reduce) for n in attributes["spatial:shape"]]
    if "spatial:transform" in attributes:
        dx, _, left, _, dy, top = attributes["spatial:transform"]
        left, top = left - (factor - 1) / 2 * dx, top - (factor - 1) / 2 * dy
        attributes["spatial:transform"] = [dx * factor, 0, left, 0, dy * factor, top]
        if "spatial:bbox" in attributes and "spatial:shape" in attributes:
            rows, columns = attributes["spatial:shape"]
            attributes["spatial:bbox"] = [left, top + rows * dy * factor, left + columns * dx * factor, top]
    return {**metadata, "attributes": attributes}


def _smaller(metadata: dict[str, Any], reduce: int, axes: int) -> dict[str, Any]:
    """Divide the last axes of an array and its chunks."""
    grid = metadata["chunk_grid"]
    chunks = grid["configuration"]["chunk_shape"]
    cut = len(chunks) - axes
    return {
        **metadata,
        "shape": [*metadata["shape"][:cut], *(_less(n, reduce) for n in metadata["shape"][cut:])],
        "chunk_grid": {
            **grid,
            "configuration": {"chunk_shape": [*chunks[:cut], *(_less(n, reduce) for n in chunks[cut:])]},
        },
    }


def _reduced(metadata: dict[str, Any], reduce: int) -> dict[str, Any] | None:
    """Leave out resolutions of the tiles; ``None`` where they have not so many, or are none."""
    codecs = metadata["codecs"]
    if len(codecs) != 1 or codecs[0]["name"] != CODEC_NAME or codecs[0]["configuration"].get("reduce", 0) != 0:
        return None
    configuration = {**codecs[0]["configuration"], "reduce": reduce}
    try:
        tile_codec(configuration["main_header"], reduce)
    except CodecError:
        return None
    smaller = _smaller(_placed(metadata, reduce), reduce, 2)
    return {**smaller, "codecs": [{"name": CODEC_NAME, "configuration": configuration}]}


def _every(metadata: dict[str, Any], reduce: int, axes: int) -> dict[str, Any]:
    """Take every 2^reduce-th sample of the last axes, in chunks of plain numbers."""
    smaller = _smaller(metadata, reduce, axes)
    for axis in range(-axes, 0):
        chunk, length = metadata["chunk_grid"]["configuration"]["chunk_shape"][axis], metadata["shape"][axis]
        if chunk < length and chunk % (1 << reduce):
            # Such chunks do not begin with a sample: there is but one then.
            smaller["chunk_grid"]["configuration"]["chunk_shape"][axis] = smaller["shape"][axis]
    return {**smaller, "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}
