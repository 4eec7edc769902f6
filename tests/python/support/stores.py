"""Looking into a store with nothing but icechunk-python and zarr-python."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import icechunk

if TYPE_CHECKING:
    from pathlib import Path


def documents(session: icechunk.Session) -> dict[str, dict[str, Any]]:
    """Every `zarr.json` by the path of its node."""
    from zarr.core.buffer import default_buffer_prototype

    async def collect() -> dict[str, dict[str, Any]]:
        keys = [key async for key in session.store.list() if key.endswith("zarr.json")]
        out = {}
        for key in keys:
            buffer = await session.store.get(key, default_buffer_prototype())
            out[key.removesuffix("zarr.json").strip("/")] = json.loads(buffer.to_bytes())
        return dict(sorted(out.items()))

    return asyncio.run(collect())


def data_arrays(session: icechunk.Session) -> dict[str, dict[str, Any]]:
    """The arrays whose chunks are references."""
    return {
        path: document
        for path, document in documents(session).items()
        if document["node_type"] == "array" and "s2ice" in document["attributes"]
    }


def local(path: Path) -> icechunk.Session:
    """`main` of a store on disk."""
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(path))).readonly_session("main")
