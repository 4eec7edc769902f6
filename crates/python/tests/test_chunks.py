"""Dask chunks: how large, how many tasks, and under which names."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr

import s2ice
import tiles
from s2ice import _chunks
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from pathlib import Path

R10M = "measurements/reflectance/r10m"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand dates of two bands; what is nodata takes no chunk, so only the first dates have values."""
    days = [str(day) for day in np.arange("2018-01-01", "2024-01-01", 2, dtype="datetime64[D]")[:1000]]
    numbers = np.zeros((1000, 20, 20), "u2")
    numbers[:20] = 1
    arrays = {"b04/60": numbers, "b09/60": numbers}
    return tiles.write(tmp_path_factory.mktemp("chunks") / "store", days, arrays)


def test_default_chunks_hold_what_a_task_can() -> None:
    band = xr.Variable(
        ("time", "y", "x"), dask.array.zeros((90, 3000, 3000), dtype="f4"), None, {"chunks": (1, 1024, 1024)}
    )
    flags = xr.Variable(
        ("time", "y", "x"), dask.array.zeros((90, 3000, 3000), dtype="u1"), None, {"chunks": (1, 1024, 1024)}
    )
    sizes = _chunks._sizes(xr.Dataset({"flags": flags, "band": band}), "auto")
    assert (sizes["y"], sizes["x"]) == (1024, 1024)
    assert prod(sizes.values()) * 4 <= _chunks.GOAL < prod(sizes.values()) * 4 * 1.2
    assert [_chunks.along_time(100, each) for each in (1, _chunks.GOAL // 16, _chunks.GOAL * 2)] == [100, 15, 1]


@pytest.mark.parametrize("chunks", ["auto", {}, {"time": 10}, {"time": 250, "x": 5}])
def test_all_arrays_have_the_same_chunks(store: Path, chunks: Any) -> None:
    opened = s2ice.open(store, R10M.replace("10", "60"), chunks=chunks)
    assert dict(opened.chunks) == dict(opened[["b04"]].chunks)
    assert opened.b04.shape == opened.map_blocks(lambda block: block * 2, template=opened).b04.shape
    if isinstance(chunks, dict):
        assert {name: opened.chunks[name][0] for name in chunks} == chunks


@pytest.mark.parametrize(
    ("chunks", "told"),
    [("x", 'chunks is "auto", sizes such as'), ({"t": 1, "time": 2}, "chunks names t; the dimensions are time, x, y")],
)
def test_chunks_that_say_nothing_are_refused(store: Path, chunks: Any, told: str) -> None:
    for way in (
        lambda: s2ice.open(store, chunks=chunks),
        lambda: s2ice.open(store, R10M.replace("10", "60"), chunks=chunks),
        lambda: s2ice.cube(store, "b04", mask=None, chunks=chunks),
    ):
        with pytest.raises(RequestError, match=told):
            way()


def test_names_are_stable_and_graphs_flat(store: Path) -> None:
    words: dict[str, Any] = {"resolution": 60, "mask": None}
    one, two = (s2ice.cube(store, ["b04", "b09"], **words) for _ in range(2))
    assert one.b04.data.name == two.b04.data.name != one.b09.data.name
    assert one.b04.data.name != s2ice.cube(store, ["b04"], time="2020", **words).b04.data.name
    # What fails may be filled, which is another thing.
    assert one.b04.data.name != s2ice.cube(store, ["b04"], on_error="nan", **words).b04.data.name
    assert len(one.b04.data.dask.layers) == 1
    assert len(one.b04.data.dask) == one.b04.data.npartitions


def test_a_monthly_median_of_a_thousand_dates_is_soon_planned(store: Path) -> None:
    cube = s2ice.cube(store, ["b04"], resolution=60, mask=None, chunks={"y": 7, "x": 7})
    median = cube.b04.resample(time="1MS").median()
    (planned,) = dask.optimize(median)
    assert len(dict(planned.__dask_graph__())) < 20_000
    np.testing.assert_allclose(planned.isel(time=0).compute(scheduler="sync"), 0.0001 - 0.1, rtol=1e-5)
