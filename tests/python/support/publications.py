"""A publication that a web server serves: fixtures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr

import s2ice as package
from support import hosts
from support.living import Living

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.archive import Archive
    from support.command import Command
    from support.hosts import Host

ID = "33TVN-L2A"


@dataclass
class Public:
    """A folder that a web server serves, with the products in `archive/` beside the publication."""

    s2ice: Command
    living: Living
    folder: Path
    host: Host

    @property
    def place(self) -> Path:
        return self.folder / "public"

    @property
    def url(self) -> str:
        return f"{self.host.address}/public/"

    def line(self, *more: object) -> list[object]:
        place = ("--out", self.place, "--base-url", self.url, "--source-url", f"{self.host.address}/archive")
        return ["publish", self.living.store, *place, *more]

    def publish(self, *more: object, code: int = 0) -> dict[str, Any]:
        return self.s2ice(*self.line(*more), "--json", code=code).json

    def files(self) -> dict[str, tuple[int, int]]:
        found = (path for path in self.place.rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.place)): (stat.st_size, stat.st_mtime_ns)
            for path in found
            if (stat := path.stat())
        }

    def cube(self, path: str = "measurements/reflectance/r60m", **options: Any) -> xr.Dataset:
        """What a stranger opens."""
        return package.open(f"{self.url}{ID}/store", path, allow=self.host.address, mask_and_scale=False, **options)

    def is_as_built(self) -> None:
        mine = package.open(str(self.living.store), "measurements/reflectance/r60m", mask_and_scale=False)
        xr.testing.assert_equal(self.cube().drop_vars("spatial_ref").load(), mine.drop_vars("spatial_ref").load())


@pytest.fixture
def public(s2ice: Command, archive: Archive, tmp_path: Path) -> Iterator[Public]:
    living = Living(s2ice, archive, tmp_path / "stores")
    living.run([archive.add("2024-06-01"), archive.add("2024-06-06")])
    with hosts.serve(tmp_path) as (host,):
        host.origins = "*"
        yield Public(s2ice, living, tmp_path, host)
