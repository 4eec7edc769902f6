"""Runs killed at any point, again and again, while a reader opens `main`.

Every state that the reader sees is one that was published, and the next run just works.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import icechunk
import pytest

from support import readers, s3, tables
from support.living import B01, TILE, Living

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.archive import Archive
    from support.command import Command

LOG = logging.getLogger(__name__)
KILLS, KILLS_SOAK = 10, 100
EVERY = 5
"""So many runs are killed before one is let through."""
PER_STORE = 14
"""So many kills go to one store; then a new one is begun."""
DAYS = (1, 6, 11, 16, 21, 26)


@dataclass
class Plot:
    """What happens to the archive: products appear at the end, in between, and once more."""

    archive: Archive
    chance: random.Random
    names: list[str] = field(default_factory=list)
    at: dict[int, list[str]] = field(default_factory=dict)

    def begin(self) -> None:
        self.names, self.at = [], {}
        self.appear(11)
        self.appear(1)

    def appear(self, day: int) -> None:
        """Make a product of a day, a later processing of one that there is."""
        version = len(self.at.setdefault(day, []))
        # Days take turns between the platforms; a day and its next processing have different pixels.
        base = DAYS.index(day) % 2 + 2 * (version % 2)
        name = self.archive.add(f"2024-06-{day:02}", base=base, generated=f"2024-{7 + version:02}-01")
        self.at[day].append(name)
        self.names.append(name)

    def advance(self, number: int) -> None:
        last = max(self.at)
        between = [day for day in DAYS if day < last and day not in self.at]
        after = [day for day in DAYS if day > last]
        match number % 3:
            case 0 if after:
                self.appear(after[0])
            case 1 if between:
                self.appear(self.chance.choice(between))
            case _:
                self.appear(self.chance.choice([day for day in self.at if len(self.at[day]) < 5]))

    @property
    def state(self) -> tuple[str, ...]:
        """The products that a store of all this has."""
        return tuple(versions[-1] for _, versions in sorted(self.at.items()))


def first_chunks(archive: Archive) -> dict[str, bytes]:
    """The bytes of the first chunk of each product, by the index."""
    out = {}
    for product in list(archive.products.values()):
        (row,) = (row for row in product.rows if tables.asset(row) == "B01_60m")
        _, start, _ = tables.head(row["index"])
        length = tables.lengths(row["index"])[0]
        data = (archive.root / row["path"].lstrip("/")).read_bytes()
        out[product.name] = data[start : start + length]
    return out


@dataclass
class Place:
    """One store: how it is opened by readers, and what has been seen there."""

    open: Callable[[], icechunk.Repository]
    allowed: set[tuple[str, ...]] = field(default_factory=set)
    published: bool = False
    """True once a run has been let through: from then on there is always a state to be read."""
    seen: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Reader(threading.Thread):
    """Opens `main` all the while and looks at every state it finds."""

    def __init__(self, archive: Archive, pause: float) -> None:
        super().__init__(daemon=True)
        self.pause = pause
        self.archive = archive
        self.place: Place | None = None
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.opened = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        while not self.over.is_set():
            with self.lock:
                if self.place:
                    try:
                        self.look(self.place)
                    except BaseException as error:
                        self.error = error
                        return
            time.sleep(self.pause)

    def look(self, place: Place) -> None:
        published = place.published
        try:
            repository = place.open()
            session = repository.readonly_session("main")
        except icechunk.IcechunkError:
            if published:
                raise
            return
        self.opened += 1
        if session.snapshot_id in place.seen:
            return
        if not published and not place.seen and len(list(repository.ancestry(snapshot_id=session.snapshot_id))) == 1:
            return  # made, and nothing published yet
        view = readers.view(session)
        assert view.products in place.allowed, view
        assert set(view.present) == {B01}
        expected = first_chunks(self.archive)
        for step, product in enumerate(view.products):
            assert asyncio.run(readers.chunk(session, B01, step)) == expected[product], (step, product)
        place.seen[session.snapshot_id] = view.products

    def stop(self) -> None:
        self.over.set()
        self.join()
        if self.error:
            raise self.error


def kill(command: Command, line: list[object], after: float) -> bool:
    """Start a run and kill it; false where it was done before."""
    process = command.start(*line)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True
    assert process.returncode == 0
    return False


@dataclass(frozen=True)
class Where:
    """A place for stores, and the options by which commands reach it."""

    begin: Callable[[int], tuple[str, Place]]
    pause: float
    """Seconds between two looks of the reader."""
    options: tuple[object, ...] = ()


def killed_again_and_again(living: Living, where: Where, seed: int, kills: int) -> None:
    chance = random.Random(seed)
    plot = Plot(living.archive, chance)
    reader = Reader(living.archive, where.pause)
    reader.start()
    arrays = ("--arrays", "**/b01")
    durations: list[float] = []
    killed = cleaned = stores = 0
    try:
        while killed < kills:
            stores += 1
            address, place = where.begin(stores)
            with reader.lock:
                reader.place = place
            plot.begin()
            for number in range(PER_STORE):
                if number:
                    plot.advance(number)
                with reader.lock:
                    place.allowed.add(plot.state)
                longest = max(durations[-3:], default=0.3)
                line = living.line(plot.names, *arrays, *where.options, "-q", store=address)
                killed += kill(living.s2ice, line, chance.uniform(0, longest))
                assert reader.error is None
                if number % EVERY != EVERY - 1 and number != PER_STORE - 1:
                    continue
                began = time.monotonic()
                report = living.run(plot.names, *arrays, *where.options, store=address)
                durations.append(time.monotonic() - began)
                cleaned += len(report.get("cleaned", []))
                with reader.lock:
                    place.published = True
                check(place, plot.state)
            with reader.lock:
                reader.place = None
            fresh = Living(living.s2ice, living.archive, living.folder / f"fresh-{stores}")
            fresh.run(plot.names, *arrays)
            fresh.diff(address, *where.options)
    finally:
        reader.stop()
    figures = killed, stores, cleaned, reader.opened, min(durations), max(durations)
    LOG.info("%d killed in %d stores, %d branches cleaned up, main opened %d times, runs of %.2f to %.2f s", *figures)
    assert reader.opened > kills


def check(place: Place, state: tuple[str, ...]) -> None:
    """After a run that was let through: it has what it shall, and every state of main has a tag."""
    repository = place.open()
    session = repository.readonly_session("main")
    assert readers.view(session).products == state
    *states, first = repository.ancestry(branch="main")
    assert first.parent_id is None
    tagged = {repository.lookup_tag(tag) for tag in repository.list_tags()}
    assert tagged == {state.id for state in states}
    assert set(place.seen) <= tagged


def opener(living: Living, storage: Callable[[], icechunk.Storage]) -> Callable[[], icechunk.Repository]:
    access = {f"file://{living.archive.root}/": icechunk.credentials.LocalFileSystemAccess}
    return lambda: icechunk.Repository.open(storage(), authorize_virtual_chunk_access=access)


def test_on_a_local_disk(living: Living, soak: bool) -> None:
    def begin(number: int) -> tuple[str, Place]:
        folder = living.folder / f"{number}" / TILE
        return str(folder), Place(opener(living, lambda: icechunk.local_filesystem_storage(str(folder))))

    killed_again_and_again(living, Where(begin, 0.002), 1, KILLS_SOAK if soak else KILLS)
    for folder in sorted(living.folder.glob(f"[0-9]*/{TILE}")):
        assert living.s2ice("info", folder, "--json").json["branches"] == ["main"]


@pytest.mark.soak
def test_on_s3(living: Living, soak: bool) -> None:
    living.s2ice = type(living.s2ice)(living.s2ice.binary, living.s2ice.environment | s3.ENVIRONMENT)
    with s3.serve() as service:
        service.bucket("stores")

        def begin(number: int) -> tuple[str, Place]:
            def storage() -> icechunk.Storage:
                return service.storage(f"{number}/{TILE}")

            return f"s3://stores/{number}/{TILE}", Place(opener(living, storage))

        # Reader and service share this process: a reader without rest would be all that is served.
        where = Where(begin, 0.05, ("--store-endpoint", service.endpoint))
        killed_again_and_again(living, where, 2, KILLS_SOAK if soak else KILLS)


def test_a_repository_that_was_not_finished(living: Living) -> None:
    """Icechunk writes the first snapshot before the file by which a repository is known."""
    living.archive.add("2024-06-01")
    empty = icechunk.Repository.create(icechunk.local_filesystem_storage(str(living.store)))
    assert len(list(empty.ancestry(branch="main"))) == 1
    for entry in living.store.iterdir():
        if entry.name != "snapshots":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    assert len(living.run()["changes"]["appended"]) == 1
