"""Nights on which nobody could look, or what was seen did not fit: that is said, and asked again until it is known."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import test_core as core
from test_core_missing import Asking, change_index

from support import clocks, hosts, s3, tables
from support.archive import Archive
from support.living import B09, Living, changes, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.catalogue import Catalogue

RASTERS = ("B01_60m", "B09_60m")
WAYS = ("index", "missing")
DAY = timedelta(hours=25)


@pytest.fixture(params=core.MEMORIES, ids=["remembering", "forgetful"])
def memory(request: pytest.FixtureRequest) -> str | None:
    return request.param


@pytest.fixture
def how() -> str:
    """How products are known: by an index, where a test says nothing else."""
    return "index"


@pytest.fixture
def asking(living: Living, items: Catalogue, how: str, memory: str | None) -> Asking:
    """A store of three products that is asked about every night."""
    for name in core.some(living.archive, 3):
        living.archive.stamp(name, datetime(2024, 7, 1))
    return Asking(living, items, how, memory)


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("stores")
        yield service


@dataclass
class OnS3(Asking):
    """A store whose clock goes on with that of the hosts."""

    service: s3.Service

    def options(self, how: str, memory: str | None) -> dict[str, Any]:
        return super().options(how, memory) | {"store": f"s3://stores/{self.living.folder.parent.name}"}

    def line(self, *more: object) -> tuple[object, ...]:
        return super().line("--store-endpoint", self.service.endpoint, *more)

    def later(self, by: timedelta) -> None:
        """Hosts and service are ahead by so much."""
        self.service.ahead = by
        s2ice = core.with_keys(self.living.s2ice)
        self.living.s2ice = type(s2ice)(s2ice.binary, s2ice.environment | clocks.ahead(by))

    def is_as_indexed(self, *more: object) -> None:
        """By a build into a folder, on a host whose clock is right."""
        self.later(timedelta())
        fresh = Living(self.living.s2ice, self.archive, self.living.folder / "fresh")
        fresh.run(None, *more, **super().options("index", "none"))
        fresh.diff(self.options("index", "none")["store"], "--store-endpoint", self.service.endpoint)


@pytest.fixture
def aside(asking: Asking, service: s3.Service) -> Iterator[OnS3]:
    """What `asking` asks about, in such a store."""
    with clocks.moving(service):
        out = OnS3(asking.living, asking.items, asking.how, asking.memory, service)
        out.later(timedelta())
        yield out


def present(report: dict[str, Any]) -> dict[str, int]:
    return {array["asset"]: array["present"] for array in report["arrays"]}


def show(asking: Asking) -> None:
    """Index and catalogue have all that the archive has."""
    asking.show(*asking.archive.products)


def comes(asking: Asking, day: str, *changed: str, said: str = "2024-07-05") -> str:
    """Another product comes, and the items of these changed: when that was, the catalogue says of all of them."""
    new = asking.archive.add(day)
    for name in changed:
        asking.archive.stamp(name, datetime(2024, 7, 5))
    asking.archive.stamp(new, datetime.fromisoformat(said))
    show(asking)
    return new


def mended(asking: Asking, change: Callable[..., None] | None = None) -> None:
    """XML and rows of the second product are as they shall be, and its item says no more than before."""
    _, before, *_ = asking.archive.products.values()
    name = asking.archive.add("2024-06-06", base=1)
    asking.archive.products[name].item = before.item
    if change:
        change(asking.archive, name)
    show(asking)


def heals(asking: Asking, *more: object) -> dict[str, Any]:
    """The next run names nothing, then nothing is new, and all is as a build makes it."""
    report = asking.run(*more)
    assert refused(report) == set()
    asking.rests(*more)
    asking.is_as_indexed()
    return report


def replaced(path: Path, data: bytes) -> None:
    """Another file, also by its time."""
    stat = path.stat()
    core.own_file(path, data)
    os.utime(path, (stat.st_mtime - 5000,) * 2)


def shifted(living: Living, product: str, assets: Iterable[str]) -> None:
    """The same images in as many bytes, with a comment before the first tile-part, which begins later therefore."""
    for path in (core.file_of(living.archive, product, asset) for asset in assets):
        data = path.read_bytes()
        at = data.index(b"\xff\x90")
        replaced(path, (data[:at] + b"\xff\x64\x00\x04\x00\x01" + data[at:])[: len(data)])


def cut_xml(living: Living, product: str, assets: Iterable[str]) -> None:
    path = core.metadata_of(living.archive, product, "MTD_MSIL2A.xml")
    path.write_text(path.read_text()[:2000])


def no_xml(living: Living, product: str, assets: Iterable[str]) -> None:
    core.metadata_of(living.archive, product, "MTD_MSIL2A.xml").unlink()


UNSEEN = [
    *((how, cut_xml, core.offset, {(None, "metadata")}) for how in WAYS),
    *((how, no_xml, core.offset, {(None, "source")}) for how in WAYS),
    *((how, core.broken_angles, core.angles, {("MTD_TL angles", "metadata")}) for how in WAYS),
    ("index", core.without_rows, core.offset, {(None, "changed")}),
    ("index", core.broken_rows, core.offset, {(raster, "index") for raster in RASTERS}),
]


@pytest.mark.parametrize(("nights", "said"), [(1, "2024-09-05"), (2, "2024-07-05")], ids=["one night", "two nights"])
@pytest.mark.parametrize(("how", "trouble", "change", "told"), UNSEEN)
def test_what_changed_is_asked_until_it_tells(
    asking: Asking, trouble: Callable[..., None], change: Callable[..., None], told: set[Any], nights: int, said: str
) -> None:
    """Whatever else comes meanwhile, and however much later the catalogue dates that."""
    show(asking)
    asking.run()
    changed = list(asking.archive.products)[1]
    change(asking.archive, changed)
    trouble(asking.living, changed, RASTERS)
    for night in range(nights):
        new = comes(asking, f"2024-08-1{night}", *([changed] if night == 0 else []), said=said)
        report = asking.run()
        # That nothing is left of a product is said by the run that asks.
        assert refused(report) - {(changed, None, "empty")} == {(changed, *what) for what in told}
        assert report["changes"]["appended"] == [new]
    mended(asking, change)
    report = heals(asking)
    assert changed in str(changes(report)) + str(report["eras"])


@pytest.mark.parametrize("memory", [None])
@pytest.mark.parametrize("more", [(), ("--full",)], ids=["plain", "full"])
def test_what_a_full_run_finds_comes_in_when_there_are_rows(asking: Asking, more: tuple[str, ...]) -> None:
    """It is named by the run whose turn it is to look there."""
    names = list(asking.archive.products)
    show(asking)
    asking.run()
    core.offset(asking.archive, names[1])
    asking.archive.index(asking.index, [names[0], names[2]])
    told = [refused(asking.run("--full")) for _ in names]
    assert {(names[1], None, "changed")} in told
    show(asking)
    assert heals(asking, *more)["changes"]["moved"] == names[1:2]


@dataclass
class NoListings(hosts.Host):
    """One that knows no folders, and says so of every request that is for one."""

    says: str = "405 Method Not Allowed"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return super().__call__(environ, start_response)
        start_response(self.says, [("Content-Length", "0")])
        return [b""]


@pytest.mark.parametrize("says", ["405 Method Not Allowed", "404 Not Found"])
def test_a_server_without_listings_is_asked(asking: Asking, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    show(asking)
    changed = list(asking.archive.products)[1]
    monkeypatch.setattr(hosts, "Host", partial(NoListings, says=says))
    with hosts.serve(asking.archive.root) as (web,):
        options = asking.options("index", asking.memory) | {"source": web.address}
        asking.living.run(None, **options)
        path = core.file_of(asking.archive, changed, "B09_60m")
        replaced(path, path.read_bytes())
        new = comes(asking, "2024-08-11", changed)
        report = asking.living.run(None, **options)
        assert (report["changes"]["appended"], report["changes"]["updated"]) == ([new], [changed])
        asking.living.is_as_built(None, **options | {"memory": "none"})
        asking.living.rests(None, **options)


@pytest.mark.parametrize("how", ["missing"])
@pytest.mark.parametrize("told", [True, False], ids=["announced", "unannounced"])
@pytest.mark.parametrize("written", [True, False], ids=["written", "not written"])
def test_a_file_that_comes_after_its_item_is_waited_for(aside: OnS3, told: bool, written: bool) -> None:
    """Twice a night, night after night: also while the next look has to wait, and whatever is written meanwhile."""
    names = list(aside.archive.products)
    away = (path := core.file_of(aside.archive, names[1], "B09_60m")).rename(aside.archive.root / "away")
    more = ("--write-index", aside.archive.root / "written.parquet") if written else ()
    show(aside)
    for night in (0, 0, 1, 1):
        aside.later(night * DAY)
        report = aside.run(*more)
        assert refused(report) == {(names[1], "B09_60m", "source")}
        assert report["refused"][0]["reason"] == "its item names it, and its folder does not have it"
        assert present(report) == {"B01_60m": 3, "B09_60m": 2}
    away.rename(path)
    aside.later(2 * DAY)
    new = comes(aside, "2024-08-11", *(names[1:2] if told else ()))
    assert changes(heals(aside, *more)).items() >= {"appended": [new], "updated": names[1:2]}.items()


def test_what_an_answer_lacked_once_is_remembered_when_it_has_it(asking: Asking) -> None:
    """It cannot be read when it is shown for the first time; by then others are much newer."""
    first, late, new = asking.archive.products
    asking.archive.stamp(first, datetime(2024, 6, 2))
    asking.archive.stamp(new, datetime(2024, 9, 1))
    asking.show(first)
    asking.archive.index(asking.index, [first, late])
    report = asking.run()
    assert report["products"]["without_product"] == [{"product": late, "reason": "not in the catalogue"}]
    no_xml(asking.living, late, RASTERS)
    show(asking)
    report = asking.run()
    assert refused(report) == {(late, None, "source")}
    assert report["changes"]["appended"] == [new]
    mended(asking)
    assert heals(asking)["changes"]["inserted"] == [late]


def test_what_an_answer_lacked_once_can_be_superseded(asking: Asking) -> None:
    """It takes its place back when the other one can no longer be used."""
    archive = asking.archive
    first, old, _ = asking.archive.products
    archive.stamp(first, datetime(2024, 6, 2))
    asking.show(first)
    archive.index(asking.index, [first, old])
    asking.run()
    asking.show(first, old)
    assert asking.run()["changes"]["appended"] == [old]
    successor = core.again(archive, "2024-06-06", base=1)
    asking.show(first, old, successor)
    assert (old, None, "superseded") in refused(asking.run())
    core.broken_files(asking.living, successor, RASTERS)
    report = asking.run("--recheck", successor)
    assert {(successor, raster, "header") for raster in RASTERS} <= refused(report)
    assert (report["changes"]["inserted"], report["changes"]["removed"]) == ([old], [successor])
    assert "another one" in report["leaving"][0]["reason"]
    asking.is_as_indexed()
    asking.rests()


@pytest.mark.parametrize("how", ["missing"])
@pytest.mark.parametrize("which", [RASTERS[1:], RASTERS], ids=["one", "all"])
def test_files_made_anew_are_written_to_the_index_anew(asking: Asking, which: tuple[str, ...]) -> None:
    names = list(asking.archive.products)
    more = ("--write-index", written := asking.archive.root / "written.parquet")
    show(asking)
    asking.run(*more)
    for path, other in ([core.file_of(asking.archive, name, raster) for name in names[1::-1]] for raster in which):
        replaced(path, other.read_bytes())
    asking.archive.stamp(names[1], datetime(2024, 7, 5))
    show(asking)
    change_index(asking, names)
    report = heals(asking, *more)
    assert (report["leaving"], report["changes"]["updated"]) == ([], names[1:2])
    # By what was written too.
    asking.living.is_as_built(None, **asking.options("index", "none") | {"index": written})


def test_a_file_that_its_row_does_not_fit_leaves(asking: Asking) -> None:
    names = list(asking.archive.products)
    show(asking)
    asking.run()
    path = core.file_of(asking.archive, names[1], "B09_60m")
    good = path.read_bytes()
    shifted(asking.living, names[1], ["B09_60m"])
    comes(asking, "2024-08-11", names[1])
    report = asking.run()
    (left,) = report["leaving"]
    assert (left["product"], left["raster"]) == (names[1], "B09_60m")
    assert left["reason"].startswith("the file is another one by now: the first tile-part begins at byte")
    assert refused(report) == {(names[1], "B09_60m", "ranges")}
    asking.is_as_indexed()
    comes(asking, "2024-08-16")
    assert refused(asking.run()) == refused(report)
    assert asking.living.view().present[B09] == (True, False, True, True, True)
    core.own_file(path, good)
    asking.archive.stamp(names[1], datetime(2024, 7, 6))
    show(asking)
    assert heals(asking)["changes"]["updated"] == names[1:2]


@pytest.fixture
def copies(make_samples: Callable[..., Samples], living: Living) -> Archive:
    """The archive of `living` has two products with a band in two resolutions instead."""
    assets = ("--assets", "B01_20m,B01_60m,B09_60m", "--resolutions", "all")
    made = make_samples("--dates", "2", *assets, "--no-swath-edge")
    archive = living.archive = Archive(living.folder / "copies", made.root)
    archive.adopt(made.root)
    living.s2ice("index", "--source", archive.root, "-o", own := living.folder / "own.parquet", "-q")
    for name, product in archive.products.items():
        product.rows = [row for row in tables.rows(own) if row["product_id"].removesuffix(".SAFE") == name]
    return archive


BAD = [
    *((how, raster, core.broken_files, "header") for how in WAYS for raster in RASTERS),
    *(("index", raster, shifted, "ranges") for raster in RASTERS),
]


@pytest.mark.parametrize(("how", "raster", "bad", "kind"), BAD)
def test_what_a_file_has_wrong_is_looked_at_again_a_day_later(
    aside: OnS3, copies: Archive, raster: str, bad: Callable[..., None], kind: str
) -> None:
    """By the next run where nothing is remembered. Of B01 there is another copy, which stands in meanwhile."""
    name, _ = aside.archive.products
    path = core.file_of(copies, name, raster)
    good = path.read_bytes()
    bad(aside.living, name, [raster])
    show(aside)
    first = aside.run()
    assert refused(first) == {(name, raster, kind)}
    assert present(first) == {"B01_60m": 2, "B09_60m": 2} | {raster: 1} | ({"B01_20m": 1} if "B01" in raster else {})
    core.own_file(path, good)
    if aside.memory is None:
        report = aside.rests()
        assert (report["source_use"]["requests"], refused(report)) == (0, refused(first))
        aside.later(DAY)
    report = heals(aside)
    assert report["changes"]["updated"] == [name]
    assert present(report) == {"B01_60m": 2, "B09_60m": 2}


@pytest.mark.parametrize("memory", [None])
def test_a_full_run_that_loses_a_race_keeps_its_turn(aside: OnS3, items: Catalogue) -> None:
    """What it found was written by nobody: it is found again, and so many runs see so many products."""
    living, names = aside.living, list(aside.archive.products)
    show(aside)
    aside.run()
    for name in names:
        path = core.file_of(living.archive, name, "B09_60m")
        replaced(path, path.read_bytes())
    new = living.archive.add("2024-08-11")
    other = {"stac": None, "index": living.archive.index(living.archive.root / "new.parquet", [new])}

    def twist(page: dict[str, Any]) -> dict[str, Any]:
        """Another run comes and goes while this one waits for the catalogue."""
        items.twist = lambda page: page
        assert living.run(None, *aside.line(), **aside.options("index", "none") | other)["changes"]["appended"] == [new]
        return page

    items.twist = twist
    report = aside.run("--full")
    assert report["attempts"] == 2
    show(aside)
    found = [report["changes"]["updated"], *(aside.run("--full")["changes"]["updated"] for _ in names)]
    assert len(found[0]) == 1
    assert sorted(name for some in found for name in some) == sorted(names)
    aside.is_as_indexed()
