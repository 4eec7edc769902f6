"""The pages of a publication: what a browser makes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from support import pages
from support.browsing import MANY, PAGE, TILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page, Route


def test_the_snippet_is_copied(visit: Callable[..., Page], publication_address: str) -> None:
    page = visit(f"{publication_address}/{TILE}", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy: Python").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == pages.rich()["snippets"][0]["code"]


def test_the_calendar_tells_dates(visit: Callable[..., Page], publication_address: str) -> None:
    page = visit(f"{publication_address}/{TILE}")
    told = page.locator(".told")
    year = pages.rich()["calendar"]["years"][1]
    first, second = year["rows"][:2]
    summary = page.locator(f"details[data-year='{year['year']}'] summary")
    summary.focus()
    page.keyboard.press("ArrowRight")
    assert told.text_content() == f"{first['date']}: {first['cloud']} % cloud, {first['product']}"
    page.keyboard.press("ArrowRight")
    assert (told.text_content() or "").startswith(f"{second['date']}: ")
    # The pointer: in the middle of the bar of the tenth date.
    row = year["rows"][9]
    strip = summary.locator("svg")
    box = strip.bounding_box()
    assert box
    place = {"x": box["width"] * (row["day"] - 0.5) / year["days"], "y": box["height"] / 2}
    strip.hover(position=place)
    assert (told.text_content() or "").startswith(f"{row['date']}: ")
    strip.click(position=place)
    chosen = page.locator("tr.chosen")
    assert chosen.is_visible()
    assert (chosen.text_content() or "").startswith(row["date"])


def test_the_slider_dims_cloudy_dates(visit: Callable[..., Page], publication_address: str) -> None:
    page = visit(f"{publication_address}/{TILE}")
    slider = page.get_by_label("Cloud cover below")
    slider.fill("20")
    rows = [row for year in pages.rich()["calendar"]["years"] for row in year["rows"] if row["kind"] == "date"]
    clear = [row for row in rows if row["cloud"] is not None and row["cloud"] < 20]
    assert page.locator("output").text_content() == f"20 %: {len(clear)} of {len(rows):,} dates"
    assert page.locator("#calendar tr.dim").count() == len(rows) - len(clear)
    years = len(pages.rich()["calendar"]["years"])
    assert page.locator("path.c2.dim").count() == page.locator("path.c2").count() >= years - 1
    assert page.locator("path.c1.dim").count() == 0
    slider.fill("100")
    assert page.locator(".dim").count() == 0


def test_tables_are_sorted(visit: Callable[..., Page], publication_address: str) -> None:
    page = visit(f"{publication_address}/zones/33.html")
    dates = page.locator("tbody tr td:nth-child(3)")
    page.get_by_role("button", name="Dates").click()
    numbers = [int(text.replace(",", "")) for text in dates.all_text_contents()]
    assert len(numbers) > 400
    assert numbers == sorted(numbers)
    page.get_by_role("button", name="Dates").click()
    assert [int(text.replace(",", "")) for text in dates.all_text_contents()] == sorted(numbers, reverse=True)
    page.get_by_role("button", name="Cloud-free").click()
    assert page.locator("th[aria-sort]").count() == 1
    shares = [
        float(text.split()[0]) for text in page.locator("tbody tr td:nth-child(6)").all_text_contents() if "%" in text
    ]
    assert shares == sorted(shares)


def test_the_map_finds_and_opens_tiles(visit: Callable[..., Page], publication_address: str) -> None:
    page = visit(publication_address)
    page.locator(".leaflet-tile-loaded").first.wait_for()
    rows = {row[0]: row for row in pages.tile_list(MANY)}
    name = next(name for name in rows if name.startswith("33U"))
    page.get_by_label("Find a tile").fill(name.lower()[:5])
    page.get_by_role("button", name="Show").click()
    link = page.locator(".leaflet-popup").get_by_role("link", name=name)
    assert link.get_attribute("href") == f"tiles/{name}/index.html"
    assert f"{rows[name][6]} dates, newest {rows[name][5]}" in (page.locator(".leaflet-popup").text_content() or "")
    page.keyboard.press("Escape")
    # A press on the middle of the map, where that tile now is.
    box = page.locator(".leaflet-holder").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2 - 10, box["y"] + box["height"] / 2 - 10)
    page.locator(".leaflet-popup").get_by_role("link", name=name).wait_for()
    page.get_by_label("Find a tile").fill("99XXX")
    page.get_by_role("button", name="Show").click()
    assert "No published tile" in (page.locator(".map-note").text_content() or "")


def test_the_map_of_many_tiles_is_fluent(visit: Callable[..., Page], publication_address: str) -> None:
    """A map of 25,000 boxes is stepped over without a pause that one would notice."""
    page = visit(publication_address)
    page.locator(".leaflet-tile-loaded").first.wait_for()
    slow = page.evaluate(
        """async () => {
          const watched = [];
          new PerformanceObserver((list) => watched.push(...list.getEntries())).observe({ type: "longtask" });
          const map = document.querySelector(".leaflet-holder");
          const CODES = { ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 };
          map.focus();
          for (const key of ["ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp"]) {
            map.dispatchEvent(new KeyboardEvent("keydown", { key, keyCode: CODES[key], bubbles: true }));
            await new Promise((done) => setTimeout(done, 300));
          }
          return watched.map((task) => task.duration);
        }"""
    )
    # Two shared cores draw a dozen canvas tiles in 0.15 to 0.3 s.
    assert max(slow, default=0) < 1000, slow
    assert page.locator(".leaflet-holder *").count() < 200


def test_a_tile_over_180_degrees_is_on_both_sides(
    visit: Callable[..., Page], publication: Path, publication_address: str
) -> None:
    rows = [["01KAB-L2A", 179.1, -17.2, -179.8, -16.2, "2026-11-20", 12, "ok"]]
    pages.write(PAGE, publication / "crossing", rows)
    page = visit(f"{publication_address}/crossing/index.html")
    page.get_by_label("Find a tile").fill("1kab")
    page.get_by_role("button", name="Show").click()
    box = page.locator(".leaflet-holder").bounding_box()
    assert box
    for side in (-40, 40):
        page.keyboard.press("Escape")
        page.mouse.click(box["x"] + box["width"] / 2 + side, box["y"] + box["height"] / 2 + 10)
        page.locator(".leaflet-popup").get_by_role("link", name="01KAB-L2A").wait_for()


def test_a_background_is_asked_for_where_one_is_configured(
    visit: Callable[..., Page], publication: Path, publication_address: str
) -> None:
    host = "https://tiles.example.org"
    context = pages.front(pages.tile_list(700)) | {"csp_img": host}
    context["map"] |= {"tile_url": f"{host}/{{z}}/{{x}}/{{y}}.png", "attribution": "© <b>Makers</b> & others"}
    (publication / "background.html").write_text(pages.environment(PAGE).get_template("front.html").render(context))
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(body=pages.picture(256), content_type="image/png")

    page = visit("about:blank")
    page.route(f"{host}/**", answer)
    page.goto(f"{publication_address}/background.html")
    page.locator("img.leaflet-tile-loaded").first.wait_for()
    assert re.fullmatch(rf"{host}/\d+/\d+/\d+\.png", asked[0])
    assert "© <b>Makers</b> & others" in (page.locator(".leaflet-control-attribution").text_content() or "")


def test_the_first_view_has_all_tiles(visit: Callable[..., Page], publication_address: str) -> None:
    boxes = [(178, -38, 179, -37), (15, 78, 20, 79), (-156, 19, -155, 20)]
    tiles = [[f"0{i}AAA-L2A", *box, "2024-06-01", 1, "ok"] for i, box in enumerate(boxes, 1)]
    page = visit("about:blank", viewport={"width": 1280, "height": 844})
    page.route("**/tiles.json", lambda route: route.fulfill(json=tiles))
    # The map is told of by the library's own hook.
    hook = "\nL.Map.addInitHook(function () { window.shown = this; });"
    page.route(
        "**/leaflet.js", lambda route: route.fulfill(body=route.fetch().text() + hook, content_type="text/javascript")
    )
    page.goto(f"{publication_address}/index.html")
    page.locator(".leaflet-holder canvas").first.wait_for()
    for west, south, east, north in boxes:
        assert page.evaluate("b => shown.getBounds().contains(b)", [[south, west], [north, east]])
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate("Number.isInteger(shown.getZoom())")


def test_without_script_all_text_is_there(visit: Callable[..., Page], publication_address: str) -> None:
    page = visit(f"{publication_address}/{TILE}", java_script_enabled=False)
    text = page.locator("main").inner_text()
    for part in (
        pages.rich()["links"]["store"],
        "import s2ice",
        "offset-0",
        "header_profile",
        "EPSG:32633",
        "Contains modified",
    ):
        assert part in text
    assert page.get_by_role("button").count() == 0
    assert page.locator("details").count() == len(pages.rich()["calendar"]["years"])
    page = visit(publication_address, java_script_enabled=False)
    assert page.locator("svg.still").is_visible()
    assert page.get_by_role("row").count() == 61


def test_pages_open_from_disk(visit: Callable[..., Page], publication: Path) -> None:
    """A browser lets a file read no other file: the map says so, all else works."""
    page = visit((publication / "index.html").as_uri(), but=("tiles.json", "land.svg", "net::ERR_FAILED"))
    page.get_by_text("a page opened from disk").wait_for()
    assert page.locator("svg.still").is_visible()
    page = visit((publication / TILE).as_uri())
    assert page.get_by_role("button", name="Copy: Python").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.facts')).display") == "grid"
    page = visit((publication / "zones/33.html").as_uri())
    page.locator(".leaflet-tile-loaded").first.wait_for()


@pytest.fixture(scope="module")
def few(publication: Path) -> list[str]:
    """The pages of a publication of 700 tiles, beside the other: axe looks at every row."""
    return [f"few/{path}" for path in pages.write(PAGE, publication / "few", pages.tile_list(700))]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_pages_fit_and_everyone_can_use_them(
    visit: Callable[..., Page], publication_address: str, few: list[str], npm_modules: Path, width: int, scheme: str
) -> None:
    axe = (npm_modules / "axe-core/axe.min.js").read_text()
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    for path in few:
        size = {"width": width, "height": 844}
        # The hostile page names a host that is none; the browser passes over it.
        page = visit(
            f"{publication_address}/{path}", but=("contains an invalid source",), viewport=size, color_scheme=scheme
        )
        for wide in (width, 320, 800):
            page.set_viewport_size({"width": wide, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= wide, (path, wide)
        page.set_viewport_size({"width": width, "height": 844})
        page.evaluate(axe)
        found = page.evaluate("rules => axe.run({ runOnly: rules })", rules)
        assert [(v["id"], [node["html"] for node in v["nodes"]][:3]) for v in found["violations"]] == [], path
