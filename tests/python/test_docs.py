"""The Python of the documentation, run as it stands there on a store of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import jsonschema
import pytest

from conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

GUIDE = ROOT / "docs/guide.md"
README = ROOT / "crates/python/README.md"
OTHERS = ROOT / "docs/other-readers.md"
TILE = "33TVN"


def blocks(path: Path, language: str, heading: str) -> list[str]:
    """The code of one section, its subsections included."""
    level = heading.split(" ")[0]
    section = path.read_text().partition(f"\n{heading}\n")[2]
    section = re.split(rf"^{level} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    assert found, f"{path} has no {language} below {heading}"
    return found


@pytest.fixture(scope="module")
def stores(s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store that the guide opens: 60 m bands, and an era."""
    folder = tmp_path_factory.mktemp("docs")
    for options in ((), ("--baseline", "03.01", "--start", "2020-05-01")):
        samples = make_samples("--dates", "2", *options)
        for product in samples.root.glob("*.SAFE"):
            shutil.copytree(product, folder / "products" / product.name)
    s2ice("index", "--source", folder / "products", "-o", folder / "index.parquet", "-q")
    inputs = ("--index", folder / "index.parquet", "--source", folder / "products", "--tile", TILE)
    s2ice("build", *inputs, "--store", folder / f"stores/{TILE}-L2A", "-q")
    return folder


def run(code: str, cwd: Path) -> None:
    """Run in a fresh interpreter; the samples have bands of 60 m only."""
    code = code.replace("r10m", "r60m").replace(".b08", ".b09").replace(".b04", ".b09")
    environment = os.environ | {"ICECHUNK_LOG": "error"}
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert outcome.returncode == 0, f"{code}\n{outcome.stderr}"


def test_the_guide_opens_its_store(stores: Path) -> None:
    opened = [block for block in blocks(GUIDE, "python", "## 4. Read it") if "import icechunk" not in block]
    assert len(opened) == 2
    run("\n".join(opened), stores)


def test_the_guide_reads_without_the_opener(stores: Path) -> None:
    (code,) = blocks(GUIDE, "python", "### Without s2ice's opener")
    check = """
import sys
assert "s2ice._open" not in sys.modules
assert float(r10m.b08.max()) > 0
assert {"/measurements/reflectance/r10m", "/eras/offset-0/products"} <= set(trees.groups)
"""
    run(code + check, stores)


def test_the_package_shows_how_eras_are_chosen(stores: Path) -> None:
    code = next(block for block in blocks(README, "python", "## Open") if "eras=" in block)
    check = "assert [x.sizes['time'] for x in (cube, main, old)] == [4, 2, 2]"
    run(f'import s2ice\nstore = "stores/{TILE}-L2A"\n{code}\n{check}', stores)


def test_other_readers_open_what_is_written_for_them(s2ice: Command, stores: Path) -> None:
    for heading in ("## Kerchunk", "## An index"):
        for line in "".join(blocks(OTHERS, "sh", heading)).splitlines():
            program, *arguments = shlex.split(line.replace("r10m", "r60m"))
            assert program == "s2ice"
            s2ice(*arguments, "-q", cwd=stores)
    check = """
assert float(r10m.b08.max()) > 0
options = {"fo": "combined.json", "remote_protocol": "file"}
again = xr.open_dataset("reference://", engine="zarr", chunks=None, storage_options=options)
assert (again.b08.values == r10m.b08.values).sum() == r10m.b08.notnull().sum() > 0
kept = xr.open_dataset("r10m.json", engine="kerchunk", storage_options={"remote_protocol": "file"}, chunks=None)
assert kept.b08.equals(r10m.b08)
"""
    run("\n".join(blocks(OTHERS, "python", "## Kerchunk")) + check, stores)


@pytest.mark.parametrize(
    ("page", "heading", "schema"),
    [
        ("docs/configuration.md", "# A configuration file", "config"),
        ("docs/operations.md", "## The configuration", "run-config"),
    ],
)
def test_configuration_files_keep_to_their_schemas(page: str, heading: str, schema: str) -> None:
    path = ROOT / page
    text = path.read_text()
    (block,) = re.findall(r"^```toml\n(.*?)^```", text[text.index(heading) :], flags=re.MULTILINE | re.DOTALL)
    jsonschema.validate(tomllib.loads(block), json.loads((ROOT / f"schemas/{schema}.schema.json").read_text()))
