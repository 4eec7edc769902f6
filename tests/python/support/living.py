"""A store that is built again and again from an archive that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import readers, stores

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.archive import Archive
    from support.command import Command, Outcome

TILE = "33TVN"
B01 = "measurements/reflectance/r60m/b01"
B09 = "measurements/reflectance/r60m/b09"


def changes(report: dict[str, Any]) -> dict[str, Any]:
    """What changed, without what did not: empty lists and counts of 0 are left out."""
    return {name: value for name, value in report["changes"].items() if value}


def refused(report: dict[str, Any]) -> set[tuple[str, str | None, str]]:
    return {(r["product"], r.get("raster"), r["kind"]) for r in report["refused"]}


class Living:
    """A store on disk, the archive it is of, and `s2ice build`."""

    def __init__(self, s2ice: Command, archive: Archive, folder: Path) -> None:
        self.s2ice = s2ice
        self.archive = archive
        self.folder = folder
        self.store = folder / TILE
        self.count = 0

    def line(
        self, names: Iterable[str] | None, *more: object, stac: bool | str = False, **options: object
    ) -> list[object]:
        """The command for an input of these products, or of all; an option of None is left out.

        With `stac` their items are given too, or what it names is asked.
        """
        self.count += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        names = None if names is None else list(names)
        # A catalogue that is asked for changes is asked about one index: another one is another question.
        index = "index.parquet" if isinstance(stac, str) else f"index-{self.count}.parquet"
        given: dict[str, object] = {
            "tile": TILE,
            "index": self.archive.index(self.folder / index, names),
            "stac": self.archive.stac(self.folder / f"items-{self.count}.json", names)
            if stac is True
            else stac or None,
            "source": self.archive.root,
            "store": self.store,
            "memory": "none",
        }
        given |= options
        pairs = [(f"--{name.replace('_', '-')}", value) for name, value in given.items() if value is not None]
        return ["build", *(item for pair in pairs for item in pair), *more]

    def run(
        self, names: Iterable[str] | None = None, *more: object, stale: bool | None = False, **options: Any
    ) -> dict[str, Any]:
        """Build, and give the report; a stale one only where that is expected, or may be (`None`)."""
        codes = {False: (0,), True: (3,), None: (0, 3)}[stale]
        outcome = self.s2ice(*self.line(names, *more, "--json", **options), code=codes)
        assert (outcome.code == 3) == bool(outcome.json["unseen"])
        return outcome.json

    def fails(self, names: Iterable[str] | None = None, *more: object, code: int = 1, **options: Any) -> str:
        """Fail to build, and give the sentence; nothing of the store has changed."""
        before = self.files()
        outcome = self.s2ice(*self.line(names, *more, **options), code=code)
        assert outcome.stdout == ""
        assert self.files() == before
        return outcome.sentence

    def rests(self, names: Iterable[str] | None = None, *more: object, **options: Any) -> dict[str, Any]:
        """Build again: nothing is new, nothing is written."""
        before = self.files()
        report = self.run(names, *more, **options)
        assert self.files() == before
        assert "committed" not in report
        assert "published" not in report
        assert set(changes(report)) <= {"unchanged", "kept"}, report["changes"]
        return report

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file of the store with size and time of change; tags and branches stand in one of them.

        What is remembered of the source is none of the store's.
        """
        files = (path for path in self.store.rglob("*") if path.is_file() and path.name != "memory.parquet")
        return {str(path): (stat.st_size, stat.st_mtime_ns) for path in files if (stat := path.stat())}

    def view(self) -> readers.View:
        return readers.view(stores.local(self.store))

    def info(self) -> dict[str, Any]:
        return self.s2ice("info", self.store, "--json").json

    def diff(self, other: Path | str, *more: object, code: int = 0) -> Outcome:
        return self.s2ice("diff", self.store, other, *more, code=code)

    def is_as_built(self, names: Iterable[str] | None = None, *more: object, **options: Any) -> None:
        """The store is what one build of these products makes in an empty place."""
        fresh = Living(self.s2ice, self.archive, self.folder / f"fresh-{self.count}")
        fresh.run(names, *more, **options)
        self.diff(fresh.store)
