"""`s2ice diff`: what it tells of two stores, and what it takes for the same."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import icechunk
import jsonschema
import pytest
import zarr

from conftest import ROOT
from support import s3
from support.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.command import Command, Outcome

B01 = "/measurements/reflectance/r60m/b01"


class Diff:
    """`s2ice diff`, whose report must conform to its schema and agree with the exit code."""

    def __init__(self, s2ice: Command) -> None:
        self.s2ice = s2ice
        self.schema = json.loads((ROOT / "schemas/diff-report.schema.json").read_text())

    def __call__(self, left: object, right: object, *options: object) -> dict[str, Any]:
        line = self.s2ice.line(("diff", left, right, "--json", *options))
        code = 0 if "--same" in line else 1
        outcome = self.s2ice("diff", left, right, "--json", *(o for o in options if o != "--same"), code=code)
        report = outcome.json
        assert outcome.stderr == ""
        jsonschema.validate(report, self.schema)
        assert (report["kind"], report["version"]) == ("s2ice.diff", 1)
        lists = [report[kind] for kind in ("products", "nodes", "metadata", "columns", "references")]
        assert report["differences"] == sum(map(len, lists))
        assert report["same"] == (report["differences"] == 0) == (code == 0)
        return report

    def same(self, left: object, right: object, *options: object) -> dict[str, Any]:
        return self(left, right, "--same", *options)


@pytest.fixture(scope="module")
def diff(s2ice: Command) -> Diff:
    return Diff(s2ice)


@pytest.fixture
def changed(sample_store: Path, tmp_path: Path) -> Path:
    """A copy of a store that a test may change."""
    return shutil.copytree(sample_store, tmp_path / "changed")


def main_of(store: Path) -> str:
    return icechunk.Repository.open(icechunk.local_filesystem_storage(str(store))).lookup_branch("main")


def test_help_names_the_options(s2ice: Command) -> None:
    text = s2ice("diff", "--help").stdout
    for option in ("LEFT", "RIGHT", "--left-at", "--right-at", "--ignore-sources", "--ignore-checksums", "--json"):
        assert option in text, option
    assert max(map(len, text.splitlines())) <= 110


def test_two_builds_of_the_same_are_the_same(
    diff: Diff, s2ice: Command, samples: Samples, sample_store: Path, tmp_path: Path
) -> None:
    other = Bench(s2ice, samples.root, tmp_path)
    other.build("--arrays", "**/b01", stac=samples.stac)
    other.build(stac=samples.stac)
    report = diff.same(sample_store, other.store)
    assert report["left"]["snapshot"] != report["right"]["snapshot"]
    assert (report["left"]["times"], report["left"]["tile"], report["left"]["level"]) == (3, "33TVN", "L2A")
    text = s2ice("diff", sample_store, other.store).stdout
    assert text.endswith("\nthe same\n")
    assert s2ice("diff", sample_store, other.store, "-q").stdout == ""


def test_products_are_told_by_name(
    diff: Diff, s2ice: Command, samples: Samples, sample_store: Path, tmp_path: Path
) -> None:
    fewer = Bench(s2ice, samples.root, tmp_path)
    first, second, third = samples.products
    date = f"{first[11:15]}-{first[15:17]}-{first[17:19]}"
    late = f"{third[11:15]}-{third[15:17]}-{third[17:19]}"
    fewer.build(stac=samples.stac, datetime=f"{date}T00:00:00Z/{date}T23:59:59Z")
    report = diff(sample_store, fewer.store)
    assert [p["product"] for p in report["products"]] == [second, third]
    assert all("right" not in p for p in report["products"])
    # Another first step: what is left still stands beside its product.
    fewer.build("--prune", "--prune-limit", 100, stac=samples.stac, datetime=f"{late}T00:00:00Z/..")
    report = diff(fewer.store, sample_store)
    assert [p["product"] for p in report["products"]] == [first, second]
    assert report["differences"] == 2
    outcome: Outcome = s2ice("diff", fewer.store, sample_store, code=1)
    assert f"products only right: 2\n  {first} at 20" in outcome.stdout
    assert outcome.stdout.endswith("\n2 differences\n")
    assert outcome.stderr == ""


def test_states_of_one_store_are_compared(diff: Diff, bench: Bench, pair: Samples) -> None:
    bench.build("--arrays", "**/b01", stac=pair.stac)
    before = main_of(bench.store)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(bench.store)))
    repository.create_tag("published/1", before)
    bench.build(stac=pair.stac)
    diff.same(bench.store, bench.store)
    diff.same(bench.store, bench.store, "--left-at", "main", "--right-at", main_of(bench.store))
    for at in ("published/1", before):
        report = diff(bench.store, bench.store, "--left-at", at)
        assert report["left"]["snapshot"] == before
        data = [n["path"] for n in report["nodes"] if n["node"] == "data_array"]
        assert data
        assert B01 not in data
        assert {n["only_in"] for n in report["nodes"]} == {"right"}
        assert report["references"] == report["products"] == []
    # As rollback takes it.
    assert diff(bench.store, bench.store, "--left-at", "1")["left"]["snapshot"] == before
    sentence = bench.s2ice("diff", bench.store, bench.store, "--right-at", "gone", code=2).sentence
    assert "no tag, branch or snapshot" in sentence
    assert "`s2ice info --json` lists" in sentence


def test_stores_of_two_mirrors_are_the_same_below_their_containers(
    diff: Diff, bench: Bench, mine: Samples, tmp_path: Path
) -> None:
    bench.build()
    mirror = Bench(bench.s2ice, mine.root, tmp_path / "mirror")
    mirror.build()
    report = diff(bench.store, mirror.store)
    assert {m["pointer"] for m in report["metadata"]} == {"/attributes/s2ice/sources/local"}
    first = report["references"][0]["first"]
    assert first["left"]["location"].startswith("file:///")
    assert first["left"]["location"] != first["right"]["location"]
    assert {k: v for k, v in first["left"].items() if k != "location"} == {
        k: v for k, v in first["right"].items() if k != "location"
    }
    diff.same(bench.store, mirror.store, "--ignore-sources")
    # Another spec of the format keeps absolute locations.
    older = Bench(bench.s2ice, mine.root, tmp_path / "older")
    older.build(spec=1)
    diff.same(mirror.store, older.store)
    diff.same(bench.store, older.store, "--ignore-sources")


def test_changed_files_are_told_by_their_references(diff: Diff, damaged: Bench, mine: Samples, tmp_path: Path) -> None:
    damaged.build()
    (file, *_) = mine.files("*B01_60m")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    later = Bench(damaged.s2ice, mine.root, tmp_path / "later")
    later.build()
    report = diff(damaged.store, later.store)
    assert {c["path"] for c in report["columns"]} == {"/products/content"}
    (told,) = report["references"]
    assert (told["path"], told["left"]) == (B01, told["right"])
    assert told["product"] in str(file)
    assert told["first"]["right"]["checksum"] == "modified 2023-11-14T22:13:20.000Z"
    diff.same(damaged.store, later.store, "--ignore-checksums")


def test_metadata_and_columns_are_told_by_name(diff: Diff, s2ice: Command, changed: Path, sample_store: Path) -> None:
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(changed)))
    session = repository.writable_session("main")
    root = zarr.open_group(session.store)
    assert isinstance(root["products/cloud_cover"], zarr.Array)
    root["products/cloud_cover"][1] = 77.5
    root["products/platform"][2] = "S2Z"
    root[B01].attrs["units"] = "m"
    session.commit("by hand")
    report = diff(sample_store, changed)
    ((metadata),) = report["metadata"]
    assert (metadata["path"], metadata["pointer"], metadata["right"]) == (B01, "/attributes/units", "m")
    cloud, platform = report["columns"]
    assert (cloud["path"], cloud["right"], platform["path"], platform["right"]) == (
        *("/products/cloud_cover", 77.5),
        *("/products/platform", "S2Z"),
    )
    text = s2ice("diff", sample_store, changed, code=1).stdout
    assert '-> "S2Z"' in text
    assert text.endswith("\n3 differences\n")


def test_stores_of_other_tiles_are_told_in_a_sentence(
    diff: Diff, s2ice: Command, sample_store: Path, make_samples: Callable[..., Samples], tmp_path: Path
) -> None:
    elsewhere = make_samples("--dates", "2", "--tile", "29UNU")
    other = Bench(s2ice, elsewhere.root, tmp_path)
    other.build(tile="29UNU")
    report = diff(sample_store, other.store)
    assert [(m["left"], m["right"]) for m in report["metadata"]] == [("33TVN", "29UNU")]
    assert (report["left"]["times"], report["right"]["times"]) == (3, 2)
    text = s2ice("diff", sample_store, other.store, code=1).stdout
    assert text.count("3 times, 3 arrays") == text.count("2 times, 3 arrays") == 1
    assert text.endswith("\nstores of different tiles or levels: nothing else was compared\n")


def test_what_is_no_store_is_refused(s2ice: Command, sample_store: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for line in ((sample_store, missing), (missing, sample_store)):
        assert "there is no store at" in s2ice("diff", *line, code=2).sentence
    assert not missing.exists()
    foreign = tmp_path / "foreign"
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(foreign)))
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    session.commit("not ours")
    outcome = s2ice("diff", sample_store, foreign, code=2)
    assert "that s2ice did not write" in outcome.sentence
    assert outcome.stdout == ""


def test_another_tile_is_told_at_once(
    diff: Diff, make_samples: Any, s2ice: Command, sample_store: Path, tmp_path: Path
) -> None:
    other = Bench(s2ice, make_samples("--tile", "29UNU", "--dates", "1").root, tmp_path)
    other.build(tile="29UNU")
    report = diff(sample_store, other.store)
    (told,) = report["metadata"]
    assert (told["pointer"], told["left"], told["right"]) == ("/attributes/s2ice/tile", "33TVN", "29UNU")
    assert report["differences"] == 1


def test_a_store_on_s3_is_compared_with_one_on_disk(
    diff: Diff, s2ice: Command, samples: Samples, sample_store: Path
) -> None:
    with s3.serve() as service:
        service.bucket("stores")
        place = f"s3://stores/{samples.root.name}"
        at_service = ("--store-endpoint", service.endpoint)
        keys = [f"aws_{name}={value}" for name, value in s3.KEYS.items()]
        at_service += tuple(part for key in keys for part in ("--store-option", key))
        build = ("build", "--tile", "33TVN", "--index", samples.index, "--stac", samples.stac, "--memory", "none", "-q")
        s2ice(*build, "--source", samples.root, "--store", place, *at_service)
        report = diff.same(sample_store, place, *at_service)
        assert report["right"]["store"].rstrip("/") == place
