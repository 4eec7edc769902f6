"""Pixels of two sizes are not mixed, and whatever xarray does with coordinates it does with pixels."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

from s2ice._pixels import PixelIndex, with_indexes
from s2ice.errors import GridError, S2iceError

if TYPE_CHECKING:
    from collections.abc import Callable


def grid(size: int, pixels: int) -> xr.Dataset:
    """A square of pixels whose upper left corner is always the same."""
    edges = size * np.arange(pixels) + size / 2
    variables = {
        "time": xr.Variable("time", [1, 2]),
        "y": xr.Variable("y", 6000 - edges, {"units": "m"}),
        "x": xr.Variable("x", edges, {"units": "m"}),
    }
    values = np.random.default_rng(size).random((2, pixels, pixels))
    return xr.Dataset({"b": (("time", "y", "x"), values)}, with_indexes(variables))


@pytest.fixture(scope="module")
def fine() -> xr.Dataset:
    return grid(10, 60)


@pytest.fixture(scope="module")
def middle() -> xr.Dataset:
    return grid(20, 30)


MIXED: dict[str, Callable[[xr.Dataset, xr.Dataset], object]] = {
    "difference": lambda a, b: a.b - b.b,
    "mask": lambda a, b: a.b.where(b.b > 0.5),
    "60 m, whose centres are some of those of 20 m": lambda a, b: b.b.where(grid(60, 10).b > 0.5),
    "merge": lambda a, b: xr.merge([a, b.rename(b="c")], join="outer"),
    "assignment": lambda a, b: a.assign(c=b.b),
    "left join": lambda a, b: xr.align(a, b, join="left"),
    "another's labels": lambda a, b: a.reindex_like(b),
    "coarse": lambda a, b: a.b - a.b.coarsen(x=2, y=2).mean(),
    "coarse first": lambda a, b: a.b.coarsen(x=2, y=2).mean() - a.b,
    "coarse first, with centres in common": lambda a, b: b.b.coarsen(x=3, y=3).mean() - b.b,
    "concat": lambda a, b: xr.concat([a.b, b.b], "n", join="outer"),
    "apart": lambda a, b: a.b[:, :20] - a.b[:, 40:],
}


@pytest.mark.parametrize("how", MIXED)
def test_what_would_be_empty_is_refused(how: str, fine: xr.Dataset, middle: xr.Dataset) -> None:
    with pytest.raises(GridError, match=r'reindex_like\(b, method="nearest"\) or a\.interp') as caught:
        MIXED[how](fine, middle)
    assert isinstance(caught.value, S2iceError)
    assert isinstance(caught.value, ValueError)


def test_the_remedies_work(fine: xr.Dataset, middle: xr.Dataset) -> None:
    mask = middle.b.reindex_like(fine, method="nearest")
    assert (fine.b - mask).sizes == fine.b.sizes
    np.testing.assert_array_equal(mask[:, 1::2, ::2], middle.b)
    assert (middle.b - fine.b.interp(x=middle.x, y=middle.y)).sizes == middle.b.sizes
    assert (fine.b.interp(x=middle.x, y=middle.y) - middle.b).sizes == middle.b.sizes
    assert (middle.b - fine.b.coarsen(x=2, y=2).mean()).sizes == middle.b.sizes


JOINED: dict[str, tuple[Callable[[xr.DataArray], xr.DataArray], tuple[int, int]]] = {
    "crop": (lambda b: b[:, 10:20, 5:30], (10, 25)),
    "every second": (lambda b: b[:, ::2, ::3], (30, 20)),
    "some": (lambda b: b[:, [1, 2, 7]], (3, 60)),
    "one row": (lambda b: b[:, [3]], (1, 60)),
    "flipped": (lambda b: b[:, ::-1], (60, 60)),
    "copy": (copy.deepcopy, (60, 60)),
    "pickled": (lambda b: pickle.loads(pickle.dumps(b)), (60, 60)),
    "parts": (lambda b: xr.concat([b[:, :9], b[:, 9:]], "y"), (60, 60)),
    "chunks": (lambda b: b.chunk(x=17).map_blocks(lambda block: block), (60, 60)),
    "labels": (lambda b: b.sel(x=slice(10, 100), y=slice(5990, 5900)), (9, 9)),
    "a list of labels": (lambda b: b.reindex(x=[5.0, 25.0, 35.0]), (60, 3)),
    "plain indexes": (lambda b: b.assign_coords(x=b.x.values, y=b.y.values), (60, 60)),
    "sorted": (lambda b: b.sortby("y"), (60, 60)),
    "rolled": (lambda b: b.roll(x=3, roll_coords=True), (60, 60)),
    "shifted": (lambda b: b.shift(x=1), (60, 60)),
    "differences": (lambda b: b.diff("x"), (60, 59)),
    "moving mean": (lambda b: b.rolling(x=3).mean(), (60, 60)),
    "frame": (lambda b: b.to_dataframe().b.to_xarray(), (60, 60)),
    "stacked": (lambda b: b.stack(p=("y", "x")).unstack(), (60, 60)),
}


@pytest.mark.parametrize("how", JOINED)
def test_pixels_of_one_size_are_joined_as_ever(how: str, fine: xr.Dataset) -> None:
    change, shape = JOINED[how]
    changed = change(fine.b)
    for joined in (fine.b - changed, changed - fine.b):
        assert (joined.sizes["y"], joined.sizes["x"]) == shape


def test_everything_else_is_that_of_a_dataset(fine: xr.Dataset) -> None:
    assert {type(fine.xindexes[name]) for name in ("x", "y")} == {PixelIndex}
    assert fine.groupby("time").mean().sizes == fine.sizes
    assert fine.groupby_bins("x", 3).mean().sizes["x_bins"] == 3
    assert fine.rename(x="lon").sizes["lon"] == 60
    assert fine.isel(x=0).expand_dims("x").sizes["x"] == 1
    assert fine.combine_first(fine.isel(x=slice(0, 5))).identical(fine)
    halves = [fine.isel(x=slice(0, 30)), fine.isel(x=slice(30, 60))]
    assert xr.combine_by_coords(halves, join="outer", compat="no_conflicts", data_vars="all").equals(fine)
    assert xr.merge([fine, fine.rename(b="c")], join="exact").sizes == fine.sizes
