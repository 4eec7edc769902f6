"""What a 64 x 64 window of many dates, and a whole date at a sixteenth of its resolution, take of tiles of real size.

Bands of a sample with real texture (`s2ice-samples --realistic`, about 0.9 MB per tile of 10 m), in an Icechunk store
in memory. A wrapper around the store waits as a network would: so long for an answer, so many bytes per second over one
link that all requests share. It counts what is asked of chunks. Beside it GDAL reads the same windows, of the file and
of a COG of the same pixels, from a server that counts.

Usage: precincts.py --bin target/release --work FOLDER [--dates 90]

Prints a table and writes precincts.json to the working folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk
import numpy as np
import rasterio
import rasterio.shutil
import zarr
from bench import table
from notebook import ask, served
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import WrapperStore

from s2ice import _pace, _precincts

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates/python/tests"))
from support import Jp2, metadata, read_jp2

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

BANDS = {"10 m": "B04_10m", "20 m": "B11_20m"}
NETWORKS = ((0.0, 1e12), (0.001, 100e6), (0.05, 50e6), (0.1, 10e6))
"""Seconds to an answer, and bytes per second."""
WAYS = ("fewest_requests", "fewest_bytes", "auto")
SIDE = 64
"""Of a window, in pixels."""
GDALS = 8
"""Windows that GDAL reads."""
GDAL = """import sys, time, warnings
import rasterio
warnings.simplefilter("ignore")
top, bottom, left, right = map(int, sys.argv[2:])
begin = time.perf_counter()
with rasterio.open(sys.argv[1]) as file:
    file.read(1, window=((top, bottom), (left, right)))
print(time.perf_counter() - begin)
"""


class Network(WrapperStore[Any]):
    """A store at the end of a network."""

    _supports_sync_io = False

    def __init__(self, store: Any, latency: float, per_second: float) -> None:
        super().__init__(store)
        self.latency, self.per_second = latency, per_second
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
            self.free = max(self.free, came + self.latency) + len(found) / self.per_second
            await asyncio.sleep(max(0.0, self.free - time.perf_counter()))
        return found


def sample(binaries: Path, work: Path) -> dict[str, Jp2]:
    """The bands of one realistic product."""
    if not (work / "sample").exists():
        words = ["--dates", "1", "--no-swath-edge", "--realistic", "--assets", ",".join(BANDS.values())]
        subprocess.run([binaries / "s2ice-samples", work / "sample", *words], check=True)
    return {name: read_jp2(next((work / "sample").rglob(f"*_{asset}.jp2"))) for name, asset in BANDS.items()}


def stored(jp2: Jp2, places: list[tuple[int, int, int]], **kwargs: Any) -> icechunk.Session:
    """An array of which each date has the tile that is looked at, and the first one all."""
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    buffer = default_buffer_prototype().buffer
    across = jp2.grid[1]

    async def write() -> None:
        described = json.dumps(metadata(jp2, times=len(places), **kwargs)).encode()
        await session.store.set("zarr.json", buffer.from_bytes(described))
        for date, (tile, _, _) in enumerate(places):
            for one in [tile] if date else jp2.tiles:
                key = f"c/{date}/{one // across}/{one % across}"
                await session.store.set(key, buffer.from_bytes(jp2.chunk(one)))

    asyncio.run(write())
    session.commit("tiles")
    return repository.readonly_session("main")


def cost(session: icechunk.Session, network: tuple[float, float], way: str, windows: list[Any]) -> dict[str, Any]:
    """Read windows one after the other, by a process that has read nothing so far."""
    _pace._paces.clear()
    _precincts.heads = _precincts.Heads()
    _precincts.tally_of.cache_clear()
    store = Network(session.store, *network)
    array = zarr.open_array(store, mode="r")
    begin = time.perf_counter()
    with zarr.config.set({"s2ice.reading": way}):
        for window in windows:
            array[window]
    seconds = time.perf_counter() - begin
    return {"requests": store.requests, "bytes": store.bytes, "seconds": seconds}


def windows(jp2: Jp2, places: list[tuple[int, int, int]]) -> list[tuple[slice, slice]]:
    """Rows and columns of windows, given by their tiles and their places therein."""
    out = []
    for tile, y, x in places:
        top, left = tile // jp2.grid[1] * jp2.tile_height + y, tile % jp2.grid[1] * jp2.tile_width + x
        out.append((slice(top, top + SIDE), slice(left, left + SIDE)))
    return out


def measured(bands: dict[str, Jp2], dates: int) -> list[dict[str, Any]]:
    out = []
    for name, jp2 in bands.items():
        rng = np.random.default_rng(1)
        inner = [row * jp2.grid[1] + column for row in range(1, 5) for column in range(1, 5)]
        room = jp2.tile_height - SIDE
        places = [(int(rng.choice(inner)), *map(int, rng.integers(room, size=2))) for _ in range(dates)]
        field, looks = [places[0]] * dates, [(at, *one) for at, one in enumerate(windows(jp2, places))]
        everywhere, here = stored(jp2, places), stored(jp2, field)
        coarse = stored(jp2, places, reduce=4)
        for network in NETWORKS:
            for way in WAYS:
                of_field = [(slice(None), *windows(jp2, field)[0])]
                for what, session, read, of in (
                    ("a field", here, of_field, field),
                    ("windows", everywhere, looks, places),
                ):
                    found = cost(session, network, way, read)
                    out.append({"band": name, "what": what, "network": network, "way": way, "tiles": dates} | found)
                    out[-1]["share"] = found["bytes"] / sum(jp2.tiles[tile][1] for tile, _, _ in of)
            found = cost(coarse, network, "auto", [(0,)])
            whole = sum(length for _, length in jp2.tiles.values())
            row = {"band": name, "what": "1/16", "network": network, "way": "auto", "tiles": len(jp2.tiles)} | found
            out.append(row | {"share": found["bytes"] / whole})
        print(f"{name}: tiles of {whole / len(jp2.tiles) / 1e6:.2f} MB", file=sys.stderr)
        out += by_gdal(name, jp2, places)
    return out


def by_gdal(name: str, jp2: Jp2, places: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Read the windows with GDAL by HTTP, each by a process that has read nothing: at once, as of many dates."""
    cog = jp2.path.with_name(f"{jp2.path.stem}.cog.tif")
    if not cog.exists():
        words = {
            "driver": "COG",
            "compress": "DEFLATE",
            "predictor": "2",
            "blocksize": 1024,
            "overviews": "NONE",
            "nbits": 16,
        }
        rasterio.shutil.copy(jp2.path, cog, **words)
    out = []
    some = windows(jp2, places)[:GDALS]
    whole = sum(jp2.tiles[tile][1] for tile, _, _ in places[:GDALS])
    for latency in (0, 50):
        with served(jp2.path.parent, latency) as url:
            for way, file in (("GDAL, JP2", jp2.path), ("GDAL, COG", cog)):
                ask(url, "__reset")
                seconds = sum(gdal_once(f"/vsicurl/{url}{file.name}", window) for window in some)
                asked = ask(url, "__paths")[f"/{file.name}"]
                row = {
                    "band": name,
                    "what": "windows",
                    "network": (latency / 1000, 1e12),
                    "way": way,
                    "tiles": len(some),
                }
                out.append(row | asked | {"seconds": seconds, "share": asked["bytes"] / whole})
    return out


def gdal_once(place: str, window: tuple[slice, slice]) -> float:
    """Return the seconds from opening to pixels, in a process of its own."""
    environment = os.environ | {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".jp2,.tif",
    }
    rows, columns = window
    done = subprocess.run(
        [sys.executable, "-c", GDAL, place, *map(str, (rows.start, rows.stop, columns.start, columns.stop))],
        check=True,
        stdout=subprocess.PIPE,
        env=environment,
    )
    return float(done.stdout)


def render(found: list[dict[str, Any]]) -> str:
    rows = [["", "read", "network", "way", "requests per tile", "share of bytes", "seconds"]]
    for row in found:
        latency, per_second = row["network"]
        network = f"{latency * 1e3:.0f} ms, {per_second / 1e6:.0f} MB/s" if per_second < 1e12 else "none"
        figures = [f"{row['requests'] / row['tiles']:.2f}", f"{row['share']:.1%}", f"{row['seconds']:.2f}"]
        rows.append([row["band"], row["what"], network, row["way"], *figures])
    return "Windows of 64 x 64 pixels, and tiles at a sixteenth\n" + table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, dest="binaries")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--dates", type=int, default=90)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    found = measured(sample(args.binaries, args.work), args.dates)
    (args.work / "precincts.json").write_text(json.dumps(found, indent=1) + "\n")
    print(render(found))


if __name__ == "__main__":
    main()
