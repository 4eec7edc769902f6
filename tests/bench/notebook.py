"""The case of the public notebook: 90 dates of tile 33TVN, bands B08 and B11 and the scene classification, a box.

One sample product is made and given 90 dates by hard links; a counting server stands in for the archive. Then the
store is built by `s2ice build` with its defaults (every main header and every product's XML is read), built again
(nothing is new), opened with `s2ice.open`, and the box of 10 km is loaded for all dates.

Usage: notebook.py --bin target/release --work FOLDER [--latency-ms N] [--realistic]

Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from rasterio.windows import from_bounds

import s2ice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import xarray as xr

HERE = Path(__file__).resolve().parent
DATES = 90
FIRST = date(2024, 5, 1)
EVERY = timedelta(days=5)
TILE = "33TVN"
RASTERS = {
    "B08_10m": "measurements/reflectance/r10m/b08",
    "B11_20m": "measurements/reflectance/r20m/b11",
    "SCL_20m": "conditions/mask/l2a_classification/r20m/scl",
}
# Metres, west south east north: over a corner of four tiles at 10 m and at 20 m, the dearest place for a box.
BOX = (435_000, 5_240_000, 445_000, 5_250_000)


def archive(samples: str, folder: Path, assets: Iterable[str] = RASTERS, *words: str) -> list[dict[str, Any]]:
    """Make the product and its copies; return the rows of the index."""
    done = folder / "rows.json"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [samples, str(folder), "--tile", TILE, "--dates", "1", "--start", str(FIRST), "--no-swath-edge"]
        subprocess.run([*command, *words, "--assets", ",".join(assets)], check=True, stdout=subprocess.DEVNULL)
        rows = pq.read_table(folder / "index.parquet").to_pylist()
        (product,) = folder.glob("*.SAFE")
        files = [file for file in product.rglob("*") if file.is_file()]
        for step in range(1, DATES):
            for file in files:
                copy(folder, file, FIRST + EVERY * step)
        done.write_text(json.dumps([row | {"index": row["index"].hex()} for row in rows]))
    rows = [row | {"index": bytes.fromhex(row["index"])} for row in json.loads(done.read_text())]
    return [
        row | {name: redate(row[name], FIRST + EVERY * step) for name in ("product_id", "path")}
        for step in range(DATES)
        for row in rows
    ]


def redate(text: str, day: date) -> str:
    return text.replace(f"{FIRST:%Y%m%d}", f"{day:%Y%m%d}").replace(f"{FIRST:%Y-%m-%d}", f"{day:%Y-%m-%d}")


def copy(folder: Path, file: Path, day: date) -> None:
    target = folder / redate(str(file.relative_to(folder)), day)
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jp2":
        os.link(file, target)
    else:
        target.write_text(redate(file.read_text(), day))


@contextmanager
def served(folder: Path, latency_ms: float) -> Iterator[str]:
    command = [sys.executable, str(HERE / "range_server.py"), str(folder), "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def measured(server: str) -> Iterator[dict[str, Any]]:
    """Seconds, requests and bytes of what is done inside."""
    ask(server, "__reset")
    result: dict[str, Any] = {}
    begin = time.perf_counter()
    yield result
    result["seconds"] = time.perf_counter() - begin
    result |= ask(server, "__stats")


def ask(server: str, what: str) -> dict[str, Any]:
    with urllib.request.urlopen(server + what) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def build(binary: Path, index: Path, server: str, store: Path) -> None:
    command = [str(binary / "s2ice"), "build", "--tile", TILE, "--level", "L2A", "--index", str(index)]
    command += ["--source", server, "--store", str(store), "--no-angles", "-q"]
    subprocess.run(command, check=True)


def box(array: Any) -> xr.DataArray:
    west, south, east, north = BOX
    inside: xr.DataArray = array.sel(x=slice(west, east), y=slice(north, south))
    return inside


def check(archive: Path, cube: dict[str, xr.DataArray]) -> None:
    """Compare one date, which has the pixels of all, with GDAL's decoder."""
    for asset, values in cube.items():
        path = next(archive.rglob(f"*{FIRST:%Y%m%d}*_{asset}.jp2"))
        with rasterio.open(path) as source:
            expected = source.read(1, window=from_bounds(*BOX, transform=source.transform))
        for step in range(DATES):
            if not np.array_equal(values[step].to_numpy(), expected):
                raise SystemExit(f"{asset}: the box at date {step} is not what GDAL reads")
        if not expected.any():
            raise SystemExit(f"{asset}: nothing but zeros in the box")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="folder of the built commands")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="of every request to the archive")
    parser.add_argument("--realistic", action="store_true", help="files of the size and texture of real ones")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    folder, index, store = (args.work / name for name in ("archive", "index.parquet", "store"))
    rows = archive(str(args.bin / "s2ice-samples"), folder, RASTERS, *(["--realistic"] if args.realistic else []))
    pq.write_table(pa.Table.from_pylist(rows), index)
    shutil.rmtree(store, ignore_errors=True)

    report: dict[str, Any] = {"dates": DATES, "rasters": list(RASTERS), "latency_ms": args.latency_ms}
    with served(folder, args.latency_ms) as server:
        with measured(server) as report["build"]:
            build(args.bin, index, server, store)
        with measured(server) as report["rebuild"]:
            build(args.bin, index, server, store)
        with measured(server) as report["open"]:
            # Digital numbers: scaling 90 million pixels to float64 would measure numpy.
            tree = s2ice.open(store, allow=server, mask_and_scale=False)
            lazy = {asset: box(tree[path]) for asset, path in RASTERS.items()}
        with measured(server) as report["load"]:
            cube = {asset: array.load() for asset, array in lazy.items()}
        report["shapes"] = {asset: list(array.shape) for asset, array in cube.items()}
        report["pixel_bytes"] = sum(array.nbytes for array in cube.values())
    check(folder, cube)
    json.dump(report, sys.stdout)
    print()


if __name__ == "__main__":
    main()
