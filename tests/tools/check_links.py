"""Checks that links between the project's Markdown files lead somewhere: files exist, anchors are headings."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+\s+(.*?)\s*#*$")


def markdown_files() -> list[Path]:
    folders = ["docs", "crates", "schemas", "tests"]
    found = [*ROOT.glob("*.md")]
    for folder in folders:
        found += (ROOT / folder).rglob("*.md")
    skip = {"target", ".venv", "node_modules"}
    return sorted(path for path in found if not skip.intersection(path.relative_to(ROOT).parts))


def outside_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^```.*?^```", "", text))


def anchors(path: Path) -> set[str]:
    out: set[str] = set()
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text())
    for line in text.splitlines():
        if match := HEADING.match(line):
            slug = re.sub(r"[^\w\- ]", "", match[1].replace("`", "").lower()).strip().replace(" ", "-")
            out.add(slug)
    return out


def main() -> int:
    problems, checked = [], 0
    for path in markdown_files():
        for groups in LINK.findall(outside_code(path.read_text())):
            target = groups[0] or groups[1]
            if re.match(r"[a-z]+:", target):
                continue
            checked += 1
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            where = path.relative_to(ROOT)
            if not file.exists():
                problems.append(f"{where}: {target} leads nowhere")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                problems.append(f"{where}: {target}: no such heading")
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{checked} links between Markdown files lead somewhere")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
