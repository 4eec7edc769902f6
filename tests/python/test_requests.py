"""What a run asks of the bucket of its store: one product more in a store of sixteen arrays, and a run without news."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from support import s3
from support.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.catalogue import Catalogue
    from support.command import Command

TILE = "33TVN"
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11", "B12", "SCL", "AOT", "WVP", "TCI")
ASSETS = ",".join([*(f"{band}_60m" for band in BANDS), "B01_20m"])
APPEND, QUIET, LOOK = 100, 15, 15
"""Most requests of an append, of a run without news, and of `info` or `status`."""


def kind(request: s3.Request) -> tuple[str, str]:
    """Method and class of key."""
    _, _, key = request.path.removeprefix("/stores/").partition("/")
    if not key:
        return ("LIST" if request.method == "GET" else request.method, "")
    folder, _, name = key.partition("/")
    return (request.method, key if folder in ("refs", "s2ice") or not name else f"{folder}/")


def table(requests: list[s3.Request]) -> str:
    counts = Counter(kind(request) for request in requests)
    lines = [f"{number:5} {method:6} {key}" for (method, key), number in sorted(counts.items())]
    return "\n".join([f"{len(requests):5} in all", *lines])


@dataclass
class Refreshed:
    """A store on S3 that is refreshed from an archive of sixteen rasters per product, a catalogue and an index."""

    s2ice: Command
    service: s3.Service
    archive: Archive
    items: Catalogue
    folder: Path
    command: str
    days: int = 0
    requests: list[s3.Request] = field(default_factory=list)

    def add(self, products: int) -> None:
        """Let products arrive in archive, index and catalogue."""
        for _ in range(products):
            self.archive.add((date(2024, 1, 1) + timedelta(days=5 * self.days)).isoformat())
            self.days += 1
        self.archive.index(self.folder / "index.parquet")
        self.items.put(self.archive.items())

    def refresh(self) -> dict[str, Any]:
        """Do what a schedule does, and record what it asks of the store's bucket."""
        place = {"tile": TILE, "index": str(self.folder / "index.parquet"), "source": str(self.archive.root)}
        place |= {"stac": self.items.endpoint, "store": f"s3://stores/{self.command}", "resolutions": "all"}
        with self.service.recorded() as requests:
            if self.command == "build":
                pairs = [word for name, value in place.items() for word in (f"--{name}", value)]
                outcome = self.s2ice(
                    "build", *pairs, "--store-endpoint", self.service.endpoint, "--json", **s3.ENVIRONMENT
                )
                report = outcome.json
            else:
                outcome = self.s2ice("run", self.config(place), "--json", **s3.ENVIRONMENT)
                (report,) = outcome.json["tiles"]
        self.requests = [request for request in requests if request.bucket == "stores"]
        return report

    def config(self, place: dict[str, str]) -> Path:
        path = self.folder / "s2ice.toml"
        given = {name: value for name, value in place.items() if name not in ("tile", "index")}
        lines = [f"{name} = {value!r}" for name, value in given.items()]
        lines += [f"tiles = [{TILE!r}]", f"index = [{place['index']!r}]"]
        lines += [f"store-options = {{ endpoint = {self.service.endpoint!r} }}", "[run]"]
        lines += [f"metrics = {str(self.folder / 's2ice.prom')!r}", f"report = {str(self.folder / 'runs.jsonl')!r}"]
        path.write_text("\n".join(lines))
        return path

    def look(self, command: str) -> list[s3.Request]:
        """Ask `info` or `status`, and give what that asks of the bucket."""
        store = (f"s3://stores/{self.command}", "--store-endpoint", self.service.endpoint)
        with self.service.recorded() as requests:
            self.s2ice(command, *(store if command == "info" else (self.folder / "s2ice.toml",)), **s3.ENVIRONMENT)
        return requests


@pytest.fixture(params=["build", "run"])
def refreshed(
    request: pytest.FixtureRequest,
    s2ice: Command,
    make_samples: Callable[..., Samples],
    items: Catalogue,
    tmp_path: Path,
) -> Iterator[Refreshed]:
    samples = make_samples("--dates", "1", "--assets", ASSETS, "--no-swath-edge")
    with s3.serve() as service:
        service.bucket("stores")
        archive = Archive(tmp_path / "archive", samples.root)
        yield Refreshed(s2ice, service, archive, items, tmp_path, request.param)


def told(what: str, command: str, requests: list[s3.Request]) -> None:
    """For docs/benchmarks.md (`pytest -s`)."""
    manifests = Counter(request.method for request in requests if "/manifests/" in request.path)
    sys.stdout.write(f"{command}, {what}: {len(requests)} requests, of manifests {dict(manifests)}\n")


def test_one_product_more_and_a_quiet_run(refreshed: Refreshed) -> None:
    refreshed.add(4)
    refreshed.refresh()
    for _ in range(2):
        refreshed.refresh()
        assert len(refreshed.requests) <= QUIET, table(refreshed.requests)
        told("without news", refreshed.command, refreshed.requests)
        assert {request.method for request in refreshed.requests if "/s2ice/" not in request.path} <= {"GET", "HEAD"}
    refreshed.add(1)
    report = refreshed.refresh()
    assert report.get("added") == 1 or len(report["changes"]["appended"]) == 1
    assert len(refreshed.requests) <= APPEND, table(refreshed.requests)
    told("one product more", refreshed.command, refreshed.requests)
    for command in ("info",) if refreshed.command == "build" else ("info", "status"):
        asked = refreshed.look(command)
        assert len(asked) <= LOOK, f"{command}\n{table(asked)}"
        told("a look", command, asked)
