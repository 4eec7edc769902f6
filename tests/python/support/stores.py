"""Looking into a store with nothing but icechunk-python and zarr-python."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import icechunk
from zarr.core.buffer import default_buffer_prototype

if TYPE_CHECKING:
    from pathlib import Path


async def _documents(session: icechunk.Session) -> dict[str, dict[str, Any]]:
    out = {}
    for key in [key async for key in session.store.list() if key.endswith("zarr.json")]:
        buffer = await session.store.get(key, default_buffer_prototype())
        assert buffer is not None
        out[key.removesuffix("zarr.json").strip("/")] = json.loads(buffer.to_bytes())
    return dict(sorted(out.items()))


def _is_data(document: dict[str, Any]) -> bool:
    return document["node_type"] == "array" and "s2ice:asset" in document["attributes"]


def documents(session: icechunk.Session) -> dict[str, dict[str, Any]]:
    """Every `zarr.json` by the path of its node."""
    return asyncio.run(_documents(session))


def data_arrays(session: icechunk.Session) -> dict[str, dict[str, Any]]:
    """The arrays whose chunks are references."""
    return {path: document for path, document in documents(session).items() if _is_data(document)}


def local(path: Path) -> icechunk.Session:
    """`main` of a store on disk."""
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(path))).readonly_session("main")


def local_with_source(path: Path, source: Path) -> icechunk.Session:
    """`main` of a store on disk whose chunks lie in a folder, which may be read."""
    access = {f"file://{source}/": icechunk.credentials.LocalFileSystemAccess}
    storage = icechunk.local_filesystem_storage(str(path))
    return icechunk.Repository.open(storage, authorize_virtual_chunk_access=access).readonly_session("main")


async def chunks(session: icechunk.Session) -> set[tuple[Any, ...]]:
    """Array path and indices of every chunk of the data arrays."""
    out: set[tuple[Any, ...]] = set()
    for path, document in (await _documents(session)).items():
        if not _is_data(document):
            continue
        async for indices in session.chunk_coordinates(f"/{path}"):
            out.add((path, *indices))
    return out
