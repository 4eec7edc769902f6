"""Making an index: on the fly for products that no index has, and by `s2ice index` over many."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray as xr

from support import s3, stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

TILE = "33TVN"
R60M = "measurements/reflectance/r60m"
SCL = "conditions/mask/l2a_classification/r20m"
SOURCE = "s3://eodata/Sentinel-2/MSI"
KINDS = ("native", "walked")


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("eodata")
        yield service


@pytest.fixture(scope="module")
def kinds(make_samples: Callable[..., Samples]) -> dict[str, Samples]:
    """Two products whose files carry TLM, and the same two without."""
    return {
        "native": make_samples("--dates", "2", "--truth", "--tlm", "all"),
        "walked": make_samples("--dates", "2", "--truth", "--tlm", "none"),
    }


@pytest.fixture(scope="module")
def uploaded(service: s3.Service, kinds: dict[str, Samples]) -> dict[str, str]:
    """Addresses of the products of each kind; the catalogue's own addresses lead elsewhere."""
    for kind, samples in kinds.items():
        service.upload(samples.root, "eodata", f"Sentinel-2/MSI/{kind}/")
    return {kind: f"{SOURCE}/{kind}" for kind in kinds}


def build(source: object, samples: Samples, store: Path, *more: object) -> tuple[object, ...]:
    """Build without any index."""
    return (
        *("build", "--tile", TILE, "--stac", samples.stac, "--source", source, "--store", store),
        *("--index-missing", "--json", *more),
    )


def tiles(file: Path) -> int:
    return file.read_bytes().count(b"\xff\x90\x00\x0a")


def check_pixels(store: Path, source: Path, samples: Samples) -> None:
    session = stores.local_with_source(store, source)
    for group, name, asset in ((R60M, "b01", "B01_60m"), (R60M, "b09", "B09_60m"), (SCL, "scl", "SCL_20m")):
        array = xr.open_zarr(session.store, group=group, consolidated=False, chunks=None, mask_and_scale=False)[name]
        assert array.sizes["time"] == len(samples.products)
        for step, product in enumerate(samples.products):
            np.testing.assert_array_equal(array[step], samples.truth(product, asset))


@pytest.mark.parametrize("kind", KINDS)
def test_requests_of_a_build_without_an_index(
    s2ice: Command, service: s3.Service, kinds: dict[str, Samples], uploaded: dict[str, str], tmp_path: Path, kind: str
) -> None:
    """TLM in the file: one request per raster. Without: at most one more than it has tiles."""
    samples, place = (
        kinds[kind],
        (
            "--source-endpoint",
            service.endpoint,
        ),
    )
    line = build(uploaded[kind], samples, tmp_path / "store", *place, "--memory", tmp_path / "facts.ndjson")
    with service.recorded() as requests:
        report = s2ice(*line, **s3.ENVIRONMENT).json
    files = samples.files()
    asked = [r for r in requests if r.bucket == "eodata" and r.path.endswith(".jp2")]
    documents = [r for r in requests if r.path.endswith(".xml")]
    assert len(documents) == 2 * len(samples.products)
    for file in files:
        mine = [r for r in asked if r.path.endswith(file.relative_to(samples.root).as_posix())]
        assert 1 <= len(mine) <= (1 if kind == "native" else tiles(file) + 1)
        assert mine[0].range == (0, 65535)
    indexed = report["indexed"]
    assert (indexed["products"], indexed["rasters"]) == (2, len(files))
    assert (indexed["native"], indexed["walked"]) == ((len(files), 0) if kind == "native" else (0, len(files)))
    # The rest are listings: where the catalogue's address would be on a mirror is found once.
    assert indexed["requests"] - len(asked) <= 2 * len(samples.products) + 2
    assert report["source_use"]["requests"] == indexed["requests"] + len(documents)
    assert report["products"]["without_index"] == []
    assert report["times"]["count"] == 2

    # Once more: the store holds the products, and nobody asks for them again.
    with service.recorded() as requests:
        again = s2ice(*line, **s3.ENVIRONMENT).json
    assert [r for r in requests if r.bucket == "eodata"] == []
    assert "committed" not in again
    assert again["indexed"]["products"] == 0


def test_a_folder_without_rasters_is_told(s2ice: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = ("index", "--source", tmp_path, "-o", tmp_path / "index.parquet")
    assert f"no raster is below file://{tmp_path}/empty: " in s2ice(*line, "empty", code=1).sentence
    assert f"file://{tmp_path}/gone does not exist" in s2ice(*line, "gone", code=1).sentence
    assert f"no raster is below file://{tmp_path}: " in s2ice(*line, code=1).sentence


@pytest.mark.parametrize("index", ["public", "ours", "none"])
def test_files_with_tlm_take_two_requests_at_most(
    s2ice: Command, service: s3.Service, kinds: dict[str, Samples], uploaded: dict[str, str], tmp_path: Path, index: str
) -> None:
    """One per raster, whatever index there is, and two documents per product."""
    samples, table = kinds["native"], tmp_path / "index.parquet"
    shutil.copy(samples.index, table)
    assert not any(pq.read_table(table)["index"].to_pylist()), "a public index leaves the cell of such files empty"
    place = ("--source", uploaded["native"], "--source-endpoint", service.endpoint)
    if index == "ours":
        table.unlink()
        s2ice("index", *place, "-o", table, **s3.ENVIRONMENT)
    known = ("--index-missing",) if index == "none" else ("--index", table)
    line = ("build", "--tile", TILE, "--stac", samples.stac, *place, *known, "--memory", "none", "--json")
    with service.recorded() as requests:
        report = s2ice(*line, "--store", tmp_path / "store", **s3.ENVIRONMENT).json
    assert report["refused"] == []
    assert report["times"]["count"] == 2
    asked = [r for r in requests if r.path.endswith(".jp2")]
    heads = [r for r in asked if r.range and r.range[0] == 0]
    for file in samples.files():
        own = [r for r in heads if r.path.endswith(file.relative_to(samples.root).as_posix())]
        assert len(own) == 1
    assert len(asked) == len(samples.files())
    assert len([r for r in requests if r.path.endswith(".xml")]) == 2 * len(samples.products)
    rest = len(requests) - len(asked) - 2 * len(samples.products)
    # Listings: one per product, and at first where they lie.
    assert rest <= (2 * len(samples.products) + 2 if index == "none" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_the_index_that_is_written_back(
    s2ice: Command, kinds: dict[str, Samples], tmp_path: Path, kind: str
) -> None:
    samples = kinds[kind]
    learned, fresh, made = tmp_path / "learned.parquet", tmp_path / "fresh", tmp_path / "made.parquet"
    report = s2ice(*build(samples.root, samples, fresh, "--memory", "none", "--write-index", learned)).json
    rows = len(samples.files())
    assert report["indexed"]["index_rows"] == pq.read_metadata(learned).num_rows == rows
    check_pixels(fresh, samples.root, samples)

    # It is the index that `s2ice index` makes, and gives the same store.
    s2ice("index", "--source", samples.root, "-o", made)
    assert pq.read_table(learned).equals(pq.read_table(made))
    again = tmp_path / "again"
    usual = ("build", "--tile", TILE, "--stac", samples.stac, "--source", samples.root, "--memory", "none", "--json")
    s2ice(*usual, "--store", again, "--index", learned)
    assert s2ice("diff", fresh, again, "--json").json["same"]

    # Nothing is missing any more.
    third = s2ice(*build(samples.root, samples, tmp_path / "third", "--memory", "none", "--write-index", learned)).json
    assert third["indexed"]["products"] == 0
    assert third["products"]["in_index"] == 2


def test_the_limit_is_kept_and_the_rest_comes_later(s2ice: Command, kinds: dict[str, Samples], tmp_path: Path) -> None:
    samples, store = kinds["native"], tmp_path / "store"
    line = build(samples.root, samples, store, "--memory", "none", "--index-missing-limit", "1")
    reports = [s2ice(*line).json for _ in range(3)]
    assert [r["indexed"]["products"] for r in reports] == [1, 1, 0]
    assert reports[0]["changes"]["appended"] == samples.products[:1]
    (left,) = reports[0]["products"]["without_index"]
    assert left["product"] == samples.products[1]
    assert "--index-missing-limit" in left["reason"]
    assert reports[1]["changes"]["appended"] == samples.products[1:]
    assert "committed" not in reports[2]
    check_pixels(store, samples.root, samples)


def test_products_that_are_not_at_the_source_are_named(
    s2ice: Command, kinds: dict[str, Samples], tmp_path: Path
) -> None:
    samples, root = kinds["native"], tmp_path / "archive"
    gone, there = (f"{name}.SAFE" for name in samples.products)
    shutil.copytree(samples.root / there, root / "L2" / "tiles" / "33" / "T" / "VN" / there)
    report = s2ice(*build(root, samples, tmp_path / "store", "--memory", "none")).json
    assert report["changes"]["appended"] == samples.products[1:]
    (left,) = report["products"]["without_index"]
    assert left["product"] == gone.removesuffix(".SAFE")
    assert "were not found below" in left["reason"]


def test_arrays_that_are_not_asked_for_cost_nothing(s2ice: Command, kinds: dict[str, Samples], tmp_path: Path) -> None:
    samples = kinds["native"]
    report = s2ice(*build(samples.root, samples, tmp_path / "s", "--memory", "none", "--arrays", "**/scl")).json
    assert report["indexed"]["rasters"] == len(samples.products)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("--headers", "assume"), "--headers assume"),
        (("--write-index", "no/such/folder/index.parquet"), "no/such/folder"),
    ],
)
def test_requests_that_cannot_be_met(
    s2ice: Command, kinds: dict[str, Samples], tmp_path: Path, change: tuple[str, ...], what: str
) -> None:
    samples = kinds["native"]
    code = 1 if "no/such" in what else 2
    outcome = s2ice(*build(samples.root, samples, tmp_path / "s", "--memory", "none", *change), code=code)
    assert what in outcome.sentence


class Index:
    """`s2ice index` of a copy of some products on S3, or on disk."""

    def __init__(self, s2ice: Command, service: s3.Service, output: Path) -> None:
        self.s2ice = s2ice
        self.service = service
        self.output = output
        self.partial = output.with_name(f".{output.name}.partial")

    def line(self, *more: object) -> tuple[object, ...]:
        place = ("--source", f"{SOURCE}/many", "--source-endpoint", self.service.endpoint)
        return ("index", *place, "-o", self.output, *more)

    def __call__(self, *more: object) -> tuple[dict[str, Any], list[s3.Request]]:
        """Run, and give the report and the reads of JP2 files."""
        with self.service.recorded() as requests:
            report = self.s2ice(*self.line("--json", *more), **s3.ENVIRONMENT).json
        return report, [r for r in requests if r.path.endswith(".jp2")]


@pytest.fixture
def many(s2ice: Command, service: s3.Service, kinds: dict[str, Samples], tmp_path: Path) -> Iterator[Index]:
    service.upload(kinds["walked"].root, "eodata", "Sentinel-2/MSI/many/")
    yield Index(s2ice, service, tmp_path / "index.parquet")
    client = service.client
    listed = client.list_objects_v2(Bucket="eodata", Prefix="Sentinel-2/MSI/many/").get("Contents", [])
    for found in listed:
        client.delete_object(Bucket="eodata", Key=found["Key"])


def by_file(requests: list[s3.Request]) -> set[str]:
    return {r.path for r in requests}


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_an_index_that_was_interrupted_goes_on(many: Index, kinds: dict[str, Samples], sign: int) -> None:
    files = len(kinds["walked"].files())
    whole, _ = many("--no-resume")
    expected = pq.read_table(many.output)
    many.output.unlink()
    slow = {**many.s2ice.environment, **s3.ENVIRONMENT}
    blocked = threading.Event()

    def hold(request: s3.Request) -> bool:
        # Half of the files answer; the others wait until the run is dead.
        if "SCL" in request.path:
            blocked.wait(30)
        return False

    many.service.deny = hold
    with subprocess.Popen(many.s2ice.line(many.line("-q")), env=slow, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not many.partial.exists() or many.partial.read_bytes().count(b"\n") < files - 2 + 1:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(sign)
            process.wait(30)
            said = process.stderr.read() if process.stderr else ""
        finally:
            blocked.set()
            many.service.deny = lambda _: False
    assert not many.output.exists()
    if sign == signal.SIGINT:
        assert "the same command goes on from there" in said
    plan, nothing = many("--dry-run")
    assert (plan["taken_over"], len(plan["would_read"]), nothing) == (files - 2, 2, [])
    report, requests = many()
    assert (report["taken_over"], report["indexed"], report["walked"]) == (files - 2, files, files)
    assert all("SCL" in path for path in by_file(requests))
    assert len(by_file(requests)) == 2
    assert pq.read_table(many.output).equals(expected)
    assert report["tiles"] == whole["tiles"]
    assert not many.partial.exists()


def test_requests_of_an_index(many: Index, kinds: dict[str, Samples]) -> None:
    """One for the head, and at most one per tile."""
    report, requests = many()
    for file in kinds["walked"].files():
        mine = [r for r in requests if r.path.endswith(file.relative_to(kinds["walked"].root).as_posix())]
        assert len(mine) <= tiles(file) + 1
        # Large tile-parts are walked by 256 bytes; small ones arrive many at a time.
        hops = [end + 1 - begin for begin, end in (r.range for r in mine[1:] if r.range)]
        assert mine[0].range == (0, 16383)
        assert all(256 <= hop <= 256 * 1024 for hop in hops)
        assert sum(hops) <= file.stat().st_size
    assert report["requests"] == len(requests) + 1


def test_an_update_reads_what_is_new_or_changed(
    many: Index, kinds: dict[str, Samples], make_samples: Callable[..., Samples]
) -> None:
    files, root = len(kinds["walked"].files()), kinds["walked"].root
    many()
    before = pq.read_table(many.output)
    report, requests = many("--update")
    assert (report["kept"], report["walked"], requests) == (files, 0, [])
    assert pq.read_table(many.output).equals(before)

    client, prefix = many.service.client, "Sentinel-2/MSI/many/"
    newer = make_samples("--dates", "1", "--start", "2024-06-20", "--tlm", "all")
    many.service.upload(newer.root, "eodata", prefix)
    changed, gone = kinds["walked"].files("*_B01_60m")[0], kinds["walked"].files("*_B09_60m")[1]
    other = kinds["native"].root / changed.relative_to(root)
    client.put_object(Bucket="eodata", Key=prefix + changed.relative_to(root).as_posix(), Body=other.read_bytes())
    client.delete_object(Bucket="eodata", Key=prefix + gone.relative_to(root).as_posix())
    plan, requests = many("--skip-indexed", "--dry-run")
    added = len(newer.files())
    assert (plan["kept"], plan["gone"], len(plan["would_read"]), requests) == (files - 2, 1, added + 1, [])
    report, requests = many("--update")
    assert (report["kept"], report["gone"], report["with_tlm"], report["walked"]) == (files - 2, 1, added + 1, 0)
    assert len(requests) == added + 1 == len(by_file(requests))
    updated = pq.read_table(many.output)
    many("--no-resume")
    assert pq.read_table(many.output).equals(updated)

    # Rows of files that are not looked for stay.
    part, _ = many("--update", newer.products[0] + ".SAFE")
    assert (part["kept"], part["gone"], part["indexed"]) == (files - 1 + added, 0, files - 1 + added)


def test_files_that_fail_do_not_end_an_index(many: Index, kinds: dict[str, Samples]) -> None:
    files = len(kinds["walked"].files())
    with many.service.denying(lambda request: "B01" in request.path):
        report, _ = many()
    assert (report["indexed"], len(report["refused"])) == (files - 2, 2)
    report, requests = many("--update")
    assert (report["indexed"], report["kept"], len(by_file(requests))) == (files, files - 2, 2)


def test_a_spent_budget_stops_an_index_that_goes_on_later(many: Index, kinds: dict[str, Samples]) -> None:
    line = many.line("--bytes-per-day", "1500000", "--connections", "1", "-q")
    sentence = many.s2ice(*line, code=1, **s3.ENVIRONMENT).sentence
    assert "files to read" in sentence
    assert "the same command goes on from there" in sentence
    assert not many.output.exists()
    report, _ = many()
    files = len(kinds["walked"].files())
    assert 0 < report["taken_over"] < files == report["indexed"]


def test_two_runs_of_one_index_do_not_mix(many: Index) -> None:
    many.service.deny = lambda _: time.sleep(0.2) or False
    try:
        environment = {**many.s2ice.environment, **s3.ENVIRONMENT}
        with subprocess.Popen(many.s2ice.line(many.line("-q")), env=environment) as process:
            deadline = time.monotonic() + 60
            while not many.partial.exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert "another s2ice process" in many.s2ice(*many.line(), code=1, **s3.ENVIRONMENT).sentence
            assert process.wait(120) == 0
    finally:
        many.service.deny = lambda _: False
    assert many.output.exists()


def test_where_nothing_can_be_listed_the_catalogue_says_where_the_files_are(
    s2ice: Command, service: s3.Service, kinds: dict[str, Samples], uploaded: dict[str, str], tmp_path: Path
) -> None:
    samples = kinds["native"]
    text = samples.stac.read_text()
    stac = tmp_path / "items.json"
    stac.write_text(re.sub(r"s3://eodata/Sentinel-2/MSI/L2A_N0500/\d+/\d+/\d+", uploaded["native"], text))
    line = (
        *("build", "--tile", TILE, "--stac", stac, "--source", uploaded["native"], "--index-missing", "--json"),
        *("--store", tmp_path / "store", "--memory", "none", "--source-endpoint", service.endpoint),
    )
    with service.denying(lambda request: request.path.rstrip("/") == "/eodata"), service.recorded() as requests:
        report = s2ice(*line, **s3.ENVIRONMENT).json
    asked = [r for r in requests if r.path.endswith(".jp2")]
    assert len(asked) == len(samples.files()) == report["indexed"]["native"]
    assert report["times"]["count"] == 2


def test_an_index_with_rows_that_would_be_lost_is_not_written_over(
    s2ice: Command, kinds: dict[str, Samples], tmp_path: Path
) -> None:
    samples, index = kinds["native"], tmp_path / "index.parquet"
    table = pq.read_table(samples.index).slice(0, 1)
    pq.write_table(table.set_column(0, "product_id", [["no product"]]), index)
    before = index.read_bytes()
    line = build(samples.root, samples, tmp_path / "s", "--memory", "none", "--write-index", index)
    assert "name another file to write to" in s2ice(*line, code=1).sentence
    assert index.read_bytes() == before
