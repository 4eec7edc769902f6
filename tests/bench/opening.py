"""What it takes to open a store by HTTP in a process that has read nothing: requests, and bytes, and whose they are.

Usage: opening.py --bin target/release --work target/bench [--products 1401]

The store is of synthetic references (`bench_index`, 16 arrays); what they refer to is not there, so the first pixel
stands for what is fetched of the store until its own request.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import SOURCE, say, table
from notebook import ask, served

GROUP = "measurements/reflectance/r10m"
PLAIN = """import icechunk, xarray
store = icechunk.Repository.open(icechunk.http_storage(URL)).readonly_session("main").store
"""
OURS = "import s2ice\n"
WAYS = {
    "a group, xarray": PLAIN + f"xarray.open_zarr(store, group='{GROUP}', consolidated=False, chunks=None)",
    "the tree, xarray": PLAIN + "xarray.open_datatree(store, engine='zarr', consolidated=False, chunks=None)",
    "a group, s2ice": OURS + f"s2ice.open(URL, '{GROUP}', allow=True, anonymous=True)",
    "the tree, s2ice": OURS + "s2ice.open(URL, allow=True, anonymous=True)",
    "the first pixel of it": PLAIN
    + "import zarr\n"
    + f"array = zarr.open_array(store, path='{GROUP}/b02', mode='r')\n"
    + "try:\n    array[0, 0, 0]\nexcept Exception:\n    pass",
}


def cold(url: str, code: str) -> dict[str, Any]:
    """Run code in a process of its own; return what it asked for, by path."""
    ask(url, "__reset")
    script = f"URL = {url + 'store'!r}\n{code}"
    environment = os.environ | {"ICECHUNK_LOG": "error"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    return {path: counts for path, counts in ask(url, "__paths").items() if "__" not in path}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, dest="binaries")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--products", type=int, default=1401)
    options = parser.parse_args()
    work = options.work / "opening"
    work.mkdir(parents=True, exist_ok=True)
    index = work / f"{options.products}.parquet"
    if not index.exists():
        words = ["--products", str(options.products), "--rasters", "16"]
        subprocess.run([options.binaries / "bench_index", index, *words], check=True)
    line: list[Any] = [
        options.binaries / "s2ice",
        "build",
        "--tile",
        "33TVN",
        "--level",
        "L2A",
        "--index",
        index,
        *SOURCE,
    ]
    subprocess.run([*line, "--headers", "assume", "--memory", "none", "--store", work / "store", "-q"], check=True)
    files = [file for file in (work / "store").rglob("*") if file.is_file()]
    manifests = sum(file.parent.name == "manifests" for file in files)
    say(
        f"{options.products} products: {sum(file.stat().st_size for file in files) / 1e6:.1f} MB, {manifests} manifests"
    )
    rows = []
    with served(work, 0) as url:
        for way, code in WAYS.items():
            found = cold(url, code)
            kinds = {
                kind: [of for path, of in found.items() if f"/{kind}/" in path] for kind in ("snapshots", "manifests")
            }
            sizes = [sum(of["bytes"] for of in own) for own in kinds.values()]
            requests, size = (sum(of[what] for of in found.values()) for what in ("requests", "bytes"))
            rows.append([way, str(requests), f"{size:,}", *(f"{size:,}" for size in sizes)])
    print(table([["what", "requests", "bytes", "of snapshots", "of manifests"], *rows]))


if __name__ == "__main__":
    main()
