"""Many tiles on a schedule: `s2ice run` and `s2ice status`, one tile broken, runs killed and gone on with."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import icechunk
import jsonschema
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

import reports
import servers
from conftest import ROOT
from support import s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command, Outcome

TILES = ["33TUN", "33TVN", "33TWN"]
DEPLOY = ROOT / "docs/deploy"
PATIENCE = 60


@pytest.fixture(scope="session")
def sources(make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of three tiles, each in a folder of its name."""
    root = tmp_path_factory.mktemp("sources")
    for tile in TILES:
        make_samples("--tile", tile, "--dates", "2", "--no-swath-edge", into=root / tile)
    return root


@dataclass
class Fleet:
    """A configuration file of three tiles, and everything that runs of it leave."""

    s2ice: Command
    sources: Path
    folder: Path
    changes: dict[str, str] = field(default_factory=dict)
    """More lines of a tile."""
    options: str = ""
    """More lines of [run]."""

    @property
    def config(self) -> Path:
        return self.folder / "s2ice.toml"

    @property
    def report(self) -> Path:
        return self.folder / "log/runs.jsonl"

    @property
    def metrics(self) -> Path:
        return self.folder / "textfile/s2ice.prom"

    def store(self, tile: str) -> Path:
        return self.folder / "stores" / f"{tile}-L2A"

    def sidecar(self, tile: str) -> dict[str, Any]:
        return json.loads((self.store(tile) / "s2ice/last-run.json").read_text())

    def write(self) -> Path:
        plain = [tile for tile in TILES if tile not in self.changes]
        lines = [
            f"tiles = {json.dumps(plain)}",
            f'source = "{self.sources}/{{tile}}"',
            f'index = ["{self.sources}/{{tile}}/index.parquet"]',
            f'stac = "{self.sources}/{{tile}}/stac/items.json"',
            f'store = "{self.folder}/stores/{{tile}}-{{level}}"',
            f'memory = "{self.folder}/cache/{{tile}}.parquet"',
            "[run]",
            f'report = "{self.report}"',
            f'metrics = "{self.metrics}"',
            self.options,
        ]
        for tile, change in self.changes.items():
            lines += ["[[tile]]", f'tile = "{tile}"', change]
        self.config.write_text("\n".join(lines) + "\n")
        return self.config

    def run(self, *more: object, code: int = 0) -> Outcome:
        return self.s2ice("run", self.write(), *more, code=code)

    def status(self, *more: object, code: int = 0) -> Outcome:
        return self.s2ice("status", self.config, *more, code=code)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.report.read_text().splitlines()]

    def samples(self) -> dict[str, dict[str, float]]:
        """Values by metric and tile (or other label), as both formats' parsers see them."""
        text = self.metrics.read_text()
        found: dict[str, dict[str, float]] = {}
        for family in openmetrics(text):
            assert family.type == "gauge"
            assert family.documentation
            for sample in family.samples:
                names = ("tile", "outcome", "version", "state", "quantile")
                key = next((sample.labels[name] for name in names if name in sample.labels), "")
                found.setdefault(sample.name, {})[key] = sample.value
        # node_exporter knows the older format.
        older = {s.name: s.value for family in prometheus(text) for s in family.samples if not s.labels}
        assert older == {name: values[""] for name, values in found.items() if set(values) == {""}}
        return found


@pytest.fixture
def fleet(s2ice: Command, sources: Path, tmp_path: Path) -> Fleet:
    return Fleet(s2ice, sources, tmp_path)


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {tile["tile"]: tile["outcome"] for tile in report["tiles"]}


@contextmanager
def silent_server() -> Iterator[str]:
    """A catalogue that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f'stac = "http://127.0.0.1:{server.getsockname()[1]}/v1"'


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


# --- One tile that fails, and the others.


def test_a_broken_tile_stops_no_other(fleet: Fleet) -> None:
    broken = fleet.folder / "broken.parquet"
    broken.write_bytes((fleet.sources / "33TVN/index.parquet").read_bytes()[:-40])
    fleet.changes["33TVN"] = f'index = ["{broken}"]'
    outcome = fleet.run("--json", code=1)
    report = outcome.json
    reports.conforms(report, "run-report")
    reports.conforms(tomllib.loads(fleet.config.read_text()), "run-config")
    assert outcomes(report) == {"33TUN": "updated", "33TWN": "updated", "33TVN": "failed"}
    assert report["outcomes"] == {"updated": 2, "failed": 1}
    assert [tile["added"] for tile in report["tiles"] if "added" in tile] == [2, 2]
    said = outcome.stderr.splitlines()
    assert len(said) == 4
    assert said[-1].endswith(f"Z ERROR [{report['run']}] 1 of 3 tiles failed")
    reason = next(tile["error"] for tile in report["tiles"] if tile["tile"] == "33TVN")
    assert "broken.parquet" in reason
    assert any(reason in line and "33TVN L2A] failed: " in line for line in said)

    # The report has a line for each event, the whole report of the build within.
    lines = fleet.lines()
    for line in lines:
        reports.conforms(line, "run-line")
    assert [line["kind"].removeprefix("s2ice.run.") for line in lines] == ["started", "tile", "tile", "tile", "ended"]
    assert {line["run"] for line in lines} == {report["run"]}
    for line in lines[1:4]:
        if line["outcome"] == "updated":
            reports.conforms(line["report"], "build-report")
            assert line["report"]["tile"] == line["tile"]
            assert len(line["report"]["changes"]["appended"]) == 2
        else:
            assert line["error"] == reason
            assert "report" not in line
    assert lines[-1]["outcomes"] == report["outcomes"]

    # Metrics.
    found = fleet.samples()
    assert found["s2ice_tile_success"] == {"33TUN": 1, "33TVN": 0, "33TWN": 1}
    assert found["s2ice_tile_products"] == {"33TUN": 2, "33TWN": 2}
    assert found["s2ice_tile_products_added"] == {"33TUN": 2, "33TVN": 0, "33TWN": 2}
    assert set(found["s2ice_tile_last_success_timestamp_seconds"]) == {"33TUN", "33TWN"}
    none = dict.fromkeys(["unchanged", "stale", "interrupted", "skipped"], 0)
    assert found["s2ice_run_tiles"] == {"updated": 2, "failed": 1} | none
    assert abs(found["s2ice_run_timestamp_seconds"][""] - time.time()) < PATIENCE
    assert list(found["s2ice_build_info"].values()) == [1]
    assert fleet.metrics.read_text().endswith("# EOF\n")
    assert [p.name for p in fleet.metrics.parent.iterdir()] == ["s2ice.prom"]

    # What the next run and `status` know.
    assert not fleet.store("33TVN").exists(), "a place without a store stays empty"
    for tile in ("33TUN", "33TWN"):
        left = fleet.sidecar(tile)
        reports.conforms(left, "last-run")
        assert (left["outcome"], left["products"], left["run"]) == ("updated", 2, report["run"])
        assert left["last_success"] == left["ended"]
        info = fleet.s2ice("info", fleet.store(tile), "--json").json
        assert (info["times"]["count"], info["references"]) == (2, left["references"])
    status = fleet.status("--json", code=1)
    reports.conforms(status.json, "status-report")
    assert status.stderr == "s2ice: 1 of 3 tiles needs attention\n"
    assert [tile["state"] for tile in status.json["tiles"]] == ["ok", "ok", "no_store"]
    text = fleet.status(code=1).stdout
    assert "no store" in text
    assert "published/" in text

    # Mended, and run again.
    fleet.changes.clear()
    report = fleet.run("--json").json
    assert outcomes(report) == {"33TUN": "unchanged", "33TVN": "updated", "33TWN": "unchanged"}
    assert fleet.sidecar("33TUN")["outcome"] == "unchanged"
    assert fleet.status().stderr == ""
    assert fleet.samples()["s2ice_tile_success"] == dict.fromkeys(TILES, 1)


def test_a_tile_that_breaks_later_keeps_what_is_known(fleet: Fleet) -> None:
    first = fleet.run("--json").json
    fleet.changes["33TVN"] = f'index = ["{fleet.folder}/none.parquet"]'
    fleet.run("-q", code=1)
    left = fleet.sidecar("33TVN")
    assert (left["outcome"], left["products"]) == ("failed", 2)
    assert left["last_success"] < left["ended"]
    assert left["run"] != first["run"]
    assert "none.parquet" in left["error"]
    found = fleet.samples()
    assert found["s2ice_tile_success"]["33TVN"] == 0
    assert found["s2ice_tile_products"]["33TVN"] == 2
    assert found["s2ice_tile_last_success_timestamp_seconds"]["33TVN"] < found["s2ice_run_timestamp_seconds"][""]
    status = fleet.status(code=1)
    assert "last run without success: 1" in status.stdout
    assert left["error"] in status.stdout


def test_quiet_runs_tell_of_failures_only(fleet: Fleet) -> None:
    outcome = fleet.run("-q")
    assert (outcome.stdout, outcome.stderr) == ("", "")
    fleet.changes["33TWN"] = 'source = "/no/such/folder"\nheaders = "read"\nmemory = "none"'
    outcome = fleet.run("-q", "--full", code=1)
    assert outcome.stdout == ""
    first, last = outcome.stderr.splitlines()
    assert "33TWN L2A] failed: " in first
    assert last.endswith("] 1 of 3 tiles failed")


def test_people_get_a_table(fleet: Fleet) -> None:
    outcome = fleet.run("--jobs", 1)
    assert "3 tiles in " in outcome.stdout
    assert ": 3 updated\n" in outcome.stdout
    rows = [line.split() for line in outcome.stdout.splitlines() if line.startswith("  33")]
    assert [row[:5] for row in rows] == [[tile, "L2A", "updated", "2", "2"] for tile in TILES]
    said = outcome.stderr.splitlines()
    assert [line.split()[-1] for line in said] == ["[1/3]", "[2/3]", "[3/3]"]
    assert all("updated, 2 added; 2 products" in line for line in said)


def test_some_tiles_only(fleet: Fleet) -> None:
    fleet.run("-q")
    before = fleet.samples()
    time.sleep(0.01)
    report = fleet.run("--tile", "T33TVN", "--json").json
    assert outcomes(report) == {"33TVN": "unchanged"}
    after = fleet.samples()
    # The others' last state stays.
    for name in ("s2ice_tile_last_run_timestamp_seconds", "s2ice_tile_products_added"):
        assert after[name]["33TUN"] == before[name]["33TUN"]
        assert after[name]["33TVN"] != before[name]["33TVN"]
    assert after["s2ice_run_tiles"]["unchanged"] == 1
    assert "has no tile 33TXN" in fleet.run("--tile", "33TXN", code=2).sentence
    assert "is not an MGRS tile" in fleet.run("--tile", "here", code=2).sentence
    assert [tile["tile"] for tile in fleet.status("--tile", "33TVN", "--json").json["tiles"]] == ["33TVN"]


def test_a_dry_run_writes_nothing(fleet: Fleet) -> None:
    fleet.write()
    before = sorted(fleet.folder.rglob("*"))
    outcome = fleet.run("--dry-run", "--json")
    assert outcomes(outcome.json) == dict.fromkeys(TILES, "updated")
    left = [p for p in sorted(fleet.folder.rglob("*")) if "cache" not in p.relative_to(fleet.folder).parts]
    assert left == before


# --- Runs that do not come to their end.


def test_a_killed_run_is_gone_on_with(fleet: Fleet) -> None:
    with silent_server() as stac:
        fleet.changes["33TWN"] = stac
        process = fleet.s2ice.start("run", fleet.write(), "--jobs", 1)
        wait_for(lambda: fleet.report.exists() and len(fleet.report.read_text().splitlines()) == 3, process)
        process.kill()
        process.communicate()
    killed = fleet.lines()
    assert [line.get("tile") for line in killed] == [None, "33TUN", "33TVN"]
    assert not fleet.metrics.exists()
    # The line that was being written.
    with fleet.report.open("a") as file:
        file.write('{"kind":"s2ice.run.tile","version":1,"run":"')
    fleet.changes.clear()
    outcome = fleet.run("--resume", "--json")
    report = outcome.json
    reports.conforms(report, "run-report")
    assert report["resumes"] == killed[0]["run"]
    assert outcomes(report) == {"33TUN": "skipped", "33TVN": "skipped", "33TWN": "updated"}
    assert report["tiles"][0]["error"] == "done by the interrupted run"
    assert fleet.samples()["s2ice_tile_products"] == dict.fromkeys(TILES, 2)
    lines = [json.loads(line) for line in fleet.report.read_text().splitlines()[4:]]
    assert [line["kind"].removeprefix("s2ice.run.") for line in lines] == ["started", "tile", "tile", "tile", "ended"]
    # That run came to its end: the next one does everything.
    assert outcomes(fleet.run("--resume", "--json").json) == dict.fromkeys(TILES, "unchanged")


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT], ids=["terminate", "interrupt"])
def test_a_run_that_is_told_to_stop_cleans_up(fleet: Fleet, told: signal.Signals) -> None:
    fleet.run("-q", "--tile", "33TVN")
    with silent_server() as stac:
        fleet.changes["33TVN"] = f"{stac}\ndatetime = '2024-01-01/..'"
        process = fleet.s2ice.start("run", fleet.write(), "--json", "--jobs", 1, "--tile", "33TVN", "--tile", "33TUN")
        wait_for(lambda: len(fleet.report.read_text().splitlines()) == 5, process)
        time.sleep(0.3)
        process.send_signal(told)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, stderr
    report = json.loads(stdout)
    reports.conforms(report, "run-report")
    assert report["interrupted"]
    assert outcomes(report) == {"33TUN": "updated", "33TVN": "interrupted"}
    assert "interrupted: 1 of 2 tiles done, 1 stopped, 0 not begun" in stderr.splitlines()[-1]
    assert fleet.lines()[-1]["interrupted"] is True
    storage = icechunk.local_filesystem_storage(str(fleet.store("33TVN")))
    assert icechunk.Repository.open(storage).list_branches() == {"main"}
    left = fleet.sidecar("33TVN")
    assert (left["outcome"], left["products"]) == ("interrupted", 2)
    fleet.changes.clear()
    assert outcomes(fleet.run("--resume", "--json").json) == {
        "33TUN": "skipped",
        "33TVN": "unchanged",
        "33TWN": "updated",
    }


def test_tiles_that_wait_are_not_begun(fleet: Fleet) -> None:
    with silent_server() as stac:
        fleet.changes |= dict.fromkeys(TILES, stac)
        process = fleet.s2ice.start("run", fleet.write(), "--json", "--jobs", 1)
        wait_for(fleet.report.exists, process)
        time.sleep(0.3)
        process.terminate()
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, stderr
    assert sorted(outcomes(json.loads(stdout)).values()) == ["interrupted", "skipped", "skipped"]
    assert not any(fleet.store(tile).exists() for tile in TILES)


def test_a_tile_that_takes_too_long_is_given_up(fleet: Fleet) -> None:
    with silent_server() as stac:
        fleet.changes["33TUN"] = stac
        fleet.options = 'tile-timeout = "8s"'
        outcome = fleet.run("--json", code=1)
    assert outcomes(outcome.json) == {"33TUN": "failed", "33TVN": "updated", "33TWN": "updated"}
    late = next(tile for tile in outcome.json["tiles"] if tile["tile"] == "33TUN")
    assert "given up after 8s" in late["error"]
    assert 8 <= late["seconds"] < 20
    assert not fleet.store("33TUN").exists()


def test_a_report_that_cannot_be_written(fleet: Fleet) -> None:
    """What can be seen before is; what cannot keeps no store from being refreshed, and is told."""
    fleet.report.mkdir(parents=True)
    assert "runs.jsonl is a folder" in fleet.run(code=2).sentence
    assert not (fleet.folder / "stores").exists()
    fleet.report.rmdir()
    fleet.metrics.parent.parent.mkdir(parents=True, exist_ok=True)
    fleet.metrics.parent.write_text("a file is in the way")
    assert "s2ice.prom lies below a file" in fleet.run(code=2).sentence
    fleet.metrics.parent.unlink()
    for path in (fleet.report, fleet.metrics):
        path.parent.mkdir(exist_ok=True)
        path.write_text("of somebody else")
        outcome = fleet.run("--full", "--json", code=1)
        assert {tile["outcome"] for tile in outcome.json["tiles"]} <= {"updated", "unchanged"}
        assert f"{path} cannot be written: it holds something else" in outcome.stderr.splitlines()[-1]
        assert path.read_text() == "of somebody else"
        path.unlink()
    assert [fleet.store(tile).exists() for tile in TILES] == [True] * 3


def test_resuming_needs_a_report(fleet: Fleet) -> None:
    config = fleet.write()
    config.write_text("\n".join(line for line in config.read_text().splitlines() if not line.startswith("report")))
    assert "--resume needs" in fleet.s2ice("run", config, "--resume", code=2).sentence


# --- Stores on S3.


def test_stores_on_s3(fleet: Fleet) -> None:
    with s3.serve() as service:
        service.bucket("stores")
        options = f'store-options = {{ endpoint = "{service.endpoint}", region = "us-east-1" }}'
        for tile in TILES[:2]:
            fleet.changes[tile] = f'store = "s3://stores/{{level}}/{{tile}}"\n{options}'
        fleet.changes["33TVN"] += f'\nindex = ["{fleet.folder}/none.parquet"]'
        environment = s3.ENVIRONMENT
        report = fleet.s2ice("run", fleet.write(), "--json", code=1, **environment).json
        assert outcomes(report) == {"33TUN": "updated", "33TVN": "failed", "33TWN": "updated"}
        beside = service.client.list_objects_v2(Bucket="stores", Prefix="L2A/33TUN/s2ice/")["Contents"]
        assert [entry["Key"] for entry in beside] == ["L2A/33TUN/s2ice/last-run.json"]
        assert service.client.list_objects_v2(Bucket="stores", Prefix="L2A/33TVN")["KeyCount"] == 0
        status = fleet.s2ice("status", fleet.config, "--json", code=1, **environment).json["tiles"]
        assert {tile["tile"]: tile["state"] for tile in status} == {"33TUN": "ok", "33TVN": "no_store", "33TWN": "ok"}
        # What stands beside a store is no part of it.
        assert outcomes(fleet.s2ice("run", fleet.write(), "--json", code=1, **environment).json)["33TUN"] == "unchanged"
        service.deny = lambda request: True
        status = fleet.s2ice("status", fleet.config, "--json", code=1, **environment).json["tiles"]
        refused = next(tile for tile in status if tile["tile"] == "33TUN")
        assert refused["state"] == "unreadable"
        assert "was refused" in refused["error"]


# --- Catalogues asked for what changed.


@dataclass
class Catalogue:
    """A STAC API over the items of a tile that knows the query extension; it counts what it is asked for."""

    items: list[dict[str, Any]]
    full: int = 0
    partial: int = 0

    def answer(self, search: dict[str, Any]) -> list[dict[str, Any]]:
        since = search.get("query", {}).get("updated", {}).get("gte")
        if search.get("limit") != 1:
            self.partial += since is not None
            self.full += since is None
        return [i for i in self.items if since is None or i["properties"]["updated"] >= since]


@contextmanager
def catalogue(items: list[dict[str, Any]]) -> Iterator[tuple[Catalogue, str]]:
    asked = Catalogue(copy.deepcopy(items))

    class Handler(BaseHTTPRequestHandler):
        def send(self, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            classes = ["https://api.stacspec.org/v1.0.0/item-search#query"]
            search = {"rel": "search", "href": "/search", "method": "POST"}
            self.send({"type": "Catalog", "id": "a", "conformsTo": classes, "links": [search]})

        def do_POST(self) -> None:
            search = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send({"type": "FeatureCollection", "features": asked.answer(search), "links": []})

        def log_message(self, *_: object) -> None:
            pass

    with servers.running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield asked, f'stac = "{url}"'


def test_every_so_many_runs_ask_for_everything(fleet: Fleet) -> None:
    items = json.loads((fleet.sources / "33TVN/stac/items.json").read_text())["features"]
    missing = copy.deepcopy(items[-1])
    missing["id"] = items[-1]["id"].replace("_R022_", "_R023_").replace("S2A", "S2B")
    with catalogue(items) as (asked, stac):
        fleet.changes["33TVN"] = stac
        fleet.options = "full-every = 3"
        modes, since = [], []
        for number in range(7):
            if number == 1:
                asked.items.append(missing)
            before = asked.full
            fleet.run("-q", "--tile", "33TVN")
            modes.append("full" if asked.full > before else "partial")
            line = next(line for line in reversed(fleet.lines()) if line["kind"] == "s2ice.run.tile")
            if number < 2:
                assert (line["report"]["catalogue"]["mode"] == "full") == (modes[-1] == "full")
            since.append(fleet.sidecar("33TVN")["runs_since_full"])
        assert modes == ["full", "partial", "partial", "full", "partial", "partial", "full"]
        assert since == [0, 1, 2, 0, 1, 2, 0]
        fleet.run("-q", "--tile", "33TVN", "--full")
        assert fleet.sidecar("33TVN")["runs_since_full"] == 0
        left = fleet.sidecar("33TVN")
        assert (left["missing_index_count"], left["missing_index_products"]) == (1, [missing["id"]])
        assert fleet.samples()["s2ice_tile_missing_index_products"] == {"33TVN": 1}
        status = fleet.status("--tile", "33TVN", "-v").stdout
        assert f"33TVN L2A, in the catalogue but not in the index: 1\n  {missing['id']}" in status


# --- The file.


def test_a_file_is_checked_without_being_run(fleet: Fleet) -> None:
    config = fleet.write()
    outcome = fleet.s2ice("run", "--check", config)
    assert "3 tiles: the file is right" in outcome.stdout
    for tile in TILES:
        assert str(fleet.store(tile)) in outcome.stdout
    listed = fleet.s2ice("run", "--check", config, "--json").json["tiles"]
    assert [(tile["tile"], tile["level"], tile["store"]) for tile in listed] == [
        (tile, "L2A", str(fleet.store(tile))) for tile in TILES
    ]
    assert sorted(fleet.folder.iterdir()) == [config]


MISTAKES = {
    "unknown key": ("tiles = [", "souce = 'x'\ntiles = [", "line 1: unknown field `souce`"),
    "unknown placeholder": ("-{level}", "-{lvl}", "`store`: {lvl} is no placeholder"),
    "same store": ("-{level}", "", "is also that of 33TUN L2A (line 1)"),
    "same tile": ('"33TVN"', '"33TUN"', "33TUN L2A is already on line 1"),
    "no such tile": ('"33TVN"', '"nowhere"', 'line 1: `tile`: "nowhere" is not an MGRS tile'),
    "jobs": ("[run]", "[run]\njobs = 0", "line 8: `jobs`"),
    "time": ("[run]", "[run]\ntile-timeout = 'soon'", "line 8: `tile-timeout`"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("command", [["run"], ["run", "--check"], ["status"]], ids=" ".join)
def test_a_mistake_in_the_file_stops_everything(fleet: Fleet, mistake: str, command: list[str]) -> None:
    old, new, reason = MISTAKES[mistake]
    config = fleet.write()
    text = config.read_text().replace(old, new, 1)
    if mistake == "same store":
        text = text.replace("stores/{tile}", "stores/one")
    config.write_text(text)
    sentence = fleet.s2ice(*command, config, code=2).stderr
    assert sentence.startswith(f"s2ice: configuration file {config}, line ")
    assert reason in sentence
    assert sentence.count("\n") == (2 if mistake == "same store" else 1)
    assert sorted(fleet.folder.iterdir()) == [config], "nothing was begun"


def test_help_names_the_options(s2ice: Command) -> None:
    text = s2ice("run", "--help").stdout
    for option in ("CONFIG", "--jobs", "--tile", "--full", "--prune", "--dry-run", "--resume", "--check", "--json"):
        assert option in text, option
    assert "--tile" in s2ice("status", "--help").stdout


# --- The examples for operators.


def test_the_example_file_is_right(s2ice: Command) -> None:
    keys = {"CDSE_ACCESS_KEY_ID": "id", "CDSE_SECRET_ACCESS_KEY": "of the deployment"}
    listed = s2ice("run", "--check", DEPLOY / "s2ice.toml", "--json", **keys).json["tiles"]
    assert len(listed) == 5
    reports.conforms(tomllib.loads((DEPLOY / "s2ice.toml").read_text()), "run-config")
    with pytest.raises(jsonschema.ValidationError):
        reports.conforms({"tiles": ["33TVN"], "run": {"job": 1}}, "run-config")


def test_the_manifests_are_yaml() -> None:
    job, claim = yaml.safe_load_all((DEPLOY / "kubernetes/cronjob.yaml").read_text())
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == set(volumes)
    workflow = yaml.safe_load((DEPLOY / "github-actions/refresh.yml").read_text())
    assert workflow[True]["schedule"]  # `on` is a truth value in YAML 1.1
    steps = workflow["jobs"]["refresh"]["steps"]
    assert all("run" in step or "uses" in step for step in steps)


def command_lines() -> list[str]:
    """Every call of `s2ice run` and `s2ice status` in the examples."""
    job = next(yaml.safe_load_all((DEPLOY / "kubernetes/cronjob.yaml").read_text()))
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    workflow = yaml.safe_load((DEPLOY / "github-actions/refresh.yml").read_text())
    cron = (DEPLOY / "cron/s2ice.cron").read_text().splitlines()[-1]
    unit = (DEPLOY / "systemd/s2ice.service").read_text()
    return [
        " ".join(pod["containers"][0]["args"]),
        *(
            step["run"].split("s2ice ", 1)[1]
            for step in workflow["jobs"]["refresh"]["steps"]
            if "s2ice." in step.get("run", "")
        ),
        cron.split("exec s2ice ", 1)[1].rstrip("'"),
        next(line for line in unit.splitlines() if line.startswith("ExecStart=")).split("s2ice ", 1)[1],
    ]


@pytest.mark.parametrize("line", command_lines())
def test_the_command_lines_are_understood(s2ice: Command, tmp_path: Path, line: str) -> None:
    """With a file that is not there: clap has nothing to say, s2ice only that."""
    words = [word for word in line.split(" >> ")[0].split() if word != "$ARGUMENTS"]
    words = [str(tmp_path / "none.toml") if word.endswith(".toml") else word for word in words]
    assert "none.toml cannot be read" in s2ice(*words, code=2).sentence


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_the_units_are_right(s2ice: Command, tmp_path: Path) -> None:
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text().replace("/usr/local/bin/s2ice", str(s2ice.binary))
        (tmp_path / unit.name).write_text(text)
    units = sorted(str(path) for path in tmp_path.iterdir())
    assert len(units) == 3
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert checked.returncode == 0, checked.stderr
    assert not checked.stderr, checked.stderr
