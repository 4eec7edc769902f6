"""A run that is told of changes only, and remembers the rest, makes what a run makes that is told everything."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from test_core import MEMORIES, angles, change, cloud_cover, metadata_of, missing, some, with_keys
from test_core_sources import Tiffs

from support import s3
from support.living import Living, changes, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.archive import Archive
    from support.catalogue import Catalogue
    from support.command import Command

pytestmark = pytest.mark.parametrize("memory", MEMORIES, ids=["remembering", "forgetful"])
DAYS = ("2024-01-01", "2024-06-06", "2024-06-21")
"""The first one changed so long before the others that no search waits for it."""
CLEAR = ("--max-cloud-cover", 50)


@pytest.fixture
def names(living: Living, items: Catalogue) -> list[str]:
    """Products of an API, all of them clear by item and XML."""
    archive = living.archive
    names = [archive.add(day, base=at) for at, day in enumerate(DAYS)]
    for name in names:
        cover(archive, name, 10)
        state(archive, name, 10)
    items.put(archive.items(names))
    return names


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("eodata")
        yield service


def state(archive: Archive, name: str, percent: float | None) -> None:
    """Let the item state a cloud cover, or none."""
    properties = archive.products[name].item["properties"]
    properties.pop("eo:cloud_cover", None)
    if percent is not None:
        properties["eo:cloud_cover"] = float(percent)


def cover(archive: Archive, name: str, percent: float) -> None:
    """Let the XML state one."""
    cloud_cover(archive, name)
    change(metadata_of(archive, name, "MTD_MSIL2A.xml"), r"(<Cloud_Coverage_Assessment>)[^<]*", rf"\g<1>{percent}")


def announce(living: Living, items: Catalogue, name: str) -> None:
    """The catalogue says that the product changed."""
    living.archive.stamp(name, datetime(2024, 7, 1))
    items.put(living.archive.items([name]))


def api(living: Living, items: Catalogue, memory: str | None) -> dict[str, Any]:
    index = living.archive.index(living.archive.root / "still.parquet")
    return {"index": index, "stac": items.endpoint, "memory": memory}


def fresh(options: dict[str, Any]) -> dict[str, Any]:
    return options | {"memory": "none"}


def elsewhere(item: dict[str, Any]) -> None:
    """Let the item name files without the folders in which they lie."""
    for asset in item["assets"].values():
        asset["href"] = f"s3://elsewhere/{asset['href'].rpartition('/')[2]}"


# What a catalogue did not have belongs to what it was asked.


@pytest.mark.parametrize("other", [CLEAR, ("--datetime", "2024-06-05/2024-06-30")])
def test_what_one_question_leaves_out_another_one_has(
    living: Living, items: Catalogue, names: list[str], memory: str | None, other: tuple[object, ...]
) -> None:
    state(living.archive, names[0], 60)
    items.put(living.archive.items(names[:1]))
    options = api(living, items, memory)
    living.archive.index(options["index"], names[1:])
    living.run(None, **options)
    living.archive.index(options["index"], names)
    assert names[0] not in str(changes(living.run(None, *other, **options)))
    assert changes(living.run(None, **options))["inserted"] == names[:1]
    living.is_as_built(None, **fresh(options))
    living.rests(None, **options)


def test_what_the_catalogue_does_not_have_is_looked_for_once(
    living: Living, items: Catalogue, names: list[str], memory: str | None
) -> None:
    """News of others ask for what changed, where it is remembered."""
    items.items.pop(names[0])
    options = api(living, items, memory)
    for day in ("2024-06-26", "2024-07-01"):
        living.run(None, *CLEAR, **options)
        names.append(living.archive.add(day, base=1))
        state(living.archive, names[-1], 10)
        items.put(living.archive.items(names[-1:]))
        living.archive.index(options["index"])
        report = living.run(None, *CLEAR, **options)
        assert report["changes"]["appended"] == names[-1:]
        assert report["catalogue"]["mode"] == ("full" if memory else "incremental")


# What was out of reach comes in with the item that the catalogue has by then, or not at all.


@pytest.mark.parametrize("how", ["index", "missing"])
@pytest.mark.parametrize("by_then", ["as it was", "withdrawn", "cloudy"])
def test_what_was_out_of_reach_is_stored_with_what_the_catalogue_says_by_then(
    living: Living, items: Catalogue, names: list[str], memory: str | None, how: str, by_then: str
) -> None:
    options = api(living, items, memory) | ({"index": None} if how == "missing" else {})
    more = (*(missing() if how == "missing" else ()), *CLEAR)
    folder = living.archive.root / f"{names[0]}.SAFE"
    away = folder.rename(living.folder.parent / "away")
    report = living.run(None, *more, **options)
    assert names[0] in str(report["refused"] + report["products"]["without_index"])
    away.rename(folder)
    if by_then == "withdrawn":
        del items.items[names[0]]
    elif by_then == "cloudy":
        state(living.archive, names[0], 90)
        announce(living, items, names[0])
    for full in ((), (), ("--full",)):
        living.run(None, *more, *full, **options)
        assert living.view().products == tuple(names if by_then == "as it was" else names[1:])
    living.is_as_built(None, *more, **fresh(options))
    living.rests(None, *more, **options)


@pytest.mark.parametrize("part", [False, True], ids=["whole", "in part"])
def test_a_geotiff_that_was_out_of_reach_and_is_withdrawn_does_not_come(
    s2ice: Command, tmp_path: Path, items: Catalogue, memory: str | None, part: bool
) -> None:
    tiffs = Tiffs(s2ice, tmp_path, items, memory)
    old = tiffs.add("20240101")
    tiffs.add("20240516")
    files = [file for band, (_, file) in old.files.items() if not part or "B09" in band]
    for file in files:
        file.rename(file.with_suffix(".away"))
    tiffs.run()
    for file in files:
        file.with_suffix(".away").rename(file)
    tiffs.items.items = {key: item for key, item in tiffs.items.items.items() if item["id"] != old.item["id"]}
    for more in ((), (), ("--full",)):
        report = tiffs.run(*more)
        present = {array["asset"]: array["present"] for array in report["arrays"]}
        assert present == {"B01_60m": 2 if part else 1, "B09_60m": 1}


@pytest.mark.parametrize(("stated", "comes"), [(10, True), (None, False)])
def test_what_was_out_of_reach_is_judged_by_its_item(
    living: Living, items: Catalogue, names: list[str], memory: str | None, stated: float | None, comes: bool
) -> None:
    cover(living.archive, names[0], 77)
    state(living.archive, names[0], stated)
    items.put(living.archive.items(names[:1]))
    options = api(living, items, memory)
    xml = metadata_of(living.archive, names[0], "MTD_TL.xml")
    away = xml.rename(living.folder.parent / "away")
    living.run(None, *CLEAR, **options)
    away.rename(xml)
    report = living.run(None, *CLEAR, **options)
    assert ((names[0], None, "filtered") in refused(report)) is not comes
    assert (names[0] in living.view().products) is comes
    living.is_as_built(None, *CLEAR, **fresh(options))
    living.rests(None, *CLEAR, **options)


# What an XML kept out comes in when it is put right.


@pytest.mark.parametrize("by", ["API", "file", "API, not indexed"])
@pytest.mark.parametrize("what", ["cover", "time", "quantification"])
def test_an_xml_that_is_put_right_is_read_again(
    living: Living, items: Catalogue, names: list[str], memory: str | None, by: str, what: str
) -> None:
    more: tuple[object, ...] = {"cover": CLEAR, "time": ("--datetime", "2024-06-05/2024-06-30")}.get(what, ())
    archive, name = living.archive, names[1]
    product, granule = (metadata_of(archive, name, f"MTD_{part}.xml") for part in ("MSIL2A", "TL"))
    good = [path.read_text() for path in (product, granule)]
    if what == "cover":
        state(archive, name, None)
        cover(archive, name, 77)
    elif what == "time":
        change(granule, r"(<SENSING_TIME[^>]*>)2024-06-06", r"\g<1>2024-06-03")
    else:
        change(product, r"(<BOA_QUANTIFICATION_VALUE[^>]*>)[^<]*", r"\g<1>1e300")
    items.put(archive.items([name]))
    options = api(living, items, memory)
    if by == "API, not indexed":
        options["index"], more = None, missing(*more)

    def catalogue() -> None:
        options["stac"] = str(archive.stac(archive.root / "items.json")) if by == "file" else items.endpoint

    catalogue()
    report = living.run(None, *more, **options)
    assert name in {product for product, *_ in refused(report)}
    for path, text in zip((product, granule), good, strict=True):
        path.write_text(text)
    announce(living, items, name)
    catalogue()
    living.run(None, *more, **options)
    assert name in living.view().products
    living.is_as_built(None, *more, **fresh(options))


# What an XML says now is what the store has, whatever filters do with it.


@pytest.mark.parametrize("how", ["index", "missing"])
@pytest.mark.parametrize("what", ["cover", "angles"])
def test_an_xml_that_changes_is_read_again(
    living: Living, items: Catalogue, names: list[str], memory: str | None, how: str, what: str
) -> None:
    options = api(living, items, memory) | ({"index": None} if how == "missing" else {})
    more = missing() if how == "missing" else ()
    living.run(None, *more, **options)
    if what == "cover":
        cover(living.archive, names[1], 33)
    else:
        angles(living.archive, names[1])
    announce(living, items, names[1])
    assert living.run(None, *more, **options)["changes"]["updated"] == [names[1]]
    living.is_as_built(None, *more, **fresh(options))
    living.rests(None, *more, **options)


@pytest.mark.parametrize(("before", "after"), [(10, 77), (77, 10)])
@pytest.mark.parametrize("cuts", [1, 2])
def test_pruning_goes_by_what_the_xml_says_now(
    living: Living, items: Catalogue, names: list[str], memory: str | None, before: float, after: float, cuts: int
) -> None:
    """Whether the run that is told of the change prunes, or a later one."""
    for name in names:
        state(living.archive, name, None)
    cover(living.archive, names[1], before)
    items.put(living.archive.items(names))
    options = api(living, items, memory)
    living.run(None, **options)
    cover(living.archive, names[1], after)
    announce(living, items, names[1])
    if cuts == 2:
        report = living.run(None, *CLEAR, **options)
        assert report["leaving"] == []
    report = living.run(None, *CLEAR, "--prune", **options)
    goes = [(names[1], f"pruned: its cloud cover is {after} %")] if after > 50 else []
    assert [(left["product"], left["reason"]) for left in report["leaving"]] == goes
    living.is_as_built(None, *CLEAR, **fresh(options))


def test_an_item_counts_where_nothing_else_is_asked(
    living: Living, items: Catalogue, names: list[str], memory: str | None
) -> None:
    options = api(living, items, memory)
    more = ("--headers", "assume")
    living.run(None, *more, **options)
    state(living.archive, names[1], 44)
    announce(living, items, names[1])
    assert living.run(None, *more, **options)["changes"]["updated"] == [names[1]]
    living.is_as_built(None, *more, **fresh(options))


# What an item says of its datastrip is proven before a product is dropped for it.


@pytest.mark.parametrize("how", ["index", "missing", "missing, files elsewhere"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0,)], ids=["first half first", "second half first", "at once"])
def test_a_wrong_datastrip_in_an_item_drops_no_half(
    living: Living, items: Catalogue, memory: str | None, how: str, order: tuple[int, ...]
) -> None:
    archive = living.archive
    halves = [archive.add("2024-06-01", datastrip=86 + 15 * at, generated=f"2024-06-0{4 - at}") for at in range(2)]
    other = archive.add("2024-06-06", base=1)
    first, second = (archive.products[name].item for name in halves)
    second["properties"]["eopf:datastrip_id"] = first["properties"]["eopf:datastrip_id"]
    if how == "missing, files elsewhere":
        for item in (first, second):
            elsewhere(item)
    more = missing() if how != "index" else ()
    given: list[str] = [other]
    for day, at in enumerate(order):
        given += halves if len(order) == 1 else [halves[at]]
        for name in given[-2:]:
            archive.stamp(name, datetime(2024, 7, 1 + day))
        items.put(archive.items(given))
        options = api(living, items, memory) | ({"index": None} if how != "index" else {})
        if how == "index":
            archive.index(options["index"], given)
        living.run(None, *more, **options)
    assert set(living.view().products) == {*halves, other}
    living.is_as_built(None, *more, **fresh(options))


@pytest.mark.parametrize("proof", ["folder", "XML"])
@pytest.mark.parametrize("how", ["index", "missing"])
def test_what_is_superseded_costs_two_requests_at_most(
    living: Living, items: Catalogue, service: s3.Service, memory: str | None, how: str, proof: str
) -> None:
    """None where the folder of the files says the same as the item, and a listing where that must be found first."""
    archive = living.archive
    later, other = archive.add("2024-06-01", generated="2024-09-01"), archive.add("2024-06-06", base=1)
    prefix = f"superseded-{how}-{proof}-{memory}/"
    options = api(living, items, memory) | {"source": f"s3://eodata/{prefix}"}
    options |= {"index": None} if how == "missing" else {}
    living.s2ice = with_keys(living.s2ice)
    more = ("--source-endpoint", service.endpoint, *(missing() if how == "missing" else ()))
    items.put(archive.items())
    service.upload(archive.root, "eodata", prefix)
    living.run(None, *more, **options)
    earlier = archive.add("2024-06-01")
    service.upload(archive.root, "eodata", prefix)
    if proof == "XML":
        item = archive.products[earlier].item
        if how == "missing":
            elsewhere(item)
        else:
            # Without an item's word the XML is read.
            del item["properties"]["eopf:datastrip_id"]
    archive.stamp(earlier, datetime(2024, 9, 2))
    items.put(archive.items([earlier]))
    if how == "index":
        archive.index(options["index"])
    with service.recorded() as requests:
        report = living.run(None, *more, **options)
    assert (earlier, None, "superseded") in refused(report)
    assert living.view().products == (later, other)
    assert not [r.path for r in requests if earlier in r.path and r.path.endswith(".jp2")]
    assert len([r for r in requests if earlier in r.path and r.path.endswith(".xml")]) <= (2 if proof == "XML" else 0)


# What leaves is told with the true reason.


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("cover", "its cloud cover is 60 %"),
        ("time", "its time 2024-06-06 10:05:59 UTC lies outside the interval"),
        ("withdrawn", "not in the catalogue"),
        ("not indexed", "not in the index"),
        ("neither", "the inputs no longer have it"),
    ],
)
def test_what_is_pruned_is_told_why(
    living: Living, items: Catalogue, names: list[str], memory: str | None, why: str, reason: str
) -> None:
    archive, name = living.archive, names[1]
    state(archive, name, 60)
    items.put(archive.items(names))
    options = api(living, items, memory)
    living.run(None, **options)
    rest = [names[0], names[2]]
    if why in ("withdrawn", "neither"):
        del items.items[name]
    archive.index(options["index"], rest if why in ("not indexed", "neither") else names)
    more: dict[str, tuple[object, ...]] = {"cover": CLEAR, "time": ("--datetime", "2024-06-07/..")}
    report = living.run(None, "--prune", "--prune-limit", 100, *more.get(why, ()), **options)
    told = {left["product"]: left["reason"] for left in report["leaving"]}
    assert told[name] == f"pruned: {reason}"


def test_without_a_catalogue_what_is_pruned_is_told_why(living: Living, memory: str | None) -> None:
    names = some(living.archive, 3)
    living.run(names, memory=memory)
    report = living.run(names, "--prune", "--datetime", "2024-06-05/2024-06-30", memory=memory)
    (left,) = report["leaving"]
    assert left["reason"] == "pruned: its time 2024-06-01 10:05:59 UTC lies outside the interval"
