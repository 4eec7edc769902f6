"""What a run cannot read, index or use this time: it stays, is named, and is tried again, whatever is remembered."""

from __future__ import annotations

import copy
import os
import shutil
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from test_core import MEMORIES, file_of, land, missing, own_file, rich, some, with_keys

from support import cogs, s3, tables
from support.archive import Archive
from support.living import B01, B09, TILE, Living, changes, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.catalogue import Catalogue
    from support.command import Command

__all__ = ["rich"]

CLD = "quality/probability/r60m/cld"
OLD = ("2024-01-01", "2024-06-01", "2024-06-06")
"""The first one changed long before the others."""


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("eodata")
        yield service


def reads(request: s3.Request, ends: tuple[str, ...]) -> bool:
    return request.method != "PUT" and request.path.endswith(ends)


class Missing:
    """A store that is indexed on the fly, of an archive on S3 and of an API."""

    def __init__(self, living: Living, items: Catalogue, service: s3.Service, memory: str | None) -> None:
        self.living, self.archive, self.items, self.service = living, living.archive, items, service
        self.prefix = f"{living.folder.parent.name}/"
        self.living.s2ice = with_keys(living.s2ice)
        source = f"s3://eodata/{self.prefix}"
        self.api: dict[str, Any] = {"stac": items.endpoint, "index": None, "memory": memory, "source": source}

    def add(self, *days: str) -> list[str]:
        names = [self.archive.add(day, base=at) for at, day in enumerate(days)]
        self.show(*names)
        self.service.upload(self.archive.root, "eodata", self.prefix)
        return names

    def show(self, *names: str) -> None:
        self.items.put(self.archive.items(names))

    def line(self, *more: object) -> tuple[object, ...]:
        return missing("--source-endpoint", self.service.endpoint, *more)

    def run(self, *more: object, stale: bool | None = False) -> dict[str, Any]:
        return self.living.run(None, *self.line(*more), stale=stale, **self.api)

    def fails(self, *more: object) -> str:
        return self.living.fails(None, *self.line(*more), **self.api)

    @contextmanager
    def denying(self, product: str, *ends: str) -> Iterator[None]:
        with self.service.denying(lambda request: reads(request, ends) and product in request.path):
            yield

    @contextmanager
    def holding(self, product: str, *ends: str) -> Iterator[None]:
        with self.service.holding(lambda request: reads(request, ends) and product in request.path):
            yield

    def asked(self, *more: object) -> tuple[dict[str, Any], list[str]]:
        """Run, and give the products whose images were read."""
        with self.service.recorded() as requests:
            report = self.run(*more)
        images = [request.path for request in requests if request.path.endswith(".jp2")]
        return report, sorted({name for name in self.archive.products if any(name in path for path in images)})

    def present(self, array: str) -> tuple[bool, ...]:
        return self.living.view().present[array]


@pytest.fixture(params=MEMORIES, ids=["remembering", "forgetful"])
def night(living: Living, items: Catalogue, service: s3.Service, request: pytest.FixtureRequest) -> Missing:
    return Missing(living, items, service, request.param)


@pytest.fixture
def remembering(living: Living, items: Catalogue, service: s3.Service) -> Missing:
    return Missing(living, items, service, None)


# 1. Pruning takes away what is not there, not what cannot be read.


def test_what_cannot_be_indexed_again_is_not_pruned(night: Missing) -> None:
    names = night.add("2024-06-01", "2024-06-06", "2024-06-11")
    night.run()
    for ends in (("B09_60m.jp2",), (".jp2",), (".xml",)):
        with night.denying(names[1], *ends):
            report = night.run("--prune", "--recheck", names[1])
        assert report["leaving"] == []
        assert names[1] in str(report["refused"])
    assert night.present(B09) == night.present(B01) == (True,) * 3
    # What is gone is.
    for key in [row["path"] for row in night.archive.products[names[1]].rows if "B09" in row["path"]]:
        night.service.client.delete_object(Bucket="eodata", Key=f"{night.prefix}{key.lstrip('/')}")
    report = night.run("--prune", "--recheck", names[1])
    assert [(left["product"], left["raster"]) for left in report["leaving"]] == [(names[1], "B09_60m")]


def test_a_folder_that_cannot_be_listed_prunes_no_mask(
    s2ice: Command, rich: Path, items: Catalogue, service: s3.Service, tmp_path: Path
) -> None:
    """The item's own addresses stand in, and leave out the masks."""
    night = Missing(Living(s2ice, Archive(tmp_path / "rich", rich), tmp_path / "stores"), items, service, None)
    name = night.archive.add("2024-06-01")
    for row in night.archive.products[name].rows:
        if "MSK_" not in row["path"]:
            href = f"s3://eodata/{night.prefix}{row['path'].lstrip('/')}"
            night.archive.products[name].item["assets"][row["path"][-11:]] = {"href": href}
    for key, asset in list(night.archive.products[name].item["assets"].items()):
        if not asset["href"].startswith("s3://eodata/"):
            del night.archive.products[name].item["assets"][key]
    night.show(name)
    service.upload(night.archive.root, "eodata", night.prefix)
    night.run()
    assert night.present(CLD) == (True,)
    with service.denying(lambda request: request.path.rstrip("/") == "/eodata"):
        report = night.run("--prune", "--recheck")
    assert report["leaving"] == []
    assert night.present(CLD) == (True,)


@pytest.mark.parametrize("more", [(), ("--prune",), ("--prune", "--full")])
def test_a_store_that_is_up_to_date_can_be_pruned_without_an_index(night: Missing, more: tuple[str, ...]) -> None:
    names = night.add("2024-06-01", "2024-06-06", "2024-06-11", "2024-06-16")
    night.run()
    assert not {"removed", "updated"} & set(changes(night.run(*more)))
    del night.items.items[names[3]]
    night.run(*more)
    assert night.living.view().products == tuple(names[: 3 if more else 4])


# 2. What fails for now is tried by the next run, however old it is.


@pytest.mark.parametrize("ends", [("B09_60m.jp2",), (".jp2",), ("MTD_TL.xml",), ("MTD_TL.xml", ".jp2")])
@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
def test_an_old_product_that_failed_comes_back(night: Missing, ends: tuple[str, ...], lost: bool) -> None:
    with night.denying("20240101T100559", *ends):
        names = night.add(*OLD)
        first = night.run()
        if lost:
            shutil.rmtree(night.living.store / "s2ice", ignore_errors=True)
        second = night.run()
    told = [report["refused"] + report["products"]["without_index"] for report in (first, second)]
    assert all(names[0] in str(what) for what in told), "named by every run"
    again(night)
    report = night.run()
    assert night.present(B09) == (True, True, True), report
    assert night.living.view().products == tuple(names)
    assert report["catalogue"]["pending"] == 0


def again(night: Missing) -> None:
    """Let the time pass that is waited: a memory that is lost does not wait."""
    shutil.rmtree(night.living.store / "s2ice", ignore_errors=True)


def test_what_is_remembered_is_not_searched_for(remembering: Missing) -> None:
    """The store waits for the oldest, the search goes on where it was."""
    night = remembering
    with night.denying("20240101T100559", "B09_60m.jp2"):
        names = night.add(*OLD)
        night.run()
        # By the next run, then after some minutes.
        report, asked = night.asked()
        assert asked == names[:1]
        for _ in range(2):
            served = night.items.served
            report, asked = night.asked()
            assert asked == []
            assert report["catalogue"]["since"] > "2024-06-01"
            assert night.items.served - served <= 1
            assert refused(report) == {(names[0], "B09_60m", "source")}
        # Also by a run that is not quiet.
        new = night.add("2024-06-16")
        report, asked = night.asked()
        assert (report["changes"]["appended"], asked) == (new, new)
        assert refused(report) == {(names[0], "B09_60m", "source")}
    # A store that was put back is not the one that the search was made for.
    night.living.s2ice("rollback", night.living.store, "-q")
    night.run()
    assert night.living.view().products == (*names, *new)


def test_an_old_item_that_comes_late_is_not_forgotten(night: Missing) -> None:
    """A full search finds it, its files fail, and nothing else changes."""
    names = night.add(*OLD[1:])
    night.run()
    old = night.archive.add(OLD[0], base=2)
    night.show(old)
    night.service.upload(night.archive.root, "eodata", night.prefix)
    with night.denying(old, ".jp2"):
        night.run("--full")
        night.run("--full")
    again(night)
    night.run()
    assert night.living.view().products == (old, *names)
    before = night.living.view().snapshot
    night.run()
    assert night.living.view().snapshot == before


@pytest.mark.parametrize("how", ["folder", "images"])
def test_files_that_come_after_their_item_are_found(night: Missing, how: str) -> None:
    names = night.add("2024-06-01", "2024-06-06")
    late = night.archive.add("2024-06-11", base=2)
    night.show(late)
    if how == "folder":
        report = night.run()
        night.service.upload(night.archive.root, "eodata", night.prefix)
    else:
        night.service.upload(night.archive.root, "eodata", night.prefix)
        with night.denying(late, ".jp2"):
            report = night.run()
    (left,) = report["products"]["without_index"]
    assert left["product"] == late
    assert ("were not found" if how == "folder" else "403") in left["reason"]
    report = night.run()
    assert report["changes"]["appended"] == [late]
    assert night.living.view().products == (*names, late)
    again(night)
    night.living.rests(None, *night.line(), **night.api)


def test_a_first_build_that_may_read_nothing_says_so(night: Missing) -> None:
    with night.denying("", ".jp2"):
        night.add("2024-06-01", "2024-06-06")
        sentence = night.fails()
    assert "403" in sentence
    assert "not in the index" not in sentence


# 3. The limit is for what can be had.


@pytest.mark.parametrize("ends", [None, (".jp2",)], ids=["nowhere", "refused"])
def test_what_fails_does_not_use_up_the_limit(night: Missing, ends: tuple[str, ...] | None) -> None:
    names = night.add("2024-05-01", "2024-05-06", "2024-06-01", "2024-06-06", "2024-06-11")
    bad = names[:2]
    if ends is None:
        for name in bad:
            keys = night.service.client.list_objects_v2(Bucket="eodata", Prefix=f"{night.prefix}{name}.SAFE")
            for found in keys["Contents"]:
                night.service.client.delete_object(Bucket="eodata", Key=found["Key"])
    limit = ("--index-missing-limit", 1)
    fails = ends or ()
    with night.service.denying(lambda r: reads(r, fails) and any(name in r.path for name in bad)):
        for count in (1, 2, 3, 3):
            # Where only these two are left, nothing is seen.
            report = night.run(*limit, stale=None)
            assert night.living.view().products == tuple(names[2 : 2 + count])
        assert {left["product"] for left in report["products"]["without_index"]} == set(bad)


@pytest.mark.parametrize("ends", [".xml", ".jp2"])
def test_one_product_that_never_answers_ends_no_run(night: Missing, ends: str) -> None:
    names = night.add("2024-06-01", "2024-06-06", "2024-06-11")
    with night.holding(names[1], ends):
        report = night.run("--source-option", "timeout=1 second")
    assert night.living.view().products == (names[0], names[2])
    assert {(product, kind) for product, _, kind in refused(report)} >= {(names[1], "source")}
    night.run()
    assert night.living.view().products == tuple(names)


def test_what_is_superseded_does_not_use_up_the_limit(night: Missing) -> None:
    """The item tells the datastrip: no file of an earlier processing is asked."""
    night.add("2024-06-01")
    later = [night.archive.add(day, generated="2024-09-01") for day in ("2024-05-02", "2024-05-07")]
    night.show(*later)
    night.service.upload(night.archive.root, "eodata", night.prefix)
    night.run()
    earlier = [night.archive.add(day) for day in ("2024-05-02", "2024-05-07")]
    new = night.archive.add("2024-06-16")
    night.show(*earlier, new)
    night.service.upload(night.archive.root, "eodata", night.prefix)
    report, asked = night.asked("--full", "--index-missing-limit", 1)
    assert (report["changes"]["appended"], asked) == ([new], [new])
    assert {(name, None, "superseded") for name in earlier} <= refused(report)


# 4. What is ordered is done.


def replace(path: Path, days: int = 1) -> None:
    """Copy a file anew: the same bytes, another time."""
    stat = path.stat()
    own_file(path)
    os.utime(path, (stat.st_mtime + days * 86_400,) * 2)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("which", ["one", "all"])
def test_a_product_outside_the_changes_is_looked_at_on_order(
    living: Living, items: Catalogue, memory: str | None, which: str
) -> None:
    names = some(living.archive, 3)
    items.put(living.archive.items(names))
    api: dict[str, Any] = {"stac": items.endpoint, "index": None, "memory": memory}
    living.run(None, *missing(), **api)
    replace(file_of(living.archive, names[0], "B01_60m"))
    order = ("--recheck", *(names[:1] if which == "one" else ()), "--index-missing-limit", 1)
    assert living.run(None, *missing(*order), **api)["changes"]["updated"] == names[:1]


def test_full_runs_find_replaced_files_without_an_index(living: Living, items: Catalogue) -> None:
    names = some(living.archive, 3)
    items.put(living.archive.items(names))
    api: dict[str, Any] = {"stac": items.endpoint, "index": None, "memory": None}
    living.run(None, *missing(), **api)
    for name in names:
        replace(file_of(living.archive, name, "B01_60m"), days=-1)
    found = [living.run(None, *missing("--full"), **api)["changes"]["updated"] for _ in names]
    assert sorted(name for names in found for name in names) == sorted(names)
    living.rests(None, *missing("--full"), **api)


@pytest.mark.parametrize("memory", MEMORIES)
def test_what_waited_is_stored_with_what_its_item_says(living: Living, items: Catalogue, memory: str | None) -> None:
    """A successor becomes whole by a row of the index, long after its item was last shown."""
    archive = living.archive
    old, new = archive.add("2024-06-01"), archive.add("2024-06-01", generated="2024-09-01")
    late = archive.add("2024-06-06", base=1)
    for name, day in ((old, 1), (new, 2), (late, 60)):
        archive.stamp(name, datetime(2025, 1, 1) + timedelta(days=day))
    rows = archive.products[new].rows
    archive.products[new].rows = [row for row in rows if tables.asset(row) != "B09_60m"]
    api: dict[str, Any] = {"stac": items.endpoint, "memory": memory}
    for names in ([old, new], [old, new, late]):
        items.put(archive.items(names))
        living.run(names, **api)
    assert living.view().products == (old, late)
    archive.products[new].rows = rows
    report = living.run([old, new, late], **api)
    assert [replaced["by"] for replaced in report["changes"]["replaced"]] == [new]
    living.is_as_built([old, new, late], **api)


@pytest.mark.parametrize("stac", [False, True])
def test_an_order_about_an_unknown_product_is_not_silent(living: Living, stac: bool) -> None:
    names = some(living.archive, 2)
    living.run(names, stac=stac)
    other = living.archive.add("2024-07-01")
    outcome = living.s2ice(*living.line(names, "--recheck", other, stac=stac))
    assert other in outcome.stderr
    outcome = living.s2ice(*living.line(names[:1], "--recheck", names[1], stac=stac))
    assert names[1] in outcome.stderr
    outcome = living.s2ice(*living.line(names, "--recheck", names[1], stac=stac))
    assert names[1] not in outcome.stderr


# 5. The same of GeoTIFFs.


class Tiffs:
    """A store of GeoTIFFs that an API names."""

    def __init__(self, s2ice: Command, folder: Path, items: Catalogue, memory: str | None) -> None:
        self.s2ice, self.folder, self.items, self.memory = s2ice, folder, items, memory
        self.store = folder / "stores" / TILE

    def add(self, day: str) -> cogs.Product:
        product = cogs.Product(self.folder, day=day)
        for band in ("B01", "B09"):
            product.add(band, 60, land(shifted=False), block=1024, **cogs.DEFLATE)
        updated = datetime.strptime(day, "%Y%m%d") + timedelta(days=1)
        product.updated = f"{updated:%Y-%m-%d}T03:00:00.123Z"
        product.properties["created"] = product.updated
        self.items.put([product.item])
        return product

    def run(self, *more: object) -> dict[str, Any]:
        memory = ("--memory", self.memory) if self.memory else ()
        return self.s2ice(
            *("build", "--source-kind", "cog", "--tile", TILE, "--stac", self.items.endpoint, "--source", self.folder),
            *("--collection", "sentinel-2-c1-l2a", "--store", self.store, "--json", *memory, *more),
        ).json


@pytest.fixture(params=MEMORIES, ids=["remembering", "forgetful"])
def tiffs(s2ice: Command, items: Catalogue, tmp_path: Path, request: pytest.FixtureRequest) -> Tiffs:
    return Tiffs(s2ice, tmp_path, items, request.param)


def rasters(report: dict[str, Any]) -> dict[str, int]:
    return {array["asset"]: array["present"] for array in report["arrays"]}


def other_offset(item: dict[str, Any]) -> None:
    for asset in item["assets"].values():
        asset["raster:bands"][0]["offset"] = 0


def no_offset(item: dict[str, Any]) -> None:
    del item["assets"]["nir09"]["raster:bands"]


def other_band(item: dict[str, Any]) -> None:
    item["assets"]["nir09"]["eo:bands"] = [{"name": "B11"}]


def other_size(item: dict[str, Any]) -> None:
    item["assets"]["nir09"]["file:size"] = "large"


@pytest.mark.parametrize("misstate", [other_offset, no_offset, other_band, other_size])
@pytest.mark.parametrize("all_of_them", [False, True])
def test_an_item_that_cannot_be_used_prunes_nothing(
    tiffs: Tiffs, misstate: Callable[[dict[str, Any]], None], all_of_them: bool
) -> None:
    products = [tiffs.add("20240501"), tiffs.add("20240506")]
    tiffs.run()
    good = [copy.deepcopy(product.item) for product in products]
    for item in good if all_of_them else good[:1]:
        bad = copy.deepcopy(item)
        misstate(bad)
        tiffs.items.put([bad])
    report = tiffs.run("--prune")
    assert report["leaving"] == []
    assert (products[0].name, "metadata") in {(r["product"], r["kind"]) for r in report["refused"]}
    assert rasters(report) == {"B01_60m": 2, "B09_60m": 2}
    # What its item does not name goes.
    tiffs.items.put(good)
    gone = copy.deepcopy(good[0])
    del gone["assets"]["nir09"]
    tiffs.items.put([gone])
    report = tiffs.run("--prune")
    assert [(left["product"], left["raster"]) for left in report["leaving"]] == [(products[0].name, "B09_60m")]
    assert rasters(report) == {"B01_60m": 2, "B09_60m": 1}


def test_an_old_geotiff_that_failed_comes_back(tiffs: Tiffs) -> None:
    old = tiffs.add("20240101")
    tiffs.add("20240516")
    path = old.files["B09_60m"][1]
    away = path.rename(path.with_suffix(".away"))
    tiffs.run()
    report = tiffs.run()
    assert refused(report) == {(old.name, "B09_60m", "source")}
    away.rename(path)
    shutil.rmtree(tiffs.store / "s2ice", ignore_errors=True)
    report = tiffs.run()
    assert report["changes"]["updated"] == [old.name]
    assert rasters(report) == {"B01_60m": 2, "B09_60m": 2}


def test_a_geotiff_outside_the_changes_is_looked_at_on_order(tiffs: Tiffs) -> None:
    old = tiffs.add("20240101")
    tiffs.add("20240516")
    tiffs.run()
    replace(old.files["B01_60m"][1])
    assert changes(tiffs.run()).get("updated") is None
    assert tiffs.run("--recheck", old.name)["changes"]["updated"] == [old.name]
