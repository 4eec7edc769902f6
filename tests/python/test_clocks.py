"""Hosts whose clocks are wrong: what is far off is refused, what is near is waited for, a locked store is released."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import icechunk
import jsonschema
import pytest
import zarr
from moto.s3.models import s3_backends

from conftest import ROOT, binary
from support import clocks, readers, s3
from support.bench import contents
from support.command import Command
from support.living import TILE, Living

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.command import Outcome

HOURS = dt.timedelta(hours=3)
FAR = {"3 h ahead of": HOURS, "3 h behind": -HOURS, "(69|70|71) s ahead of": dt.timedelta(seconds=70)}
NEAR = [dt.timedelta(seconds=1), dt.timedelta(seconds=-1)]
COMMANDS = ["build", "run", "gc", "rollback", "repair"]
ARRAYS = ("--arrays", "**/b01")


@dataclass
class Place:
    """A store with two published states of two, and a third product in its archive."""

    living: Living
    address: str
    service: s3.Service | None
    prefix: str

    @property
    def access(self) -> tuple[str, ...]:
        return ("--store-endpoint", self.service.endpoint) if self.service else ()

    @property
    def url(self) -> str:
        return self.address if self.service else f"file://{self.address}"

    def storage(self) -> icechunk.Storage:
        if not self.service:
            return icechunk.local_filesystem_storage(self.address)
        return self.service.storage(self.prefix)

    def open(self) -> icechunk.Repository:
        return icechunk.Repository.open(self.storage())

    def line(self, command: str) -> list[object]:
        if command == "build":
            return [*self.living.line(None, *ARRAYS, *self.access, "-q", store=self.address)]
        if command == "run":
            return ["run", self.config(), "-q"]
        options = {"gc": (), "repair": ("--apply",), "rollback": ()}[command]
        return [command, self.address, *options, *self.access, "-q"]

    def config(self) -> Path:
        """A file of one tile, of all that is in the archive."""
        path = self.living.folder / "run.toml"
        index = self.living.archive.index(self.living.folder / "all.parquet", None)
        store = f'endpoint = "{self.service.endpoint}"' if self.service else ""
        path.write_text(
            f'level = "L2A"\nsource = "{self.living.archive.root}"\nindex = ["{index}"]\nstore = "{self.address}"\n'
            f'store-options = {{ {store} }}\narrays = ["**/b01"]\ntiles = ["{TILE}"]\n'
        )
        return path

    def __call__(self, command: str, by: dt.timedelta = dt.timedelta(), code: int = 0) -> Outcome:
        """Run a command on a host whose clock is ahead by so much."""
        return self.living.s2ice(*self.line(command), code=code, **(clocks.ahead(by) if by else {}))

    def repair(self, *arguments: object) -> dict[str, Any]:
        report = self.living.s2ice("repair", self.address, *arguments, *self.access, "--json").json
        jsonschema.validate(report, json.loads((ROOT / "schemas/repair-report.schema.json").read_text()))
        return report

    def objects(self) -> dict[str, bytes]:
        """Everything of the store, what lies beside it included."""
        if not self.service:
            return contents(self.living.store) or {}
        keys = s3_backends["123456789012"]["aws"].buckets["stores"].keys
        return {name: keys[name].value for name in list(keys) if name.startswith(f"{self.prefix}/")}

    def as_another(self, by: dt.timedelta, code: str) -> None:
        """Run Python with icechunk on a host whose clock is ahead."""
        environment = self.living.s2ice.environment | clocks.ahead(by)
        storage = (
            f"icechunk.s3_storage(bucket='stores', prefix={self.prefix!r}, endpoint_url={self.service.endpoint!r}, "
            f"region='us-east-1', allow_http=True, force_path_style=True, **{s3.KEYS})"
            if self.service
            else f"icechunk.local_filesystem_storage({self.address!r})"
        )
        program = f"import icechunk, zarr\nrepository = icechunk.Repository.open({storage})\n{code}"
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("stores")
        yield service


@pytest.fixture
def signed(living: Living) -> Living:
    living.s2ice = Command(living.s2ice.binary, living.s2ice.environment | s3.ENVIRONMENT)
    return living


def place_of(living: Living, service: s3.Service | None, name: str) -> Place:
    address = f"s3://stores/{name}" if service else str(living.store)
    place = Place(living, address, service, name)
    for day in ("2024-06-01", "2024-06-06"):
        living.archive.add(day)
        place("build")
    living.archive.add("2024-06-11")
    return place


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, signed: Living, service: s3.Service, tmp_path: Path) -> Place:
    return place_of(signed, service if request.param == "s3" else None, tmp_path.name)


@pytest.fixture
def on_s3(signed: Living, service: s3.Service, tmp_path: Path) -> Place:
    return place_of(signed, service, tmp_path.name)


def test_a_host_that_is_far_off_writes_nothing(place: Place) -> None:
    before = place.objects()
    for told, by in FAR.items():
        for command in COMMANDS:
            outcome = place(command, by, code=1)
            assert re.search(f"the clock of this host is {told} that of {place.url}: .*NTP", outcome.stderr), command
            assert place.objects() == before, f"{command} wrote"
    # Nobody has to wait for anything.
    for command in COMMANDS:
        place(command)
    assert "locked_until" not in place.repair()


def test_a_host_that_is_far_off_makes_no_store(signed: Living, service: s3.Service, tmp_path: Path) -> None:
    signed.archive.add("2024-06-01")
    place = Place(signed, f"s3://stores/{tmp_path.name}", service, tmp_path.name)
    for by in FAR.values():
        for command in ("build", "run"):
            place(command, by, code=1)
            assert place.objects() == {}


def test_whoever_only_reads_is_told(on_s3: Place) -> None:
    before = on_s3.objects()
    behind = clocks.ahead(-HOURS)
    build = [*(word for word in on_s3.line("build") if word != "-q"), "--dry-run"]
    for line in (
        ["info", on_s3.address, *on_s3.access],
        ["rollback", on_s3.address, "--list", *on_s3.access],
        ["rollback", on_s3.address, "--dry-run", *on_s3.access],
        ["gc", on_s3.address, "--dry-run", *on_s3.access],
        ["repair", on_s3.address, *on_s3.access],
        ["diff", on_s3.address, on_s3.address, *on_s3.access],
        build,
    ):
        outcome = on_s3.living.s2ice(*line, **behind)
        assert "the clock of this host is 3 h behind that of" in outcome.stderr, line
    assert on_s3.objects() == before


@pytest.mark.parametrize("by", NEAR, ids=str)
def test_a_second_is_waited_for(place: Place, by: dt.timedelta) -> None:
    """Whoever comes right after a host that is ahead, or is behind it, gets its turn."""
    for command in COMMANDS:
        place(command, by)
        place.living.archive.add(f"2024-07-{10 + COMMANDS.index(command)}")
        place("build")
        place.living.archive.add(f"2024-08-{10 + COMMANDS.index(command)}")
        place("build", by)
    assert len(readers.view(place.open().readonly_session("main")).products) == len(place.living.archive.products)
    assert "locked_until" not in place.repair()


def test_two_hosts_a_second_apart_write_at_once(on_s3: Place) -> None:
    for day in range(1, 6):
        on_s3.living.archive.add(f"2024-07-{day:02}")
        lines = [on_s3.line("build"), on_s3.line("build")]
        outcomes: list[Outcome] = []
        work = [
            threading.Thread(
                target=lambda line=line, by=by, to=outcomes: to.append(on_s3.living.s2ice(*line, **clocks.ahead(by)))
            )
            for line, by in zip(lines, (dt.timedelta(seconds=1), dt.timedelta()), strict=True)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        assert [outcome.code for outcome in outcomes] == [0, 0]
    assert len(readers.view(on_s3.open().readonly_session("main")).products) == len(on_s3.living.archive.products)
    assert on_s3.open().list_branches() == {"main"}


BRANCH = "repository.create_branch('s2ice-1700000000000-1', repository.lookup_branch('main'))"
COMMIT = """
session = repository.writable_session("main")
zarr.open_group(session.store).attrs["by"] = "a host from the future"
session.commit("from the future")
"""


@pytest.mark.parametrize("kind", ["branch", "commit"])
def test_a_locked_store_is_refused_and_released(place: Place, kind: str) -> None:
    if kind == "branch":
        place.as_another(HOURS, BRANCH)
    else:
        # Icechunk bears ten minutes.
        place.as_another(dt.timedelta(minutes=9), COMMIT)
    repository = place.open()
    main, tags = repository.lookup_branch("main"), {t: repository.lookup_tag(t) for t in repository.list_tags()}
    view = readers.view(repository.readonly_session("main"))
    before = place.objects()
    for command in ("build", "run", "gc", "rollback"):
        outcome = place(command, code=1)
        assert f"in the future, and until then nothing can be written: `s2ice repair {place.url}`" in outcome.stderr
        written = {name for name, body in place.objects().items() if before.get(name) != body}
        assert {name for name in written if not name.endswith(("s2ice", "s2ice/last-run.json"))} == set(), command
    before = place.objects()

    dry = place.repair()
    assert (dry["dry_run"], dry["released"]) == (True, False)
    assert dt.datetime.fromisoformat(dry["locked_until"]) > dt.datetime.now(dt.UTC) + dt.timedelta(minutes=8)
    assert dry["changes"] >= 1
    assert dry["snapshots"] == ([main] if kind == "commit" else [])
    assert place.objects() == before
    report = place.repair("--apply")
    assert report["released"]
    assert (report["changes"], report["snapshots"]) == (dry["changes"], dry["snapshots"])
    assert place.repair("--apply")["released"] is False

    # What Icechunk itself says of it.
    repository = place.open()
    assert repository.lookup_branch("main") == main
    assert {tag: repository.lookup_tag(tag) for tag in repository.list_tags()} == tags
    assert readers.view(repository.readonly_session("main")) == view
    # A service tells its time in whole seconds.
    now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    assert all(update.updated_at <= now for update in repository.ops_log())
    assert all(snapshot.written_at <= now for snapshot in repository.ancestry(branch="main"))
    session = repository.writable_session("main")
    zarr.open_group(session.store).attrs["by"] = "a host of the present"
    session.commit("of the present")
    for command in COMMANDS:
        place(command)
    assert len(readers.view(place.open().readonly_session("main")).products) >= 1


class Grown:
    """A store of real size, 16 rasters a product, that grew by one product a day; nothing is asked of its source."""

    def __init__(self, s2ice: Command, service: s3.Service, folder: Path) -> None:
        self.s2ice, self.service, self.folder = s2ice, service, folder
        self.place = Place(Living(s2ice, None, folder), f"s3://stores/{folder.name}", service, folder.name)  # type: ignore[arg-type]

    def build(self, first: int, count: int, total: int, place: Place | None = None) -> None:
        place = place or self.place
        index = self.folder / f"{first}-{count}.parquet"
        options = {"rasters": 16, "first": first, "products": count, "step": 1, "of": total}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        subprocess.run([binary("S2ICE_BENCH_INDEX_BIN", "bench_index"), index, *words], check=True)
        source = ("--source", "s3://eodata", "--source-endpoint", "https://eodata.example", "--source-anonymous")
        line = ("build", "--tile", TILE, "--index", index, *source, "--headers", "assume", "--memory", "none")
        self.s2ice(*line, "--store", place.address, *place.access, "-q", **clocks.ahead(self.service.ahead))

    def gc(self, after: dt.timedelta, *arguments: object) -> dict[str, Any]:
        self.service.ahead = after
        line = ("gc", self.place.address, *arguments, *self.place.access, "--json")
        report = self.s2ice(*line, **clocks.ahead(after)).json
        jsonschema.validate(report, json.loads((ROOT / "schemas/gc-report.schema.json").read_text()))
        return report


def sizes(place: Place) -> dict[str, int]:
    """Bytes by folder."""
    out: Counter[str] = Counter()
    for name, body in place.objects().items():
        out[name.removeprefix(f"{place.prefix}/").partition("/")[0]] += len(body)
    return dict(out)


@pytest.mark.soak
def test_one_gc_brings_many_appends_near_a_fresh_build(
    signed: Living, service: s3.Service, tmp_path: Path, soak: bool
) -> None:
    """As soon as the last of them is a day old; figures are printed."""
    grown = Grown(signed.s2ice, service, tmp_path)
    place, appends = grown.place, 100 if soak else 20
    with clocks.moving(service):
        for day in range(appends):
            grown.build(day, 1, appends)
        before = sizes(place)
        other = f"{tmp_path.name}-fresh"
        fresh = Place(grown.place.living, f"s3://stores/{other}", service, other)
        grown.build(0, appends, appends, fresh)
        one = sizes(fresh)
        main = place.open().lookup_branch("main")
        reader = zarr.open_group(place.open().readonly_session("main").store, mode="r")

        early = grown.gc(dt.timedelta(hours=23), "--older-than", "1d")
        assert set(early["collected"].values()) == {early["overwritten"]["objects"], len(early["tags"])} == {0}
        day = dt.timedelta(hours=25)
        dry = grown.gc(day, "--older-than", "1d", "--dry-run")
        report = grown.gc(day, "--older-than", "1d")
        assert report["collected"] == dry["collected"]
        assert (report["tags"], report["released_snapshots"]) == (dry["tags"], dry["released_snapshots"])
        left = sizes(place)
        for name, found in ((f"{appends} appends", before), ("a gc a day later", left), ("a fresh build", one)):
            sys.stdout.write(f"{name}: {sum(found.values())} bytes {found}\n")
        assert sum(left.values()) <= 1.5 * sum(one.values())
        assert place.open().lookup_branch("main") == main
        # What has not been read before, too.
        assert reader["products/time"].shape == (appends,)
        assert place.living.s2ice("diff", place.address, fresh.address, *place.access).code == 0


def test_what_main_left_within_the_day_can_be_read(signed: Living, service: s3.Service, tmp_path: Path) -> None:
    """However old the state is, and however few shall stay."""
    grown = Grown(signed.s2ice, service, tmp_path)
    place, keep = grown.place, ("--older-than", "1d")
    month = dt.timedelta(days=40)
    with clocks.moving(service):
        grown.build(0, 1, 2)
        old = place.open().lookup_branch("main")
        # A run that is in its gate for hours.
        service.ahead = month
        place.as_another(month, BRANCH.replace("1700000000000", "1800000000000"))
        grown.build(1, 1, 2)
        held = place.objects()
        for hours in (1, 22):
            report = grown.gc(month + dt.timedelta(hours=hours), *keep)
            assert report["tags"] == report["branches"] == []
            assert report["collected"]["snapshots"] == 0
            kept = {name for name in held if name.split("/")[-2] in ("snapshots", "manifests", "chunks")}
            assert kept <= set(place.objects())
        report = grown.gc(month + dt.timedelta(hours=26), *keep)
        assert report["branches"] == ["s2ice-1800000000000-1"]
        assert (len(report["tags"]), report["released_snapshots"], report["collected"]["snapshots"]) == (1, 1, 1)
        assert f"{place.prefix}/snapshots/{old}" not in place.objects()
