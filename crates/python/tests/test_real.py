"""Real products: every pixel that the codec gives equals OpenJPEG's and GDAL's full decode."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import s2ice
from s2ice._s2ice import TileCodec
from support import read_jp2, write_array

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import Jp2

# One of every class: tile and code-block sizes, bits, components, baselines, other encoders.
WHOLE = [
    "T29UNU_20221005T115411_B01_60m.jp2",
    "T29UNU_20221005T115411_AOT_20m.jp2",
    "T29UNU_20221005T115411_SCL_20m.jp2",
    "T29UNU_20221005T115411_TCI_60m.jp2",
    "T29UNU_20221005T115411_PVI.jp2",
    "N0509-T46UEU/S2A_MSIL1C_20230216T044851_N0509_R076_T46UEU_20230216T00000.SAFE/GRANULE/"
    "L1C_T46UEU_A039970_20230216T045412/QI_DATA/MSK_CLASSI_B00.jp2",
    "S2B_33TWL_20230810_0_L2A__MSK_QUALIT_B10.jp2",
    "S2B_33TWL_20230810_0_L2A__MSK_DETFOO_B05.jp2",
    "T14SLD_B01.jp2",
]


@pytest.mark.parametrize("suffix", WHOLE, ids=lambda s: s.rpartition("/")[2])
def test_every_pixel(suffix: str, real: Callable[[str], Jp2], golden: dict[str, Any], tmp_path: Path) -> None:
    jp2 = real(suffix)
    (entry,) = [entry for name, entry in golden.items() if name.endswith(suffix)]
    array = zarr.open_array(write_array(tmp_path / "array", jp2), mode="r")
    pixels = np.asarray(array[0])
    assert pixels.dtype == entry["dtype"]
    last = pixels if jp2.components == 1 else np.moveaxis(pixels, 0, -1)
    assert list(last.shape) == entry["shape"]
    assert hashlib.sha256(np.ascontiguousarray(last).tobytes()).hexdigest() == entry["decoded_sha256"]
    rng = np.random.default_rng(len(suffix))
    for _ in range(12):
        y, x = (int(rng.integers(n - 1)) for n in pixels.shape[-2:])
        window = (..., slice(y, y + int(rng.integers(1, 200))), slice(x, x + int(rng.integers(1, 200))))
        np.testing.assert_array_equal(array[(0, *window)], pixels[window])


def test_ten_metres(real: Callable[[str], Jp2], tmp_path: Path) -> None:
    jp2 = real("AOT_10m.jp2")
    array = zarr.open_array(write_array(tmp_path / "array", jp2), mode="r")
    pixels = jp2.pixels()
    for window in (np.s_[10000:10980, 9000:10980], np.s_[1020:1030, 2040:2060], np.s_[::997, ::1013]):
        np.testing.assert_array_equal(array[(0, *window)], pixels[window])


def test_overviews_are_prefixes(real: Callable[[str], Jp2]) -> None:
    jp2 = real("B09_60m.jp2")
    # Tile 11 reaches from 192 to 384 in both directions, in precincts of 64; one packet each.
    per_resolution = []
    for level in range(4, -1, -1):
        low, high = 192 >> level, 384 >> level
        per_resolution.append((-(-high // 64) - low // 64) ** 2)
    for reduce in range(1, 5):
        size = 192 >> reduce
        out = np.zeros((size, size), "uint16")
        packets = sum(per_resolution[: 5 - reduce])
        TileCodec(jp2.main_header, reduce).decode(jp2.prefix(11, packets), out.view("u1"))
        overview = jp2.pixels(overview_level=reduce - 1)
        np.testing.assert_array_equal(out, overview[size : 2 * size, size : 2 * size])
        with pytest.raises(s2ice.CodecError):
            TileCodec(jp2.main_header, reduce).decode(jp2.prefix(11, packets)[:-1], out.view("u1"))


def test_tile_outside_the_grid_is_refused(real: Callable[[str], Jp2]) -> None:
    band = real("B09_60m.jp2")
    chunk = bytearray(band.chunk(11))
    chunk[4:6] = (100).to_bytes(2)
    with pytest.raises(s2ice.CodecError, match="100"):
        TileCodec(band.main_header).decode(chunk, np.zeros((192, 192), "uint16").view("u1"))


def test_main_header_with_tlm_gives_the_same_codec(testdata: Path, real: Callable[[str], Jp2]) -> None:
    """A TLM segment in the file changes neither the configuration nor the tiles."""
    twin, plain = (
        read_jp2(testdata / "golden/with-tlm/T29UNU_20221005T115411_B09_60m_with_TLM.jp2"),
        real("B09_60m.jp2"),
    )
    assert twin.main_header == plain.main_header
    assert twin.chunk(5) == plain.chunk(5)
