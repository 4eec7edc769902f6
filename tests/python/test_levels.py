"""A real product at coarser resolutions: every pixel is that of GDAL's overviews of the files, and where it lies."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (registers the accessor)

import s2ice as package

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

KINDS = ("B01_60m", "WVP_60m", "TCI_60m", "AOT_20m", "AOT_10m", "MSK_CLDPRB_20m")
LEVELS = (1, 2, 3, 4)
CLASSES = "conditions/mask/l2a_classification/r20m"


@pytest.fixture(scope="module")
def store(real_store: tuple[Path, dict[str, Any]]) -> Path:
    return real_store[0]


@pytest.fixture(scope="module")
def rasters(real_store: tuple[Path, dict[str, Any]], safe: Path, soak: bool) -> dict[str, tuple[str, Path]]:
    """Array and file by asset: one of every kind, all of them in the long form. Masks have classes."""
    out = {}
    for array in real_store[1]["arrays"]:
        asset = array["asset"]
        if asset in KINDS or (soak and not asset.startswith(("SCL", "MSK_D", "MSK_Q", "MSK_CLA"))):
            (file,) = safe.glob(f"*.SAFE/GRANULE/*/*_DATA/**/*{asset}.jp2")
            out[asset] = (array["path"].strip("/"), file)
    assert set(KINDS) <= set(out)
    return out


@pytest.mark.parametrize("level", LEVELS)
def test_every_pixel_is_gdals(level: int, store: Path, rasters: dict[str, tuple[str, Path]]) -> None:
    trees: dict[int, xr.DataTree] = {}
    for asset, (path, file) in rasters.items():
        size = int(asset.rpartition("_")[2].removesuffix("m"))
        resolution = size << level
        if resolution not in trees:
            trees[resolution] = package.open(store, resolution=resolution, mask_and_scale=False)
        group, _, name = path.rpartition("/")
        seen = trees[resolution][group].to_dataset()
        with rasterio.open(file, OVERVIEW_LEVEL=level - 1) as overview:
            np.testing.assert_array_equal(seen[name].to_numpy().reshape(-1, *seen[name].shape[-2:]), overview.read())
        with rasterio.open(file) as full:
            # The first, the second and the last sample lie in the middle of pixels 0, 2^r and the last multiple of it.
            for axis, at in (("x", 0), ("y", 1)):
                pixels = np.array([0, 1, seen.sizes[axis] - 1]) << level
                wanted = np.asarray(full.xy(pixels, pixels))[at]
                assert np.abs(seen[axis].to_numpy()[[0, 1, -1]] - wanted).max() < 0.01
        assert seen.rio.transform().a == pytest.approx(resolution, abs=0.01)


def test_rasters_without_the_resolution_are_left_out(store: Path) -> None:
    tree = package.open(store, resolution=120)
    paths = {node.path for node in tree.subtree if "y" in node.dims}
    assert "/measurements/reflectance/r60m" in paths
    assert not any(path.endswith(("r10m", "r20m")) for path in paths)
    own = package.open(store, resolution=20)
    assert own["quality/atmosphere/r20m"].sizes["x"] == 5490 == own["quality/atmosphere/r10m"].sizes["x"]
    with pytest.raises(package.errors.GroupNotFoundError, match="r60m"):
        package.open(store, CLASSES, resolution=120)
    with pytest.raises(package.errors.RequestError, match=r"seen at 50 m: its pixels are of 10, 20, 60 m"):
        package.open(store, resolution=50)


def test_classes_are_pixels_where_asked(store: Path) -> None:
    """Never blends of codes."""
    with pytest.raises(package.errors.GroupNotFoundError, match=CLASSES):
        package.open(store, CLASSES, resolution=160)
    seen = package.open(store, CLASSES, resolution=160, nearest=True, mask_and_scale=False)
    full = package.open(store, CLASSES, mask_and_scale=False)
    np.testing.assert_array_equal(seen.scl, full.scl[..., ::8, ::8])
    np.testing.assert_array_equal(seen.x, full.x[::8])
    assert seen.scl.attrs["comment"] == "the first pixel of every 8 x 8, not averaged"


def test_views_can_be_pickled_and_read_by_dask(store: Path) -> None:
    group = "measurements/reflectance/r60m"
    seen = package.open(store, group, resolution=960, chunks={})
    again = pickle.loads(pickle.dumps(seen))
    np.testing.assert_array_equal(again.b01, package.open(store, group, resolution=960).b01)


def test_a_cube_is_of_views(store: Path, rasters: dict[str, tuple[str, Path]]) -> None:
    """From four pixels for one on, or where asked; on the grid that these lie on."""
    words: dict[str, Any] = {"mask": None, "mask_and_scale": False, "chunks": None}
    cube = package.cube(store, ["aot", "b09"], resolution=160, **words)
    with rasterio.open(rasters["AOT_10m"][1], OVERVIEW_LEVEL=3) as overview:
        np.testing.assert_array_equal(cube.aot[0], overview.read(1))
    seen = package.open(store, "quality/atmosphere/r10m", resolution=160)
    for axis in ("x", "y"):
        np.testing.assert_array_equal(cube[axis], seen[axis])
    assert cube.aot.attrs["resampling"].startswith("overview: every 16 x 16 pixels of 10 m")
    assert cube.b09.attrs["resampling"] == "average of pixels of 60 m, by GDAL"
    part = package.cube(store, ["aot"], resolution=160, bounds=(-8.5, 52.5, -8.3, 52.7), **words)
    np.testing.assert_array_equal(part.aot, cube.aot.sel(x=part.x, y=part.y))
    asked = package.cube(store, ["aot"], resolution=20, resampling="overview", **words)
    with rasterio.open(rasters["AOT_10m"][1], OVERVIEW_LEVEL=0) as overview:
        np.testing.assert_array_equal(asked.aot[0], overview.read(1))
    for other in ({"resampling": "average"}, {"resolution": 20}):
        means = package.cube(store, ["aot"], **({"resolution": 160} | words | other))
        assert "overview" not in means.aot.attrs["resampling"]
    with pytest.raises(package.errors.RequestError, match="no overview of aot at 100 m"):
        package.cube(store, ["aot"], resolution=100, resampling="overview", **words)
    assert package.estimate(cube[["aot"]]).bytes < package.estimate(means).bytes / 50


def test_classes_of_a_cube_of_views_are_the_pixels_that_lie_there(store: Path) -> None:
    """And any class below a pixel turns it off, wherever its edges lie."""
    cube = package.cube(store, ["aot", "scl"], resolution=160, mask=None, chunks=None)
    full = package.open(store, CLASSES.replace("20m", "60m")).scl[0].to_numpy()
    # Of a store that has 20 and 60 m, those of 60 m; pixel k has its centre 160 k + 5 m from the edge.
    centres = (160 * np.arange(687) + 5) // 60
    np.testing.assert_array_equal(cube.scl[0], full[np.ix_(centres, centres)])
    masked = package.cube(store, ["aot"], resolution=160, mask=[4], chunks=None).aot[0].to_numpy()
    there = ~np.isnan(cube.aot[0].to_numpy())
    off = np.isnan(masked) & there
    marked = full == 4
    for row, column in np.random.default_rng(1).integers(2, 680, (500, 2)):
        # Pixel edges lie 75 m before and 85 m behind every 160 m.
        inner, outer = (
            marked[tuple(slice((160 * at - 75) // 60 + less, (160 * at + 84) // 60 + 1 - less) for at in (row, column))]
            for less in (1, 0)
        )
        assert off[row, column] or not inner.any() or not there[row, column]
        assert not off[row, column] or outer.any()
    assert 0.001 < off.mean() < 0.999
