"""The readers' table: `s2ice.cube` beside odc-stac on the same pixels, and a median of a thousand dates.

The archive is that of notebook.py, 90 dates of tile 33TVN, and its twin of COGs as GDAL writes them; both lie behind
one counting server. Each way runs in a process of its own, several times in turns, and the fastest run counts.

Usage: readers.py --bin target/release --work FOLDER [--latency-ms N] [--repeats 3] [--dates 90]

Prints the table, and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import notebook
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from bench import best, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path += [str(ROOT / "tests/python"), str(ROOT / "tests/support")]
BANDS = ("b08", "b11")
OFF = (0, 1, 3, 8, 9, 10)
UTM = "EPSG:32633"
THOUSAND = 1000
MOST_SECONDS = 1.0


def twins(folder: Path, dates: int) -> None:
    """Write a COG of each raster of the product, and link it for every date."""
    from support.cogs import DEFLATE, write

    for asset in notebook.RASTERS:
        source = next(folder.rglob(f"*{notebook.FIRST:%Y%m%d}*_{asset}.jp2"))
        first = folder / "cogs" / f"{asset}-0.tif"
        if not first.exists():
            with rasterio.open(source) as file:
                corner = (file.transform.c, file.transform.f)
                write(first, file.read(1), int(file.transform.a), driver="COG", block=1024, corner=corner, **DEFLATE)
        for step in range(1, dates):
            link = first.with_name(f"{asset}-{step}.tif")
            if not link.exists():
                os.link(first, link)


def items(server: str, dates: int) -> list[Any]:
    """Return the items of the twins."""
    import pystac

    out = []
    for step in range(dates):
        day = notebook.FIRST + notebook.EVERY * step
        assets = {}
        for asset in notebook.RASTERS:
            name = asset.partition("_")[0].lower()
            metres = int(asset.partition("_")[2].removesuffix("m"))
            size = 109_800 // metres
            extra = {
                "proj:epsg": 32633,
                "proj:shape": [size, size],
                "proj:transform": [metres, 0, 399_960, 0, -metres, 5_300_040],
                "raster:bands": [{"nodata": 0, "data_type": "uint8" if name == "scl" else "uint16"}],
            }
            assets[name] = pystac.Asset(f"{server}cogs/{asset}-{step}.tif", roles=["data"], extra_fields=extra)
        item = pystac.Item(
            f"{day}",
            {
                "type": "Polygon",
                "coordinates": [[[13.6, 46.8], [15.2, 46.8], [15.2, 47.9], [13.6, 47.9], [13.6, 46.8]]],
            },
            [13.6, 46.8, 15.2, 47.9],
            datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=10),
            {"proj:epsg": 32633},
            assets=assets,
            stac_extensions=[
                "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            ],
        )
        out.append(item)
    return out


def cube(store: str, server: str, **words: Any) -> Any:
    import s2ice

    return s2ice.cube(store, BANDS, bounds=notebook.BOX, bounds_crs=UTM, allow=server, **words)


def by_cube(args: argparse.Namespace, chunks: Any) -> Any:
    return cube(args.store, args.server, chunks=chunks).load()


def by_odc(args: argparse.Namespace) -> Any:
    """Do the same with odc-stac: the bands, and the classification by which they are masked and scaled."""
    import odc.stac
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import BoundingBox

    grid = GeoBox.from_bbox(BoundingBox(*notebook.BOX, crs=UTM), resolution=10, anchor="edge")
    loaded = odc.stac.load(
        items(args.server, args.dates), [*BANDS, "scl"], geobox=grid, groupby="solar_day", pool=10, resampling="nearest"
    )
    off = loaded.scl.isin(OFF)
    return (
        loaded[list(BANDS)].where(lambda numbers: (numbers != 0) & ~off) * np.float32(0.0001) - np.float32(0.1)
    ).load()


def median(args: argparse.Namespace) -> dict[str, Any]:
    """Plan and compute the monthly medians of a thousand dates."""
    import dask

    import s2ice
    import tiles

    folder = args.work / "thousand"
    if not folder.exists():
        days = [str(day) for day in np.datetime64("2016-01-01") + 3 * np.arange(THOUSAND)]
        arrays = {
            "b04/10": np.tile(tiles.numbers(1, 10, 10), (100, 1, 1)),
            "scl/20": np.tile(tiles.classes(1, 10), (100, 1, 1)),
        }
        tiles.write(folder, days, arrays)
    lazily = s2ice.cube(folder, ["b04"]).b04.resample(time="1MS").median()
    begin = time.perf_counter()
    (planned,) = dask.optimize(lazily)
    result = {"tasks": len(dict(planned.__dask_graph__())), "plan_seconds": time.perf_counter() - begin}
    planned.compute()
    return result


def goal(args: argparse.Namespace) -> None:
    """Take a median along time, in chunks of so many bytes."""
    from s2ice import _chunks

    _chunks.GOAL = args.goal << 20
    cube(args.store, args.server).median("time").compute()


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Do one thing, after the imports."""
    import dask.array  # noqa: F401
    import icechunk
    import odc.stac  # noqa: F401

    icechunk.set_logs_filter("error")
    result: dict[str, Any] = {}
    with notebook.measured(args.server) as own:
        match args.measure:
            case "cube":
                loaded = by_cube(args, "auto")
            case "lazy":
                loaded = by_cube(args, None)
            case "odc":
                loaded = by_odc(args)
            case "median":
                loaded, result = None, median(args)
            case "goal":
                loaded = goal(args)
    result |= own
    result["work_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    if loaded is not None:
        result["nbytes"] = loaded.nbytes
        result["check"] = [float(np.nansum(array.values, dtype="f8")) for array in loaded.values()]
        result["nan"] = [int(array.isnull().sum()) for array in loaded.values()]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dates", type=int, default=notebook.DATES)
    parser.add_argument("--measure", help="one thing, in this process")
    parser.add_argument("--goal", type=int, default=64)
    parser.add_argument("--server")
    parser.add_argument("--store")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measured(args)))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    notebook.DATES = args.dates
    folder, index, store = (args.work / name for name in ("archive", f"index-{args.dates}.parquet", "store"))
    rows = notebook.archive(str(args.bin / "s2ice-samples"), folder)
    pq.write_table(pa.Table.from_pylist(rows), index)
    twins(folder, args.dates)
    shutil.rmtree(store, ignore_errors=True)
    with notebook.served(folder, args.latency_ms) as server:
        notebook.build(args.bin, index, server, store)

        def once(what: str, *more: Any) -> dict[str, Any]:
            command = [sys.executable, __file__, "--work", args.work, "--measure", what, "--server", server]
            return run([*command, "--store", store, "--dates", args.dates, *more])

        ways = {
            "s2ice.cube": ("cube",),
            "s2ice.cube, chunks=None": ("lazy",),
            "odc-stac": ("odc",),
            "median of 1,000 dates": ("median",),
        } | {f"median of the box, chunks of {size} MiB": ("goal", "--goal", size) for size in (16, 32, 64, 128)}
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for _ in range(args.repeats):
            for name, words in ways.items():
                runs[name].append(once(*words))
    results = {name: best(those) for name, those in runs.items()}
    table(results)
    print(json.dumps(results))


def table(results: dict[str, dict[str, Any]]) -> None:
    """Print the figures and whether they are what is wanted."""
    print(f"{'':40} {'seconds':>8} {'requests':>9} {'MB read':>8} {'peak MB':>8}")
    for name, one in results.items():
        print(
            f"{name:40} {one['seconds']:8.2f} {one['requests']:9,} {one['bytes'] / 1e6:8.1f} {one['work_peak_mb']:8.0f}"
        )
    mine, theirs = results["s2ice.cube"], results["odc-stac"]
    if mine["nan"] != theirs["nan"] or not np.allclose(mine["check"], theirs["check"], rtol=1e-4):
        raise SystemExit("the cube and odc-stac did not give the same pixels")
    planned = results["median of 1,000 dates"]["plan_seconds"]
    for what, value, most in (
        ("s2ice.cube / odc-stac, seconds", mine["seconds"] / theirs["seconds"], 1.0),
        ("planning a median of 1,000 dates, seconds", planned, MOST_SECONDS),
    ):
        print(f"{what}: {value:.2f}, at most {most:g}: {'met' if value <= most else 'NOT met'}")


if __name__ == "__main__":
    main()
