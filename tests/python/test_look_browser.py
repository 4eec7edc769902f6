"""The map of a tile's page: what it draws is what is stored, and what it asks for is counted."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import s2ice as package
from support import hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from playwright.sync_api import Locator, Page

    from conftest import Samples
    from support.command import Command
    from support.hosts import Host

ID = "33TVN-L2A"
TCI = "quality/l2a_quicklook/r10m"
PICTURES = Path(os.environ.get("S2ICE_SCREENSHOTS", ""))
"""Where pictures of the map are kept; nowhere without it."""


@dataclass
class Shown:
    """A publication, the files that it refers to, and the store."""

    site: Host
    files: Host
    store: Path

    @property
    def page(self) -> str:
        return f"{self.site.address}/public/{ID}/index.html"

    def asked(self) -> tuple[int, int]:
        """Requests for the store and the files, and the bytes that they gave."""
        return len([path for path in self.site.requests if "/store/" in path]) + len(
            self.files.requests
        ), self.files.sent


@pytest.fixture(scope="module")
def built(s2ice: Command, make_samples: Callable[..., Samples], once: Callable[..., Path]) -> tuple[Path, Path]:
    """A store of two dates with the true-colour picture at 10 m, and its products."""
    assets = "TCI_10m,B02_60m,B03_60m,B04_60m,SCL_20m"
    root = make_samples("--dates", "2", "--assets", assets, "--no-swath-edge").root

    def fill(folder: Path) -> None:
        index = folder / "index.parquet"
        s2ice("index", "--source", root, "-o", index, "-q")
        inputs = ("--tile", "33TVN", "--index", index, "--source", root, "--resolutions", "all")
        s2ice("build", *inputs, "--store", folder / ID, "--memory", "none", "-q")

    return once("store with a picture", fill) / ID, root


@pytest.fixture
def shown(s2ice: Command, built: tuple[Path, Path], tmp_path: Path) -> Iterator[Shown]:
    store, root = built
    with hosts.serve(tmp_path, root) as (site, files):
        files.origins = "*"
        place = ("--out", tmp_path / "public", "--base-url", f"{site.address}/public/", "--source-url", files.address)
        s2ice("publish", store, *place, "--no-look", "--no-preview", "-q")
        site.requests, files.requests, files.sent = [], [], 0
        yield Shown(site, files, store)


def settled(page: Page) -> str:
    """Waits until everything is drawn; what the map says then."""
    holder = page.locator(".look .leaflet-holder[aria-busy=false]")
    holder.wait_for(timeout=120_000)
    page.wait_for_timeout(300)
    holder.wait_for(timeout=120_000)
    return page.locator(".look .said").text_content() or ""


def counted(page: Page, shown: Shown) -> tuple[int, int, str]:
    """Requests and bytes of files, which the page tells as the hosts counted them, and its words."""
    for _ in range(100):
        requests, sent = shown.asked()
        told = page.locator(".counts").text_content() or ""
        if told.startswith(f"{requests:,} requests"):
            break
        # What was begun for a view that is gone ends by itself.
        page.wait_for_timeout(100)
    assert told.startswith(f"{requests:,} requests"), (told, requests)
    return requests, sent, told


def look(page: Page) -> Locator:
    page.get_by_role("button", name="Look inside").click()
    settled(page)
    return page.locator("#look")


def zoom(page: Page, steps: int) -> str:
    for _ in range(abs(steps)):
        page.get_by_role("button", name="Zoom in" if steps > 0 else "Zoom out").click()
        page.wait_for_timeout(400)
    return settled(page)


def choose(page: Page, label: str, option: str) -> str:
    control = page.locator(".controls label").filter(has_text=label).locator("select")
    names = control.locator("option").all_text_contents()
    control.select_option(index=next(i for i, name in enumerate(names) if option in name))
    return settled(page)


def drawn(page: Page) -> dict[tuple[int, int, int], NDArray[np.uint8]]:
    """The pixels of each tile of the map that has any, by its zoom, column and row."""
    tiles = page.evaluate(
        """() => [...document.querySelectorAll('.look canvas[data-drawn]')].map((canvas) => {
          const { data } = canvas.getContext('2d').getImageData(0, 0, 256, 256);
          const text = Array.from(data, (byte) => String.fromCharCode(byte)).join('');
          return [canvas.dataset.at.split(' ').map(Number), btoa(text)];
        })"""
    )
    return {tuple(at): np.frombuffer(base64.b64decode(text), np.uint8).reshape(256, 256, 4) for at, text in tiles}


def check(page: Page, expected: Callable[[int, int], NDArray[Any]]) -> None:
    """Every opaque pixel of the map is the image's, one to one, and those without data are transparent.

    `expected` gives what is in a tile of the map, by its row and column.
    """
    found = drawn(page)
    assert found
    opaque = 0
    for (_, column, row), pixels in found.items():
        part = expected(row, column)
        seen = pixels[: part.shape[0], : part.shape[1]]
        has = seen[..., 3] == 255
        assert np.array_equal(has, part.any(axis=-1))
        assert np.array_equal(seen[has][:, :3], part[has])
        assert not pixels[part.shape[0] :, :, 3].any()
        assert not pixels[:, part.shape[1] :, 3].any()
        opaque += int(has.sum())
    assert opaque > 10_000


def side(place: int, every: int) -> slice:
    """Samples below a tile of the map that shows every so many of them: those below the middle of a pixel."""
    return slice(place * 256 * every + every // 2, (place + 1) * 256 * every, every)


def picture(store: Path, date: str, metres: int) -> Callable[[int, int], NDArray[Any]]:
    """The true-colour picture at a resolution. The files have none beyond 160 m."""
    cube = package.open(str(store), TCI, resolution=min(metres, 160), mask_and_scale=False)
    every = max(metres // 160, 1)

    def part(row: int, column: int) -> NDArray[Any]:
        found = cube.tci.sel(time=date).isel(time=0, y=side(row, every), x=side(column, every))
        array: NDArray[Any] = found.transpose("y", "x", "band").to_numpy()
        return array

    return part


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_what_is_drawn_is_what_is_stored(
    shown: Shown, visit: Callable[..., Page], width: int, scheme: str, tmp_path: Path
) -> None:
    page = visit(shown.page, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.wait_for_timeout(500)
    assert shown.asked() == (0, 0), "nobody is asked before the button is pressed"
    section = look(page)
    rows = []
    sizes = dict.fromkeys(("2024-05-06", "2024-05-01"), 0)
    for date in sizes:
        (file,) = shown.files.root.rglob(f"*{date.replace('-', '')}*_TCI_10m.jp2")
        sizes[date] = file.stat().st_size
        said = choose(page, "Date", date)
        # The whole tile, then nearer.
        for steps in (0, 2, 2):
            said = zoom(page, steps)
            assert said.startswith(f"{date}, S2"), said
            metres = int(said.split(" m a pixel")[0].split()[-1])
            check(page, picture(shown.store, date, metres))
            requests, sent, told = counted(page, shown)
            rows.append({"metres": metres, "date": date, "requests": requests, "bytes of files": sent, "told": told})
            if PICTURES.name:
                section.screenshot(path=PICTURES / f"look-{width}-{metres}m-{date}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        zoom(page, -4)
    assert rows[0]["metres"] == 4 * rows[1]["metres"] == 16 * rows[2]["metres"]
    # The whole of a date is a small part of its bytes.
    assert rows[0]["bytes of files"] < sizes["2024-05-06"] / 5, (rows, sizes)
    if PICTURES.name:
        (PICTURES / f"look-{width}.json").write_text(json.dumps({"rows": rows, "bytes of files": sizes}, indent=1))


def test_classes_are_picked_and_reflectance_is_stretched(shown: Shown, visit: Callable[..., Page]) -> None:
    page = visit(shown.page, viewport={"width": 1280, "height": 844})
    look(page)
    said = choose(page, "Bands", "Scene classes")
    metres = int(said.split(" m a pixel")[0].split()[-1])
    cube = package.open(str(shown.store), "conditions/mask/l2a_classification/r20m", mask_and_scale=False)
    classes = cube.scl.isel(time=-1).to_numpy()
    colours = np.array([[0, 0, 0], [255, 0, 0], [47, 47, 47], [100, 50, 0], [0, 160, 0], [255, 230, 90], [0, 0, 255]])
    more = np.array([[128, 128, 128], [192, 192, 192], [255, 255, 255], [100, 200, 255], [255, 150, 255]])
    painted = np.concatenate([colours, more])[classes]
    assert len(np.unique(classes)) > 2
    check(page, lambda row, column: painted[side(row, metres // 20), side(column, metres // 20)])

    said = choose(page, "Bands", "B04, B03, B02")
    cube = package.open(str(shown.store), "measurements/reflectance/r60m", mask_and_scale=False).isel(time=-1)
    bands = np.stack([cube[name].to_numpy() for name in ("b04", "b03", "b02")], axis=-1).astype(float)
    zoom(page, 6)
    said = zoom(page, 0)
    assert said.endswith("B04, B03, B02), 5 m a pixel."), said
    found = drawn(page)
    assert found
    for (_, column, row), pixels in found.items():
        at = [((place * 256 + np.arange(256)) * 5 + 2.5) // 60 for place in (row, column)]
        part = bands[np.ix_(*(axis.astype(int).clip(0, 1829) for axis in at))]
        expected = ((part * 0.0001 - 0.1) / 0.3 * 255).clip(0, 255)
        has = part.all(axis=-1)
        assert np.array_equal(pixels[..., 3] == 255, has)
        assert np.abs(pixels[..., :3] - expected)[has].max(initial=0) <= 0.51


def test_a_source_that_no_page_may_read_says_so_and_a_proxy_helps(shown: Shown, visit: Callable[..., Page]) -> None:
    page = visit(shown.page, but=("CORS", "Failed to load resource"))
    shown.files.origins = ""
    section = look(page)
    assert "does not let pages of other origins read (CORS)" in (page.locator(".look .said").text_content() or "")
    with hosts.serve(shown.files.root) as (proxy,):
        proxy.origins = "*"
        section.get_by_label("or of a proxy").fill(f"{proxy.address}/")
        look(page)
        assert "m a pixel" in (page.locator(".look .said").text_content() or "")
        assert proxy.requests


def test_a_store_that_cannot_be_read_says_so(shown: Shown, visit: Callable[..., Page]) -> None:
    page = visit(shown.page, but=("Failed to load resource",))
    (shown.site.root / f"public/{ID}/store/repo").write_bytes(b"no such thing")
    page.get_by_role("button", name="Look inside").click()
    page.get_by_text("it is no file of Icechunk").wait_for()
    assert page.get_by_role("button", name="Look inside").is_enabled()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_everyone_can_use_it(
    shown: Shown, visit: Callable[..., Page], npm_modules: Path, width: int, scheme: str
) -> None:
    page = visit(shown.page, viewport={"width": width, "height": 844}, color_scheme=scheme)
    look(page)
    page.evaluate((npm_modules / "axe-core/axe.min.js").read_text())
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("rules => axe.run('#look', { runOnly: rules })", rules)
    assert [(v["id"], [node["html"] for node in v["nodes"]][:3]) for v in found["violations"]] == []
    # Without a mouse.
    page.locator(".look .leaflet-holder").focus()
    before = page.locator(".look canvas").first.get_attribute("data-at")
    page.keyboard.press("+")
    page.wait_for_timeout(400)
    settled(page)
    assert page.locator(".look canvas").first.get_attribute("data-at") != before


def test_without_script_the_text_is_there(shown: Shown, visit: Callable[..., Page]) -> None:
    page = visit(shown.page, java_script_enabled=False)
    text = page.locator("#look").inner_text()
    assert shown.files.address in text
    assert "This needs JavaScript" in text
    assert shown.asked() == (0, 0)
