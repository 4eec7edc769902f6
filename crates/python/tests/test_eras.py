"""One time axis over several trees, without a store; and stores that name eras they do not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import icechunk as ic
import numpy as np
import pytest
import xarray as xr
import zarr

import s2ice
from s2ice import _eras
from s2ice.errors import S2iceError

if TYPE_CHECKING:
    from pathlib import Path


def table(**products: int) -> xr.Dataset:
    """Products with their times in milliseconds."""
    times = np.array(list(products.values()), dtype="datetime64[ms]")
    return xr.Dataset({"product_id": ("time", list(products))}, {"time": times})


# Tables of the trees; wanted times, and the step of each tree.
AXES: dict[str, tuple[list[xr.Dataset], list[int], list[list[int]]]] = {
    "one tree": ([table(a=1, b=2)], [1, 2], [[0, 1]]),
    "between each other": ([table(a=1, c=5), table(b=3)], [1, 3, 5], [[0, -1, 1], [-1, 0, -1]]),
    "in both, moved by a tie in one": ([table(a=1, b=2), table(b=1)], [1, 2], [[0, 1], [-1, 0]]),
    "ties by name, whatever the tree": ([table(b=1), table(a=1, c=1)], [1, 2, 3], [[-1, 0, -1], [0, -1, 1]]),
    "a tie pushes the next": ([table(a=1, c=2), table(b=1)], [1, 2, 3], [[0, -1, 1], [-1, 0, -1]]),
    "nothing in the main one": ([table(), table(a=1)], [1], [[-1], [0]]),
    "nothing at all": ([table(), table()], [], [[], []]),
}


@pytest.mark.parametrize("case", AXES)
def test_axis(case: str) -> None:
    tables, times, places = AXES[case]
    axis = _eras.axis_of({f"tree {number}": one for number, one in enumerate(tables)})
    assert axis.times.values.astype("datetime64[ms]").astype(int).tolist() == times
    assert axis.places.tolist() == places


def stamped(path: Path, stamp: dict[str, Any], *groups: str) -> Path:
    repository = ic.Repository.create(ic.local_filesystem_storage(str(path)))
    session = repository.writable_session("main")
    root = zarr.group(session.store, attributes={"s2ice": stamp})
    for group in groups:
        times = root.require_group(group).create_array("time", data=np.arange(2), dimension_names=["time"])
        times.attrs["units"] = "days since 2025-07-01"
    session.commit("by hand")
    return path


@pytest.mark.parametrize(
    ("stamp", "groups", "message"),
    [
        ({"eras": ["offset-0"]}, (), "list of eras cannot be understood"),
        ({"eras": {"offset-0": {}}}, ("products", "eras/offset-0/products"), "no time or product_id"),
        ({"eras": {"offset-0": {}}}, (), "no group products"),
        ({"eras": {"offset-0": {}}}, ("eras/offset-0/products",), "no group products"),
    ],
)
def test_what_a_store_says_of_its_eras_is_not_believed(
    tmp_path: Path, stamp: dict[str, Any], groups: tuple[str, ...], message: str
) -> None:
    store = stamped(tmp_path / "store", stamp, *groups)
    for group in (None, "measurements"):
        with pytest.raises(S2iceError, match=message):
            s2ice.open(store, group)


def test_an_era_that_is_named_but_not_there(tmp_path: Path) -> None:
    store = stamped(tmp_path / "store", {"eras": {"offset-0": {"differs": ["much"]}}}, "measurements/r10m")
    assert s2ice.eras(store) == {"offset-0": ["much"]}
    for group in (None, "measurements/r10m"):
        with pytest.raises(S2iceError, match="names an era, but has no group eras/offset-0"):
            s2ice.open(store, group, eras="offset-0")
    assert s2ice.open(store, "measurements/r10m", eras="main").sizes["time"] == 2
    assert [node.path for node in s2ice.open(store, eras="main").leaves] == ["/measurements/r10m"]
