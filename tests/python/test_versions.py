"""Numbers that are promised: docs/versions.md, the code, the packages and the changelog say the same."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

import s2ice as package
from conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from support.command import Command

TOOL = ROOT / "tests/tools/release_notes.py"
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
VERSION = CARGO["package"]["version"]

spec = importlib.util.spec_from_file_location("release_notes", TOOL)
assert spec
assert spec.loader
release_notes: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release_notes)


def promised(heading: str = "# What stays as it is") -> dict[str, str]:
    """The second column of a table by its first."""
    text = (ROOT / "docs/versions.md").read_text().partition(heading)[2]
    rows = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert rows
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[0].splitlines()[2:]]
    return {row[0].replace("`", ""): row[1].strip("`") for row in cells}


def constant(file: str, name: str) -> str:
    found = re.search(rf'pub const {name}: [^=]*= "?([^";]+)"?;', (ROOT / "crates" / file).read_text())
    assert found, f"{file} has no {name}"
    return found[1]


def test_the_promised_numbers_are_those_of_the_code() -> None:
    said = promised()
    assert said == {
        "s2ice": VERSION,
        "store layout": constant("store/src/plan/stamp.rs", "LAYOUT_VERSION"),
        "reports": constant("store/src/report.rs", "REPORT_VERSION"),
        "report of diff": constant("store/src/diff/report.rs", "DIFF_REPORT_VERSION"),
        "index table": constant("manifest/src/source/index_writer.rs", "LAYOUT"),
        "manifest table": constant("manifest/src/source/manifest_parquet.rs", "MANIFEST_VERSION"),
        "codec": "s2ice.jpeg2000",
        "filter of GeoTIFFs": "s2ice.horizontal_differencing",
        "Icechunk format": "2 (1 with `--spec 1`)",
    }
    project = tomllib.loads((ROOT / "crates/python/pyproject.toml").read_text())["project"]
    assert list(project["entry-points"]["zarr.codecs"]) == [said["codec"], said["filter of GeoTIFFs"]]


def test_the_oldest_of_what_it_runs_on_is_what_the_packages_ask_for() -> None:
    said = promised("## What it runs on")
    project = tomllib.loads((ROOT / "crates/python/pyproject.toml").read_text())["project"]
    asked = dict(entry.split(",")[0].split(">=") for entry in project["dependencies"])
    assert said == {
        "Rust": CARGO["package"]["rust-version"],
        "Python": project["requires-python"].removeprefix(">="),
        "icechunk (Python)": asked["icechunk"],
        "xarray": asked["xarray"],
        "zarr-python": asked["zarr"],
    }


def test_what_is_written_bears_the_promised_numbers(s2ice: Command, sample_store: Path) -> None:
    said = promised()
    report = s2ice("info", sample_store, "--json").json
    assert (str(report["layout"]), str(report["version"]), str(report["spec"])) == (
        said["store layout"],
        said["reports"],
        said["Icechunk format"][0],
    )
    assert str(s2ice("diff", sample_store, sample_store, "--json").json["version"]) == said["report of diff"]


def test_one_version_for_everything(s2ice: Command) -> None:
    assert s2ice("--version").stdout == f"s2ice {VERSION}\n"
    assert package.__version__ == VERSION
    images = re.findall(r"image: \S+/s2ice:(\S+)", (ROOT / "docs/deploy/kubernetes/cronjob.yaml").read_text())
    assert set(images) == {VERSION}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    assert {entry["version"] for entry in lock if entry["name"].startswith("s2ice")} == {VERSION}


def test_the_changelog_keeps_to_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    newest = next(iter(release_notes.sections(text)))
    done = subprocess.run([sys.executable, TOOL, newest], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("### ")
    assert done.stdout in text


SAMPLE = """# Changelog

## Unreleased

### Added

- One
  more.

## 0.2.0 - 2026-12-31

### Changed

- **Behaviour:** two.

### Fixed

- Three.

## 0.1.0 - 2026-11-30

### Added

- Everything.
"""


def test_notes_of_a_release() -> None:
    assert release_notes.notes("0.2.0", SAMPLE, "0.2.0") == (
        "### Changed\n\n- **Behaviour:** two.\n\n### Fixed\n\n- Three.\n"
    )
    assert release_notes.notes("Unreleased", SAMPLE, "0.3.0") == "### Added\n\n- One\n  more.\n"
    assert release_notes.notes("0.1.0", SAMPLE, "0.2.0") == "### Added\n\n- Everything.\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("## 0.2.0 - 2026-12-31", "## 0.2.0", "line 10: a heading is"),
        ("## 0.2.0 - 2026-12-31", "## v0.2.0 - 2026-12-31", "line 10: a heading is"),
        ("2026-12-31", "2026-13-31", "line 10: month must be"),
        ("### Fixed", "### Mended", "line 16: '### Mended' is none of Added"),
        ("- Three.", "Three.", "line 18: an entry begins with"),
        ("### Added\n\n- One", "- One", "line 5: an entry stands below"),
        ("0.1.0 - 2026-11-30", "0.3.0 - 2026-11-30", "from the newest to the oldest"),
        ("0.1.0 - 2026-11-30", "0.2.0 - 2026-12-31", "each once"),
        ("- Everything.\n", "", "nothing stands under 0.1.0"),
        ("## 0.1.0 - 2026-11-30", "## Unreleased", "first, and once"),
        ("## 0.2.0", "## 0.4.0", "the newest version is 0.4.0, that of Cargo.toml is 0.2.0"),
    ],
)
def test_a_changelog_that_is_wrong(old: str, new: str, message: str) -> None:
    assert old in SAMPLE
    with pytest.raises(release_notes.ChangelogError, match=message):
        release_notes.notes("0.2.0", SAMPLE.replace(old, new), "0.2.0")


def test_notes_that_cannot_be_given() -> None:
    with pytest.raises(release_notes.ChangelogError, match=r"no section 0\.9\.0; there are Unreleased, 0\.2\.0"):
        release_notes.notes("0.9.0", SAMPLE, "0.9.0")
    with pytest.raises(release_notes.ChangelogError, match=r"Cargo\.toml has the version 0\.3\.0, not 0\.2\.0"):
        release_notes.notes("0.2.0", SAMPLE, "0.3.0")
