"""`s2ice.open_fleet`: the stores of a place and a time, found in a publication's table, as one cube or one per zone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import s2ice as package
from s2ice.errors import RequestError, SourceError, StoreNotFoundError
from support import hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command
    from support.hosts import Host

TILES = ["32TQT", "33TUN", "33TVN"]
"""Two of one zone, and their neighbour of the next."""
WORDS: dict[str, Any] = {"bands": ["b01"], "resolution": 60, "mask": None}


@pytest.fixture(scope="module")
def host(
    make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory, s2ice: Command
) -> Iterator[Host]:
    """A web server of products and of what is published of them."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "archive").mkdir()
    with hosts.serve(folder) as (host,):
        host.origins = "*"
        for tile in TILES:
            words = ("--dates", "2", "--no-swath-edge", "--assets", "B01_60m,SCL_60m")
            samples = make_samples("--tile", tile, *words, into=folder / tile)
            for product in samples.root.glob("*.SAFE"):
                product.rename(folder / "archive" / product.name)
        config = folder / "s2ice.toml"
        config.write_text(
            f'tiles = {json.dumps(TILES)}\nsource = "{folder}/archive"\n'
            f'index = ["{folder}/{{tile}}/index.parquet"]\nstore = "{folder}/stores/{{tile}}"\n'
            f'[publish]\nout = "{folder}/public"\nbase-url = "{host.address}/public"\n'
            f'source-url = "{host.address}/archive"\npreview = false\n'
        )
        s2ice("run", config)
        WORDS["allow"] = host.address
        yield host


@pytest.fixture
def public(host: Host) -> str:
    return f"{host.address}/public"


def test_a_fleet_is_told_by_its_table(public: str) -> None:
    fleet = package.open_fleet(public)
    assert (len(fleet), fleet.tiles) == (3, [f"{tile}-L2A" for tile in TILES])
    assert fleet.zones == {"EPSG:32632": ["32TQT-L2A"], "EPSG:32633": ["33TUN-L2A", "33TVN-L2A"]}
    assert "Stores: 3" in repr(fleet)
    assert "EPSG:32633 (2)" in repr(fleet)
    assert len(package.open_fleet(f"{public}/catalog.json")) == 3


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((13.9, 47.4, 14.0, 47.5), ["33TVN-L2A"]),
        # Tiles overlap here: one has all of it.
        ((13.70, 47.4, 13.74, 47.45), ["33TUN-L2A"]),
        ((13.2, 47.4, 14.0, 47.5), ["33TUN-L2A", "33TVN-L2A"]),
        ((12.0, 47.4, 13.3, 47.5), ["32TQT-L2A", "33TUN-L2A"]),
    ],
)
def test_a_place_takes_the_fewest_stores(
    public: str, bounds: tuple[float, float, float, float], expected: list[str]
) -> None:
    assert sorted(package.open_fleet(public).sel(bounds=bounds).tiles) == expected
    west, south, east, north = bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    assert sorted(package.open_fleet(public).sel(geometry=shape).tiles) == expected


def test_a_place_is_the_cube_of_its_stores(public: str) -> None:
    bounds = (13.5, 47.4, 13.9, 47.45)
    found = package.open_fleet(public).sel(bounds=bounds, time="2024").cube(**WORDS)
    expected = package.cube(["33TUN", "33TVN"], catalogue=public, bounds=bounds, time="2024", crs="EPSG:32633", **WORDS)
    xr.testing.assert_identical(found.load(), expected.load())
    assert np.isfinite(found.b01).all()


def test_zones_are_cubes_of_their_own_pixels(public: str) -> None:
    bounds = (12.0, 47.40, 13.3, 47.45)
    place = package.open_fleet(public).sel(bounds=bounds)
    cubes = place.cubes(**WORDS)
    assert sorted(cubes) == ["EPSG:32632", "EPSG:32633"]
    for code, tile in (("EPSG:32632", "32TQT"), ("EPSG:32633", "33TUN")):
        expected = package.cube(tile, catalogue=public, bounds=bounds, crs=code, **WORDS)
        xr.testing.assert_identical(cubes[code].load(), expected.load())
    one = place.cube(**WORDS)
    assert "UTM zone 32N" in one["spatial_ref"].attrs["crs_wkt"]


def test_one_request_finds_the_stores(public: str, host: Host) -> None:
    host.requests.clear()
    fleet = package.open_fleet(public)
    assert host.requests == ["/public/tiles.parquet"]
    assert fleet.sel(tiles=["33TVN", "T33TUN"]).tiles == ["33TUN-L2A", "33TVN-L2A"]
    assert len(host.requests) == 1
    assert package.open_fleet(host.root / "public").tiles == fleet.tiles


def test_what_is_said_of_mistakes(public: str, tmp_path: Path) -> None:
    fleet = package.open_fleet(public)
    for words, told in [
        ({"bounds": (0, 0, 1, 1)}, "no store of .* has products of this place and time"),
        ({"time": "1999"}, "no store of .* has products of this place and time"),
        ({"time": "yesterday"}, "time is a date such as"),
        ({"time": "2024-05/2024-01"}, "ends before it begins"),
        ({"bounds": (14, 47, 13, 48)}, "in degrees"),
        ({"bounds": (300_000, 5_000_000, 400_000, 5_100_000)}, "in degrees"),
        ({"tiles": ["01CCV"]}, "has no store of 01CCV"),
        ({"bounds": (13, 47, 14, 48), "geometry": {"type": "Point", "coordinates": [13, 47]}}, "exclude each other"),
    ]:
        with pytest.raises(RequestError, match=told):
            fleet.sel(**words)
    with pytest.raises(RequestError, match="level is one of"):
        package.open_fleet(public, level="L3")
    with pytest.raises(StoreNotFoundError, match="there is no publication at"):
        package.open_fleet(tmp_path)
    (tmp_path / "tiles.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(SourceError, match="is no table of a publication"):
        package.open_fleet(tmp_path)
