"""Runs without news: what they ask for, and that nothing that is news is missed."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from support import s3, tables
from support.living import Living, changes, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.archive import Archive
    from support.catalogue import Catalogue
    from support.command import Command

TILE = "33TVN"
DAYS = ("2024-06-01", "2024-06-06", "2024-06-11")


class Nightly:
    """The same command every night: an index that lies still, an API, a memory beside the store."""

    def __init__(self, s2ice: Command, archive: Archive, items: Catalogue, folder: Path) -> None:
        self.living = Living(s2ice, archive, folder / "stores")
        self.archive, self.items = archive, items
        self.index = folder / "nightly.parquet"
        self.memory = self.living.store / "s2ice" / "memory.parquet"
        self.names = [archive.add(day, base=number) for number, day in enumerate(DAYS)]
        self.publish(*self.names)
        self.write()

    def write(self) -> None:
        self.archive.index(self.index, self.names)

    def publish(self, *names: str) -> None:
        self.items.put(self.archive.items(names))

    def run(self, *more: object) -> dict[str, Any]:
        self.searches = len(self.items.searches)
        report = self.living.run(self.names, *more, index=self.index, stac=self.items.endpoint, memory=None)
        self.searches = len(self.items.searches) - self.searches
        return report

    def files(self) -> dict[str, int]:
        """Every file, the memory included."""
        return {str(path): path.stat().st_mtime_ns for path in self.living.store.rglob("*") if path.is_file()}

    def rests(self, *more: object) -> dict[str, Any]:
        """Nothing is read of the index and nothing is written."""
        before = self.files()
        # An access time that only a read moves on.
        stat = self.index.stat()
        os.utime(self.index, ns=(stat.st_mtime_ns - 10**9, stat.st_mtime_ns))
        report = self.run(*more)
        assert self.index.stat().st_atime_ns < stat.st_mtime_ns, "the index was read"
        assert self.files() == before
        assert "committed" not in report
        assert set(changes(report)) <= {"unchanged", "kept"}
        assert report["source_use"] == {"requests": 0, "bytes": 0, "from_cache": 0}
        return report


@pytest.fixture
def nightly(s2ice: Command, archive: Archive, items: Catalogue, tmp_path: Path) -> Nightly:
    return Nightly(s2ice, archive, items, tmp_path)


def test_a_quiet_night_reports_what_the_last_one_left(nightly: Nightly) -> None:
    first = nightly.run()
    for _ in range(2):
        report = nightly.rests()
        assert changes(report) == {"unchanged": 3}
        assert nightly.searches == 1
        assert report["catalogue"]["mode"] == "incremental"
        for same in ("times", "arrays", "angles", "references", "referenced_bytes", "products", "index", "refused"):
            assert report[same] == first[same], same
    # A run that is made in full says the same of the store.
    full = nightly.run("--full")
    assert changes(full) == {"unchanged": 3}
    for same in ("times", "arrays", "angles", "references", "referenced_bytes", "products", "index", "refused"):
        assert full[same] == first[same], same
    assert nightly.run("--dry-run")["dry_run"] is True


def another_product(nightly: Nightly) -> list[str]:
    name = nightly.archive.add("2024-06-16", base=3)
    nightly.names.append(name)
    nightly.write()
    nightly.publish(name)
    return ["appended"]


def row_that_no_item_announces(nightly: Nightly) -> list[str]:
    """Its item has been there for long: it was changed before the others."""
    name = nightly.archive.add("2024-05-20", base=3)
    nightly.archive.stamp(name, datetime(2024, 5, 21))
    nightly.names.append(name)
    nightly.write()
    nightly.publish(name)
    return ["inserted"]


def fewer_rows(nightly: Nightly) -> list[str]:
    """The same products, one raster less: it stays, and the run says that it was told less."""
    rows = nightly.archive.rows(nightly.names)
    tables.write(nightly.index, rows[:-1])
    return []


def item_changed(nightly: Nightly) -> list[str]:
    name = nightly.names[1]
    nightly.archive.products[name].item["properties"]["eo:cloud_cover"] += 1.5
    nightly.archive.stamp(name, datetime(2024, 6, 12))
    nightly.publish(name)
    return []


def reprocessed(nightly: Nightly) -> list[str]:
    name = nightly.archive.add(DAYS[1], base=3, generated="2024-07-01")
    nightly.names.append(name)
    nightly.write()
    nightly.publish(name)
    return ["replaced"]


NEWS = [another_product, row_that_no_item_announces, fewer_rows, item_changed, reprocessed]


@pytest.mark.parametrize("news", NEWS)
def test_news_is_found_after_quiet_nights(nightly: Nightly, news: Callable[[Nightly], list[str]]) -> None:
    nightly.run()
    nightly.rests()
    expected = news(nightly)
    report = nightly.run()
    assert nightly.searches >= 1
    for change in expected:
        assert report["changes"][change], report["changes"]
    # What one run over everything makes.
    fresh = Living(nightly.living.s2ice, nightly.archive, nightly.living.folder / "fresh")
    fresh.run(nightly.names, stac=nightly.items.endpoint)
    nightly.living.diff(fresh.store)
    nightly.run()
    nightly.rests()


def test_what_is_waited_for_is_asked_again(nightly: Nightly) -> None:
    """A file out of reach is tried by the next run: no night is quiet that has something to try."""
    folder = nightly.archive.root / f"{nightly.names[1]}.SAFE"
    (image,) = folder.rglob("*_B01_60m.jp2")
    away = image.rename(image.with_suffix(".away"))
    report = nightly.run()
    assert refused(report) == {(nightly.names[1], "B01_60m", "source")}
    away.rename(image)
    report = nightly.run()
    assert refused(report) == set()
    assert changes(report)["updated"] == [nightly.names[1]]
    nightly.rests()


def test_whoever_changed_the_store_meanwhile_is_noticed(nightly: Nightly) -> None:
    first = nightly.run()
    another_product(nightly)
    nightly.run()
    nightly.living.s2ice("rollback", nightly.living.store, first["published"], "-q")
    report = nightly.run()
    assert report["changes"]["appended"], "a rollback is no news of the source, but of the store"
    nightly.rests()


def test_another_question_is_asked_anew(nightly: Nightly) -> None:
    nightly.run("--arrays", "**/b01")
    assert [array["asset"] for array in nightly.rests("--arrays", "**/b01")["arrays"]] == ["B01_60m"]
    report = nightly.run()
    assert {array["asset"] for array in report["arrays"]} == {"B01_60m", "B09_60m"}
    nightly.rests()


def test_a_lost_memory_costs_requests_and_nothing_else(nightly: Nightly) -> None:
    nightly.run()
    nightly.memory.unlink()
    report = nightly.run()
    assert "committed" not in report
    assert changes(report) == {"unchanged": 3}
    nightly.rests()
    damaged = bytearray(nightly.memory.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    nightly.memory.write_bytes(damaged)
    assert changes(nightly.run()) == {"unchanged": 3}
    nightly.rests()


def test_the_requests_of_a_quiet_night(s2ice: Command, archive: Archive, items: Catalogue, tmp_path: Path) -> None:
    """Index, source and store on object storage, the catalogue an API."""
    names = [archive.add(day, base=number) for number, day in enumerate(DAYS)]
    items.put(archive.items(names))
    archive.index(tmp_path / "index.parquet", names)
    with s3.serve() as service:
        for bucket in ("eodata", "indexes", "stores"):
            service.bucket(bucket)
        service.upload(archive.root, "eodata")
        service.client.upload_file(str(tmp_path / "index.parquet"), "indexes", "33TVN.parquet")
        line = (
            *("build", "--tile", TILE, "--stac", items.endpoint, "--index", "s3://indexes/33TVN.parquet"),
            *("--index-option", f"endpoint={service.endpoint}"),
            *("--source", "s3://eodata", "--source-endpoint", service.endpoint),
            *("--store", "s3://stores/quiet/33TVN", "--store-endpoint", service.endpoint, "--json"),
        )
        s2ice(*line, **s3.ENVIRONMENT)
        searches = len(items.searches)
        with service.recorded() as requests:
            report = s2ice(*line, **s3.ENVIRONMENT).json
        assert changes(report) == {"unchanged": 3}
        assert len(items.searches) - searches == 1
        assert [r for r in requests if r.bucket == "eodata"] == []
        assert [r.method for r in requests if r.bucket == "indexes"] == ["HEAD"]
        assert {r.method for r in requests} <= {"HEAD", "GET"}
        assert len(requests) < 15, [f"{r.method} {r.path}" for r in requests]
        # The same bytes uploaded again have the same ETag; others are read.
        tables.write(tmp_path / "index.parquet", list(reversed(archive.rows(names))))
        service.client.upload_file(str(tmp_path / "index.parquet"), "indexes", "33TVN.parquet")
        with service.recorded() as requests:
            report = s2ice(*line, **s3.ENVIRONMENT).json
        assert changes(report) == {"unchanged": 3}
        assert "GET" in {r.method for r in requests if r.bucket == "indexes"}


def test_full_runs_find_files_that_were_replaced_without_a_word(nightly: Nightly) -> None:
    """The same index and items, and an older file: each full run looks at the next products, at all in the end."""
    nightly.run()
    for name in nightly.names:
        (image,) = (nightly.archive.root / f"{name}.SAFE").rglob("*_B01_60m.jp2")
        data, stat = image.read_bytes(), image.stat()
        image.unlink()
        image.write_bytes(data)
        os.utime(image, (stat.st_mtime - 5000, stat.st_mtime - 5000))
    assert changes(nightly.run()) == {"unchanged": 3}
    found = [nightly.run("--full")["changes"]["updated"] for _ in nightly.names]
    assert [len(names) for names in found] == [1, 1, 1]
    assert sorted(name for names in found for name in names) == sorted(nightly.names)
    assert changes(nightly.run("--full")) == {"unchanged": 3}
    nightly.living.is_as_built(nightly.names, stac=nightly.items.endpoint)
