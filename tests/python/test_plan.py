"""`s2ice plan` foresees what builds then take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from support.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

TILES = ["33TUM", "33TVM", "33TVN", "33TWN", "32TQT"]


@pytest.fixture(scope="session")
def archive(make_samples: Callable[..., Samples], once: Callable[..., Path]) -> Path:
    """Two products of each tile."""

    def fill(folder: Path) -> None:
        for tile in TILES:
            make_samples("--tile", tile, "--dates", "2", "--assets", "B01_60m,B09_60m,SCL_60m", into=folder / tile)

    return once("plan", fill)


def written(folder: Path, archive: Path, source: str, more: str = "", options: str = "") -> Path:
    config = folder / "s2ice.toml"
    config.write_text(
        f'tiles = {json.dumps(TILES)}\nsource = "{source}"\nindex = ["{archive}/{{tile}}/index.parquet"]\n'
        f'store = "{folder}/stores/{{tile}}"\n{more}\n[source-options]\nallow-http = true\n{options}\n'
    )
    return config


@pytest.mark.parametrize("angles", [True, False])
def test_the_figures_are_those_of_builds(archive: Path, s2ice: Command, tmp_path: Path, *, angles: bool) -> None:
    host = Host(archive)
    host.start()
    try:
        more = "" if angles else "angles = false"
        config = written(tmp_path, archive, f"{host.address}/{{tile}}", more)
        plan = s2ice("plan", config, "--json").json
        assert (plan["tiles"], plan["read"], plan["survey"]["products"], plan["survey"]["rasters"]) == (5, 5, 10, 30)
        read = plan["first_build"][0]
        report = s2ice("run", config, "--json").json
    finally:
        host.stop()
    requests = sum(tile["requests"] for tile in report["tiles"])
    received = sum(tile["bytes"] for tile in report["tiles"])
    assert read["requests"] == requests
    # The XML of samples is shorter than real ones.
    assert received <= read["bytes"] <= 5 * received


@pytest.mark.parametrize("headers", ["sample", "index"])
def test_figures_of_other_headers_too(archive: Path, s2ice: Command, tmp_path: Path, headers: str) -> None:
    for tile in TILES:
        (tmp_path / tile).mkdir()
        s2ice("index", "--source", archive / tile, "-o", tmp_path / tile / "index.parquet")
    config = written(tmp_path, archive, f"{archive}/{{tile}}", f'headers = "{headers}"\nangles = false')
    config.write_text(config.read_text().replace(f"{archive}/{{tile}}/index", f"{tmp_path}/{{tile}}/index"))
    plan = s2ice("plan", config, "--json").json
    costs = {cost["headers"]: cost for cost in plan["first_build"]}
    foreseen = costs[headers]
    runs = []
    for _ in range(4):
        tiles = s2ice("run", config, "--json").json["tiles"]
        runs.append((sum(tile["requests"] for tile in tiles), sum(tile["bytes"] for tile in tiles)))
    assert plan["survey"]["with_headers"] == 30
    # A listing more and a header less of each product than where every file is read.
    assert runs[0][0] == foreseen["requests"] == costs["read"]["requests"] == 50
    # Local listings have no bytes.
    assert runs[0][1] <= foreseen["bytes"] <= 5 * runs[0][1] + 10 * 45_000
    assert sum(requests for requests, _ in runs[1:]) == foreseen["later_requests"] == (50 if headers == "sample" else 0)
    assert runs[-1][0] == 0


def test_some_tiles_stand_for_all_and_limits_tell_days(archive: Path, s2ice: Command, tmp_path: Path) -> None:
    options = 'endpoint = "https://eodata.dataspace.copernicus.eu"\nanonymous = true\nbytes-per-day = 1000000'
    config = written(tmp_path, archive, "s3://eodata", options=options)
    plan = s2ice("plan", config, "--sample", "2", "--json").json
    assert (plan["read"], plan["survey"]["products"]) == (2, 10)
    (account,) = plan["accounts"]
    assert account["origin"] == "https://eodata.dataspace.copernicus.eu"
    assert (account["connections"], account["bytes_per_day"]) == (4, 1_000_000)
    read = plan["first_build"][0]
    assert read["days"] == pytest.approx(read["bytes"] / 1e6)
    assert plan["year"]["products"] == 10
    text = s2ice("plan", config).stdout
    assert "one account at https://eodata.dataspace.copernicus.eu: 4 connections, 0.2 s for a request" in text


def test_tiles_that_cannot_be_read_are_named(archive: Path, s2ice: Command, tmp_path: Path) -> None:
    config = written(tmp_path, archive, "s3://eodata", options="anonymous = true")
    config.write_text(config.read_text().replace('"32TQT"', '"01WCP"'))
    done = s2ice("plan", config)
    assert "01WCP L2A could not be read: the index" in done.stdout
    config.write_text(config.read_text().replace(f"{archive}", f"{tmp_path}"))
    assert "no tile could be read" in s2ice("plan", config, code=1).stderr
