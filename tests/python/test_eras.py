"""Products of another offset and rasters of another main header: stores of their own, and one cube again."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import s2ice as package
from conftest import Samples
from support import s3, stores, tables
from support.living import changes, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.command import Command

TILE = "33TVN"
R60M = "measurements/reflectance/r60m"
SCL = "conditions/mask/l2a_classification/r60m"
MAIN, OLD, EARLY = "main", "offset-0", "offset-0-profile-2"


@pytest.fixture(scope="module")
def mixed(make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two products of the present, two of before baseline 04.00, one of early 2016 (12 bits, tiles of 2048).

    The root of the archive, an index of each group, the reprocessed version of an old product among them.
    """
    root = tmp_path_factory.mktemp("mixed")
    assets = ("--assets", "B01_60m,B09_60m,SCL_60m", "--truth")
    out: dict[str, Any] = {"samples": Samples(root)}
    for name, options in {
        "new": ("--dates", "2", "--start", "2024-05-01"),
        "old": ("--dates", "2", "--start", "2020-06-20", "--baseline", "02.14"),
        "early": ("--dates", "1", "--start", "2016-03-10", "--baseline", "02.01", "--products", "early"),
        "again": ("--dates", "1", "--start", "2020-06-20", "--processed", "2024-01-01", "--baseline", "05.00"),
    }.items():
        before = set(Samples(root).products)
        made = make_samples(*options, *assets, into=root)
        out[name] = tmp_path_factory.mktemp("index") / f"{name}.parquet"
        rows = [row for row in tables.rows(made.index) if f"{row['product_id'].removesuffix('.SAFE')}" not in before]
        tables.write(out[name], rows)
        out[f"{name} products"] = [name for name in Samples(root).products if name not in before]
    return out


class Tile:
    """A store, its eras, and `s2ice build` with some of the groups."""

    def __init__(self, s2ice: Command, mixed: dict[str, Any], folder: Path) -> None:
        self.s2ice, self.mixed, self.store = s2ice, mixed, folder / TILE
        folder.mkdir(parents=True, exist_ok=True)

    def line(self, *groups: str, more: tuple[object, ...] = ()) -> list[object]:
        indexes = [item for group in groups for item in ("--index", self.mixed[group])]
        places = ("--source", self.mixed["samples"].root, "--store", self.store, "--cache", "none")
        return ["build", "--tile", TILE, *indexes, *places, *more]

    def run(self, *groups: str, more: tuple[object, ...] = ()) -> dict[str, Any]:
        return self.s2ice(*self.line(*groups, more=(*more, "--json"))).json

    def at(self, era: str) -> Path:
        return self.store if era == MAIN else self.store.with_name(f"{self.store.name}.era-{era}")

    def products(self, era: str) -> list[str]:
        root = xr.open_zarr(stores.local(self.at(era)).store, consolidated=False)
        return [str(name) for name in root.product_id.values]

    def eras(self) -> dict[str, list[str]]:
        return package.eras(self.store)

    def check(self, products: list[str]) -> xr.Dataset:
        """Every pixel of the merged cube is that of its product, scaled by the product's own offset."""
        root = package.open(self.store, eras="merge")
        group = package.open(self.store, R60M, eras="merge")
        names = [str(name) for name in root["product_id"].values]
        assert sorted(names) == sorted(products)
        assert (np.diff(group.time.values.astype(int)) > 0).all()
        assert (root[R60M].time.values == group.time.values).all()
        for step, name in enumerate(names):
            offset = -1000 if int(name.split("_")[3][1:]) >= 400 else 0
            for band in ("B01", "B09"):
                truth = self.mixed["samples"].truth(name, f"{band}_60m").astype(float)
                wanted = np.where(truth == 0, np.nan, (truth + offset) / 10_000)
                found = group[band.lower()].isel(time=step).values
                np.testing.assert_allclose(found, wanted, atol=1e-9, err_msg=f"{name} {band}")
            scl = package.open(self.store, SCL, eras="merge").scl.isel(time=step)
            assert scl.dtype == np.uint8
            assert (scl.values == self.mixed["samples"].truth(name, "SCL_60m")).all()
        return group

    def same(self, other: Tile) -> None:
        """Both have the same stores with the same contents."""
        assert self.eras() == other.eras()
        for era in (MAIN, *self.eras()):
            self.s2ice("diff", self.at(era), other.at(era))


@pytest.fixture
def tile(s2ice: Command, mixed: dict[str, Any], tmp_path: Path) -> Tile:
    return Tile(s2ice, mixed, tmp_path / "stores")


def of(mixed: dict[str, Any], *groups: str) -> list[str]:
    return [name for group in groups for name in mixed[f"{group} products"]]


def test_nothing_is_lost_and_the_cube_is_one(tile: Tile, mixed: dict[str, Any]) -> None:
    report = tile.run("new", "old", "early")
    assert report["refused"] == []
    assert [era["era"] for era in report["eras"]] == [OLD, EARLY]
    assert tile.products(MAIN) == of(mixed, "new")
    assert tile.products(OLD) == of(mixed, "early", "old"), "the classification of the early product has a usual header"
    assert tile.products(EARLY) == of(mixed, "early")
    # The report names product, raster and what differs.
    [old, early] = report["eras"]
    assert {(p["product"], p.get("raster")) for p in old["placed"]} == {(n, None) for n in of(mixed, "early", "old")}
    assert all("radiometric offset 0" in p["reason"] for p in old["placed"])
    [product] = of(mixed, "early")
    assert [(p["product"], p["raster"]) for p in early["placed"]] == [(product, "B01_60m"), (product, "B09_60m")]
    assert all("12 bit vs 15 bit" in p["reason"] and "2048 x 2048" in p["reason"] for p in early["placed"])
    assert list(tile.eras()) == [OLD, EARLY]

    group = tile.check(of(mixed, "new", "old", "early"))
    assert group.b01.isel(time=slice(0, 0)).values.shape == (0, 1830, 1830)
    # A window through all stores is the same as the window of the whole; steps come in the order asked for.
    window = group.b01.isel(time=[4, 0, 2], y=slice(100, 140), x=[7, 3])
    assert (window.values == group.b01.values[[4, 0, 2], 100:140][:, :, [7, 3]]).all()
    lazily = package.open(tile.store, R60M, eras="merge", chunks={})
    assert lazily.b01.chunks is not None
    assert float(lazily.b01.max()) == float(group.b01.max())

    # Each store alone is a store like any other.
    alone = package.open(tile.store, R60M, eras=OLD)
    assert float(alone.b01.encoding["add_offset"]) == 0.0
    np.testing.assert_array_equal(alone.b01.values, package.open(tile.at(OLD), R60M).b01.values)
    assert tile.run("new", "old", "early")["changes"]["unchanged"] == 2
    assert all("committed" not in era for era in tile.run("new", "old", "early")["eras"])


def test_what_the_other_header_would_have_given(tile: Tile, mixed: dict[str, Any], s2ice: Command) -> None:
    """The 12-bit raster decodes under a 15-bit QCD without an error, and gives other numbers: so it has an era."""
    tile.run("new", "old", "early")
    session = stores.local_with_source(tile.at(EARLY), mixed["samples"].root)
    own, main = (_header(session, f"{R60M}/b01"), _header(stores.local(tile.store), f"{R60M}/b01"))
    # The 15-bit steps in the place of the 12-bit ones; everything else is the file's own, so that nothing else differs.
    at, wrong = own.index(b"\xff\x5c"), bytearray(own)
    for byte in range(at + 5, len(own)):
        wrong[byte] = own[byte] + (3 << 3)
    assert main[main.index(b"\xff\x5c") + 5] == wrong[at + 5], "those of the main store's array"
    truth = mixed["samples"].truth(of(mixed, "early")[0], "B01_60m")
    read = [_decode(session, f"{R60M}/b01", bytes(header)) for header in (own, wrong)]
    assert (read[0] == truth).all()
    assert (read[1] != truth).mean() > 0.5, "silently wrong"


def _header(session: Any, path: str) -> bytes:
    codec = stores.documents(session)[path]["codecs"][0]
    return base64.b64decode(codec["configuration"]["main_header"])


def _decode(session: Any, path: str, header: bytes) -> Any:
    """The first time step of an array, decoded with this main header."""
    proto = default_buffer_prototype()

    async def copy() -> MemoryStore:
        memory = MemoryStore()
        text = json.loads((await session.store.get(f"{path}/zarr.json", proto)).to_bytes())
        text["codecs"][0]["configuration"]["main_header"] = base64.b64encode(header).decode()
        await memory.set("zarr.json", proto.buffer.from_bytes(json.dumps(text).encode()))
        async for key in session.store.list_prefix(path):
            if not key.startswith(f"{path}/c/0/"):
                continue
            await memory.set(key.removeprefix(f"{path}/"), await session.store.get(key, proto))
        return memory

    return zarr.open_array(asyncio.run(copy()), mode="r")[0]


def test_policies(tile: Tile, mixed: dict[str, Any]) -> None:
    report = tile.run("new", "old", "early", more=("--on-mismatch", "refuse"))
    assert report["eras"] == []
    assert refused(report) == {(name, None, "radiometry") for name in of(mixed, "old", "early")}
    assert not tile.at(OLD).exists()
    # What has an era keeps it; what has none is refused.
    tile.run("new", "old")
    report = tile.run("new", "old", "early", more=("--on-mismatch", "refuse"))
    assert refused(report) == {(name, None, "radiometry") for name in of(mixed, "early")}
    assert tile.products(OLD) == of(mixed, "old")
    # However its rows are given: another checksum means that every product is asked anew.
    report = tile.run("new", "old", more=("--on-mismatch", "refuse", "--checksum", "none"))
    assert report["refused"] == []
    assert tile.products(OLD) == of(mixed, "old")
    # Now it may.
    tile.run("new", "old", "early")
    tile.check(of(mixed, "new", "old", "early"))
    # A dry run of all this leaves no trace.
    fresh = Tile(tile.s2ice, mixed, tile.store.parent / "dry")
    report = fresh.run("new", "old", "early", more=("--dry-run",))
    assert [era["times"]["count"] for era in report["eras"]] == [3, 1]
    assert not list(fresh.store.parent.iterdir())
    fresh.run("new")
    before = sorted(fresh.store.parent.iterdir())
    assert [era["era"] for era in fresh.run("new", "old", more=("--dry-run",))["eras"]] == [OLD]
    assert sorted(fresh.store.parent.iterdir()) == before


def test_stores_grow_to_the_fresh_ones_whatever_comes_first(tile: Tile, mixed: dict[str, Any]) -> None:
    fresh = Tile(tile.s2ice, mixed, tile.store.parent / "fresh")
    fresh.run("new", "old", "early")
    # Without a product of the present, the old ones are the main store.
    tile.run("old")
    assert tile.eras() == {}
    assert tile.products(MAIN) == of(mixed, "old")
    report = tile.run("early")
    assert [era["era"] for era in report["eras"]] == [EARLY]
    # The first of another offset takes the place; what was there moves, and no raster of it is asked again.
    report = tile.run("new")
    assert set(changes(report)["moved"]) == {*of(mixed, "early", "old")}
    assert report["refused"] == []
    moved = next(era for era in report["eras"] if era["era"] == OLD)["committed"]
    assert (moved["references_written"], moved["created"]) == (0, True)
    assert moved["references_moved"] > 0
    tile.check(of(mixed, "new", "old", "early"))
    tile.same(fresh)
    # Reprocessed, a product leaves its era for the main store.
    report = tile.run("again")
    [again, replaced] = [of(mixed, "again")[0], of(mixed, "old")[0]]
    assert report["changes"]["inserted"] == [again]
    assert next(e for e in report["eras"] if e["era"] == OLD)["changes"]["replaced"] == [
        {"product": replaced, "by": again}
    ]
    names = [name for name in of(mixed, "new", "old", "early") if name != replaced]
    tile.check([*names, again])


def test_a_raster_stands_in_its_new_place_before_it_leaves_the_old_one(tile: Tile, mixed: dict[str, Any]) -> None:
    """The early product has the first header of its era, until products of the usual one come."""
    tile.run("new", "early")
    assert list(tile.eras()) == [OLD]
    report = tile.run("old")
    published = {era["era"]: era["published"] for era in report["eras"]}
    assert published[EARLY] < published[OLD], "the receiver is written first"
    tile.check(of(mixed, "new", "old", "early"))


def test_an_era_that_loses_everything_is_named_no_more(tile: Tile, mixed: dict[str, Any], s2ice: Command) -> None:
    tile.run("new", "early")
    report = tile.run("new", more=("--prune",))
    assert {era["era"]: era["times"]["count"] for era in report["eras"]} == {OLD: 0}
    assert tile.eras() == {}
    tile.check(of(mixed, "new"))
    assert s2ice("info", tile.at(OLD), "--json").json["times"]["count"] == 0
    # It is used again when it is needed.
    tile.run("new", "early")
    tile.check(of(mixed, "new", "early"))


def test_an_era_left_by_a_killed_run_is_found(tile: Tile, mixed: dict[str, Any]) -> None:
    """The eras are written first: as if the run had been killed then, the main store is not there."""
    tile.run("new", "old", "early")
    shutil.rmtree(tile.store)
    report = tile.run("new", "early")
    assert {era["era"] for era in report["eras"]} == {OLD, EARLY}
    assert all("committed" not in era for era in report["eras"])
    tile.check(of(mixed, "new", "old", "early"))


def test_rollback_and_gc_take_the_eras_along(tile: Tile, mixed: dict[str, Any], s2ice: Command) -> None:
    tile.run("new", "old")
    before = tile.products(OLD)
    tile.run("again", "early")
    assert tile.products(OLD) != before
    report = s2ice("rollback", tile.store, "--json").json
    assert report["moved"]
    assert [era["store"].endswith(OLD) for era in report["eras"]] == [True]
    assert set(before) <= set(tile.products(OLD)), "no product is lost"
    assert tile.products(MAIN) == of(mixed, "new")
    newest = s2ice("rollback", tile.store, "--list", "--json").json["states"][-1]["tag"]
    s2ice("rollback", tile.store, newest)
    fresh = Tile(s2ice, mixed, tile.store.parent / "fresh")
    fresh.run("new", "old", "again", "early")
    tile.same(fresh)
    s2ice("rollback", tile.store)
    tile.run("again", "early")
    tile.same(fresh)
    collected = s2ice("gc", tile.store, "--keep-published", "1", "--older-than", "0d", "--json").json
    assert len(collected["eras"]) == 2
    assert OLD in s2ice("gc", tile.store, "--keep-published", "1", "--older-than", "0d", "--dry-run").stdout


def test_what_the_command_says(tile: Tile, mixed: dict[str, Any], s2ice: Command) -> None:
    text = s2ice(*tile.line("new", "old")).stdout
    assert f"era {OLD} at " in text
    assert "radiometric offset 0" in text
    assert f"{OLD} at " in s2ice("info", tile.store).stdout
    assert f"{OLD} of the main store" in s2ice("info", tile.at(OLD)).stdout
    wrong = [str(tile.at(OLD)) if item == tile.store else item for item in tile.line("new")]
    assert "name the main store" in s2ice(*wrong, code=2).sentence
    named = s2ice(*tile.line("early", more=("--container", "other")), code=2).sentence
    assert "name it local, not other" in named
    assert "is of spec 2" in s2ice(*tile.line("early", more=("--spec", "1")), code=1).sentence


def test_a_group_that_only_an_era_has(tile: Tile, mixed: dict[str, Any]) -> None:
    """The classification of old products only, beside bands of all of them."""
    tile.run("new", more=("--arrays", "**/b0*"))
    tile.run("old")
    assert tile.products(MAIN) == of(mixed, "new")
    scl = package.open(tile.store, SCL, eras="merge")
    assert scl.sizes["time"] == 4
    assert scl.present.values.tolist() == [1, 1, 0, 0]
    assert not scl.scl[2:].any()
    assert scl.scl[0].any()
    tree = package.open(tile.store, eras="merge")
    assert tree[SCL].scl.shape == tree[R60M].b01.shape


def test_a_merged_cube_can_be_used_like_any_other(tile: Tile, tmp_path: Path) -> None:
    tile.run("new", "old", "early")
    group = package.open(tile.store, R60M, eras="merge")
    corner = group.isel(y=slice(0, 50), x=slice(0, 40))
    corner.to_zarr(tmp_path / "copy.zarr", consolidated=False)
    copy = xr.open_zarr(tmp_path / "copy.zarr", consolidated=False)
    np.testing.assert_array_equal(copy.b01.values, corner.b01.values)
    assert copy.b01.dtype.kind == "f"
    # Where a product is in two stores, its flags are needed, whoever drops them.
    dropped = package.open(tile.store, R60M, eras="merge", drop_variables=["present", "b09"])
    assert {"present", "b09"}.isdisjoint(dropped.variables)
    np.testing.assert_array_equal(dropped.b01[0].values, group.b01[0].values)
    assert np.isfinite(dropped.b01[0].values).any()
    tree = package.open(tile.store, eras="merge", chunks={"x": 915})
    assert tree[R60M].b01.chunks[2] == (915, 915)
    assert tree[R60M].b01.chunks[0] == (1,) * 5
    with pytest.raises(ValueError, match="decode_times"):
        package.open(tile.store, R60M, eras="merge", decode_times=False)


def test_what_cannot_be_merged_is_said(tile: Tile) -> None:
    tile.run("new", "old")
    with pytest.raises(package.errors.S2iceError, match="mask_and_scale"):
        package.open(tile.store, R60M, eras="merge", mask_and_scale=False)
    with pytest.raises(ValueError, match="address"):
        package.open(stores.local(tile.store), eras="merge")
    with pytest.raises(ValueError, match="name of an era"):
        package.open(tile.store, eras="../x")
    with pytest.raises(package.errors.StoreNotFoundError):
        package.open(tile.store, eras="offset-7")
    with pytest.raises(package.errors.GroupNotFoundError, match=r"r60m"):
        package.open(tile.store, "measurements/reflectance/r10m", eras="merge")


def test_on_object_storage(s2ice: Command, mixed: dict[str, Any]) -> None:
    """The eras lie beside the store; a pixel through all of them is one request each, and a mirror serves them all."""
    with s3.serve() as service:
        for bucket in ("stores", "eodata", "mirror"):
            service.bucket(bucket)
        service.upload(mixed["samples"].root, "eodata", "s2/")
        service.upload(mixed["samples"].root, "mirror", "copy/")
        store = "s3://stores/tiles/33TVN"
        indexes = [item for group in ("new", "old", "early") for item in ("--index", mixed[group])]
        build = (
            *("build", "--tile", TILE, *indexes, "--source", "s3://eodata/s2", "--source-endpoint", service.endpoint),
            *("--store", store, "--store-endpoint", service.endpoint, "--cache", "none", "--json"),
        )
        report = s2ice(*build, **s3.ENVIRONMENT).json
        assert [era["store"] for era in report["eras"]] == [f"{store}.era-{era}" for era in (OLD, EARLY)]
        options: dict[str, Any] = {"endpoint_url": service.endpoint, **s3.KEYS}
        reading: dict[str, Any] = {"credentials": s3.KEYS, "storage_options": options}
        assert list(package.eras(store, storage_options=options)) == [OLD, EARLY]
        cube = package.open(store, R60M, eras="merge", max_connections=2, **reading)
        assert cube.sizes["time"] == 5
        with service.recorded() as requests:
            values = cube.b01[:, 5, 5].values
        assert len([r for r in requests if r.bucket == "eodata"]) == 5
        assert np.isfinite(values).all()
        mirror = {"url": "s3://mirror/copy", "endpoint_url": service.endpoint}
        again = package.open(store, R60M, eras="merge", source={"eodata": mirror}, **reading)
        with service.recorded() as requests:
            assert (again.b01[:, 5, 5].values == values).all()
        assert {r.bucket for r in requests} == {"stores", "mirror"}
        # Without news no store is written, and no file is asked.
        with service.recorded() as requests:
            assert "committed" not in s2ice(*build, **s3.ENVIRONMENT).json
        assert {r.method for r in requests} == {"GET"}
        assert not [r for r in requests if r.bucket == "eodata"]
