"""Checks the built site: every link leads somewhere, and nothing is fetched from another host."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# rustdoc checks its own links, and `cargo doc` makes its warnings errors.
LEFT_OUT = "rust"
FETCHES = {
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("iframe", "src"),
    ("link", "href"),
    ("object", "data"),
}
IN_STYLES = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


class Page(HTMLParser):
    """Anchors, links and fetched addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif (tag, name) in FETCHES:
                self.fetched.append(value)
            elif tag == "a" and name == "href":
                self.links.append(value)
            elif name == "style":
                self.fetched += ["".join(found) for found in IN_STYLES.findall(value)]


def read(site: Path) -> dict[Path, Page]:
    pages = {}
    for path in sorted(site.rglob("*.html")):
        if LEFT_OUT not in path.relative_to(site).parts[:1]:
            pages[path] = Page()
            pages[path].feed(path.read_text())
    return pages


def problems(site: Path, pages: dict[Path, Page]) -> list[str]:
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        for address in [*page.fetched, *page.links]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.fetched and parts.scheme != "data":
                    found.append(f"{where}: {address} is fetched from elsewhere")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(site) or not target.exists():
                found.append(f"{where}: {address} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{where}: {address}: no such anchor")
    for path in sorted(site.rglob("*.css")):
        for names in IN_STYLES.findall(path.read_text()):
            address = "".join(names)
            if urlsplit(address).netloc:
                found.append(f"{path.relative_to(site)}: {address} is fetched from elsewhere")
    return found


def main(folder: Path) -> int:
    site = folder.resolve()
    pages = read(site)
    found = problems(site, pages)
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        links = sum(len(page.links) for page in pages.values())
        print(f"{links} links on {len(pages)} pages lead somewhere; nothing is fetched from elsewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
