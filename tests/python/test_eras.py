"""Products of another offset and rasters of another main header: trees of their own, and one cube again."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import s2ice as package
from conftest import Samples
from support import readers, s3, stores, tables
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
        places = ("--source", self.mixed["samples"].root, "--store", self.store, "--memory", "none")
        return ["build", "--tile", TILE, *indexes, *places, *more]

    def run(self, *groups: str, more: tuple[object, ...] = ()) -> dict[str, Any]:
        return self.s2ice(*self.line(*groups, more=(*more, "--json"))).json

    def products(self, era: str) -> list[str]:
        table = package.open(self.store, "products", eras=era)
        return [str(name) for name in table.product_id.values]

    def eras(self) -> dict[str, list[str]]:
        return package.eras(self.store)

    def check(self, products: list[str]) -> xr.Dataset:
        """Every pixel of the merged cube is that of its product, scaled by the product's own offset."""
        readers.view(stores.local(self.store))
        root = package.open(self.store)
        group = package.open(self.store, R60M)
        assert "eras" not in root
        names = [str(name) for name in root["products/product_id"].values]
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
            scl = package.open(self.store, SCL).scl.isel(time=step)
            assert scl.dtype == np.uint8
            assert (scl.values == self.mixed["samples"].truth(name, "SCL_60m")).all()
        return group

    def same(self, other: Tile) -> None:
        """Both have the same trees with the same contents."""
        assert self.eras() == other.eras()
        self.s2ice("diff", self.store, other.store)


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
    # A window through all trees is the same as the window of the whole; steps come in the order asked for.
    window = group.b01.isel(time=[4, 0, 2], y=slice(100, 140), x=[7, 3])
    assert (window.values == group.b01.values[[4, 0, 2], 100:140][:, :, [7, 3]]).all()
    lazily = package.open(tile.store, R60M, chunks={})
    assert lazily.b01.chunks is not None
    assert float(lazily.b01.max()) == float(group.b01.max())

    # Each tree alone is a tree like any other.
    alone = package.open(tile.store, R60M, eras=OLD)
    assert alone.attrs["s2ice:eras"] == OLD
    assert package.open(tile.store, R60M, eras=MAIN).attrs["s2ice:eras"] == MAIN
    np.testing.assert_array_equal(alone.b01.values, package.open(tile.store, f"eras/{OLD}/{R60M}").b01.values)
    again = tile.run("new", "old", "early")
    assert "committed" not in again
    assert again["changes"]["unchanged"] == 2
    assert [era["changes"]["unchanged"] for era in again["eras"]] == [3, 1]


def test_plain_xarray_opens_what_is_there(tile: Tile, mixed: dict[str, Any]) -> None:
    """Without this package's opener: the trees side by side, each with a time axis of its own."""
    tile.run("new", "old", "early")
    session = stores.local_with_source(tile.store, mixed["samples"].root)
    tree = xr.open_datatree(session.store, engine="zarr", consolidated=False)
    assert not tree.ds.variables
    for base, names in {"": of(mixed, "new"), f"eras/{OLD}/": of(mixed, "early", "old")}.items():
        assert list(tree[f"{base}products"].product_id.values) == names
        group = xr.open_zarr(session.store, group=f"{base}{R60M}", consolidated=False)
        assert group.sizes["time"] == len(names) == tree[f"{base}{R60M}"].sizes["time"]
        assert (group.time.values == tree[f"{base}products"].time.values).all()
        np.testing.assert_array_equal(group.b01[-1].values, tree[f"{base}{R60M}"].b01[-1].values)
    # What the opener gives of one tree is the same, as a tree.
    main, old = (package.open(tile.store, eras=era) for era in (MAIN, OLD))
    assert {node.path for node in main.subtree} == {n.path for n in tree.subtree if not n.path.startswith("/eras")}
    assert {f"/eras/{OLD}{node.path}".rstrip("/") for node in old.subtree} == {
        node.path for node in tree[f"eras/{OLD}"].subtree
    }
    assert main.attrs["s2ice:eras_left_out"] == f"{OLD} {EARLY}"
    np.testing.assert_allclose(old[R60M].b01.values, tree[f"eras/{OLD}/{R60M}"].b01.values, rtol=1e-6)


def test_what_the_other_header_would_have_given(tile: Tile, mixed: dict[str, Any], s2ice: Command) -> None:
    """The 12-bit raster decodes under a 15-bit QCD without an error, and gives other numbers: so it has an era."""
    tile.run("new", "old", "early")
    session = stores.local_with_source(tile.store, mixed["samples"].root)
    path = f"eras/{EARLY}/{R60M}/b01"
    own, main = (_header(session, path), _header(session, f"{R60M}/b01"))
    # The 15-bit steps in the place of the 12-bit ones; everything else is the file's own, so that nothing else differs.
    at, wrong = own.index(b"\xff\x5c"), bytearray(own)
    for byte in range(at + 5, len(own)):
        wrong[byte] = own[byte] + (3 << 3)
    assert main[main.index(b"\xff\x5c") + 5] == wrong[at + 5], "those of the main tree's array"
    truth = mixed["samples"].truth(of(mixed, "early")[0], "B01_60m")
    read = [_decode(session, path, bytes(header)) for header in (own, wrong)]
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
    assert tile.eras() == {}
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


@pytest.mark.soak
def test_stores_grow_to_the_fresh_ones_whatever_comes_first(tile: Tile, mixed: dict[str, Any]) -> None:
    fresh = Tile(tile.s2ice, mixed, tile.store.parent / "fresh")
    fresh.run("new", "old", "early")
    # Without a product of the present, the old ones are the main tree.
    tile.run("old")
    assert tile.eras() == {}
    assert tile.products(MAIN) == of(mixed, "old")
    report = tile.run("early")
    assert [era["era"] for era in report["eras"]] == [EARLY]
    # The first of another offset takes the place; what was there moves, and no raster of it is asked again.
    report = tile.run("new")
    assert set(changes(report)["moved"]) == {*of(mixed, "early", "old")}
    assert report["refused"] == []
    committed, own = report["committed"], report["references"]
    assert (committed["references_written"], committed["created"]) == (own, False)
    assert committed["references_moved"] > 0
    tile.check(of(mixed, "new", "old", "early"))
    tile.same(fresh)
    # Reprocessed, a product leaves its era for the main tree.
    report = tile.run("again")
    [again, replaced] = [of(mixed, "again")[0], of(mixed, "old")[0]]
    assert report["changes"]["inserted"] == [again]
    assert next(e for e in report["eras"] if e["era"] == OLD)["changes"]["replaced"] == [
        {"product": replaced, "by": again}
    ]
    names = [name for name in of(mixed, "new", "old", "early") if name != replaced]
    tile.check([*names, again])


def test_a_raster_moves_between_eras_in_one_commit(tile: Tile, mixed: dict[str, Any]) -> None:
    """The early product has the first header of its era, until products of the usual one come."""
    tile.run("new", "early")
    assert list(tile.eras()) == [OLD]
    before = states(tile)
    tile.run("old")
    assert len(states(tile)) == len(before) + 1
    tile.check(of(mixed, "new", "old", "early"))


def states(tile: Tile) -> list[str]:
    """Every snapshot that `main` has been, seen by readers as a whole."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(tile.store)))
    tags = repository.list_tags()
    for tag in tags:
        readers.view(repository.readonly_session(tag=tag))
    return sorted(tags)


def test_an_era_that_loses_everything_is_gone(tile: Tile, mixed: dict[str, Any]) -> None:
    tile.run("new", "early")
    report = tile.run("new", more=("--prune",))
    assert {era["era"]: era["times"]["count"] for era in report["eras"]} == {OLD: 0}
    assert tile.eras() == {}
    assert "eras" not in zarr.open_group(stores.local(tile.store).store, mode="r")
    tile.check(of(mixed, "new"))
    # It is used again when it is needed.
    tile.run("new", "early")
    tile.check(of(mixed, "new", "early"))


def test_a_killed_run_leaves_all_eras_as_they_were(tile: Tile, mixed: dict[str, Any]) -> None:
    """Main tree and eras are published in one step: all as before, or all as they shall be."""
    tile.run("new", "early")
    began = time.monotonic()
    fresh = Tile(tile.s2ice, mixed, tile.store.parent / "fresh")
    fresh.run("new", "old", "early", "again")
    whole = time.monotonic() - began
    before, after = (readers.view(stores.local(store)) for store in (tile.store, fresh.store))
    for share in (0.3, 0.5, 0.7, 0.9):
        process = tile.s2ice.start(*tile.line("new", "old", "early", "again"))
        try:
            process.communicate(timeout=share * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        seen = readers.view(stores.local(tile.store))
        assert (seen.products, seen.eras) in [(view.products, view.eras) for view in (before, after)]
    tile.run("new", "old", "early", "again")
    tile.same(fresh)


def test_rollback_and_gc_are_of_all_eras(tile: Tile, mixed: dict[str, Any], s2ice: Command) -> None:
    tile.run("new", "old")
    before = tile.products(OLD)
    tile.run("again", "early")
    assert tile.products(OLD) != before
    report = s2ice("rollback", tile.store, "--json").json
    assert report["moved"]
    assert tile.products(OLD) == before
    assert list(tile.eras()) == [OLD]
    tile.check(of(mixed, "new", "old"))
    newest = s2ice("rollback", tile.store, "--list", "--json").json["states"][-1]["tag"]
    s2ice("rollback", tile.store, newest)
    fresh = Tile(s2ice, mixed, tile.store.parent / "fresh")
    fresh.run("new", "old", "again", "early")
    tile.same(fresh)
    s2ice("rollback", tile.store)
    tile.run("again", "early")
    tile.same(fresh)
    s2ice("gc", tile.store, "--keep-published", "1", "--older-than", "1d")
    tile.check([name for name in of(mixed, "new", "old", "early", "again") if name != of(mixed, "old")[0]])


def test_what_the_command_says(tile: Tile, mixed: dict[str, Any], s2ice: Command) -> None:
    text = s2ice(*tile.line("new", "old")).stdout
    assert f"era {OLD} at /eras/{OLD}" in text
    assert "radiometric offset 0" in text
    info = s2ice("info", tile.store, "--json").json
    stored = len(of(mixed, "new", "old"))
    assert f"new store of {stored} products" in text
    assert f"{stored} stored" in text
    assert info["products"] == stored == info["times"]["count"] + 2
    assert f"{OLD} at /eras/{OLD}, 2 times" in s2ice("info", tile.store).stdout
    assert {era: told["times"]["count"] for era, told in info["eras"].items()} == {OLD: 2}
    assert f"/eras/{OLD}/{R60M}/b01" in {array["path"] for array in info["arrays"]}
    assert "is of spec 2" in s2ice(*tile.line("early", more=("--spec", "1")), code=1).sentence


def test_a_group_that_only_an_era_has(tile: Tile, mixed: dict[str, Any]) -> None:
    """The classification of old products only, beside bands of all of them."""
    tile.run("new", more=("--arrays", "**/b0*"))
    tile.run("old")
    assert tile.products(MAIN) == of(mixed, "new")
    scl = package.open(tile.store, SCL)
    assert scl.sizes["time"] == 4
    assert scl.present_l2a_classification.values.tolist() == [1, 1, 0, 0]
    assert not scl.scl[2:].any()
    assert scl.scl[0].any()
    tree = package.open(tile.store)
    assert tree[SCL].scl.shape == tree[R60M].b01.shape


def test_a_merged_cube_can_be_used_like_any_other(tile: Tile, tmp_path: Path) -> None:
    tile.run("new", "old", "early")
    group = package.open(tile.store, R60M)
    corner = group.isel(y=slice(0, 50), x=slice(0, 40))
    corner.to_zarr(tmp_path / "copy.zarr", consolidated=False)
    copy = xr.open_zarr(tmp_path / "copy.zarr", consolidated=False)
    np.testing.assert_array_equal(copy.b01.values, corner.b01.values)
    assert copy.b01.dtype.kind == "f"
    # Where a product is in two stores, its flags are needed, whoever drops them.
    dropped = package.open(tile.store, R60M, drop_variables=["present", "b09"])
    assert {"present", "present_reflectance", "b09"}.isdisjoint(dropped.variables)
    np.testing.assert_array_equal(dropped.b01[0].values, group.b01[0].values)
    assert np.isfinite(dropped.b01[0].values).any()
    tree = package.open(tile.store, chunks={"x": 915})
    assert tree[R60M].b01.chunks[2] == (915, 915)
    assert tree[R60M].b01.chunks[0] == (1,) * 5
    with pytest.raises(ValueError, match="decode_times"):
        package.open(tile.store, R60M, decode_times=False)


def test_what_cannot_be_merged_is_said(tile: Tile) -> None:
    tile.run("new", "old")
    for group in (R60M, None):
        with pytest.raises(package.errors.S2iceError, match=f'mask_and_scale=False out.*"main" or eras="{OLD}"'):
            package.open(tile.store, group, mask_and_scale=False)
    # Where there is one packing, or one era, digital numbers are to be had.
    scl = package.open(tile.store, SCL, mask_and_scale=False)
    assert scl.sizes["time"] == 4
    for era in (MAIN, OLD):
        assert package.open(tile.store, R60M, eras=era, mask_and_scale=False).b01.dtype == np.uint16
        assert package.open(tile.store, eras=era, mask_and_scale=False)[R60M].b01.dtype == np.uint16
    for wrong in ("../x", "offset-7", "merge", ""):
        with pytest.raises(package.errors.GroupNotFoundError, match=f"eras is one of 'main', '{OLD}', or None"):
            package.open(tile.store, eras=wrong)
    for options in ({}, {"eras": OLD}):
        with pytest.raises(package.errors.GroupNotFoundError) as caught:
            package.open(tile.store, "measurements/reflectance/r10m", **options)
        assert R60M in str(caught.value)
        assert "eras/" not in str(caught.value)


def test_every_way_to_name_a_store_and_its_versions(tile: Tile, mixed: dict[str, Any]) -> None:
    tile.run("new", "old")
    tile.run("early")
    session = stores.local_with_source(tile.store, mixed["samples"].root)
    wanted = package.open(tile.store, R60M)
    xr.testing.assert_identical(package.open(session, R60M).isel(x=slice(9)), wanted.isel(x=slice(9)))
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(tile.store)))
    assert package.eras(session) == package.eras(repository) == package.eras(tile.store)
    first = min(repository.list_tags())
    assert package.open(tile.store, R60M, tag=first).sizes["time"] == 4
    snapshot = repository.lookup_tag(first)
    assert package.open(repository, R60M, snapshot=snapshot).sizes["time"] == 4
    assert package.open(tile.store, R60M).sizes["time"] == 5


def test_opening_reads_nothing_of_the_eras_but_their_products(
    tile: Tile, mixed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a cube over all eras fewer chunks are read than of the main tree alone, beside the tables of products."""
    from icechunk.store import IcechunkStore

    tile.run("new", "old", "early")
    keys: list[str] = []
    original = IcechunkStore.get

    async def counted(self: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        if "/c/" in key or key.endswith("/c"):
            keys.append(key)
        return await original(self, key, *args, **kwargs)

    monkeypatch.setattr(IcechunkStore, "get", counted)

    def chunks_read(group: str | None, eras: str | None) -> set[str]:
        keys.clear()
        package.open(tile.store, group, eras=eras)
        return set(keys)

    trees = ("", *(f"eras/{era}/" for era in (OLD, EARLY)))
    times = {f"{tree}products/{name}/c/0" for tree in trees for name in ("time", "product_id")}
    grid = {f"{R60M}/{name}/c/0" for name in ("x", "y")}
    rasters = re.compile(r"/(b\d\w|scl|aot|wvp|tci|cld|snw)/c/")
    for group, era in ((R60M, MAIN), (R60M, None), (None, None)):
        read = chunks_read(group, era)
        assert grid <= read
        assert not [key for key in read if rasters.search(key)]
        assert era == MAIN or times <= read


def test_on_object_storage(s2ice: Command, mixed: dict[str, Any]) -> None:
    """A pixel through all eras is one request each, and a mirror serves them all."""
    with s3.serve() as service:
        for bucket in ("stores", "eodata", "mirror"):
            service.bucket(bucket)
        service.upload(mixed["samples"].root, "eodata", "s2/")
        service.upload(mixed["samples"].root, "mirror", "copy/")
        store = "s3://stores/tiles/33TVN"
        indexes = [item for group in ("new", "old", "early") for item in ("--index", mixed[group])]
        build = (
            *("build", "--tile", TILE, *indexes, "--source", "s3://eodata/s2", "--source-endpoint", service.endpoint),
            *("--store", store, "--store-endpoint", service.endpoint, "--memory", "none", "--json"),
        )
        report = s2ice(*build, **s3.ENVIRONMENT).json
        assert [era["era"] for era in report["eras"]] == [OLD, EARLY]
        options: dict[str, Any] = {"endpoint_url": service.endpoint, **s3.KEYS}
        reading: dict[str, Any] = {"credentials": s3.KEYS, "storage_options": options}
        assert list(package.eras(store, storage_options=options)) == [OLD, EARLY]
        cube = package.open(store, R60M, max_connections=2, **reading)
        assert cube.sizes["time"] == 5
        with zarr.config.set({"s2ice.reading": "fewest_requests"}), service.recorded() as requests:
            values = cube.b01[:, 5, 5].values
        assert len([r for r in requests if r.bucket == "eodata"]) == 5
        assert np.isfinite(values).all()
        mirror = {"url": "s3://mirror/copy", "endpoint_url": service.endpoint}
        again = package.open(store, R60M, source={"eodata": mirror}, **reading)
        with service.recorded() as requests:
            assert (again.b01[:, 5, 5].values == values).all()
        assert {r.bucket for r in requests} == {"stores", "mirror"}
        # Without news no store is written, and no file is asked.
        with service.recorded() as requests:
            assert "committed" not in s2ice(*build, **s3.ENVIRONMENT).json
        assert {r.method for r in requests} == {"GET"}
        assert not [r for r in requests if r.bucket == "eodata"]
