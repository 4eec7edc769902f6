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
    assert gate["references_compared"] == report["references"]
    assert gate["nodes"] == len(stores.documents(stores.local(bench.store)))
    # Nothing new, nothing checked.
    again = bench.build()
    assert "gate" not in again
    assert "committed" not in again


def test_the_summary_has_a_row(bench: Bench) -> None:
    out = bench.s2ice(*bench.arguments()).stdout
    (row,) = [line for line in out.splitlines() if line.strip().startswith("checked")]
    assert row.split(maxsplit=1)[1].endswith(" references")


@pytest.mark.parametrize("last", [False, True], ids=["inner tiles", "the last tiles"])
@pytest.mark.parametrize("apart", [1, 7])
def test_tiles_under_each_others_number_are_found_every_time(
    bench: Bench, pair: Samples, tmp_path: Path, apart: int, last: bool
) -> None:
    """The raster is left out by name, the rest is published; no luck decides, whatever the run is called."""
    at = 99 - apart if last else 5
    index, row = tampered(pair, tmp_path, lambda index: swapped(index, at, at + apart))
    for run in range(3):
        report = bench.build(index=index, store=tmp_path / f"store-{run}")
        (refused,) = report["refused"]
        assert (refused["product"], refused["raster"], refused["kind"]) == (product(row), "B09_60m", "ranges")
        assert "the file has tile" in refused["reason"]
        assert "index the file again" in refused["reason"]
        assert report["products"]["stored"] == 2


def test_a_row_of_another_length_is_left_out(bench: Bench, pair: Samples, tmp_path: Path) -> None:
    index, row = tampered(pair, tmp_path, lambda index: shifted(index, 0, 3))
    (refused,) = bench.build(index=index)["refused"]
    assert (refused["product"], refused["raster"], refused["kind"]) == (product(row), "B09_60m", "ranges")
    # With another index it comes in, and nothing else is asked for.
    report = bench.build()
    assert report["refused"] == []
    assert report["changes"]["updated"] == [product(row)]


def test_a_file_that_is_replaced_meanwhile(s2ice: Command, damaged: Bench, mine: Samples, tmp_path: Path) -> None:
    """Headers come from an index with ETags, so that only the proof sees the file itself."""
    own = tmp_path / "own.parquet"
    s2ice("index", "--source", mine.root, "-o", own, "-q")
    file = mine.files("*B09_60m")[0]
    contents = file.read_bytes()
    file.write_bytes(contents[:-2] + b"\xff\xd9")
    report = damaged.build("--headers", "index", index=own, store=tmp_path / "replaced")
    (refused,) = report["refused"]
    assert (refused["raster"], refused["kind"]) == ("B09_60m", "changed")
    file.unlink()
    report = damaged.build("--headers", "index", index=own, store=tmp_path / "gone")
    (refused,) = report["refused"]
    assert (refused["raster"], refused["kind"]) == ("B09_60m", "source")


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        yield service


def test_a_gate_costs_a_store_few_requests(s2ice: Command, service: s3.Service, pair: Samples, tmp_path: Path) -> None:
    """Appending reads back what was written: one request for each manifest, and for each column."""
    rows = tables.rows(pair.index)
    first = tables.write(tmp_path / "first.parquet", [r for r in rows if product(r) == pair.products[0]])
    service.bucket("living")
    build = (
        *("build", "--tile", TILE, "--source", pair.root, "--store-endpoint", service.endpoint, "--json"),
        *("--store", "s3://living/33TVN", "--memory", "none"),
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

    storage = service.storage("33TVN", bucket="living")
    return stores.documents(icechunk.Repository.open(storage).readonly_session("main"))
