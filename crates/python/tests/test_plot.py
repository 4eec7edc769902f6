"""Pictures: what is drawn, where nothing is, and what cannot be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

import s2ice
import tiles
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAYS = ["2023-11-01", "2024-05-01", "2024-05-06", "2024-05-11"]


@pytest.fixture(autouse=True)
def without_windows() -> Iterator[None]:
    mpl.use("Agg")
    yield
    mpl.pyplot.close("all")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arrays = {f"{band}/60": tiles.numbers(seed, 4, 60) for seed, band in enumerate(("b02", "b03", "b04"))}
    return tiles.write(tmp_path_factory.mktemp("plots") / "store", DAYS, arrays, clouds=[3, 50, float("nan"), 99])


def test_true_colour(store: Path) -> None:
    cube = s2ice.cube(store, ["red", "green", "blue"], resolution=60, mask=None)
    image = s2ice.plot.true_colour(cube.isel(time=1))
    drawn = np.asarray(image.get_array())
    red = cube.red.isel(time=1).values
    there = cube.isel(time=1).to_array().notnull().all("variable").values
    np.testing.assert_array_equal(drawn[..., 3] > 0, there)
    wanted = (np.clip(red, 0, 0.35) / 0.35) ** (1 / 1.3)
    np.testing.assert_allclose(drawn[..., 0][there], wanted[there], atol=1e-5)
    facets = s2ice.plot.true_colour(cube)
    assert facets.axs.size == 4
    with pytest.raises(RequestError, match="there is no b03"):
        s2ice.plot.true_colour(cube.drop_vars("green"))
    many = xr.concat([cube.isel(time=[0])] * 37, dim="time")
    with pytest.raises(RequestError, match="37 dates to draw, 36 at most"):
        s2ice.plot.true_colour(many)


def test_calendar(store: Path) -> None:
    axes = s2ice.plot.calendar(store)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2023", "2024"]
    unknown, known = axes.collections
    np.testing.assert_array_equal(known.get_array(), [3, 50, 99])
    np.testing.assert_array_equal(np.asarray(unknown.get_offsets()), [[127, 2024]])
    assert axes.get_title(loc="left") == "4 products, longest gap 182 days"
    with pytest.raises(RequestError, match="no products"):
        s2ice.plot.calendar(s2ice.open(store, "products").isel(time=slice(0)))
