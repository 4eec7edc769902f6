"""What a raster costs its source until all its tiles are known: requests and bytes, counted at a server.

Sample products of four kinds of rasters, and where the real product is at hand ($S2ICE_TESTDATA) that too, with and
without TLM in the files, with and without an index. Requests do not depend on the machine.

Usage: per_raster.py --bin target/release --work FOLDER

Prints a table and writes per_raster.json to the working folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import table
from notebook import ask, served

if TYPE_CHECKING:
    from collections.abc import Iterable

TILE = "33TVN"
# One of each tile grid: 121, 81, 100 and 81 tiles.
ASSETS = "B02_10m,B11_20m,B01_60m,SCL_20m"
REAL_TILE = "29UNU"

type Row = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """One way to learn where tiles lie."""

    name: str
    tlm: str
    """Whether the sample files carry it: none or all."""
    index: bool
    goal: str
    """Requests per raster: a number, or `tiles + 1`."""

    def allowed(self, tiles: int) -> int:
        return tiles + 1 if self.goal == "tiles + 1" else int(self.goal)


WAYS = [
    Way("TLM in the file, no index", "all", False, "1"),
    Way("TLM in the file, public index", "all", True, "1"),
    Way("no TLM, indexed", "none", True, "1"),
    Way("no TLM, no index: walked", "none", False, "tiles + 1"),
]


def tiles_of(file: Path) -> int:
    """Tile-parts of a file: one per tile in all that is made or taken here."""
    return file.read_bytes().count(b"\xff\x90\x00\x0a")


def rasters(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.SAFE/GRANULE/*/*_DATA/**/*.jp2"))


def run(command: Iterable[Any]) -> Any:
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout) if done.stdout else None


def counted(server: str, folder: Path, files: list[Path], command: list[Any]) -> tuple[list[Row], Row]:
    """Run it: what each raster was asked for, and what was asked besides."""
    ask(server, "__reset")
    run(command)
    paths = ask(server, "__paths")
    mine = {file: paths.pop(f"/{file.relative_to(folder).as_posix()}", None) for file in files}
    rows = [
        {"raster": file.stem.partition("_")[2], "tiles": tiles_of(file), **asked}
        for file, asked in mine.items()
        if asked is not None
    ]
    rest = {"requests": sum(p["requests"] for p in paths.values()), "bytes": sum(p["bytes"] for p in paths.values())}
    return rows, rest


def samples(binaries: Path, work: Path, tlm: str) -> Path:
    folder = work / f"samples-{tlm}"
    if not (folder / "index.parquet").exists():
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--tile", TILE, "--dates", "1", "--no-swath-edge", "--assets", ASSETS, "--tlm", tlm]
        subprocess.run([binaries / "s2ice-samples", folder, *options], check=True, stdout=subprocess.DEVNULL)
    return folder


def catalogue(folder: Path, server: str) -> Path:
    """The catalogue with the server's addresses: a web server cannot be listed."""
    items = json.loads((folder / "stac/items.json").read_text())
    for item in items["features"]:
        for asset in item["assets"].values():
            head, found, inside = asset.get("href", "").partition(f"{item['id'].removesuffix('.SAFE')}.SAFE")
            if found and head:
                asset["href"] = f"{server}{found}{inside}"
    path = folder / "served.json"
    path.write_text(json.dumps(items))
    return path


def of_samples(binaries: Path, work: Path, way: Way) -> Row:
    folder = samples(binaries, work, way.tlm)
    with served(folder, 0) as server:
        store = work / "store"
        shutil.rmtree(store, ignore_errors=True)
        command = [binaries / "s2ice", "build", "--tile", TILE, "--level", "L2A", "--source", server, "--store", store]
        command += ["--memory", "none", "-q", "--json", "--stac", catalogue(folder, server)]
        command += ["--index", folder / "index.parquet"] if way.index else ["--index-missing"]
        rows, rest = counted(server, folder, rasters(folder), command)
    return judged(way, "samples", rows, rest, len(ASSETS.split(",")))


def of_real(binaries: Path, work: Path, data: Path) -> list[Row]:
    """The real product: walked by `s2ice index`, then built from that index; and the twins with TLM."""
    folder, index = data / "safe", work / "real.parquet"
    everything = [file for file in rasters(folder) if "PVI" not in file.name]
    s2ice = binaries / "s2ice"
    with served(folder, 0) as server:
        named = [file.relative_to(folder).as_posix() for file in everything]
        command = [s2ice, "index", "--source", server, "-o", index, "--no-resume", "-q", "--json", *named]
        rows, rest = counted(server, folder, everything, command)
        walked = judged(WAYS[3], "real product", rows, rest, len(everything))
        store = work / "store"
        shutil.rmtree(store, ignore_errors=True)
        command = [s2ice, "build", "--tile", REAL_TILE, "--index", index, "--source", server, "--store", store]
        command += ["--resolutions", "all", "--memory", "none", "-q", "--json"]
        rows, rest = counted(server, folder, everything, command)
        indexed = judged(WAYS[2], "real product", rows, rest, len(everything))
    # The twins with TLM have no folder of their own: they are put where their originals lie.
    twins = work / "twins"
    shutil.rmtree(twins, ignore_errors=True)
    for twin in sorted((data / "golden/with-tlm").glob("*_with_TLM.jp2")):
        (original,) = [file for file in everything if file.stem == twin.stem.removesuffix("_with_TLM")]
        place = twins / original.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(twin, place)
    files = rasters(twins)
    with served(twins, 0) as server:
        named = [file.relative_to(twins).as_posix() for file in files]
        command = [s2ice, "index", "--source", server, "-o", index, "--no-resume", "-q", "--json", *named]
        rows, rest = counted(server, twins, files, command)
        native = judged(WAYS[0], "real files", rows, rest, len(files))
    return [native, indexed, walked]


def judged(way: Way, what: str, rows: list[Row], rest: Row, expected: int) -> Row:
    if len(rows) != expected:
        raise SystemExit(f"{way.name}, {what}: {len(rows)} rasters were asked for, not {expected}")
    requests = [row["requests"] for row in rows]
    return {
        "way": way.name,
        "of": what,
        "goal": way.goal,
        "met": all(row["requests"] <= way.allowed(row["tiles"]) for row in rows),
        "rasters": len(rows),
        "least": min(requests),
        "most": max(requests),
        "per_raster": sum(requests) / len(rows),
        "per_tile": sum(requests) / sum(row["tiles"] for row in rows),
        "kb_per_raster": sum(row["bytes"] for row in rows) / len(rows) / 1e3,
        "besides": rest,
        "each": rows,
    }


def render(found: list[Row]) -> str:
    head = ["", "of", "rasters", "requests each", "mean", "goal", "", "kB each", "besides"]
    rows = [head]
    for row in found:
        span = str(row["least"]) if row["least"] == row["most"] else f"{row['least']} to {row['most']}"
        figures = [str(row["rasters"]), span, f"{row['per_raster']:.1f}", row["goal"]]
        figures += ["met" if row["met"] else "MISSED", f"{row['kb_per_raster']:.1f}", str(row["besides"]["requests"])]
        rows.append([row["way"], row["of"], *figures])
    return "Requests per raster\n" + table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="folder of the built commands")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    found = [of_samples(args.bin, args.work, way) for way in WAYS]
    here = Path(__file__).resolve().parents[2]
    data = Path(os.environ.get("S2ICE_TESTDATA") or here / "../shared/data").resolve()
    if (data / "golden/with-tlm").is_dir():
        found += of_real(args.bin, args.work, data)
    (args.work / "per_raster.json").write_text(json.dumps(found, indent=1) + "\n")
    print(render(found))


if __name__ == "__main__":
    main()
