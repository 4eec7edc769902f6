"""Two runs at once: both succeed, nothing is lost, nothing appears twice."""

from __future__ import annotations

import fcntl
import json
import random
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import icechunk
import pytest

from support import readers, s3
from support.living import TILE, Living, changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.archive import Archive


ARRAYS = ("--arrays", "**/b01")
PER_STORE = 10
"""So many rounds go to one store; then a new one is begun, which is a race of its own."""


@dataclass
class Race:
    """A store on which two runs work at a time."""

    living: Living
    address: str
    open: Callable[[], icechunk.Repository]
    options: tuple[object, ...] = ()
    names: list[str] = field(default_factory=list)
    """What the store has."""
    older: list[str] = field(default_factory=list)
    """What it had and gave away for a later processing."""

    def together(self, *inputs: list[str]) -> list[dict[str, Any]]:
        """Run once for each input, all at the same time, and give the reports."""
        command = self.living.s2ice
        lines = [self.living.line(i, *ARRAYS, *self.options, "--json", store=self.address) for i in inputs]
        processes = [command.start(*line) for line in lines]
        answers: dict[int, tuple[str, str]] = {}
        threads = [
            threading.Thread(target=lambda n=n, p=p: answers.update({n: p.communicate(timeout=120)}))
            for n, p in enumerate(processes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outcomes = [(process.returncode, *answers[n]) for n, process in enumerate(processes)]
        errors = [error for code, _, error in outcomes if code]
        assert errors == []
        return [command_json(out) for _, out, _ in outcomes]

    def check(self) -> None:
        """Each product once, in the order of time; every state has a tag, no run's branch is left."""
        repository = self.open()
        view = readers.view(repository.readonly_session("main"))
        assert sorted(view.products) == sorted(self.names)
        assert [name.split("_")[2] for name in view.products] == sorted(name.split("_")[2] for name in self.names)
        assert repository.list_branches() == {"main"}
        *states, _ = repository.ancestry(branch="main")
        tagged = {repository.lookup_tag(tag) for tag in repository.list_tags()}
        assert tagged == {state.id for state in states}

    def is_as_built(self) -> None:
        fresh = Living(self.living.s2ice, self.living.archive, self.living.folder / f"fresh-{self.living.count}")
        fresh.run([*self.older, *self.names], *ARRAYS)
        fresh.diff(self.address, *self.options)


def command_json(text: str) -> dict[str, Any]:
    return json.loads(text)


class Days:
    """Makes products on days of which there is none yet."""

    def __init__(self, archive: Archive, chance: random.Random) -> None:
        self.archive = archive
        self.chance = chance
        self.free = list(range(1, 30))
        self.made: dict[str, int] = {}

    def new(self) -> str:
        day = self.free.pop(self.chance.randrange(len(self.free)))
        name = self.archive.add(f"2024-06-{day:02}", base=day % 4)
        self.made[name] = day
        return name

    def again(self, name: str, month: int) -> str:
        """Make the next processing of a product."""
        day = self.made[name]
        later = self.archive.add(
            f"2024-06-{day:02}", base=day % 4, generated=f"20{24 + month // 12}-{1 + month % 12:02}-02"
        )
        self.made[later] = day
        return later


def rounds(begin: Callable[[int], Race], count: int, seed: int) -> int:
    """Two runs at a time, so often; gives how often one of them had to begin anew."""
    chance = random.Random(seed)
    again = number = 0
    while number < count:
        race = begin(number)
        days = Days(race.living.archive, chance)
        for turn in range(min(PER_STORE, count - number)):
            kind = "new" if turn < 2 else chance.choice(["new", "new", "replace", "both"])
            if kind == "new":
                added = [days.new(), days.new()]
            elif kind == "replace":
                old = chance.choice(race.names)
                added = [days.new(), days.again(old, 8 + number)]
                race.names.remove(old)
                race.older.append(old)
            else:
                # Two runs that know the same.
                name = days.new()
                added = [name, name]
            first, second = ([*race.older, *race.names, name] for name in added)
            if chance.random() < 0.5:
                first, second = added[:1], added[1:]
            reports = race.together(first, second)
            race.names += sorted(set(added))
            again += sum(report["attempts"] - 1 for report in reports)
            assert sum("committed" in report for report in reports) == len(set(added))
            race.check()
            number += 1
        race.is_as_built()
        assert changes(race.together(race.names)[0]) == {"unchanged": len(race.names)}
    return again


def on_disk(living: Living, number: int) -> Race:
    folder = living.folder / f"{number}" / TILE
    return Race(living, str(folder), lambda: icechunk.Repository.open(icechunk.local_filesystem_storage(str(folder))))


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("stores")
        yield service


@pytest.fixture
def on_s3(living: Living, service: s3.Service, tmp_path: Path) -> Callable[[int], Race]:
    living.s2ice = type(living.s2ice)(living.s2ice.binary, living.s2ice.environment | s3.ENVIRONMENT)

    def begin(number: int) -> Race:
        prefix = f"{tmp_path.name}/{number}"
        storage = service.storage(prefix)
        options = ("--store-endpoint", service.endpoint)
        return Race(living, f"s3://stores/{prefix}", lambda: icechunk.Repository.open(storage), options)

    return begin


def test_two_at_a_time_on_s3(on_s3: Callable[[int], Race], soak: bool) -> None:
    """The loser of a race begins anew on what the winner wrote."""
    count = 50 if soak else 10
    assert rounds(on_s3, count, 1) > count // 5, "hardly any race was one"


def test_two_at_a_time_on_a_local_disk(living: Living, soak: bool) -> None:
    """The lock makes the second wait for the first."""
    assert rounds(lambda number: on_disk(living, number), 20 if soak else 6, 2) == 0


def test_five_that_make_one_store(on_s3: Callable[[int], Race]) -> None:
    race = on_s3(0)
    days = Days(race.living.archive, random.Random(3))
    race.names = [days.new() for _ in range(5)]
    reports = race.together(*([name] for name in race.names))
    assert sum(report["committed"]["created"] for report in reports) == 1
    race.check()
    race.is_as_built()


def test_a_lock_that_is_held_is_waited_for_so_long(living: Living) -> None:
    living.archive.add("2024-06-01")
    living.run(None, *ARRAYS)
    living.archive.add("2024-06-06")
    with (living.store.parent / f".{TILE}.s2ice-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sentence = living.fails(None, *ARRAYS, "--lock-wait", "1s", "-q")
        assert "another s2ice process is writing" in sentence
        process = living.s2ice.start(*living.line(None, *ARRAYS, "--lock-wait", "1m", "-q"))
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(living.view().products) == 2
