"""What a reader of `main` sees: products, times and chunks; and whether they agree with one another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import zarr

from support import stores

if TYPE_CHECKING:
    import icechunk


@dataclass(frozen=True)
class View:
    """One state of a store."""

    snapshot: str
    products: tuple[str, ...]
    """Of the main tree."""
    times: tuple[int, ...]
    present: dict[str, tuple[bool, ...]]
    """By the path of an array, at which steps it has data."""
    eras: dict[str, tuple[str, ...]]
    """Products of each era."""


def view(session: icechunk.Session) -> View:
    """Read a state through zarr, and check that its parts agree: no reader may ever see one where they do not."""
    root = zarr.open_group(session.store, mode="r")
    assert not list(root.array_keys())
    eras = list(root.attrs["s2ice"].get("eras", {}))
    assert (sorted(root["eras"].group_keys()) if "eras" in root else []) == sorted(eras)
    chunks = asyncio.run(stores.chunks(session))
    arrays = stores.data_arrays(session)
    products, times, present = {}, {}, {}
    for base in ("", *(f"eras/{era}/" for era in eras)):
        own = {path: d for path, d in arrays.items() if path.startswith(base) and (base or path[:5] != "eras/")}
        products[base], times[base], flags = _tree(root, base, own, chunks)
        present |= flags
    # Every reference leads to the files of a product of this state.
    places = session.all_virtual_chunk_locations()
    named = {place.split(".SAFE/")[0].rsplit("/", 1)[1] for place in places}
    assert named == {product for names in products.values() for product in names}
    assert len(places) == len(chunks)
    by_era = {era: products[f"eras/{era}/"] for era in eras}
    return View(session.snapshot_id, products[""], times[""], present, by_era)


def _tree(
    root: zarr.Group, base: str, arrays: dict[str, Any], chunks: set[tuple[Any, ...]]
) -> tuple[tuple[str, ...], tuple[int, ...], dict[str, tuple[bool, ...]]]:
    products = tuple(str(name) for name in _values(root, f"{base}products/product_id"))
    times = tuple(int(time) for time in _values(root, f"{base}products/time"))
    assert len(times) == len(products) > 0
    assert len(set(products)) == len(products), f"a product twice: {products}"
    assert all(a < b for a, b in pairwise(times)), times
    assert arrays
    present = {}
    for path, document in arrays.items():
        leaf, _, name = path.rpartition("/")
        assert document["shape"][0] == len(times), path
        assert tuple(int(time) for time in _values(root, f"{leaf}/time")) == times, path
        flags: Any = root[f"{leaf}/present"]
        masks = dict(zip(flags.attrs["flag_meanings"].split(), flags.attrs["flag_masks"], strict=True))
        present[path] = tuple(bool(flag & masks[name]) for flag in flags[:].tolist())
        # Wherever a flag says so there are chunks, and nowhere else.
        with_chunks = {indices[0] for array, *indices in chunks if array == path}
        assert with_chunks == {step for step, flag in enumerate(present[path]) if flag}, path
    # Every product has data.
    assert all(any(flags[step] for flags in present.values()) for step in range(len(times))), present
    return products, times, present


def _values(root: Any, path: str) -> list[Any]:
    return root[path][:].tolist()


async def chunk(session: icechunk.Session, array: str, step: int) -> bytes:
    """The bytes that a reader gets for the first chunk of a step: a range of the product's file."""
    from zarr.core.buffer import default_buffer_prototype

    buffer = await session.store.get(f"{array}/c/{step}/0/0", default_buffer_prototype())
    assert buffer is not None, f"no chunk of {array} at {step}"
    return bytes(buffer.to_bytes())
