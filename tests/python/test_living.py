"""A store that is built again and again holds what the inputs say, whatever it held before."""

from __future__ import annotations

import random
import shutil
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import icechunk
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

import s2ice as package
from support import s3, stores, tables
from support.archive import Archive
from support.living import B01, B09, Living, changes, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command


@pytest.fixture(scope="module")
def others(make_samples: Callable[..., Samples]) -> tuple[Samples, Samples]:
    """A product of another radiometric offset, and one of another header class."""
    assets = ("--assets", "B01_60m,B09_60m", "--dates", "1")
    return (
        make_samples("--start", "2024-07-10", "--baseline", "02.14", *assets),
        make_samples("--start", "2024-07-20", "--products", "early", *assets),
    )


@pytest.fixture
def three(archive: Archive) -> list[str]:
    """Three products five days apart."""
    return [archive.add(f"2024-06-{day:02}", base=base) for base, day in enumerate((1, 6, 11))]


# What a run adds, and where.


def test_new_products_are_appended(living: Living, three: list[str]) -> None:
    first = living.run(three[:1])
    assert changes(first) == {"appended": three[:1]}
    assert first["committed"]["created"] is True
    report = living.run(three)
    assert changes(report) == {"appended": three[1:], "unchanged": 1}
    assert report["committed"]["created"] is False
    assert report["committed"]["references_moved"] == 0
    assert report["committed"]["references_written"] == 400
    assert living.view().products == tuple(three)
    living.is_as_built(three)


@pytest.mark.parametrize("early", [0, 1])
def test_late_products_are_inserted_where_their_time_belongs(living: Living, three: list[str], early: int) -> None:
    living.run([name for name in three if name != three[early]])
    report = living.run(three[early : early + 1])
    assert changes(report) == {"inserted": [three[early]], "kept": 2}
    assert living.view().products == tuple(three)
    living.is_as_built(three)


def test_what_is_asked_of_the_source_is_what_is_new(living: Living, three: list[str]) -> None:
    """Two reads of XML and one of each header for the new product, nothing for the others."""
    assert living.run(three[:2])["source_use"]["requests"] > 0
    assert (
        0
        < living.run(
            three,
        )["source_use"]["requests"]
        <= 2 + 2
    )
    assert living.rests(three)["source_use"] == {"requests": 0, "bytes": 0, "from_cache": 0}


def test_a_run_with_nothing_new_leaves_no_trace(living: Living, three: list[str]) -> None:
    living.run(three, stac=True)
    before = living.info()
    for names in (three, three[1:], three[:1]):
        report = living.rests(names, stac=True)
        assert (report["changes"]["unchanged"], report["changes"]["kept"]) == (len(names), 3 - len(names))
        assert report["source_use"]["requests"] == 0
    shuffled = tables.rows(living.archive.index(living.folder / "i.parquet"))
    random.Random(1).shuffle(shuffled)
    living.rests(three, stac=True, index=tables.write(living.folder / "shuffled.parquet", shuffled))
    assert living.info() == before
    assert len(before["tags"]) == 1
    assert before["branches"] == ["main"]


def test_an_empty_input_takes_nothing_away(living: Living, three: list[str]) -> None:
    living.run(three)
    assert living.rests([])["changes"]["kept"] == 3


def test_every_state_has_a_tag_and_can_still_be_read(living: Living, three: list[str]) -> None:
    for count in (1, 2, 3):
        living.run(three[:count])
    tags = living.info()["tags"]
    assert len(tags) == 3
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(living.store)))
    for count, tag in enumerate(sorted(tags), 1):
        assert tag.startswith("published/")
        session = repository.readonly_session(tag=tag)
        assert zarr.open_group(session.store, mode="r")["products/product_id"][:].tolist() == three[:count]


@pytest.mark.parametrize("seed", [1, 2])
def test_many_products_come_and_go(living: Living, seed: int) -> None:
    """Several windows of 48 steps each, moved forth and back."""
    chance = random.Random(seed)
    days = [str(date(2024, 1, 1) + timedelta(days=day)) for day in range(230)]
    names = [living.archive.add(day, base=number % 4) for number, day in enumerate(days)]
    have: set[str] = set()

    def run(*more: object) -> dict[str, Any]:
        in_order = [name for name in names if name in have]
        report = living.run(in_order, "--arrays", "**/b01", *more)
        assert report["times"]["count"] == len(have)
        living.is_as_built(in_order, "--arrays", "**/b01")
        return report

    have |= set(chance.sample(names, 150))
    assert run()["committed"]["commits"] == 4
    have |= set(chance.sample(names, 60)) | {names[0]}
    assert run()["committed"]["references_moved"] > 100 * 100
    have -= set(chance.sample(sorted(have), 80))
    run("--prune")
    assert living.view().products == tuple(name for name in names if name in have)


def test_the_oldest_format_lives_on_too(living: Living, three: list[str]) -> None:
    living.run([three[0], three[2]], "--spec", "1")
    living.run(three)
    newer = living.archive.add("2024-06-01", generated="2024-09-01")
    living.run([*three, newer], "--spec", "1")
    assert living.view().products == (newer, *three[1:])
    living.rests([*three, newer])
    info = living.info()
    assert (info["spec"], len(info["tags"]), info["branches"]) == (1, 3, ["main"])
    living.is_as_built([*three, newer])


def test_a_dry_run_tells_what_would_change_and_changes_nothing(living: Living, three: list[str]) -> None:
    living.run(three[:2])
    newer = living.archive.add("2024-06-01", generated="2024-09-01")
    wanted = [newer, *three[::2]]
    before = living.files()
    told = living.run(wanted, "--prune", "--dry-run")
    assert living.files() == before
    assert "committed" not in told
    done = living.run(wanted, "--prune")
    assert told["changes"] == done["changes"]
    assert changes(done) == {
        "appended": three[2:],
        "replaced": [{"product": three[0], "by": newer}],
        "removed": [three[1]],
    }
    assert (told["references"], told["times"]) == (done["references"], done["times"])
    assert living.run(wanted, "--prune", "--dry-run")["changes"]["unchanged"] == 2


# Which of two products stays.


def test_a_reprocessed_product_takes_the_place_of_its_older_self(living: Living, three: list[str]) -> None:
    living.run(three)
    newer = living.archive.add("2024-06-06", base=1, baseline="05.12", generated="2024-09-01")
    report = living.run([*three, newer])
    assert changes(report) == {"replaced": [{"product": three[1], "by": newer}], "unchanged": 2}
    assert refused(report) == {(three[1], None, "superseded")}
    assert report["committed"]["references_moved"] == 0
    assert living.view().products == (three[0], newer, three[2])
    living.rests([*three, newer])
    living.is_as_built([*three, newer])


@pytest.mark.parametrize("stac", [False, True])
def test_an_older_self_that_comes_late_changes_nothing(living: Living, three: list[str], stac: bool) -> None:
    newer = living.archive.add("2024-06-06", base=1, generated="2024-09-01")
    living.run([three[0], newer, three[2]], stac=stac)
    report = living.rests(three, stac=stac)
    assert refused(report) == {(three[1], None, "superseded")}
    assert (report["changes"]["unchanged"], report["changes"]["kept"]) == (2, 1)
    # With an item, which tells the datastrip, the source is not even asked.
    assert (report["source_use"]["requests"] == 0) is stac
    living.is_as_built([*three, newer], stac=stac)


def test_the_same_baseline_is_ordered_by_the_time_of_processing(living: Living, archive: Archive) -> None:
    days = ("2024-06-02", "2024-07-01", "2024-08-01")
    old, middle, new = (archive.add("2024-06-01", generated=day) for day in days)
    assert changes(living.run([middle])) == {"appended": [middle]}
    living.rests([old])
    assert changes(living.run([new])) == {"replaced": [{"product": middle, "by": new}]}
    # A later baseline counts more than a later processing.
    last = archive.add("2024-06-01", baseline="05.13", generated="2024-06-03")
    assert changes(living.run([last])) == {"replaced": [{"product": new, "by": last}]}
    living.is_as_built()


def test_a_superseded_product_comes_back_when_its_later_self_is_withdrawn(living: Living, three: list[str]) -> None:
    newer = living.archive.add("2024-06-06", base=1, generated="2024-09-01")
    living.run([*three, newer])
    report = living.run(three, "--prune")
    assert living.view().products == tuple(three), report["changes"]
    living.is_as_built(three)


def test_a_superseded_product_comes_back_with_a_catalogue_too(living: Living, three: list[str]) -> None:
    newer = living.archive.add("2024-06-06", base=1, generated="2024-09-01")
    living.run([*three, newer], stac=True)
    living.run(three, "--prune", stac=True)
    assert living.view().products == tuple(three)
    living.is_as_built(three, stac=True)


@pytest.mark.parametrize("stac", [False, True])
def test_halves_of_a_datatake_are_both_kept(living: Living, archive: Archive, three: list[str], stac: bool) -> None:
    half = archive.add("2024-06-06", base=1, datastrip=101, generated="2024-06-06")
    living.run(three, stac=stac)
    report = living.run([half], stac=stac)
    assert changes(report) == {"inserted": [half], "kept": 3}
    view = living.view()
    assert view.products == (three[0], three[1], half, three[2])
    # Each half is reprocessed on its own.
    newer = archive.add("2024-06-06", base=1, datastrip=101, generated="2024-09-01")
    report = living.run([newer], stac=stac)
    assert changes(report) == {"replaced": [{"product": half, "by": newer}], "kept": 3}
    assert living.view().products == (three[0], three[1], newer, three[2])
    living.rests([half, *three], stac=stac)
    living.is_as_built(stac=stac)


def test_halves_at_the_same_time_differ_by_a_millisecond(living: Living, archive: Archive) -> None:
    """The tie is broken by the datastrip, not by who came first; the one that stays gets its own time back."""
    pair = [
        archive.add("2024-06-01", datastrip=strip, sensing=160, generated=f"2024-06-0{day}")
        for strip, day in ((80, 5), (90, 2))
    ]
    alone = {}
    for name in pair:
        single = Living(living.s2ice, archive, living.folder / name)
        single.run([name])
        (alone[name],) = single.view().times
    assert alone[pair[0]] == alone[pair[1]]
    living.run(pair[1:])
    assert changes(living.run(pair)) == {"inserted": pair[:1], "unchanged": 1}
    view = living.view()
    assert view.products == tuple(pair)
    assert view.times == (alone[pair[0]], alone[pair[0]] + 1)
    living.is_as_built(pair)
    living.run(pair[1:], "--prune")
    assert living.view().times == (alone[pair[1]],)
    living.is_as_built(pair[1:])


def test_exact_duplicates_collapse(living: Living, three: list[str]) -> None:
    rows = living.archive.rows(three)
    index = tables.write(living.folder.parent / "twice.parquet", [*rows, *reversed(rows)])
    report = living.run(three, index=index)
    assert report["index"]["duplicates"] == len(rows)
    living.is_as_built(three)
    living.rests(three)
    living.rests(three, index=index)


# What is withdrawn.


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_withdrawn_product_goes_only_when_that_is_asked_for(living: Living, three: list[str], gone: int) -> None:
    living.run(three)
    left = [name for name in three if name != three[gone]]
    assert living.rests(left)["changes"]["kept"] == 1
    report = living.run(left, "--prune")
    assert changes(report) == {"removed": [three[gone]], "unchanged": 2}
    assert living.view().products == tuple(left)
    living.rests(left, "--prune")
    living.is_as_built(left)


def test_prune_with_everything_there_removes_nothing(living: Living, three: list[str]) -> None:
    living.run(three)
    living.rests(three, "--prune")


def test_the_limit_of_pruning(living: Living, three: list[str]) -> None:
    living.run(three)
    sentence = living.fails(three[:1], "--prune", code=1)
    assert "would remove 2 of 3 products" in sentence
    assert "--prune-limit" in sentence
    living.fails(three[:2], "--prune", "--prune-limit", 33, code=1)
    # A dry run says the same, or at least what would go.
    report = living.run(three[:1], "--prune", "--prune-limit", 67)
    assert report["changes"]["removed"] == three[1:]
    assert living.view().products == tuple(three[:1])
    assert "no rows" in living.fails([], "--prune", "--prune-limit", 100)


def test_a_raster_that_the_index_lost(living: Living, three: list[str]) -> None:
    living.run(three)
    rows = [r for r in living.archive.rows(three) if not (r["product_id"] == three[1] and "B09" in r["path"])]
    index = tables.write(living.folder / "fewer.parquet", rows)
    living.run(three, index=index)
    assert living.view().present[B09] == (True, True, True)
    report = living.run(three, "--prune", index=index)
    assert changes(report) == {"updated": [three[1]], "unchanged": 2}
    assert living.view().present == {B01: (True, True, True), B09: (True, False, True)}
    living.is_as_built(three, index=index)
    # It comes back.
    assert changes(living.run(three)) == {"updated": [three[1]], "unchanged": 2}
    living.is_as_built(three)


def test_an_array_that_nothing_is_left_of(living: Living, three: list[str]) -> None:
    living.run(three)
    rows = [row for row in living.archive.rows(three) if "B09" not in row["path"]]
    index = tables.write(living.folder / "fewer.parquet", rows)
    living.run(three, "--prune", index=index)
    assert set(living.view().present) == {B01}
    living.is_as_built(three, index=index)
    living.run(three)
    living.is_as_built(three)


def test_a_filter_that_became_stricter(living: Living, three: list[str]) -> None:
    covers = {name: living.archive.products[name].item["properties"]["eo:cloud_cover"] for name in three}
    limit = sorted(covers.values())[1]
    cloudy = [name for name in three if covers[name] > limit]
    assert len(cloudy) == 1
    living.run(three)
    assert living.rests(three, "--max-cloud-cover", limit)["changes"]["kept"] == 1
    report = living.run(three, "--max-cloud-cover", limit, "--prune")
    assert report["changes"]["removed"] == cloudy
    assert refused(report) == {(cloudy[0], None, "filtered")}
    living.is_as_built(three, "--max-cloud-cover", limit)


@pytest.mark.parametrize("stac", [False, True])
def test_an_interval_of_time(living: Living, three: list[str], stac: bool) -> None:
    living.run(three, stac=stac)
    narrow = ("--datetime", "2024-06-05/2024-06-30")
    assert living.rests(three, *narrow, stac=stac)["changes"]["kept"] == 1
    assert living.run(three, *narrow, "--prune", stac=stac)["changes"]["removed"] == three[:1]
    living.is_as_built(three, *narrow, stac=stac)
    living.run(three, stac=stac)
    living.is_as_built(three, stac=stac)


# When the world is at fault.


def lose(living: Living, name: str, pattern: str) -> Path:
    """Take files of a product away, and say where they are."""
    (folder,) = living.archive.root.glob(f"{name}.SAFE")
    aside = living.archive.root.parent / "aside"
    for file in sorted(folder.rglob(pattern)):
        target = aside / file.relative_to(living.archive.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    return aside


def bring_back(living: Living, aside: Path) -> None:
    """Move the files back: on local disks a copy is another file."""
    for file in [path for path in aside.rglob("*") if path.is_file()]:
        file.rename(living.archive.root / file.relative_to(aside))


@pytest.fixture
def own_index(living: Living, three: list[str]) -> Path:
    """The index that `s2ice index` makes: other rows of the same files, so that all products are asked anew."""
    assert three
    path = living.archive.root.parent / "own.parquet"
    living.s2ice("index", "--source", living.archive.root, "-o", path, "-q")
    return path


@pytest.mark.parametrize("pattern", ["*.jp2", "MTD_*.xml", "*B09*.jp2"])
@pytest.mark.parametrize("prune", [False, True])
def test_what_the_source_does_not_give_this_time_stays(
    living: Living, three: list[str], own_index: Path, pattern: str, prune: bool
) -> None:
    living.run(three)
    before = living.view()
    aside = lose(living, three[1], pattern)
    more = ("--prune",) if prune else ()
    report = living.run(three, *more, index=own_index)
    assert {(product, why) for product, _, why in refused(report)} >= {(three[1], "source")}
    after = living.view()
    assert (after.products, after.times, after.present) == (before.products, before.times, before.present)
    # It is asked again, and only it, until the source has it.
    for _ in range(2):
        assert 0 < living.rests(three, *more, index=own_index)["source_use"]["requests"] <= 2 * 2 + 2
    bring_back(living, aside)
    living.run(three, *more, index=own_index)
    assert living.rests(three, *more, index=own_index)["source_use"]["requests"] == 0
    living.is_as_built(three, index=own_index)


def test_a_source_that_is_gone_altogether_fails_the_run(living: Living, three: list[str]) -> None:
    living.run(three[:2])
    aside = living.archive.root.with_name("away")
    living.archive.root.rename(aside)
    living.fails(three)
    aside.rename(living.archive.root)
    assert changes(living.run(three)) == {"appended": three[2:], "unchanged": 2}


def test_a_new_product_of_which_a_file_is_missing(living: Living, three: list[str]) -> None:
    """What there is of it is stored, and the rest when it comes."""
    aside = lose(living, three[1], "*B09*.jp2")
    report = living.run(three)
    assert refused(report) == {(three[1], "B09_60m", "source")}
    assert living.view().present[B09] == (True, False, True)
    assert living.rests(three)["source_use"]["requests"] > 0
    bring_back(living, aside)
    assert changes(living.run(three)) == {"updated": [three[1]], "unchanged": 2}
    living.is_as_built(three)
    assert living.rests(three)["source_use"]["requests"] == 0


def replace(living: Living, name: str, band: str, data: bytes) -> None:
    (file,) = (f for f in living.archive.products[name].files(living.archive.root) if band in f.name)
    file.unlink()
    file.write_bytes(data)


def test_a_changed_file_takes_its_raster_out(living: Living, three: list[str], own_index: Path) -> None:
    """The product is asked anew since its index rows changed, and one file is no longer the one that was indexed."""
    living.run(three)
    (other,) = (f for f in living.archive.products[three[0]].files(living.archive.root) if "B09" in f.name)
    replace(living, three[1], "B09", other.read_bytes())
    report = living.run(three, index=own_index)
    assert refused(report) == {(three[1], "B09_60m", "changed")}
    (reason,) = (r["reason"] for r in report["refused"])
    assert "index it again" in reason
    assert three[1] in report["changes"]["updated"]
    assert living.view().present == {B01: (True, True, True), B09: (True, False, True)}
    living.is_as_built(three, index=own_index)
    # Indexed again it is back.
    living.s2ice("index", "--source", living.archive.root, "-o", own_index, "-q")
    assert changes(living.run(three, index=own_index)) == {"updated": [three[1]], "unchanged": 2}
    living.is_as_built(three, index=own_index)


# What is asked for.


@pytest.mark.parametrize("stac", [False, True])
def test_more_arrays_are_added_to_old_products(living: Living, three: list[str], stac: bool) -> None:
    living.run(three, "--arrays", "**/b01", stac=stac)
    assert set(living.view().present) == {B01}
    report = living.run(three, stac=stac)
    assert changes(report) == {"updated": three}
    assert living.view().present == {B01: (True,) * 3, B09: (True,) * 3}
    living.is_as_built(three, stac=stac)


def test_fewer_arrays_take_nothing_away_but_when_asked(living: Living, three: list[str]) -> None:
    living.run(three)
    living.run(three, "--arrays", "**/b09")
    assert living.view().present == {B01: (True,) * 3, B09: (True,) * 3}
    newer = living.archive.add("2024-06-16", base=3)
    living.run([*three, newer], "--arrays", "**/b09")
    assert living.view().present == {B01: (True, True, True, False), B09: (True,) * 4}
    living.run([*three, newer], "--arrays", "**/b09", "--prune")
    assert set(living.view().present) == {B09}
    living.is_as_built([*three, newer], "--arrays", "**/b09")


def test_fewer_arrays_change_nothing_that_readers_see(living: Living, three: list[str]) -> None:
    living.run(three)
    living.run(three, "--arrays", "**/b09")
    living.is_as_built(three)


def test_arrays_that_new_products_add(living: Living, three: list[str]) -> None:
    """Each product has one band only."""
    parts = [
        [r for r in living.archive.rows([name]) if band in r["path"]]
        for name, band in zip(three, ("B01", "B09", "B01"), strict=True)
    ]
    for count in (1, 2, 3):
        index = tables.write(living.folder.parent / f"{count}.parquet", [r for part in parts[:count] for r in part])
        living.run(three, index=index)
    assert living.view().present == {B01: (True, False, True), B09: (False, True, False)}
    living.is_as_built(three, index=index)


@pytest.fixture
def copies(s2ice: Command, make_samples: Any, tmp_path: Path) -> tuple[Living, Path]:
    """Two products with copies of B01 at 20 m and 60 m, and the index of all; the public one has one of each band."""
    made = make_samples("--dates", "2", "--assets", "B01_20m,B01_60m", "--resolutions", "all", "--no-swath-edge")
    living = Living(s2ice, Archive(tmp_path / "archive", made.root), tmp_path / "stores")
    living.archive.adopt(made.root)
    both = tmp_path / "both.parquet"
    s2ice("index", "--source", living.archive.root, "-o", both, "-q")
    return living, both


R20M = B01.replace("r60m", "r20m")


def test_all_copies_and_then_the_best(copies: tuple[Living, Path]) -> None:
    living, both = copies
    names = living.archive.names()
    first = [row for row in tables.rows(both) if row["product_id"] == names[0]]
    one = tables.write(living.folder.parent / "one.parquet", first, pq.read_schema(both))
    living.run(names, "--resolutions", "all", index=one)
    assert living.view().present == {B01: (True,), R20M: (True,)}
    # A store of all copies goes on with all.
    living.run(names, index=both)
    assert living.view().present == {B01: (True, True), R20M: (True, True)}
    living.rests(names, index=both)
    living.is_as_built(names, "--resolutions", "all", index=both)
    living.run(names, "--prune", index=both)
    assert living.view().present == {B01: (True, True)}
    living.is_as_built(names, index=both)


def test_the_best_copies_and_then_all(copies: tuple[Living, Path]) -> None:
    living, both = copies
    names = living.archive.names()
    living.run(names, index=both)
    assert living.view().present == {B01: (True, True)}
    living.run(names, "--resolutions", "all", index=both)
    living.is_as_built(names, "--resolutions", "all", index=both)


# The order of arrival.


@pytest.fixture
def eight(archive: Archive, others: tuple[Samples, Samples]) -> list[str]:
    """Products that have to do with one another."""
    # Three processings of one date, halves, halves at one time, another radiometric offset, another header class.
    return [
        archive.add("2024-06-01", base=0),
        archive.add("2024-06-01", base=2, generated="2024-08-01"),
        archive.add("2024-06-01", base=2, baseline="05.12", generated="2024-07-01"),
        archive.add("2024-06-06", base=1),
        archive.add("2024-06-06", base=3, datastrip=101, generated="2024-06-07"),
        archive.add("2024-06-11", base=2, datastrip=80, sensing=160, generated="2024-06-15"),
        archive.add("2024-06-11", base=0, datastrip=90, sensing=160, generated="2024-06-12"),
        archive.add("2024-06-21", base=2),
        *archive.adopt(others[0].root),
        *archive.adopt(others[1].root),
    ]


def parts(names: list[Any], random: random.Random) -> list[list[Any]]:
    """A list in some order, cut at some places; some of it comes twice."""
    shuffled = random.sample(names, len(names))
    cuts = sorted(random.sample(range(1, len(names)), random.randint(1, 4)))
    cut = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(names)], strict=True)]
    return [part + random.sample(names, random.randint(0, 1)) for part in cut]


@pytest.mark.parametrize("seed", range(8))
def test_the_outcome_does_not_depend_on_the_order_of_arrival(living: Living, eight: list[str], seed: int) -> None:
    chance = random.Random(seed)
    stac, cumulative = chance.random() < 0.5, chance.random() < 0.5
    seen: list[str] = []
    for part in parts(eight, chance):
        seen += [name for name in part if name not in seen]
        living.run(seen if cumulative else part, stac=stac)
        view = living.view()
        assert set(view.products) <= set(seen)
    living.rests(eight, stac=stac)
    living.is_as_built(eight, stac=stac)


@pytest.mark.parametrize("seed", range(4))
def test_nor_on_how_the_rows_of_a_product_are_cut(living: Living, eight: list[str], seed: int) -> None:
    chance = random.Random(100 + seed)
    for number, rows in enumerate(parts(living.archive.rows(eight), chance)):
        living.run(eight, index=tables.write(living.folder.parent / f"{number}.parquet", rows))
    living.run(eight)
    living.rests(eight)
    living.is_as_built(eight)


@pytest.mark.parametrize("seed", range(6))
def test_with_pruning_the_store_is_what_the_last_input_says(living: Living, eight: list[str], seed: int) -> None:
    """Products come and go."""
    chance = random.Random(200 + seed)
    stac = chance.random() < 0.5
    for _ in range(4):
        some = chance.sample(eight, chance.randint(2, len(eight)))
        prune = chance.random() < 0.7
        living.run(some, *(("--prune", "--prune-limit", "100") if prune else ()), stac=stac)
        if prune:
            living.is_as_built(some, stac=stac)
            living.rests(some, "--prune", stac=stac)


# What readers see.


def test_pixels_move_with_their_time(living: Living, three: list[str], bases: Samples) -> None:
    living.run(three[1:])

    def pixels() -> dict[int, Any]:
        tree = package.open(str(living.store), source={"local": str(living.archive.root)}, mask_and_scale=False)
        leaf = tree[B01.rpartition("/")[0]]
        assert leaf.present_reflectance.to_numpy().tolist() == [3] * leaf.sizes["time"]
        times = leaf.time.to_numpy()
        assert times.tolist() == sorted(set(times.tolist()))
        return {time: leaf.b01[step].to_numpy() for step, time in enumerate(times.tolist())}

    before = pixels()
    living.run(three)
    after = pixels()
    assert len(after) == 3
    for time, values in before.items():
        np.testing.assert_array_equal(after[time], values)
    for values, product in zip(after.values(), bases.products, strict=False):
        np.testing.assert_array_equal(values, bases.truth(product, "B01_60m"))


# What is refused.


def stamped(store: Path, **changes: object) -> None:
    """Change what the root of a store says of it."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(store)))
    session = repository.writable_session("main")
    root = zarr.open_group(session.store)
    root.attrs["s2ice"] = root.attrs["s2ice"] | changes
    session.commit("by hand")


def test_a_store_of_another_tool_is_refused(living: Living, three: list[str]) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(living.store)))
    session = repository.writable_session("main")
    zarr.create_array(session.store, name="air", shape=(3,), dtype="f4")
    session.commit("not ours")
    assert "that s2ice did not write" in living.fails(three)
    living.store = living.folder / "zarr"
    zarr.create_group(str(living.store))
    living.fails(three)


def test_another_tile_or_level_is_refused(living: Living, three: list[str]) -> None:
    living.run(three)
    stamped(living.store, tile="29UNU")
    sentence = living.fails(three)
    assert "29UNU L2A" in sentence
    assert "33TVN L2A" in sentence
    stamped(living.store, tile="33TVN", level="L1C")
    assert "33TVN L1C" in living.fails(three)


def test_another_layout_is_refused(living: Living, three: list[str]) -> None:
    living.run(three)
    stamped(living.store, layout=99, writer="s2ice 9.9.9", news={"of": "later"})
    sentence = living.fails(three)
    assert "layout version 99, this program knows 4" in sentence
    assert "s2ice 9.9.9" in sentence
    for older in (1, 2):
        stamped(living.store, layout=older)
        assert f"layout version {older}" in living.fails(three)


def test_another_source_needs_another_name(living: Living, three: list[str]) -> None:
    living.run(three)
    mirror = living.archive.root.with_name("mirror")
    shutil.copytree(living.archive.root, mirror)
    assert "--container" in living.fails(three[:2], source=mirror)
    newer = living.archive.add("2024-06-16", base=3)
    shutil.copytree(living.archive.root, mirror, dirs_exist_ok=True)
    report = living.run([newer], "--container", "mirror", source=mirror)
    assert changes(report) == {"appended": [newer], "kept": 3}
    places = stores.local(living.store).all_virtual_chunk_locations()
    assert sum("/mirror/" in place or place.startswith("vcc://mirror") for place in places) == 200


# At a service.


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("eodata")
        service.bucket("stores")
        yield service


def test_on_s3_a_run_with_nothing_new_asks_and_writes_nothing(
    living: Living, three: list[str], service: s3.Service, s2ice: Command
) -> None:
    living.s2ice = with_keys(s2ice)
    service.upload(living.archive.root, "eodata", "a/")
    place = {"source": "s3://eodata/a", "store": "s3://stores/rest"}
    ends = ("--source-endpoint", service.endpoint, "--store-endpoint", service.endpoint)
    with service.recorded() as first:
        living.run(three[:2], *ends, **place)
    with service.recorded() as requests:
        report = living.run(three, *ends, **place)
    assert changes(report) == {"appended": three[2:], "unchanged": 2}
    asked = [r for r in requests if r.bucket == "eodata"]
    assert 0 < len(asked) < len([r for r in first if r.bucket == "eodata"])
    assert all(three[2] in r.path for r in asked)
    with service.recorded() as requests:
        report = living.run(three, *ends, **place)
    assert "committed" not in report
    assert [r for r in requests if r.bucket == "eodata"] == []
    assert {r.method for r in requests} <= {"GET", "HEAD"}, requests
    assert len(requests) < 60


def test_on_s3_an_outage_of_the_source_leaves_the_store_as_it_is(
    living: Living, three: list[str], service: s3.Service, s2ice: Command
) -> None:
    living.s2ice = with_keys(s2ice)
    service.upload(living.archive.root, "eodata", "b/")
    place = {"source": "s3://eodata/b", "store": "s3://stores/outage"}
    ends = ("--source-endpoint", service.endpoint, "--store-endpoint", service.endpoint)
    first = living.run(three[:2], *ends, **place)
    store = s3_state(service, "outage/")
    # The service refuses one product: the others land.
    newer = living.archive.add("2024-06-16", base=3)
    service.upload(living.archive.root, "eodata", "b/")
    with service.denying(lambda r: r.bucket == "eodata" and three[2] in r.path):
        report = living.run([*three, newer], *ends, **place)
    assert report["changes"]["appended"] == [newer]
    assert {(p, k) for p, _, k in refused(report)} == {(three[2], "source")}
    assert report["committed"]["snapshot"] != first["committed"]["snapshot"]
    report = living.run([*three, newer], *ends, **place)
    assert changes(report) == {"inserted": [three[2]], "unchanged": 3}
    assert set(store) <= set(s3_state(service, "outage/")), "nothing a reader may need is gone"


def s3_state(service: s3.Service, prefix: str) -> dict[str, str]:
    listed = service.client.list_objects_v2(Bucket="stores", Prefix=prefix)
    return {entry["Key"]: entry["ETag"] for entry in listed.get("Contents", []) if "/overwritten/" not in entry["Key"]}


def with_keys(s2ice: Command) -> Any:
    return type(s2ice)(s2ice.binary, s2ice.environment | s3.ENVIRONMENT)


# What newcomers and damaged inputs must not do.


def test_one_product_of_another_offset_does_not_empty_a_store(living: Living, archive: Archive) -> None:
    """By name alone, baselines before 04.00 have offset 0 and later ones -1000; what stands keeps its place."""
    old = [archive.add(f"2024-06-{day:02}", base=day % 2, baseline="03.00") for day in range(1, 11)]
    new = archive.add("2024-06-16")
    refuse = ("--headers", "assume", "--on-mismatch", "refuse")
    living.run(old, *refuse)
    report = living.run([new], *refuse)
    assert report["refused"] == report["leaving"] == []
    assert changes(report) == {"appended": [new], "moved": old}
    (era,) = report["eras"]
    assert era["times"]["count"] == len(old)
    # And the other way round: what has no place yet is refused by name.
    further = archive.add("2024-06-12", baseline="03.00")
    report = living.run([further], *refuse)
    assert refused(report) == {(further, None, "radiometry")}


def test_nothing_is_pruned_while_rows_are_not_understood(living: Living, three: list[str]) -> None:
    living.run(three)
    rows = [row for row in living.archive.rows(three) if row["product_id"] != three[0]]
    bad = rows[0] | {"product_id": "nobody"}
    index = tables.write(living.folder / "bad.parquet", [*rows, bad])
    report = living.run(three, index=index)
    if report["index"]["rejected"]:
        assert "were not understood" in living.fails(three, "--prune", index=index)
    assert changes(living.run(three[1:], "--prune")) == {"removed": [three[0]], "unchanged": 2}


def test_a_stale_memory_of_one_file_does_not_hold_up_the_others(living: Living, three: list[str]) -> None:
    """A file that is gone by now is left out, the rest is published."""
    cache = living.folder / "memory.parquet"
    (gone,) = (living.archive.root / f"{three[1]}.SAFE").rglob("*_B01_60m.jp2")
    gone.unlink()
    report = living.run(three, memory=cache)
    assert (three[1], "B01_60m", "source") in refused(report)
    assert living.view().present[B01] == (True, False, True)
