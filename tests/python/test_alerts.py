"""The alert rules, judged by promtool on the metrics that runs really write."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from conftest import ROOT
from support import watched

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

RULES = ROOT / "docs/deploy/alerts/s2ice.rules.yml"
DASHBOARD = ROOT / "docs/deploy/grafana/s2ice.json"
DAY = 1440
"""Minutes of a day; the run ended at the end of the tenth."""
RUN = 10 * DAY
NAMES = {
    "S2iceTileFailing",
    "S2iceTileStale",
    "S2iceTileSuccessOld",
    "S2iceNotRun",
    "S2iceMetricsMissing",
    "S2iceIndexLags",
    "S2iceTileNoNewProduct",
}


@pytest.fixture(scope="module")
def states(s2ice: Command, bases: Samples, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The metrics after runs of all kinds, as they were written."""
    with watched.tiles(s2ice, bases.root, tmp_path_factory.mktemp("alerts")) as make:
        tile = make("tile")
        metrics = tile.folder / "s2ice.prom"
        days = [(datetime.now(UTC) - timedelta(days=age)).strftime("%Y-%m-%d") for age in (3, 2, 1)]
        names = [tile.archive.add(day) for day in days]
        tile.show(names[0])
        tile.run()
        written = {"healthy": metrics.read_text()}
        tile.show(*names)
        with tile.source.unwell("denied"):
            tile.run(code=3)
        written["stale"] = metrics.read_text()
        whole = (tile.index.root / "index.parquet").read_bytes()
        (tile.index.root / "index.parquet").write_bytes(whole[:-40])
        tile.run(code=1)
        written["failing"] = metrics.read_text()
        # The catalogue has two products that the index lacks.
        tile.archive.index(tile.index.root / "index.parquet", names[:1])
        tile.run()
        written["lagging"] = metrics.read_text()
        broken = make("never")
        broken.show(broken.archive.add(days[0]))
        (broken.index.root / "index.parquet").write_bytes(whole[:-40])
        broken.run(code=1)
        written["never"] = (broken.folder / "s2ice.prom").read_text()
    return written


def series(text: str, change: dict[str, float] | None = None) -> list[dict[str, str]]:
    """The samples of a file, as promtool takes them; times are moved so that the run ended at `RUN`."""
    samples = [sample for family in openmetrics(text) for sample in family.samples]
    ended = next(sample.value for sample in samples if sample.name == "s2ice_run_timestamp_seconds")
    out = []
    for sample in samples:
        value = (change or {}).get(sample.name, sample.value)
        if sample.name.endswith("_timestamp_seconds"):
            value = sample.value - ended + RUN * 60
        labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
        out.append({"series": f"{sample.name}{{{labels}}}", "values": f"{value!r}+0x{RUN * 3 // 5}"})
    return out


def test_the_rules_know_what_is_written(states: dict[str, str]) -> None:
    """Also where promtool is not at hand."""
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    assert {rule["alert"] for rule in rules} == NAMES
    samples = [sample for family in openmetrics(states["healthy"]) for sample in family.samples]
    written = {sample.name: set(sample.labels) for sample in samples}
    for rule in rules:
        for name in re.findall(r"s2ice_\w+", rule["expr"]):
            assert name in written, f"{rule['alert']}: {name}"
            labels = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
            assert set(labels) <= written[name] | {"instance", "job"}, rule["alert"]
    documented = (ROOT / "docs/operations.md").read_text()
    assert all(name in documented for name in NAMES)


def expressions() -> list[str]:
    """What the dashboard asks for, with its variable filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel["targets"]]
    return [expression.replace("$instance", ".*") for expression in found]


def test_the_dashboard_loads_and_asks_for_what_is_written(states: dict[str, str]) -> None:
    document = json.loads(DASHBOARD.read_text())
    loaded = JSONEncoder(sort_keys=True).encode(Dashboard.from_json(document))
    panels = json.loads(loaded)["panels"]
    assert [panel["title"] for panel in panels] == [panel["title"] for panel in document["panels"]]
    assert [panel["gridPos"] for panel in panels] == [panel["gridPos"] for panel in document["panels"]]
    written = {sample.name for family in openmetrics(states["healthy"]) for sample in family.samples}
    asked = set(re.findall(r"s2ice_\w+", " ".join(expressions())))
    assert asked <= written
    # No panel lies over another, or beyond the page.
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in document["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_promtool_understands_the_dashboard(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    told = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if not found and os.environ.get("CI"):
        pytest.fail("promtool is not here: .ci/run takes it out of Debian's package prometheus")
    return found or pytest.skip("promtool is not here (Debian's package prometheus has it)")


def firing(promtool: str, folder: Path, given: list[dict[str, str]], minutes: int) -> set[str]:
    """The alerts that fire so many minutes after the run."""
    expected: list[dict[str, Any]] = [
        {"eval_time": f"{RUN + minutes}m", "alertname": name, "exp_alerts": []} for name in sorted(NAMES)
    ]
    tests = [{"interval": "5m", "input_series": given, "alert_rule_test": expected}]
    document = {"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": tests}
    (folder / "test.yml").write_text(yaml.safe_dump(document))
    line = [promtool, "test", "rules", str(folder / "test.yml")]
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    text = told.stdout + told.stderr
    assert (told.returncode == 0) == ("alertname: " not in text), text
    # Of every alert that fires where none is expected, promtool names the rule.
    return set(re.findall(r"alertname: (\w+)", text))


def test_promtool_finds_no_fault(promtool: str) -> None:
    told = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{len(NAMES)} rules found" in told.stdout


@pytest.mark.parametrize(
    ("state", "minutes", "wanted"),
    [
        ("healthy", 10, set()),
        ("stale", 10, {"S2iceTileStale"}),
        ("failing", 10, {"S2iceTileFailing"}),
        ("lagging", 10, set()),
        ("never", 10, {"S2iceTileFailing"}),
        ("healthy", 26 * 60, set()),
        ("healthy", 2 * DAY - 60, {"S2iceNotRun"}),
        ("healthy", 2 * DAY, {"S2iceNotRun", "S2iceTileSuccessOld"}),
        ("healthy", 19 * DAY, {"S2iceNotRun", "S2iceTileSuccessOld", "S2iceTileNoNewProduct"}),
    ],
)
def test_what_fires(
    promtool: str, states: dict[str, str], tmp_path: Path, state: str, minutes: int, wanted: set[str]
) -> None:
    assert firing(promtool, tmp_path, series(states[state]), minutes) == wanted


def test_an_index_that_falls_behind_fires(promtool: str, states: dict[str, str], tmp_path: Path) -> None:
    """The value that a run wrote, grown by one a day to more than twenty."""
    given = series(states["lagging"])
    (lag,) = [one for one in given if "tile_missing_index" in one["series"]]
    assert lag["values"].startswith("2+")
    lag["values"] = f"2+0.01x{RUN * 3 // 5}"
    assert firing(promtool, tmp_path, given, 10) == {"S2iceIndexLags"}


def test_metrics_that_are_not_there_fire(promtool: str, tmp_path: Path) -> None:
    given = [{"series": "up", "values": f"1+0x{RUN * 3 // 5}"}]
    assert firing(promtool, tmp_path, given, 0) == {"S2iceMetricsMissing"}
