"""docs/readers.md says which reader opens what; every yes and no of its table is tried."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio

from conftest import ROOT
from support import hosts, rust
from support.cogs import DEFLATE, TILE, Product, collect, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Samples
    from support.command import Command

PAGE = ROOT / "docs/readers.md"
OPENERS = Path(__file__).with_name("support") / "openers.py"

TRIED = {
    "`s2ice.open`": "s2ice.open",
    "xarray, engine `s2ice`": "engine",
    "xarray with xpystac, what `s2ice publish` wrote": "xpystac",
    "xarray, zarr, icechunk, with the package `s2ice` installed": "icechunk",
    "xarray, zarr, icechunk, without it": "icechunk without the package",
    "xarray with fsspec, what `s2ice export kerchunk` wrote, JSON": "kerchunk JSON",
    "the same, Parquet": "kerchunk Parquet",
    "zarr-python alone": "zarr",
    "zarrs, from Rust": "zarrs",
    "rasterio, what `s2ice export gdal` wrote": "sidecars",
    "rasterio, by `s2ice.rasterio_path`": "rasterio_path",
    f"GDAL of rasterio {rasterio.__version__}": "gdal",
}
"""Rows whose reader is tried here."""

WHY_NOT = {
    "icechunk": r"2 times of 4",
    "icechunk without the package": r"s2ice\.(jpeg2000|horizontal_differencing)",
    "zarr": r"(GroupNotFound|ArrayNotFound|ContainsGroup|NodeNotFound|FileNotFound)\w*Error",
    "gdal": r"RasterioIOError",
    "kerchunk JSON": r"2 times of 4",
    "kerchunk Parquet": r"2 times of 4",
    "zarrs": r"2 times of 4",
    "sidecars": r"1 times of 4|No such file",
    "rasterio_path": r"1 times of 4|RequestError",
}
"""What a reader says where the answer is no: not any failure will do."""


def table() -> dict[tuple[str, str], str]:
    """The cells by row and column."""
    rows = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in row] for row in rows]
    return {(row[0], column): cell for row in body for column, cell in zip(head[1:], row[1:], strict=True)}


CELLS = table()


@pytest.fixture(scope="module")
def what(
    s2ice: Command,
    samples: Samples,
    sample_store: Path,
    make_samples: Callable[..., Samples],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """Stores of JPEG 2000 files, of GeoTIFFs and with an era, what is made of them, and what is to be found."""
    folder = tmp_path_factory.mktemp("readers")
    product = Product(folder / "cogs")
    product.add("B09", 60, driver="COG", block=1024, **DEFLATE)
    stac = collect(folder / "items.json", product)
    inputs = ("--source-kind", "cog", "--stac", stac, "--source", product.root)
    s2ice("build", "--tile", TILE, *inputs, "--store", folder / "cog-store", "-q")
    for options in ((), ("--baseline", "03.01", "--start", "2020-05-01")):
        for path in make_samples("--dates", "2", *options).root.glob("*.SAFE"):
            shutil.copytree(path, folder / "two" / path.name)
    s2ice("index", "--source", folder / "two", "-o", folder / "index.parquet", "-q")
    store = ("--source", folder / "two", "--store", folder / "eras")
    s2ice("build", "--tile", TILE, "--index", folder / "index.parquet", *store, "-q")
    first = samples.products[0]
    np.save(folder / "band.npy", samples.truth(first, "B09_60m"))
    np.save(folder / "tiff.npy", read(product.files["B09_60m"][1]))
    (metadata,) = samples.root.glob(f"{first}.SAFE/GRANULE/*/MTD_TL.xml")
    (mean,) = re.findall(r"<Mean_Sun_Angle>(.*?)</Mean_Sun_Angle>", metadata.read_text(), flags=re.DOTALL)
    sources = {sample_store: samples.root, folder / "cog-store": product.root, folder / "eras": folder / "two"}
    for built in sources:
        made = folder / "made" / built.name
        made.mkdir(parents=True)
        for kind, name in (("kerchunk", "refs.json"), ("kerchunk", "refs.parquet"), ("gdal", "gdal")):
            s2ice("export", kind, built, "-o", made / name, "-q")
    asked = {
        "made": str(folder / "made"),
        "sources": {str(built): str(source) for built, source in sources.items()},
        "zarrs": str(rust.compiled(OPENERS.with_name("zarrs_reader.rs"), folder)),
        "jpeg2000": str(sample_store),
        "jpeg2000_truth": str(folder / "band.npy"),
        "geotiff": str(folder / "cog-store"),
        "geotiff_truth": str(folder / "tiff.npy"),
        "angles_truth": [float(re.findall(rf"<{name}_ANGLE[^>]*>([^<]+)<", mean)[0]) for name in ("ZENITH", "AZIMUTH")],
        "eras": str(folder / "eras"),
        "steps": 4,
    }
    with hosts.serve(folder / "made", *sources.values()) as (host, *archives):
        for built, archive in zip(sources, archives, strict=True):
            place = ("--out", folder / "made" / built.name, "--base-url", f"{host.address}/{built.name}")
            s2ice("publish", built, *place, "--source-url", archive.address, "--no-look", "-q")
        addresses = [host.address, *(archive.address for archive in archives)]
        (folder / "what.json").write_text(json.dumps(asked | {"address": host.address, "addresses": addresses}))
        yield folder / "what.json"


@pytest.mark.parametrize("row", TRIED)
def test_the_table_tells_what_readers_do(row: str, what: Path) -> None:
    command = [sys.executable, OPENERS, TRIED[row], what]
    asked = json.loads(what.read_text())
    # What is read here lies on this machine, which only its owner can allow.
    environment = os.environ | {"S2ICE_ALLOW": " ".join([*asked["addresses"], *asked["sources"].values()])}
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert outcome.returncode == 0, outcome.stderr
    answers: dict[str, Any] = json.loads(outcome.stdout.splitlines()[-1])
    said = {column: cell for (name, column), cell in CELLS.items() if name == row}
    assert said == {column: "no" if why else "yes" for column, why in answers.items()}, answers
    for column, why in answers.items():
        assert why is None or re.search(WHY_NOT[TRIED[row]], why), f"{column}: {why}"


def test_what_is_not_tried_here_says_so() -> None:
    listed = PAGE.read_text().partition("## What is not tested")[2]
    entries = dict(re.findall(r"^- \*\*(.+?)\*\*: (.*?)(?=^- |\Z)", listed, flags=re.MULTILINE | re.DOTALL))
    for (row, _), cell in CELLS.items():
        if row in TRIED:
            continue
        (entry,) = [text for name, text in entries.items() if row.startswith(name)]
        if cell == "untested":
            assert re.search(r"https://\S+\),\s+read \d{4}-\d\d-\d\d", entry), f"{row}: no source and date"
        else:
            assert re.search(r"by hand with \S+ .*on \d{4}-\d\d-\d\d", entry, re.DOTALL), f"{row}: no version and date"
