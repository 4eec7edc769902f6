"""Logs and reports: lines for people and for machines, one name of a run from log to commit to report, short lines."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import icechunk
import pytest

import reports
from support import s3, tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.command import Command, Outcome

TILES = ["33TVN", "33TWN"]
LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<level>ERROR| WARN| INFO|DEBUG|TRACE) "
    r"\[(?P<run>\d+-\d+)(?: (?P<tile>33T[VW]N) (?P<processing_level>L2A))?\] (?P<message>.*)"
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="session")
def sources(make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of two tiles, each in a folder of its name; read only."""
    root = tmp_path_factory.mktemp("sources")
    for tile in TILES:
        make_samples("--tile", tile, "--dates", "2", "--no-swath-edge", into=root / tile)
    return root


@dataclass
class Pair:
    """Two tiles and their runs."""

    s2ice: Command
    sources: Path
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    """Lines of the configuration by key, as TOML, that are not as below."""

    @property
    def report(self) -> Path:
        return self.folder / "runs.jsonl"

    @property
    def metrics(self) -> Path:
        return self.folder / "s2ice.prom"

    def store(self, tile: str) -> Path:
        return self.folder / "stores" / tile

    def write(self) -> Path:
        settings = {
            "tiles": json.dumps(TILES),
            "source": f'"{self.sources}/{{tile}}"',
            "index": f'["{self.sources}/{{tile}}/index.parquet"]',
            "stac": f'"{self.sources}/{{tile}}/stac/items.json"',
            "store": f'"{self.folder}/stores/{{tile}}"',
        } | self.settings
        lines = [f"{key} = {value}" for key, value in settings.items()]
        config = self.folder / "s2ice.toml"
        run = ["[run]", f'report = "{self.report}"', f'metrics = "{self.metrics}"']
        config.write_text("\n".join(lines + run) + "\n")
        return config

    def run(self, *more: object, code: int = 0, **environment: str) -> Outcome:
        return self.s2ice("run", self.write(), *more, code=code, **environment)

    def lines(self) -> list[str]:
        """The lines of tiles in the report, as they stand there."""
        return [line for line in self.report.read_text().splitlines() if '"s2ice.run.tile"' in line]

    def last(self, tile: str) -> str:
        return next(line for line in reversed(self.lines()) if json.loads(line)["tile"] == tile)

    def sidecar(self, tile: str) -> Path:
        return self.store(tile) / "s2ice/last-run.json"


@pytest.fixture
def two(s2ice: Command, sources: Path, tmp_path: Path) -> Pair:
    return Pair(s2ice, sources, tmp_path)


def parsed(stderr: str) -> list[dict[str, str]]:
    """Lines for people; every one is whole."""
    found = [LINE.fullmatch(line) for line in stderr.splitlines()]
    assert found
    assert all(found), [line for line, match in zip(stderr.splitlines(), found, strict=True) if not match]
    return [match.groupdict() for match in found if match]


def documents(stderr: str) -> list[dict[str, Any]]:
    """Lines for machines; every one is whole, and keeps to its schema."""
    return [reports.conforms(json.loads(line), "log-line") for line in stderr.splitlines()]


def on_a_terminal(s2ice: Command, *arguments: object, **environment: str) -> str:
    """What the command shows where standard error is a terminal."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 65536):
                shown.append(piece)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    variables = s2ice.environment | {"TERM": "xterm"} | environment
    subprocess.run(s2ice.line(arguments), stdout=subprocess.DEVNULL, stderr=theirs, env=variables, check=False)
    os.close(theirs)
    reader.join(60)
    os.close(ours)
    return b"".join(shown).decode()


# --- Lines for people.


@pytest.mark.parametrize("verbose", ["-v", "-vvv"])
def test_each_line_in_a_file_has_time_level_run_and_tile(two: Pair, verbose: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    outcome = two.run(verbose, "--json")
    assert "\x1b" not in outcome.stderr
    lines = parsed(outcome.stderr)
    assert {line["run"] for line in lines} == {outcome.json["run"]}
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert before <= times[0] <= times[-1] <= datetime.now(UTC)
    # All that a tile does names it, on whatever thread, but for tasks that libraries begin; the run says two things.
    assert verbose == "-vvv" or all(line["message"].startswith("s2ice") for line in lines if not line["tile"])
    alone = [line["message"] for line in lines if not line["tile"] and line["message"].startswith("s2ice")]
    assert [message.split(" config=")[0] for message in alone] == ["s2ice_fleet::run: the run begins", alone[-1]]
    assert alone[-1].startswith("s2ice_fleet::run: the run ends ")
    for tile in TILES:
        steps = [line["message"] for line in lines if line["tile"] == tile]
        for step in ("reading the index", "reading STAC items", "reading main headers", "writing references"):
            assert any(message.startswith(f"s2ice_fleet::told: {step}") for message in steps), step
        assert re.fullmatch(r"updated, 2 added; 2 products; snapshot \w{20} \(\d+\.\d s\) \[\d/2\]", steps[-1])


def test_filters_take_neither_outcome_nor_tile_away(two: Pair) -> None:
    lines = parsed(two.run(S2ICE_LOG="icechunk=error").stderr)
    assert sorted((line["tile"], line["level"]) for line in lines) == [("33TVN", " INFO"), ("33TWN", " INFO")]
    two.settings["index"] = f'["{two.folder}/none-{{tile}}.parquet"]'
    lines = parsed(two.run("-q", code=1).stderr)
    assert sorted(line["tile"] or "" for line in lines) == ["", *TILES]
    assert {line["level"] for line in lines} == {"ERROR"}
    assert lines[-1]["message"] == "2 of 2 tiles failed"
    for line in lines[:-1]:
        assert f"none-{line['tile']}.parquet" in line["message"]


def test_colours_are_for_terminals(two: Pair) -> None:
    two.settings["index"] = f'["{two.folder}/none.parquet"]'
    config = two.write()
    shown = on_a_terminal(two.s2ice, "run", config, "-q")
    assert shown.count("\x1b[31mERROR\x1b[0m") == 3
    parsed(ESCAPES.sub("", shown))
    plain = on_a_terminal(two.s2ice, "run", config, "-q", NO_COLOR="1")
    assert "\x1b" not in plain
    assert len(parsed(plain)) == 3
    assert "\x1b[31m" in on_a_terminal(two.s2ice, "run", config, "-q", NO_COLOR="")


def test_bars_split_no_line(two: Pair) -> None:
    shown = on_a_terminal(two.s2ice, "run", two.write(), "-v")
    assert "refreshing tiles" in shown
    screen = [ESCAPES.sub("", piece) for piece in re.split(r"[\r\n]+", shown)]
    lines = parsed("\n".join(piece for piece in screen if re.match(r"\d{4}-", piece)))
    assert [line["message"].split(";")[0] for line in lines if "[2/2]" in line["message"]] == ["updated, 2 added"]
    assert not any("refreshing tiles" in line["message"] for line in lines)
    # Quiet, there are neither.
    assert on_a_terminal(two.s2ice, "run", two.write(), "-q") == ""


def test_foreign_text_stays_one_line(two: Pair) -> None:
    two.settings["index"] = '["/none/a\\u001b[31m\\nb.parquet"]'
    (line,) = two.run(code=2).stderr.splitlines()
    assert "b.parquet" in line
    assert "\x1b" not in line
    (told,) = documents(two.run("--log-format", "json", code=2).stderr)
    assert told["level"] == "error"


# --- Lines for machines.


def test_machines_get_json(two: Pair) -> None:
    outcome = two.run("--json", "-vvv", "--log-format", "json")
    lines = documents(outcome.stderr)
    assert {line["run"] for line in lines} == {outcome.json["run"]}
    alone = [line["message"] for line in lines if "tile" not in line and line["target"].startswith("s2ice")]
    assert alone == ["the run begins", "the run ends"]
    ended = {line["tile"]: line for line in lines if line["target"] == "s2ice::outcome"}
    assert set(ended) == set(TILES)
    for tile, line in ended.items():
        told = next(t for t in outcome.json["tiles"] if t["tile"] == tile)
        assert (line["level"], line["processing_level"], line["fields"]["outcome"]) == ("info", "L2A", "updated")
        assert line["fields"]["seconds"] == told["seconds"]
    assert all("total" in line["fields"] for line in lines if line["message"] == "writing references")
    # On a terminal too: nothing is drawn between the lines.
    shown = on_a_terminal(two.s2ice, "run", two.write(), S2ICE_LOG_FORMAT="json")
    assert [line["fields"]["outcome"] for line in documents(shown)] == ["unchanged", "unchanged"]


def test_failures_are_lines_too(s2ice: Command, tmp_path: Path) -> None:
    for line, code in ((["info", tmp_path / "none"], 1), (["run", tmp_path / "none.toml"], 2), (["build"], 2)):
        plain = s2ice(*line, code=code).sentence
        (document,) = documents(s2ice(*line, code=code, S2ICE_LOG_FORMAT="json").stderr)
        assert f"s2ice: {document['message']}" == plain
        assert document["level"] == "error"
        assert s2ice(*line, "--log-format", "text", code=code, S2ICE_LOG_FORMAT="json").sentence == plain
    assert "[possible values: text, json]" in s2ice("info", "x", "--log-format", "xml", code=2).stderr


# --- One name from log to commit to report.


def test_the_run_is_found_everywhere(two: Pair) -> None:
    outcome = two.run("--json", "--log-format", "json")
    run = outcome.json["run"]
    for line in documents(outcome.stderr):
        assert line["run"] == run
        tile, snapshot = line["tile"], line["fields"]["snapshot"]
        repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(two.store(tile))))
        commits = list(repository.ancestry(branch="main"))
        assert (commits[0].id, commits[0].metadata["s2ice:run"]) == (snapshot, run)
        assert commits[0].metadata["s2ice:tile"] == tile
        told = json.loads(two.last(tile))
        assert (told["run"], told["report"]["run"], told["report"]["committed"]["snapshot"]) == (run, run, snapshot)
        assert json.loads(two.sidecar(tile).read_text())["run"] == run
        commit = two.s2ice("info", two.store(tile), "--json").json["last_commit"]
        assert (commit["run"], commit["snapshot"]) == (run, snapshot)
        assert f"{snapshot} at {commit['time']} by run {run}: " in two.s2ice("info", two.store(tile)).stdout
    # A run without news has a name of its own, which no commit bears.
    again = two.run("--json").json["run"]
    assert again != run
    assert json.loads(two.sidecar("33TVN").read_text())["run"] == again
    assert two.s2ice("info", two.store("33TVN"), "--json").json["last_commit"]["run"] == run


def test_all_that_writes_names_its_run(two: Pair, tmp_path: Path) -> None:
    store, source = tmp_path / "one", two.sources / "33TVN"
    inputs = ["--tile", "33TVN", "--index", source / "index.parquet", "--source", source]
    for line in (
        ["index", "--source", source, "-o", tmp_path / "index.parquet"],
        ["manifest", *inputs, "-o", tmp_path / "manifest.parquet"],
        ["build", *inputs, "--store", store, "--arrays", "**/b01"],
        ["build", *inputs, "--store", store],
        ["build", *inputs, "--store", store],
        ["rollback", store],
        ["gc", store],
    ):
        outcome = two.s2ice(*line, "--json", "-vvv", "--log-format", "json")
        lines = documents(outcome.stderr)
        assert lines, line
        assert {line["run"] for line in lines} == {outcome.json["run"]}, line
        if "--tile" in line:
            own = [line for line in lines if line["target"].startswith("s2ice")]
            assert {line.get("tile") for line in own} == {"33TVN"}, line


# --- Short lines.


def test_a_tile_without_news_takes_a_short_line(two: Pair) -> None:
    broken = two.folder / "33TVN.parquet"
    rows = tables.rows(two.sources / "33TVN/index.parquet")
    shutil.copy(two.sources / "33TWN/index.parquet", two.folder / "33TWN.parquet")
    two.settings["index"] = f'["{two.folder}/{{tile}}.parquet"]'
    tables.write(broken, [*rows[:-1], rows[-1] | {"index": b"x"}])
    first = two.run("--json").json["run"]
    whole = [json.loads(line) for line in two.lines()]
    assert all("report" in line for line in whole)
    for _ in range(2):
        two.run("-q")
    for tile, refused in (("33TVN", 1), ("33TWN", 0)):
        line = two.last(tile)
        assert len(line.encode()) < 300, line
        short = json.loads(line)
        assert (short["outcome"], short["products"], short.get("refused", 0)) == ("unchanged", 2, refused)
        assert short["reported"] == first
        (named,) = [line for line in whole if line["tile"] == tile and line["run"] == short["reported"]]
        assert len(named["report"]["refused"]) == refused

    # Something else is left out: that is told whole, though nothing changed in the store, and once.
    tables.write(broken, [*rows[:-1], rows[-1] | {"index": b"x"}, rows[0] | {"product_id": "S2A_nonsense"}])
    two.run("-q")
    told = json.loads(two.last("33TVN"))
    assert (told["outcome"], told["report"]["index"]["rejected"]) == ("unchanged", 1)
    assert "report" not in json.loads(two.last("33TWN"))
    two.run("-q")
    assert json.loads(two.last("33TVN"))["reported"] == told["run"]

    # After a week all is told again: reports are rotated away.
    left = json.loads(two.sidecar("33TVN").read_text())
    for days, is_short in ((6.9, True), (7.1, False)):
        left["reported"]["time"] = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        two.sidecar("33TVN").write_text(json.dumps(left))
        two.run("-q")
        assert ("reported" in json.loads(two.last("33TVN"))) == is_short, days


# --- Only what concerns the tile.


def test_one_tile_reads_nothing_of_the_others(two: Pair) -> None:
    with s3.serve() as service:
        service.bucket("stores")
        two.settings |= {
            "store": '"s3://stores/{tile}"',
            "store-options": f'{{ endpoint = "{service.endpoint}", region = "us-east-1" }}',
        }
        two.run("-q", **s3.ENVIRONMENT)
        before = two.metrics.read_text()
        for command in ("run", "status"):
            with service.recorded() as requests:
                two.s2ice(command, two.write(), "--tile", "33TVN", **s3.ENVIRONMENT)
            paths = {request.path for request in requests}
            assert any("33TVN" in path for path in paths)
            assert not any("33TWN" in path for path in paths), sorted(paths)
        with service.recorded() as requests:
            two.run("-q", "--tile", "33TVN", **s3.ENVIRONMENT)
        reads = [r.path for r in requests if r.method == "GET" and r.path.endswith("last-run.json")]
        assert reads == ["/stores/33TVN/s2ice/last-run.json"], "once per tile and run"

    def of(text: str, tile: str) -> list[str]:
        return [line for line in text.splitlines() if f'tile="{tile}"' in line]

    after = two.metrics.read_text()
    assert of(after, "33TWN") == of(before, "33TWN") != []
    assert of(after, "33TVN") != of(before, "33TVN")
    # Tiles that left the configuration leave the metrics.
    two.settings["tiles"] = '["33TVN"]'
    del two.settings["store-options"], two.settings["store"]
    two.run("-q")
    assert of(two.metrics.read_text(), "33TWN") == []
