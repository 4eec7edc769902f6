"""A month of daily runs on a catalogue as they are: late, reprocessed, changed in place, ahead of the index, down."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import zarr

from support import stores, tables
from support.archive import Archive
from support.living import Living, changes, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Samples
    from support.catalogue import Catalogue
    from support.command import Command

DAYS = range(1, 31)
SENSED = (1, 2, 4, 6, 7, 9, 11, 12, 14, 16, 17, 19, 21, 22, 24, 26, 27)
AGAIN = {13: 2, 20: 6, 24: 14}
"""On which day a product of which day is processed again."""
CHANGED = {11: 4, 23: 9}
"""On which day the item of a product of which day is changed in place."""
WITHDRAWN = {18: 7}
BACKFILLED = 16
"""On this day an item appears that says it was last changed on day 5: the index has rows that no change explains."""
FULL = {8, 15, 22, 23, 29}
"""On these days the catalogue is asked for everything."""
DOWN = {10: "all", 22: "pages"}
LOST = 12
"""On this day the source does not have the files of what is new."""


def day_of(day: int, minute: int = 0) -> datetime:
    return datetime(2024, 6, 1, 12) + timedelta(days=day - 1, minutes=minute)


@dataclass
class Entry:
    """A product, and from which day on who knows of it."""

    name: str
    sensed: int
    made: int
    visible: int
    indexed: int
    found: int = 0
    """From when on a run can find it in the catalogue and in the index."""


@dataclass
class Month:
    """What happens when."""

    archive: Archive
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance = random.Random(2024)
        for sensed in SENSED:
            late, lag = chance.choice([0, 0, 1, 1, 2, 4]), chance.choice([0, 0, 0, 1, 3])
            if sensed in (SENSED[0], LOST):
                late = lag = 0
            self.add(sensed, sensed, late, lag)
        for made, sensed in AGAIN.items():
            self.add(sensed, made, 0, chance.choice([0, 2]))
        self.add(3, 5, BACKFILLED - 5, 0)
        self.archive.stamp(self.entries[-1].name, day_of(5))

    def add(self, sensed: int, made: int, late: int, lag: int) -> None:
        generated = None if made == sensed else f"2024-06-{made:02}"
        base = sensed % 2 + (0 if generated is None else 2)
        name = self.archive.add(f"2024-06-{sensed:02}", base=base, generated=generated)
        visible = made + late
        self.archive.stamp(name, day_of(visible, len(self.entries)))
        self.entries.append(Entry(name, sensed, made, visible, visible + lag, visible + lag))

    def of(self, sensed: int) -> Entry:
        return min((e for e in self.entries if e.sensed == sensed), key=lambda e: e.made)

    def happens(self, day: int, catalogue: Catalogue) -> None:
        """Bring the catalogue up to a day."""
        names = [entry.name for entry in self.entries if entry.visible == day]
        if day in CHANGED:
            entry = self.of(CHANGED[day])
            item = self.archive.products[entry.name].item
            item["properties"]["eo:cloud_cover"] += 1.5
            self.archive.stamp(entry.name, day_of(day, 50))
            names.append(entry.name)
        catalogue.put(self.archive.items(names))
        if day in WITHDRAWN:
            del catalogue.items[self.of(WITHDRAWN[day]).name]

    def indexed(self, day: int) -> list[str]:
        return [entry.name for entry in self.entries if entry.indexed <= day]

    def stored(self, day: int) -> list[str]:
        """What the store shall have after a run of this day that succeeds."""
        best: dict[int, Entry] = {}
        for entry in self.entries:
            if entry.found <= day and (entry.sensed not in best or entry.made > best[entry.sensed].made):
                best[entry.sensed] = entry
        return [best[sensed].name for sensed in sorted(best)]


@pytest.fixture
def month(bases: Samples, tmp_path: Path) -> Month:
    return Month(Archive(tmp_path / "archive", bases.root))


class Runs:
    """The daily runs."""

    def __init__(self, living: Living, month: Month, items: Catalogue) -> None:
        self.living = living
        self.month = month
        self.items = items
        self.served: dict[int, int] = {}
        self.modes: dict[int, str] = {}
        self.quiet: set[int] = set()

    def products(self) -> list[str]:
        if not self.living.store.exists():
            return []
        root = zarr.open_group(stores.local(self.living.store).store, mode="r")
        return [str(name) for name in root["products/product_id"][:]]

    def run(self, day: int) -> None:
        """Run as the timer does on a day, and check what came of it."""
        before, names = self.products(), self.month.indexed(day)
        more = ["--full"] if day in FULL else []
        if day in DOWN:
            self.items.down = DOWN[day]
            if self.items.down == "all":
                assert "503" in self.living.fails(names, *more, code=3, stac=self.items.endpoint, memory=None)
            else:
                # What came before the page that does not come is believed, and nothing is concluded from the rest.
                report = self.living.run(names, *more, stale=True, stac=self.items.endpoint, memory=None)
                (reason,) = report["stac"]["incomplete"]
                assert "503" in reason
                assert report["changes"]["removed"] == []
                assert self.products() == before
            self.items.down = ""
            return
        served = self.items.served
        lost = self.month.of(LOST).name if day == LOST else None
        with self.without(lost):
            report = self.living.run(names, *more, stac=self.items.endpoint, memory=None)
        assert (lost is None) or refused(report) >= {(lost, None, "source")}
        now = self.products()
        assert now == [name for name in self.month.stored(day) if name != lost], f"day {day}: {report['changes']}"
        self.served[day] = self.items.served - served
        self.modes[day] = report["catalogue"]["mode"]
        news = now != before or day in CHANGED
        assert ("committed" in report) is news, f"day {day}: {report['changes']}"
        if not news:
            self.quiet.add(day)

    @contextmanager
    def without(self, name: str | None) -> Iterator[None]:
        """Take a product away from the source for a while."""
        if name is None:
            yield
            return
        folder = self.living.archive.root / f"{name}.SAFE"
        away = folder.rename(folder.with_suffix(".away"))
        try:
            yield
        finally:
            away.rename(folder)


@pytest.mark.soak
def test_a_month_of_daily_runs(s2ice: Command, month: Month, items: Catalogue, tmp_path: Path) -> None:
    living = Living(s2ice, month.archive, tmp_path / "stores")
    runs = Runs(living, month, items)
    for day in DAYS:
        month.happens(day, items)
        runs.run(day)

    # Only the first run, those that were told to and the one that the index puzzled asked for everything, and only they
    # were given everything.
    full = {day for day, mode in runs.modes.items() if mode == "full"}
    assert full == ({1, BACKFILLED} | FULL) - set(DOWN)
    assert len(runs.quiet) >= 4
    assert max(served for day, served in runs.served.items() if day not in full) < len(items.items) / 2
    given = sum(served for day, served in runs.served.items() if day not in full)
    assert given < len(items.items) * 5, runs.served
    tags = living.info()["tags"]
    assert len(tags) == len(runs.served) - len(runs.quiet)

    # After a month: what was withdrawn stays until that is asked for, and all else is as if built today.
    everything = {"names": month.indexed(99), "stac": items.endpoint, "memory": None}
    living.rests(everything["names"], "--full", stac=items.endpoint, memory=None)
    fresh = Living(s2ice, month.archive, tmp_path / "fresh")
    fresh.run(everything["names"], stac=items.endpoint, memory=None)
    (withdrawn,) = WITHDRAWN.values()
    outcome = living.diff(fresh.store, "--json", code=1)
    products = [(p["product"], "left" in p, "right" in p) for p in outcome.json["products"]]
    assert products == [(month.of(withdrawn).name, True, False)]
    assert outcome.json["differences"] == 1
    report = living.run(everything["names"], "--full", "--prune", stac=items.endpoint, memory=None)
    assert report["changes"]["removed"] == [month.of(withdrawn).name]
    living.diff(fresh.store)
    living.rests(everything["names"], stac=items.endpoint, memory=None)
    assert changes(living.rests(everything["names"], "--full", "--prune", stac=items.endpoint, memory=None)).keys() == {
        "unchanged"
    }


def test_the_index_has_news_and_the_catalogue_has_none(
    s2ice: Command, month: Month, items: Catalogue, tmp_path: Path
) -> None:
    """A product long dealt with is indexed again: its rasters are looked at although its item is not asked for."""
    living = Living(s2ice, month.archive, tmp_path / "stores")
    for day in range(1, 8):
        month.happens(day, items)
    names = month.indexed(7)
    living.run(names, stac=items.endpoint)
    rows = month.archive.rows(names)
    short = [row for row in rows if not (row["product_id"] == names[0] and "B09" in row["path"])]
    index = tables.write(tmp_path / "index.parquet", short)
    fewer = Living(s2ice, month.archive, tmp_path / "others")
    fewer.run(names, stac=items.endpoint, index=index, memory=None)
    tables.write(index, rows)
    report = fewer.run(names, stac=items.endpoint, index=index, memory=None)
    assert report["catalogue"]["mode"] == "incremental"
    assert changes(report)["updated"] == [names[0]]
    living.diff(fewer.store)
