"""What it takes to publish a thousand stores: seconds, files, bytes; again without news; and again after one changed.

Usage: publication.py --bin target/release --work target/bench [--tiles 1000] [--products 12]

The stores are of synthetic references (`bench_index`, under the names of other tiles), on local disk; nothing is
served.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from bench import SOURCE, run, say, table

COLUMNS = ["STUVWXYZ", "ABCDEFGH", "JKLMNPQR"]


def tiles(count: int) -> list[str]:
    """Names of tiles of all zones, in the bands T and G."""
    places = itertools.product("CDEFGH", range(6), "TG", range(1, 61))
    names = [f"{zone:02}{band}{COLUMNS[zone % 3][column]}{row}" for row, column, band, zone in places]
    return sorted(names[:count])


def renamed(source: Path, target: Path, tile: str) -> None:
    """The index of another tile."""
    found = pq.read_table(source)
    for name in ("product_id", "path"):
        place = found.schema.get_field_index(name)
        texts = [text.replace("33TVN", tile) for text in found.column(name).to_pylist()]
        found = found.set_column(place, name, [texts])
    pq.write_table(found, target)


def build(binaries: Path, index: Path, tile: str, store: Path) -> None:
    line: list[Any] = [binaries / "s2ice", "build", "--tile", tile, "--index", index, *SOURCE, "--headers", "assume"]
    subprocess.run([*line, "--memory", "none", "--store", store, "-q"], check=True)


def publish(binaries: Path, work: Path, stores: list[Path]) -> dict[str, Any]:
    line = [binaries / "s2ice", "publish", *stores, "--out", work / "public", "--base-url", "https://example.org"]
    return run([str(word) for word in [*line, "--no-look", "--no-preview", "-q", "--json"]])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bin", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--tiles", type=int, default=1000)
    arguments.add_argument("--products", type=int, default=12)
    options = arguments.parse_args()
    binaries, work = options.bin.resolve(), (options.work / "publication").resolve()
    work.mkdir(parents=True, exist_ok=True)
    subprocess.run(["rm", "-rf", work / "public", work / "stores"], check=True)
    base, index = work / "base.parquet", work / "index.parquet"
    more = work / "more.parquet"
    subprocess.run([binaries / "bench_index", base, "--products", str(options.products)], check=True)
    subprocess.run([binaries / "bench_index", more, "--products", str(options.products + 1)], check=True)
    names = tiles(options.tiles)
    say(f"publication: building {len(names)} stores")
    stores = [work / "stores" / name for name in names]
    for name, store in zip(names, stores, strict=True):
        renamed(base, index, name)
        build(binaries, index, name, store)
    rows = [["", "seconds", "CPU s", "peak MB", "files", "MB", "objects copied", "MB"]]

    def measure(what: str) -> None:
        say(f"publication: {what}")
        told = publish(binaries, work, stores)
        numbers = [f"{told[key]:.2f}" for key in ("process_seconds", "cpu_seconds")] + [f"{told['peak_mb']:.0f}"]
        counts = [str(told["files"]), f"{told['bytes'] / 1e6:.1f}"]
        counts += [str(told["copied_objects"]), f"{told['copied_bytes'] / 1e6:.1f}"]
        rows.append([what, *numbers, *counts])

    measure("all new")
    measure("no news")
    renamed(more, index, names[0])
    build(binaries, index, names[0], stores[0])
    measure("one changed")
    print(table(rows))
    (work / "publication.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    sys.exit(main())
