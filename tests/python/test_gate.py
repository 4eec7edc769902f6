"""The publish gate: what is looked at before a store is published, and what keeps it from being."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from support import s3, stores, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.bench import Bench
    from support.command import Command

TILE = "33TVN"
ALL = ("--sample", "100000")


def swapped(index: bytes, first: int, second: int) -> bytes:
    """The same tile-parts, two of them under each other's tile number: same lengths, same sum."""
    marker, size, _, style = struct.unpack(">HHBB", index[20:26])
    assert (marker, 22 + size) == (0xFF55, len(index)), "one TLM segment"
    numbers = style >> 4 & 3
    assert numbers in (1, 2), "tile numbers are written out"
    entry = numbers + (4 if style & 0x40 else 2)
    out = bytearray(index)
    a, b = (26 + tile * entry for tile in (first, second))
    out[a : a + numbers], out[b : b + numbers] = index[b : b + numbers], index[a : a + numbers]
    return bytes(out)


def shifted(index: bytes, at: int, by: int) -> bytes:
    """One tile-part longer and the next shorter, as an index would be that is off by a few bytes."""
    _, _, _, style = struct.unpack(">HHBB", index[20:26])
    numbers, width = style >> 4 & 3, 4 if style & 0x40 else 2
    out = bytearray(index)
    for tile, change in ((at, by), (at + 1, -by)):
        start = 26 + tile * (numbers + width) + numbers
        length = int.from_bytes(out[start : start + width]) + change
        out[start : start + width] = length.to_bytes(width)
    return bytes(out)


def product(row: dict[str, Any]) -> str:
    return row["product_id"].removesuffix(".SAFE")


def tampered(samples: Samples, folder: Path, change: Callable[[bytes], bytes]) -> tuple[Path, dict[str, Any]]:
    """Change the index of B09 of the later product; that index, and the row."""
    rows = tables.rows(samples.index)
    changed = {}
    for row in rows:
        if tables.asset(row) == "B09_60m" and product(row) == samples.products[-1]:
            row["index"] = change(row["index"])
            changed = row
    return tables.write(folder / "tampered.parquet", rows), changed


def test_what_was_checked_is_told(bench: Bench) -> None:
    report = bench.build()
    gate = report["gate"]
    assert gate["sampled"] == 12
    assert gate["references_compared"] == report["references"]
    assert gate["nodes"] == len(stores.documents(stores.local(bench.store)))
    assert "skipped" not in gate
    # Nothing new, nothing checked.
    again = bench.build()
    assert "gate" not in again
    assert "committed" not in again


def test_the_summary_has_a_row(bench: Bench) -> None:
    out = bench.s2ice(*bench.arguments("--sample", "3")).stdout
    (row,) = [line for line in out.splitlines() if line.strip().startswith("checked")]
    assert row.split(maxsplit=1)[1].endswith(" references, 3 samples at the source")


@pytest.mark.parametrize(
    ("options", "why"), [(("--sample", "0"), "no samples"), (("--headers", "assume"), "the source is not to be asked")]
)
def test_nothing_is_sampled_where_that_is_not_wanted(bench: Bench, options: tuple[str, ...], why: str) -> None:
    gate = bench.build(*options)["gate"]
    assert gate["sampled"] == 0
    assert gate["skipped"].startswith(why)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda index: swapped(index, 5, 6), ("tile 6 begins, the index says 5", "tile 5 begins, the index says 6")),
        (lambda index: shifted(index, 7, 3), ("no tile-part begins", "begins, the index says")),
    ],
    ids=["tiles under each other's number", "three bytes off"],
)
def test_an_index_that_is_off_is_not_published(
    bench: Bench, pair: Samples, tmp_path: Path, change: Callable[[bytes], bytes], words: tuple[str, ...]
) -> None:
    index, row = tampered(pair, tmp_path, change)
    sentence = bench.refused(*ALL, index=index)
    assert "nothing was published at " in sentence
    assert f" of B09_60m of {product(row)} is not as referenced" in sentence
    assert any(word in sentence for word in words), sentence
    assert "index the product again" in sentence
    # Without looking nobody would notice.
    assert bench.build("--sample", "0", index=index)["references"] > 0


def test_main_stays_as_it_was(bench: Bench, pair: Samples, tmp_path: Path) -> None:
    """A store of the first product; the second one, whose index is off, is not added to it."""
    index, row = tampered(pair, tmp_path, lambda index: swapped(index, 0, 1))
    rows = tables.rows(index)
    first = tables.write(tmp_path / "first.parquet", [r for r in rows if product(r) != product(row)])
    bench.build(index=first)
    before = stores.local(bench.store).snapshot_id
    sentence = bench.s2ice(*bench.arguments(*ALL, index=index), code=1).sentence
    assert "is not as referenced" in sentence
    assert stores.local(bench.store).snapshot_id == before
    info = bench.s2ice("info", bench.store, "--json").json
    assert info["branches"] == ["main"]
    assert len(info["tags"]) == 1
    assert bench.build(*ALL)["changes"]["appended"] == [product(row)]


def test_a_file_that_is_replaced_meanwhile(s2ice: Command, damaged: Bench, mine: Samples, tmp_path: Path) -> None:
    """Headers come from an index with ETags, so that the file itself is seen by the gate only."""
    own = tmp_path / "own.parquet"
    s2ice("index", "--source", mine.root, "-o", own, "-q")
    options = (*ALL, "--headers", "index")
    file = mine.files("*B09_60m")[0]
    contents = file.read_bytes()
    file.write_bytes(contents[:-2] + b"\xff\xd9")
    sentence = damaged.refused(*options, index=own)
    assert " of B09_60m of " in sentence
    assert "the ETag of its file is another" in sentence
    assert "it was replaced" in sentence
    file.unlink()
    assert "does not exist any more" in damaged.refused(*options, index=own)


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        yield service


def test_samples_are_few_small_requests(s2ice: Command, service: s3.Service, pair: Samples, tmp_path: Path) -> None:
    service.bucket("eodata")
    service.bucket("stores")
    service.upload(pair.root, "eodata")
    build = (
        *("build", "--tile", TILE, "--index", pair.index, "--source", "s3://eodata", "--json"),
        *("--source-endpoint", service.endpoint, "--store-endpoint", service.endpoint),
        *("--cache", tmp_path / "facts.ndjson"),
    )

    def run(store: str, *more: object) -> tuple[dict[str, Any], list[s3.Request]]:
        with service.recorded() as requests:
            report = s2ice(*build, "--store", f"s3://stores/{store}", *more, **s3.ENVIRONMENT).json
        return report, [r for r in requests if r.bucket == "eodata"]

    run("first", "--sample", "0")
    report, asked = run("second", "--sample", "7")
    # Headers and metadata come from the cache: all that is asked are the samples.
    assert report["gate"]["sampled"] == 7
    assert len(asked) == report["source_use"]["requests"] == 7
    assert all(r.method == "GET" and r.range is not None and r.range[1] - r.range[0] == 11 for r in asked)
    assert len({(r.path, r.range) for r in asked}) == 7
    # Every raster of an array has its turn: three arrays, two products.
    assert len({r.path for r in asked}) == len(pair.files())

    def missing(request: s3.Request) -> bool:
        return request.bucket == "eodata"

    with service.denying(missing):
        outcome = s2ice(*build, "--store", "s3://stores/third", code=1, **s3.ENVIRONMENT)
    assert "access to s3://eodata/" in outcome.sentence
    # Nothing was published: the next run begins from nothing.
    report, _ = run("third")
    assert report["changes"]["appended"] == pair.products


def test_a_gate_costs_a_store_few_requests(s2ice: Command, service: s3.Service, pair: Samples, tmp_path: Path) -> None:
    """Appending reads back what was written: one request for each manifest, and for each column."""
    rows = tables.rows(pair.index)
    first = tables.write(tmp_path / "first.parquet", [r for r in rows if product(r) == pair.products[0]])
    service.bucket("living")
    build = (
        *("build", "--tile", TILE, "--source", pair.root, "--store-endpoint", service.endpoint, "--json"),
        *("--store", "s3://living/33TVN", "--cache", "none"),
    )
    s2ice(*build, "--index", first, **s3.ENVIRONMENT)
    with service.recorded() as requests:
        report = s2ice(*build, "--index", pair.index, **s3.ENVIRONMENT).json
    assert report["changes"]["appended"]
    # Everything behind the last snapshot is the gate's, and the two or three writes that publish.
    written = max(i for i, r in enumerate(requests) if r.method == "PUT" and "/snapshots/" in r.path)
    reads = [r.path for r in requests[written:] if r.method == "GET"]
    manifests = [path for path in reads if "/manifests/" in path]
    assert len(manifests) == len(set(manifests)), "no manifest is read twice"
    arrays = [path for path, document in stores_of(service).items() if document["node_type"] == "array"]
    assert 0 < len(manifests) <= len(arrays)
    assert len(reads) - len(manifests) <= 16, sorted(set(reads) - set(manifests))


def stores_of(service: s3.Service) -> dict[str, dict[str, Any]]:
    import icechunk

    storage = icechunk.s3_storage(
        bucket="living",
        prefix="33TVN",
        endpoint_url=service.endpoint,
        region="us-east-1",
        allow_http=True,
        force_path_style=True,
        **s3.KEYS,
    )
    return stores.documents(icechunk.Repository.open(storage).readonly_session("main"))
