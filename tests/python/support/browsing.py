"""A publication, a server that answers for it, and a browser that looks at it: fixtures."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from servers import running
from support import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "crates/store/src/publish/page"
"""Templates and static files."""
TOOLS = ROOT / "tests/page"
TILE = "tiles/33TVN-L2A/index.html"
HOSTILE = "tiles/01KAB-L2A/index.html"
MANY = 25_000


def needed(program: str, package: str) -> str:
    """A program of the machine; without it a test says so, and fails where everything must run."""
    return shutil.which(program) or missing(f"{program} is not here (Debian: apt-get install {package})")


def missing(message: str) -> NoReturn:
    """Say what a test lacks, and fail where everything must run."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def publication(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A publication of 25,000 tiles, of which five pages are written."""
    root = tmp_path_factory.mktemp("pages") / "publication"
    pages.write(PAGE, root, pages.tile_list(MANY))
    return root


@pytest.fixture(scope="session")
def npm_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which npm has what the pages are made of and checked with."""
    npm = needed("npm", "npm")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(TOOLS / name, folder)
    subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    return folder / "node_modules"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def publication_address(publication: Path) -> Iterator[str]:
    with running(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=publication))) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Not longer than a file: an event loop runs beside it, and other tests run theirs."""
    program = needed("chromium", "chromium")
    # Here, since few tests want it.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page. What the browser complains of, violations of the policy included, fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    allowed: list[str] = []

    def visit(address: str, *, but: tuple[str, ...] = (), **options: Any) -> Page:
        allowed.extend(but)
        context = chromium.new_context(reduced_motion="reduce", **options)
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
