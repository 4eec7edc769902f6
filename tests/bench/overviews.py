"""What stored overviews cost, and what reading them takes with references to whole tiles and to their beginnings.

A store of sixteen rasters per product is built without overviews, with those by 2 and 4, and without and then with
them; opening it is counted over HTTP. Then tiles of real size are read at a half and a quarter from chunks that are
whole tiles and from chunks that end with the last packet needed, by Zarr with the codec, which fetches parts of chunks,
and as a reader does that fetches whole chunks.

Usage: overviews.py --bin target/release --work FOLDER [--products 1000]

Prints two tables and writes overviews.json to the working folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from bench import table
from notebook import measured, served
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import WrapperStore

import s2ice
from s2ice._tile import tile_codec

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates/python/tests"))
from support import Jp2, metadata, read_jp2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

BANDS = {"10 m": "B04_10m", "20 m": "B11_20m"}
LATENCY, PER_SECOND = 0.05, 50e6
"""Seconds to an answer, and bytes per second of one link, where tiles are read."""

RASTERS = [(name, 10, 11) for name in ("B02", "B03", "B04", "B08", "AOT", "WVP", "TCI")]
RASTERS += [(name, 20, 9) for name in ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL")]
RASTERS += [(name, 60, 10) for name in ("B01", "B09")]
"""Names, pixel sizes and tiles along an edge."""
RUNS: dict[str, list[list[str]]] = {"none": [[]], "2,4": [["2,4"]], "2,4 afterwards": [[], ["2,4"]]}


def index(path: Path, products: int) -> None:
    """A TLM index of tiles of 20 kB to 1.2 MB."""
    rng = np.random.default_rng(1)

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(products):
            day = (date(2017, 1, 1) + timedelta(days=number * 3)).strftime("%Y%m%d")
            product = f"S2A_MSIL2A_{day}T100601_N0510_R022_T33TVN_{day}T200000"
            for name, metres, edge in RASTERS:
                lengths = rng.integers(20_000, 1_200_000, edge * edge).astype(">u4")
                tlm = b"\xff\x55" + (4 + lengths.nbytes).to_bytes(2, "big") + b"\x00\x40" + lengths.tobytes()
                size = 2600 + int(lengths.sum()) + 2
                cell = size.to_bytes(8, "big") + (2600).to_bytes(8, "big") + len(tlm).to_bytes(4, "big") + tlm
                file = f"GRANULE/L2A/IMG_DATA/R{metres}m/T33TVN_{day}T100601_{name}_{metres}m.jp2"
                where = f"/Sentinel-2/MSI/L2A/{product}.SAFE/{file}"
                yield {"product_id": product, "band_id": name, "path": where, "index": cell}

    pq.write_table(pa.Table.from_pylist(list(rows())), path)


def build(binaries: Path, work: Path, products: int) -> Iterator[dict[str, Any]]:
    index(work / "index.parquet", products)
    line = [binaries / "s2ice", "build", "--tile", "33TVN", "--source", "s3://eodata", "--headers", "assume", "-q"]
    line += ["--index", work / "index.parquet", "--memory", "none"]
    for name, runs in RUNS.items():
        store = work / name.replace(" ", "-")
        shutil.rmtree(store, ignore_errors=True)
        for run in runs:
            begin = time.perf_counter()
            subprocess.run(
                [*line, "--store", store, *(word for one in run for word in ("--overviews", one))], check=True
            )
            seconds = time.perf_counter() - begin
        told = json.loads(subprocess.check_output([binaries / "s2ice", "info", store, "--json"]))
        snapshot = max(file.stat().st_size for file in (store / "snapshots").iterdir())
        figures = {"references": told["references"], "manifests": told["manifest_bytes"], "snapshot": snapshot}
        yield {"overviews": name, "seconds": seconds} | figures | opened(store)


def opened(store: Path) -> dict[str, Any]:
    """What opening the tree, and one group of it, asks of a web server."""
    out = {}
    with served(store, 0) as url:
        for what, group in (("tree", None), ("group", "measurements/reflectance/r10m")):
            with measured(url) as out[what]:
                s2ice.open(url, group, allow=True, anonymous=True)
    return out


class Network(WrapperStore[Any]):
    """A store at the end of a network, which counts what is asked of chunks."""

    _supports_sync_io = False

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.requests = self.bytes = 0
        self.free = 0.0

    def _with_store(self, store: Any) -> Network:
        return self

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        came = time.perf_counter()
        found = await super().get(key, prototype, byte_range)
        if "c/" in key and found is not None:
            self.requests += 1
            self.bytes += len(found)
            self.free = max(self.free, came + LATENCY) + len(found) / PER_SECOND
            await asyncio.sleep(max(0.0, self.free - time.perf_counter()))
        return found


def sample(binaries: Path, work: Path) -> dict[str, Jp2]:
    """The bands of one realistic product."""
    if not (work / "sample").exists():
        words = ["--dates", "1", "--no-swath-edge", "--realistic", "--assets", ",".join(BANDS.values())]
        subprocess.run([binaries / "s2ice-samples", work / "sample", *words], check=True)
    return {name: read_jp2(next((work / "sample").rglob(f"*_{asset}.jp2"))) for name, asset in BANDS.items()}


def stored(jp2: Jp2, chunks: dict[int, bytes], reduce: int) -> Network:
    """An array of one date in an Icechunk store."""
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    buffer = default_buffer_prototype().buffer

    async def write() -> None:
        described = json.dumps(metadata(jp2, times=1, reduce=reduce)).encode()
        await session.store.set("zarr.json", buffer.from_bytes(described))
        for tile, chunk in chunks.items():
            row, column = divmod(tile, jp2.grid[1])
            await session.store.set(f"c/0/{row}/{column}", buffer.from_bytes(chunk))

    asyncio.run(write())
    session.commit("tiles")
    return Network(repository.readonly_session("main").store)


def read(bands: dict[str, Jp2]) -> Iterator[dict[str, Any]]:
    """Read the tiles of a date at a half and at a quarter."""
    for name, jp2 in bands.items():
        whole = {number: jp2.chunk(number) for number in jp2.tiles}
        total = sum(map(len, whole.values()))
        for reduce in (1, 2):
            codec = tile_codec(jp2.main_header, reduce)
            cut = {number: chunk[: codec.plan(chunk)[2]] for number, chunk in whole.items()}
            for chunks, kept in (("whole", whole), ("beginnings", cut)):
                store = stored(jp2, kept, reduce)
                array = zarr.open_array(store, mode="r")
                begin = time.perf_counter()
                array[0]
                seconds = time.perf_counter() - begin
                shares = {"parts": store.bytes / total, "whole": sum(map(len, kept.values())) / total}
                row = {"band": name, "factor": 1 << reduce, "chunks": chunks, "requests": store.requests / len(kept)}
                yield row | {"seconds": seconds, "shares": shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--products", type=int, default=1000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    reads = list(read(sample(args.bin, args.work)))
    stores = list(build(args.bin, args.work, args.products))
    (args.work / "overviews.json").write_text(json.dumps({"stores": stores, "reads": reads}, indent=1) + "\n")
    rows = [["overviews", "references", "manifests, MB", "snapshot, kB", "build, s", "open tree", "open group"]]
    for one in stores:
        ways = [f"{one[w]['requests']} requests, {one[w]['bytes'] / 1e3:.0f} kB" for w in ("tree", "group")]
        sizes = [f"{one['references']:,}", f"{one['manifests'] / 1e6:.1f}", f"{one['snapshot'] / 1e3:.0f}"]
        rows.append([one["overviews"], *sizes, f"{one['seconds']:.1f}", *ways])
    print(table(rows))
    rows = [["", "factor", "chunks", "in parts: requests per tile", "bytes", "seconds", "in whole chunks: bytes"]]
    for one in reads:
        figures = [f"{one['requests']:.1f}", f"{one['shares']['parts']:.0%}", f"{one['seconds']:.2f}"]
        rows.append([one["band"], str(one["factor"]), one["chunks"], *figures, f"{one['shares']['whole']:.0%}"])
    print(table(rows))


if __name__ == "__main__":
    main()
