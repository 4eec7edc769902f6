"""What an operator once lost: each fault of the core that was seen, as a test of its whole kind."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

import s2ice as package
from support import catalogue, cogs, mirrors, s3, stores, tables
from support.archive import Archive
from support.living import B01, B09, TILE, Living, changes, refused
from test_gate import swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.catalogue import Catalogue
    from support.command import Command

MAIN = ("B01_60m", "SCL_60m", "AOT_60m", "WVP_60m")
"""What a successor must have of what stands."""
EXTRA = ("TCI_60m", "MSK_CLDPRB_60m")
"""What holds nothing back."""
MEMORIES = (None, "none")
"""Beside the store, and nowhere: no result depends on it."""
ALL = ("--prune", "--prune-limit", 100)


@pytest.fixture(scope="module")
def rich(make_samples: Callable[..., Samples], once: Callable[..., Path], s2ice: Command) -> Path:
    """Two products with a band, SCL, AOT, WVP, TCI and a mask, all of them in the index."""
    assets = "B01_60m,SCL_60m,AOT_60m,WVP_60m,TCI_60m,MSK_CLDPRB_60m"
    options = ("--dates", "2", "--assets", assets, "--no-swath-edge")

    def fill(folder: Path) -> None:
        make_samples(*options, into=folder)
        s2ice("index", "--source", folder, "-o", folder / "own.parquet", "-q")
        tables.write(folder / "index.parquet", tables.rows(folder / "own.parquet"))

    return once(f"core {options}", fill)


@pytest.fixture
def archive(bases: Samples, tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive", bases.root)


@pytest.fixture
def living(s2ice: Command, archive: Archive, tmp_path: Path) -> Living:
    return Living(s2ice, archive, tmp_path / "stores")


@pytest.fixture
def full(s2ice: Command, rich: Path, tmp_path: Path) -> Living:
    """A store of products that have a raster of every kind."""
    return Living(s2ice, Archive(tmp_path / "rich", rich), tmp_path / "stores")


@pytest.fixture
def items() -> Iterator[Catalogue]:
    with catalogue.serve() as served:
        yield served


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        for bucket in ("eodata", "stores", "indexes"):
            service.bucket(bucket)
        yield service


def some(archive: Archive, count: int, first: int = 1) -> list[str]:
    """Products five days apart."""
    return [archive.add(f"2024-06-{first + 5 * at:02}", base=at) for at in range(count)]


def again(archive: Archive, day: str = "2024-06-01", **fields: Any) -> str:
    """The same acquisition, processed later."""
    return archive.add(day, generated="2024-09-01", **fields)


def file_of(archive: Archive, product: str, asset: str) -> Path:
    (path,) = (archive.root / f"{product}.SAFE").rglob(f"*{asset}.jp2")
    return path


def metadata_of(archive: Archive, product: str, name: str) -> Path:
    (path,) = (archive.root / f"{product}.SAFE").rglob(name)
    return path


def change(path: Path, pattern: str, text: str, count: int = 0) -> None:
    """Replace text in a file, which must be there."""
    changed, found = re.subn(pattern, text, path.read_text(), count=count)
    assert found, pattern
    path.write_text(changed)


def own_file(path: Path, data: bytes | None = None) -> None:
    """Make a file one of its own, since those of an archive are linked; with other bytes, where they are given."""
    data = path.read_bytes() if data is None else data
    path.unlink()
    path.write_bytes(data)


def only(row: dict[str, Any], product: str, assets: Iterable[str]) -> bool:
    return row["product_id"].removesuffix(".SAFE") == product and tables.asset(row) in assets


# 1. Whatever way a successor has less, what stands stays.


def without_rows(full: Living, product: str, assets: Iterable[str]) -> None:
    archive = full.archive
    archive.products[product].rows = [row for row in archive.products[product].rows if not only(row, product, assets)]


def broken_rows(full: Living, product: str, assets: Iterable[str]) -> None:
    """The index cell is cut short."""
    rows = full.archive.products[product].rows
    full.archive.products[product].rows = [
        row | {"index": row["index"][:30]} if only(row, product, assets) else row for row in rows
    ]


def without_files(full: Living, product: str, assets: Iterable[str]) -> None:
    for asset in assets:
        file_of(full.archive, product, asset).unlink()


def broken_files(full: Living, product: str, assets: Iterable[str]) -> None:
    """What is there has the right size, and is no image."""
    for asset in assets:
        path = file_of(full.archive, product, asset)
        own_file(path, b"P5 9 9 255\n".ljust(path.stat().st_size))


WAYS = [without_rows, broken_rows, without_files, broken_files]
LACKS = [*((asset,) for asset in MAIN), MAIN[1:], (*MAIN[:3], *EXTRA)]


def restore(full: Living, product: str, rich: Path) -> None:
    """Make a product whole again."""
    base = Archive(full.folder / "whole", rich)
    day, generated = product.split("_")[2], product.split("_")[6]
    name = base.add(f"{day[:4]}-{day[4:6]}-{day[6:8]}", generated=f"{generated[:4]}-{generated[4:6]}-{generated[6:8]}")
    assert name == product
    shutil.rmtree(full.archive.root / f"{product}.SAFE")
    shutil.copytree(base.root / f"{product}.SAFE", full.archive.root / f"{product}.SAFE")
    full.archive.products[product].rows = base.products[product].rows


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lacks", LACKS, ids=lambda lacks: "+".join(lacks))
def test_a_successor_with_less_waits_until_it_is_whole(
    full: Living, rich: Path, way: Callable[..., None], lacks: tuple[str, ...]
) -> None:
    old, new = full.archive.add("2024-06-01"), again(full.archive)
    full.run([old])
    before = full.view()
    way(full, new, lacks)
    for names in ([old, new], [new]):
        report = full.rests(names)
        (waits,) = report["incomplete"]
        assert (waits["product"], waits["stays"]) == (new, old)
        assert set(waits["lacks"]) == set(lacks) & set(MAIN)
        assert (new, None, "incomplete") in refused(report)
        assert full.view() == before
    # Nor is it another store where both come at once.
    full.is_as_built([old, new])
    restore(full, new, rich)
    assert changes(full.run([old, new])) == {"replaced": [{"product": old, "by": new}]}
    full.is_as_built([old, new])


@pytest.mark.parametrize("way", [without_rows, broken_rows])
def test_a_remembered_successor_is_seen_to_be_whole(full: Living, rich: Path, way: Callable[..., None]) -> None:
    old, new = full.archive.add("2024-06-01"), again(full.archive)
    full.run([old], memory=None)
    way(full, new, ("B01_60m",))
    for _ in range(2):
        assert full.run([old, new], memory=None)["incomplete"][0]["lacks"] == ["B01_60m"]
    restore(full, new, rich)
    assert changes(full.run([old, new], memory=None)) == {"replaced": [{"product": old, "by": new}]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lacks", EXTRA)
def test_a_missing_mask_or_quick_look_holds_nothing_back(full: Living, way: Callable[..., None], lacks: str) -> None:
    old, new = full.archive.add("2024-06-01"), again(full.archive)
    full.run([old])
    way(full, new, [lacks])
    report = full.run([old, new])
    assert changes(report) == {"replaced": [{"product": old, "by": new}]}
    assert report["incomplete"] == []
    if way is not without_rows:
        assert (new, lacks) in {(r["product"], r.get("raster")) for r in report["refused"]}
    full.is_as_built([old, new])


@pytest.mark.parametrize("way", WAYS)
def test_what_will_never_be_whole_is_accepted_on_request(full: Living, way: Callable[..., None]) -> None:
    old, new = full.archive.add("2024-06-01"), again(full.archive)
    full.run([old])
    way(full, new, MAIN[1:])
    report = full.run([old, new], "--accept-incomplete")
    assert changes(report) == {"replaced": [{"product": old, "by": new}]}
    (left,) = report["leaving"]
    assert (left["product"], left["reason"]) == (old, f"{new} takes its place")
    # Without the order, the whole one is the better again.
    assert changes(full.run([old, new])) == {"replaced": [{"product": new, "by": old}]}


def test_a_successor_without_metadata_takes_no_place(full: Living) -> None:
    old, new = full.archive.add("2024-06-01"), again(full.archive)
    full.run([old])
    metadata_of(full.archive, new, "MTD_TL.xml").unlink()
    report = full.rests([old, new])
    assert {(product, kind) for product, _, kind in refused(report)} == {(new, "source")}


# 2. An answer that is cut short takes nothing away, and hides nothing from the next run.


def saved(living: Living, names: list[str], **more: Any) -> Path:
    path = living.folder / "page.json"
    living.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": living.archive.items(names)} | more))
    return path


def next_link(href: str) -> list[dict[str, str]]:
    return [{"rel": "next", "href": href}]


def page_with_next(living: Living, shown: list[str]) -> Path:
    return saved(living, shown, links=next_link("https://catalogue.example/search?page=2"))


def page_of_more(living: Living, shown: list[str]) -> Path:
    return saved(living, shown, numberMatched=len(shown) + 7)


def page_in_context(living: Living, shown: list[str]) -> Path:
    return saved(living, shown, context={"matched": 99, "returned": len(shown)})


def folder_with_a_broken_page(living: Living, shown: list[str]) -> Path:
    folder = living.folder / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    living.archive.stac(folder / "1.json", shown)
    (folder / "2.json").write_text('{"type": "FeatureCollection", "features": [{')
    return folder


def lines_cut(living: Living, shown: list[str]) -> Path:
    path = living.folder / "items.ndjson"
    living.folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(item) for item in living.archive.items(shown)]
    path.write_text("\n".join([*lines, lines[0][:200]]))
    return path


CUT = [page_with_next, page_of_more, page_in_context, folder_with_a_broken_page, lines_cut]


@pytest.mark.parametrize("cut", CUT)
def test_a_saved_answer_that_is_cut_short_prunes_nothing(living: Living, cut: Callable[..., Path]) -> None:
    names = some(living.archive, 6)
    living.run(names[:4], stac=True)
    where = cut(living, names[3:5])
    outcome = living.s2ice(*living.line(names, *ALL, "--json", stac=str(where)))
    report = outcome.json
    assert changes(report) == {"appended": [names[4]], "unchanged": 1, "kept": 3}
    assert report["stac"]["incomplete"]
    assert report["catalogue"]["watermark"] is None if "watermark" in report["catalogue"] else True
    assert "WARN" in outcome.stderr or "incomplete" in outcome.stderr or "not complete" in outcome.stderr
    # What a whole answer does not have goes, and what was hidden comes.
    report = living.run(names, *ALL, stac=living.archive.stac(living.folder / "whole.json", names[1:]))
    assert (report["changes"]["removed"], report["changes"]["appended"]) == (names[:1], names[5:])


def no_more_pages(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"features": page["features"][:2], "links": [], "numberMatched": 6}


def no_more_pages_in_context(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"features": page["features"][:2], "links": [], "context": {"matched": 6}}


def next_repeats(page: dict[str, Any]) -> dict[str, Any]:
    link = {"rel": "next", "method": "POST", "href": "/search", "merge": True, "body": {"token": "0"}}
    return page | {"features": page["features"][:2], "links": [link]}


def next_is_nowhere(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"features": page["features"][:2], "links": [{"rel": "next", "method": "GET", "href": "/nowhere"}]}


@pytest.mark.parametrize("memory", MEMORIES, ids=["remembering", "forgetting"])
@pytest.mark.parametrize("twist", [no_more_pages, no_more_pages_in_context, next_repeats, next_is_nowhere])
def test_an_api_that_stops_early_prunes_nothing(
    living: Living, items: Catalogue, twist: Callable[..., dict[str, Any]], memory: str | None
) -> None:
    names = some(living.archive, 4)
    items.put(living.archive.items(names))
    api: dict[str, Any] = {"stac": items.endpoint, "memory": memory}
    before = living.run(names, **api)["catalogue"]["watermark"]
    newer = some(living.archive, 2, first=21)
    names += newer
    items.put(living.archive.items(newer))
    items.twist = twist
    report = living.run(names, *ALL, "--full", **api)
    assert report["stac"]["incomplete"]
    assert report["changes"]["removed"] == []
    assert report["catalogue"]["watermark"] == before
    items.twist = lambda page: page
    # Without being told to ask for everything.
    living.run(names, **api)
    assert living.view().products == tuple(names)
    living.rests(names, *ALL, **api)


# 3. Nothing that was there before is touched, however a first build ends.


def clone_and_settings(folder: Path) -> None:
    for name in ("s2ice/README.md", "s2ice/.git/config", "config.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")


def like_a_repository(folder: Path) -> None:
    for name in ("refs/x", "snapshots/a", "manifests/b", "chunks/c", "transactions/d", "overwritten/e", "repo"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")


def memory_of_old(folder: Path) -> None:
    (folder / "s2ice").mkdir(parents=True)
    (folder / "s2ice/memory.parquet").write_text("mine")
    (folder / "s2ice/notes.txt").write_text("mine")


def linked(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere/thesis.txt").write_text("mine")
    (folder / "s2ice").symlink_to(folder.parent / "elsewhere")
    (folder / "config.yaml").symlink_to(folder.parent / "elsewhere/thesis.txt")


def texts(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_text() for path in files if path.read_bytes() == b"mine"}


FOREIGN = [clone_and_settings, like_a_repository, memory_of_old, linked]


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, None], ids=["INT", "TERM", "failing"])
def test_nothing_foreign_is_deleted(
    living: Living, monkeypatch: pytest.MonkeyPatch, foreign: Callable[[Path], None], sign: signal.Signals | None
) -> None:
    names = some(living.archive, 1)
    foreign(living.store)
    monkeypatch.chdir(living.store)
    before = texts(living.store)
    assert before
    if sign is None:
        living.s2ice(*living.line(names, store=".", source=living.folder / "nowhere", memory=None), code=1)
    else:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(20)
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            run = living.s2ice.start(*living.line(names, "-q", store=".", source=url, memory=None))
            time.sleep(0.2)
            run.send_signal(sign)
            run.communicate(timeout=30)
    assert texts(living.store) == before
    # Nor by a build that ends well, or that sees that the place is taken.
    outcome = living.s2ice.start(*living.line(names, store=".", memory=None))
    outcome.communicate(timeout=60)
    kept = texts(living.store)
    assert {name for name in before if name not in kept} <= {str(living.store / "s2ice/memory.parquet")}


# 4. The index files are part of the question.


@pytest.mark.parametrize("memory", MEMORIES, ids=["remembering", "forgetting"])
@pytest.mark.parametrize("given", ["added", "exchanged", "grown", "added and taken away"])
def test_what_another_index_has_comes_in(living: Living, items: Catalogue, given: str, memory: str | None) -> None:
    """The catalogue has no news, and is asked for changes only."""
    names = some(living.archive, 4)
    items.put(living.archive.items(names))
    first, second = (
        living.archive.index(living.archive.root / f"{name}.parquet", part)
        for name, part in (("new", names[2:]), ("old", names[:2]))
    )
    api: dict[str, Any] = {"stac": items.endpoint, "memory": memory}
    assert changes(living.run(None, index=first, **api)) == {"appended": names[2:]}
    living.run(None, index=first, **api)
    more: tuple[object, ...] = ("--index", second)
    if given == "exchanged":
        first, more = second, ()
    elif given == "grown":
        living.archive.index(first, names)
        more = ()
    report = living.run(None, *more, index=first, **api)
    assert changes(report)["inserted"] == names[:2]
    assert living.view().products == tuple(names)
    if given == "added and taken away":
        living.rests(None, index=first, **api)
        living.rests(None, *more, index=first, **api)
    else:
        living.rests(None, *more, index=first, **api)


# 5. The limit of --index-missing is for new products, and what failed once comes back.


def missing(*more: object) -> tuple[object, ...]:
    return ("--index-missing", *more)


@pytest.mark.parametrize("full_run", [False, True], ids=["incremental", "full"])
@pytest.mark.parametrize("partial", [False, True], ids=["whole", "partial"])
def test_the_limit_is_spent_on_new_products(
    living: Living, items: Catalogue, full_run: bool, partial: bool
) -> None:
    """Those that the store holds stand behind, also where they lack a raster."""
    held = some(living.archive, 3)
    if partial:
        for name in held:
            file_of(living.archive, name, "B09_60m").unlink()
    items.put(living.archive.items(held))
    api: dict[str, Any] = {"stac": items.endpoint, "index": None, "memory": None}
    living.run(None, *missing(), **api)
    new = [living.archive.add("2024-06-21", base=3), living.archive.add("2024-06-26", base=2)]
    items.put(living.archive.items(new))
    limit = ("--index-missing-limit", 1, *(("--full",) if full_run else ()))
    for count in (1, 2):
        living.run(None, *missing(*limit), **api)
        assert living.view().products == (*held, *new[:count])


@pytest.mark.parametrize("full_run", [False, True], ids=["incremental", "full"])
@pytest.mark.parametrize("written", [False, True], ids=["forgotten", "written"])
@pytest.mark.parametrize("memory", MEMORIES, ids=["remembering", "forgetting"])
def test_a_raster_that_failed_once_comes_back(
    living: Living, items: Catalogue, full_run: bool, written: bool, memory: str | None
) -> None:
    names = some(living.archive, 2)
    items.put(living.archive.items(names))
    path = file_of(living.archive, names[0], "B09_60m")
    path.rename(path.with_suffix(".away"))
    api: dict[str, Any] = {"stac": items.endpoint, "index": None, "memory": memory}
    more = ("--write-index", living.archive.root / "learned.parquet") if written else ()
    living.run(None, *missing(*more), **api)
    assert living.view().present[B09] == (False, True)
    path.with_suffix(".away").rename(path)
    report = living.run(None, *missing(*more), *(("--full",) if full_run else ()), **api)
    assert living.view().present[B09] == (True, True), report["changes"]
    living.is_as_built(names)


# 6. What a catalogue has wrong or does not know hides nothing.


def mirrored(item: dict[str, Any]) -> None:
    """A polygon on the other side of the earth."""
    west, south, east, north = item["bbox"]
    item["bbox"] = [-east, south, -west, north]
    item["geometry"]["coordinates"] = [[[-x, y] for x, y in ring] for ring in item["geometry"]["coordinates"]]


def elsewhere(item: dict[str, Any]) -> None:
    item["bbox"] = [-70.0, -30.0, -69.0, -29.0]
    corners = [[-70, -30], [-69, -30], [-69, -29], [-70, -29], [-70, -30]]
    item["geometry"] = {"type": "Polygon", "coordinates": [corners]}


def round_the_earth(item: dict[str, Any]) -> None:
    item["bbox"] = [-180.0, 46.0, 180.0, 47.0]
    corners = [[179.9, 46], [-179.9, 46], [-179.9, 47], [179.9, 47], [179.9, 46]]
    item["geometry"] = {"type": "Polygon", "coordinates": [corners]}


def null_geometry(item: dict[str, Any]) -> None:
    item["geometry"] = None
    del item["bbox"]


@pytest.mark.parametrize("api", [False, True], ids=["file", "API"])
@pytest.mark.parametrize("wrong", [mirrored, elsewhere, round_the_earth, null_geometry])
def test_a_wrong_polygon_hides_no_item(
    living: Living, items: Catalogue, wrong: Callable[[dict[str, Any]], None], api: bool
) -> None:
    names = some(living.archive, 3)
    wrong(living.archive.products[names[1]].item)
    items.put(living.archive.items(names))
    living.run(names, stac=items.endpoint if api else True)
    assert living.view().products == tuple(names)
    if api:
        asked = [search for search in items.searches if search["limit"] > 1]
        assert asked
        assert not any({"bbox", "intersects"} & set(search) for search in asked)


@pytest.mark.parametrize("api", [False, True], ids=["file", "API"])
@pytest.mark.parametrize("value", ["absent", None])
def test_an_unknown_cloud_cover_is_asked_of_the_product(
    living: Living, items: Catalogue, value: str | None, api: bool
) -> None:
    names = some(living.archive, 3)
    properties = living.archive.products[names[1]].item["properties"]
    known = properties["eo:cloud_cover"]
    if value == "absent":
        del properties["eo:cloud_cover"]
    else:
        properties["eo:cloud_cover"] = value
    items.put(living.archive.items(names))
    stac = items.endpoint if api else True
    report = living.run(names, "--max-cloud-cover", 100, stac=stac)
    assert report["changes"]["appended"] == names
    # Too cloudy by its XML: named, wherever it came from.
    store = living.folder / "clear"
    code = 0 if any(p.item["properties"].get("eo:cloud_cover") for p in living.archive.products.values()) else 1
    assert code == 0
    limit = known - 0.5
    report = living.run(names, "--max-cloud-cover", limit, stac=stac, store=store)
    assert (names[1], None, "filtered") in refused(report)
    (reason,) = (r["reason"] for r in report["refused"] if r["product"] == names[1])
    assert "cloud cover is" in reason


# 7. The guard counts rasters too.


@pytest.mark.parametrize("limit", [0, 50])
@pytest.mark.parametrize("narrower", [("**/b01",), ("**/scl", "**/tci")], ids=["one of six", "two of six"])
def test_narrower_arrays_are_stopped_by_the_guard(full: Living, narrower: tuple[str, ...], limit: int) -> None:
    names = [full.archive.add("2024-06-01"), full.archive.add("2024-06-06", base=1)]
    full.run(names)
    arrays = [option for pattern in narrower for option in ("--arrays", pattern)]
    sentence = full.fails(names, "--prune", "--prune-limit", limit, *arrays)
    assert f"--prune would remove {2 * (6 - len(narrower))} of 12 rasters" in sentence
    assert "--prune-limit" in sentence
    report = full.run(names, *ALL, *arrays)
    assert report["changes"]["updated"] == names
    assert {left["reason"] for left in report["leaving"]} == {"pruned: the inputs no longer have it"}
    full.is_as_built(names, *arrays)
