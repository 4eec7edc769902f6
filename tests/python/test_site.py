"""The checks of the documentation site find what they are for; pages come out of manual pages and schemas whole."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from support.command import Command


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"site_{name}", ROOT / f"docs/site/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check, manual, schema = tool("check"), tool("manual"), tool("schema")


@pytest.mark.parametrize(
    ("markup", "problem"),
    [
        ('<a href="other.html#here">', None),
        ('<a href="https://example.org/">', None),
        ('<a href="away.html">', "index.html: away.html leads nowhere"),
        ('<a href="../out.html">', "index.html: ../out.html leads nowhere"),
        ('<a href="other.html#there">', "index.html: other.html#there: no such anchor"),
        ('<a href="#there">', "index.html: #there: no such anchor"),
        ('<script src="https://example.org/a.js">', "index.html: https://example.org/a.js is fetched from elsewhere"),
        ('<link href="//example.org/a.css">', "index.html: //example.org/a.css is fetched from elsewhere"),
        (
            '<p style="background: url(http://example.org/a)">',
            "index.html: http://example.org/a is fetched from elsewhere",
        ),
        ('<img src="a.png">', "index.html: a.png leads nowhere"),
    ],
)
def test_each_kind_of_bad_link_is_found(markup: str, problem: str | None, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(markup)
    (tmp_path / "other.html").write_text('<h1 id="here">')
    (tmp_path.parent / "out.html").touch()
    assert check.problems(tmp_path, check.read(tmp_path)) == ([problem] if problem else [])


def test_styles_fetch_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(
        "@import 'https://example.org/a.css'; p { background: url(data:image/png;base64,) }"
    )
    assert check.problems(tmp_path, {}) == ["a.css: https://example.org/a.css is fetched from elsewhere"]


def test_every_option_of_every_command_has_a_page(s2ice: Command, tmp_path: Path) -> None:
    s2ice("man", tmp_path / "man", "-q")
    names = manual.write(tmp_path / "man", tmp_path / "cli")
    pages = {name: (tmp_path / f"cli/{name}.md").read_text() for name in names}
    assert len(pages) > 10
    everywhere = pages["s2ice"]
    for name, page in pages.items():
        text = s2ice(*name.split("-")[1:], "--help").stdout
        told = {
            word.strip(",") for line in text.splitlines() if line.lstrip().startswith("-") for word in line.split()[:2]
        }
        options = {word for word in told if word.startswith("--")} - {"--help", "--version"}
        missing = {word for word in options if word.rstrip(".") not in page + everywhere}
        assert not missing, f"{name}: {missing}"


def test_a_macro_that_is_not_known_is_no_silence(tmp_path: Path) -> None:
    (tmp_path / "s2ice.1").write_text(".SH NAME\n.XY\n")
    with pytest.raises(SystemExit, match=r"the macro \.XY is new"):
        manual.read(tmp_path / "s2ice.1")


def test_every_field_and_word_of_a_schema_is_told() -> None:
    for path in (ROOT / "schemas").glob("*.schema.json"):
        page = schema.markdown(path)
        document = json.loads(path.read_text())
        for part in (document, *document.get("anyOf", []), *document.get("$defs", {}).values()):
            for name in part.get("properties", {}):
                assert f"| `{name}` |" in page, f"{path.name}: {name}"
            for choice in part.get("oneOf", []):
                if "const" in choice:
                    assert f"`{json.dumps(choice['const'])}`" in page, f"{path.name}: {choice}"
