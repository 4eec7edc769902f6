"""One search of the catalogue for all tiles of a run: the stores are those that a search for each tile makes."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from support import s3, tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.catalogue import Catalogue
    from support.command import Command, Outcome

TILES = ["33TUM", "33TVM", "33TVN", "33TWN"]
DATES = 5
MOST = 5
"""Requests to a store in a run without news."""


@pytest.fixture(scope="session")
def source(make_samples: Callable[..., Samples], once: Callable[..., Path]) -> Path:
    """Some small products of each tile, in a folder of its name."""

    def fill(folder: Path) -> None:
        for tile in TILES:
            make_samples("--tile", tile, "--dates", str(DATES), "--assets", "SCL_60m", into=folder / tile)

    return once("changes", fill)


@dataclass
class World:
    """A catalogue that grows, and fleets that follow it."""

    source: Path
    folder: Path
    items: Catalogue
    s2ice: Command
    products: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=20))

    def __post_init__(self) -> None:
        for tile in TILES:
            self.products[tile] = json.loads((self.source / tile / "stac/items.json").read_text())["features"]

    def show(self, tile: str, number: int, **properties: Any) -> None:
        """Put a product into the catalogue, or change its item."""
        self.now += timedelta(minutes=7)
        item = json.loads(json.dumps(self.products[tile][number]))
        item["properties"] |= {"updated": self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")} | properties
        self.items.put([item])

    def config(self, name: str, tiles: list[str] = TILES, run: str = "", more: str = "") -> Path:
        config = self.folder / f"{name}.toml"
        config.write_text(
            f'tiles = {json.dumps(tiles)}\nsource = "{self.source}/{{tile}}"\n'
            f'index = ["{self.source}/{{tile}}/index.parquet"]\nstac = "{self.items.address}"\n'
            f'store = "{self.folder}/{name}/{{tile}}"\noverlap = "10m"\n{more}\n'
            f"[stac-options]\nrequests-per-second = 1000.0\n"
            f'[run]\nfull-every = 100\nsearch = "{name.partition("-")[0]}"\n'
            f'report = "{self.folder}/{name}.jsonl"\n{run}\n'
        )
        return config

    def run(self, config: Path, *words: str) -> Outcome:
        self.items.searches.clear()
        return self.s2ice("run", config, "--json", *words)

    def stores(self, name: str) -> dict[str, Any]:
        found = {}
        for tile in TILES:
            place = self.folder / name / tile
            if place.exists():
                info = self.s2ice("info", place, "--json").json
                found[tile] = [info[key] for key in ("products", "references", "times", "arrays", "eras")]
        return found


@pytest.fixture
def world(source: Path, tmp_path: Path, items: Catalogue, s2ice: Command) -> World:
    world = World(source, tmp_path, items, s2ice)
    for tile in TILES:
        world.show(tile, 0)
    return world


def outcomes(result: Outcome) -> dict[str, str]:
    return {tile["tile"]: tile["outcome"] for tile in result.json["tiles"]}


def whole(searches: list[dict[str, Any]]) -> int:
    """How many searches name no tile."""
    return sum("grid:code" not in json.dumps(search) for search in searches)


def test_a_catalogue_is_asked_once_for_all_tiles(world: World) -> None:
    config = world.config("once", run=f'changes = "{world.folder}/changes.parquet"')
    assert set(outcomes(world.run(config)).values()) == {"updated"}
    for _ in range(2):
        assert set(outcomes(world.run(config)).values()) == {"unchanged"}
        # Two looks whether the filter works, and the one page.
        assert (len(world.items.searches), whole(world.items.searches)) == (3, 3)
    world.show("33TVN", 1)
    world.show("33TWN", 2)
    news = outcomes(world.run(config))
    assert news == {"33TUM": "unchanged", "33TVM": "unchanged", "33TVN": "updated", "33TWN": "updated"}
    assert whole(world.items.searches) == len(world.items.searches)
    lines = [json.loads(line) for line in (world.folder / "once.jsonl").read_text().splitlines()]
    told = [line for line in lines if line.get("tile") == "33TVN" and line["kind"] == "s2ice.run.tile"][-1]
    assert told["report"]["catalogue"]["mode"] == "incremental"


def test_the_answer_is_a_table_for_everybody(world: World) -> None:
    kept = world.folder / "changes.parquet"
    config = world.config("once", run=f'changes = "{kept}"')
    world.run(config)
    world.show("33TVN", 1, **{"eo:cloud_cover": 12.5})
    world.run(config)
    items = tables.rustac_read(kept)["features"]
    (told,) = (item for item in items if "T33TVN_20240506" in item["id"])
    mine = world.products["33TVN"][1]
    assert told["geometry"] == mine["geometry"]
    assert told["bbox"] == mine["bbox"]
    assert told["properties"]["eo:cloud_cover"] == 12.5
    assert told["properties"]["datetime"] == "2024-05-06T10:05:51.024Z"
    hrefs = {asset["href"] for asset in mine["assets"].values()}
    assert {asset["href"] for asset in told["assets"].values() if asset} == hrefs
    assert pq.read_metadata(kept).metadata[b"stac-geoparquet"] == b'{"version":"1.0.0"}'
    # By hand it is a catalogue like any other.
    inputs = ("--index", world.source / "33TVN/index.parquet", "--source", world.source / "33TVN")
    built = world.s2ice("build", "--tile", "33TVN", *inputs, "--stac", kept, "--store", world.folder / "hand", "--json")
    assert built.json["stac"]["admitted"] >= 1


def test_what_one_run_kept_another_takes(world: World) -> None:
    """An array of jobs: one asks, the others read."""
    kept = world.folder / "changes.parquet"
    first, second = world.config("once", run=f'changes = "{kept}"'), world.config("once-b")
    world.run(first)
    world.run(second)
    world.show("33TVN", 1)
    world.run(first)
    assert outcomes(world.run(second, "--changes", str(kept)))["33TVN"] == "updated"
    assert world.items.searches == []
    assert world.stores("once") == world.stores("once-b")
    missing = world.s2ice("run", second, "--changes", world.folder / "none.parquet", code=2)
    assert "--changes: cannot read" in missing.stderr
    foreign = tables.write(world.folder / "foreign.parquet", tables.rows(world.source / "33TVN/index.parquet"))
    assert "was not kept by a search" in world.s2ice("run", second, "--changes", foreign, code=2).stderr


def test_who_cannot_be_asked_so_is_asked_for_each_tile(world: World) -> None:
    config = world.config("once")
    world.run(config)
    world.show("33TVN", 1)

    # A catalogue that fails in the middle of the pages.
    world.items.down = "pages"
    for number in range(1, DATES):
        world.show("33TUM", number)
    told = world.s2ice("run", config, "--json", code=(0, 1, 3))
    assert "cannot be told of all tiles at once" in told.stderr
    world.items.down = ""
    assert "failed" not in outcomes(world.run(config)).values()
    assert world.stores("once") == each(world)


def each(world: World) -> dict[str, Any]:
    """The stores that a search for each tile makes of what the catalogue has now."""
    config = world.config("each")
    world.run(config, "--full")
    return world.stores("each")


@pytest.mark.parametrize("seed", range(4))
def test_the_stores_are_those_of_a_search_for_each_tile(world: World, seed: int) -> None:
    """Products come late, change, fail for a while; tiles are left out of runs; a store is rolled back."""
    dice = random.Random(seed)
    more = "max-cloud-cover = 80.0" if dice.random() < 0.5 else ""
    once, each = world.config("once", more=more), world.config("each", more=more)
    for _ in range(6):
        for _ in range(dice.randrange(3)):
            cover = {"eo:cloud_cover": float(dice.choice([1, 50, 99]))}
            world.show(dice.choice(TILES), dice.randrange(DATES), **cover)
        some = dice.sample(TILES, dice.randrange(1, len(TILES) + 1))
        words = [word for tile in some for word in ("--tile", tile)]
        if dice.random() < 0.3:
            words = []
        if dice.random() < 0.2:
            place = world.folder / "once" / dice.choice(TILES)
            if place.exists():
                world.s2ice("rollback", place, code=(0, 1, 3))
        for config in (once, each):
            assert "failed" not in outcomes(world.run(config, *words)).values()
    for config in (once, each):
        world.run(config)
    assert world.stores("once") == world.stores("each")


def test_a_run_without_news_asks_little_of_the_stores(world: World) -> None:
    with s3.serve() as service:
        service.bucket("stores")
        config = world.config("once", more=f"store-options = {{ endpoint = {service.endpoint!r} }}")
        config.write_text(config.read_text().replace(f"{world.folder}/once/", "s3://stores/"))
        world.s2ice("run", config, **s3.ENVIRONMENT)
        for _ in range(2):
            with service.recorded() as requests:
                report = world.s2ice("run", config, "--json", **s3.ENVIRONMENT)
            assert set(outcomes(report).values()) == {"unchanged"}
            asked = Counter(
                (request.method, request.path.partition("/33T")[2][3:], request.range) for request in requests
            )
            assert len(requests) <= MOST * len(TILES), asked


def test_full_searches_do_not_fall_together(world: World) -> None:
    config = world.config("once", run="")
    config.write_text(config.read_text().replace("full-every = 100", "full-every = 3"))
    modes: list[list[str]] = []
    for _ in range(7):
        world.run(config)
        lines = [json.loads(line) for line in (world.folder / "once.jsonl").read_text().splitlines()]
        begun = max(at for at, line in enumerate(lines) if line["kind"] == "s2ice.run.started")
        tiles = [line for line in lines[begun:] if line["kind"] == "s2ice.run.tile"]
        last = {tile: json.loads((world.folder / "once" / tile / "s2ice/last-run.json").read_text()) for tile in TILES}
        modes.append([tile for tile in TILES if last[tile]["runs_since_full"] == 0])
        assert len(tiles) == len(TILES)
    # Every tile has had its turn, and after the first run never all of them at once.
    assert {tile for turn in modes[1:] for tile in turn} == set(TILES)
    assert all(len(turn) < len(TILES) for turn in modes[1:])
