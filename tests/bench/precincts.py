"""What a 64 x 64 window of many dates, and a whole date at a sixteenth of its resolution, take of tiles of real size.

Bands as the ground segment codes them (tiles, precincts, code-blocks, 15 bits), with a surface rough enough to give
about 0.9 MB per tile of 10 m, in an Icechunk store in memory. A wrapper around the store waits as a network would: so
long for an answer, so many bytes per second over one link that all requests share. It counts what is asked of chunks.

Usage: precincts.py --work FOLDER [--dates 90]

Prints a table and writes precincts.json to the working folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk
import numpy as np
import rasterio
import zarr
from bench import table
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import WrapperStore

from s2ice import _pace, _precincts

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates/python/tests"))
from support import Jp2, metadata, read_jp2

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

BANDS = {"10 m": (1024, 256, 64), "20 m": (640, 128, 8)}
"""Sides of tiles, precincts and code-blocks."""
NETWORKS = ((0.0, 1e12), (0.001, 100e6), (0.03, 50e6), (0.1, 10e6))
"""Seconds to an answer, and bytes per second."""
WAYS = ("fewest_requests", "fewest_bytes", "auto")


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


def band(path: Path, tile: int, precinct: int, block: int) -> Jp2:
    """Three by three tiles: hills of all sizes under noise."""
    if not path.exists():
        size, rng = tile * 3, np.random.default_rng(tile)
        waves = np.fft.rfft2(rng.normal(size=(size, size)))
        y, x = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
        surface = np.fft.irfft2(waves / np.maximum(np.hypot(y, x), 1 / size) ** 1.5, s=(size, size))
        pixels = 2500 + 700 * surface / surface.std() + rng.normal(0, 25, (size, size))
        profile = {"driver": "JP2OpenJPEG", "height": size, "width": size, "count": 1, "dtype": "uint16"}
        options = {"TILED": "YES", "QUALITY": "100", "REVERSIBLE": "YES", "RESOLUTIONS": "5", "PROGRESSION": "LRCP"}
        options |= {"BLOCKXSIZE": str(tile), "BLOCKYSIZE": str(tile), "PLT": "YES", "NBITS": "15"}
        options |= {"PRECINCTS": ",".join([f"{{{precinct},{precinct}}}"] * 5)}
        options |= {"CODEBLOCK_WIDTH": str(block), "CODEBLOCK_HEIGHT": str(block)}
        with rasterio.open(path, "w", **profile, **options) as file:
            file.write(pixels.clip(1, 32767).astype("uint16"), 1)
    return read_jp2(path)


def stored(jp2: Jp2, dates: int, **kwargs: Any) -> icechunk.Session:
    """An array of so many dates, whose tiles turn from date to date."""
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    buffer = default_buffer_prototype().buffer

    async def write() -> None:
        await session.store.set(
            "zarr.json", buffer.from_bytes(json.dumps(metadata(jp2, times=dates, **kwargs)).encode())
        )
        for tile in jp2.tiles:
            for date in range(dates if tile == 4 else 1):
                row, column = divmod(tile, 3)
                await session.store.set(f"c/{date}/{row}/{column}", buffer.from_bytes(jp2.chunk(tile)))

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


def measured(work: Path, dates: int) -> list[dict[str, Any]]:
    out = []
    for name, (tile, precinct, block) in BANDS.items():
        jp2 = band(work / f"{tile}.jp2", tile, precinct, block)
        inner = jp2.tiles[4][1]
        rng = np.random.default_rng(1)
        places = [(int(y), int(x)) for y, x in tile + rng.integers(tile - 64, size=(8, 2))]
        session, coarse = stored(jp2, dates), stored(jp2, dates, reduce=4)
        for network in NETWORKS:
            for way in WAYS:
                y, x = places[0]
                field = [(slice(None), slice(y, y + 64), slice(x, x + 64))]
                looks = [(date, slice(y, y + 64), slice(x, x + 64)) for date, (y, x) in enumerate(places)]
                for what, windows, tiles in (("a field", field, dates), ("windows", looks, len(looks))):
                    found = cost(session, network, way, windows)
                    out.append({"band": name, "what": what, "network": network, "way": way, "tiles": tiles} | found)
                    out[-1]["share"] = found["bytes"] / tiles / inner
            found = cost(coarse, network, "auto", [(0,)])
            whole = sum(length for _, length in jp2.tiles.values())
            row = {"band": name, "what": "1/16", "network": network, "way": "auto", "tiles": 9} | found
            out.append(row | {"share": found["bytes"] / whole})
        print(f"{name}: tiles of {inner / 1e6:.2f} MB", file=sys.stderr)
    return out


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
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--dates", type=int, default=90)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    found = measured(args.work, args.dates)
    (args.work / "precincts.json").write_text(json.dumps(found, indent=1) + "\n")
    print(render(found))


if __name__ == "__main__":
    main()
