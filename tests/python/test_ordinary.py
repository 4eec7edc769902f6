"""What works on any Dataset works on those of a store: order, saving, merging, copying; told by readers not ours."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk
import netCDF4
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (the accessor `rio`)
import xarray as xr

import s2ice as package
from s2ice.errors import GridError
from support import stores

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Samples
    from support.command import Command

R60M = "measurements/reflectance/r60m"
TCI = "quality/l2a_quicklook/r60m"
SCL = "conditions/mask/l2a_classification/r20m"
CROP = {"y": slice(600, 760), "x": slice(0, 200)}


@pytest.fixture(scope="module")
def store(s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates with bands, classes, probabilities and a quicklook."""
    assets = "B01_60m,B8A_60m,B09_60m,SCL_20m,TCI_60m,AOT_60m,MSK_CLDPRB_60m"
    samples = make_samples("--dates", "2", "--resolutions", "all", "--assets", assets)
    folder = tmp_path_factory.mktemp("ordinary")
    s2ice("index", "--source", samples.root, "-o", folder / "index.parquet", "-q")
    inputs = ("--index", folder / "index.parquet", "--source", samples.root, "--resolutions", "all")
    s2ice("build", "--tile", "33TVN", *inputs, "--store", folder / "33TVN", "--memory", "none", "-q")
    (folder / "source").write_text(str(samples.root))
    return folder / "33TVN"


@pytest.fixture(scope="module")
def tree(store: Path) -> xr.DataTree:
    return package.open(store)


@pytest.fixture(scope="module")
def crop(tree: xr.DataTree) -> xr.Dataset:
    """A corner of the tile, part of it without data; loaded once."""
    return tree[R60M].to_dataset().isel(CROP).load()


LISTED = f"""
import sys, s2ice
tree = s2ice.open(sys.argv[1])
group = s2ice.open(sys.argv[1], {R60M!r}, chunks={{}})
for each in (*(node.to_dataset(inherit=False) for node in tree.subtree), group):
    print(list(each.data_vars), list(each.coords), list(each.attrs), list(each.dims))
print(tree.groups, [child for child in tree.children])
print(group.to_array().coords["variable"].values.tolist())
"""


def test_order_is_that_of_every_process(store: Path) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", LISTED, store],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert told[0].splitlines()[-1] == "['b01', 'b8a', 'b09']"


CHANGES: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "as it is": lambda ds: ds,
    "coarsened": lambda ds: ds.coarsen(x=4, y=4).mean(),
    "every third": lambda ds: ds.isel(x=slice(None, None, 3), y=slice(None, None, 3)),
    "flipped": lambda ds: ds.isel(y=slice(None, None, -1)),
    "interpolated": lambda ds: ds.interp(x=ds.x.values[5:60] + 20, y=ds.y.values[5:60] - 20),
    "calculated": lambda ds: ((ds.b8a - ds.b01) / (ds.b8a + ds.b01)).to_dataset(name="ndvi"),
    "mean": lambda ds: ds.mean("time"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_saved_comes_back(crop: xr.Dataset, change: str, tmp_path: Path) -> None:
    changed = CHANGES[change](crop)
    bounds = changed.rio.bounds()
    step = float(changed.x[1] - changed.x[0])
    assert bounds[0] == changed.x.values[0] - step / 2
    changed.to_zarr(tmp_path / "a.zarr", consolidated=False)
    changed.to_netcdf(tmp_path / "a.nc")
    for back in (xr.open_zarr(tmp_path / "a.zarr", consolidated=False), xr.open_dataset(tmp_path / "a.nc")):
        with back:
            assert back.rio.crs == changed.rio.crs is not None
            assert back.rio.bounds() == bounds
            for name, array in changed.data_vars.items():
                np.testing.assert_array_equal(back[name], array)
                assert back[name].attrs.get("units") == array.attrs.get("units")
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        for name, array in changed.data_vars.items():
            masked = np.ma.getmaskarray(np.ma.masked_invalid(file[name][:]))
            np.testing.assert_array_equal(masked, array.isnull())
    first = next(iter(changed.data_vars.values()))
    first.rio.to_raster(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as raster:
        assert raster.crs.to_epsg() == 32633
        assert raster.nodata is None or np.isnan(raster.nodata)
        # Of a flipped raster rasterio tells the edges as they stand in it.
        assert sorted(raster.bounds) == sorted(bounds)
        np.testing.assert_array_equal(raster.read().squeeze(), first.squeeze())


@pytest.mark.parametrize("path", [TCI, SCL, "quality/probability/r60m", "conditions/geometry", "products"])
def test_every_kind_of_group_is_saved(tree: xr.DataTree, path: str, tmp_path: Path) -> None:
    group = tree[path].to_dataset()
    if "r" in path.rpartition("/")[2] and "x" in group.dims:
        group = group.isel(x=slice(0, 60), y=slice(0, 60))
    group.to_zarr(tmp_path / "a.zarr", consolidated=False)
    group.to_netcdf(tmp_path / "a.nc")
    for back in (xr.open_zarr(tmp_path / "a.zarr", consolidated=False), xr.open_dataset(tmp_path / "a.nc")):
        with back:
            for name, array in group.data_vars.items():
                np.testing.assert_array_equal(back[name], array)
    assert len(group.isel({name: slice(0, 2) for name in group.dims}).to_dataframe())


def test_white_is_not_masked(tree: xr.DataTree, tmp_path: Path) -> None:
    tci = tree[TCI].tci[:1, :, :4, :4].load()
    assert tci.dtype == np.uint8
    tci[...] = np.arange(208, 256).reshape(tci.shape)
    tci.to_dataset().to_netcdf(tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert not np.ma.getmaskarray(file["tci"][:]).any()
        np.testing.assert_array_equal(file["tci"][:], tci)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_a_reprojection_has_no_zeros_for_nodata(crop: xr.Dataset, tmp_path: Path) -> None:
    there = crop.rio.reproject("EPSG:4326", resolution=0.002)
    assert np.isnan(there.b01).any()
    assert not (there.b01 == 0).any()
    there.b01.rio.to_raster(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as raster:
        np.testing.assert_array_equal(np.isnan(raster.read()), np.isnan(there.b01))


def test_groups_of_one_resolution_are_merged(tree: xr.DataTree) -> None:
    groups = [tree[path].to_dataset() for path in (R60M, "quality/atmosphere/r60m", "quality/probability/r60m")]
    merged = xr.merge(groups, compat="no_conflicts", join="exact")
    assert list(merged.data_vars) == ["b01", "b8a", "b09", "aot", "cld"]
    assert {"present_reflectance", "present_atmosphere", "present_probability"} <= set(merged.coords)
    with pytest.raises(GridError, match=r"60 m and of 20 m .* s2ice\.cube"):
        tree[R60M].b01.where(tree[SCL].scl != 0)


def test_parts_are_put_together_and_copied(crop: xr.Dataset, tree: xr.DataTree) -> None:
    halves = [crop.isel(time=[0]), crop.isel(time=[1])]
    assert xr.concat(halves, "time", data_vars="all", coords="different", compat="equals").identical(crop)
    assert copy.deepcopy(crop).identical(crop)
    assert pickle.loads(pickle.dumps(crop)).identical(crop)
    again = pickle.loads(pickle.dumps(tree))
    assert repr(again) == repr(copy.deepcopy(tree)) == repr(tree)
    assert again[R60M].b01[0, 700, 3].item() == tree[R60M].b01[0, 700, 3].item()


def test_dask_knows_the_chunks(store: Path) -> None:
    lazy = package.open(store, R60M, chunks={})
    assert set(lazy.chunks) == {"time", "y", "x"}
    part = lazy.isel(CROP)
    np.testing.assert_array_equal(part.map_blocks(lambda block: block * 2).b01, part.b01 * 2)
    assert not any(coordinate.chunks for coordinate in lazy.coords.values())


def test_coordinates_are_read_side_by_side(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, get = 0, 0, icechunk.IcechunkStore.get

    async def counted(self: Any, key: str, *arguments: Any, **options: Any) -> Any:
        nonlocal at_once, most
        at_once += "/c/" in key
        most = max(most, at_once)
        try:
            if "/c/" in key:
                # So long that the others come before it ends.
                import asyncio

                await asyncio.sleep(0.2)
            return await get(self, key, *arguments, **options)
        finally:
            at_once -= "/c/" in key

    monkeypatch.setattr(icechunk.IcechunkStore, "get", counted)
    group = package.open(store, R60M)
    assert most >= 6
    monkeypatch.undo()
    assert all(variable._in_memory for variable in group.coords.variables.values())


def test_a_repr_fits_a_screen(tree: xr.DataTree) -> None:
    lines = repr(tree).splitlines()
    assert len(lines) <= len(tree.leaves) + 3
    assert any(line.split()[0] == f"/{R60M}" and line.endswith("b01 b8a b09") for line in lines)
    assert repr(tree) == str(tree)
    assert len(repr(tree[R60M].to_dataset()).splitlines()) <= 30


def test_plain_xarray_gets_what_the_store_can_give(store: Path, tmp_path: Path) -> None:
    session = stores.local_with_source(store, Path((store.parent / "source").read_text()))
    plain = xr.open_zarr(session.store, group=R60M, consolidated=False, chunks=None).isel(CROP)
    for array in plain.data_vars.values():
        assert not {"valid_min", "valid_max", "spatial:transform", "zarr_conventions"} & set(array.attrs)
        assert not any(isinstance(value, dict) for value in array.attrs.values())
    coarse = plain.coarsen(x=4, y=4).mean()
    assert "GeoTransform" not in coarse.spatial_ref.attrs
    assert coarse.rio.crs.to_epsg() == 32633
    assert coarse.rio.transform().a == 240
    assert coarse.rio.bounds() == plain.rio.bounds()
    coarse.b01.to_netcdf(tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        np.testing.assert_array_equal(np.ma.masked_invalid(file["b01"][:]).mask, coarse.b01.isnull())
