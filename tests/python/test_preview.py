"""The picture of a store in a publication: its pixels, its product, and what becomes of it without its source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio

from support import hosts
from support.archive import Archive
from support.living import Living

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.command import Command
    from support.hosts import Host

ID = "33TVN-L2A"
ASSETS = ("--assets", "B02_60m,B03_60m,B04_60m")
NODATA = 128


@dataclass
class Gallery:
    """A publication of a store whose products lie at a host that counts its requests."""

    s2ice: Command
    living: Living
    host: Host
    place: Path

    def build(self, *names: str) -> None:
        self.living.run(names or None, stac=True, source=self.host.address)
        self.host.requests.clear()

    def publish(self, *more: object) -> dict[str, Any]:
        place = ("--out", self.place, "--base-url", "https://tiles.example.org", "--no-look")
        return self.s2ice("publish", self.living.store, *place, *more, "--json").json

    @property
    def picture(self) -> Path:
        return self.place / ID / "preview.jpg"

    @property
    def page(self) -> str:
        return (self.place / ID / "index.html").read_text()

    @property
    def assets(self) -> dict[str, Any]:
        return json.loads((self.place / ID / "collection.json").read_text())["assets"]

    def files(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.place.rglob("*") if path.is_file()}

    def product(self, day: str) -> str:
        (name,) = [name for name in self.living.archive.products if f"_{day}T" in name]
        return name

    def seen(self, day: str, offset: float) -> np.ndarray[Any, Any]:
        """What the product's own rasters come to: rows, columns and colours of the picture."""
        archive = self.living.archive
        shades = []
        for band in ("B04", "B03", "B02"):
            files = archive.products[self.product(day)].files(archive.root)
            (file,) = [file for file in files if f"_{band}_60m" in file.name]
            with rasterio.open(file) as raster:
                squares = raster.read(1).reshape(366, 5, 366, 5).swapaxes(1, 2).reshape(366, 366, 25)
            mean = np.ma.masked_equal(squares, 0).mean(axis=2)
            shades.append((np.clip((mean * 0.0001 + offset) * 3.5, 0, 1) * 255).round().filled(np.nan))
        picture = np.stack(shades, axis=2)
        return np.where(np.isnan(picture).any(axis=2, keepdims=True), NODATA, picture)


@pytest.fixture
def gallery(s2ice: Command, make_samples: Callable[..., Any], tmp_path: Path) -> Iterator[Gallery]:
    """Two products, the clearer of which ends inside the tile, and one of before baseline 04.00, the clearest."""
    new = make_samples("--dates", "2", *ASSETS)
    old = make_samples("--dates", "1", "--start", "2024-04-01", "--baseline", "02.14", *ASSETS)
    archive = Archive(tmp_path / "archive", new.root)
    archive.adopt(new.root)
    archive.adopt(old.root)
    with hosts.serve(archive.root) as (host,):
        yield Gallery(s2ice, Living(s2ice, archive, tmp_path / "stores"), host, tmp_path / "public")


@pytest.mark.parametrize(("day", "offset"), [("20240401", 0.0), ("20240506", -0.1)], ids=["era", "edge"])
def test_a_picture_is_what_its_rasters_are(gallery: Gallery, day: str, offset: float) -> None:
    if day == "20240401":
        gallery.build()
        assert "offset-0" in gallery.s2ice("info", gallery.living.store, "--json").json["eras"]
    else:
        gallery.build(gallery.product(day))
    assert gallery.publish()["without_preview"] == []
    assert len(gallery.host.requests) <= 6, gallery.host.requests
    assert all(gallery.product(day) in path for path in gallery.host.requests)
    with rasterio.open(gallery.picture) as file:
        shown = np.moveaxis(file.read().astype(float), 0, 2)
    expected = gallery.seen(day, offset)
    assert shown.shape == expected.shape == (366, 366, 3)
    away = np.abs(shown - expected)
    assert away.mean() < 3
    assert np.percentile(away, 99) < 16
    empty = (expected == NODATA).all(axis=2)
    assert (empty.mean() > 0.1) == (day == "20240506")
    assert gallery.picture.stat().st_size < 100_000
    iso = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    assert f'alt="Tile 33TVN in true colour, seen on {iso}" width="366" height="366"' in gallery.page
    assert gallery.assets["thumbnail"]["href"] == f"https://tiles.example.org/{ID}/preview.jpg"
    assert "thumbnail" in gallery.assets["thumbnail"]["roles"]
    states = [path.read_text() for path in (gallery.place / ID / "states").iterdir()]
    assert states
    assert not [text for text in states if "preview" in text]


def test_of_large_rasters_the_beginnings_are_read(
    s2ice: Command, make_samples: Callable[..., Any], tmp_path: Path
) -> None:
    """As GDAL's overviews of the files are, by the first percents of their bytes."""
    made = make_samples("--dates", "1", "--assets", "B02_10m,B03_10m,B04_10m")
    archive = Archive(tmp_path / "archive", made.root)
    archive.adopt(made.root)
    with hosts.serve(archive.root) as (host,):
        gallery = Gallery(s2ice, Living(s2ice, archive, tmp_path / "stores"), host, tmp_path / "public")
        gallery.build()
        assert gallery.publish()["without_preview"] == []
        assert len(host.requests) <= 3 * 121 * 1.2
    with rasterio.open(gallery.picture) as file:
        shown = file.read().astype(float)
    files = archive.products[gallery.product("20240501")].files(archive.root)
    for band, name in zip(shown, ("B04", "B03", "B02"), strict=True):
        (path,) = [path for path in files if f"_{name}_10m" in path.name]
        with rasterio.open(path) as raster:
            levels = raster.overviews(1)
        with rasterio.open(path, OVERVIEW_LEVEL=levels.index(10_980 // band.shape[0] + 1)) as raster:
            numbers = raster.read(1).astype(float)
        assert numbers.shape == band.shape
        expected = np.where(numbers > 0, np.clip((numbers * 0.0001 - 0.1) * 3.5, 0, 1) * 255, NODATA)
        assert np.abs(band - expected).mean() < 3


def test_a_picture_stays_while_its_product_does(gallery: Gallery) -> None:
    gallery.build(gallery.product("20240506"))
    gallery.publish()
    assert "seen on 2024-05-06" in gallery.page
    before = gallery.files()
    gallery.host.requests.clear()
    assert gallery.publish()["unchanged"] == 1
    assert gallery.files() == before
    # A product that is less clear is news, but none of the picture.
    gallery.build(gallery.product("20240501"), gallery.product("20240506"))
    assert len(gallery.publish()["published"]) == 1
    assert gallery.host.requests == []
    assert gallery.files()[gallery.picture] == before[gallery.picture]
    gallery.build()
    gallery.publish()
    assert "seen on 2024-04-01" in gallery.page
    assert gallery.files()[gallery.picture] != before[gallery.picture]


@pytest.mark.parametrize("how", ["gone", "denied", "changed"])
def test_what_cannot_be_read_is_told_and_tried_again(gallery: Gallery, how: str) -> None:
    gallery.build(gallery.product("20240506"))
    product = gallery.living.archive.products[gallery.product("20240506")]
    file = product.files(gallery.living.archive.root)[0]
    aside = file.with_suffix(".aside")
    if how == "changed":
        file.rename(aside)
        file.write_bytes(aside.read_bytes())
    with gallery.host.unwell(how if how != "changed" else ""):
        (without,) = gallery.publish()["without_preview"]
        assert without["id"] == ID
        assert product.name in without["reason"]
        assert "No preview: the product files could not be read when it was to be made." in gallery.page
        assert not gallery.picture.exists()
        assert "thumbnail" not in gallery.assets
        before = gallery.files()
        again = gallery.publish()
        assert (again["unchanged"], again["without_preview"][0]["id"], again["files"]) == (1, ID, 0)
        assert again["previews"] == 0
        assert gallery.files() == before
    if how == "changed":
        aside.replace(file)
    report = gallery.publish()
    assert (report["without_preview"], len(report["published"])) == ([], 1)
    assert gallery.picture.exists()
    assert "thumbnail" in gallery.assets
    assert "No preview" not in gallery.page


@pytest.mark.parametrize("content", [b"<html>", None], ids=["other", "gone"])
def test_a_product_that_cannot_be_used_gives_way(gallery: Gallery, content: bytes | None) -> None:
    gallery.build()
    product = gallery.living.archive.products[gallery.product("20240401")]
    for file in product.files(gallery.living.archive.root):
        size = file.stat().st_size
        file.unlink()
        if content is not None:
            file.write_bytes(content * size)
    report = gallery.publish()
    assert (report["without_preview"], report["previews"]) == ([], 1)
    assert "seen on 2024-05-06" in gallery.page
    assert len(gallery.host.requests) <= 7, gallery.host.requests
    assert gallery.publish()["previews"] == 1


def test_pictures_can_be_left_out(gallery: Gallery, tmp_path: Path) -> None:
    gallery.build(gallery.product("20240506"))
    report = gallery.publish("--no-preview")
    assert (report["without_preview"], gallery.host.requests) == ([], [])
    assert "No preview: none was made." in gallery.page
    gallery.publish()
    assert gallery.picture.exists()
    config = tmp_path / "s2ice.toml"
    config.write_text(f"""
tiles = ["33TVN"]
source = "{gallery.host.address}"
index = ["{tmp_path}/stores/index-1.parquet"]
store = "{tmp_path}/stores/{{tile}}"
[publish]
out = "{gallery.place}"
base-url = "https://tiles.example.org"
preview = false
no-look = true
""")
    assert gallery.s2ice("publish", config, "--json").json["files_removed"] == 1
    assert not gallery.picture.exists()
    assert "thumbnail" not in gallery.assets
