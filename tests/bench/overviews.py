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
import json
import shutil
import subprocess
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench import table
from notebook import measured, served
from precincts import NETWORKS, cost, sample, stored

import s2ice
from s2ice._tile import tile_codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import Jp2

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


def read(bands: dict[str, Jp2]) -> Iterator[dict[str, Any]]:
    """Read the tiles of a date at a half and at a quarter."""
    for name, jp2 in bands.items():
        whole = {number: jp2.chunk(number) for number in jp2.tiles}
        for reduce in (1, 2):
            codec = tile_codec(jp2.main_header, reduce)
            cut = {number: chunk[: codec.plan(chunk)[2]] for number, chunk in whole.items()}
            for chunks, kept in (("whole", whole), ("beginnings", cut)):
                shown = Shown(jp2, kept)
                found = cost(stored(shown, [(0, 0, 0)], reduce=reduce), NETWORKS[2], "auto", [(0,)])
                all_bytes = sum(map(len, whole.values()))
                shares = {"parts": found["bytes"] / all_bytes, "whole": sum(map(len, kept.values())) / all_bytes}
                row = {"band": name, "factor": 1 << reduce, "chunks": chunks, "requests": found["requests"] / len(kept)}
                yield row | {"seconds": found["seconds"], "shares": shares}


class Shown:
    """A file with other chunks."""

    def __init__(self, jp2: Any, chunks: dict[int, bytes]) -> None:
        self._jp2, self._chunks = jp2, chunks

    def chunk(self, tile: int) -> bytes:
        return self._chunks[tile]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jp2, name)


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
