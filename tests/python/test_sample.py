"""`--headers sample`: a first build reads one header of each class of a product, later runs read the rest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from support import s3, stores, tables
from support.archive import Archive
from support.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

TILE = "33TVN"
ASSETS = "B01_60m,B02_60m,B03_60m,B09_60m,SCL_60m,TCI_60m"
RASTERS, CLASSES, XML, LISTING = 6, 3, 2, 1
TURNS = 8
QCD = b"\xff\x5c"


@dataclass
class Sampled:
    """Ten products, whose index has no headers, and stores of them."""

    s2ice: Command
    archive: Archive
    folder: Path

    @property
    def index(self) -> Path:
        return self.archive.index(self.folder / "index.parquet")

    def build(self, store: str, headers: str = "sample", *more: object, source: str | None = None) -> dict[str, Any]:
        options = ("--tile", TILE, "--index", self.index, "--source", source or self.archive.root, "--no-angles")
        outcome = self.s2ice(
            "build", *options, "--store", self.folder / store, "--headers", headers, "--json", *more, code=(0, 3)
        )
        return outcome.json

    def headers(self, store: str) -> set[str]:
        report = self.s2ice("info", self.folder / store, "--json").json
        return {report["headers"], *(array["header"] for array in report["arrays"])}

    def until_verified(self, store: str) -> list[dict[str, Any]]:
        reports = [self.build(store)]
        while reports[-1]["products"]["inferred"]:
            assert len(reports) <= 2 * TURNS
            reports.append(self.build(store))
        return reports

    def equal(self, left: str, right: str) -> None:
        self.s2ice("diff", self.folder / left, self.folder / right, code=0)
        places = [self.folder / left, self.folder / right]
        mine, other = (stores.data_arrays(stores.local(place)) for place in places)
        assert mine == other


@pytest.fixture
def sampled(s2ice: Command, make_samples: Callable[..., Samples], tmp_path: Path) -> Sampled:
    samples = make_samples("--dates", "1", "--assets", ASSETS, "--no-swath-edge")
    archive = Archive(tmp_path / "archive", samples.root)
    for day in range(1, 11):
        archive.add(f"2024-01-{2 * day:02}")
    return Sampled(s2ice, archive, tmp_path)


def test_a_first_build_asks_for_little_and_later_runs_for_the_rest(sampled: Sampled) -> None:
    count = len(sampled.archive.products)
    read = sampled.build("read", "read")
    assert read["source_use"]["requests"] == count * (XML + RASTERS)
    first = sampled.build("sample")
    assert first["source_use"]["requests"] == count * (XML + LISTING + CLASSES)
    assert first["products"]["inferred"] == count
    assert sampled.headers("sample") == {"inferred"}
    chunks = [asyncio.run(stores.chunks(stores.local(sampled.folder / name))) for name in ("read", "sample")]
    assert chunks[0] == chunks[1] != set()

    later = sampled.until_verified("sample")
    share = -(-count // TURNS)
    assert len(later) == -(-count // share)
    for report in later:
        assert report["source_use"]["requests"] == share * (XML + RASTERS)
        assert len(report["changes"]["updated"]) == share
        assert report["committed"]
    assert sampled.headers("sample") == {"verified"}
    sampled.equal("read", "sample")

    quiet = sampled.build("sample")
    assert (quiet["source_use"]["requests"], quiet.get("committed")) == (0, None)
    # What comes later is inferred too, and nothing else is asked.
    sampled.archive.add("2024-03-01")
    more = sampled.build("sample")
    assert (more["source_use"]["requests"], more["products"]["inferred"]) == (XML + LISTING + CLASSES, 1)


def test_all_at_once(sampled: Sampled) -> None:
    sampled.build("sample")
    report = sampled.build("sample", "read")
    assert (report["products"]["inferred"], len(report["changes"]["updated"])) == (0, 10)
    sampled.build("read", "read")
    sampled.equal("read", "sample")
    assert sampled.build("sample", "sample")["source_use"]["requests"] == 0
    # What the files told is not given up for what the classes would.
    assert sampled.build("sample", "assume")["changes"]["updated"] == []
    assert sampled.headers("sample") == {"verified"}


def raster(sampled: Sampled, day: int, asset: str) -> tuple[dict[str, Any], Path]:
    product = list(sampled.archive.products.values())[day]
    (row,) = (row for row in product.rows if tables.asset(row) == asset)
    return row, sampled.archive.root / row["path"].lstrip("/")


def replaced(path: Path, content: bytes) -> None:
    """Files of an archive are links."""
    path.unlink()
    path.write_bytes(content)


def test_a_header_that_is_another_after_all_is_found_and_dealt_with(sampled: Sampled) -> None:
    _, path = raster(sampled, 4, "B09_60m")
    content = bytearray(path.read_bytes())
    content[content.index(QCD) + 4] ^= 0x60  # one guard bit becomes two: every pixel would be another one
    replaced(path, bytes(content))
    sampled.build("read", "read")
    sampled.build("sample")
    reports = sampled.until_verified("sample")
    assert any(report["eras"] or report["refused"] for report in reports)
    sampled.equal("read", "sample")


def test_the_sample_itself_stands_for_nothing_where_it_is_unknown(sampled: Sampled) -> None:
    for asset in ("B01_60m", "B02_60m", "B03_60m", "B09_60m"):
        _, path = raster(sampled, 4, asset)
        content = bytearray(path.read_bytes())
        content[content.index(QCD) + 4] ^= 0x60
        replaced(path, bytes(content))
    read = sampled.build("read", "read")
    report = sampled.build("sample")
    listing = (XML + LISTING + CLASSES) * 10
    # All four of its bands are read, and nothing is left to be listed for.
    assert report["source_use"]["requests"] == listing - LISTING + 3
    assert [era["placed"] for era in report["eras"]] == [era["placed"] for era in read["eras"]]
    assert report["refused"] == read["refused"]


def test_tiles_that_are_elsewhere_leave_when_they_are_read(sampled: Sampled) -> None:
    row, _ = raster(sampled, 0, "B09_60m")
    row["index"] = swapped(row["index"])
    read = sampled.build("read", "read")
    assert [(refusal["raster"], refusal["kind"]) for refusal in read["refused"]] == [("B09_60m", "ranges")]
    assert sampled.build("sample")["refused"] == []
    first = sampled.build("sample")
    assert [left["raster"] for left in first["leaving"]] == ["B09_60m"]
    sampled.until_verified("sample")
    sampled.equal("read", "sample")


def swapped(index: bytes) -> bytes:
    """The index of a file whose first two tiles have changed their lengths."""
    changed, style = bytearray(index), index[25]
    tile, length = style >> 4 & 3, 4 if style & 0x40 else 2
    first, second = (26 + number * (tile + length) + tile for number in (0, 1))
    ends = first + length, second + length
    changed[first : ends[0]], changed[second : ends[1]] = index[second : ends[1]], index[first : ends[0]]
    assert changed != index
    return bytes(changed)


def test_what_is_not_as_indexed_is_read(sampled: Sampled) -> None:
    _, path = raster(sampled, 2, "B09_60m")
    replaced(path, path.read_bytes() + b"\0")
    raster(sampled, 3, "B03_60m")[1].unlink()
    report = sampled.build("sample")
    told = {(refusal["raster"], refusal["kind"]) for refusal in report["refused"]}
    assert told == {("B09_60m", "changed"), ("B03_60m", "source")}


def test_a_file_that_cannot_be_had_does_not_hold_up_the_others(sampled: Sampled) -> None:
    sampled.build("sample")
    _, gone = raster(sampled, 0, "B09_60m")
    gone.unlink()
    left = []
    for _ in range(TURNS):
        left.append(sampled.build("sample"))
    assert [report["products"]["inferred"] for report in left][-1] == 1
    assert left[-1]["refused"][0]["raster"] == "B09_60m"


def test_a_source_without_listings_is_read(sampled: Sampled) -> None:
    host = Host(sampled.archive.root)
    host.start()
    try:
        report = sampled.build("sample", "sample", source=host.address)
    finally:
        host.stop()
    assert report["products"]["inferred"] == 0
    assert sampled.headers("sample") == {"verified"}


def test_versions_of_a_bucket_are_those_of_its_files(sampled: Sampled) -> None:
    with s3.serve() as service:
        service.bucket("eodata")
        service.upload(sampled.archive.root, "eodata")
        options = ("--source-endpoint", service.endpoint)
        for store, headers in (("read", "read"), ("sample", "sample")):
            options = ("--tile", TILE, "--index", sampled.index, "--source", "s3://eodata", "--no-angles")
            options += ("--source-endpoint", service.endpoint, "--store", sampled.folder / store)
            with service.recorded() as requests:
                report = sampled.s2ice("build", *options, "--headers", headers, "--json", **s3.ENVIRONMENT).json
            assert len(requests) == report["source_use"]["requests"]
        assert len(requests) == 10 * (XML + LISTING + CLASSES)
        names = [sampled.folder / name for name in ("read", "sample")]
        # The references are the same, ETags included.
        left, right = (contents(sampled, name) for name in names)
        assert left == right


def contents(sampled: Sampled, store: Path) -> Any:
    """References with what they are checked against, as Icechunk tells them."""
    table = sampled.folder / f"{store.name}.parquet"
    sampled.s2ice("export", "manifest", store, "-o", table)
    return tables.rows(table)
