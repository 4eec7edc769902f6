"""What no index has gives the same store as an index of it: whatever was asked before, whatever is remembered."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from test_core import (
    ALL,
    MIDNIGHT,
    broken_files,
    cloud_cover,
    file_of,
    missing,
    own_file,
    some,
)

from support import catalogue, tables
from support.archive import Archive
from support.living import Living, changes, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.catalogue import Catalogue
    from support.command import Command

COARSE, FINE = "measurements/reflectance/r60m/b01", "measurements/reflectance/r20m/b01"
WAYS = [("missing", None), ("missing", "none"), ("index", "none")]
"""How products are known, and what is remembered of them."""


@pytest.fixture(scope="module")
def copies(make_samples: Callable[..., Samples], once: Callable[..., Path], s2ice: Command) -> Path:
    """Products with a band in two resolutions, in the index of `s2ice`."""
    assets = ("--assets", "B01_20m,B01_60m,B09_60m", "--resolutions", "all")
    options = ("--dates", "2", *assets, "--no-swath-edge")

    def fill(folder: Path) -> None:
        make_samples(*options, into=folder)
        s2ice("index", "--source", folder, "-o", folder / "own.parquet", "-q")
        tables.write(folder / "index.parquet", tables.rows(folder / "own.parquet"))

    return once(f"missing {options}", fill)


@dataclass
class Asking:
    """A store of an archive and an API that is asked one question after another."""

    living: Living
    items: Catalogue
    how: str
    memory: str | None

    @property
    def archive(self) -> Archive:
        return self.living.archive

    def show(self, *names: str) -> None:
        """These products are there."""
        self.items.put(self.archive.items(names))
        self.living.folder.mkdir(parents=True, exist_ok=True)
        self.archive.index(self.index, names)

    @property
    def index(self) -> Path:
        return self.living.folder / "archive.parquet"

    def options(self, how: str, memory: str | None) -> dict[str, Any]:
        return {"stac": self.items.endpoint, "index": self.index if how == "index" else None, "memory": memory}

    def line(self, *more: object) -> tuple[object, ...]:
        return missing(*more) if self.how == "missing" else more

    def run(self, *more: object) -> dict[str, Any]:
        return self.living.run(None, *self.line(*more), **self.options(self.how, self.memory))

    def rests(self, *more: object) -> dict[str, Any]:
        """Nothing is new, and no file of what the store has is asked."""
        report = self.living.rests(None, *self.line(*more), **self.options(self.how, self.memory))
        assert report.get("indexed", {}).get("requests", 0) == 0
        return report

    def is_as_indexed(self, *more: object) -> None:
        """The store is what one build by an index makes in an empty place."""
        self.living.is_as_built(None, *more, **self.options("index", "none"))


@pytest.fixture(params=WAYS, ids=["remembering", "forgetful", "indexed"])
def asking(s2ice: Command, copies: Path, items: Catalogue, tmp_path: Path, request: pytest.FixtureRequest) -> Asking:
    archive = Archive(tmp_path / "archive", copies)
    return Asking(Living(s2ice, archive, tmp_path / "stores"), items, *request.param)


# 1. What was asked before.


QUESTIONS: dict[str, tuple[str, ...]] = {
    "everything": (),
    "one array": ("--arrays", "**/b01"),
    "no angles": ("--no-angles",),
    "no checksums": ("--checksum", "none"),
    "all copies": ("--resolutions", "all"),
    "clear": ("--max-cloud-cover", "50"),
    "until": ("--datetime", "2024-06-01/2024-06-19"),
    "elsewhere": ("--source", "{elsewhere}", "--container", "elsewhere"),
}
WIDER = [
    ("one array", "everything"),
    ("no angles", "everything"),
    ("everything", "all copies"),
    ("no checksums", "everything"),
    ("everything", "elsewhere"),
]
NARROWER = [
    ("everything", "one array"),
    ("everything", "no angles"),
    ("all copies", "everything"),
    ("everything", "clear"),
    ("everything", "until"),
]


class Fresh:
    """One archive in two places, and what builds by an index make of it."""

    def __init__(self, s2ice: Command, copies: Path, folder: Path, items: Catalogue) -> None:
        archive = Archive(folder / "archive", copies)
        names = [*some(archive, 3), archive.add(MIDNIGHT.replace("06-01", "06-19"), base=1, sensing=240)]
        # Only the XML tells.
        cloud_cover(archive, names[1])
        for name in names:
            del archive.products[name].item["properties"]["eo:cloud_cover"]
        elsewhere = folder / "elsewhere"
        for file in archive.root.rglob("*"):
            if file.is_file():
                target = elsewhere / file.relative_to(archive.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, target)
        items.put(archive.items())
        self.s2ice, self.archive, self.items, self.elsewhere = s2ice, archive, items, elsewhere
        self.made: dict[str, Path] = {}

    def question(self, name: str) -> tuple[str, ...]:
        return tuple(word.format(elsewhere=self.elsewhere) for word in QUESTIONS[name])

    def store(self, question: str, folder: Path) -> Path:
        if question not in self.made:
            fresh = Asking(Living(self.s2ice, self.archive, folder), self.items, "index", "none")
            fresh.show(*self.archive.products)
            run(fresh, self.question(question))
            self.made[question] = fresh.living.store
        return self.made[question]


@pytest.fixture(scope="module")
def fresh(s2ice: Command, copies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    with catalogue.serve() as items:
        yield Fresh(s2ice, copies, tmp_path_factory.mktemp("fresh"), items)


def run(asking: Asking, question: tuple[str, ...], *more: object, rests: bool = False) -> dict[str, Any]:
    """Ask; what names another source stands in the place of the archive's."""
    options = asking.options(asking.how, asking.memory)
    if question[:1] == ("--source",):
        options["source"], question = question[1], question[2:]
    ask = asking.living.rests if rests else asking.living.run
    return ask(None, *asking.line(*question, *more), **options)


@pytest.mark.parametrize(("how", "memory"), WAYS)
@pytest.mark.parametrize(
    ("first", "then", "more"), [*((*pair, ()) for pair in WIDER), *((*pair, ALL) for pair in NARROWER)]
)
def test_what_was_asked_before_does_not_matter(
    fresh: Fresh, tmp_path: Path, how: str, memory: str | None, first: str, then: str, more: tuple[object, ...]
) -> None:
    asking = Asking(Living(fresh.s2ice, fresh.archive, tmp_path / "stores"), fresh.items, how, memory)
    asking.show(*fresh.archive.products)
    run(asking, fresh.question(first))
    run(asking, fresh.question(then), *more)
    if then == "elsewhere":
        # Where it was of before is not forgotten.
        assert "1 difference" in (told := asking.living.diff(fresh.store(then, tmp_path / "fresh"), code=1).stdout)
        assert "/s2ice/sources/local" in told
    else:
        asking.living.diff(fresh.store(then, tmp_path / "fresh"))
    # Once is enough, also where everything is asked for. (What only its XML keeps out is asked for that.)
    report = run(asking, fresh.question(then), *(more or ("--full",)), rests=True)
    assert then in ("clear", "until") or report.get("indexed", {}).get("rasters", 0) == 0


def test_what_is_asked_no_more_can_be_pruned_later(asking: Asking) -> None:
    asking.show(*some(asking.archive, 2))
    asking.run()
    asking.run("--arrays", "**/b01")
    asking.run("--arrays", "**/b01", *ALL)
    asking.is_as_indexed("--arrays", "**/b01")


def test_a_store_of_all_copies_takes_all_copies(asking: Asking) -> None:
    names = some(asking.archive, 2)
    asking.show(*names[:1])
    asking.run("--resolutions", "all")
    asking.show(*names)
    asking.run()
    asking.is_as_indexed("--resolutions", "all")


@pytest.mark.parametrize("memory", [None, "none"])
def test_another_question_is_dealt_with_bit_by_bit(
    s2ice: Command, copies: Path, items: Catalogue, tmp_path: Path, memory: str | None
) -> None:
    """The limit holds: what is new comes first, then what the store has, each once."""
    archive = Archive(tmp_path / "archive", copies)
    asking = Asking(Living(s2ice, archive, tmp_path / "stores"), items, "missing", memory)
    names = some(archive, 4)
    asking.show(*names[:3])
    asking.run("--no-angles")
    asking.show(*names)
    done = [changes(asking.run("--index-missing-limit", 1)) for _ in names]
    assert [report.get("appended", report.get("updated")) for report in done] == [[names[3]], *([n] for n in names[:3])]
    asking.rests("--index-missing-limit", 1)
    asking.is_as_indexed()


# 2. What waits.


@pytest.mark.parametrize(
    ("first", "then"), [("**/b09", ()), ("--no-angles", ()), ("**", ("--resolutions", "all")), ("**", ("--no-angles",))]
)
def test_what_waits_is_asked_what_was_not_asked(asking: Asking, first: str, then: tuple[str, ...]) -> None:
    names = some(asking.archive, 3)
    broken_files(asking.living, names[1], ["B09_60m"])
    asking.show(*names)
    asking.run(*((first,) if first.startswith("--") else ("--arrays", first)))
    asking.run(*then, *ALL)
    asking.is_as_indexed(*then)


# 3. Another copy stands in for one that cannot be used.


def no_image(asking: Asking, product: str) -> None:
    broken_files(asking.living, product, ["B01_60m"])


def other_image(asking: Asking, product: str) -> None:
    """A good file of another resolution: only what is known of the raster contradicts it."""
    data = file_of(asking.archive, product, "B01_20m").read_bytes()
    own_file(file_of(asking.archive, product, "B01_60m"), data)


@pytest.mark.parametrize("damage", [no_image, other_image])
@pytest.mark.parametrize("held", [False, True], ids=["new", "held"])
def test_another_copy_stands_in(asking: Asking, damage: Callable[[Asking, str], None], held: bool) -> None:
    names = some(asking.archive, 2)
    asking.show(*names)
    if held:
        asking.run()
    good = file_of(asking.archive, names[0], "B01_60m").read_bytes()
    damage(asking, names[0])
    if asking.how == "index":
        change_index(asking, names)
    report = asking.run(*(("--recheck", names[0]) if held else ()))
    assert (names[0], "B01_60m") in {(product, raster) for product, raster, _ in refused(report)}
    present = asking.living.view().present
    assert (present[COARSE], present[FINE]) == ((False, True), (True, False))
    asking.run()
    asking.living.rests(None, *asking.line(), **asking.options(asking.how, asking.memory))
    # The better one comes back.
    own_file(file_of(asking.archive, names[0], "B01_60m"), good)
    if asking.how == "index":
        change_index(asking, names)
    asking.run("--recheck", names[0], *ALL)
    change_index(asking, names)
    asking.is_as_indexed()


def change_index(asking: Asking, names: list[str]) -> None:
    """Index the archive as it is; what cannot be indexed keeps its row."""
    own = asking.living.folder / "own.parquet"
    own.unlink(missing_ok=True)
    asking.living.s2ice("index", "--source", asking.archive.root, "-o", own, "-q")
    now = {row["path"]: row for row in tables.rows(own)}
    for name in names:
        rows = asking.archive.products[name].rows
        asking.archive.products[name].rows = [now.get(row["path"], row) for row in rows]
    asking.archive.index(asking.index, names)
