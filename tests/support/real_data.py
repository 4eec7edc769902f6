"""Where real data lies, for the tests in Python; `real_data.rs` beside this file has the same rule."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

WANTED = "golden/decode.json"


def find() -> Path | None:
    """Give the folder of real data. Where S2ICE_TESTDATA names it, it is there, or the session ends."""
    if named := os.environ.get("S2ICE_TESTDATA"):
        folder = Path(named).resolve()
        if not (folder / WANTED).exists():
            pytest.exit(f"S2ICE_TESTDATA is set, but there is no {folder / WANTED}", returncode=3)
        return folder
    beside = (above / "shared/data" for above in Path(__file__).resolve().parents[2:6])
    return next((folder for folder in beside if (folder / WANTED).exists()), None)


def needed() -> Path:
    """Give the folder of real data, or skip."""
    folder = find()
    if folder is None:
        pytest.skip("no real data; set S2ICE_TESTDATA")
    return folder


def line() -> str:
    """One line for the end of a session."""
    folder = find()
    return f"real data: {folder}" if folder else "SKIPPED: tests on real data; set S2ICE_TESTDATA"
