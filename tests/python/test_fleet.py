"""Many tiles over a cluster of processes: the stores that one machine makes, whatever happens to the workers."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import icechunk
import pytest

from s2ice.errors import RequestError, S2iceError
from s2ice.fleet import gc, refresh, rollback
from support.clusters import cluster
from support.hosts import Host, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from distributed import Client

    from conftest import Samples
    from support.command import Command

distributed = pytest.importorskip("distributed")
TILES = [f"33T{column}{row}" for column in "UVWX" for row in "MN"]
KILLS = 3
"""So many workers a task may lose (`distributed.scheduler.allowed-failures`)."""


@pytest.fixture(scope="session")
def archive(make_samples: Callable[..., Samples], once: Callable[..., Path]) -> Path:
    """Two small products of each tile, in a folder of its name."""

    def fill(folder: Path) -> None:
        for tile in TILES:
            make_samples("--tile", tile, "--dates", "2", "--assets", "B01_60m,SCL_60m", into=folder / tile)

    return once("fleet", fill)


@dataclass
class Fleet:
    """A configuration file of some tiles, and where their stores are."""

    folder: Path
    source: str
    archive: Path
    options: str = ""
    more: str = ""

    def write(self, tiles: list[str] = TILES) -> Path:
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "s2ice.toml"
        config.write_text(
            f"tiles = {json.dumps(tiles)}\n"
            f'source = "{self.source}"\nindex = ["{self.archive}/{{tile}}/index.parquet"]\n'
            f'store = "{self.folder}/stores/{{tile}}"\n{self.more}\n'
            f'[source-options]\nallow-http = true\n{self.options}\n[run]\nreport = "{self.folder}/runs.jsonl"\n'
            f'metrics = "{self.folder}/s2ice.prom"\n'
        )
        return config

    def references(self, s2ice: Command) -> dict[str, Any]:
        """What is in the stores, as they tell it themselves."""
        found = {}
        for tile in TILES:
            info = s2ice("info", self.folder / "stores" / tile, "--json").json
            found[tile] = [info["products"], info["references"], info["times"], info["arrays"]]
        return found


@dataclass
class Counted(Host):
    """A source that counts who asks at a time."""

    traffic: Traffic = field(default_factory=Traffic)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self.traffic.request():
            return super().__call__(environ, start_response)


@contextmanager
def served(folder: Path, delay: float = 0.0) -> Iterator[Counted]:
    host = Counted(folder, delay=delay)
    host.start()
    try:
        yield host
    finally:
        host.stop()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Client]:
    with (
        cluster(tmp_path_factory.mktemp("cluster"), environment) as found,
        distributed.Client(found.address, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def alone(archive: Path, s2ice: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one machine makes of it."""
    fleet = Fleet(tmp_path_factory.mktemp("alone"), f"{archive}/{{tile}}", archive)
    s2ice("run", fleet.write())
    return fleet.references(s2ice)


def test_a_cluster_makes_the_stores_of_one_machine(
    archive: Path, alone: dict[str, Any], workers: Client, s2ice: Command, tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path / "fleet", f"{archive}/{{tile}}", archive)
    told: list[tuple[int, int, str]] = []
    report = s2ice_refresh(fleet, workers, progress=lambda *words: told.append(words))
    assert report["outcomes"] == {"updated": len(TILES)}
    assert [number for number, *_ in told] == list(range(1, len(TILES) + 1))
    assert fleet.references(s2ice) == alone
    lines = [json.loads(line) for line in (fleet.folder / "runs.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines].count("s2ice.run.tile") == len(TILES)
    assert f's2ice_fleet_tiles{{state="succeeded"}} {len(TILES)}' in (fleet.folder / "s2ice.prom").read_text()
    assert s2ice_refresh(fleet, workers)["outcomes"] == {"unchanged": len(TILES)}


def s2ice_refresh(fleet: Fleet, client: Client, **words: Any) -> dict[str, Any]:
    return refresh(fleet.write(), client, **words)


def test_workers_that_are_killed_cost_no_tile(
    archive: Path, alone: dict[str, Any], s2ice: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    with served(archive, delay=0.06) as server, cluster(tmp_path / "cluster", environment) as workers:
        fleet = Fleet(tmp_path / "fleet", f"{server.address}/{{tile}}", archive)
        done = threading.Event()

        def kill() -> None:
            # As often as dask lets one tile be lost, however long it takes.
            for _ in range(KILLS):
                if done.wait(1.5):
                    return
                victim = workers.workers[-2]
                victim.kill()
                workers.worker()

        thread = threading.Thread(target=kill)
        with distributed.Client(workers.address, set_as_default=False) as client:
            thread.start()
            try:
                report = s2ice_refresh(fleet, client)
            finally:
                done.set()
                thread.join()
        assert len(workers.workers) > 2
    assert sum(report["outcomes"].get(name, 0) for name in ("updated", "unchanged")) == len(TILES), report["outcomes"]
    assert fleet.references(s2ice) == alone


def test_a_scheduler_that_comes_back_goes_on(
    archive: Path, alone: dict[str, Any], s2ice: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    with served(archive, delay=0.02) as server, cluster(tmp_path / "cluster", environment) as workers:
        fleet = Fleet(tmp_path / "fleet", f"{server.address}/{{tile}}", archive)
        told: list[str] = []

        def restart() -> None:
            while not told:
                time.sleep(0.05)
            workers.close()
            workers.start(int(workers.address.rpartition(":")[2]))
            workers.worker()

        thread = threading.Thread(target=restart)
        thread.start()
        report = refresh(fleet.write(), workers.address, progress=lambda n, of, line: told.append(line))
        thread.join()
    assert sum(report["outcomes"].get(name, 0) for name in ("updated", "unchanged")) == len(TILES), report["outcomes"]
    assert fleet.references(s2ice) == alone


def test_the_limits_of_a_host_hold_for_the_cluster(
    archive: Path, alone: dict[str, Any], s2ice: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    """Two runs at once over workers of two processes each, and one worker killed: never more than two connections."""
    options = "connections = 2\nrequests-per-second = 50.0"
    with served(archive, delay=0.01) as server, cluster(tmp_path / "cluster", environment) as workers:
        fleets = [
            Fleet(tmp_path / name, f"{server.address}/{{tile}}", archive, options) for name in ("first", "second")
        ]
        reports: list[dict[str, Any]] = []
        threads = [
            threading.Thread(target=lambda f=fleet: reports.append(refresh(f.write(), workers.address)))
            for fleet in fleets
        ]
        for thread in threads:
            thread.start()
        time.sleep(4)
        workers.workers[0].kill()
        workers.worker()
        for thread in threads:
            thread.join(240)
    assert [report["outcomes"].get("failed", 0) for report in reports] == [0, 0], reports
    assert server.traffic.peak <= 2
    for at, begin in enumerate(server.traffic.times):
        assert sum(begin <= time < begin + 1 for time in server.traffic.times[at : at + 100]) <= 55
    for fleet in fleets:
        assert fleet.references(s2ice) == alone


def test_bytes_of_a_day_are_one_account(archive: Path, environment: dict[str, str], tmp_path: Path) -> None:
    limit = 150_000
    with served(archive) as server, cluster(tmp_path / "cluster", environment) as workers:
        options = f"bytes-per-day = {limit}\nconnections = 2"
        fleet = Fleet(tmp_path / "fleet", f"{server.address}/{{tile}}", archive, options)
        report = refresh(fleet.write(), workers.address)
    assert report["outcomes"].get("stale", 0) > 0, report["outcomes"]
    # Each of two connections may end one answer beyond it, at most the XML of a granule; all of it would be 4 MB.
    assert limit / 2 < server.sent < limit + 2 * 230_000


def test_what_is_said_of_mistakes(archive: Path, workers: Client, tmp_path: Path) -> None:
    fleet = Fleet(
        tmp_path / "fleet", f"{archive}/{{tile}}", archive, '[source-options.extra]\naws_secret_access_key = "x"'
    )
    with pytest.raises(RequestError, match="would travel to the workers"):
        s2ice_refresh(fleet, workers)
    fleet.options = ""
    with pytest.raises(RequestError, match="has no tile 01CCV"):
        s2ice_refresh(fleet, workers, tiles=["01CCV"])
    with pytest.raises(RequestError, match="no length of time"):
        s2ice_refresh(fleet, workers, deadline="soon")


def test_a_deadline_leaves_the_rest_and_the_next_run_takes_it_first(
    archive: Path, workers: Client, s2ice: Command, tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path / "fleet", f"{archive}/{{tile}}", archive)
    config = fleet.write()
    s2ice("run", config, "--tile", TILES[0], "--tile", TILES[1])
    report = s2ice("run", config, "--deadline", "1s", "--jobs", "1", "--json").json
    assert report["outcomes"].get("failed", 0) == 0
    told: list[str] = []
    s2ice_refresh(fleet, workers, progress=lambda n, of, line: told.append(line))
    assert len(told) == len(TILES)
    first = s2ice("run", config, "--jobs", "1", "--tile", TILES[0], "--tile", TILES[-1], "--json").json
    assert first["outcomes"] == {"unchanged": 2}


def test_the_command_hands_a_run_to_a_scheduler(
    archive: Path, environment: dict[str, str], workers: Client, s2ice: Command, tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path / "fleet", f"{archive}/{{tile}}", archive)
    config, address = fleet.write(), workers.scheduler.address
    done = s2ice("run", config, "--scheduler", address, S2ICE_PYTHON=sys.executable)
    assert f"{len(TILES)} tiles in" in done.stdout
    assert "updated" in done.stderr
    again = s2ice("run", config, "--scheduler", address, "--json", "-q", S2ICE_PYTHON=sys.executable)
    assert again.json["outcomes"] == {"unchanged": len(TILES)}
    missing = s2ice("run", config, "--scheduler", address, S2ICE_PYTHON=str(tmp_path / "none"), code=1)
    assert "set S2ICE_PYTHON" in missing.stderr


@dataclass
class Kept:
    """Stores of two states each, twice: one was never built, one is damaged, one has a branch of a killed run."""

    here: Fleet
    there: Fleet
    between: datetime

    def same(self, here: dict[str, Any], there: dict[str, Any]) -> bool:
        """True for reports that differ in nothing but the name of the run."""
        moved = json.loads(json.dumps(there).replace(str(self.there.folder), str(self.here.folder)))
        assert here | {"run": ""} == moved | {"run": ""}
        assert [failed["tile"] for failed in there["failed"]] == [DAMAGED]
        return there["unbuilt"] == 1 and len(there["stores"]) == len(TILES) - 2


DAMAGED, KILLED = TILES[1], TILES[2]
BRANCH = "s2ice-1700000000000-1"


@pytest.fixture
def kept(archive: Path, alone: dict[str, Any], s2ice: Command, tmp_path: Path) -> Kept:
    here = Fleet(tmp_path / "here", f"{archive}/{{tile}}", archive)
    built = [word for tile in TILES[:-1] for word in ("--tile", tile)]
    first = alone[TILES[0]][2]["first"]
    here.more = f'datetime = "../{first}"'
    s2ice("run", here.write(), *built)
    between = datetime.now(UTC)
    here.more = ""
    s2ice("run", here.write(), *built)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(here.folder / "stores" / KILLED)))
    repository.create_branch(BRANCH, repository.lookup_branch("main"))
    (here.folder / "stores" / DAMAGED / "repo").write_bytes(b"no repository")
    shutil.copytree(here.folder, tmp_path / "there")
    there = Fleet(tmp_path / "there", here.source, archive)
    there.write()
    return Kept(here, there, between)


def test_a_cluster_collects_as_one_machine(kept: Kept, workers: Client, s2ice: Command) -> None:
    config = kept.there.folder / "s2ice.toml"
    here = s2ice("gc", kept.here.folder / "s2ice.toml", "--older-than", "1d", "--json", code=1).json
    dry = gc(config, workers, older_than="1d", dry_run=True)
    there = gc(config, workers, older_than="1d")
    assert kept.same(here, there)
    assert there["kind"] == "s2ice.gc.fleet"
    assert [store["branches"] for store in there["stores"] if store["branches"]] == [[BRANCH]]
    assert {store["dry_run"] for store in dry["stores"]} == {True}
    again = gc(config, workers, tiles=[KILLED])
    assert [store["branches"] for store in again["stores"]] == [[]]


def test_a_cluster_takes_stores_back_as_one_machine(kept: Kept, workers: Client, s2ice: Command) -> None:
    at = kept.between.isoformat()
    here = s2ice("rollback", kept.here.folder / "s2ice.toml", "--at", at, "--json", code=1).json
    config = kept.there.folder / "s2ice.toml"
    words = ("rollback", config, "--at", at, "--scheduler", workers.scheduler.address)
    dry = s2ice(*words, "--dry-run", S2ICE_PYTHON=sys.executable, code=1)
    assert f"{len(TILES) - 2} of {len(TILES) - 2} stores would be moved" in dry.stdout
    assert f"1 of {len(TILES) - 1} stores failed" in dry.stderr
    there = rollback(config, workers, at=kept.between)
    assert kept.same(here, there)
    assert [store["moved"] for store in there["stores"]] == [True] * (len(TILES) - 2)
    assert s2ice("info", kept.there.folder / "stores" / TILES[0], "--json").json["times"]["count"] == 1


def test_the_work_of_a_lost_worker_is_done_by_another(
    kept: Kept, environment: dict[str, str], s2ice: Command, tmp_path: Path
) -> None:
    with cluster(tmp_path / "cluster", environment, workers=1) as workers:
        with distributed.Client(workers.address, set_as_default=False) as client:
            client.wait_for_workers(1)
        # It is given work and does none, until it is gone.
        workers.workers[0].send_signal(signal.SIGSTOP)

        def lose() -> None:
            workers.workers[0].kill()
            workers.worker()

        thread = threading.Timer(5.0, lose)
        thread.start()
        words = ("gc", kept.there.folder / "s2ice.toml", "--scheduler", workers.address, "--json", "-q")
        there = s2ice(*words, S2ICE_PYTHON=sys.executable, code=1).json
        thread.join()
    here = s2ice("gc", kept.here.folder / "s2ice.toml", "--json", code=1).json
    assert kept.same(here, there)


def test_what_housekeeping_says_of_mistakes(archive: Path, workers: Client, s2ice: Command, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", f"{archive}/{{tile}}", archive)
    with pytest.raises(RequestError, match="has no tile 01CCV"):
        gc(fleet.write(), workers, tiles=["01CCV"])
    with pytest.raises(RequestError, match="older_than: a reader or a build may need"):
        gc(fleet.write(), workers, older_than="1h")
    with pytest.raises(RequestError, match='at: "soon" is no time'):
        rollback(fleet.write(), workers, at="soon")
    fleet.options = '[source-options.extra]\naws_secret_access_key = "x"'
    with pytest.raises(RequestError, match="would travel to the workers"):
        gc(fleet.write(), workers)
    alone = s2ice("gc", tmp_path, "--scheduler", workers.scheduler.address, code=2)
    assert "--scheduler: it is one of a configuration file" in alone.stderr


def test_a_run_that_is_told_to_stop_says_so(
    archive: Path, environment: dict[str, str], s2ice: Command, tmp_path: Path
) -> None:
    with served(archive, delay=0.3) as server, cluster(tmp_path / "cluster", environment) as workers:
        fleet = Fleet(tmp_path / "fleet", f"{server.address}/{{tile}}", archive)
        command = [sys.executable, "-m", "s2ice.fleet", str(fleet.write()), "--scheduler", workers.address]
        process = subprocess.Popen(command, env=environment | {"PYTHONUNBUFFERED": "1"}, stderr=subprocess.PIPE)
        while not server.traffic.times:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=90)
    assert process.returncode == 1
    assert b"interrupted" in told
    ended = [json.loads(line) for line in (fleet.folder / "runs.jsonl").read_text().splitlines()][-1]
    assert (ended["kind"], ended["interrupted"]) == ("s2ice.run.ended", True)
    assert "failed" not in ended["outcomes"]


def test_no_scheduler_is_told(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2ice.fleet._drive.FIRST", 1.0)
    fleet = Fleet(tmp_path / "fleet", f"{archive}/{{tile}}", archive)
    with pytest.raises(S2iceError, match="no scheduler answers at tcp"):
        refresh(fleet.write(), "tcp://127.0.0.1:1")
