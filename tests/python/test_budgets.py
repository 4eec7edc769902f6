"""What is asked of the source's host: connections at a time, requests per second, bytes per day, Retry-After."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.serving import make_server
from werkzeug.utils import send_file

import servers
from support import s3
from support.hosts import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

TILES = ["33TUN", "33TVN"]
SOURCE = "s3://eodata/Sentinel-2/MSI/L2A"


@dataclass
class Counter(Traffic):
    """In front of the service: how many requests are under way, when each began, and what shall be refused."""

    service: s3.Service = field(kw_only=True)
    endpoint: str = ""
    delay: float = 0.01
    refuse: int = 0
    """Requests to answer with 429 and Retry-After: 2, from the first on."""
    refused: list[float] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # It ends before the answer is sent: the client cannot have begun another request in its place.
        with self.request():
            with self.lock:
                refuse = self.refuse > 0
                if refuse:
                    self.refuse -= 1
                    self.refused.append(time.monotonic())
            if refuse:
                start_response("429 Too Many Requests", [("Retry-After", "2"), ("Content-Length", "0")])
                return [b""]
            time.sleep(self.delay)
            return list(self.service(environ, start_response))


@contextmanager
def counting(service: s3.Service) -> Iterator[Counter]:
    counter = Counter(service=service)
    server = make_server("127.0.0.1", 0, counter, threaded=True, request_handler=s3.Quiet)
    with servers.running(server) as counter.endpoint:
        yield counter


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("eodata")
        yield service


@pytest.fixture(scope="module")
def sources(
    make_samples: Callable[..., Samples], service: s3.Service, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Samples]:
    """Four dates of two tiles, on one host."""
    root = tmp_path_factory.mktemp("sources")
    samples = {
        tile: make_samples("--tile", tile, "--dates", "4", "--no-swath-edge", into=root / tile) for tile in TILES
    }
    for made in samples.values():
        service.upload(made.root, "eodata", "Sentinel-2/MSI/L2A/")
    return samples


def build(s2ice: Command, counter: Counter, made: Samples, folder: Path, *more: object, code: int = 0) -> Any:
    line = ("build", "--tile", TILES[0], "--index", made.index, "--stac", made.stac, "--memory", "none", "--json")
    source = ("--source", SOURCE, "--source-endpoint", counter.endpoint, "--source-region", "eu-test-1")
    return s2ice(*line, *source, "--store", folder / "store", *more, code=code, **s3.ENVIRONMENT)


def test_tiles_of_a_run_share_the_connections(
    s2ice: Command, service: s3.Service, sources: dict[str, Samples], tmp_path: Path
) -> None:
    with counting(service) as counter:
        config = tmp_path / "s2ice.toml"
        root = sources[TILES[0]].root.parent
        config.write_text(
            f"""
tiles = {json.dumps(TILES)}
source = "{SOURCE}"
index = ["{root}/{{tile}}/index.parquet"]
stac = "{root}/{{tile}}/stac/items.json"
store = "{tmp_path}/stores/{{tile}}"
memory = "none"
[source-options]
endpoint = "{counter.endpoint}"
region = "eu-test-1"
connections = 4
[run]
jobs = 2
"""
        )
        s2ice("run", config, **s3.ENVIRONMENT)
        assert counter.peak == 4
        assert counter.now == 0
        assert len(counter.times) >= 40
    assert all((tmp_path / "stores" / tile).is_dir() for tile in TILES)


def test_requests_are_spaced(s2ice: Command, service: s3.Service, sources: dict[str, Samples], tmp_path: Path) -> None:
    with counting(service) as counter:
        report = build(s2ice, counter, sources[TILES[0]], tmp_path, "--requests-per-second", "10").json
        assert len(counter.times) >= report["source_use"]["requests"] > 15
        for start in counter.times:
            # One more at the edge, and one for the machine's own delays.
            assert sum(start <= time < start + 1 for time in counter.times) <= 12
        assert counter.times[-1] - counter.times[0] >= (len(counter.times) - 1) / 10 - 0.2


def test_retry_after_is_obeyed(
    s2ice: Command, service: s3.Service, sources: dict[str, Samples], tmp_path: Path
) -> None:
    with counting(service) as counter:
        counter.refuse = 2
        report = build(s2ice, counter, sources[TILES[0]], tmp_path, "--connections", "3").json
        assert report["refused"] == []
        assert len(counter.refused) == 2
        # What was under way when the first refusal arrived could not wait any more.
        first = counter.refused[0]
        assert [time - first for time in counter.times if first + 0.5 < time < first + 1.95] == []
        assert len([time for time in counter.times if time >= first + 1.95]) >= 15


def test_the_days_bytes_end_with_a_sentence(
    s2ice: Command, service: s3.Service, sources: dict[str, Samples], tmp_path: Path
) -> None:
    with counting(service) as counter:
        outcome = build(s2ice, counter, sources[TILES[0]], tmp_path, "--bytes-per-day", "50000", code=3)
        assert outcome.sentence == (
            f"s2ice: the limit of 50000 bytes per day for {counter.endpoint} is used up (bytes-per-day); "
            "it renews in 24 h 0 min"
        )
        assert not (tmp_path / "store").exists()


def test_limits_that_make_no_sense_are_refused(
    s2ice: Command, service: s3.Service, sources: dict[str, Samples], tmp_path: Path
) -> None:
    with counting(service) as counter:
        outcome = build(s2ice, counter, sources[TILES[0]], tmp_path, "--requests-per-second", "0", code=2)
        assert "0 requests per second would take forever" in outcome.sentence
        assert counter.times == []


@dataclass
class Everything:
    """A web server that has source, index and catalogue, and counts what it sends of each."""

    root: Path
    bytes: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = self.root / environ["PATH_INFO"].lstrip("/")
        if not path.is_file():
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        response = send_file(path, environ, conditional=True, etag=True)
        kind = path.name if path.suffix in (".json", ".parquet") else "source"
        if environ["REQUEST_METHOD"] == "GET":
            with self.lock:
                self.bytes[kind] = self.bytes.get(kind, 0) + int(response.headers["Content-Length"])
        return response(environ, start_response)


def test_catalogue_index_and_source_of_one_host_share_the_days_bytes(
    s2ice: Command, sources: dict[str, Samples], tmp_path: Path
) -> None:
    made = sources[TILES[0]]
    application = Everything(made.root)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=s3.Quiet)
    with servers.running(server) as host:

        def line(store: str, *more: object) -> tuple[object, ...]:
            inputs = ("--index", f"{host}/index.parquet", "--stac", f"{host}/stac/items.json", "--source", host)
            return ("build", "--tile", TILES[0], *inputs, "--store", tmp_path / store, "--memory", "none", *more)

        s2ice(*line("whole"))
        sent = dict(application.bytes)
        assert sorted(sent) == ["index.parquet", "items.json", "source"]
        application.bytes.clear()
        # Neither of the two reaches it alone, and of the source nothing has been asked then.
        limit = sent["index.parquet"] + sent["items.json"]
        sentence = s2ice(*line("limited", "--bytes-per-day", str(limit)), code=3).sentence
        assert f"the limit of {limit} bytes per day for {host} is used up" in sentence
        assert application.bytes == {name: sent[name] for name in ("index.parquet", "items.json")}
        assert not (tmp_path / "limited").exists()


def test_an_index_run_keeps_the_limits(
    s2ice: Command, service: s3.Service, sources: dict[str, Samples], tmp_path: Path
) -> None:
    with counting(service) as counter:
        place = ("--source", SOURCE, "--source-endpoint", counter.endpoint, "--source-region", "eu-test-1")
        line = ("index", *place, "--connections", "3", "-o", tmp_path / "index.parquet", "--json")
        report = s2ice(*line, **s3.ENVIRONMENT).json
        assert report["indexed"] == sum(len(made.files()) for made in sources.values())
        assert counter.peak == 3
        assert counter.now == 0
        counter.refuse = 1
        again = tmp_path / "again.parquet"
        s2ice(*line[:-2], again, "--requests-per-second", "50", **s3.ENVIRONMENT)
        assert again.read_bytes() == (tmp_path / "index.parquet").read_bytes()
        (first,) = counter.refused
        later = [time for time in counter.times if time > first + 1.95]
        assert [time for time in counter.times if first + 0.5 < time < first + 1.95] == []
        for start in later:
            assert sum(start <= time < start + 1 for time in later) <= 55
