"""A tile that `s2ice run` keeps up to date, what its runs leave, and hosts of its inputs that can each be unwell."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from support import hosts
from support.archive import Archive

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.command import Command
    from support.hosts import Host

TILE = "33TVN"


@dataclass
class Tile:
    """A tile whose products, index and items are each on a host of their own, and what its runs leave."""

    s2ice: Command
    archive: Archive
    folder: Path
    source: Host
    index: Host
    catalogue: Host
    options: str = ""
    said: list[str] = field(default_factory=list)
    """What the last run said on its way."""

    def show(self, *names: str) -> None:
        """Index and catalogue tell of these products."""
        self.archive.index(self.index.root / "index.parquet", names)
        self.archive.stac(self.catalogue.root / "items.json", names)

    @property
    def config(self) -> Path:
        config = self.folder / "s2ice.toml"
        config.write_text(
            f"""
tiles = ["{TILE}"]
source = "{self.source.address}"
source-options = {{ extra = {{ timeout = "1 second" }} }}
index-options = {{ extra = {{ timeout = "1 second" }} }}
index = ["{self.index.address}/index.parquet"]
stac = "{self.catalogue.address}/items.json"
store = "{self.folder}/stores/{{tile}}"
[run]
report = "{self.folder}/runs.jsonl"
metrics = "{self.folder}/s2ice.prom"
{self.options}
"""
        )
        return config

    def start(self, *more: object) -> subprocess.Popen[str]:
        return self.s2ice.start("run", self.config, "--json", *more)

    def ends(self, process: subprocess.Popen[str], code: int) -> dict[str, Any]:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == code, stderr
        self.said = stderr.splitlines()
        (tile,) = json.loads(stdout)["tiles"]
        return tile

    def run(self, *more: object, code: int = 0) -> dict[str, Any]:
        return self.ends(self.start(*more), code)

    @property
    def store(self) -> Path:
        return self.folder / "stores" / TILE

    def files(self) -> set[str]:
        return {str(path) for path in self.store.rglob("*") if "s2ice" not in path.parts and path.is_file()}

    def last(self) -> dict[str, Any]:
        return json.loads((self.store / "s2ice/last-run.json").read_text())

    def metrics(self) -> dict[str, float]:
        text = (self.folder / "s2ice.prom").read_text()
        families = openmetrics(text)
        return {s.name: s.value for family in families for s in family.samples if "outcome" not in s.labels}


@contextmanager
def tiles(s2ice: Command, samples: Path, root: Path) -> Iterator[Callable[[str], Tile]]:
    """Make tiles by name, each in a folder below the root, of the products of these samples."""
    with ExitStack() as stack:

        def make(name: str) -> Tile:
            folders = [root / name / part for part in ("archive", "index", "items")]
            for folder in folders:
                folder.mkdir(parents=True)
            served = stack.enter_context(hosts.serve(*folders))
            return Tile(s2ice, Archive(folders[0], samples), root / name, *served)

        yield make
