"""What a picture has to be, by GDAL's overviews and NumPy's percentiles, and by PLT how many bytes it takes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

type Pixels = np.ndarray[Any, Any]

BRIGHT = 5_000
"""Ten-thousandths of reflectance from which on a pixel counts as cloud or snow."""


def overview(file: Path, halved: int) -> Pixels:
    """The first band of a file, its sides halved so often."""
    if not halved:
        with rasterio.open(file) as raster:
            return raster.read(1)
    with rasterio.open(file) as raster:
        level = raster.overviews(1).index(2**halved)
    with rasterio.open(file, OVERVIEW_LEVEL=level) as raster:
        return raster.read(1)


def stretched(series: Sequence[Sequence[tuple[Pixels, float]]]) -> list[Pixels]:
    """Red, green, blue and alpha of each date: digital numbers and offset of each band, all dates by one stretch."""
    shades = []
    for band in range(len(series[0])):
        numbers = [date[band][0].astype(np.int64) for date in series]
        values = [numbers[at] + round(date[band][1] * 10_000) for at, date in enumerate(series)]
        there = np.concatenate([v[n > 0] for v, n in zip(values, numbers, strict=True)])
        ground = there[there < BRIGHT]
        low, high = np.percentile(there if len(ground) < 0.1 * len(there) else ground, [2, 98])
        part = [np.clip((v - low) / max(high - low, 1), 0, 1) * 255 for v in values]
        # Halves go up, as they do in Rust.
        shades.append([np.where(n > 0, np.floor(p + 0.5), -1) for p, n in zip(part, numbers, strict=True)])
    pictures = []
    for bands in zip(*shades, strict=True):
        colours = np.stack([bands[0]] * 3 if len(bands) == 1 else bands, axis=2)
        there = (colours >= 0).all(axis=2, keepdims=True)
        pictures.append(np.where(there, np.concatenate([colours, np.full_like(there, 255, float)], axis=2), 0))
    return pictures


def lowest(file: Path) -> list[tuple[int, int]]:
    """Of each tile its bytes, and how many of them hold its lowest resolution, which is one packet."""
    data = file.read_bytes()
    tiles = []
    at = data.find(b"\xff\x90")
    while data[at : at + 2] == b"\xff\x90":
        (length,) = struct.unpack(">I", data[at + 6 : at + 10])
        assert data[at + 12 : at + 14] == b"\xff\x58", "PLT follows SOT"
        (segment,) = struct.unpack(">H", data[at + 14 : at + 16])
        first = 0
        for byte in data[at + 17 :]:
            first = first << 7 | byte & 127
            if not byte & 128:
                break
        tiles.append((length, 12 + 2 + segment + 2 + first))
        at += length
    return tiles
