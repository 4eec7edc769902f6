"""Small arrays share manifests, which Icechunk's own writer never does: it reads, tells, collects and changes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import icechunk
import numpy as np
import zarr

from support.living import B01, TILE

if TYPE_CHECKING:
    from pathlib import Path

    from support.archive import Archive
    from support.living import Living

CLOUD = "measurements/reflectance/r60m/cloud_cover"


def opened(store: Path) -> icechunk.Repository:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(store)))


def columns(repository: icechunk.Repository) -> dict[str, list[object]]:
    """Every array of one dimension, by its path."""
    root = zarr.open_group(repository.readonly_session("main").store, mode="r")
    arrays = (array for _, array in root.members(max_depth=None) if isinstance(array, zarr.Array))
    return {array.path: list(array[:]) for array in arrays if array.ndim == 1}


def test_icechunk_goes_on_where_s2ice_left(living: Living, archive: Archive) -> None:
    names = [archive.add(day) for day in ("2024-06-01", "2024-06-06", "2024-06-11")]
    living.run(names[:2])
    before = opened(living.store).lookup_branch("main")
    living.run(names)
    repository = opened(living.store)

    told = repository.diff(from_snapshot_id=before, to_branch="main")
    assert not told.new_arrays
    assert not told.deleted_arrays
    assert {f"/{B01}", f"/{CLOUD}", "/products/product_id"} <= told.updated_arrays
    assert "/measurements/reflectance/r60m/x" not in told.updated_arrays | set(told.updated_chunks)
    assert {chunk[0] for chunk in told.updated_chunks[f"/{B01}"]} == {2}
    assert told.updated_chunks["/products/product_id"] == [[0]]

    values = columns(repository)
    assert len(values["products/product_id"]) == 3
    assert repository.garbage_collect(datetime.now(UTC)).chunks_deleted == 0
    assert columns(opened(living.store)) == values

    # Another writer gives a column a manifest of its own again, then every array.
    session = repository.writable_session("main")
    zarr.open_array(session.store, path=CLOUD, mode="r+")[1] = 99.5
    session.commit("a column by Icechunk")
    changed = columns(opened(living.store))
    assert np.isclose(float(str(changed.pop(CLOUD)[1])), 99.5)
    assert changed == {path: column for path, column in values.items() if path != CLOUD}
    repository.rewrite_manifests("all by Icechunk", branch="main")
    rewritten = columns(opened(living.store))
    assert {path: column for path, column in rewritten.items() if path != CLOUD} == changed

    names.append(archive.add("2024-06-16"))
    report = living.run(names)
    assert report["changes"]["appended"] == names[-1:]
    living.is_as_built(names)
    assert living.info()["tile"] == TILE
