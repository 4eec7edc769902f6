"""Builds of one test, with a place for the store at which nothing half made may stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from support.command import Command


def contents(path: Path) -> dict[str, bytes] | None:
    """Every file below a place; None where there is nothing."""
    if not path.exists():
        return None
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else b"" for p in sorted(path.rglob("*"))}


class Bench:
    """`s2ice build` of a folder of sample products."""

    def __init__(self, s2ice: Command, source: Path, folder: Path) -> None:
        self.s2ice = s2ice
        self.source = source
        self.store = folder / "stores" / "33TVN"
        self.index = source / "index.parquet"

    def arguments(self, *more: object, **changes: object) -> list[object]:
        """Put the command line together; a change of None leaves an option out."""
        options: dict[str, object] = {
            "--tile": "33TVN",
            "--index": self.index,
            "--source": self.source,
            "--store": self.store,
            "--memory": "none",
        }
        options |= {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
        pairs = [item for name, value in options.items() if value is not None for item in (name, value)]
        return ["build", *pairs, *more]

    def build(self, *more: object, **changes: object) -> dict[str, Any]:
        """Build, and give the report."""
        return self.s2ice(*self.arguments(*more, "--json", **changes)).json

    def refused(self, *more: object, code: int = 1, **changes: object) -> str:
        """Fail to build, and give the sentence; the place of the store is as it was."""
        before = self.at_store()
        outcome = self.s2ice(*self.arguments(*more, **changes), code=code)
        assert outcome.stdout == ""
        assert self.at_store() == before
        return outcome.sentence

    def at_store(self) -> dict[str, bytes] | None:
        return contents(self.store)
