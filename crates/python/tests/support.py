"""JPEG 2000 files taken apart by hand, and put into Zarr arrays by hand: nothing here uses s2ice.

What s2ice reads from these arrays can therefore be compared with what GDAL reads from the files.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rasterio

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

CODEC = "s2ice.jpeg2000"
SOT, SOD, PLT = 0xFF90, 0xFF93, 0xFF58
KEPT = {0xFF51, 0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F}  # SIZ COD COC QCD QCC RGN POC


@dataclass(frozen=True)
class Jp2:
    """A file: its main header, and (offset, length) of every tile, which has one tile-part."""

    path: Path
    main_header: str
    tiles: dict[int, tuple[int, int]]
    height: int
    width: int
    tile_height: int
    tile_width: int
    components: int
    dtype: str

    @property
    def grid(self) -> tuple[int, int]:
        return -(-self.height // self.tile_height), -(-self.width // self.tile_width)

    def chunk(self, tile: int) -> bytes:
        offset, length = self.tiles[tile]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def prefix(self, tile: int, packets: int) -> bytes:
        """The tile-part up to the end of its first packets, by its PLT segments (clause A.7.3)."""
        chunk, at, lengths = self.chunk(tile), 12, []
        while (marker := int.from_bytes(chunk[at : at + 2])) != SOD:
            size = int.from_bytes(chunk[at + 2 : at + 4])
            if marker == PLT:
                value = 0
                for byte in chunk[at + 5 : at + 2 + size]:
                    value = value << 7 | byte & 0x7F
                    if byte < 0x80:
                        lengths.append(value)
                        value = 0
            at += 2 + size
        assert len(lengths) >= packets
        return chunk[: at + 2 + sum(lengths[:packets])]

    def pixels(self, **kwargs: Any) -> np.ndarray[Any, Any]:
        """What GDAL reads: (rows, columns), or (components, rows, columns) where there are several."""
        with rasterio.open(self.path, **kwargs) as file:
            array = file.read()
        return array[0] if self.components == 1 else array


def read_jp2(path: Path) -> Jp2:
    data = path.read_bytes()
    start = data.index(b"\xff\x4f\xff\x51")
    at, header = start + 2, data[start : start + 2]
    while (marker := int.from_bytes(data[at : at + 2])) != SOT:
        size = 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker in KEPT:
            header += data[at : at + size]
        at += size
    siz = struct.unpack(">4xH8IH", header[2:42])
    _, x1, y1, x0, y0, tile_width, tile_height, tx0, ty0, components = siz
    assert (x0, y0, tx0, ty0) == (0, 0, 0, 0)
    depth = header[42]
    dtype = f"{'int' if depth & 0x80 else 'uint'}{8 if (depth & 0x7F) < 8 else 16}"
    tiles: dict[int, tuple[int, int]] = {}
    while int.from_bytes(data[at : at + 2]) == SOT:
        isot, psot, tpsot = struct.unpack(">HIB", data[at + 4 : at + 11])
        length = psot or len(data) - 2 - at
        assert tpsot == 0
        tiles[isot] = (at, length)
        at += length
    return Jp2(
        path,
        base64.b64encode(header).decode(),
        tiles,
        y1,
        x1,
        tile_height,
        tile_width,
        components,
        dtype,
    )


def metadata(jp2: Jp2, *, times: int = 2, fill: int = 0, reduce: int = 0, **changes: Any) -> dict[str, Any]:
    """The zarr.json of an array (time, [component,] y, x) whose chunks are the tiles of files like this one."""
    scale = 2**reduce
    middle = [jp2.components] if jp2.components > 1 else []
    height, width = -(-jp2.height // scale), -(-jp2.width // scale)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [times, *middle, height, width],
        "data_type": jp2.dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [1, *middle, jp2.tile_height // scale, jp2.tile_width // scale]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [{"name": CODEC, "configuration": {"main_header": jp2.main_header, "reduce": reduce}}],
        "attributes": {},
        "dimension_names": ["time", *(["component"] if middle else []), "y", "x"],
    } | changes


def chunk_key(jp2: Jp2, time: int, tile: int) -> str:
    row, column = divmod(tile, jp2.grid[1])
    return "c/" + "/".join(map(str, [time, *([0] if jp2.components > 1 else []), row, column]))


def write_array(folder: Path, jp2: Jp2, *, leave_out: frozenset[int] = frozenset(), **kwargs: Any) -> Path:
    """Write the array on disk: the file at time 0, nothing at the times after it."""
    folder.mkdir(parents=True)
    (folder / "zarr.json").write_text(json.dumps(metadata(jp2, **kwargs)))
    data = jp2.path.read_bytes()
    for tile, (offset, length) in jp2.tiles.items():
        if tile not in leave_out:
            path = folder / chunk_key(jp2, 0, tile)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[offset : offset + length])
    return folder
