"""The pages of a publication: what they say as text, and what a browser makes of them."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import html5lib
import minijinja
import pytest
from playwright.sync_api import sync_playwright

from conftest import ROOT
from servers import running
from support import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from playwright.sync_api import Browser, BrowserContext, Page, Route

PAGE = ROOT / "crates/store/src/publish/page"
TOOLS = ROOT / "tests/page"
TILE = "tiles/33TVN-L2A/index.html"
HOSTILE = "tiles/01KAB-L2A/index.html"
MANY = 25_000
KB = 1000
SVG = "{http://www.w3.org/2000/svg}"


def needed(program: str, package: str) -> str:
    """A program of the machine; without it a test says so, and fails where everything must run."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not here (Debian: apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A publication of 25,000 tiles, of which five pages are written."""
    root = tmp_path_factory.mktemp("pages") / "publication"
    pages.write(PAGE, root, pages.tile_list(MANY))
    return root


@pytest.fixture(scope="module")
def written(root: Path) -> dict[str, str]:
    """The pages' text, by path."""
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.html")}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which npm has what the pages are made of and checked with."""
    npm = needed("npm", "npm")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(TOOLS / name, folder)
    subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    return folder / "node_modules"


def parsed(text: str) -> Element:
    """The page's tree; what HTML's own parsing rules object to is an error."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree: Element = parser.parse(text)
    return tree


def words(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_pages_are_valid(written: dict[str, str], modules: Path, root: Path) -> None:
    for text in written.values():
        parsed(text)
    java = needed("java", "default-jre-headless")
    jar = modules / "vnu-jar/build/dist/vnu.jar"
    command = [java, "-Xss4m", "-jar", jar, "--errors-only", "--format", "json", *(root / path for path in written)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    messages = json.loads(said.stderr)["messages"]
    # The hostile page names a host that is none in its policy, and nothing else is wrong with it.
    assert [(m["url"].rpartition("publication/")[2], m["lastLine"]) for m in messages] == [(HOSTILE, 5)], messages
    assert "Unrecognized source-expression" in messages[0]["message"]


def test_both_engines_say_the_same(written: dict[str, str]) -> None:
    templates = {path.name: path.read_text() for path in PAGE.glob("*.html")}
    engine = minijinja.Environment(templates=templates, undefined_behavior="strict")
    rows = pages.tile_list(MANY)
    for path, (template, context) in {
        "index.html": ("front.html", pages.front(rows)),
        "zones/33.html": ("zone.html", pages.zone("33", [row for row in rows if row[0].startswith("33")])),
        TILE: ("tile.html", pages.rich()),
        "tiles/01CCV-L2A/index.html": ("tile.html", pages.bare()),
        HOSTILE: ("tile.html", pages.hostile()),
    }.items():
        # They escape the same characters in different words.
        assert html.unescape(engine.render_template(template, **context)) == html.unescape(written[path]), path


def test_the_only_templates_are_those_that_are_named() -> None:
    assert {path.name for path in PAGE.glob("*.html")} == pages.TEMPLATES
    for path in PAGE.glob("*.html"):
        assert "|safe" not in path.read_text().replace(" ", ""), path
        assert "autoescape" not in path.read_text(), path


def test_nothing_foreign_is_loaded(written: dict[str, str]) -> None:
    for path, text in written.items():
        tree = parsed(text)
        loading = [
            e
            for e in tree.iter()
            if e.tag in {"script", "img", f"{SVG}image"} or e.get("rel") in {"stylesheet", "icon"}
        ]
        assert loading
        for element in loading:
            address = element.get("src") or element.get("href") or element.get("{http://www.w3.org/1999/xlink}href")
            assert address, (path, element.attrib)
            assert re.match(r"(\.\./)*[a-z]", address), (path, address)
            assert ":" not in address, (path, address)
        for element in tree.iter():
            assert element.get("style") is None, (path, element.tag)
            assert not [name for name in element.attrib if str(name).startswith("on")], (path, element.attrib)
        for script in tree.iter("script"):
            assert not words(script), path


def test_links_between_pages_lead_somewhere(written: dict[str, str], root: Path) -> None:
    for path, text in written.items():
        tree = parsed(text)
        ids = {element.get("id") for element in tree.iter()}
        for link in tree.iter("a"):
            address = link.get("href") or ""
            if address.startswith("#"):
                assert address[1:] in ids, (path, address)
            elif address.endswith(".html") and ("tiles/" not in address) and "zones/" not in address:
                assert ((root / path).parent / address).resolve().is_file(), (path, address)
    assert "../../index.html" in written[TILE]
    assert "../../zones/33.html" in written[TILE]


def test_text_of_others_stays_text(written: dict[str, str]) -> None:
    text = written[HOSTILE]
    tree = parsed(text)
    assert [script.get("src") for script in tree.iter("script")] == ["../../assets/page.js"]
    assert not [
        a for a in tree.iter("a") if not re.match(r"https://|\.\./|[a-z/#]+(\.json|$)|states/", a.get("href", ""))
    ]
    spoken = html.unescape(text)
    # In the title, headings, cells, attributes and code: each time the whole of it.
    assert spoken.count(pages.HOSTILE) > 100
    assert "<script>alert" not in text
    policy = next(meta.get("content") for meta in tree.iter("meta") if meta.get("http-equiv"))
    assert policy is not None
    assert "unsafe-inline" in policy, "the example has a policy that wants more than an origin"
    assert [part.split()[0] for part in policy.split(";")].count("script-src") == 1
    assert policy.split(";")[2].split() == ["script-src", "'self'"]


def test_the_table_of_dates_has_everything(written: dict[str, str]) -> None:
    context = pages.rich()
    tree = parsed(written[TILE])
    tables = [table for table in tree.iter("table") if words(table.find("caption")).startswith("Dates of")]
    cells = [[words(cell) for cell in row] for table in tables for row in table.find("tbody").iter("tr")]
    rows = [row for year in context["calendar"]["years"] for row in year["rows"]]
    assert len(rows) > 1500
    for row, (date, cloud, product, notes) in zip(rows, cells, strict=True):
        assert date == row["date"]
        if row["kind"] == "gap":
            assert notes == f"No date until {row['until']}: {row['days']} days"
        elif row["kind"] == "refused":
            assert (cloud, product, notes) == ("", row["product"], f"Left out: {row['notes']}")
        else:
            assert (cloud, product, notes) == (
                "?" if row["cloud"] is None else str(row["cloud"]),
                row["product"],
                row["notes"],
            )


def test_each_date_has_its_bar(written: dict[str, str]) -> None:
    """Bars stand at the day and in the tenth of cloud cover that the table says."""
    strips = [svg for svg in parsed(written[TILE]).iter(f"{SVG}svg") if "Dates of" in svg.get("aria-label", "")]
    years = pages.rich()["calendar"]["years"]
    for year, strip in zip(years, strips, strict=True):
        drawn = {path.get("class", "").split()[-1]: path.get("d", "") for path in strip.iter(f"{SVG}path")}
        bars = {name: [float(x) + 0.5 for x in re.findall(r"M([\d.]+) ", d)] for name, d in drawn.items()}
        wanted: dict[str, list[float]] = {}
        for row in year["rows"]:
            if row["kind"] == "gap":
                continue
            cloud = row.get("cloud")
            kind = "r" if row["kind"] == "refused" else "cu" if cloud is None else f"c{min(int(cloud // 10), 9)}"
            wanted.setdefault(kind, []).append(row["day"])
        assert {name: bars[name] for name in bars if name not in {"m", "g"}} == wanted
        months = [int(day) for day in re.findall(r"M(\d+) ", drawn["m"])]
        assert months[0] == 31
        assert months[-1] == year["days"] - 31


def test_pages_stay_small(written: dict[str, str], root: Path) -> None:
    assert len(written[TILE].encode()) < 250 * KB
    assert len(written["index.html"].encode()) < 60 * KB
    assert len(written["zones/33.html"].encode()) < 300 * KB
    assert (root / "tiles.json").stat().st_size < 2000 * KB
    own = sum((PAGE / name).stat().st_size for name in ("style.css", "page.js", "map.js", "icon.svg", "land.svg"))
    assert own < 110 * KB


def test_the_context_is_documented() -> None:
    """Every name of the example contexts stands in context.md with its type, and no other."""
    text = (PAGE / "context.md").read_text()
    named: dict[str, dict[str, str]] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        named[title] = dict(re.findall(r"^\| `([^`]+)` \| ([a-z ]+?) \|", section, flags=re.MULTILINE))
    rows = pages.tile_list(60)
    contexts = {
        "Front page": [pages.front(rows), pages.front([])],
        "Zone page": [pages.zone("33", rows)],
        "Tile page": [pages.rich(), pages.bare()],
    }
    kinds: dict[str, Callable[[Any], bool]] = {
        "string": lambda value: isinstance(value, str),
        "integer": lambda value: isinstance(value, int),
        "number": lambda value: isinstance(value, int | float),
        "list": lambda value: isinstance(value, list),
        "object": lambda value: isinstance(value, dict),
        "null": lambda value: value is None,
    }

    def walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            yield path, value
            for name, inner in value.items():
                yield from walk(inner, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            yield path, value
            for inner in value:
                if isinstance(inner, dict):
                    yield from walk(inner, f"{path}[]")
        else:
            yield path, value

    for title, examples in contexts.items():
        known = named["All pages"] | named[title]
        seen = set()
        for path, value in (found for example in examples for found in walk(example, "")):
            if path not in known:
                assert any(name.startswith((f"{path}.", f"{path}[")) for name in known) or not path, (title, path)
                continue
            seen.add(path)
            assert any(kinds[kind](value) for kind in known[path].split(" or ")), (title, path, value)
        assert seen == set(known), title


def test_what_is_vendored_is_what_npm_has(modules: Path, tmp_path: Path) -> None:
    for name in ("land.svg", "vendor"):
        target = tmp_path / "crates/store/src/publish/page" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if name == "vendor" else shutil.copy)(PAGE / name, target)
    script = tmp_path / "tests/page/vendor.mjs"
    script.parent.mkdir(parents=True)
    shutil.copy(TOOLS / "vendor.mjs", script)
    (script.parent / "node_modules").symlink_to(modules)
    command = [needed("node", "nodejs"), script, "--check"]
    subprocess.run(command, check=True)
    with (tmp_path / "crates/store/src/publish/page/vendor/leaflet.js").open("a") as file:
        file.write("// changed\n")
    changed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert changed.returncode == 1
    assert "leaflet.js is not what" in changed.stderr


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    with running(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root))) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = needed("chromium", "chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page. What the browser complains of, violations of the policy included, fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    allowed: list[str] = []

    def visit(address: str, *, but: tuple[str, ...] = (), **options: Any) -> Page:
        allowed.extend(but)
        context = browser.new_context(reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(part in text for part in allowed)] == []


def test_the_snippet_is_copied(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}/{TILE}", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy: Python").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == pages.rich()["snippets"][0]["code"]


def test_the_calendar_tells_dates(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}/{TILE}")
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


def test_the_slider_dims_cloudy_dates(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}/{TILE}")
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


def test_tables_are_sorted(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}/zones/33.html")
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


def test_the_map_finds_and_opens_tiles(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
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


def test_the_map_of_many_tiles_is_fluent(visit: Callable[..., Page], address: str) -> None:
    """A canvas tile of a map of 25,000 boxes is drawn in a few milliseconds."""
    page = visit(address)
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
    assert max(slow, default=0) < 250, slow


def test_a_tile_over_180_degrees_is_on_both_sides(visit: Callable[..., Page], root: Path, address: str) -> None:
    rows = [["01KAB-L2A", 179.1, -17.2, -179.8, -16.2, "2026-11-20", 12, "ok"]]
    pages.write(PAGE, root / "crossing", rows)
    page = visit(f"{address}/crossing/index.html")
    page.get_by_label("Find a tile").fill("1kab")
    page.get_by_role("button", name="Show").click()
    box = page.locator(".leaflet-holder").bounding_box()
    assert box
    for side in (-40, 40):
        page.keyboard.press("Escape")
        page.mouse.click(box["x"] + box["width"] / 2 + side, box["y"] + box["height"] / 2 + 10)
        page.locator(".leaflet-popup").get_by_role("link", name="01KAB-L2A").wait_for()


def test_a_background_is_asked_for_where_one_is_configured(
    visit: Callable[..., Page], root: Path, address: str
) -> None:
    host = "https://tiles.example.org"
    context = pages.front(pages.tile_list(700)) | {"csp_img": host}
    context["map"] |= {"tile_url": f"{host}/{{z}}/{{x}}/{{y}}.png", "attribution": "© <b>Makers</b> & others"}
    (root / "background.html").write_text(pages.environment(PAGE).get_template("front.html").render(context))
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(body=pages.picture(256), content_type="image/png")

    page = visit("about:blank")
    page.route(f"{host}/**", answer)
    page.goto(f"{address}/background.html")
    page.locator("img.leaflet-tile-loaded").first.wait_for()
    assert re.fullmatch(rf"{host}/\d+/\d+/\d+\.png", asked[0])
    assert "© <b>Makers</b> & others" in (page.locator(".leaflet-control-attribution").text_content() or "")


def test_without_script_all_text_is_there(visit: Callable[..., Page], address: str) -> None:
    page = visit(f"{address}/{TILE}", java_script_enabled=False)
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
    page = visit(address, java_script_enabled=False)
    assert page.locator("svg.still").is_visible()
    assert page.get_by_role("row").count() == 61


def test_pages_open_from_disk(visit: Callable[..., Page], root: Path) -> None:
    """A browser lets a file read no other file: the map says so, all else works."""
    page = visit((root / "index.html").as_uri(), but=("tiles.json", "land.svg", "net::ERR_FAILED"))
    page.get_by_text("a page opened from disk").wait_for()
    assert page.locator("svg.still").is_visible()
    page = visit((root / TILE).as_uri())
    assert page.get_by_role("button", name="Copy: Python").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.facts')).display") == "grid"
    page = visit((root / "zones/33.html").as_uri())
    page.locator(".leaflet-tile-loaded").first.wait_for()


@pytest.fixture(scope="module")
def few(root: Path) -> list[str]:
    """The pages of a publication of 700 tiles, beside the other: axe looks at every row."""
    return [f"few/{path}" for path in pages.write(PAGE, root / "few", pages.tile_list(700))]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_pages_fit_and_everyone_can_use_them(
    visit: Callable[..., Page], address: str, few: list[str], modules: Path, width: int, scheme: str
) -> None:
    axe = (modules / "axe-core/axe.min.js").read_text()
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    for path in few:
        size = {"width": width, "height": 844}
        # The hostile page names a host that is none; the browser passes over it.
        page = visit(f"{address}/{path}", but=("contains an invalid source",), viewport=size, color_scheme=scheme)
        for wide in (width, 320, 800):
            page.set_viewport_size({"width": wide, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= wide, (path, wide)
        page.set_viewport_size({"width": width, "height": 844})
        page.evaluate(axe)
        found = page.evaluate("rules => axe.run({ runOnly: rules })", rules)
        assert [(v["id"], [node["html"] for node in v["nodes"]][:3]) for v in found["violations"]] == [], path
