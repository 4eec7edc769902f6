"""What an operator once lost: each fault of the core that was seen, as a test of its whole kind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from test_gate import swapped

import s2ice as package
from support import cogs, mirrors, s3, tables
from support.archive import Archive
from support.living import B01, B09, TILE, Living, changes, refused

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
def full(s2ice: Command, rich: Path, tmp_path: Path) -> Living:
    """A store of products that have a raster of every kind."""
    return Living(s2ice, Archive(tmp_path / "rich", rich), tmp_path / "stores")


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
LESS = [
    *((without_rows, lacks) for lacks in (MAIN[:1], MAIN[1:2], MAIN[2:], (*MAIN[:3], *EXTRA))),
    *((way, (asset,)) for way, asset in zip(WAYS[1:], MAIN, strict=False)),
]


def restore(full: Living, product: str, rich: Path) -> None:
    """Make a product whole again."""
    base = Archive(full.folder / "whole", rich)
    day, generated = product.split("_")[2], product.split("_")[6]
    name = base.add(f"{day[:4]}-{day[4:6]}-{day[6:8]}", generated=f"{generated[:4]}-{generated[4:6]}-{generated[6:8]}")
    assert name == product
    shutil.rmtree(full.archive.root / f"{product}.SAFE")
    shutil.copytree(base.root / f"{product}.SAFE", full.archive.root / f"{product}.SAFE")
    full.archive.products[product].rows = base.products[product].rows


@pytest.mark.parametrize(("way", "lacks"), LESS, ids=[f"{way.__name__} {'+'.join(lacks)}" for way, lacks in LESS])
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
    if lacks == MAIN[:1]:
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
    for _ in range(3):
        report = full.run([old, new], memory=None)
        assert changes(report) == {"unchanged": 1}
        (reason,) = (r["reason"] for r in report["refused"] if r["kind"] == "incomplete")
        assert f"it lacks B01_60m of {old}, which stays" in reason
    restore(full, new, rich)
    assert changes(full.run([old, new], memory=None)) == {"replaced": [{"product": old, "by": new}]}


def test_an_incomplete_successor_is_in_every_report(full: Living) -> None:
    old, new = full.archive.add("2024-06-01"), again(full.archive)
    full.run([old], memory=None)
    without_rows(full, new, MAIN[:1])
    waits = [full.run([old, new], memory=None)["incomplete"] for _ in range(2)]
    assert waits[1] == waits[0] == [{"product": new, "lacks": ["B01_60m"], "stays": old}]


@pytest.mark.parametrize(("way", "lacks"), [*((way, "TCI_60m") for way in WAYS), (without_rows, "MSK_CLDPRB_60m")])
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


@pytest.mark.parametrize("way", [without_rows, without_files])
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
    outcome = living.s2ice(*living.line(names, *ALL, "--json", stac=str(where)), code=3)
    report = outcome.json
    assert {"removed", "replaced", "updated"}.isdisjoint(changes(report))
    assert report["changes"]["appended"] == [names[4]]
    assert report["stac"]["incomplete"]
    assert report["stac"]["incomplete"][0] in outcome.stderr, "it is said on the terminal too"
    # What a whole answer does not have goes, and what was hidden comes.
    report = living.run(names, *ALL, stac=living.archive.stac(living.folder / "whole.json", names[1:]))
    assert (report["changes"]["removed"], report["changes"]["appended"]) == (names[:1], names[5:])


def no_more_pages(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"features": page["features"][:2], "links": [], "numberMatched": 6}


def next_repeats(page: dict[str, Any]) -> dict[str, Any]:
    link = {"rel": "next", "method": "POST", "href": "/search", "merge": True, "body": {"token": "0"}}
    return page | {"features": page["features"][:2], "links": [link]}


def next_is_nowhere(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"features": page["features"][:2], "links": [{"rel": "next", "method": "GET", "href": "/nowhere"}]}


@pytest.mark.parametrize(
    ("twist", "memory"),
    [
        (no_more_pages, None),
        (no_more_pages, "none"),
        (next_repeats, None),
        (next_is_nowhere, "none"),
    ],
)
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
    report = living.run(names, *ALL, "--full", stale=True, **api)
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
@pytest.mark.parametrize("sign", [signal.SIGINT, None], ids=["interrupted", "failing"])
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


@pytest.mark.parametrize(
    ("given", "memory"),
    [("added", None), ("added", "none"), ("exchanged", None), ("grown", None), ("added and taken away", "none")],
)
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


def with_keys(s2ice: Command) -> Command:
    return type(s2ice)(s2ice.binary, s2ice.environment | s3.ENVIRONMENT)


def missing(*more: object) -> tuple[object, ...]:
    return ("--index-missing", *more)


@pytest.mark.parametrize("full_run", [False, True], ids=["incremental", "full"])
@pytest.mark.parametrize(
    "partial",
    [False, True],
    ids=["whole", "partial"],
)
def test_the_limit_is_spent_on_new_products(living: Living, items: Catalogue, full_run: bool, partial: bool) -> None:
    """Those that the store holds stand behind, also where they lack a raster and could be asked for it."""
    held = some(living.archive, 3)
    if partial:
        for name in held:
            broken_files(living, name, ["B09_60m"])
    items.put(living.archive.items(held))
    api: dict[str, Any] = {"stac": items.endpoint, "index": None}
    living.run(None, *missing(), **api)
    new = [living.archive.add("2024-06-21", base=3), living.archive.add("2024-06-26", base=2)]
    items.put(living.archive.items(new))
    limit = ("--index-missing-limit", 1, *(("--full",) if full_run else ()))
    for count in (1, 2):
        living.run(None, *missing(*limit), **api)
        assert living.view().products == (*held, *new[:count])


@pytest.mark.parametrize(
    ("full_run", "written", "memory"), [(False, False, None), (False, True, "none"), (True, True, None)]
)
def test_a_raster_that_failed_once_comes_back(
    living: Living, items: Catalogue, service: s3.Service, full_run: bool, written: bool, memory: str | None
) -> None:
    names = some(living.archive, 2)
    items.put(living.archive.items(names))
    prefix = f"failed-{full_run}-{written}-{memory}/"
    service.upload(living.archive.root, "eodata", prefix)
    living.s2ice = with_keys(living.s2ice)
    learned = living.archive.root / "learned.parquet"
    line = missing("--source-endpoint", service.endpoint, *(("--write-index", learned) if written else ()))
    api: dict[str, Any] = {"stac": items.endpoint, "index": None, "memory": memory, "source": f"s3://eodata/{prefix}"}
    with service.denying(lambda r: names[0] in r.path and "B09" in r.path):
        report = living.run(None, *line, **api)
    assert (names[0], "B09_60m", "source") in refused(report)
    assert living.view().present[B09] == (False, True)
    report = living.run(None, *line, *(("--full",) if full_run else ()), **api)
    assert living.view().present[B09] == (True, True), report["changes"]
    living.rests(None, *line, **api)


@pytest.mark.parametrize(("way", "which"), [(without_files, "all"), (broken_files, "one")])
def test_a_raster_that_is_put_right_comes_back_on_order(
    living: Living, items: Catalogue, way: Callable[..., None], which: str
) -> None:
    """A file that was not there yet, and one that was no image: whatever is remembered of them."""
    names = some(living.archive, 2)
    items.put(living.archive.items(names))
    path = file_of(living.archive, names[0], "B09_60m")
    data = path.read_bytes()
    way(living, names[0], ["B09_60m"])
    api: dict[str, Any] = {"stac": items.endpoint, "index": None, "memory": None}
    living.run(None, *missing(), **api)
    assert living.view().present[B09] == (False, True)
    path.write_bytes(data)
    order = ("--full", "--recheck", *(names[:1] if which == "one" else ()))
    report = living.run(None, *missing(), *order, **api)
    assert living.view().present[B09] == (True, True), report["changes"]


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
    living.archive.products[names[0]].item["properties"]["eo:cloud_cover"] = 0.0
    items.put(living.archive.items(names))
    report = living.run(names, "--max-cloud-cover", known - 0.5, stac=items.endpoint if api else True, store=store)
    assert (names[1], None, "filtered") in refused(report)
    (reason,) = (r["reason"] for r in report["refused"] if r["product"] == names[1])
    assert "cloud cover is" in reason


# 7. The guard counts rasters too.


@pytest.mark.parametrize(
    ("narrower", "limit"),
    [(("**/b01",), 50), (("**/scl", "**/tci"), 0)],
)
def test_narrower_arrays_are_stopped_by_the_guard(full: Living, narrower: tuple[str, ...], limit: int) -> None:
    names = [full.archive.add("2024-06-01"), full.archive.add("2024-06-06", base=1)]
    full.run(names)
    arrays = [option for pattern in narrower for option in ("--arrays", pattern)]
    sentence = full.fails(names, "--prune", "--prune-limit", limit, *arrays)
    assert f"--prune would remove {2 * (6 - len(narrower))} of 12 rasters" in sentence
    assert "--prune-limit" in sentence
    report = full.run(names, *ALL, *arrays)
    assert report["changes"]["updated"] == names
    assert {left["reason"] for left in report["leaving"]} == {"pruned: it is not among the arrays asked for"}
    full.is_as_built(names, *arrays)


# 8. What is unknown is dropped on no guess, and what 2017 wrote is read.


@pytest.mark.parametrize("unknown", ["names alone", "no datastrip in the XML"])
@pytest.mark.parametrize("apart", [True, False], ids=["one by one", "at once"])
def test_halves_whose_datastrip_is_unknown_are_both_kept(living: Living, unknown: str, apart: bool) -> None:
    archive = living.archive
    halves = [
        archive.add("2024-06-01", datastrip=86, generated="2024-06-02"),
        archive.add("2024-06-01", datastrip=101, generated="2024-06-03", baseline="05.12"),
    ]
    more = ("--headers", "assume") if unknown == "names alone" else ()
    if not more:
        for name in halves:
            change(metadata_of(archive, name, "MTD_TL.xml"), r"<DATASTRIP_ID.*</DATASTRIP_ID>", "")
            change(metadata_of(archive, name, "MTD_MSIL2A.xml"), r' datastripIdentifier="[^"]*"', "")
    for names in (halves[:1], halves) if apart else (halves,):
        report = living.run(names, *more)
    assert report["refused"] == []
    assert set(living.view().products) == set(halves)
    living.rests(halves, *more)
    living.is_as_built(halves, *more)


def as_of_2017(granule: str, product: str) -> tuple[str, str]:
    """The tags of PSD 14.2, which names what is of level 1C and what of 2A in one file."""
    for tag in ("TILE_ID", "DATASTRIP_ID"):
        granule = re.sub(rf"<L1C_{tag}.*?</L1C_{tag}>\s*", "", granule)
        (found,) = re.findall(rf"<{tag}[ >].*?</{tag}>", granule)
        level_2a = found.replace(f"<{tag}", f"<{tag}_2A").replace(f"</{tag}", f"</{tag}_2A")
        granule = granule.replace(found, found.replace("L2A", "L1C") + level_2a)
    granule = granule.replace("L2A_Image_Content_QI", "Image_Content_QI").replace(
        "Image_Content_QI>", "L2A_Image_Content_QI>"
    )
    swaps = {
        r"<PRODUCT_URI>(.*?)</PRODUCT_URI>": r"<PRODUCT_URI_1C>-</PRODUCT_URI_1C><PRODUCT_URI_2A>\1</PRODUCT_URI_2A>",
        r"(</?)IMAGE_FILE>": r"\1IMAGE_FILE_2A>",
        r"(</?)(BOA|AOT|WVP)_QUANTIFICATION_VALUE": r"\1L2A_\2_QUANTIFICATION_VALUE",
        r">Level-2A<": ">Level-2Ap<",
    }
    for pattern, text in swaps.items():
        product, count = re.subn(pattern, text, product)
        assert count, pattern
    return granule, product


@pytest.mark.parametrize("layout", ["SAFE", "aws"])
def test_the_metadata_of_2017_are_read(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path: Path, layout: str
) -> None:
    samples = make_samples("--dates", "1", "--start", "2017-06-10", "--baseline", "02.05", "--assets", "B01_60m")
    usual = tmp_path / "usual"
    shutil.copytree(samples.root, usual)
    for folder in usual.glob("*.SAFE"):
        (granule,), product = folder.glob("GRANULE/*/MTD_TL.xml"), folder / "MTD_MSIL2A.xml"
        for path, text in zip((granule, product), as_of_2017(granule.read_text(), product.read_text()), strict=True):
            path.write_text(text)
    source, more = usual, ()
    if layout == "aws":
        source, more = (
            mirrors.arrange(type(samples)(usual), mirrors.in_aws, tmp_path / "aws"),
            ("--source-layout", "aws"),
        )
    build = ("build", "--tile", TILE, "--index", samples.index, "--memory", "none", "--json")
    report = s2ice(*build, "--source", source, "--store", tmp_path / "store", *more).json
    assert (report["refused"], report["times"]["count"]) == ([], 1)
    plain = s2ice(*build, "--source", samples.root, "--store", tmp_path / "plain").json
    assert report["times"] == plain["times"]
    table, wanted = (package.open(tmp_path / name, "products") for name in ("store", "plain"))
    for column in ("product_id", "time", "cloud_cover", "datastrip_id"):
        if column in wanted:
            np.testing.assert_array_equal(table[column].values, wanted[column].values, err_msg=column)


# 9. A product that is made anew in its place is read anew, all of it.


def offset(archive: Archive, name: str) -> None:
    change(metadata_of(archive, name, "MTD_MSIL2A.xml"), ">-1000<", ">0<")


def sensing_time(archive: Archive, name: str) -> None:
    change(metadata_of(archive, name, "MTD_TL.xml"), r"(<SENSING_TIME[^>]*>.*?):\d\d\.", r"\g<1>:07.")


def cloud_cover(archive: Archive, name: str) -> None:
    change(metadata_of(archive, name, "MTD_MSIL2A.xml"), r"(<Cloud_Coverage_Assessment>)[^<]*", r"\g<1>77.5")
    change(metadata_of(archive, name, "MTD_TL.xml"), r"(<CLOUDY_PIXEL_PERCENTAGE>)[^<]*", r"\g<1>77.5")


def angles(archive: Archive, name: str) -> None:
    change(metadata_of(archive, name, "MTD_TL.xml"), r"<VALUES>\d\d\.", "<VALUES>21.", count=5)


@pytest.mark.parametrize(
    ("seen", "memory"), [("rows", None), ("rows", "none"), ("recheck", None), ("recheck of one", None)]
)
def test_a_product_made_anew_is_read_anew(living: Living, seen: str, memory: str | None) -> None:
    """Offset, time, clouds, angles and, where its rows say so, images; also where the memory knows the old XML."""
    archive = living.archive
    names = some(archive, 3)
    index = living.archive.root / "own.parquet"

    def indexed() -> None:
        living.s2ice("index", "--source", archive.root, "-o", index, "-q")

    indexed()
    # A raster that is refused: of such a product everything is remembered.
    path = file_of(archive, names[1], "B09_60m")
    path.rename(archive.root / "away.jp2")
    living.run(None, index=index, memory=memory)
    (archive.root / "away.jp2").rename(path)
    for what in (offset, sensing_time, cloud_cover, angles):
        what(archive, names[1])
    more: tuple[str, ...] = ()
    if seen == "rows":
        own_file(file_of(archive, names[1], "B01_60m"), file_of(archive, names[0], "B01_60m").read_bytes())
        indexed()
    else:
        more = ("--recheck", *(names[1:2] if seen == "recheck of one" else ()))
    report = living.run(None, *more, index=index, memory=memory)
    assert report["refused"] == []
    view = living.view()
    assert (view.products, view.eras) == ((names[0], names[2]), {"offset-0": (names[1],)})
    assert package.open(living.store, "products", eras="offset-0").cloud_cover.values.tolist() == [77.5]
    living.is_as_built(None, index=index)


# 10. Baselines of other producers never count before official ones.


@pytest.mark.parametrize(
    ("baseline", "first"), [("99.99", "official"), ("99.99", "other"), ("99.99", "both"), ("00.01", "other")]
)
def test_an_official_processing_counts_before_any_other(living: Living, baseline: str, first: str) -> None:
    archive = living.archive
    official = archive.add("2024-06-01", generated="2024-06-02")
    other = archive.add("2024-06-01", generated="2025-06-01", baseline=baseline)
    living.run({"official": [official], "other": [other], "both": [official, other]}[first])
    living.run([official, other])
    assert living.view().products == (official,)
    living.rests([other])
    # Withdrawn it leaves its place to the other one, and takes it back.
    living.run([other], *ALL)
    assert living.view().products == (other,)
    assert changes(living.run([official])) == {"replaced": [{"product": other, "by": official}]}


# 11. Where pixels contradict the offset that an item states, they are believed.


def land(shifted: bool) -> np.ndarray:
    """Numbers as they are at this baseline, with the offset still to be added or added already."""
    rows, columns = np.ogrid[:1830, :1830]
    ground = 1050 + (rows * 3 + columns * 5) % 2500
    return (ground - (1000 if shifted else 0)).astype("u2")


@pytest.mark.parametrize("flag", [None, False, True])
@pytest.mark.parametrize("collection", ["sentinel-2-l2a", "sentinel-2-c1-l2a"])
def test_pixels_contradict_the_offset_of_an_item(
    s2ice: Command, tmp_path: Path, collection: str, flag: bool | None
) -> None:
    products = []
    for day, shifted in (("20240501", False), ("20240506", True)):
        product = cogs.Product(tmp_path, day=day)
        product.properties = {} if flag is None else {"earthsearch:boa_offset_applied": flag}
        for band in ("B01", "B09"):
            product.add(band, 60, land(shifted), block=1024, **cogs.DEFLATE)
        products.append(product)
    features = [product.item | {"collection": collection} for product in products]
    stac = tmp_path / "items.json"

    def run(features: list[dict[str, Any]], code: int = 0) -> Any:
        stac.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        line = ("build", "--source-kind", "cog", "--tile", TILE, "--stac", stac, "--source", tmp_path, "--json")
        return s2ice(*line, "--store", tmp_path / "store", "--memory", "none", code=code)

    # A first build of nothing else says why.
    sentence = run(features[1:], code=1).sentence
    assert products[1].name in sentence
    if flag is not None:
        # Whatever it says: where it stands, some files are shifted and some are not.
        assert "earthsearch:boa_offset_applied" in sentence
        return
    assert "it is in the numbers already" in sentence
    report = run(features).json
    assert report["changes"]["appended"] == [products[0].name]
    assert (products[1].name, None, "metadata") in refused(report)
    assert package.open(tmp_path / "store", "products").product_id.values.tolist() == [products[0].name]


# 12. Swapped tile numbers are found in every array, at every place, on every night.


@pytest.mark.parametrize(("asset", "seed"), [(asset, seed) for seed, asset in enumerate((*MAIN, "TCI_60m"))])
def test_swapped_tile_numbers_are_refused_on_every_night(full: Living, asset: str, seed: int) -> None:
    names = [full.archive.add("2024-06-01"), full.archive.add("2024-06-06", base=1)]
    rows = full.archive.products[names[1]].rows
    (row,) = (row for row in rows if tables.asset(row) == asset)
    tiles = len(tables.lengths(row["index"]))
    one, other = np.random.default_rng([seed, *asset.encode()]).choice(tiles, 2, replace=False)
    row["index"] = swapped(row["index"], int(one), int(other))
    full.run(names[:1], memory=None)
    for night in range(3):
        report = full.run(names, "--recheck", memory=None) if night == 2 else full.run(names, memory=None)
        assert refused(report) == {(names[1], asset, "ranges")}
        assert report["changes"]["appended"] == ([] if night else names[1:])
    flags = [flags for flags in full.view().present.values() if flags != (True, True)]
    assert flags == [(True, False)]


# 13. One odd product neither turns the main tree over nor blocks it.


@pytest.mark.parametrize(("at", "odd_offset"), [(0, -1100), (1, -1100), (2, -1100), (0, 17)])
def test_an_odd_offset_is_an_era_of_its_own(living: Living, at: int, odd_offset: int) -> None:
    names = some(living.archive, 3)
    odd = names[1]
    change(metadata_of(living.archive, odd, "MTD_MSIL2A.xml"), ">-1000<", f">{odd_offset}<")
    order = [name for name in names if name != odd]
    order.insert(at, odd)
    for count in (1, 2, 3):
        report = living.run(order[:count])
        assert report["refused"] == []
    view = living.view()
    assert view.products == (names[0], names[2])
    assert list(view.eras.values()) == [(odd,)]
    living.is_as_built(names)


@pytest.fixture(scope="module")
def unknown(make_samples: Callable[..., Samples]) -> Samples:
    """A product of an encoder that made no product."""
    options = ("--dates", "1", "--start", "2024-05-20", "--assets", "B01_60m,B09_60m")
    return make_samples(*options, "--products", "unknown")


@pytest.mark.parametrize(
    ("policy", "comes"),
    [
        *((policy, comes) for policy in ("auto", "era") for comes in ("first", "with others", "last")),
        ("refuse", "first"),
    ],
)
def test_an_unknown_encoder_comes_in_on_request_only(living: Living, unknown: Samples, policy: str, comes: str) -> None:
    (foreign,) = living.archive.adopt(unknown.root)
    names = some(living.archive, 2)
    more = ("--on-mismatch", policy)
    if comes == "last":
        living.run(names, *more)
    elif comes == "first" and policy == "era":
        living.run([foreign], *more)
    elif comes == "first":
        sentence = living.fails([foreign], *more)
        assert foreign in sentence
        assert "is not the one that the ground segment is known to write" in sentence
    report = living.run([foreign, *names], *more)
    view = living.view()
    if policy == "era":
        assert list(view.eras.values()) == [(foreign,)]
    else:
        assert {(p, k) for p, r, k in refused(report) if r} == {(foreign, "header_profile")}
        assert (view.products, view.eras) == (tuple(names), {})


# 14. A file that is uploaded again is found when it is looked at again, and readers are served anew.


def pixels(store: Path | str, **options: Any) -> np.ndarray:
    group = B01.rpartition("/")[0]
    return np.asarray(package.open(str(store), group, mask_and_scale=False, **options).b01.values)


@pytest.mark.parametrize(("days", "which"), [(-30, "all"), (30, "one"), (-30, "one")])
def test_a_file_that_was_copied_again_is_found_on_order(living: Living, bases: Samples, days: int, which: str) -> None:
    names = some(living.archive, 2)
    for asset in ("B01_60m", "B09_60m"):
        own_file(file_of(living.archive, names[0], asset))
    living.run(names, memory=None)
    path = file_of(living.archive, names[0], "B01_60m")
    when = path.stat().st_mtime + days * 86_400
    own_file(path)
    os.utime(path, (when, when))
    living.rests(names, memory=None)
    report = living.run(names, "--recheck", *(names[:1] if which == "one" else ()), memory=None)
    assert changes(report) == {"updated": names[:1], "unchanged": 1}
    np.testing.assert_array_equal(pixels(living.store)[0], bases.truth(bases.products[0], "B01_60m"))
    assert "committed" not in living.run(names, "--recheck", memory=None)
    living.is_as_built(names)


def test_a_file_that_was_uploaded_again_is_found_on_order(living: Living, service: s3.Service) -> None:
    """The same size and header, another ETag: the index has nothing to say of it."""
    names = some(living.archive, 2)
    service.upload(living.archive.root, "eodata", "again/")
    living.s2ice = with_keys(living.s2ice)
    place: dict[str, Any] = {"source": "s3://eodata/again", "source_endpoint": service.endpoint, "memory": None}
    living.run(names, **place)
    path = file_of(living.archive, names[0], "B01_60m")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    key = "again/" + path.relative_to(living.archive.root).as_posix()
    service.client.put_object(Bucket="eodata", Key=key, Body=bytes(data))
    living.rests(names, **place)
    with pytest.raises(Exception, match="checksum"):
        pixels(living.store, credentials=s3.KEYS, allow=service.endpoint)
    assert changes(living.run(names, "--recheck", names[0], **place)) == {"updated": names[:1], "unchanged": 1}
    assert pixels(living.store, credentials=s3.KEYS, allow=service.endpoint).shape[0] == 2


@pytest.mark.parametrize("days", [-30, 30], ids=["older", "newer"])
def test_a_geotiff_that_was_copied_again_is_found_on_order(s2ice: Command, tmp_path: Path, days: int) -> None:
    product = cogs.Product(tmp_path)
    path = product.add("B01", 60, land(shifted=False), block=1024, **cogs.DEFLATE)
    stac, store = cogs.collect(tmp_path / "items.json", product), tmp_path / "store"
    line = ("build", "--source-kind", "cog", "--tile", TILE, "--stac", stac, "--source", tmp_path, "--json")
    s2ice(*line, "--store", store)
    when = path.stat().st_mtime + days * 86_400
    own_file(path)
    os.utime(path, (when, when))
    assert "committed" not in s2ice(*line, "--store", store).json
    report = s2ice(*line, "--store", store, "--recheck").json
    assert report["changes"]["updated"] == [product.name]
    np.testing.assert_array_equal(pixels(store)[0], land(shifted=False))


# 15. --datetime is of the sensing time, in every way of building.

MIDNIGHT = "2024-06-01T23:57:00"
DAYS = [("2024-06-01/2024-06-01", False), ("2024-06-02/2024-06-02", True)]
TIMES = [("2024-06-01T23:50:00Z/2024-06-01T23:59:59Z", False), ("2024-06-02T00:00:00Z/2024-06-02T00:05:00Z", True)]


INTERVALS = [
    *((by, said, *day) for said in ("datatake", "sensing") for by in ("file", "API") for day in DAYS),
    *(("no catalogue", "datatake", *day) for day in DAYS),
    *(("API", "datatake", *time_) for time_ in TIMES),
]


@pytest.mark.parametrize(("by", "said", "interval", "holds"), INTERVALS)
def test_the_interval_is_of_the_sensing_time(
    living: Living, items: Catalogue, by: str, said: str, interval: str, holds: bool
) -> None:
    """The datatake begins at 23:57, the granule is sensed at 00:01; another product is in either interval."""
    late = living.archive.add(MIDNIGHT, sensing=240)
    inside = living.archive.add("2024-06-01T23:51:00" if not holds else "2024-06-02T00:00:30", base=1, sensing=180)
    if said == "sensing":
        for name, time_ in ((late, "2024-06-02T00:01:00.0Z"), (inside, None)):
            properties = living.archive.products[name].item["properties"]
            time_ = time_ or ("2024-06-01T23:54:00.0Z" if not holds else "2024-06-02T00:03:30.0Z")
            properties |= {"datetime": time_, "start_datetime": time_, "end_datetime": time_}
    items.put(living.archive.items())
    stac = {"no catalogue": False, "file": True, "API": items.endpoint}[by]
    living.run([late, inside], "--datetime", interval, stac=stac)
    assert set(living.view().products) == ({late, inside} if holds else {inside})


# 16. One file that never answers, or a memory that cannot be written, fails no tile.


@pytest.mark.parametrize("silent", ["B09_60m.jp2", "MTD_TL.xml"])
def test_one_file_that_never_answers_is_left_out(living: Living, service: s3.Service, silent: str) -> None:
    names = some(living.archive, 3)
    prefix = f"silent-{silent}/"
    service.upload(living.archive.root, "eodata", prefix)
    living.s2ice = with_keys(living.s2ice)
    impatient = ("--source-endpoint", service.endpoint, "--source-option", "timeout=1 second")
    done = threading.Event()

    def hold(request: s3.Request) -> bool:
        if names[1] in request.path and request.path.endswith(silent):
            done.wait(30)
        return False

    try:
        with service.denying(hold):
            report = living.run(names, *impatient, source=f"s3://eodata/{prefix}", memory=None)
    finally:
        done.set()
    raster = "B09_60m" if silent.startswith("B09") else None
    assert (names[1], raster, "source") in refused(report)
    assert set(living.view().products) == set(names if raster else (names[0], names[2]))
    living.run(names, *impatient, source=f"s3://eodata/{prefix}", memory=None)
    assert living.view().present[B09] == (True, True, True)


@pytest.mark.parametrize("place", ["a file in the way", "no device"])
def test_a_memory_that_cannot_be_written_fails_no_tile(living: Living, place: str) -> None:
    names = some(living.archive, 2)
    file_of(living.archive, names[1], "B09_60m").unlink()
    living.folder.mkdir(parents=True)
    (living.folder / "way").write_text("")
    memory = living.folder / "way/memory.parquet" if place == "a file in the way" else "/proc/nowhere/memory.parquet"
    for count in (1, 2):
        outcome = living.s2ice(*living.line(names[:count], "--json", memory=memory))
        assert outcome.json["committed"]
    assert "memory" in outcome.stderr
    assert living.view().products == tuple(names)


# 17. Nothing is asked twice: neither what is refused, nor what is not wanted.


def broken_angles(living: Living, product: str, assets: Iterable[str]) -> None:
    assert assets
    change(metadata_of(living.archive, product, "MTD_TL.xml"), "<VALUES>", "<VALUES>x ", count=1)


def another_size(living: Living, product: str, assets: Iterable[str]) -> None:
    for asset in assets:
        path = file_of(living.archive, product, asset)
        own_file(path, path.read_bytes() + b"\0")


def another_tile(living: Living, product: str, assets: Iterable[str]) -> None:
    assert assets
    change(metadata_of(living.archive, product, "MTD_TL.xml"), "<ULX>399960", "<ULX>499980")


WRONG = [broken_rows, broken_files, another_size, broken_angles, another_tile]


@pytest.mark.parametrize(
    ("wrong", "held"), [*((wrong, True) for wrong in WRONG), (broken_files, False), (broken_angles, False)]
)
def test_what_is_refused_is_not_asked_again_every_night(living: Living, wrong: Callable[..., None], held: bool) -> None:
    names = some(living.archive, 2)
    wrong(living, names[1], ["B09_60m"])
    if held:
        living.run(names[:1], memory=None)
    first = living.run(names, memory=None)
    assert names[1] in {r["product"] for r in first["refused"]}
    for _ in range(2):
        report = living.rests(names, memory=None)
        assert report["source_use"]["requests"] == 0
        assert refused(report) >= refused(first) - {(names[1], None, "empty")}


def test_a_header_request_per_wanted_raster_at_most(
    make_samples: Callable[..., Samples], living: Living, service: s3.Service, tmp_path: Path
) -> None:
    """Of all copies of a band one is asked for, and none of what the arrays leave out."""
    assets = ("--assets", "B01_20m,B01_60m,SCL_60m,AOT_60m", "--resolutions", "all", "--no-swath-edge")
    made = make_samples("--dates", "2", *assets)
    service.upload(made.root, "eodata", "copies/")
    living.s2ice = with_keys(living.s2ice)
    both = tmp_path / "both.parquet"
    living.s2ice("index", "--source", made.root, "-o", both, "-q")
    rows = [row | {"etag": None, "last_modified": None} for row in tables.rows(both)]
    place: dict[str, Any] = {"source": "s3://eodata/copies", "index": tables.write(tmp_path / "index.parquet", rows)}
    with service.recorded() as requests:
        report = living.run(
            None, "--source-endpoint", service.endpoint, "--arrays", "**/b01", "--arrays", "**/scl", **place
        )
    assert (report["refused"], report["times"]["count"]) == ([], 2)
    headers = [r.path.rsplit("/", 1)[1] for r in requests if r.path.endswith(".jp2") and r.range and r.range[0] == 0]
    assert len(headers) == len(set(headers)) == 4
    assert all(name.endswith(("B01_60m.jp2", "SCL_60m.jp2")) for name in headers), headers
    assert len([r for r in requests if r.path.endswith(".xml")]) == 2 * 2


# 18. Without news nothing is asked of the source, and no index is read.


@pytest.mark.parametrize(("by", "memory"), [("no catalogue", None), ("file", "none"), ("API", None), ("API", "none")])
def test_a_run_without_news_asks_the_source_for_nothing(
    living: Living, items: Catalogue, service: s3.Service, by: str, memory: str | None
) -> None:
    names = some(living.archive, 3)
    prefix = f"rest-{by}-{memory}".replace(" ", "-")
    service.upload(living.archive.root, "eodata", f"{prefix}/")
    living.s2ice = with_keys(living.s2ice)
    index = living.archive.index(living.archive.root / "index.parquet")
    service.client.put_object(Bucket="indexes", Key=f"{prefix}.parquet", Body=index.read_bytes())
    items.put(living.archive.items(names))
    place: dict[str, Any] = {
        "index": f"s3://indexes/{prefix}.parquet",
        "source": f"s3://eodata/{prefix}",
        "source_endpoint": service.endpoint,
        "index_option": f"endpoint={service.endpoint}",
        "stac": {
            "no catalogue": None,
            "file": living.archive.stac(living.archive.root / "i.json"),
            "API": items.endpoint,
        }[by],
        "memory": memory,
    }
    living.run(names, **place)
    before = living.files()
    for _ in range(2):
        with service.recorded() as requests:
            report = living.run(names, **place)
        assert [r for r in requests if r.bucket == "eodata"] == []
        assert report["source_use"]["requests"] == 0
        assert (report["changes"]["unchanged"] + report["changes"]["kept"], "committed" in report) == (3, False)
    assert living.files() == before


@pytest.mark.parametrize("by", ["no catalogue", "API"])
def test_an_index_whose_version_is_known_is_not_read(
    living: Living, items: Catalogue, service: s3.Service, by: str
) -> None:
    names = some(living.archive, 3)
    living.s2ice = with_keys(living.s2ice)
    keys = [f"known-{by}-{at}.parquet" for at in range(2)]
    for key, part in zip(keys, (names[:2], names[2:]), strict=True):
        data = living.archive.index(living.archive.root / "index.parquet", part).read_bytes()
        service.client.put_object(Bucket="indexes", Key=key, Body=data)
    items.put(living.archive.items(names))
    stac = items.endpoint if by == "API" else None
    line = ("--store-endpoint", service.endpoint, "--source-endpoint", service.endpoint)
    more = ("--index", f"s3://indexes/{keys[1]}", *line, "--index-option", f"endpoint={service.endpoint}")
    prefix = f"known-{by}".replace(" ", "-")
    service.upload(living.archive.root, "eodata", f"{prefix}/")
    place: dict[str, Any] = {"index": f"s3://indexes/{keys[0]}", "source": f"s3://eodata/{prefix}", "memory": None}
    living.run(names, *more, stac=stac, store=f"s3://stores/{prefix}", **place)
    for _ in range(2):
        with service.recorded() as requests:
            report = living.run(names, *more, stac=stac, store=f"s3://stores/{prefix}", **place)
        assert "committed" not in report
        asked = [r for r in requests if r.bucket == "indexes"]
        assert len(asked) == len(keys)
        assert all(r.method == "HEAD" or (r.range and r.range[1] < 16) for r in asked)
        assert {r.method for r in requests} <= {"GET", "HEAD"}
        assert len(requests) <= 30


# 20. Every sentence names the true reason.


def nameless(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"product_id": "nonsense"}


def bandless(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"path": row["path"].replace("B01_60m", "B77_60m").replace("B09_60m", "B77_60m"), "band_id": "B77"}


def pathless(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"path": None}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (nameless, '"nonsense" is not a Sentinel-2 product name'),
        (bandless, "names a raster"),
        (pathless, "path is null or empty"),
        (lambda row: row | {"index": row["index"][:30]}, "the index bytes are truncated at byte 30"),
    ],
)
def test_an_index_whose_rows_are_all_refused_says_why(
    living: Living, wrong: Callable[[dict[str, Any]], dict[str, Any]], reason: str
) -> None:
    some(living.archive, 2)
    living.folder.mkdir(parents=True)
    index = tables.write(living.folder / "wrong.parquet", [wrong(row) for row in living.archive.rows()])
    sentence = living.fails(None, index=index)
    assert reason in sentence
    assert "name the index of" not in sentence


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--max-cloud-cover", 1), "its cloud cover is 12.5 %"),
        (("--datetime", "2020-01-01/2020-12-31"), "lies outside the interval"),
        (("--arrays", "**/b02"), "check --arrays"),
        (("--collection", "sentinel-2-l1c"), "collection"),
    ],
)
def test_a_first_build_of_geotiffs_that_admits_nothing_says_why(
    s2ice: Command, tmp_path: Path, more: tuple[object, ...], reason: str
) -> None:
    product = cogs.Product(tmp_path)
    product.add("B01", 60, land(shifted=False), block=1024, **cogs.DEFLATE)
    stac = cogs.collect(tmp_path / "items.json", product)
    line = ("build", "--source-kind", "cog", "--tile", TILE, "--stac", stac, "--source", tmp_path)
    sentence = s2ice(*line, "--store", tmp_path / "store", *more, code=1).sentence
    assert reason in sentence
    assert not (tmp_path / "store").exists()
