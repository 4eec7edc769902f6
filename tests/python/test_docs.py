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

from conftest import ROOT, binary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

TUTORIAL = ROOT / "docs/tutorial.md"
READ = ROOT / "docs/read.md"
GDAL = ROOT / "docs/gdal.md"
README = ROOT / "crates/python/README.md"
OTHERS = ROOT / "docs/other-readers.md"
TILE = "33TVN"


def blocks(path: Path, language: str, heading: str) -> list[str]:
    """The code of one section, its subsections included."""
    level = heading.split(" ")[0]
    section = f"\n{path.read_text()}".partition(f"\n{heading}\n")[2]
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


def run(code: str, cwd: Path) -> str:
    """Run in a fresh interpreter; the samples have bands of 60 m only. What it prints."""
    code = code.replace("r10m", "r60m").replace(".b08", ".b09").replace(".b04", ".b09").replace("/b04", "/b09")
    environment = os.environ | {"ICECHUNK_LOG": "error"}
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert outcome.returncode == 0, f"{code}\n{outcome.stderr}"
    return outcome.stdout


def test_a_store_is_read_as_it_is_shown(stores: Path) -> None:
    opened = blocks(READ, "python", "## With s2ice")
    assert len(opened) == 2
    run("\n".join(opened), stores)


def test_a_store_is_read_without_the_opener(stores: Path) -> None:
    (code,) = blocks(READ, "python", "## Without s2ice's opener")
    check = """
import sys
assert "s2ice._open" not in sys.modules
assert float(r10m.b08.max()) > 0
assert {"/measurements/reflectance/r10m", "/eras/offset-0/products"} <= set(trees.groups)
"""
    run(code + check, stores)


def test_gdal_reads_what_is_exported(s2ice: Command, stores: Path) -> None:
    (line,) = re.findall(r"^s2ice (export gdal .*)$", GDAL.read_text(), flags=re.MULTILINE)
    s2ice(*shlex.split(line), "-q", cwd=stores)
    for code in blocks(GDAL, "python", "# GDAL, QGIS, rasterio"):
        assert len(run(code, stores).splitlines()) > 0


def test_the_package_shows_how_eras_are_chosen(stores: Path) -> None:
    code = next(block for block in blocks(README, "python", "## Open") if "eras=" in block)
    check = "assert [x.sizes['time'] for x in (cube, main, old)] == [4, 2, 2]"
    run(f'import s2ice\nstore = "stores/{TILE}-L2A"\n{code}\n{check}', stores)


FOLLOW = """
import json, subprocess, sys
names = {}
for language, code in json.load(sys.stdin):
    sys.stdout.flush()
    if language == "sh":
        subprocess.run(["sh", "-euc", code], check=True)
    else:
        exec(code, names)
"""
"""Somebody who keeps his Python open while he types commands beside it."""


def test_the_tutorial_works_in_an_empty_folder(s2ice: Command, tmp_path: Path) -> None:
    """Every command and all of the Python, in the order of the page."""
    programs, folder = tmp_path / "bin", tmp_path / "empty"
    programs.mkdir()
    folder.mkdir()
    (programs / "s2ice").symlink_to(s2ice.binary)
    (programs / "s2ice-samples").symlink_to(binary("S2ICE_SAMPLES_BIN", "s2ice-samples"))
    steps = re.findall(r"^```(sh|python)\n(.*?)^```", TUTORIAL.read_text(), flags=re.MULTILINE | re.DOTALL)
    environment = s2ice.environment | {"PATH": f"{programs}:{os.environ['PATH']}", "MPLBACKEND": "Agg"}
    outcome = subprocess.run(
        [sys.executable, "-c", FOLLOW],
        input=json.dumps(steps),
        cwd=folder,
        env=environment | {"ICECHUNK_LOG": "error"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert (folder / "false_colour.png").read_bytes().startswith(b"\x89PNG")
    eras, times = outcome.stdout.partition("{'offset-0': ")[1:]
    assert eras
    assert len(set(re.findall(r"20\d\d-\d\d-\d\dT\d\d:\d\d", times.partition("]")[2].partition("]")[0]))) == 5, times
    info = s2ice("info", folder / "stores/33TVN-L2A", "--json").json
    assert info["times"]["count"] == 3, "the page ends with a rollback"


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


def test_every_table_of_the_benchmarks_can_be_made() -> None:
    """What `make bench` runs starts; peers.py needs packages of its own, which the others do not."""
    bench = ROOT / "tests/bench"
    names = [path.stem for path in bench.glob("*.py") if path.stem != "peers"]
    tables = re.search(r"for table in (.*);", (bench / "run.sh").read_text())
    assert tables
    assert {"bench", *tables.group(1).split()} - {"writers"} <= set(names)
    # Two of them take helpers of the same name from other folders.
    apart = [["fleet"], [name for name in names if name != "fleet"]]
    for some in apart:
        subprocess.run([sys.executable, "-c", f"import {', '.join(some)}"], cwd=bench, check=True)
