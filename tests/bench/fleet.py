"""Many tiles: a first run on one machine and over clusters, runs without news, and what all of it asks for.

A thousand tiles of one small product each lie behind a counting server that stands in for the archive, their items in
a STAC API of this process. The first run is made by `s2ice run`, then by dask with one and with two worker processes of
one thread; runs without news follow, with a search for each tile and with one for all. Nothing waits for a network, so
that what is left is s2ice's own. `--trouble` adds a run of two at once with limits on the source, while workers are
killed and the scheduler is restarted; its stores are compared with those of one machine.

Usage: fleet.py --bin target/release --work FOLDER [--tiles 1000] [--trouble]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import run, say, table
from notebook import ask, served
from publication import tiles as names_of

import s2ice.fleet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
from support import catalogue
from support.clusters import Cluster, cluster

ALL = 25_000
"""Tiles of the archive that matter."""


class Fleet:
    """An archive, and configuration files over it."""

    def __init__(self, binaries: Path, work: Path, tiles: list[str], items: catalogue.Catalogue, source: str) -> None:
        self.binaries, self.work, self.tiles, self.items, self.source = binaries, work, tiles, items, source
        self.s2ice = binaries / "s2ice"

    def config(self, name: str, run: str = "", options: str = "", *, stac: bool = True) -> Path:
        folder = self.work / name
        folder.mkdir(exist_ok=True)
        path = folder / "s2ice.toml"
        path.write_text(
            f"tiles = {json.dumps(self.tiles)}\n"
            f'source = "{self.source}{{tile}}"\nindex = ["{self.work}/archive/{{tile}}/index.parquet"]\n'
            + (f'stac = "{self.items.address}"\n' if stac else "")
            + f'store = "{folder}/stores/{{tile}}"\n'
            f"[source-options]\nallow-http = true\n{options}\n[stac-options]\nrequests-per-second = 1000.0\n"
            f'[run]\nreport = "{folder}/runs.jsonl"\nmetrics = "{folder}/s2ice.prom"\nfull-every = 1000\n{run}\n'
        )
        return path

    def measured(self, config: Path, *words: str) -> dict[str, Any]:
        """One run on this machine, and what it asked for."""
        self.items.searches.clear()
        ask(self.source, "__reset")
        told = run([self.s2ice, "run", config, "--json", "-q", *words])
        return told | {"searches": len(self.items.searches), "source": ask(self.source, "__stats")}

    def over(self, config: Path, workers: int, threads: int = 1) -> float:
        """Seconds of a run over a cluster."""
        with cluster(self.work / "cluster", dict(os.environ), 0) as found:
            for _ in range(workers):
                found.worker(threads)
            from distributed import Client

            with Client(found.address, set_as_default=False) as client:
                client.wait_for_workers(workers)
                # What workers load is loaded.
                client.run(__import__, "s2ice.fleet")
                begin = time.perf_counter()
                report = s2ice.fleet.refresh(config, client)
                seconds = time.perf_counter() - begin
        assert report["outcomes"] == {"updated": len(self.tiles)}, report["outcomes"]
        return seconds

    def contents(self, name: str) -> dict[str, Any]:
        """What the stores tell of themselves."""

        def info(tile: str) -> Any:
            told = subprocess.run(
                [self.s2ice, "info", self.work / name / "stores" / tile, "--json"], check=True, capture_output=True
            )
            found = json.loads(told.stdout)
            return [found[key] for key in ("products", "references", "times", "arrays")]

        with ThreadPoolExecutor(4) as pool:
            return dict(zip(self.tiles, pool.map(info, self.tiles), strict=True))


def archive(binaries: Path, folder: Path, tiles: list[str]) -> None:
    """A small product of each tile, made once."""

    def make(tile: str) -> None:
        if not (folder / tile / "index.parquet").exists():
            shutil.rmtree(folder / tile, ignore_errors=True)
            words = ["--tile", tile, "--dates", "1", "--assets", "SCL_60m"]
            subprocess.run([binaries / "s2ice-samples", folder / tile, *words], check=True, capture_output=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, tiles))


def show(items: catalogue.Catalogue, folder: Path, tiles: list[str]) -> None:
    """Put all items into the catalogue, as changed an hour ago."""
    for place, tile in enumerate(tiles):
        (item,) = json.loads((folder / tile / "stac/items.json").read_text())["features"]
        changed = datetime.now(UTC) - timedelta(hours=1) + timedelta(milliseconds=place)
        item["properties"]["updated"] = changed.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        items.put([item])


def trouble(fleet: Fleet, rows: list[list[str]]) -> None:
    """Two runs at once, of which workers are killed and the scheduler is restarted, within the limits of the source."""
    limits = "connections = 4\nrequests-per-second = 400.0"
    configs = [fleet.config(f"trouble-{name}", options=limits) for name in ("a", "b")]
    dice, done = random.Random(5), threading.Event()
    ask(fleet.source, "__reset")
    with cluster(fleet.work / "cluster", dict(os.environ), 2) as found:
        kills = [0, 0]

        def disturb(found: Cluster) -> None:
            while not done.wait(dice.uniform(5, 15)):
                if kills[1] == 0 and kills[0] >= 3:
                    kills[1] += 1
                    found.close()
                    found.workers.clear()
                    found.start(int(found.address.rpartition(":")[2]))
                    found.worker()
                else:
                    kills[0] += 1
                    victim = dice.randrange(len(found.workers))
                    found.workers.pop(victim).kill()
                found.worker()

        reports: list[dict[str, Any]] = []
        threads = [
            threading.Thread(target=lambda config=config: reports.append(s2ice.fleet.refresh(config, found.address)))
            for config in configs
        ]
        killer = threading.Thread(target=disturb, args=(found,))
        begin = time.perf_counter()
        for thread in (*threads, killer):
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begin
        done.set()
        killer.join()
    seen = ask(fleet.source, "__stats")
    ended = [{key: report["outcomes"].get(key, 0) for key in ("updated", "unchanged", "failed")} for report in reports]
    say(f"fleet: {kills[0]} workers killed, {kills[1]} restarts of the scheduler; {ended}")
    assert all(sum(one.values()) - one["failed"] == len(fleet.tiles) for one in ended), ended
    assert seen["most_at_once"] <= 4, seen
    expected = fleet.contents("alone")
    for config in configs:
        assert fleet.contents(config.parent.name) == expected
    rate = seen["requests"] / seconds
    rows.append(["two runs in trouble", f"{seconds:.1f}", f"{2 * len(fleet.tiles) / seconds:.1f}", "", ""])
    say(
        f"fleet: at most {seen['most_at_once']} connections, {rate:.0f} requests/s; the stores are those of one machine"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bin", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--tiles", type=int, default=1000)
    arguments.add_argument("--trouble", action="store_true")
    options = arguments.parse_args()
    binaries, work = options.bin.resolve(), options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    tiles = names_of(options.tiles)
    say(f"fleet: making samples of {len(tiles)} tiles")
    archive(binaries, work / "archive", tiles)
    for old in ("alone", "one", "two", "trouble-a", "trouble-b"):
        shutil.rmtree(work / old, ignore_errors=True)
    catalogue.PAGE = 250
    with catalogue.serve() as items, served(work / "archive", 0.0) as source:
        fleet = Fleet(binaries, work, tiles, items, source)
        show(items, work / "archive", tiles)
        first = [["first run", "seconds", "tiles/s", "requests to the source", "peak MB"]]
        say("fleet: a first run here")
        told = fleet.measured(fleet.config("alone"))
        assert told["outcomes"] == {"updated": len(tiles)}, told["outcomes"]
        speed = f"{told['process_seconds']:.1f}", f"{len(tiles) / told['process_seconds']:.1f}"
        first.append(["s2ice run", *speed, str(told["source"]["requests"]), f"{told['peak_mb']:.0f}"])
        for name, workers in (("one", 1), ("two", 2)):
            say(f"fleet: a first run over {workers} workers")
            ask(source, "__reset")
            seconds = fleet.over(fleet.config(name), workers)
            asked = str(ask(source, "__stats")["requests"])
            first.append([f"dask, {workers} x 1 thread", f"{seconds:.1f}", f"{len(tiles) / seconds:.1f}", asked, ""])
        if options.trouble:
            trouble(fleet, first)
        print(table(first))

        head = ["without news", "seconds", "CPU s", "peak MB", "searches", "to the source", f"minutes of {ALL:,}"]
        again = [head]
        ways = [("each", 2), ("each", 32), ("once", 2), ("once", 32)]
        for search, jobs in ways:
            config = fleet.config("alone", f'search = "{search}"')
            fleet.measured(config, "--jobs", str(jobs))
            say(f"fleet: no news, {search}, {jobs} at a time")
            told = fleet.measured(config, "--jobs", str(jobs))
            assert told["outcomes"] == {"unchanged": len(tiles)}, told["outcomes"]
            minutes = told["process_seconds"] / len(tiles) * ALL / 60
            numbers = [f"{told[key]:.1f}" for key in ("process_seconds", "cpu_seconds")] + [f"{told['peak_mb']:.0f}"]
            counts = [str(told["searches"]), str(told["source"]["requests"])]
            again.append([f"search = {search}, {jobs} jobs", *numbers, *counts, f"{minutes:.1f}"])
        print()
        print(table(again))
    (work / "fleet.json").write_text(json.dumps([first, again]))


if __name__ == "__main__":
    sys.exit(main())
