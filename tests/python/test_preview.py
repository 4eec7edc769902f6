"""Pictures of a store, by `s2ice preview` and in a publication: pixels, products, bytes, and what fails."""

from __future__ import annotations

import io
import json
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rasterio.warp
from PIL import Image, ImageSequence

import real_data
from support import hosts, pictures
from support.archive import Archive
from support.living import Living

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command, Outcome
    from support.hosts import Host

ID = "33TVN-L2A"
ASSETS = ("--assets", "B02_60m,B03_60m,B04_60m")
RGB = ("B04", "B03", "B02")
NODATA = 128
COLOURS = [
    *((0, 0, 0), (255, 0, 0), (47, 47, 47), (100, 50, 0), (0, 160, 0), (255, 230, 90), (0, 0, 255)),
    *((128, 128, 128), (192, 192, 192), (255, 255, 255), (100, 200, 255), (255, 150, 255)),
]
"""Of the scene classification, as ESA shows it."""
LEAST = 4096
"""Bytes of a tile that are asked for at least."""


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
        self.host.sent = 0

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

    def rasters(self, day: str, resolution: int = 60, bands: tuple[str, ...] = RGB) -> list[Path]:
        """The files of bands of a product."""
        files = self.living.archive.products[self.product(day)].files(self.living.archive.root)
        ends = [f"_{band}_{resolution}m.jp2" for band in bands]
        return [file for end in ends for file in files if file.name.endswith(end)]

    def seen(self, halved: int, *days: tuple[str, float], **which: Any) -> list[np.ndarray[Any, Any]]:
        """What the rasters of these dates, of which each has an offset, come to: rows, columns, colours and alpha."""
        dates = [(self.rasters(day, **which), offset) for day, offset in days]
        return pictures.stretched([[(pictures.overview(f, halved), offset) for f in files] for files, offset in dates])

    def preview(self, *more: object, code: int = 0) -> Outcome:
        return self.s2ice("preview", self.living.store, "--source", self.host.address, *more, code=code)


def opened(file: Path | io.BytesIO) -> list[np.ndarray[Any, Any]]:
    """The pictures of a file, without the line below: red, green, blue and alpha."""
    with Image.open(file) as image:
        frames = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    line = 13 * max(1, frames[0].shape[1] // 340)
    for frame in frames:
        assert (frame[-line:, :, 3] == 255).all()
        # There is a date, at its left.
        assert (frame[-line:, : frame.shape[1] // 3, 0] > 200).any()
    return [frame[:-line] for frame in frames]


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
    assert len(gallery.host.requests) <= 3 * 100 * 1.2, gallery.host.requests
    assert gallery.host.sent < 0.6 * sum(file.stat().st_size for file in gallery.rasters(day))
    assert all(gallery.product(day) in path for path in gallery.host.requests)
    with rasterio.open(gallery.picture) as file:
        shown = np.moveaxis(file.read().astype(float), 0, 2)
    (expected,) = gallery.seen(2, (day, offset))
    expected = np.where(expected[:, :, 3:] > 0, expected[:, :, :3], NODATA)
    assert shown.shape == expected.shape == (458, 458, 3)
    away = np.abs(shown - expected)
    # JPEG is lossy, and edges are sharper at this size.
    assert away.mean() < 4
    assert np.percentile(away, 99) < 20
    empty = (expected == NODATA).all(axis=2)
    assert (empty.mean() > 0.1) == (day == "20240506")
    assert gallery.picture.stat().st_size < 100_000
    iso = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    assert f'alt="Tile 33TVN in true colour, seen on {iso}" width="458" height="458"' in gallery.page
    assert gallery.assets["thumbnail"]["href"] == f"https://tiles.example.org/{ID}/preview.jpg"
    assert "thumbnail" in gallery.assets["thumbnail"]["roles"]
    states = [path.read_text() for path in (gallery.place / ID / "states").iterdir()]
    assert states
    assert not [text for text in states if "preview" in text]


@pytest.fixture
def large(s2ice: Command, make_samples: Callable[..., Any], tmp_path: Path) -> Iterator[Gallery]:
    """One product with the bands at 10 m."""
    made = make_samples("--dates", "1", "--assets", "B02_10m,B03_10m,B04_10m")
    archive = Archive(tmp_path / "archive", made.root)
    archive.adopt(made.root)
    with hosts.serve(archive.root) as (host,):
        gallery = Gallery(s2ice, Living(s2ice, archive, tmp_path / "stores"), host, tmp_path / "public")
        gallery.build()
        yield gallery


def frugal(files: list[Path]) -> int:
    """Bytes that the lowest resolution of these files takes, where a request has some bytes at least."""
    tiles = [tile for file in files for tile in pictures.lowest(file)]
    return sum(min(length, max(LEAST, needed)) for length, needed in tiles)


def test_of_large_rasters_the_beginnings_are_read(large: Gallery) -> None:
    """As GDAL's overviews of the files are, by the first percents of their bytes."""
    assert large.publish()["without_preview"] == []
    assert len(large.host.requests) <= 3 * 121 * 1.5
    assert large.host.sent <= frugal(large.rasters("20240501", 10)) * 1.05
    with rasterio.open(large.picture) as file:
        shown = file.read().astype(float)
    (expected,) = large.seen(4, ("20240501", -0.1), resolution=10)
    assert shown.shape == (3, 687, 687)
    away = np.abs(np.moveaxis(shown, 0, 2) - np.where(expected[:, :, 3:] > 0, expected[:, :, :3], NODATA))
    assert away.mean() < 3


def test_a_preview_is_what_gdal_shows(large: Gallery, tmp_path: Path) -> None:
    """Every pixel, from no more bytes than the overview has."""
    out = tmp_path / "a.png"
    report = large.preview("-o", out, "--json").json
    assert [shown["product"] for shown in report["products"]] == [large.product("20240501")]
    assert (report["width"], report["height"], report["bands"]) == (687, 713, "B04, B03, B02")
    (shown,), (expected,) = opened(out), large.seen(4, ("20240501", -0.1), resolution=10)
    assert np.array_equal(shown, expected)
    assert (report["requests"], report["bytes"]) == (len(large.host.requests), large.host.sent)
    assert report["requests"] <= 3 * 121 * 1.5
    needed = frugal(large.rasters("20240501", 10))
    assert needed < 0.2 * sum(file.stat().st_size for file in large.rasters("20240501", 10))
    assert report["bytes"] <= needed * 1.05


def test_a_part_of_a_tile_takes_its_part_of_the_bytes(large: Gallery, tmp_path: Path) -> None:
    whole = large.preview("-o", tmp_path / "a.png", "--resolution", 20, "--bands", "b04", "--json").json
    box = ("--bounds", "14.0,47.3,14.1,47.35")
    part = large.preview("-o", tmp_path / "b.png", "--resolution", 20, "--bands", "b04", *box, "--json").json
    assert part["bytes"] < 0.1 * whole["bytes"]
    (grey,) = opened(tmp_path / "b.png")
    numbers = pictures.overview(large.rasters("20240501", 10, ("B04",))[0], 1)
    with rasterio.open(large.rasters("20240501", 10, ("B04",))[0]) as raster:
        (west, north), crs = (raster.bounds.left, raster.bounds.top), raster.crs
    left, bottom, right, top = rasterio.warp.transform_bounds("EPSG:4326", crs, 14.0, 47.3, 14.1, 47.35, 16)
    rows = slice(int((north - top) // 20), int(-((bottom - north) // 20)))
    columns = slice(int((left - west) // 20), int(-((west - right) // 20)))
    (expected,) = pictures.stretched([[(numbers[rows, columns], -0.1)]])
    assert grey.shape[1] == part["width"]
    assert abs(grey.shape[0] - expected.shape[0]) <= 1
    assert abs(grey.shape[1] - expected.shape[1]) <= 1
    height, width = (min(a, b) for a, b in zip(grey.shape[:2], expected.shape[:2], strict=True))
    away = np.abs(grey[:height, :width].astype(float) - expected[:height, :width])
    assert away.max() <= 2


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_a_series_has_one_stretch(gallery: Gallery, tmp_path: Path, form: str) -> None:
    """Over both eras, of which each has an offset of its own; where a date has no data nothing shines through."""
    gallery.build()
    out = tmp_path / f"a.{form}"
    report = gallery.preview("--series", "--resolution", 240, "-o", out, "--json").json
    days = [("20240401", 0.0), ("20240501", -0.1), ("20240506", -0.1)]
    assert [shown["product"] for shown in report["products"]] == [gallery.product(day) for day, _ in days]
    shown, expected = opened(out), gallery.seen(2, *days)
    assert len(shown) == 3
    for frame, right in zip(shown, expected, strict=True):
        assert np.array_equal(frame[:, :, 3], right[:, :, 3])
        if form == "webp":
            assert np.array_equal(frame, right)
        else:
            assert np.abs(frame - right).mean() < 4
    assert (shown[2][:, :, 3] == 0).mean() > 0.1
    with Image.open(out) as image:
        times = []
        for at in range(image.n_frames):
            image.seek(at)
            image.load()
            times.append(image.info["duration"])
        assert (times, image.info["loop"]) == ([600] * 3, 0)
    gallery.host.requests.clear()
    few = gallery.preview("--series", "--time", "2024-04-15/..", "--resolution", 480, "-o", out, "--json").json
    assert [shown["time"][:10] for shown in few["products"]] == ["2024-05-01", "2024-05-06"]
    cover = min(shown["cloud_cover"] for shown in report["products"])
    clear = gallery.preview("--series", "--max-cloud-cover", cover, "--resolution", 480, "-o", out, "--json").json
    assert [shown["cloud_cover"] for shown in clear["products"]] == [cover]


def test_the_date_is_chosen(gallery: Gallery, tmp_path: Path) -> None:
    gallery.build()

    def shown(*more: object) -> str:
        report = gallery.preview("--resolution", 960, "-o", tmp_path / "a.png", *more, "--json").json
        return report["products"][0]["time"][:10]

    assert shown() == shown("--least-cloudy") == "2024-04-01"
    assert shown("--least-cloudy", "--time", "2024-05-01/2024-05-31") == "2024-05-06"
    assert shown("--time", "2024-05-01") == shown("--time", "2024-05-01T23:00:00Z") == "2024-05-01"
    told = gallery.preview("--time", "2024-05-01", "--resolution", 960, "-o", tmp_path / "a.gif").stdout
    assert f"a.gif: 2024-05-01, {gallery.product('20240501')}; B04, B03, B02 at 960 m, 115 x 128 pixels;" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        (("--time", "2024-05-03"), 2, "the nearest dates are 2024-05-01 and 2024-05-06"),
        (("--time", "2023-05-03"), 2, "the nearest date is 2024-04-01"),
        (("--time", "soon"), 2, '--time: "soon" is neither a date'),
        (("--resolution", 150), 2, "can be seen at 60, 120, 240, 480, 960 m; the nearest is 120"),
        (("--resolution", 1000), 2, "pixels of 20 to 960 m; the nearest is 960"),
        (("--bands", "b08"), 2, "no product of the store has B08"),
        (("--bands", "b04,b03"), 2, "2 bands make no picture"),
        (("--series",), 2, "PNG holds one picture; name a series OUT.gif or OUT.webp"),
        (("--bounds", "0,0,1,1"), 2, "they lie outside the tile"),
        (("--least-cloudy", "--time", "2020-01-01/2020-12-31"), 2, "no product of 2020-01-01"),
    ],
)
def test_what_there_is_not_is_told(
    gallery: Gallery, tmp_path: Path, more: tuple[object, ...], code: int, reason: str
) -> None:
    gallery.build()
    size = () if "--resolution" in more else ("--resolution", 240)
    assert reason in gallery.preview(*size, *more, "-o", tmp_path / "a.png", code=code).sentence
    assert gallery.host.requests == []
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("content", [b"<html>", None], ids=["other", "gone"])
def test_a_file_that_cannot_be_read_is_named(gallery: Gallery, tmp_path: Path, content: bytes | None) -> None:
    gallery.build(gallery.product("20240506"))
    file = gallery.rasters("20240506", bands=("B03",))[0]
    size = file.stat().st_size
    file.unlink()
    if content is not None:
        file.write_bytes(content * size)
    sentence = gallery.preview("--resolution", 240, "-o", tmp_path / "a.png", code=1).sentence
    assert sentence.startswith(f"s2ice: {gallery.product('20240506')} of 2024-05-06: ")
    assert f"{gallery.host.address}/" in sentence
    assert file.name in sentence
    assert not (tmp_path / "a.png").exists()


def test_a_mirror_is_read_in_the_place_of_the_source(gallery: Gallery, tmp_path: Path) -> None:
    """And none but that: the store's own host is not asked."""
    gallery.build()
    where = ("preview", gallery.living.store, "--resolution", 480, "-o", tmp_path / "a.png")
    sentence = gallery.s2ice(*where, code=2).sentence
    assert f"if you trust it, pass --source {gallery.host.address}" in sentence
    gallery.s2ice(*where, "--source", gallery.living.archive.root)
    assert gallery.host.requests == []


@contextmanager
def split(s2ice: Command, make_samples: Callable[..., Any], folder: Path) -> Iterator[Gallery]:
    made = make_samples("--dates", "1", "--products", "split", "--assets", "B04_60m", "--no-swath-edge")
    archive = Archive(folder / "archive", made.root)
    archive.adopt(made.root)
    with hosts.serve(archive.root) as (host,):
        yield Gallery(s2ice, Living(s2ice, archive, folder / "stores"), host, folder / "public")


def test_tiles_that_tell_nothing_of_their_packets_are_read_whole(
    s2ice: Command, make_samples: Callable[..., Any], tmp_path: Path
) -> None:
    """Such as those of two tile-parts."""
    with split(s2ice, make_samples, tmp_path) as gallery:
        gallery.build()
        (file,) = gallery.rasters("20240501", bands=("B04",))
        report = gallery.preview("--bands", "b04", "--resolution", 240, "-o", tmp_path / "a.png", "--json").json
        (shown,), (expected,) = opened(tmp_path / "a.png"), gallery.seen(2, ("20240501", -0.1), bands=("B04",))
        assert np.array_equal(shown, expected)
        assert report["bytes"] > 0.9 * file.stat().st_size


def test_classes_have_their_colours(s2ice: Command, samples: Samples, sample_store: Path, tmp_path: Path) -> None:
    """Every nth pixel of them, also in a part of the tile; what has no data is transparent."""
    s2ice("preview", sample_store, "--bands", "scl", "--series", "-o", tmp_path / "a.gif")
    s2ice("preview", sample_store, "--bands", "scl", "--time", "2024-05-06", "-o", tmp_path / "a.png")
    frames = opened(tmp_path / "a.gif")
    assert len(frames) == 3
    colours = np.array(COLOURS)
    files = sorted(samples.root.rglob("*_SCL_20m.jp2"), key=lambda file: file.name.split("_")[1])
    for frame, file in zip(frames, files, strict=True):
        classes = pictures.overview(file, 0)[::8, ::8]
        expected = np.concatenate([colours[classes], 255 * (classes > 0)[:, :, None]], axis=2)
        assert np.array_equal(frame, np.where(classes[:, :, None] > 0, expected, 0))
    (edge,) = opened(tmp_path / "a.png")
    assert np.array_equal(edge, frames[1])
    assert 0.1 < (edge[:, :, 3] == 0).mean() < 0.9
    # Where the swath ended there is nothing, which is a picture too.
    with rasterio.open(files[1]) as raster:
        row, column = np.argwhere(raster.read(1)[::8, ::8] == 0)[-1] * 8
        x, y = raster.xy(row - 40, column - 40)
        longitude, latitude = (v[0] for v in rasterio.warp.transform(raster.crs, "EPSG:4326", [x], [y]))
    box = f"{longitude},{latitude},{longitude + 0.002},{latitude + 0.002}"
    line = ("preview", sample_store, "--bands", "scl", "--time", "2024-05-06", "--resolution", 20, "--bounds", box)
    s2ice(*line, "-o", tmp_path / "n.png")
    with Image.open(tmp_path / "n.png") as image:
        assert (np.asarray(image)[:-13, :, 3] == 0).all()


def test_a_picture_goes_to_standard_output(s2ice: Command, sample_store: Path) -> None:
    line = s2ice.line(("preview", sample_store, "--bands", "b01", "--resolution", 240, "-o", "-"))
    done = subprocess.run(line, env=s2ice.environment, capture_output=True, check=True, timeout=60)
    (grey,) = opened(io.BytesIO(done.stdout))
    assert grey.shape == (458, 458, 4)
    assert (grey[:, :, 0] == grey[:, :, 2]).all()
    assert b"B01 at 240 m" in done.stderr
    assert "both write to standard output" in s2ice("preview", sample_store, "-o", "-", "--json", code=2).sentence


def test_a_real_product_is_what_gdal_shows(s2ice: Command, tmp_path: Path) -> None:
    safe = real_data.needed() / "safe"
    s2ice("index", "--source", safe, "-o", tmp_path / "index.parquet")
    s2ice(
        "build", "--tile", "29UNU", "--index", tmp_path / "index.parquet", "--source", safe, "--store", tmp_path / "s"
    )
    report = s2ice("preview", tmp_path / "s", "--resolution", 240, "-o", tmp_path / "a.webp", "--json").json
    files = [next(safe.rglob(f"*_{band}_60m.jp2")) for band in RGB]
    (expected,) = pictures.stretched([[(pictures.overview(file, 2), -0.1) for file in files]])
    (shown,) = opened(tmp_path / "a.webp")
    assert np.array_equal(shown, expected)
    assert report["bytes"] < 0.15 * sum(file.stat().st_size for file in files)
    s2ice("preview", tmp_path / "s", "--bands", "tci", "--resolution", 120, "-o", tmp_path / "t.png")
    (shown,) = opened(tmp_path / "t.png")
    tci = next(safe.rglob("*_TCI_60m.jp2"))
    with rasterio.open(tci, OVERVIEW_LEVEL=0) as raster:
        numbers = np.moveaxis(raster.read(), 0, 2)
    there = numbers.any(axis=2, keepdims=True)
    assert np.array_equal(shown, np.where(there, np.concatenate([numbers, 255 * there], axis=2), 0))


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
    assert len(gallery.host.requests) <= 3 * 100 * 1.2 + 60, len(gallery.host.requests)
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
