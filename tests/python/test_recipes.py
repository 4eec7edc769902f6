"""docs/recipes.md and docs/notebook.ipynb, run as they stand there on two small neighbouring tiles."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import nbclient
import nbformat
import numpy as np
import pytest
import tiles

from conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DAYS = [f"2024-{month:02}-{day:02}T10:08" for month in (5, 6) for day in (1, 11, 21)]
BANDS = {"b02/10": 1, "b03/10": 2, "b04/10": 3, "b08/10": 4, "b11/20": 5}
CHECK = """
assert loaded.swir16.attrs["resampling"].startswith("nearest")
assert 0 < float(loaded.red.notnull().mean()) < 1
assert share.sizes == {"time": 6}
assert series.notnull().all()
assert result.sizes["time"] == 2
assert again.red.notnull().any() and "crs_wkt" in again.spatial_ref.attrs
assert again.red.dtype == "float32"
assert european.red.attrs["resampling"].startswith("bilinear") and bool(european.red.notnull().any())
assert bool(day.notnull().any())
assert batch.shape == (4, 2, 64, 64) and batch.any()
assert grid.shape == (cube.sizes["y"], cube.sizes["x"])
assert image.array.count() > 0 and png.startswith(b"\\x89PNG")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiles of 1.2 km, where the pages have those of 110 km."""
    folder = tmp_path_factory.mktemp("recipes")
    west, north = 447_200.0, 5_254_200.0
    for number, name in enumerate(("33TVN", "33TWN")):
        arrays = {key: tiles.numbers(seed + 10 * number, 6, int(key[-2:])) for key, seed in BANDS.items()}
        arrays["scl/20"] = tiles.classes(number, 6)
        corner = (west + 49_800 * number, north)
        tiles.write(folder / f"stores/{name}-L2A", DAYS, arrays, corner=corner, clouds=[5, 10, 20, 30, 50, 90])
    return folder


def environment() -> dict[str, str]:
    return os.environ | {"ICECHUNK_LOG": "error", "MPLBACKEND": "Agg"}


def test_recipes(folder: Path) -> None:
    code = "\n".join(
        re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/recipes.md").read_text(), re.MULTILINE | re.DOTALL)
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code + CHECK],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert re.search(r"[\d,]+ requests for", outcome.stdout)


def test_notebook(folder: Path) -> None:
    notebook = nbformat.read(ROOT / "docs/notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment() | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"})
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert kinds.count("image/png") == 3
    bar = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert re.search(r"of \d+ chunks", bar)
    assert np.any(["<Estimate" in str(output) for cell in notebook.cells for output in cell.get("outputs", [])])
