"""What a field of 64 x 64 pixels through all dates takes, and a view of the whole tile, from a server that counts.

One product with real texture (`s2ice-samples --realistic`, about 0.9 MB per tile at 10 m) under 1,353 names, without
TLM, is built into stores of 90 and 1,353 dates. Fields lie at random places. Each is read in a process of its own that
has read nothing: as whole tiles, by precinct, as `auto` chooses; by rasterio, in ten threads, from the files as they
are, with the sidecars of `s2ice export gdal`, and from COGs of the same pixels. All pixels are compared. Besides: one
date at 160 m (320 m of the 20 m band), and an animation of 90 dates.

Usage: fields.py --bin target/release --work FOLDER [--places 4] [--long 1353] [--gdal-dates 10]

Prints a table and writes fields.json to the working folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import notebook
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import rasterio.shutil
from bench import run, say, table
from notebook import ask, measured, served

if TYPE_CHECKING:
    from collections.abc import Iterator

BANDS = {"b04": "B04_10m", "b11": "B11_20m"}
TILES = {"b04": 121, "b11": 81}
COLOURS = ("B02_10m", "B03_10m")
"""For the animation."""
NETWORKS = ((0.0, 0.0), (50.0, 0.0), (50.0, 25.0))
"""Milliseconds to an answer, and megabytes per second, 0 for any."""
WAYS = ("fewest_requests", "fewest_bytes", "auto")
SIDE = 64
"""Of a field, in pixels."""
THREADS = 10
"""As many as Zarr has requests in flight."""
COG = {
    "driver": "COG",
    "compress": "DEFLATE",
    "predictor": "2",
    "blocksize": "1024",
    "overviews": "NONE",
    "nbits": "16",
}


def group(band: str) -> str:
    return f"measurements/reflectance/r{BANDS[band].partition('_')[2]}"


def file_of(folder: Path, band: str, step: int = 0) -> Path:
    """A band of a date."""
    day = notebook.FIRST + notebook.EVERY * step
    return next(folder.glob(f"*_{day:%Y%m%d}T*.SAFE/GRANULE/*/IMG_DATA/*/*_{BANDS[band]}.jp2"))


def field(args: argparse.Namespace) -> dict[str, Any]:
    """Read a field with s2ice, in this process."""
    import zarr

    import s2ice

    rows, columns = (slice(at, at + SIDE) for at in args.at)
    with zarr.config.set({"s2ice.reading": args.way}):
        dataset = s2ice.open(args.store, group(args.band), allow=args.server, mask_and_scale=False)
        array = dataset[args.band][:, rows, columns]
        with measured(args.server) as result:
            values = array.load().to_numpy()
    return result | {"check": int(values[0].sum(dtype="u8")), "same": bool((values == values[0]).all())}


def gdal(args: argparse.Namespace) -> dict[str, Any]:
    """Read a field with rasterio, in this process."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from rasterio.windows import Window

    def one(place: str) -> Any:
        with rasterio.open(place) as file:
            names = [name for name in file.descriptions if name]
            band = names.index(args.band) + 1 if names else 1
            return file.read(band, window=Window(args.at[1], args.at[0], SIDE, SIDE))

    places = json.loads((args.work / "names.json").read_text())
    with measured(args.server) as result, ThreadPoolExecutor(THREADS) as pool:
        values = np.stack(list(pool.map(one, places)))
    return result | {"check": int(values[0].sum(dtype="u8")), "same": bool((values == values[0]).all())}


def view(args: argparse.Namespace) -> dict[str, Any]:
    """Read one whole date at a sixteenth."""
    import s2ice

    resolution = 16 * int(BANDS[args.band].partition("_")[2].removesuffix("m"))
    dataset = s2ice.open(args.store, group(args.band), resolution=resolution, allow=args.server, mask_and_scale=False)
    with measured(args.server) as result:
        values = dataset[args.band][0].load()
    return result | {"shape": list(values.shape)}


@contextmanager
def stores(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, dict[int, Path]]]:
    """Serve archive, twins and sidecars, with stores built of them."""
    rows = notebook.archive(str(args.bin / "s2ice-samples"), folder, [*COLOURS, *BANDS.values()], "--realistic")
    for band in BANDS:
        for step in range(args.gdal_dates):
            twin = folder / "cogs" / f"{band}-{step}.tif"
            twin.parent.mkdir(exist_ok=True)
            if not twin.exists() and step:
                os.link(folder / "cogs" / f"{band}-0.tif", twin)
            elif not twin.exists():
                rasterio.shutil.copy(file_of(folder, band), twin, **COG)
    made = {}
    with served(folder, 0) as server:
        for dates in sorted({args.dates, args.long}):
            say(f"builds a store of {dates} dates")
            index = args.work / f"index-{dates}.parquet"
            pq.write_table(pa.Table.from_pylist(rows[: dates * len(rows) // notebook.DATES]), index)
            made[dates] = args.work / f"store-{dates}"
            shutil.rmtree(made[dates], ignore_errors=True)
            notebook.build(args.bin, index, server, made[dates])
        shutil.rmtree(args.work / "gdal", ignore_errors=True)
        until = notebook.FIRST + notebook.EVERY * args.gdal_dates
        words = ["-o", args.work / "gdal", "--datetime", f"{notebook.FIRST}/{until}", "-q"]
        subprocess.run([args.bin / "s2ice", "export", "gdal", made[args.dates], *words], check=True)
        yield server, made


def places(band: str, number: int) -> list[tuple[int, int]]:
    """Rows and columns anywhere but in the cut tiles at the end."""
    chance = random.Random(1)
    most = {"b04": 10_240, "b11": 5_120}[band] - SIDE
    return [(chance.randrange(most), chance.randrange(most)) for _ in range(number)]


def by_gdal(args: argparse.Namespace, folder: Path, server: str, band: str) -> Iterator[tuple[str, list[str]]]:
    """The names by which GDAL reads a band of all its dates."""
    steps = range(args.gdal_dates)
    files = [file_of(folder, band, step).relative_to(folder).as_posix() for step in steps]
    yield "GDAL, the file", [f"/vsicurl/{server}{file}" for file in files]
    sidecars = sorted(args.work.glob(f"gdal/*/**/{group(band).rpartition('/')[2]}.vrt"))
    yield "GDAL, sidecar", [str(file) for file in sidecars[: args.gdal_dates]]
    yield "GDAL, COG", [f"/vsicurl/{server}cogs/{band}-{step}.tif" for step in steps]


def fields(args: argparse.Namespace, folder: Path, server: str, made: dict[int, Path]) -> Iterator[dict[str, Any]]:
    """Each field in every way, in turns."""
    own = [sys.executable, __file__, "--bin", args.bin, "--work", args.work, "--server", server]
    for network, band in product(NETWORKS, BANDS):
        ask(server, f"__network?{network[0]},{network[1]}")
        for number, at in enumerate(places(band, args.places)):
            here = [*own, "--band", band, "--at", *at]
            found = []
            for dates in made if number == 0 else [args.dates]:
                for way in WAYS:
                    one = run([*here, "--measure", "field", "--store", made[dates], "--way", way])
                    found.append({"way": way, "dates": dates} | one)
            for way, names in by_gdal(args, folder, server, band):
                (args.work / "names.json").write_text(json.dumps(names))
                one = run([*here, "--measure", "gdal"])
                found.append({"way": way, "dates": len(names)} | one)
            if {one["check"] for one in found} != {found[0]["check"]} or not all(one["same"] for one in found):
                raise SystemExit(f"{band} at {at}: not the same pixels in every way")
            # As whole tiles there is one request for each.
            for one in found:
                whole = next(other for other in found if other["way"] == WAYS[0])
                tiles = whole["requests"] * one["dates"] // whole["dates"]
                share = one["bytes"] / (whole["bytes"] * one["dates"] / whole["dates"])
                yield one | {"network": network, "band": band, "at": at, "tiles": tiles, "share": share}


def views(args: argparse.Namespace, folder: Path, server: str, store: Path) -> Iterator[dict[str, Any]]:
    """A date at a sixteenth, and the animation."""
    own = [sys.executable, __file__, "--bin", args.bin, "--work", args.work, "--server", server]
    for network in NETWORKS:
        ask(server, f"__network?{network[0]},{network[1]}")
        for band in BANDS:
            one = run([*own, "--measure", "view", "--band", band, "--store", store])
            one |= {"dates": 1, "tiles": TILES[band], "share": one["bytes"] / file_of(folder, band).stat().st_size}
            yield one | {"network": network, "band": band, "way": "a date at 1/16"}
        words = ["--series", "-o", args.work / "series.gif", "--source", server, "-q"]
        with measured(server) as one:
            subprocess.run([args.bin / "s2ice", "preview", store, *words], check=True)
        share = one["bytes"] / (3 * args.dates * file_of(folder, "b04").stat().st_size)
        one |= {"dates": args.dates, "tiles": 3 * args.dates * TILES["b04"], "share": share}
        yield one | {"network": network, "band": "rgb", "way": "animation at 160 m"}


def render(found: list[dict[str, Any]]) -> str:
    """Averages over the places."""
    rows = [["band", "network", "dates", "way", "requests per tile", "share of bytes", "seconds", "to whole tiles"]]
    cases: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in found:
        cases.setdefault((one["band"], tuple(one["network"]), one["dates"], one["way"]), []).append(one)
    whole: dict[tuple[Any, ...], float] = {}
    for (band, network, dates, way), own in cases.items():
        seconds = mean(one["seconds"] for one in own)
        whole.setdefault((band, network, dates), seconds)
        name = f"{network[0]:g} ms" + (f", {network[1]:g} MB/s" if network[1] else "")
        figures = [
            f"{mean(one['requests'] / one['tiles'] for one in own):.2f}",
            f"{mean(one['share'] for one in own):.1%}",
        ]
        rows.append(
            [band, name, str(dates), way, *figures, f"{seconds:.2f}", f"{seconds / whole[band, network, dates]:.2f}"]
        )
    return "Fields of 64 x 64 pixels through all dates, and views\n" + table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--places", type=int, default=4)
    parser.add_argument("--dates", type=int, default=90)
    parser.add_argument("--long", type=int, default=1353)
    parser.add_argument("--gdal-dates", type=int, default=10)
    parser.add_argument("--measure", choices=["field", "gdal", "view"], help="one thing, in this process")
    parser.add_argument("--server")
    parser.add_argument("--store")
    parser.add_argument("--band")
    parser.add_argument("--at", type=int, nargs=2)
    parser.add_argument("--way", choices=WAYS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps({"field": field, "gdal": gdal, "view": view}[args.measure](args)))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    notebook.DATES, notebook.FIRST, notebook.EVERY = max(args.dates, args.long), date(2016, 1, 1), timedelta(days=2)
    folder = args.work / "archive"
    found: list[dict[str, Any]] = []
    with stores(args, folder) as (server, made):
        found += views(args, folder, server, made[args.dates])
        found += fields(args, folder, server, made)
    (args.work / "fields.json").write_text(json.dumps(found, indent=1) + "\n")
    print(render(found))


if __name__ == "__main__":
    main()
