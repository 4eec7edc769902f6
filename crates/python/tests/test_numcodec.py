"""The numcodecs codec: Zarr format 2 and kerchunk reference files."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import pytest
import zarr

import s2ice
from s2ice.differencing import FILTER_NAME
from s2ice.numcodec import HorizontalDifferencing, Jpeg2000
from support import CODEC, Jp2

if TYPE_CHECKING:
    from pathlib import Path


def zarray(jp2: Jp2, fill: int = 0) -> dict[str, Any]:
    """The .zarray of (time, [component,] y, x) over one file."""
    middle = [jp2.components] if jp2.components > 1 else []
    return {
        "zarr_format": 2,
        "shape": [1, *middle, jp2.height, jp2.width],
        "chunks": [1, *middle, jp2.tile_height, jp2.tile_width],
        "dtype": {"uint8": "|u1", "uint16": "<u2"}[jp2.dtype],
        "compressor": {"id": CODEC, "main_header": jp2.main_header, "reduce": 0, "fill_value": fill},
        "filters": None,
        "fill_value": fill,
        "order": "C",
        "dimension_separator": "/",
    }


@pytest.mark.parametrize("which", ["made", "made_rgb"])
def test_format_2(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    jp2: Jp2 = request.getfixturevalue(which)
    (tmp_path / ".zarray").write_text(json.dumps(zarray(jp2)))
    for tile in set(jp2.tiles) - {0}:
        row, column = divmod(tile, jp2.grid[1])
        path = tmp_path.joinpath(*map(str, [0, *([0] if jp2.components > 1 else []), row, column]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jp2.chunk(tile))
    pixels = jp2.pixels().copy()
    pixels[..., :80, :80] = 0
    array = zarr.open_array(tmp_path, mode="r", zarr_format=2)
    np.testing.assert_array_equal(array[0], pixels)
    np.testing.assert_array_equal(array[0, ..., 75:90, 200:], pixels[..., 75:90, 200:])


def test_kerchunk_references(made: Jp2) -> None:
    pytest.importorskip("fsspec")
    xr = pytest.importorskip("xarray")
    refs: dict[str, Any] = {
        ".zgroup": json.dumps({"zarr_format": 2}),
        "b04/.zarray": json.dumps(zarray(made)),
        "b04/.zattrs": json.dumps({"_ARRAY_DIMENSIONS": ["time", "y", "x"]}),
    }
    for tile, (offset, length) in made.tiles.items():
        row, column = divmod(tile, made.grid[1])
        refs[f"b04/0/{row}/{column}"] = [made.path.as_uri(), offset, length]
    options = {"fo": {"version": 1, "refs": refs}, "remote_protocol": "file", "asynchronous": True}
    dataset = xr.open_dataset(
        "reference://", engine="zarr", consolidated=False, chunks=None, zarr_format=2, storage_options=options
    )
    np.testing.assert_array_equal(dataset.b04[0].values, made.pixels())


def test_decode(made: Jp2) -> None:
    config = zarray(made, fill=5)["compressor"]
    codec = numcodecs.get_codec(config)
    assert isinstance(codec, Jpeg2000)
    assert codec.get_config() == config
    pixels = codec.decode(made.chunk(11))
    assert pixels.shape == (80, 80)
    np.testing.assert_array_equal(pixels[:60, :70], made.pixels()[240:, 160:])
    assert (pixels[60:] == 5).all()
    out = np.zeros((80, 80), "<u2")
    assert codec.decode(made.chunk(11), out) is out
    np.testing.assert_array_equal(out, pixels)
    assert pickle.loads(pickle.dumps(codec)) == codec
    assert "fill_value=5" in repr(codec)


def test_components_come_first(made_rgb: Jp2) -> None:
    pixels = Jpeg2000(made_rgb.main_header).decode(made_rgb.chunk(0))
    np.testing.assert_array_equal(pixels, made_rgb.pixels()[:, :80, :80])


def test_refusals(made: Jp2) -> None:
    with pytest.raises(s2ice.CodecError, match="only decodes"):
        Jpeg2000(made.main_header).encode(np.zeros(4))
    with pytest.raises(s2ice.CodecError, match="unknown configuration colour"):
        numcodecs.get_codec({"id": CODEC, "main_header": made.main_header, "colour": 1})
    with pytest.raises(s2ice.CodecError):
        Jpeg2000(made.main_header).decode(made.chunk(0)[:-9])


def test_found_without_import(made: Jp2) -> None:
    script = f"import numcodecs; print(numcodecs.get_codec({zarray(made)['compressor']!r}).codec_id)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == CODEC


@pytest.mark.parametrize("dtype", ["|u1", "<u2", ">u2"])
@pytest.mark.parametrize("components", [1, 3])
def test_tiles_of_geotiffs(dtype: str, components: int, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    samples = random.integers(0, np.iinfo(dtype).max, (64, 48, components), dtype=dtype[1:], endpoint=True)
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]
    axes = [components] if components > 1 else []
    metadata = {
        "zarr_format": 2,
        "shape": [1, 64, 48, *axes],
        "chunks": [1, 64, 48, *axes],
        "dtype": dtype,
        "compressor": {"id": "zlib", "level": 1},
        "filters": [{"id": FILTER_NAME, "dtype": dtype, "columns": 48, "components": components}],
        "fill_value": None,
        "order": "C",
    }
    (tmp_path / ".zarray").write_text(json.dumps(metadata))
    key = ".".join("0" * (3 + len(axes)))
    (tmp_path / key).write_bytes(zlib.compress(differences.astype(dtype).tobytes()))
    array = zarr.open_array(tmp_path, mode="r", zarr_format=2)
    np.testing.assert_array_equal(array[0], samples if components > 1 else samples[..., 0])


def test_differencing_refuses() -> None:
    codec = HorizontalDifferencing("<u2", 4)
    assert numcodecs.get_codec(codec.get_config()) == codec
    with pytest.raises(s2ice.CodecError, match="only decodes"):
        codec.encode(np.zeros(4))
    for dtype, columns in (("<i2", 4), ("<u2", 0)):
        with pytest.raises(s2ice.CodecError, match="no rows of unsigned integers"):
            HorizontalDifferencing(dtype, columns)
    out = np.zeros(8, "<u2")
    assert codec.decode(np.ones(8, "<u2"), out) is out
    assert out.tolist() == [1, 2, 3, 4] * 2
