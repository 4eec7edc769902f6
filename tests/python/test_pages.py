"""The pages of a publication: what they say as text."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import html5lib
import minijinja
import pytest

from support import pages, tile_pages
from support.browsing import HOSTILE, MANY, PAGE, ROOT, TILE, TOOLS, needed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from xml.etree.ElementTree import Element

KB = 1000
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def written(publication: Path) -> dict[str, str]:
    """The pages' text, by path; tests of the browser may have laid others beside them."""
    fronts = (publication / "index.html", publication / "status.html")
    found = [*fronts, *publication.glob("zones/*.html"), *publication.glob("tiles/*/index.html")]
    return {str(path.relative_to(publication)): path.read_text() for path in found}


def parsed(text: str) -> Element:
    """The page's tree; what HTML's own parsing rules object to is an error."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree: Element = parser.parse(text)
    return tree


def words(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_pages_are_valid(written: dict[str, str], npm_modules: Path, publication: Path) -> None:
    for text in written.values():
        parsed(text)
    java = needed("java", "default-jre-headless")
    jar = npm_modules / "vnu-jar/build/dist/vnu.jar"
    command = [
        java,
        "-Xss4m",
        "-jar",
        jar,
        "--errors-only",
        "--format",
        "json",
        *(publication / path for path in written),
    ]
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
        "status.html": ("status.html", pages.status(rows)),
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


def test_links_between_pages_lead_somewhere(written: dict[str, str], publication: Path) -> None:
    for path, text in written.items():
        tree = parsed(text)
        ids = {element.get("id") for element in tree.iter()}
        for link in tree.iter("a"):
            address = link.get("href") or ""
            if address.startswith("#"):
                assert address[1:] in ids, (path, address)
            elif address.endswith(".html") and ("tiles/" not in address) and "zones/" not in address:
                assert ((publication / path).parent / address).resolve().is_file(), (path, address)
    assert "../../index.html" in written[TILE]
    assert "../../zones/33.html" in written[TILE]


def test_the_status_tells_first_of_those_that_failed(written: dict[str, str]) -> None:
    rows = pages.tile_list(MANY)
    rows = [[*row[:7], "ok" if row[7] == "failed" else row[7]] for row in rows]
    rows[20_000][7] = "failed"
    text = pages.environment(PAGE).get_template("status.html").render(pages.status(rows))
    tree = parsed(text)
    facts = {words(fact.find("dt")): words(fact.find("dd")) for fact in tree.iter("div") if fact.find("dt") is not None}
    assert (facts["Tiles"], facts["failed"]) == ("25,000", "1")
    assert facts["stale"] == f"{pages.tally(rows)['stale']:,}"
    table = list(tree.iter("table"))[-1]
    listed = [[words(cell) for cell in row] for row in table.find("tbody").iter("tr")]
    assert len(listed) == 100
    assert [rows[20_000][0].split("-")[0], "failed"] == [listed[0][0], listed[0][2]]
    assert {row[2] for row in listed[1:]} == {"stale"}
    assert [row[3] for row in listed[1:]] == sorted(row[3] for row in listed[1:])
    assert "status.html" in written["index.html"]
    assert "../../status.html" in written[TILE]


def test_text_of_others_stays_text(written: dict[str, str]) -> None:
    text = written[HOSTILE]
    tree = parsed(text)
    assert [script.get("src") for script in tree.iter("script")] == ["../../assets/look.js", "../../assets/page.js"]
    assert not [
        a for a in tree.iter("a") if not re.match(r"https://|\.\./|[a-z/#]+(\.json|$)|states/", a.get("href", ""))
    ]
    spoken = html.unescape(text)
    # In the title, headings, cells, attributes and code: each time the whole of it.
    assert spoken.count(tile_pages.HOSTILE) > 100
    assert "<script>alert" not in text
    policy = next(meta.get("content") for meta in tree.iter("meta") if meta.get("http-equiv"))
    assert policy is not None
    assert "unsafe-inline" in policy, "the example has a policy that wants more than an origin"
    directives = dict(part.strip().split(maxsplit=1) for part in policy.split(";"))
    assert {name: value for name, value in directives.items() if name != "img-src"} == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert len(directives["img-src"].split()) == 3


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


def test_pages_stay_small(written: dict[str, str], publication: Path) -> None:
    assert len(written[TILE].encode()) < 250 * KB
    assert len(written["index.html"].encode()) < 60 * KB
    assert len(written["status.html"].encode()) < 60 * KB
    assert len(written["zones/33.html"].encode()) < 300 * KB
    assert (publication / "tiles.json").stat().st_size < 2000 * KB
    own = sum(
        (PAGE / name).stat().st_size for name in ("style.css", "page.js", "map.js", "look.js", "icon.svg", "land.svg")
    )
    assert own < 120 * KB
    # Asked for when a map of pixels is wanted.
    assert sum((PAGE / "vendor" / name).stat().st_size for name in ("look-worker.js", "codec.wasm")) < 290 * KB


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
        "Status page": [pages.status(rows), pages.status([])],
        "Zone page": [pages.zone("33", rows)],
        "Tile page": [pages.rich(), pages.bare()],
    }
    kinds: dict[str, Callable[[Any], bool]] = {
        "string": lambda value: isinstance(value, str),
        "integer": lambda value: isinstance(value, int),
        "boolean": lambda value: isinstance(value, bool),
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


def test_what_is_vendored_is_what_npm_has(npm_modules: Path, tmp_path: Path) -> None:
    for name in ("land.svg", "vendor"):
        target = tmp_path / "crates/store/src/publish/page" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if name == "vendor" else shutil.copy)(PAGE / name, target)
    # What the worker is bundled from.
    for name in ("crates/store/src/publish/page/look", "crates/javascript/js"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "crates/javascript/package.json", tmp_path / "crates/javascript")
    script = tmp_path / "tests/page/vendor.mjs"
    script.parent.mkdir(parents=True)
    shutil.copy(TOOLS / "vendor.mjs", script)
    (script.parent / "node_modules").symlink_to(npm_modules)
    command = [needed("node", "nodejs"), script, "--check"]
    subprocess.run(command, check=True)
    with (tmp_path / "crates/store/src/publish/page/vendor/leaflet.js").open("a") as file:
        file.write("// changed\n")
    changed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert changed.returncode == 1
    assert "leaflet.js is not what" in changed.stderr
