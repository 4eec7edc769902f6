"""What a window of a remote file costs GDAL: requests and bytes, directly and by what `s2ice export gdal` writes.

A sample product, and where the real one is at hand ($S2ICE_TESTDATA) that too; all files lack TLM. Each window of
100 x 100 pixels is read by rasterio in a process of its own, which has cached nothing. Requests do not depend on the
machine.

Usage: windows.py --bin target/release --work FOLDER

Prints a table and writes windows.json to the working folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import table
from notebook import ask, served

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = ["B02_10m", "B11_20m", "B01_60m"]
REAL = ["AOT_10m", "SCL_20m", "B04_60m"]
PLACES = ["first tile", "a middle tile", "last tile", "corner of four"]

READ = """
import sys
import rasterio
from rasterio.windows import Window

path, name, where = sys.argv[1:]
with rasterio.open(path) as file:
    band = file.descriptions.index(name) + 1 if name else 1
    tile = file.block_shapes[band - 1][0]
    middle = file.width // tile // 2 * tile
    at = {"first tile": 10, "a middle tile": middle + 20, "last tile": file.width - 101, "corner of four": middle - 50}
    print(file.read(band, window=Window(at[where], at[where], 100, 100)).sum())
"""


def cost(server: str, path: object, name: str, where: str) -> dict[str, Any]:
    ask(server, "__reset")
    command = [sys.executable, "-W", "ignore", "-c", READ, str(path), name, where]
    environment = os.environ | {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    stats = ask(server, "__stats")
    return {"requests": stats["requests"], "bytes": stats["bytes"], "sum": int(done.stdout)}


def measured(s2ice: Path, work: Path, folder: Path, tile: str, assets: list[str]) -> Iterator[dict[str, Any]]:
    """Index, build and export what a server has of a product; read each window both ways."""
    place = work / f"windows-{tile}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    everything = [file for file in folder.glob("*.SAFE/GRANULE/*/*_DATA/**/*.jp2") if not file.stem.endswith("_PVI")]
    files = {asset: next(file for file in everything if file.stem.endswith(f"_{asset}")) for asset in assets}
    with served(folder, 0) as server:
        named = [file.relative_to(folder).as_posix() for file in files.values()]
        index = ["--index", place / "index.parquet"]
        for command in (
            ["index", "--source", server, "-o", place / "index.parquet", "--no-resume", *named],
            ["build", "--tile", tile, *index, "--source", server, "--store", place / "store", "--resolutions", "all"],
            ["export", "gdal", place / "store", "-o", place / "gdal"],
        ):
            more = ["--memory", "none"] if command[0] == "build" else []
            subprocess.run([s2ice, *command, *more, "-q"], check=True)
        for asset, file in files.items():
            name = asset.partition("_")[0].lower()
            (vrt,) = (path for path in place.glob(f"gdal/*/**/r{asset.partition('_')[2]}.vrt") if holds(path, name))
            for where in PLACES:
                directly = cost(server, f"/vsicurl/{server}{file.relative_to(folder).as_posix()}", "", where)
                sidecar = cost(server, vrt, name, where)
                if directly["sum"] != sidecar["sum"]:
                    raise SystemExit(f"{asset}, {where}: other pixels")
                yield {"raster": asset, "of": tile, "where": where, "directly": directly, "sidecar": sidecar}


def holds(vrt: Path, name: str) -> bool:
    return f"<Description>{name}</Description>" in vrt.read_text()


def render(found: list[dict[str, Any]]) -> str:
    rows = [["", "of", "window in", "requests, directly", "kB", "requests, sidecar", "kB"]]
    for row in found:
        figures = []
        for way in ("directly", "sidecar"):
            figures += [str(row[way]["requests"]), f"{row[way]['bytes'] / 1e3:.0f}"]
        rows.append([row["raster"], row["of"], row["where"], *figures])
    return "Windows by GDAL\n" + table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="folder of the built commands")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    made = args.work / "windows-samples"
    if not (made / "index.parquet").exists():
        shutil.rmtree(made, ignore_errors=True)
        options = ["--tile", "33TVN", "--dates", "1", "--no-swath-edge", "--assets", ",".join(SAMPLES)]
        subprocess.run([args.bin / "s2ice-samples", made, *options], check=True, stdout=subprocess.DEVNULL)
    found = list(measured(args.bin / "s2ice", args.work, made, "33TVN", SAMPLES))
    here = Path(__file__).resolve().parents[2]
    data = Path(os.environ.get("S2ICE_TESTDATA") or here / "../shared/data").resolve()
    if (data / "safe").is_dir():
        found += measured(args.bin / "s2ice", args.work, data / "safe", "29UNU", REAL)
    (args.work / "windows.json").write_text(json.dumps(found, indent=1) + "\n")
    print(render(found))


if __name__ == "__main__":
    main()
