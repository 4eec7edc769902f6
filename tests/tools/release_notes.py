"""Prints what CHANGELOG.md says of a version, for the notes of its release: release_notes.py 0.2.0, or Unreleased.

The changelog is checked as a whole first (the form of Keep a Changelog), and that the version is the one that command
and wheel take from Cargo.toml.
"""

from __future__ import annotations

import datetime
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNRELEASED = "Unreleased"
HEADING = re.compile(r"## (?:(?P<unreleased>Unreleased)|(?P<version>\d+\.\d+\.\d+) - (?P<date>\d{4}-\d\d-\d\d))")
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


class ChangelogError(Exception):
    """The changelog, or what is asked of it, is wrong; the text says where."""


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def sections(text: str) -> dict[str, str]:
    """What stands under each version, the newest first."""
    found: dict[str, list[str]] = {}
    released: list[tuple[tuple[int, ...], datetime.date]] = []
    kind = ""
    for place, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            heading = HEADING.fullmatch(line)
            if heading is None:
                raise ChangelogError(
                    f"line {place}: a heading is `## 0.2.0 - 2026-12-31` or `## Unreleased`, not {line!r}"
                )
            if heading["version"]:
                try:
                    released.append((number(heading["version"]), datetime.date.fromisoformat(heading["date"])))
                except ValueError as error:
                    raise ChangelogError(f"line {place}: {error}") from None
            elif found:
                raise ChangelogError(f"line {place}: what is unreleased stands first, and once")
            found[heading["unreleased"] or heading["version"]] = []
            kind = ""
        elif found:
            if line.startswith("#"):
                kind = line.removeprefix("### ")
                if kind not in KINDS:
                    raise ChangelogError(f"line {place}: {line!r} is none of {', '.join(KINDS)}")
            elif line and not kind:
                raise ChangelogError(f"line {place}: an entry stands below {', '.join(KINDS)}")
            elif line and not line.startswith(("- ", "  ")):
                raise ChangelogError(f"line {place}: an entry begins with `- ` and goes on with two spaces")
            list(found.values())[-1].append(line)
    if released != sorted(released, reverse=True) or len(set(released)) != len(released):
        raise ChangelogError("versions and dates go from the newest to the oldest, each once")
    out = {version: "\n".join(lines).strip() + "\n" for version, lines in found.items()}
    if empty := [version for version, notes in out.items() if version != UNRELEASED and "- " not in notes]:
        raise ChangelogError(f"nothing stands under {', '.join(empty)}")
    return out


def notes(version: str, text: str, workspace: str) -> str:
    """What stands under a version, which must be the workspace's."""
    found = sections(text)
    newest = next((known for known in found if known != UNRELEASED), None)
    if newest is not None and number(newest) > number(workspace):
        raise ChangelogError(f"the newest version is {newest}, that of Cargo.toml is {workspace}")
    if version not in found:
        raise ChangelogError(f"there is no section {version}; there are {', '.join(found)}")
    if version == newest and version != workspace:
        raise ChangelogError(f"Cargo.toml has the version {workspace}, not {version}")
    return found[version]


def workspace_version() -> str:
    return str(tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"])


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: release_notes.py VERSION", file=sys.stderr)
        return 2
    try:
        print(notes(arguments[0].removeprefix("v"), (ROOT / "CHANGELOG.md").read_text(), workspace_version()), end="")
    except ChangelogError as error:
        print(f"CHANGELOG.md: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
