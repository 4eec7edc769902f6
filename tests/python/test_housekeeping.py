"""`s2ice rollback` and `s2ice gc`: the way back to a published state, and what goes when its time has come.

Nothing here waits: a test makes files older instead, on disk by their time, in moto by its record of them. What depends
on the time inside a snapshot is tested in Rust, where the time is an argument.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import icechunk
import jsonschema
import pytest
import zarr
from moto.s3.models import s3_backends

from conftest import ROOT
from support import s3, stores
from support.bench import contents
from support.command import Command

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Samples

DAYS = 40
ARRAYS = "**/b01"


def valid(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Check a report against its published schema."""
    jsonschema.validate(report, json.loads((ROOT / f"schemas/{name}-report.schema.json").read_text()))
    assert (report["kind"], report["version"]) == (f"s2ice.{name}", 1)
    return report


def bucket() -> dict[str, Any]:
    """What moto keeps of the bucket of stores."""
    keys = s3_backends["123456789012"]["aws"].buckets["stores"].keys
    return {name: keys[name] for name in list(keys)}


class Place(NamedTuple):
    """A store with three published states of one, two and three time steps."""

    s2ice: Command
    store: str
    build: tuple[object, ...]
    access: tuple[object, ...]
    storage: icechunk.Storage
    path: Path | None
    prefix: str | None

    def run(self, command: str, *arguments: object, code: int = 0) -> Any:
        return self.s2ice(command, self.store, *arguments, *self.access, code=code)

    def rollback(self, *arguments: object) -> dict[str, Any]:
        return valid(self.run("rollback", *arguments, "--json").json, "rollback")

    def states(self) -> list[dict[str, Any]]:
        return valid(self.run("rollback", "--list", "--json").json, "published")["states"]

    def gc(self, *arguments: object) -> dict[str, Any]:
        return valid(self.run("gc", *arguments, "--json").json, "gc")

    def update(self, *arguments: object) -> dict[str, Any]:
        return self.s2ice(*self.build, *arguments, "--json").json

    def open(self) -> icechunk.Repository:
        return icechunk.Repository.open(self.storage)

    def main(self) -> str:
        return self.open().lookup_branch("main")

    def age(self) -> None:
        """Make every object of the store older than a gc asks for."""
        past = dt.timedelta(days=DAYS)
        if self.path:
            for file in self.path.rglob("*"):
                os.utime(file, times=(file.stat().st_atime, file.stat().st_mtime - past.total_seconds()))
        else:
            for _, key in self.keys():
                key.last_modified -= past

    def keys(self) -> Iterator[tuple[str, Any]]:
        for name, key in bucket().items():
            if name.startswith(f"{self.prefix}/"):
                yield name.removeprefix(f"{self.prefix}/"), key

    def objects(self, folder: str = "") -> dict[str, bytes]:
        """Everything of the store, or of one of its folders."""
        found = contents(self.path) or {} if self.path else {name: key.value for name, key in self.keys()}
        return {name: body for name, body in found.items() if name.startswith(folder)}


def whole(repository: icechunk.Repository, snapshot: str) -> dict[str, set[Any]]:
    """Every document and every chunk reference of a state, which needs each of its manifests; and its history."""
    session = repository.readonly_session(snapshot_id=snapshot)
    history = list(repository.ancestry(snapshot_id=snapshot))
    assert history[-1].parent_id is None
    return {"documents": set(stores.documents(session)), "chunks": asyncio.run(stores.chunks(session))}


def intact(place: Place) -> dict[str, set[Any]]:
    """Check that a store can be listed in every way, with empty caches; gives what `main` holds."""
    repository = place.open()
    for branch in repository.list_branches():
        whole(repository, repository.lookup_branch(branch))
    for tag in repository.list_tags():
        whole(repository, repository.lookup_tag(tag))
    assert list(repository.ops_log())
    return whole(repository, repository.lookup_branch("main"))


def days(samples: Samples) -> list[str]:
    """The dates of the products."""
    return [dt.datetime.strptime(name.split("_")[2], "%Y%m%dT%H%M%S").date().isoformat() for name in samples.products]


def publish(s2ice: Command, samples: Samples, store: object, *access: object) -> tuple[object, ...]:
    """Build three states, one product more each time; gives the command line for everything."""
    line = ("build", "--tile", "33TVN", "--index", samples.index, "--source", samples.root, "--memory", "none")
    line = (*line, "--store", store, *access)
    for day in days(samples):
        s2ice(*line, "--datetime", f"../{day}", "--arrays", ARRAYS, "-q")
    return (*line, "--arrays", ARRAYS)


@pytest.fixture(scope="module")
def published(s2ice: Command, samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store on disk; read only."""
    store = tmp_path_factory.mktemp("published") / "33TVN"
    publish(s2ice, samples, store)
    return store


class Cloud(NamedTuple):
    """A service with a store at s3://stores/origin; read only."""

    service: s3.Service
    s2ice: Command
    build: tuple[object, ...]


@pytest.fixture(scope="module")
def cloud(s2ice: Command, samples: Samples) -> Iterator[Cloud]:
    with s3.serve() as service:
        service.bucket("stores")
        signed = Command(s2ice.binary, s2ice.environment | s3.ENVIRONMENT)
        access = ("--store-endpoint", service.endpoint)
        yield Cloud(service, signed, publish(signed, samples, "s3://stores/origin", *access))


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, s2ice: Command, tmp_path: Path) -> Place:
    if request.param == "disk":
        published = request.getfixturevalue("published")
        path = shutil.copytree(published, tmp_path / "33TVN")
        line = ("build", "--tile", "33TVN", "--store", path)
        samples = request.getfixturevalue("samples")
        line = (*line, "--index", samples.index, "--source", samples.root, "--memory", "none", "--arrays", ARRAYS)
        return Place(s2ice, str(path), line, (), icechunk.local_filesystem_storage(str(path)), path, None)
    cloud: Cloud = request.getfixturevalue("cloud")
    client, prefix = cloud.service.client, tmp_path.name
    for name in [name for name in bucket() if name.startswith("origin/")]:
        copy = name.replace("origin", prefix, 1)
        client.copy_object(Bucket="stores", Key=copy, CopySource={"Bucket": "stores", "Key": name})
    storage = cloud.service.storage(prefix)
    store, access = f"s3://stores/{prefix}", ("--store-endpoint", cloud.service.endpoint)
    build = tuple(store if word == "s3://stores/origin" else word for word in cloud.build)
    return Place(cloud.s2ice, store, build, access, storage, None, prefix)


def killed(place: Place, name: str = "s2ice-1700000000000-1") -> str:
    """Leave what a killed run leaves: a branch of its own with a commit nobody else has; gives its snapshot."""
    repository = place.open()
    repository.create_branch(name, repository.lookup_branch("main"))
    session = repository.writable_session(name)
    group = zarr.open_group(session.store)
    group.create_array("left", shape=(20_000,), chunks=(10_000,), dtype="f8", compressors=None)[:] = 1.5
    return session.commit("killed")


def test_each_build_publishes_a_state(place: Place) -> None:
    states = place.states()
    assert [state["time_steps"] for state in states] == [1, 2, 3]
    assert [state["main"] for state in states] == [False, False, True]
    assert states[2]["snapshot"] == place.main()
    assert {state["tag"] for state in states} == place.open().list_tags()
    stamps = [dt.datetime.fromisoformat(state["published"]) for state in states]
    assert stamps == sorted(stamps)
    text = place.run("rollback", "--list").stdout
    assert text.splitlines()[2].split() == [
        *(states[2]["tag"], states[2]["published"], "3", "time", "steps"),
        *(states[2]["snapshot"], "main"),
    ]
    info = place.run("info").stdout
    assert f"3 states, the newest {states[2]['tag']}, {states[1]['tag']}, {states[0]['tag']}" in info


def test_readers_are_moved_back_and_the_next_build_goes_forward(place: Place) -> None:
    states = place.states()
    before = place.objects()
    dry = place.rollback("--dry-run")
    assert (dry["moved"], dry["to"]["tag"]) == (False, states[1]["tag"])
    assert place.objects() == before
    report = place.rollback()
    assert report["moved"]
    assert (report["from"]["time_steps"], report["to"]["time_steps"]) == (3, 2)
    assert (report["to"]["tag"], report["to"]["snapshot"]) == (states[1]["tag"], place.main())
    assert place.rollback(states[0]["tag"].removeprefix("published/"))["to"]["time_steps"] == 1
    steps = zarr.open_group(place.open().readonly_session("main").store, mode="r")["products/time"]
    assert steps.shape == (1,)
    sentence = place.run("rollback", code=1).sentence
    assert "no earlier state was published" in sentence
    assert [state["main"] for state in place.states()] == [True, False, False]
    # The inputs say what they said.
    assert place.update()["times"]["count"] == 3
    states = place.states()
    assert [(s["time_steps"], s["main"]) for s in states] == [(1, False), (2, False), (3, False), (3, True)]


def test_what_cannot_be_gone_back_to_is_told(place: Place) -> None:
    tags = [state["tag"] for state in place.states()]
    sentence = place.run("rollback", "v1", code=1).sentence
    assert f"it has no tag v1; its newest published states are {tags[2]}, {tags[1]}, {tags[0]}" in sentence
    repository = place.open()
    repository.create_branch("theirs", next(reversed(list(repository.ancestry(branch="main")))).id)
    session = repository.writable_session("theirs")
    zarr.create_group(session.store)
    repository.create_tag("theirs", session.commit("theirs"))
    assert "the state of theirs was not written by s2ice" in place.run("rollback", "theirs", code=1).sentence
    assert place.states()[2]["main"]


def test_gc_of_a_young_store_removes_nothing(place: Place) -> None:
    held = intact(place)
    for arguments in (("--keep-published", 1, "--older-than", "1d"), ("--older-than", "4w")):
        report = place.gc(*arguments)
        assert report["branches"] == report["tags"] == []
        assert report["released_snapshots"] == report["overwritten"]["objects"] == 0
        assert set(report["collected"].values()) == {0}
    assert intact(place) == held


def test_gc_removes_what_killed_runs_and_old_states_left(place: Place) -> None:
    states, held = place.states(), intact(place)
    repository = place.open()
    snapshot = killed(place)
    # A state of long ago by its name on which `main` never was, and a tag that is not ours to judge.
    repository.create_tag("published/20200101T000000000Z", snapshot)
    repository.create_tag("published/20200102T000000000Z", states[0]["snapshot"])
    repository.create_tag("release-1", states[1]["snapshot"])
    reader = zarr.open_group(place.open().readonly_session("main").store, mode="r")
    if not place.path:
        # The branch was made a moment ago: its run may be at work on an object store.
        assert place.gc("--dry-run")["branches"] == []
        repository.delete_branch("s2ice-1700000000000-1")
    place.age()
    former = place.objects("overwritten/")
    before = place.objects()
    dry = place.gc("--keep-published", 3, "--dry-run")
    assert place.objects() == before
    assert dry["overwritten"] == {"objects": len(former), "bytes": sum(map(len, former.values()))}
    report = place.gc("--keep-published", 3)
    assert report["branches"] == (["s2ice-1700000000000-1"] if place.path else [])
    assert report["tags"] == dry["tags"] == ["published/20200101T000000000Z"]
    # The other one was the last before the present ones, which are young.
    assert report["published"] == 4
    assert report["overwritten"]["objects"] >= len(former)
    assert not set(former) & set(place.objects("overwritten/"))
    collected = report["collected"]
    assert (collected["snapshots"], collected["transaction_logs"], collected["chunks"]) == (1, 1, 2)
    assert f"snapshots/{snapshot}" not in place.objects()
    removed = {n: body for n, body in before.items() if n not in place.objects() and n.split("/")[0] != "overwritten"}
    assert collected["bytes"] == sum(map(len, removed.values()))
    # A reader that had it open, and everybody else.
    assert reader["products/time"].shape == (3,)
    assert reader["products/time"][:].tolist() == sorted(reader["products/time"][:].tolist())
    assert intact(place) == held
    assert [(s["time_steps"], s["main"]) for s in place.states()] == [(1, False), (1, False), (2, False), (3, True)]
    assert place.open().lookup_tag("release-1") == states[1]["snapshot"]
    assert place.update()["times"]["count"] == 3


def test_a_state_left_a_moment_ago_can_be_read_to_the_end(place: Place) -> None:
    # A state that no tag names, as old as can be, until a moment ago that of `main`.
    repository = place.open()
    earlier = place.main()
    session = repository.writable_session("main")
    group = zarr.open_group(session.store)
    group.create_array("more", shape=(20_000,), chunks=(10_000,), dtype="f8", compressors=None)[:] = 2.5
    session.commit("by hand")
    place.age()
    reader = zarr.open_group(place.open().readonly_session("main").store, mode="r")
    place.open().reset_branch("main", earlier)
    report = place.gc("--keep-published", 1, "--older-than", "1d")
    assert report["collected"]["snapshots"] == 0
    assert reader["more"][:].tolist() == [2.5] * 20_000


def settled(place: Place, process: subprocess.Popen[str]) -> None:
    """Check that a command ended well; on disk it may have found the lock taken."""
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 or (place.path and "another s2ice process" in errors), errors


def test_gc_and_builds_at_the_same_time(place: Place, samples: Samples) -> None:
    place.age()
    for more in ("**/b09", "**"):
        build = place.s2ice.start(*place.build, "--arrays", more)
        ended = False
        while not ended:
            ended = build.poll() is not None
            gc = place.s2ice.start("gc", place.store, "--keep-published", 1, "--older-than", "1d", *place.access)
            settled(place, gc)
        settled(place, build)
    place.update("--arrays", "**")
    chunks = intact(place)["chunks"]
    assert {path.rpartition("/")[2] for path, *_ in chunks} == {"b01", "b09", "scl"}
    assert {step for _, step, *_ in chunks} == set(range(len(samples.products)))


def test_only_stores_are_cleaned(s2ice: Command, published: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for command in ("gc", "rollback"):
        assert "there is no store" in s2ice(command, nowhere, code=1).sentence
    assert not nowhere.exists()
    theirs = tmp_path / "theirs"
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(theirs)))
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    session.commit("theirs")
    before = contents(theirs)
    assert "s2ice did not write" in s2ice("gc", theirs, code=1).sentence
    assert contents(theirs) == before
    for wrong in ("30", "3y", "", "-1d", "10m", "23h"):
        assert "--older-than" in s2ice("gc", published, f"--older-than={wrong}", code=2).stderr
