"""`s2ice.cube` on small stores whose pixels are known; NumPy and GDAL say what has to come out."""

from __future__ import annotations

import json
import pickle
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio.warp
import rioxarray  # noqa: F401 (gives .rio)
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.transform import from_origin

import s2ice
import tiles
from s2ice import _bring
from s2ice.errors import (
    ConsentError,
    GridError,
    GroupNotFoundError,
    RequestError,
    SourceError,
    StoreNotFoundError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tiles import Array

DAYS = ["2024-05-01T10:00", "2024-05-06T10:00", "2024-05-06T10:00:10", "2024-06-05T10:00"]
WEST, NORTH = tiles.CORNER
UTM = "EPSG:32633"
OFF = (0, 1, 3, 8, 9, 10)


def values(numbers: Array, offset: float = -0.1) -> Array:
    """Reflectance in double precision, rounded once."""
    return np.where(numbers == 0, np.nan, numbers * 0.0001 + offset).astype("f4")


def repeated(array: Array, times: int) -> Array:
    return array.repeat(times, axis=-2).repeat(times, axis=-1)


def mean(array: Array, times: int) -> Array:
    """Means of blocks without NaN."""
    high, wide = array.shape[-2] // times, array.shape[-1] // times
    blocks = array.reshape(*array.shape[:-2], high, times, wide, times).astype("f8")
    with np.errstate(invalid="ignore"):
        count = (~np.isnan(blocks)).sum(axis=(-3, -1))
        return (np.nansum(blocks, axis=(-3, -1)) / count).astype("f4")


@pytest.fixture(scope="module")
def pixels() -> dict[str, Array]:
    made = {"b04/10": tiles.numbers(1, 4, 10), "b11/20": tiles.numbers(2, 4, 20), "b09/60": tiles.numbers(3, 4, 60)}
    return made | {"b01/20": tiles.numbers(4, 4, 20), "b01/60": tiles.numbers(5, 4, 60), "scl/20": tiles.classes(6, 4)}


@pytest.fixture(scope="module")
def store(pixels: dict[str, Array], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cubes") / "33TVN"
    absent = {"b01/20": [0, 1]}
    return tiles.write(folder, DAYS, pixels, clouds=[5.0, 20.0, 30.0, float("nan")], absent=absent)


def whole(store: Any, *bands: str, **words: Any) -> xr.Dataset:
    options: dict[str, Any] = {"mask": None, "groupby": "time", "chunks": None}
    return s2ice.cube(store, list(bands) or None, **(options | words))


def test_bands_of_all_resolutions_on_one_grid(store: Path, pixels: dict[str, Array]) -> None:
    cube = whole(store, "red", "b11", "b09", "scl").load()
    np.testing.assert_array_equal(cube.red, values(pixels["b04/10"]))
    np.testing.assert_array_equal(cube.b11, repeated(values(pixels["b11/20"]), 2))
    np.testing.assert_array_equal(cube.b09, repeated(values(pixels["b09/60"]), 6))
    np.testing.assert_array_equal(cube.scl, repeated(pixels["scl/20"], 2))
    assert {name: str(array.dtype) for name, array in cube.items()} == dict.fromkeys(cube, "float32") | {"scl": "uint8"}
    assert cube.red.attrs["resampling"] == "none: pixels of 10 m as stored"
    assert cube.b11.attrs["resampling"] == "nearest: each pixel of 20 m repeated 2 x 2 times"
    assert (cube.rio.crs.to_epsg(), cube.rio.bounds()) == (32633, (WEST, NORTH - tiles.EDGE, WEST + tiles.EDGE, NORTH))
    assert float(cube.x[0]) == WEST + 5
    coarse = whole(store, "b04", "b11", "b09", "b01", resolution=60).load()
    np.testing.assert_allclose(coarse.b04, mean(values(pixels["b04/10"]), 6), rtol=1e-6)
    np.testing.assert_allclose(coarse.b11, mean(values(pixels["b11/20"]), 3), rtol=1e-6)
    np.testing.assert_array_equal(coarse.b01, values(pixels["b01/60"]))
    assert coarse.b04.attrs["resampling"] == "average of 6 x 6 pixels of 10 m"
    chosen = whole(store, "b04", "b11", resolution=20, resampling={"b04": "nearest"}).load()
    np.testing.assert_array_equal(chosen.b04, values(pixels["b04/10"])[:, 1::2, 1::2])


def test_a_copy_that_is_absent_is_replaced(store: Path, pixels: dict[str, Array]) -> None:
    cube = whole(store, "b01", resolution=20).load()
    np.testing.assert_array_equal(cube.b01[:2], repeated(values(pixels["b01/60"]), 3)[:2])
    np.testing.assert_array_equal(cube.b01[2:], values(pixels["b01/20"])[2:])
    assert cube.b01.attrs["resampling"].endswith("; else nearest: each pixel of 60 m repeated 3 x 3 times")


def test_clouds_and_shadows_are_off(store: Path, pixels: dict[str, Array]) -> None:
    off = repeated(np.isin(pixels["scl/20"], OFF), 2)
    cube = whole(store, "b04", "b11", "scl", mask="scl").load()
    np.testing.assert_array_equal(cube.b04, np.where(off, np.nan, values(pixels["b04/10"])))
    np.testing.assert_array_equal(cube.b11, np.where(off, np.nan, repeated(values(pixels["b11/20"]), 2)))
    np.testing.assert_array_equal(cube.scl, repeated(pixels["scl/20"], 2))
    assert cube.attrs["mask_classes"] == list(OFF)
    mine = whole(store, "b04", mask=[4, 5]).load()
    off = repeated(np.isin(pixels["scl/20"], [4, 5]), 2)
    np.testing.assert_array_equal(mine.b04, np.where(off, np.nan, values(pixels["b04/10"])))
    coarse = whole(store, "b09", mask=[4], resolution=60).load()
    flags = np.isin(pixels["scl/20"], [4]).reshape(4, 20, 3, 20, 3).any(axis=(2, 4))
    np.testing.assert_array_equal(coarse.b09, np.where(flags, np.nan, values(pixels["b09/60"])))


def test_digital_numbers(store: Path, pixels: dict[str, Array]) -> None:
    cube = whole(store, "b04", "b11", mask="scl", mask_and_scale=False).load()
    off = repeated(np.isin(pixels["scl/20"], OFF), 2)
    assert cube.b04.dtype == "uint16"
    np.testing.assert_array_equal(cube.b04, np.where(off, 0, pixels["b04/10"]))
    assert (cube.b04.attrs["scale_factor"], cube.b04.attrs["_FillValue"]) == (0.0001, 0)
    coarse = whole(store, "b04", mask_and_scale=False, resolution=20).load()
    wanted = mean(np.where(pixels["b04/10"] == 0, np.nan, pixels["b04/10"]).astype("f8"), 2)
    np.testing.assert_array_equal(coarse.b04, np.nan_to_num(np.rint(wanted), nan=0).astype("u2"))


def test_boxes_times_and_clouds(store: Path, pixels: dict[str, Array]) -> None:
    box = (WEST + 103, NORTH - 398, WEST + 297, NORTH - 152)
    cube = whole(store, "b04", bounds=box, bounds_crs=UTM, time="2024-05").load()
    np.testing.assert_array_equal(cube.b04, values(pixels["b04/10"])[:3, 15:40, 10:30])
    lonlat = rasterio.warp.transform_bounds(UTM, "EPSG:4326", *box)
    degrees = whole(store, "b04", bounds=lonlat)
    assert degrees.x.min() <= cube.x.min() <= cube.x.max() <= degrees.x.max() < cube.x.max() + 30
    beyond = whole(store, "b04", bounds=(WEST - 100, NORTH - 100, WEST + 50, NORTH + 20), bounds_crs=UTM).load()
    np.testing.assert_array_equal(beyond.b04[:, 2:, 10:], values(pixels["b04/10"])[:, :10, :5])
    assert np.isnan(beyond.b04[:, :2]).all()
    assert np.isnan(beyond.b04[:, :, :10]).all()
    for time in (
        "2024-05-02/2024-05-31",
        ("2024-05-06", "2024-05-06"),
        slice("2024-05-06", "2024-05-07"),
        "2024-05-06",
        (pd.Timestamp("2024-05-02"), pd.Timestamp("2024-05-06")),
        slice(datetime(2024, 5, 2), datetime(2024, 5, 6)),
        (date(2024, 5, 2), np.datetime64("2024-05-06")),
    ):
        assert whole(store, "b04", time=time).sizes["time"] == 2
    # A day is all of it, and an offset counts.
    for one in (
        date(2024, 6, 5),
        datetime(2024, 6, 5),
        np.datetime64("2024-06-05"),
        "2024-06-05T09:00:00+02:00/2024-06-05T12:00:00+02:00",
        (datetime(2024, 6, 5, 12, tzinfo=timezone(timedelta(hours=2))), None),
        "2024-06-05/2024-06",
    ):
        assert whole(store, "b04", time=one).sizes["time"] == 1
    assert whole(store, "b04", time="2024-06-01/..").sizes["time"] == 1
    assert whole(store, "b04", max_cloud_cover=20).sizes["time"] == 2


def test_a_geometry_is_cut_out(store: Path, pixels: dict[str, Array]) -> None:
    ring = [(WEST + x, NORTH - y) for x, y in ((100, 100), (500, 100), (100, 500), (100, 100))]
    shape = {"type": "Polygon", "coordinates": [ring]}
    cube = whole(store, "b04", geometry=shape, bounds_crs=UTM).load()
    inside = np.add.outer(np.arange(40) + 0.5, np.arange(40) + 0.5) < 40
    there = values(pixels["b04/10"])[:, 10:50, 10:50]
    # Centres on the slanted edge are either's.
    edge = np.add.outer(np.arange(40), np.arange(40)) == 39
    np.testing.assert_array_equal(cube.b04.values[:, ~edge], np.where(inside, there, np.nan)[:, ~edge])


def _square(x: float, y: float, size: float) -> dict[str, Any]:
    west, north = WEST + x, NORTH - y
    ring = [(west, north), (west + size, north), (west + size, north - size), (west, north - size), (west, north)]
    return {"type": "Polygon", "coordinates": [ring]}


class Frame:
    """A GeoDataFrame, as far as it is asked."""

    crs = UTM

    def __init__(self, *parts: dict[str, Any] | None) -> None:
        features = [{"type": "Feature", "properties": {}, "geometry": part} for part in parts]
        self.__geo_interface__ = {"type": "FeatureCollection", "features": features}


def test_a_collection_is_what_its_parts_cover(store: Path) -> None:
    one, other = _square(100, 100, 200), _square(200, 200, 200)
    apart = whole(store, "b04", geometry={"type": "GeometryCollection", "geometries": [one, other]}, bounds_crs=UTM)
    frame = whole(store, "b04", geometry=Frame(one, None, other))
    several = {"type": "MultiPolygon", "coordinates": [one["coordinates"], _square(300, 300, 100)["coordinates"]]}
    xr.testing.assert_identical(apart.load(), frame.load())
    there = np.zeros((30, 30), dtype=bool)
    there[:20, :20] = there[10:, 10:] = True
    pixels = whole(store, "b04").b04.values[:, 10:40, 10:40]
    np.testing.assert_array_equal(apart.b04.values, np.where(there, pixels, np.nan))
    assert whole(store, "b04", geometry=several, bounds_crs=UTM).sizes["y"] == 30


@pytest.mark.parametrize(
    ("kind", "corners"),
    [
        ("LineString", [(100, 100), (400, 300)]),
        ("Polygon", [(100, 100), (400, 400), (400, 100), (100, 400), (100, 100)]),
        ("Polygon", [(100, 100), (400, 100), (100, 100.000001), (100, 100)]),
    ],
    ids=["line", "bow tie", "hair"],
)
def test_what_has_no_area_comes_to_an_end(store: Path, kind: str, corners: list[tuple[float, float]]) -> None:
    """In another reference system edges are bent; how finely is no matter of the area."""
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    points = [to_degrees.transform(WEST + x, NORTH - y) for x, y in corners]
    shape = {"type": kind, "coordinates": points if kind == "LineString" else [points]}
    assert whole(store, "b04", geometry=shape).sizes["x"] >= 30


def test_halves_of_a_datatake_are_one_date(store: Path, pixels: dict[str, Array]) -> None:
    cube = whole(store, "b04", groupby="solar_day").load()
    assert [str(time)[:16] for time in cube.time.values] == [DAYS[0], DAYS[1], DAYS[3]]
    one, other = values(pixels["b04/10"])[1:3]
    np.testing.assert_array_equal(cube.b04[1], np.where(np.isnan(one), other, one))
    np.testing.assert_array_equal(cube.cloud_cover, np.array([5, 25, np.nan], "f4"))
    masked = whole(store, "b04", groupby="solar_day", mask="scl").load()
    off = repeated(np.isin(pixels["scl/20"], OFF), 2)
    one, other = np.where(off, np.nan, values(pixels["b04/10"]))[1:3]
    np.testing.assert_array_equal(masked.b04[1], np.where(np.isnan(one), other, one))


def test_any_selection_is_that_of_the_whole(store: Path) -> None:
    lazily, loaded = whole(store, "b04", "b11", groupby="solar_day", mask="scl"), None
    loaded = lazily.copy(deep=True).load()
    rows, columns = np.array([77, 3, 3, 50]), xr.DataArray([5, 60], dims="point")
    for at in (
        {"time": 1},
        {"time": [2, 0], "y": slice(100, 20, -7), "x": 5},
        {"y": rows, "x": rows},
        {"y": 4, "x": slice(None, None, 9)},
        {"y": columns, "x": columns},
        {"time": slice(0, 0)},
        {"time": 0, "y": 3, "x": 4},
    ):
        xr.testing.assert_identical(lazily.isel(at).load(), loaded.isel(at))
    again = pickle.loads(pickle.dumps(lazily))
    xr.testing.assert_identical(again.load(), loaded)


def test_eras_are_one_cube(tmp_path: Path) -> None:
    new, old = tiles.numbers(1, 1, 10), tiles.numbers(2, 2, 10)
    store = tiles.write(
        tmp_path / "store", ["2022-05-01"], {"b04/10": new}, era=(["2021-05-01", "2021-06-01"], {"b04/10": old})
    )
    cube = whole(store, "b04").load()
    np.testing.assert_array_equal(cube.b04, np.concatenate([values(old, 0.0), values(new)]))
    assert whole(store, "b04", eras="main").sizes["time"] == 1
    assert s2ice.estimate(whole(store, "b04")).chunks == 12


def test_views_of_a_neighbour_are_interpolated_where_corners_are_no_multiples_of_their_pixels() -> None:
    """Tiles are 100,020 m apart: at 160 m an eighth of a pixel off, which is two pixels as stored."""

    def kind(size: float, shift: float) -> str:
        source, target = (GeoBox((40, 40), from_origin(x, NORTH, size, size), UTM) for x in (WEST + shift, WEST))
        layer = _bring.Layer(lambda *_: None, source, target, "overview", 0, every=2)
        return layer.relation[0]

    assert kind(40, 5) == kind(160, 5) == kind(160, 160 * 7 + 5) == "repeat"
    assert [kind(size, 100_020) for size in (40, 80, 160, 320)] == ["warp"] * 4


def test_neighbouring_tiles_are_joined(store: Path, pixels: dict[str, Array], tmp_path: Path) -> None:
    mine = tiles.numbers(9, 1, 10)
    east = tiles.write(tmp_path / "33TWN", ["2024-05-01T10:00:04"], {"b04/10": mine}, corner=(WEST + 1080, NORTH))
    cube = whole([store, east], "b04", groupby="solar_day", time="2024-05-01").load()
    assert cube.sizes == {"time": 1, "y": 120, "x": 228}
    one, other = values(pixels["b04/10"])[0], values(mine)[0]
    np.testing.assert_array_equal(cube.b04[0, :, :108], one[:, :108])
    np.testing.assert_array_equal(cube.b04[0, :, 120:], other[:, 12:])
    seam = np.where(np.isnan(one[:, 108:]), other[:, :12], one[:, 108:])
    np.testing.assert_array_equal(cube.b04[0, :, 108:120], seam)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average"])
def test_another_reference_system_is_warped_by_gdal(store: Path, pixels: dict[str, Array], resampling: str) -> None:
    cube = whole(store, "b04", crs="EPSG:3035", resolution=10, resampling=resampling, time="2024-05-01").load()
    grid = GeoBox((cube.sizes["y"], cube.sizes["x"]), cube.rio.transform(), "EPSG:3035")
    wanted = np.full(grid.shape, np.nan, "f4")
    rasterio.warp.reproject(
        values(pixels["b04/10"])[0],
        wanted,
        src_transform=from_origin(*tiles.CORNER, 10, 10),
        src_crs=UTM,
        dst_transform=grid.affine,
        dst_crs="EPSG:3035",
        src_nodata=np.nan,
        dst_nodata=np.nan,
        resampling=rasterio.warp.Resampling[resampling],
        tolerance=0.0,
    )
    np.testing.assert_allclose(cube.b04[0], wanted, rtol=1e-5)
    assert cube.b04.attrs["resampling"] == f"{resampling} of pixels of 10 m in {UTM}, by GDAL"
    # A window of it is the same, so no pixel at its edges lacks what it is made of.
    part = whole(store, "b04", crs="EPSG:3035", resampling=resampling, time="2024-05-01").isel(
        y=slice(40, 60), x=slice(30, 70)
    )
    np.testing.assert_allclose(part.b04[0], wanted[40:60, 30:70], rtol=1e-4)


def test_a_pixel_of_another_system_is_off_where_any_below_it_is(store: Path, pixels: dict[str, Array]) -> None:
    """The classification of one pixel alone is off: whatever touches it is."""
    cube = whole(store, "b04", crs="EPSG:3035", resolution=100, mask=[4], time="2024-05-01").load()
    grid = GeoBox((cube.sizes["y"], cube.sizes["x"]), cube.rio.transform(), "EPSG:3035")
    flags = np.zeros(grid.shape, "u1")
    rasterio.warp.reproject(
        (pixels["scl/20"][0] == 4).astype("u1"),
        flags,
        src_transform=from_origin(*tiles.CORNER, 20, 20),
        src_crs=UTM,
        dst_transform=grid.affine,
        dst_crs="EPSG:3035",
        resampling=rasterio.warp.Resampling.max,
        tolerance=0.0,
    )
    assert flags.mean() > 0.5
    assert np.isnan(cube.b04.values[0][flags == 1]).all()
    assert not np.isnan(cube.b04.values[0]).all()


def test_tiles_of_another_zone_are_warped_to_the_first(store: Path, tmp_path: Path) -> None:
    mine = tiles.numbers(9, 1, 10)
    corner = rasterio.warp.transform(UTM, "EPSG:32632", [WEST + 1000], [NORTH])
    place = (round(corner[0][0], -1), round(corner[1][0], -1))
    other = tiles.write(tmp_path / "32T", ["2024-05-01"], {"b04/10": mine}, corner=place, epsg=32632)
    cube = whole([store, other], "b04", groupby="solar_day", time="2024-05-01").load()
    assert cube.rio.crs.to_epsg() == 32633
    assert "in EPSG:32632, by GDAL" in cube.b04.attrs["resampling"]
    assert float(cube.b04[0, 60, -40:-20].notnull().mean()) > 0.8


def collection(store: Path, href: str | None = None, **options: Any) -> dict[str, Any]:
    asset = {"href": href or str(store), "xarray:open_kwargs": {"engine": "s2ice"}, **options}
    other = {"href": f"{href or store}/x", "xarray:open_kwargs": {"engine": "s2ice", "group": "x"}}
    head = {
        "type": "Collection",
        "id": "33TVN-L2A",
        "stac_version": "1.1.0",
        "description": "a tile",
        "license": "other",
    }
    extent = {"spatial": {"bbox": [[14, 47, 15, 48]]}, "temporal": {"interval": [["2024-05-01T00:00:00Z", None]]}}
    return head | {"extent": extent, "links": [], "assets": {"part": other, "icechunk": asset}}


def test_stac_stands_for_a_store(store: Path, pixels: dict[str, Array], tmp_path: Path) -> None:
    document = collection(store)
    (tmp_path / "33TVN-L2A").mkdir()
    path = tmp_path / "33TVN-L2A/collection.json"
    path.write_text(json.dumps(document))
    wanted = whole(store, "b04").load()
    known = pystac.Collection.from_file(str(path))
    for place in (path, path.as_uri(), known):
        xr.testing.assert_identical(whole(place, "b04").load(), wanted)
    xr.testing.assert_identical(whole(document, "b04", allow=store).load(), wanted)
    for tile in ("33TVN", "T33TVN", "33tvn-l2a"):
        xr.testing.assert_identical(whole(tile, "b04", catalogue=tmp_path).load(), wanted)
    assert s2ice.open("33TVN", "measurements/reflectance/r10m", catalogue=tmp_path).sizes["time"] == 4
    with pytest.raises(RequestError, match="the id of a tile such as '33TVN'"):
        whole("somewhere", "b04", catalogue=tmp_path)
    with pytest.raises(StoreNotFoundError, match="there is no STAC document at"):
        whole("31UDQ", "b04", catalogue=tmp_path)
    with pytest.raises(ConsentError, match="on this machine or its network"):
        whole(document, "b04")
    with pytest.raises(SourceError, match="no asset with xarray's engine 's2ice'"):
        whole(document | {"assets": {}}, "b04")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"bands": ["b13"]}, "there is no band 'b13'; a cube takes b01"),
        ({"bands": ["b08"]}, "has no b08; it has b01"),
        ({"bounds": (1, 2, 3)}, "bounds are (west, south, east, north)"),
        ({"bounds": (WEST, NORTH - 50, WEST + 50, NORTH)}, "are none: pass bounds_crs="),
        ({"bounds": (1, 1, 2, 2)}, "outside of the store, which covers [13.6"),
        ({"bounds": (1, 1, 2, 2), "geometry": {"type": "Point", "coordinates": [1, 2]}}, "exclude each other"),
        ({"geometry": 7}, "geometry is GeoJSON"),
        ({"crs": "EPSG:nothing"}, "is no coordinate reference system"),
        ({"bands": "b04,b08"}, "bands are a list of names, such as ['b04', 'b08'], not 'b04,b08'"),
        ({"resolution": 0}, "resolution is a size of pixels"),
        ({"resolution": True}, "resolution is a size of pixels"),
        ({"mask": "clouds"}, "mask is 'scl', a list of the classes"),
        ({"mask": [12]}, "mask is 'scl', a list of the classes"),
        ({"mask": [3.7]}, "mask is 'scl', a list of the classes"),
        ({"mask": [True]}, "mask is 'scl', a list of the classes"),
        ({"groupby": "month"}, "groupby is 'solar_day'"),
        ({"resampling": "cubic"}, "resampling is one of 'nearest'"),
        ({"time": "2030"}, "has no product with time '2030'; it has 4 from 2024-05-01 to 2024-06-05"),
        ({"time": "last May"}, "time is a date such as"),
        ({"time": "2024-06/2024-05"}, "time '2024-06/2024-05' ends before it begins"),
        ({"time": pd.NaT}, "NaT is no time"),
        ({"time": (None, np.datetime64("NaT", "D"))}, "is no time"),
        ({"time": slice("2024-05-01", "2024-05-11", 2)}, "has a step"),
        ({"time": "2024-05-01T10:00:00+99:00"}, "'2024-05-01T10:00:00+99:00' is no time"),
        ({"geometry": {"type": "Polygon"}}, "geometry is no valid GeoJSON geometry, with type and coordinates"),
        ({"geometry": {"type": "Feature", "geometry": None}}, "geometry is no valid GeoJSON geometry"),
        ({"geometry": {"type": "FeatureCollection"}}, "geometry is no valid GeoJSON geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "geometry is empty"),
        ({"resampling": {"b05": "nearest"}}, "resampling names b05; the bands asked for are b04"),
        ({"crs": "EPSG:4326", "resolution": 10}, "pixels of 10 degrees"),
        ({"decode_cf": False, "group": "x"}, "cube takes no decode_cf, group: it decodes and joins"),
        ({"max_cloud_cover": 200}, "max_cloud_cover is a percentage"),
        ({"dtype": "int16"}, "dtype is 'float32' or 'float64'"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(store: Path, words: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError) as caught:
        s2ice.cube(store, **({"bands": "b04", "chunks": None} | words))
    assert told in str(caught.value)


def test_an_era_that_is_not_there(store: Path) -> None:
    with pytest.raises(GroupNotFoundError, match="no era 'nix'; eras is one of 'main', or None for all"):
        s2ice.cube(store, "b04", eras="nix")


def test_a_cube_is_of_pixels_and_saved_as_such(store: Path, tmp_path: Path) -> None:
    """Other pixels are refused, and files hold what was in memory."""
    cube = whole(store, "b04", "scl", "b11", resolution=20, mask="scl")
    with pytest.raises(GridError, match="pixels of 20 m and of 60 m"):
        _ = cube.b04 - whole(store, "b09", resolution=60).b09
    assert "GeoTransform" not in cube.spatial_ref.attrs
    cube.isel(y=slice(None, None, 3), x=slice(None, None, 3)).to_netcdf(tmp_path / "coarse.nc")
    assert xr.open_dataset(tmp_path / "coarse.nc", decode_coords="all").rio.resolution() == (60, -60)
    for scaled in (True, False):
        one = whole(store, "b04", "scl", resolution=20, mask_and_scale=scaled).isel(time=0)
        one.rio.to_raster(tmp_path / "one.tif")
        with rasterio.open(tmp_path / "one.tif") as file:
            np.testing.assert_array_equal(file.read(1), one.b04)
            np.testing.assert_array_equal(file.read(2), one.scl)
            assert file.crs.to_epsg() == 32633
            assert file.bounds == one.rio.bounds()


def test_without_a_classification_there_is_no_mask(tmp_path: Path) -> None:
    store = tiles.write(tmp_path / "store", ["2024-05-01"], {"b04/10": tiles.numbers(1, 1, 10)}, level="L1C")
    with pytest.raises(RequestError, match="no scene classification to mask with: pass mask=None"):
        s2ice.cube(store, "b04")


def test_windows_meet_at_every_offset() -> None:
    """Parts of a grid give what the whole gives, however source and target lie to each other."""
    data = np.random.default_rng(0).random((1, 24, 24)).astype("f4")
    data[data < 0.1] = np.nan
    for mine, other, shift in ((10, 10, 30), (20, 10, -30), (10, 20, 40), (10, 30, 10), (60, 10, 110), (10, 15, 5)):
        source = GeoBox((24, 24), from_origin(600, 6000, mine, mine), UTM)
        target = GeoBox((20, 20), from_origin(600 + shift, 6000 - shift, other, other), UTM)
        layer = _bring.Layer(lambda steps, rows, columns: data[:, rows, columns], source, target, "average", np.nan)

        def read(rows: slice, columns: slice, layer: Any = layer) -> Array:
            out = np.full((1, rows.stop - rows.start, columns.stop - columns.start), np.nan, "f4")
            window = layer.window(rows, columns)
            if window is not None:
                out[:, *window.into] = layer.read(np.array([0]), rows, columns, window)
            return out

        everything = read(slice(0, 20), slice(0, 20))
        assert not np.isnan(everything).all()
        for first in range(0, 15, 3):
            rows, columns = slice(first, first + 5), slice(14 - first, 20)
            np.testing.assert_allclose(read(rows, columns), everything[:, rows, columns], rtol=1e-6)
