"""What a run costs that changes one product of a store, and whether that depends on how many the store has.

Stores of several sizes, each product with 16 rasters, on local disk and on S3 (moto) behind a latency. Each operation
is measured several times on the same store, which is put back in between. Nothing is asked of the archive.

Usage: append.py --bin target/release --work target/bench [--sizes 96,384,1392] [--repeats 3] [--quick] [--trace]

Writes append.json to the working folder, with the requests of every operation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk
from bench import SOURCE, say, table
from places import ENVIRONMENT, Listing, Local, Place, Remote, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
RASTERS = 16
# The stores have every third product of an archive that is long enough, so that others lie between them.
STRIDE = 3
# Products that a store has beyond its windows of 48 in the case of the half-full window.
HALF = 24
# Runs of more seconds are not repeated: little disturbs them.
LONG = 6.0
# What may differ between the largest and the smallest store.
ALLOWED = 1.2
# The only object that Icechunk writes again; all others are new and stay as they are.
MUTABLE = "repo"

type Run = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One thing to do to a store of `n` products."""

    name: str
    index: Callable[[int], dict[str, int]]
    """Options of bench_index for the index that the run is given."""
    expected: str
    """The list of the report in which one product is; empty for a run without changes."""
    least: int = 0
    """Smallest store in which it makes sense."""
    half: bool = False
    """Whether the store has HALF products more."""
    again: bool = False
    """Whether the same was asked before: the memory tells that there is no news."""


def inserted(from_the_end: int) -> Operation:
    """A product that lies before the last ones of the store."""
    return Operation(
        f"insert, {from_the_end} from the end",
        lambda n: {"products": 1, "first": STRIDE * (n - from_the_end) - 1},
        "inserted",
        from_the_end + 1,
    )


def new(beyond: int = 0) -> Callable[[int], dict[str, int]]:
    """An index of nothing but the product after the last one."""
    return lambda n: {"products": 1, "first": STRIDE * (n + beyond)}


OPERATIONS = [
    Operation("append", new(), "appended"),
    Operation("append, whole index", lambda n: {"products": n + 1}, "appended"),
    Operation("append, half-full window", new(HALF), "appended", half=True),
    Operation("nothing new", lambda n: {"products": n}, ""),
    Operation("nothing new, asked again", lambda n: {"products": n}, "", again=True),
    inserted(5),
    inserted(100),
    inserted(700),
]


class Bench:
    """Runs s2ice on stores."""

    def __init__(self, binaries: Path, work: Path, largest: int) -> None:
        self.binaries, self.work = binaries, work / "append"
        self.work.mkdir(parents=True, exist_ok=True)
        self.made: set[Path] = set()
        self.of = STRIDE * (largest + HALF + 2)

    def index(self, options: dict[str, int]) -> Path:
        options = {"rasters": RASTERS, "first": 0, "step": STRIDE, "of": self.of} | options
        path = self.work / ("-".join(f"{name}{value}" for name, value in options.items()) + ".parquet")
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        if path not in self.made:
            subprocess.run([self.binaries / "bench_index", path, *words], check=True)
            self.made.add(path)
        return path

    def build(self, place: Place, index: Path, prepare: bool = False, memory: object = "none") -> Run:
        """Run `s2ice build`, measured by a small process: on Linux a child's peak begins with that of its parent."""
        command = [self.binaries / "s2ice", "build", "--tile", "33TVN", "--level", "L2A", "--index", index, *SOURCE]
        command += ["--headers", "assume", "--memory", memory, "-q", "--json"]
        script = "import json, sys, bench; print(json.dumps(bench.run(sys.argv[1:])))"
        measure = [sys.executable, "-c", script, *(str(word) for word in [*command, *place.arguments(prepare)])]
        environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(HERE)}
        done = subprocess.run(measure, check=True, stdout=subprocess.PIPE, cwd=self.work, env=environment)
        result: Run = json.loads(done.stdout)
        return result


def kinds(place: Place, keys: list[str]) -> dict[str, str]:
    """What each written object is for."""
    repository = icechunk.Repository.open(place.storage())
    out = {}
    for key in keys:
        folder, _, name = key.rpartition("/")
        if folder == "manifests":
            manifest = repository.inspect_manifest(name)
            out[key] = "references" if manifest["total_virtual"] else "columns"
        else:
            names = {"chunks": "columns", "snapshots": "snapshots", "transactions": "transactions"}
            out[key] = names.get(folder, "refs" if key == MUTABLE or folder == "overwritten" else "other")
    return out


def method(request: Run) -> str:
    if request["copies"]:
        return "COPY"
    if request["method"] == "GET" and "list-type" in request["query"]:
        return "LIST"
    # Several objects are deleted by one POST.
    return "DELETE" if request["method"] == "POST" and "delete" in request["query"] else str(request["method"])


@contextmanager
def put_back(place: Place) -> Iterator[Listing]:
    """Give the listing of a store, and make it what it was at the end."""
    before, mutable = place.listing(), place.read(MUTABLE)
    yield before
    after = place.listing()
    changed = {key for key in before if after.get(key) != before[key]}
    if changed - {MUTABLE}:
        raise SystemExit(f"objects that never change were changed: {sorted(changed - {MUTABLE})}")
    for key in set(after) - set(before):
        place.delete(key)
    if changed:
        place.write(MUTABLE, mutable)


def once(bench: Bench, place: Place, index: Path, operation: Operation) -> Run:
    """Do an operation and put the store back."""
    with put_back(place) as before:
        memory: object = "none"
        if operation.again:
            memory = bench.work / "memory.parquet"
            memory.unlink(missing_ok=True)
            bench.build(place, index, memory=memory)
        place.requests()
        result = bench.build(place, index, memory=memory)
        requests = place.requests()
        changes = {name: len(found) for name, found in result["changes"].items() if isinstance(found, list) and found}
        if changes != ({operation.expected: 1} if operation.expected else {}):
            raise SystemExit(f"{operation.name}: the run did something else: {changes}")
        after = place.listing()
        written = {key: size for key, (size, tag) in after.items() if before.get(key) != (size, tag)}
        kind = kinds(place, list(written))
    moved = (result.get("committed") or {}).get("references_moved", 0)
    by_kind: Counter[str] = Counter()
    for key, size in written.items():
        by_kind[kind[key]] += size
    begin = min((request["begin"] for request in requests), default=0.0)
    trace = [
        {
            "at_ms": round((request["begin"] - begin) * 1000, 1),
            "took_ms": round((request["end"] - request["begin"]) * 1000, 1),
            "method": method(request),
            "key": request["key"] or request["query"],
            "status": request["status"],
            "bytes": request["sent"] + request["received"],
        }
        for request in requests
    ]
    return {
        "seconds": result["process_seconds"],
        "cpu_seconds": result["cpu_seconds"],
        "peak_mb": result["peak_mb"],
        "requests": len(requests),
        "by_method": Counter(method(request) for request in requests),
        "read_bytes": sum(request["sent"] for request in requests),
        "written_bytes": sum(written.values()),
        "objects": len(written),
        "by_kind": by_kind,
        "moved": moved,
        "trace": trace,
    }


def measure(bench: Bench, places: dict[int, Place], repeats: int) -> list[Run]:
    """Build a store at each place and do every operation to it; the sizes take turns, as disturbances come and go."""
    for size, place in places.items():
        say(f"append: {place.name}, building a store of {size} products")
        bench.build(place, bench.index({"products": size}), prepare=True)
    rows: list[Run] = []
    for operation in sorted(OPERATIONS, key=lambda operation: operation.half):
        sizes = [size for size in places if size >= operation.least]
        if not sizes:
            continue
        if operation.half and not rows[-1]["half"]:
            for size in sizes:
                more = bench.index({"products": HALF, "first": STRIDE * size})
                bench.build(places[size], more, prepare=True)
        say(f"append: {places[sizes[0]].name}, {operation.name}")
        runs: dict[int, list[Run]] = {size: [] for size in sizes}
        for _ in range(repeats):
            for size, own in runs.items():
                if own and own[0]["seconds"] > LONG:
                    continue
                own.append(once(bench, places[size], bench.index(operation.index(size)), operation))
        for size, own in runs.items():
            row = summary(own) | {"operation": operation.name, "half": operation.half}
            rows.append(row | {"place": places[size].name, "products": size})
    order = [operation.name for operation in OPERATIONS]
    return sorted(rows, key=lambda row: (order.index(row["operation"]), row["products"]))


def summary(runs: list[Run]) -> Run:
    """Several runs as one: the median of times, the largest peak. Bytes and requests hardly differ."""
    middle = {name: statistics.median(run[name] for run in runs) for name in ("seconds", "cpu_seconds")}
    peak = max(run["peak_mb"] for run in runs)
    return runs[0] | middle | {"peak_mb": peak, "all_seconds": [run["seconds"] for run in runs]}


def figures(row: Run) -> dict[str, float]:
    """What is shown of a row, and compared between sizes."""
    kind = row["by_kind"]
    out = {"seconds": row["seconds"], "CPU s": row["cpu_seconds"], "peak MB": row["peak_mb"]}
    out |= {f"{name} kB": kind.get(name, 0) / 1e3 for name in ("references", "columns", "snapshots", "refs")}
    out["other kB"] = (kind.get("transactions", 0) + kind.get("other", 0)) / 1e3
    if row["requests"]:
        out |= {"requests": row["requests"], "read kB": row["read_bytes"] / 1e3}
    return out


def ratio(small: float, large: float) -> float | None:
    return large / small if small else None


def shown(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if name in ("seconds", "CPU s") else f"{value:.0f}"


def render_place(rows: list[Run]) -> str:
    head = ["", "products", *figures(rows[0])]
    if rows[0]["requests"]:
        head.append("GET/PUT/COPY/LIST/DELETE/HEAD")
    out = [head]
    for operation in dict.fromkeys(row["operation"] for row in rows):
        own = [row for row in rows if row["operation"] == operation]
        for number, row in enumerate(own):
            cells = [shown(name, value) for name, value in figures(row).items()]
            if row["requests"]:
                methods = ("GET", "PUT", "COPY", "LIST", "DELETE", "HEAD")
                cells.append("/".join(str(row["by_method"].get(method, 0)) for method in methods))
            out.append([operation if number == 0 else "", str(row["products"]), *cells])
        if len(own) > 1:
            small, large = figures(own[0]), figures(own[-1])
            ratios = [ratio(small[name], large[name]) for name in small]
            cells = ["-" if value is None else f"{value:.2f}" for value in ratios]
            named = f"{own[-1]['products']}/{own[0]['products']}"
            out.append(["", named, *cells, *([""] if rows[0]["requests"] else [])])
    return table(out)


def verdict(rows: list[Run], sizes: list[int]) -> list[Run]:
    """Whether adding one product costs the same in the smallest and in the largest store."""
    out = []
    for place in dict.fromkeys(row["place"] for row in rows):
        for operation in ("append", "append, half-full window"):
            own = {row["products"]: row for row in rows if (row["place"], row["operation"]) == (place, operation)}
            small, large = own[sizes[0]], own[sizes[-1]]
            pairs = {
                "time": (small["seconds"], large["seconds"]),
                "memory": (small["peak_mb"], large["peak_mb"]),
                "bytes of references": (small["by_kind"]["references"], large["by_kind"]["references"]),
            }
            for what, (less, more) in pairs.items():
                found = ratio(less, more)
                met = found is not None and found <= ALLOWED
                out.append({"what": f"{place}: {operation}, {what}", "value": found, "target": ALLOWED, "met": met})
        commits = {row["written_bytes"] for row in rows if (row["place"], row["operation"]) == (place, "nothing new")}
        met = commits == {0}
        out.append({"what": f"{place}: nothing new, bytes written", "value": max(commits), "target": 0, "met": met})
    return out


def render(report: Run) -> str:
    rows, sizes = report["rows"], report["sizes"]
    parts = [f"One product changed, 16 arrays: the median of {report['repeats']} runs, the largest of their peaks"]
    for place in dict.fromkeys(row["place"] for row in rows):
        own = [row for row in rows if row["place"] == place]
        median, longest = report["latency_ms"]["measured"]
        note = f", a request takes {median:.0f} ms (at most {longest:.0f})" if own[0]["requests"] else ""
        parts.append(f"{place}{note}\n{render_place(own)}")
    if not report["targets"]:
        return "\n\n".join(parts)
    lines = [[f"{sizes[-1]} products / {sizes[0]} products", "found", "at most", ""]]
    for row in report["targets"]:
        value = "-" if row["value"] is None else f"{row['value']:.2f}"
        lines.append([row["what"], value, f"{row['target']:g}", "met" if row["met"] else "MISSED"])
    parts.append(table(lines))
    return "\n\n".join(parts)


def render_trace(row: Run) -> str:
    lines = [["at ms", "took ms", "method", "status", "bytes", "key"]]
    for request in row["trace"]:
        cells = (request[name] for name in ("at_ms", "took_ms", "method", "status", "bytes", "key"))
        lines.append([str(cell) for cell in cells])
    return f"{row['place']}, {row['products']} products, {row['operation']}\n{table(lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True, help="folder of the built commands")
    parser.add_argument("--work", type=Path, required=True, help="folder for indices, stores and append.json")
    parser.add_argument("--sizes", default="96,384,1392", help="products of the stores, from small to large")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=30.0)
    parser.add_argument("--places", nargs="+", choices=["local", "s3"], default=["local", "s3"])
    parser.add_argument("--quick", action="store_true", help="20 and 60 products, once: does it run at all?")
    parser.add_argument("--trace", action="store_true", help="print the requests of an append and of an idle run")
    args = parser.parse_args()
    sizes, repeats = [int(size) for size in args.sizes.split(",")], args.repeats
    if args.quick:
        sizes, repeats = [20, 60], 1

    # Icechunk warns of local stores.
    icechunk.set_logs_filter("error")
    bench = Bench(args.bin.resolve(), args.work.resolve(), sizes[-1])
    service = Service(args.latency_ms)
    try:
        latency = service.latency_ms()
        rows = []
        if "local" in args.places:
            rows += measure(bench, {size: Local(bench.work / f"store-{size}") for size in sizes}, repeats)
        if "s3" in args.places:
            rows += measure(bench, {size: Remote(service, f"store-{size}") for size in sizes}, repeats)
    finally:
        assert service.process.stdin is not None
        service.process.stdin.close()
        service.process.wait(timeout=10)
    report = {
        "sizes": sizes,
        "repeats": repeats,
        "latency_ms": {"wanted": args.latency_ms, "measured": latency},
        "rows": rows,
        # Between stores of fewer products, windows fill up.
        "targets": [] if args.quick else verdict(rows, sizes),
    }
    (args.work / "append.json").write_text(json.dumps(report, indent=1) + "\n")
    print(render(report))
    if args.trace:
        for row in rows:
            if row["trace"] and row["operation"] in ("append", "nothing new") and row["products"] == sizes[-1]:
                print("\n" + render_trace(row))


if __name__ == "__main__":
    main()
