"""A night of many tiles on two hosts, as an operator finds it in the morning: what each run said, and what stands."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import icechunk
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

import planted
from support import clocks, hosts, readers, s3, tables
from support.archive import sample_products

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.archive import Product
    from support.command import Command, Outcome
    from support.hosts import Host

TILES = [f"33T{column}{row}" for row in "EFGHJKLMNP" for column in "TUVWX"]
SOME = 6
"""So many are enough to see every outcome; the long form has fifty."""
SKEW = dt.timedelta(milliseconds=900)
OUTCOMES = ("updated", "unchanged", "stale", "failed", "interrupted", "skipped")


@dataclass
class Night:
    """Tiles, half of them on a web server and half in a bucket, stores in another one, and the time."""

    s2ice: Command
    service: s3.Service
    web: Host
    items: Host
    folder: Path
    tiles: list[str]
    products: dict[str, list[Product]]
    key: str = "first"
    """The id of the keys of the source's bucket that the hosts have."""

    @property
    def on_web(self) -> list[str]:
        return self.tiles[::2]

    @property
    def in_bucket(self) -> list[str]:
        return self.tiles[1::2]

    def goes_on(self, hours: float) -> None:
        self.service.ahead += dt.timedelta(hours=hours)

    def shows(self, count: int) -> None:
        """Index and catalogue tell of so many products of each tile."""
        for tile, products in self.products.items():
            shown = products[:count]
            tables.write(self.folder / "index" / f"{tile}.parquet", [row for product in shown for row in product.rows])
            features = [product.item for product in shown]
            (self.items.root / f"{tile}.json").write_text(
                json.dumps({"type": "FeatureCollection", "features": features})
            )

    def environment(self, skew: dt.timedelta = dt.timedelta()) -> dict[str, str]:
        keys = {"SOURCE_KEY": self.key, "SOURCE_SECRET": planted.word(f"source {self.key}")}
        own = {"STAC_TOKEN": planted.word("token")}
        return s3.ENVIRONMENT | keys | own | clocks.ahead(self.service.ahead + skew)

    def store(self, command: str, tile: str, *more: object) -> Any:
        access = ("--store-endpoint", self.service.endpoint)
        return self.s2ice(command, f"s3://stores/{tile}", *access, *more, "--json", **self.environment()).json

    def storage(self, tile: str) -> icechunk.Storage:
        return self.service.storage(tile)

    def open(self, tile: str) -> icechunk.Repository:
        return icechunk.Repository.open(self.storage(tile))

    def published(self) -> Counter[str]:
        """How many states each tile has published."""
        stores = [tile for tile in self.tiles if icechunk.Repository.exists(self.storage(tile))]
        tags = [(tile, tag) for tile in stores for tag in self.open(tile).list_tags()]
        return Counter(tile for tile, tag in tags if tag.startswith("published/"))

    def objects(self) -> dict[str, str]:
        listed = self.service.client.get_paginator("list_objects_v2").paginate(Bucket="stores")
        return {found["Key"]: found["ETag"] for page in listed for found in page.get("Contents", [])}


@dataclass
class Operator:
    """A host that runs all tiles by a configuration file of its own."""

    night: Night
    name: str
    skew: dt.timedelta = field(default_factory=dt.timedelta)

    @property
    def folder(self) -> Path:
        return self.night.folder / self.name

    def config(self) -> Path:
        night = self.night
        scheme, _, host = night.items.address.partition("://")
        stac = f"{scheme}://reader:{planted.word('password')}@{host}/{{tile}}.json?token=${{STAC_TOKEN}}"
        keys = '{ aws_access_key_id = "${SOURCE_KEY}", aws_secret_access_key = "${SOURCE_SECRET}" }'
        bucket = f'{{ endpoint = "{night.service.endpoint}", region = "us-east-1", extra = {keys} }}'
        lines = [
            f"tiles = {json.dumps(night.on_web)}",
            f'source = "{night.web.address}/{{tile}}"',
            'source-options = { extra = { timeout = "2 seconds" } }',
            f'index = "{night.folder}/index/{{tile}}.parquet"',
            f'stac = "{stac}"',
            'store = "s3://stores/{tile}"',
            f'store-options = {{ endpoint = "{night.service.endpoint}", region = "us-east-1" }}',
            "[run]",
            "jobs = 4",
            'tile-timeout = "15s"',
            f'report = "{self.folder}/runs.jsonl"',
            f'metrics = "{self.folder}/s2ice.prom"',
        ]
        for tile in night.in_bucket:
            lines += [
                "[[tile]]",
                f'tile = "{tile}"',
                f'source = "s3://eodata/{tile}"',
                f"source-options = {bucket}",
            ]
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "s2ice.toml"
        config.write_text("\n".join([*lines, ""]))
        config.chmod(0o600)
        return config

    def start(self) -> subprocess.Popen[str]:
        return self.night.s2ice.start("run", self.config(), "--json", **self.night.environment(self.skew))

    def ends(self, process: subprocess.Popen[str], code: int, **expected: list[str]) -> dict[str, Any]:
        """The run ended so, and said so everywhere; `expected` are the tiles by outcome."""
        stdout, stderr = process.communicate(timeout=600)
        assert process.returncode == code, stderr
        report = json.loads(stdout)
        tiles = {tile["tile"]: tile for tile in report["tiles"]}
        outcomes = {tile: told["outcome"] for tile, told in tiles.items()}
        if expected:
            assert outcomes == {tile: outcome for outcome, named in expected.items() for tile in named}, stderr
        counts = Counter(outcomes.values())
        assert report["outcomes"] == counts

        # The report on disk, the metrics, and what `status` makes of them.
        lines = [json.loads(line) for line in (self.folder / "runs.jsonl").read_text().splitlines()]
        lines = [line for line in lines if line["run"] == report["run"]]
        assert [line["kind"].rpartition(".")[2] for line in lines] == ["started", *["tile"] * len(tiles), "ended"]
        assert {line["tile"]: line["outcome"] for line in lines[1:-1]} == outcomes
        assert lines[-1]["outcomes"] == counts
        metrics: dict[str, dict[str, float]] = {}
        for family in openmetrics((self.folder / "s2ice.prom").read_text()):
            for sample in family.samples:
                key = sample.labels.get("tile") or sample.labels.get("outcome") or ""
                metrics.setdefault(sample.name, {})[key] = sample.value
        assert metrics["s2ice_run_tiles"] == {outcome: counts[outcome] for outcome in OUTCOMES}
        well = {tile: float(outcome in ("updated", "unchanged")) for tile, outcome in outcomes.items()}
        assert metrics["s2ice_tile_success"] == well
        assert metrics["s2ice_tile_stale"] == {tile: float(outcomes[tile] == "stale") for tile in tiles}
        for tile, last in metrics["s2ice_tile_last_success_timestamp_seconds"].items():
            assert (last > metrics["s2ice_run_timestamp_seconds"][""] - 600) == (well[tile] == 1), tile
        return tiles

    def run(self, code: int = 0, **expected: list[str]) -> dict[str, Any]:
        return self.ends(self.start(), code, **expected)

    def status(self, code: int = 0) -> dict[str, str]:
        outcome: Outcome = self.night.s2ice(
            "status", self.config(), "--json", code=code, **self.night.environment(self.skew)
        )
        assert {tile["state"] for tile in outcome.json["tiles"]} == {"ok"}
        return {tile["tile"]: tile["last_run"]["outcome"] for tile in outcome.json["tiles"]}


def both(one: Operator, other: Operator, changed: list[str]) -> None:
    """Two hosts run all at once: one or the other brings what is new, once."""
    before = one.night.published()
    processes = [operator.start() for operator in (one, other)]
    told = [operator.ends(process, 0) for operator, process in zip((one, other), processes, strict=True)]
    for tile in one.night.tiles:
        outcomes = {tiles[tile]["outcome"] for tiles in told}
        assert outcomes <= {"updated", "unchanged"}
        assert ("updated" in outcomes) == (tile in changed), tile
    assert one.night.published() - before == Counter(changed)


@pytest.fixture
def night(s2ice: Command, make_samples: Callable[..., Samples], tmp_path: Path, soak: bool) -> Iterator[Night]:
    tiles = TILES if soak else TILES[:SOME]
    for name in ("archive", "index", "items"):
        (tmp_path / name).mkdir()
    options = ("--dates", "4", "--assets", "B01_60m", "--no-swath-edge")
    products = {}
    for tile in tiles:
        root = tmp_path / "archive" / tile
        make_samples("--tile", tile, *options, into=root)
        products[tile] = sample_products(root)
    with s3.serve() as service, hosts.serve(tmp_path / "archive", tmp_path / "items") as (web, items):
        for bucket in ("eodata", "stores"):
            service.bucket(bucket)
        night = Night(s2ice, service, web, items, tmp_path, tiles, products)
        for tile in night.in_bucket:
            service.upload(tmp_path / "archive" / tile, "eodata", f"{tile}/")
        with clocks.moving(service):
            yield night


def test_a_night(night: Night) -> None:
    web, bucket, tiles = night.on_web, night.in_bucket, night.tiles
    one, other = Operator(night, "one"), Operator(night, "other", SKEW)

    # Nine in the evening: the first products, and both hosts begin at once.
    night.shows(1)
    both(one, other, tiles)

    # Ten: news, but the web server is gone.
    night.goes_on(1)
    night.shows(2)
    with night.web.unwell("gone"):
        told = one.run(3, updated=bucket, stale=web)
    for tile in web:
        assert [(unseen["input"], unseen["cause"]) for unseen in told[tile]["unseen"]] == [("source", "no_answer")]
    assert one.status(1) == dict.fromkeys(bucket, "updated") | dict.fromkeys(web, "stale")

    # Eleven: it is back, but for one tile it is silent.
    night.goes_on(1)
    silent, *healthy = web
    with night.web.unwell("silent", about=silent):
        told = other.run(3, updated=healthy, unchanged=bucket, stale=[silent])
    assert "no answer in time" in told[silent]["error"]
    assert max(told[tile]["seconds"] for tile in healthy) < told[silent]["seconds"]

    # Midnight: news, and the keys of the bucket have expired, as Amazon says that.
    night.goes_on(1)
    night.shows(3)
    night.service.refusal = ("400 Bad Request", "ExpiredToken")
    with night.service.denying(lambda request: request.bucket == "eodata" and request.key == "first"):
        told = one.run(3, updated=web, stale=bucket)
        for tile in bucket:
            assert [(unseen["input"], unseen["cause"]) for unseen in told[tile]["unseen"]] == [("source", "denied")]
            assert "ExpiredToken" in told[tile]["error"]
        assert told[silent]["added"] == 2

        # One: somebody has brought new ones; both hosts at once.
        night.goes_on(1)
        night.key = "second"
        both(one, other, bucket)
    assert set(one.status().values()) <= {"updated", "unchanged"}

    # Two: a third host, whose clock is three hours ahead, is refused by every store and changes nothing.
    night.goes_on(1)
    night.shows(4)
    before = night.objects()
    wrong = Operator(night, "wrong", dt.timedelta(hours=3))
    process = wrong.start()
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 1
    assert stderr.count("the clock of this host is 3 h ahead of that of") == len(tiles)
    assert night.objects() == before
    one.run(0, updated=tiles)

    # Three: an operator takes the newest state of one tile back; the next run brings it again.
    night.goes_on(1)
    back = tiles[-1]
    before = readers.view(night.open(back).readonly_session("main"))
    assert night.store("rollback", back)["dry_run"] is False
    assert readers.view(night.open(back).readonly_session("main")) != before
    other.run(0, updated=[back], unchanged=[tile for tile in tiles if tile != back])
    again = readers.view(night.open(back).readonly_session("main"))
    assert replace(again, snapshot=before.snapshot) == before

    # Another day: what the night left behind is collected, readers see the same.
    night.goes_on(30)
    views = {tile: readers.view(night.open(tile).readonly_session("main")) for tile in tiles}
    sizes = len(night.objects())
    for tile in tiles:
        report = night.store("gc", tile, "--older-than", "1d")
        assert report["tags"], tile
    assert len(night.objects()) < sizes
    assert night.published() == Counter(tiles)
    for operator in (one, other):
        operator.run(0, unchanged=tiles)
        assert operator.status() == dict.fromkeys(tiles, "unchanged")
    assert {tile: readers.view(night.open(tile).readonly_session("main")) for tile in tiles} == views

    # Every store is what one build makes in an empty place.
    config = one.config()
    fresh = config.with_name("fresh.toml")
    text = config.read_text().replace("s3://stores/{tile}", "s3://stores/fresh/{tile}")
    fresh.write_text(text.replace("runs.jsonl", "fresh.jsonl").replace("s2ice.prom", "fresh.prom"))
    fresh.chmod(0o600)
    night.s2ice("run", fresh, "-q", **night.environment())
    for tile in tiles:
        assert len(views[tile].products) == len(night.products[tile]) == 4
        assert night.store("diff", tile, f"s3://stores/fresh/{tile}")["differences"] == 0
