"""Fixtures: small files that GDAL writes, which exist everywhere, and real products where they are at hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio

import real_data
from checked import reports_conform, secrets_are_kept  # noqa: F401 (fixtures)
from support import Jp2, read_jp2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real products, or skip."""
    return real_data.needed()


@pytest.fixture(scope="session")
def golden(testdata: Path) -> dict[str, Any]:
    return json.loads((testdata / "golden/decode.json").read_text())


@pytest.fixture(scope="session")
def real(testdata: Path, golden: dict[str, Any]) -> Callable[[str], Jp2]:
    """The real file whose name ends so."""

    def find(suffix: str) -> Jp2:
        (name,) = [name for name in golden if name.endswith(suffix)]
        return read_jp2(testdata / name)

    return find


def write_jp2(path: Path, components: int = 1, dtype: str = "uint16", seed: int = 0, **options: str) -> Jp2:
    """Let GDAL write a file of 4 x 3 tiles with smaller ones at the edges: a hilly surface under noise."""
    height, width = 300, 230
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    top = {"uint8": 255, "uint16": 20000}[dtype]
    surface = 0.5 + 0.4 * np.sin(y / 31 + seed) * np.cos(x / 17)
    layers = [surface * (c + 1) / components * top * 0.9 for c in range(components)]
    pixels = (np.stack(layers) + rng.normal(0, top / 100, (components, height, width))).clip(0, top).astype(dtype)
    profile = {"driver": "JP2OpenJPEG", "height": height, "width": width, "count": components, "dtype": dtype}
    options = {
        "TILED": "YES",  # rasterio drops the block size without it
        "QUALITY": "100",
        "REVERSIBLE": "YES",
        "BLOCKXSIZE": "80",
        "BLOCKYSIZE": "80",
        "RESOLUTIONS": "3",
        "PROGRESSION": "LRCP",
        "PLT": "YES",
        "YCC": "NO",
    } | options
    with rasterio.open(path, "w", **profile, **options) as file:
        file.write(pixels)
    jp2 = read_jp2(path)
    assert np.array_equal(jp2.pixels().reshape(pixels.shape), pixels)
    return jp2


CUT = {"PRECINCTS": "{32,32},{32,32},{16,16}", "CODEBLOCK_WIDTH": "16"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Jp2:
    """A file of one 16-bit component; its tiles do not start at precincts, as those of 20 m and 60 m bands do not."""
    return write_jp2(tmp_path_factory.mktemp("made") / "band.jp2", **CUT)


@pytest.fixture(scope="session")
def made_again(tmp_path_factory: pytest.TempPathFactory) -> Jp2:
    """Another file with the header of `made`."""
    return write_jp2(tmp_path_factory.mktemp("made") / "again.jp2", seed=5, **CUT)


@pytest.fixture(scope="session")
def made_plain(tmp_path_factory: pytest.TempPathFactory) -> Jp2:
    """The same with one packet per resolution."""
    return write_jp2(tmp_path_factory.mktemp("made") / "plain.jp2", seed=3)


@pytest.fixture(scope="session")
def made_rgb(tmp_path_factory: pytest.TempPathFactory) -> Jp2:
    """A file of three 8-bit components."""
    return write_jp2(tmp_path_factory.mktemp("made") / "rgb.jp2", components=3, dtype="uint8", seed=7)
