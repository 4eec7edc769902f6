"""Success means seen: a run that could not see source, index or catalogue says so, everywhere and soon."""

from __future__ import annotations

import json
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from test_core_sources import Missing

import reports
from support import cogs, hosts, s3, watched
from support.command import Command, Outcome
from support.living import Living
from support.watched import TILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.archive import Archive
    from support.catalogue import Catalogue
    from support.hosts import Host
    from support.watched import Tile

INPUTS = ["source", "index", "catalogue"]
CAUSES = {"denied": "denied", "failing": "no_answer", "silent": "no_answer", "gone": "no_answer"}


@pytest.fixture
def make_tile(s2ice: Command, bases: Samples, tmp_path: Path) -> Iterator[Callable[[str], Tile]]:
    with watched.tiles(s2ice, bases.root, tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("eodata")
        yield service


def is_stale(tile: Tile, told: dict[str, Any], input_: str, cause: str) -> None:
    """The run said everywhere that it did not see this, and renewed nothing."""
    assert told["outcome"] == "stale", told
    assert [(unseen["input"], unseen["cause"]) for unseen in told["unseen"]] == [(input_, cause)]
    reason = told["unseen"][0]["reason"]
    assert reason in told["error"]
    assert f"the {input_} was not seen" in told["error"]
    assert tile.said[-1] == "s2ice: 1 of 1 tile stale: source, index or catalogue could not be seen"
    assert any("stale: " in line for line in tile.said[:-1])
    lines = [json.loads(line) for line in (tile.folder / "runs.jsonl").read_text().splitlines()]
    for line in lines[-3:]:
        reports.conforms(line, "run-line")
    assert lines[-2]["unseen"] == told["unseen"]
    assert lines[-1]["outcomes"] == {"stale": 1}
    last = tile.last()
    reports.conforms(last, "last-run")
    assert (last["outcome"], last["completed"], last["unseen"]) == ("stale", "stale", told["unseen"])
    assert last["last_success"] < last["started"]
    metrics = tile.metrics()
    assert (metrics["s2ice_tile_success"], metrics["s2ice_tile_stale"]) == (0, 1)
    assert metrics["s2ice_tile_last_success_timestamp_seconds"] < metrics["s2ice_tile_last_run_timestamp_seconds"]
    status = tile.s2ice("status", tile.config, code=1)
    assert " stale " in status.stdout
    assert told["error"] in status.stdout


@pytest.mark.parametrize("how", CAUSES)
def test_what_was_not_seen_is_told(make_tile: Callable[[str], Tile], how: str) -> None:
    """News that cannot be had; the outage over, the next run has them."""
    # A catalogue that is silent takes a minute: see the tests of its client.
    inputs = [name for name in INPUTS if (name, how) != ("catalogue", "silent")]
    tiles = {name: make_tile(name) for name in inputs}
    before = {}
    for name, tile in tiles.items():
        known = [tile.archive.add(day) for day in ("2024-06-01", "2024-06-06")]
        tile.show(*known)
        assert tile.run()["outcome"] == "updated"
        assert (tile.metrics()["s2ice_tile_success"], tile.metrics()["s2ice_tile_stale"]) == (1, 0)
        # Two products, so that no file stands for the host.
        tile.show(*known, tile.archive.add("2024-06-11"), tile.archive.add("2024-06-16"))
        before[name] = (tile.files(), tile.last()["runs_since_full"])

    for name, tile in tiles.items():
        with getattr(tile, name).unwell(how):
            started = time.monotonic()
            told = tile.run(code=3)
            assert time.monotonic() - started < 40
        is_stale(tile, told, name, CAUSES[how])
        assert (tile.files(), tile.last()["runs_since_full"]) == before[name]

    for tile in tiles.values():
        told = tile.run()
        assert (told["outcome"], told["added"], told["refused"]) == ("updated", 2, 0)
        assert (tile.metrics()["s2ice_tile_success"], tile.metrics()["s2ice_tile_stale"]) == (1, 0)
        tile.s2ice("status", tile.config)
        assert tile.run()["outcome"] == "unchanged"


OTHERS = ["302 Found", "400 Bad Request", "402 Payment Required", "418 I'm a teapot", "451 Unavailable", "520 Unknown"]


@pytest.mark.parametrize("how", OTHERS)
def test_what_tells_nothing_of_a_file_is_no_answer(make_tile: Callable[[str], Tile], how: str) -> None:
    """Whatever a host says: where it is not about the file, the run saw nothing."""
    tile = make_tile("tile")
    first = tile.archive.add("2024-06-01")
    tile.show(first)
    tile.run()
    tile.show(first, tile.archive.add("2024-06-06"), tile.archive.add("2024-06-11"))
    for name in ("source", "index"):
        with getattr(tile, name).unwell(how):
            told = tile.run(code=3)
        is_stale(tile, told, name, "no_answer")
    assert tile.run()["added"] == 2


@pytest.mark.parametrize("how", ["denied", "418 I'm a teapot"])
def test_keys_that_expire_on_the_way(make_tile: Callable[[str], Tile], how: str) -> None:
    """Something was answered, but of no product what it takes to have it."""
    tile = make_tile("tile")
    first = tile.archive.add("2024-06-01")
    tile.show(first)
    tile.run()
    tile.show(first, tile.archive.add("2024-06-06"), tile.archive.add("2024-06-11"))
    for _ in range(2):
        with tile.source.unwell(how, about=".jp2"):
            is_stale(tile, tile.run(code=3), "source", "denied" if how == "denied" else "no_answer")
    assert tile.run()["added"] == 2


def test_keys_that_have_expired_are_a_refusal(
    s2ice: Command, archive: Archive, service: s3.Service, tmp_path: Path
) -> None:
    """Amazon says so with status 400."""
    names = [archive.add(day) for day in ("2024-06-01", "2024-06-06", "2024-06-11")]
    service.upload(archive.root, "eodata", "expired/")
    living = Living(Command(s2ice.binary, s2ice.environment | s3.ENVIRONMENT), archive, tmp_path / "stores")
    where = {"source": "s3://eodata/expired", "source_endpoint": service.endpoint, "memory": None}
    living.run(names[:1], **where)
    service.refusal = ("400 Bad Request", "ExpiredToken")
    with service.denying(lambda request: request.bucket == "eodata"):
        report = living.run(names, stale=True, **where)
    assert [(unseen["input"], unseen["cause"]) for unseen in report["unseen"]] == [("source", "denied")]
    assert "was refused (400 ExpiredToken): check the credentials" in report["unseen"][0]["reason"]
    service.refusal = s3.DENIED
    assert living.run(names, **where)["changes"]["appended"] == names[1:]


@pytest.mark.parametrize("how", ["denied", "gone"])
def test_an_outage_that_lasts_stays_one(make_tile: Callable[[str], Tile], how: str) -> None:
    """What was refused lately is waited for: but not what nobody answered about."""
    tile = make_tile("tile")
    first = tile.archive.add("2024-06-01")
    tile.show(first)
    tile.run()
    tile.show(first, tile.archive.add("2024-06-06"))
    with tile.source.unwell(how):
        for _ in range(3):
            assert tile.run(code=3)["outcome"] == "stale"
    assert tile.run()["outcome"] == "updated"


def test_a_quiet_run_needs_no_source(make_tile: Callable[[str], Tile]) -> None:
    """Index and catalogue were seen and have no news: nothing is asked of the source."""
    tile = make_tile("tile")
    tile.show(tile.archive.add("2024-06-01"))
    tile.run()
    tile.run()
    with tile.source.unwell("gone"):
        assert tile.run()["outcome"] == "unchanged"
    # A look at what was replaced is one at the source.
    with tile.source.unwell("denied"):
        assert tile.run("--full", code=3)["outcome"] == "stale"
    assert tile.run("--full")["outcome"] == "unchanged"


def test_a_product_that_is_refused_alone_is_named_and_the_rest_was_seen(make_tile: Callable[[str], Tile]) -> None:
    tile = make_tile("tile")
    first, closed = tile.archive.add("2024-06-01"), tile.archive.add("2024-06-06")
    tile.show(first)
    tile.run()
    tile.show(first, closed, tile.archive.add("2024-06-11"))
    with tile.source.unwell("denied", about=closed):
        told = tile.run()
    assert (told["outcome"], told["added"], told["refused"]) == ("updated", 1, 1)
    assert tile.run()["outcome"] == "updated"
    # That files do not exist is an answer.
    shutil.rmtree(tile.archive.root / f"{tile.archive.add('2024-06-16')}.SAFE")
    tile.show(*tile.archive.products)
    assert tile.run()["outcome"] == "unchanged"


def test_a_first_build_that_sees_nothing_is_stale(make_tile: Callable[[str], Tile]) -> None:
    tile = make_tile("tile")
    tile.show(tile.archive.add("2024-06-01"))
    inputs = ("--index", f"{tile.index.address}/index.parquet", "--stac", f"{tile.catalogue.address}/items.json")
    line = ("--tile", TILE, *inputs, "--source", tile.source.address)
    with tile.source.unwell("denied"):
        for command in (("build", "--store", tile.store, *line), ("manifest", "-o", tile.folder / "m.parquet", *line)):
            assert "nothing can be stored (1 left out)" in tile.s2ice(*command, code=3).sentence
    assert not tile.store.exists()
    tile.s2ice("build", "--store", tile.store, *line)


def test_an_answer_in_part_is_told_beside_what_was_done(living: Living, items: Catalogue) -> None:
    names = [living.archive.add(f"2024-06-{day:02}") for day in (1, 6, 11, 16, 21, 26)]
    items.put(living.archive.items(names))
    items.down = "pages"
    outcome = living.s2ice(*living.line(names, "--json", stac=items.endpoint, memory=None), code=3)
    assert outcome.sentence.startswith("s2ice: the catalogue was not seen in full: page 2 of ")
    report = outcome.json
    reports.conforms(report, "build-report")
    assert len(report["changes"]["appended"]) == 5
    assert [(unseen["input"], unseen["cause"]) for unseen in report["unseen"]] == [("catalogue", "incomplete")]
    items.down = ""
    assert living.run(names, stac=items.endpoint, memory=None)["changes"]["inserted"] == names[:1]


def test_what_is_indexed_on_the_fly_was_seen_or_not(living: Living, items: Catalogue, service: s3.Service) -> None:
    night = Missing(living, items, service, None)
    night.add("2024-06-01")
    night.run()
    names = night.add("2024-06-06", "2024-06-11")
    line = living.line(None, *night.line("--json"), **night.api)
    for refused in ("eodata", "eodata"):
        with service.denying(lambda request, bucket=refused: request.bucket == bucket):
            outcome = night.living.s2ice(*line, code=3)
        assert outcome.sentence.startswith("s2ice: the source was not seen: access to ")
        assert outcome.json["unseen"][0]["cause"] == "denied"
    assert night.run()["changes"]["appended"] == names


@pytest.mark.parametrize("how", ["denied", "failing", "gone"])
def test_geotiffs_are_seen_or_not(s2ice: Command, tmp_path: Path, how: str) -> None:
    products = [cogs.Product(tmp_path / "files", day=day) for day in ("20240501", "20240506", "20240511")]
    for product in products:
        product.add("B09", 60, block=1024)
    with hosts.serve(tmp_path / "files") as (host,):

        def build(*shown: cogs.Product, code: int = 0) -> Outcome:
            stac = cogs.collect(tmp_path / "items.json", *shown)
            line = ("build", "--source-kind", "cog", "--tile", cogs.TILE, "--stac", stac, "--source", host.address)
            return s2ice(*line, "--store", tmp_path / "store", "--json", code=code)

        build(products[0])
        for _ in range(2):
            with host.unwell(how):
                outcome = build(*products, code=3)
            assert host.address in outcome.sentence
            if how == "denied":
                assert outcome.sentence.startswith("s2ice: the source was not seen: ")
                (unseen,) = outcome.json["unseen"]
                assert (unseen["input"], unseen["cause"]) == ("source", "denied")
        assert build(*products).json["changes"]["appended"] == [product.name for product in products[1:]]


# --- Several tiles and one host.


class Fleet(NamedTuple):
    """Tiles of one host: index and items are at hand."""

    s2ice: Command
    host: Host
    folder: Path

    def run(self, tiles: list[str], jobs: int, *options: str, more: str = "", code: int = 0) -> dict[str, Any]:
        root = self.host.root
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "s2ice.toml"
        config.write_text(
            f"""
tiles = {json.dumps(tiles)}
source = "{self.host.address}/{{tile}}"
source-options = {{ {", ".join(options) or "connections = 4"} }}
index = ["{root}/{{tile}}/index.parquet"]
stac = "{root}/{{tile}}/stac/items.json"
store = "{self.folder}/stores/{{tile}}"
[run]
jobs = {jobs}
{more}
"""
        )
        started = time.monotonic()
        report = self.s2ice("run", config, "--json", code=code).json
        report["took"] = time.monotonic() - started
        shutil.rmtree(self.folder / "stores", ignore_errors=True)
        return report


FLEET = ["33TTM", "33TUM", "33TVM", "33TWM", "33TTN", "33TUN"]


@pytest.fixture(scope="module")
def fleet(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    root = tmp_path_factory.mktemp("fleet")
    for tile in FLEET:
        make_samples("--tile", tile, "--dates", "2", "--assets", "B01_60m,B09_60m", into=root / tile)
    with hosts.serve(root) as (host,):
        yield Fleet(s2ice, host, root / "runs")


def test_a_silent_tile_takes_nothing_from_the_others(fleet: Fleet) -> None:
    """Issue 10.5: they waited for its answers, and failed by a time in which they were not even asked."""
    fleet.host.delay = 0.05
    silent, *healthy = FLEET
    usual = fleet.run(healthy, 6)
    longest = max(tile["seconds"] for tile in usual["tiles"])
    with fleet.host.unwell("silent", about=silent):
        report = fleet.run(FLEET, 6, more='tile-timeout = "6s"', code=1)
    outcomes = {tile["tile"]: tile["outcome"] for tile in report["tiles"]}
    assert outcomes == dict.fromkeys(healthy, "updated") | {silent: "failed"}
    seconds = {tile["tile"]: tile["seconds"] for tile in report["tiles"]}
    assert max(seconds[tile] for tile in healthy) < 2 * longest + 1, (seconds, longest)
    fleet.host.delay = 0


def test_waiting_for_a_connection_is_no_tiles_time(fleet: Fleet) -> None:
    """Six tiles, one connection: each has a fraction of it, and takes longer than it may take for itself."""
    fleet.host.delay = 0.2
    report = fleet.run(FLEET, 6, "connections = 1", more='tile-timeout = "6s"')
    fleet.host.delay = 0
    assert {tile["outcome"] for tile in report["tiles"]} == {"updated"}
    assert max(tile["seconds"] for tile in report["tiles"]) > 6.5


@pytest.mark.parametrize("how", ["silent", "failing", "gone"])
def test_what_one_tile_learned_is_known_to_the_others(fleet: Fleet, how: str) -> None:
    options = 'extra = { timeout = "1 second" }'
    with fleet.host.unwell(how):
        one = fleet.run(FLEET[:1], 1, options, code=3)
        asked = len(fleet.host.requests)
        three = fleet.run(FLEET, 1, options, code=3)
    assert {tile["outcome"] for tile in one["tiles"] + three["tiles"]} == {"stale"}
    assert one["took"] < 40
    assert three["took"] < 2 * one["took"] + 3, (one["took"], three["took"])
    reasons = [tile["unseen"][0]["reason"] for tile in three["tiles"]]
    assert "times in a row (last: " in reasons[-1]
    assert "it is left alone for another" in reasons[-1]
    assert len(fleet.host.requests) < 3 * max(asked, 1)
    # It is well again: nothing is held against it by another process.
    assert fleet.run(FLEET[:1], 1, options)["outcomes"] == {"updated": 1}


def test_who_is_told_to_stop_says_nothing_of_the_tile(make_tile: Callable[[str], Tile]) -> None:
    tile = make_tile("tile")
    first = tile.archive.add("2024-06-01")
    tile.show(first)
    tile.run()
    tile.show(first, tile.archive.add("2024-06-06"))
    for how, success in (("", 1), ("denied", 0)):
        if how:
            with tile.source.unwell(how):
                tile.run(code=3)
        with tile.index.unwell("silent"):
            process = tile.start()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            told = tile.ends(process, 1)
        assert told["outcome"] == "interrupted"
        assert (tile.last()["outcome"], tile.metrics()["s2ice_tile_success"]) == ("interrupted", success)
        assert tile.s2ice("status", tile.config, code=1 - success).stderr.count("attention") == 1 - success
