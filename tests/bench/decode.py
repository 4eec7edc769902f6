"""Decoders on one thread, in turn: this package, OpenJPEG as it builds it, imagecodecs, and WebAssembly in Node.

Each decoder is a process of its own and decodes when it is asked, one after the other, so what disturbs the machine
disturbs all. Tiles at 10 and 20 m are samples of real size (`s2ice-samples --realistic`); those at 60 m, of the scene
classification and the aerosol are real where S2ICE_TESTDATA has them. Times are those of the process's CPU. imagecodecs
decodes a whole codestream of one tile, and can do neither windows nor overviews: its times there are those of the tile.

Usage: decode.py --bin target/release --work FOLDER [--turns 9]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import table

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates/python/tests"))
from support import Jp2, read_jp2

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = {"10 m": "B04_10m", "20 m": "B11_20m"}
REAL = {"60 m": "B02_60m", "SCL 20 m": "SCL_20m", "AOT 10 m": "AOT_10m"}
WINDOWS = 12
"""Windows of 64 by 64 pixels per tile."""


def codestream(jp2: Jp2, tile: int) -> bytes:
    """One tile as an image of its own, at its place on the reference grid (clause A.5.1)."""
    header = bytearray(base64.b64decode(jp2.main_header))
    row, column = divmod(tile, jp2.grid[1])
    x, y = column * jp2.tile_width, row * jp2.tile_height
    end = min(x + jp2.tile_width, jp2.width), min(y + jp2.tile_height, jp2.height)
    # Behind SOC, the SIZ marker, its length and Rsiz: ends and offsets of image and tiles.
    struct.pack_into(">8I", header, 8, *end, x, y, jp2.tile_width, jp2.tile_height, x, y)
    part = bytearray(jp2.chunk(tile))
    struct.pack_into(">H", part, 4, 0)
    return bytes(header + part) + b"\xff\xd9"


def cases(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The longest tile of each kind, whole, in windows and at a sixteenth."""
    data = Path(os.environ.get("S2ICE_TESTDATA", ROOT.parent / "shared/data"))
    folder = args.work / "samples"
    assets = [*SAMPLES.values(), *REAL.values()]
    if not folder.exists():
        words = ["--dates", "1", "--no-swath-edge", "--realistic", "--assets", ",".join(assets)]
        subprocess.run([args.bin / "s2ice-samples", folder, *words], check=True)
    found = []
    for kind, asset in (SAMPLES | REAL).items():
        real = next(data.rglob(f"*_{asset}.jp2"), None) if kind in REAL else None
        jp2 = read_jp2(real or next(folder.rglob(f"*_{asset}.jp2")))
        tile = max(jp2.tiles, key=lambda tile: jp2.tiles[tile][1])
        path = args.work / asset
        path.with_suffix(".chunk").write_bytes(jp2.chunk(tile))
        path.with_suffix(".j2c").write_bytes(codestream(jp2, tile))
        name = f"{kind}{'' if real or kind in SAMPLES else ' (sample)'}"
        case = {"main_header": jp2.main_header, "path": str(path), "reduce": 0, "windows": [None]}
        high, wide = jp2.tile_height - 64, jp2.tile_width - 64
        places = [((n * 7919 + 13) % high, (n * 104_729 + 7) % wide) for n in range(WINDOWS)]
        found.append(case | {"name": f"{name}, tile"})
        found.append(case | {"name": f"{name}, 64 x 64", "windows": [(y, y + 64, x, x + 64) for y, x in places]})
        if kind == "10 m":
            found.append(case | {"name": f"{name}, at 160 m", "reduce": 4})
    return found


def native(case: dict[str, Any]) -> Callable[[], Any]:
    """The codec of this package, with the decoder that the environment names."""
    from s2ice._s2ice import TileCodec

    codec = TileCodec(case["main_header"], case["reduce"])
    chunk = Path(case["path"]).with_suffix(".chunk").read_bytes()
    if case["reduce"]:
        chunk = chunk[: codec.plan(chunk)[2]]
    shape = [codec.components, *codec.chunk_shape]
    size = int(codec.dtype.lstrip("uint")) // 8
    jobs = []
    for window in case["windows"]:
        area = shape[1] * shape[2] if window is None else (window[1] - window[0]) * (window[3] - window[2])
        jobs.append((bytearray(shape[0] * area * size), window and tuple(window)))

    def run() -> None:
        for out, window in jobs:
            codec.decode(chunk, out, window=window)

    return run


def imagecodecs(case: dict[str, Any]) -> Callable[[], Any]:
    """imagecodecs, which decodes the whole tile."""
    import imagecodecs

    stream = Path(case["path"]).with_suffix(".j2c").read_bytes()
    return lambda: imagecodecs.jpeg2k_decode(stream, numthreads=1)


def work(decoder: str, path: str) -> None:
    """Answer each line, the number of a case, with the CPU seconds that its decoding takes."""
    found = json.loads(Path(path).read_text())
    make = imagecodecs if decoder == "imagecodecs" else native
    ready: dict[int, Callable[[], Any]] = {}
    for line in sys.stdin:
        number = int(line)
        if number not in ready:
            ready[number] = make(found[number])
            ready[number]()
        begin = time.process_time()
        ready[number]()
        print(time.process_time() - begin, flush=True)


class Decoder:
    """A process that decodes when it is asked."""

    def __init__(self, name: str, cases: Path) -> None:
        self.name = name
        command = [sys.executable, __file__, "--worker", name, str(cases)]
        if name == "WebAssembly":
            command = [str(shutil.which("node")), str(Path(__file__).with_name("decode.mjs")), str(cases)]
        environment = os.environ | ({"S2ICE_DECODER": "openjpeg"} if name == "OpenJPEG" else {})
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def seconds(self, case: int) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(case, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}")
        return float(answer)


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=9)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    found = cases(args)
    path = args.work / "cases.json"
    path.write_text(json.dumps(found))
    names = ["s2ice", "OpenJPEG", "imagecodecs", *(["WebAssembly"] if shutil.which("node") else [])]
    decoders = [Decoder(name, path) for name in names]
    rows = [["ms per tile or window", *names, "OpenJPEG / s2ice", *[f"{name} / s2ice" for name in names[2:]]]]
    results = []
    for number, case in enumerate(found):
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(args.turns):
            for decoder in decoders:
                taken = decoder.seconds(number) / (1 if decoder.name == "imagecodecs" else len(case["windows"]))
                times[decoder.name].append(taken)
        medians = {name: statistics.median(taken) for name, taken in times.items()}
        results.append({"case": case["name"], "seconds": times})
        ratios = [medians[name] / medians["s2ice"] for name in names[1:]]
        rows.append([case["name"], *[f"{1e3 * m:.2f}" for m in medians.values()], *[f"{r:.2f}" for r in ratios]])
    (args.work / "decode.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
