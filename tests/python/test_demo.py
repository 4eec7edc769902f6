"""What `make demo` draws, on a store that is small."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import tiles

from conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_picture_of_the_demo(tmp_path: Path) -> None:
    arrays = {f"{name}/10": tiles.numbers(seed, 2, 10) for seed, name in enumerate(("b02", "b03", "b04", "b08"))}
    arrays["scl/20"] = tiles.classes(5, 2)
    store = tiles.write(tmp_path / "store", ["2024-05-01", "2024-05-06"], arrays, corner=(439_980.0, 5_250_120.0))
    command = [sys.executable, str(ROOT / "tests/demo/demo.py"), str(store), str(tmp_path / "picture.png")]
    environment = os.environ | {"ICECHUNK_LOG": "error"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "2024-05-06T00:00:00" in done.stdout
