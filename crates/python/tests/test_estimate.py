"""What loading will cost, and the bar while it lasts."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import s2ice
import tiles
from s2ice import _estimate
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from pathlib import Path

DAYS = ["2024-05-01", "2024-05-06"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arrays = {"b04/10": tiles.numbers(1, 2, 10), "scl/20": tiles.classes(2, 2)}
    return tiles.write(tmp_path_factory.mktemp("estimates") / "store", DAYS, arrays)


@pytest.mark.parametrize("chunks", [None, "auto"])
def test_chunks_and_bytes_of_a_selection(store: Path, chunks: Any) -> None:
    cube = s2ice.cube(store, ["b04"], chunks=chunks)
    every = s2ice.estimate(cube)
    # Of 120 pixels in tiles of 102, and of 60 in tiles of 50, both dates.
    assert (every.chunks, every.requests, every.memory) == (
        16,
        16,
        cube.nbytes - sum(c.nbytes for c in cube.coords.values()),
    )
    assert every.known == 1
    folder = store / "chunks"
    assert 0 < every.bytes <= sum(file.stat().st_size for file in folder.rglob("*")) + 16 * 32_768
    assert s2ice.estimate(cube.isel(time=0)).chunks == 8
    assert s2ice.estimate(cube.b04.isel(time=0, y=slice(0, 10), x=slice(0, 10))).chunks == 2
    assert "requests for" in str(every)
    opened = s2ice.open(store, "measurements/reflectance/r10m", chunks=chunks)
    assert s2ice.estimate(opened.isel(x=slice(0, 102))).chunks == 4


def test_arithmetic_on_dask_is_looked_through(store: Path) -> None:
    cube = s2ice.cube(store, ["b04"], mask=None)
    assert s2ice.estimate((cube.b04 * 2).mean("time").isel(y=3)).chunks == 4


def test_what_is_not_known_is_taken_to_be_alike(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = s2ice.cube(store, ["b04"], mask=None, chunks=None)
    every = s2ice.estimate(cube)
    monkeypatch.setattr(_estimate, "SAMPLE", 4)
    some = s2ice.estimate(cube)
    assert (some.chunks, some.known) == (8, 0.5)
    assert every.bytes / 3 < some.bytes < every.bytes * 3
    assert "50%" in repr(some)


def test_what_is_loaded_costs_nothing(store: Path) -> None:
    for selection in (s2ice.cube(store, ["b04"], mask=None).load(), xr.Dataset({"a": ("x", np.arange(3))})):
        with pytest.raises(RequestError, match="nothing of this is to be read"):
            s2ice.estimate(selection)
    with pytest.raises(RequestError, match="takes a Dataset or DataArray, not ndarray"):
        s2ice.estimate(np.arange(3))  # type: ignore[arg-type]


def test_a_bar_is_drawn_where_it_is_seen(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cube = s2ice.cube(store, ["b04"], mask=None)
    with s2ice.progress(cube):
        cube.load()
    assert capsys.readouterr() == ("", "")
    drawn = io.StringIO()
    with s2ice.progress(s2ice.cube(store, ["b04"], mask=None), file=drawn):
        s2ice._progress.count()
    assert drawn.getvalue().rstrip().startswith("\r[####")
    assert "1 of 8 chunks" in drawn.getvalue()
    assert drawn.getvalue().endswith("\n")
    with s2ice.progress(file=drawn):
        pass
    assert "0 chunks" in drawn.getvalue()
