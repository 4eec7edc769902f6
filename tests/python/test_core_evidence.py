"""What products and files say against what a store remembers of them: nothing is mixed, guessed or passed over."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from test_core import (
    MEMORIES,
    angles,
    cloud_cover,
    file_of,
    land,
    offset,
    own_file,
    sensing_time,
    some,
    with_keys,
)

import s2ice as package
from support import cogs, s3, tables
from support.living import B01, TILE, Living, changes, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.catalogue import Catalogue
    from support.command import Command


def older(path: Path) -> None:
    """Another file with the same bytes and an older time, as a copy that keeps times makes it."""
    stat = path.stat()
    own_file(path)
    os.utime(path, (stat.st_mtime - 5000,) * 2)


# A product of which something was missing is made anew in its place, before that comes.


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("change", [offset, sensing_time])
@pytest.mark.parametrize("others", ["as they were", "others too"])
def test_what_comes_later_is_not_mixed_with_what_the_product_was(
    living: Living, memory: str | None, change: Callable[..., None], others: str
) -> None:
    archive = living.archive
    names = some(archive, 3)
    index = archive.index(archive.root / "still.parquet", names)
    late = file_of(archive, names[1], "B09_60m")
    away = late.rename(archive.root / "away")
    report = living.run(None, index=index, memory=memory)
    assert (names[1], "B09_60m", "source") in refused(report)
    away.rename(late)
    change(archive, names[1])
    if others == "others too":
        own_file(file_of(archive, names[1], "B01_60m"))
    report = living.run(None, index=index, memory=memory)
    assert not refused(report)
    living.is_as_built(None, index=index)


# The catalogue says that a product changed: its files are looked at, whatever the index says.


XML: dict[str, Callable[..., None]] = {
    "offset": offset,
    "time": sensing_time,
    "cover": cloud_cover,
    "angles": angles,
}


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("what", ["file", "offset", "time", "cover", "angles", "nothing", "out of reach"])
def test_a_changed_item_has_the_files_looked_at(
    living: Living, items: Catalogue, memory: str | None, what: str
) -> None:
    archive = living.archive
    names = some(archive, 3)
    items.put(archive.items(names))
    for name in names:
        own_file(file_of(archive, name, "B01_60m"))
    index = archive.index(archive.root / "still.parquet", names)
    api: dict[str, Any] = {"stac": items.endpoint, "index": index, "memory": memory}
    living.run(None, **api)
    if what in ("file", "out of reach"):
        older(file_of(archive, names[1], "B01_60m"))
    elif what in XML:
        XML[what](archive, names[1])
    archive.stamp(names[1], datetime(2024, 6, 30))
    items.put(archive.items(names))
    if what == "out of reach":
        folder = archive.root / f"{names[1]}.SAFE"
        away = folder.rename(archive.root / "away.SAFE")
        report = living.run(None, **api)
        assert names[1] in {product for product, *_ in refused(report)}
        away.rename(folder)
    report = living.run(None, **api)
    if what == "nothing":
        assert changes(report).keys() <= {"unchanged", "updated", "kept"}
        assert report["source_use"]["requests"] < 10, "the others are not looked at"
    else:
        assert names[1] in str(changes(report)) or names[1] in str(report["eras"])
    living.is_as_built(None, index=index, stac=items.endpoint)


# A full run looks at a share of the products: at their files and at their XML.


@pytest.mark.parametrize("change", [offset, sensing_time, cloud_cover])
def test_full_runs_find_an_xml_that_nothing_announces(
    living: Living, items: Catalogue, change: Callable[..., None]
) -> None:
    archive = living.archive
    names = some(archive, 3)
    items.put(archive.items(names))
    index = archive.index(archive.root / "still.parquet", names)
    api: dict[str, Any] = {"stac": items.endpoint, "index": index, "memory": None}
    living.run(None, **api)
    change(archive, names[1])
    for _ in names:
        living.run(None, "--full", **api)
    living.is_as_built(None, index=index, stac=items.endpoint)


def test_a_run_that_decides_twice_looks_at_one_share(living: Living, items: Catalogue) -> None:
    """A remembered successor comes in by the loss of what stood in its place: that must not use up a turn."""
    archive = living.archive
    names = [archive.add(day, base=1) for day in ("2024-05-27", "2024-06-06")]
    later = archive.add("2024-06-06", base=1, generated="2024-09-01")
    items.put(archive.items([*names, later]))
    index = archive.root / "still.parquet"
    archive.index(index, [*names, later])
    api: dict[str, Any] = {"stac": items.endpoint, "index": index, "memory": None}
    living.run(None, **api)
    older(file_of(archive, names[0], "B01_60m"))
    # The later processing loses a file for good; its older self has it.
    own_file(file_of(archive, later, "B09_60m"), b"no file any more")
    for row in archive.products[later].rows:
        row["path"] = "/" + row["path"].lstrip("/") if not row["path"].startswith("/") else row["path"].lstrip("/")
    archive.index(index, [*names, later])
    report = living.run(None, "--full", **api)
    assert names[1] in living.view().products, "its older self came back"
    assert names[0] in report["changes"]["updated"], "the first turn is the first product's"


# What a product's item admitted, its XML does not keep out.


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_cover_that_the_item_states_counts_in_every_run(living: Living, items: Catalogue, memory: str | None) -> None:
    archive = living.archive
    names = some(archive, 3)
    cloud_cover(archive, names[0])
    archive.products[names[0]].item["properties"]["eo:cloud_cover"] = 10.0
    archive.stamp(names[2], datetime(2024, 9, 1))
    items.put(archive.items(names))
    own_file(file_of(archive, names[0], "B01_60m"))
    index = archive.root / "own.parquet"
    living.s2ice("index", "--source", archive.root, "-o", index, "-q")
    api: dict[str, Any] = {"stac": items.endpoint, "index": index, "memory": memory}
    living.run(None, "--max-cloud-cover", 50, **api)
    # A time is remembered in seconds.
    older(file_of(archive, names[0], "B01_60m"))
    living.s2ice("index", "--source", archive.root, "-o", index, "-q")
    report = living.run(None, "--max-cloud-cover", 50, **api)
    # What changed does not tell: everything is asked for.
    assert report["catalogue"]["mode"] == "full"
    assert report["changes"]["updated"] == [names[0]]


# Pixels of a GeoTIFF that contradict the offset that its item states.


@pytest.mark.parametrize("more", [(), ("--recheck",), ("--full",)])
def test_what_its_pixels_contradict_leaves_until_it_can_be_used(
    s2ice: Command, tmp_path: Path, more: tuple[str, ...]
) -> None:
    def made(day: str) -> cogs.Product:
        product = cogs.Product(tmp_path, day=day)
        for band in ("B01", "B09"):
            product.add(band, 60, land(shifted=False), block=1024)
        return product

    def run(*more: str) -> dict[str, Any]:
        stac = tmp_path / "items.json"
        stac.write_text(json.dumps({"type": "FeatureCollection", "features": [changing.item, other.item]}))
        line = ("build", "--source-kind", "cog", "--tile", TILE, "--stac", stac, "--source", tmp_path)
        return s2ice(*line, "--store", tmp_path / "store", "--json", *more).json

    changing, other = made("20240501"), made("20240506")
    run()
    times = {file: file.stat().st_mtime for _, file in changing.files.values()}
    for band in ("B01", "B09"):
        changing.add(band, 60, land(shifted=True), block=1024)
    for file, time in times.items():
        os.utime(file, (time - 5000,) * 2)
    changing.updated = "2024-06-02T03:00:00.123Z"
    report = run(*more)
    assert [(left["product"], "another one" in left["reason"]) for left in report["leaving"]] == [(changing.name, True)]
    assert (changing.name, None, "metadata") in refused(report)
    opened = package.open(str(tmp_path / "store"), B01.rpartition("/")[0])
    assert opened.time.size == 1
    # The same pixels with the offset that they have.
    for band in ("B01", "B09"):
        changing.add(band, 60, land(shifted=False), block=1024)
    changing.updated = "2024-06-03T03:00:00.123Z"
    assert changing.name in str(changes(run()))


# What is assumed is not worth more than what was read.


@pytest.mark.parametrize("rows", ["same", "others"])
def test_assuming_changes_nothing_that_was_read(living: Living, rows: str) -> None:
    archive = living.archive
    names = some(archive, 3)
    offset(archive, names[1])
    living.run(names)
    before = living.view()
    if rows == "others":
        for row in archive.products[names[1]].rows:
            row["path"] = "/" + row["path"] if not row["path"].startswith("/") else row["path"].lstrip("/")
    new = archive.add("2024-06-16", base=3)
    living.run([*names, new], "--headers", "assume")
    after = living.view()
    assert after.eras == before.eras
    assert (after.products[:-1], after.times[:-1]) == (before.products, before.times)
    assert after.products[-1] == new
    living.run([*names, new])
    living.is_as_built([*names, new])


# A source that is silent about one product is not silent.


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("eodata")
        yield service


def test_one_product_whose_files_never_answer_is_left_out(living: Living, service: s3.Service) -> None:
    archive = living.archive
    names = some(archive, 3)
    service.upload(archive.root, "eodata", "silent/")
    living.s2ice = with_keys(living.s2ice)
    more = ("--source-endpoint", service.endpoint, "--source-option", "timeout=1 second")
    with service.holding(lambda request: names[1] in request.path and request.path.endswith(".jp2")):
        report = living.run(names, *more, source="s3://eodata/silent/")
    assert living.view().products == (names[0], names[2])
    assert {(product, kind) for product, _, kind in refused(report)} >= {(names[1], "source")}


# What is taken away is counted together, whatever takes it.


def test_pruned_and_other_files_are_counted_together(living: Living) -> None:
    archive = living.archive
    start = datetime(2024, 1, 1)
    names = [archive.add(f"{start + timedelta(days=5 * at):%Y-%m-%d}", base=at) for at in range(24)]
    living.run(names)
    for name in names[:11]:
        for row in archive.products[name].rows:
            path = file_of(archive, name, tables.asset(row))
            own_file(path, path.read_bytes() + b"\0")
            row["path"] = "/" + row["path"] if not row["path"].startswith("/") else row["path"].lstrip("/")
    sentence = living.fails([*names[:11], *names[22:]], "--prune")
    assert "--prune would remove 22 more" in sentence, sentence
    assert len(living.view().products) == 24
