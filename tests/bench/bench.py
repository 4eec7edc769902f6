"""Compare s2ice with other ways to write the same references, in one run on one index; `make bench` calls it.

The machine's speed cancels out in the ratios, which is why they are what the targets are about. Each tool runs in a
process of its own; seconds and peak memory are those of the process. For the Python tools, only the work after the
imports counts, which favours them.

Usage: bench.py --bin target/release --work target/bench [--products 1353] [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GROUP = "/measurements/reflectance/r10m"
SOURCE = [
    "--source",
    "s3://eodata",
    "--source-endpoint",
    "https://eodata.dataspace.copernicus.eu",
    "--source-anonymous",
]
# Ratio of a tool's time to that of s2ice: name, at least, at most.
TARGETS = {"per-product": (25.0, None), "arrays": (2.0, None), "bare": (None, 1.3)}
MEMORY_TARGET_MB = 100.0

type Run = dict[str, Any]


def run(command: list[Any]) -> Run:
    """Run a process to its end: times, peak resident memory, and the JSON it prints alone or last, if any."""
    # Icechunk warns of local stores in every process.
    environment = os.environ | {"ICECHUNK_LOG": "error"}
    begin = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed with exit code {process.returncode}")
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    result: Run = {"process_seconds": seconds, "peak_mb": usage.ru_maxrss / unit}
    result["cpu_seconds"] = usage.ru_utime + usage.ru_stime
    text = output.decode().strip()
    last = text if text.startswith("{") else text.rpartition("\n")[2]
    return result | (json.loads(last) if last.startswith("{") else {})


class Bench:
    """Runs the tools, each with a store of its own."""

    def __init__(self, binaries: Path, work: Path) -> None:
        self.binaries, self.work = binaries, work
        (work / "stores").mkdir(parents=True, exist_ok=True)

    def index(self, products: int) -> Path:
        path = self.work / f"index-{products}.parquet"
        run([self.binaries / "bench_index", path, "--products", products])
        return path

    def store(self, tool: str, products: int) -> Path:
        return self.work / "stores" / f"{tool}-{products}"

    def fresh(self, tool: str, products: int) -> Path:
        store = self.store(tool, products)
        shutil.rmtree(store, ignore_errors=True)
        return store

    def s2ice(self, products: int) -> Run:
        store = self.fresh("s2ice", products)
        command = [self.binaries / "s2ice", "build", "--tile", "33TVN", "--level", "L2A"]
        command += ["--index", self.index(products), *SOURCE]
        command += ["--headers", "assume", "--memory", "none", "--store", store, "-q"]
        result = run(command)
        return result | {"seconds": result["process_seconds"]}

    def bare(self, products: int) -> Run:
        command = [self.binaries / "bench_bare", "write", self.fresh("bare", products), "--products", products]
        result = run(command)
        return result | {"seconds": result["process_seconds"]}

    def peer(self, way: str, products: int, first: int | None = None) -> Run:
        store = self.fresh(way, products)
        command = [sys.executable, HERE / "peers.py", way, self.index(products), store]
        result = run(command + (["--products", first] if first else []))
        return result | {"seconds": result["work_seconds"]}

    def check(self, tool: str, products: int) -> int:
        """Compare every reference of a store with the archive; return their number."""
        group = GROUP if tool == "s2ice" else "/"
        command = [self.binaries / "bench_bare", "check", self.store(tool, products), "--group", group]
        references: int = run([*command, "--products", products])["references"]
        return references

    def count(self, tool: str, products: int) -> int:
        """Number of references as icechunk-python sees them."""
        return int(run([sys.executable, HERE / "count.py", self.store(tool, products)])["virtual"])

    def size_mb(self, tool: str, products: int) -> float:
        files = (file for file in self.store(tool, products).rglob("*") if file.is_file())
        return sum(file.stat().st_size for file in files) / 1e6


def best(runs: list[Run]) -> Run:
    """The fastest of several runs of one tool: what disturbs a run only ever slows it. Memory is the largest."""
    fastest = min(runs, key=lambda run: float(run["seconds"]))
    return fastest | {"peak_mb": max(run["peak_mb"] for run in runs), "all_seconds": [run["seconds"] for run in runs]}


def compare(bench: Bench, products: int, repeats: int, first: int | None) -> dict[str, Run]:
    """Run every tool several times, in turns, so that a disturbance meets all of them."""
    runs: dict[str, list[Run]] = {"s2ice": [], "bare": [], "arrays": [], "per-product": []}
    for turn in range(repeats):
        say(f"turn {turn + 1} of {repeats}: s2ice, then (c), (b), (a)" + (f" for {first} products" if first else ""))
        runs["s2ice"].append(bench.s2ice(products))
        runs["bare"].append(bench.bare(products))
        runs["arrays"].append(bench.peer("arrays", products))
        runs["per-product"].append(bench.peer("per-product", products, first))
    results = {}
    for tool, those in runs.items():
        counted, partial = bench.count(tool, products), tool == "per-product" and first
        if not partial and bench.check(tool, products) != counted:
            raise SystemExit(f"the store of {tool} holds {counted} references, which is not what was checked")
        own = best(those) | {"references": counted, "store_mb": bench.size_mb(tool, products)}
        results[tool] = own | {"us_per_reference": own["seconds"] / counted * 1e6}
    return results


def flatness(bench: Bench, numbers: list[int]) -> list[Run]:
    """Peak memory of s2ice and of the bare write for several numbers of products."""
    rows = []
    for products in numbers:
        say(f"memory at {products} products")
        ours, bare = bench.s2ice(products), bench.bare(products)
        own = {"products": products, "references": bare["references"]}
        rows.append(own | {"s2ice_mb": ours["peak_mb"], "bare_mb": bare["peak_mb"], "s2ice_seconds": ours["seconds"]})
    return rows


def verdict(results: dict[str, Run], memory: list[Run]) -> list[Run]:
    """The targets and whether they are met."""
    ours = results["s2ice"]
    rows = []
    for tool, (least, most) in TARGETS.items():
        own = results[tool]["us_per_reference"]
        if least is not None:
            ratio = own / ours["us_per_reference"]
            rows.append({"what": f"{tool} / s2ice, time", "value": ratio, "target": least, "met": ratio >= least})
        if most is not None:
            ratio = ours["us_per_reference"] / own
            rows.append({"what": f"s2ice / {tool}, time", "value": ratio, "target": most, "met": ratio <= most})
    above = ours["peak_mb"] - results["bare"]["peak_mb"]
    rows.append({"what": "s2ice - bare, peak MB", "value": above, "target": MEMORY_TARGET_MB, "met": above <= 100})
    if len(memory) > 1:
        grown = max(row["s2ice_mb"] - row["bare_mb"] for row in memory)
        what = f"s2ice - bare, peak MB, up to {memory[-1]['products']} products"
        rows.append({"what": what, "value": grown, "target": MEMORY_TARGET_MB, "met": grown <= MEMORY_TARGET_MB})
    return rows


NAMES = {
    "s2ice": "s2ice build",
    "bare": "(c) bare Icechunk write from Rust",
    "arrays": "(b) VirtualiZarr, whole numpy arrays",
    "per-product": "(a) VirtualiZarr, a dataset per product",
}


def table(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def render(report: dict[str, Any]) -> str:
    results: dict[str, Run] = report["tools"]
    rows = [["", "seconds", "us/reference", "peak MB", "store MB", "references", "time / s2ice"]]
    for tool, own in results.items():
        ratio = own["us_per_reference"] / results["s2ice"]["us_per_reference"]
        figures = [f"{own['seconds']:.2f}", f"{own['us_per_reference']:.2f}", f"{own['peak_mb']:.0f}"]
        rows.append([NAMES[tool], *figures, f"{own['store_mb']:.1f}", f"{own['references']:,}", f"{ratio:.2f}"])
    parts = [f"{report['products']} products, the fastest of {report['repeats']} runs", table(rows)]
    bare = results["bare"]
    parts.append(f"(c) without making up its references: {bare['write_seconds']:.2f} s")
    rows = [["products", "references", "s2ice MB", "bare MB", "s2ice seconds"]]
    for row in report["memory"]:
        figures = [f"{row['references']:,}", f"{row['s2ice_mb']:.0f}", f"{row['bare_mb']:.0f}"]
        rows.append([str(row["products"]), *figures, f"{row['s2ice_seconds']:.2f}"])
    parts.append("Memory\n" + table(rows))
    rows = [["target", "found", "wanted", ""]]
    for row in report["targets"]:
        rows.append([row["what"], f"{row['value']:.2f}", f"{row['target']:g}", "met" if row["met"] else "MISSED"])
    parts.append("Targets\n" + table(rows))
    if note := report["notebook"]:
        rows = [["", "seconds", "requests", "MB", "at once"]]
        for step in ("build", "rebuild", "open", "load"):
            own = note[step]
            figures = [
                f"{own['seconds']:.2f}",
                str(own["requests"]),
                f"{own['bytes'] / 1e6:.2f}",
                str(own["most_at_once"]),
            ]
            rows.append([step, *figures])
        case = f"{note['dates']} dates, {', '.join(note['rasters'])}, 10 km box"
        parts.append(f"Notebook: {case} ({note['latency_ms']:g} ms per request)\n{table(rows)}")
    return "\n\n".join(parts)


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="folder of the built commands")
    parser.add_argument("--work", type=Path, required=True, help="folder for indices, stores and results.json")
    parser.add_argument("--products", type=int, default=1353)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--per-product", type=int, metavar="N", help="run (a) on the first N products only")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="of the notebook's archive")
    parser.add_argument("--no-notebook", action="store_true")
    parser.add_argument("--no-append", action="store_true", help="leave out append.py")
    parser.add_argument("--no-requests", action="store_true", help="leave out per_raster.py")
    parser.add_argument("--quick", action="store_true", help="200 products, once: does it run at all?")
    args = parser.parse_args()
    products, repeats, numbers = args.products, args.repeats, [400, args.products, 4000]
    if args.quick:
        products, repeats, numbers = 200, 1, [100, 200]

    bench = Bench(args.bin, args.work)
    tools = compare(bench, products, repeats, args.per_product)
    memory = flatness(bench, numbers)
    notebook = None
    if not args.no_notebook:
        say("the notebook's case")
        command = [sys.executable, HERE / "notebook.py", "--bin", args.bin, "--work", args.work / "notebook"]
        notebook = run([*command, "--latency-ms", args.latency_ms])
    report = {
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()},
        "products": products,
        "repeats": repeats,
        "per_product_first": args.per_product,
        "tools": tools,
        "memory": memory,
        "targets": verdict(tools, memory),
        "notebook": notebook,
    }
    (args.work / "results.json").write_text(json.dumps(report, indent=2) + "\n")
    print(render(report), flush=True)
    if not args.no_requests:
        say("requests per raster")
        print(flush=True)
        command = [sys.executable, HERE / "per_raster.py", "--bin", args.bin, "--work", args.work / "requests"]
        subprocess.run(command, check=True)
    if not args.no_append:
        print(flush=True)
        command = [sys.executable, HERE / "append.py", "--bin", args.bin, "--work", args.work]
        subprocess.run([*command, *(["--quick"] if args.quick else [])], check=True)


if __name__ == "__main__":
    main()
