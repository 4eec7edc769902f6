"""Reading and tampering with TLM indexes, and with tables of items."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import rustac

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PUBLIC = pa.schema(
    [("product_id", pa.string()), ("band_id", pa.string()), ("path", pa.string()), ("index", pa.binary())]
)


def rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def write(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema = PUBLIC) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
    return path


def asset(row: dict[str, Any]) -> str:
    """The file kind: `B01_60m`, `MSK_DETFOO_B02`."""
    name = row["path"].rsplit("/", 1)[1].removesuffix(".jp2")
    return name if name.startswith("MSK_") else "_".join(name.split("_")[2:])


def lengths(index: bytes) -> list[int]:
    """Lengths of the tile-parts in the order of the TLM segments (ISO/IEC 15444-1, clause A.7.1)."""
    out: list[int] = []
    at = 20
    while at < len(index):
        marker, size, _, style = struct.unpack(">HHBB", index[at : at + 6])
        assert marker == 0xFF55
        tile, long = style >> 4 & 3, bool(style & 0x40)
        entry = tile + (4 if long else 2)
        for start in range(at + 6, at + 2 + size, entry):
            out.append(int.from_bytes(index[start + tile : start + entry]))
        at += 2 + size
    return out


def head(index: bytes) -> tuple[int, int, int]:
    """File size, offset of the first SOT, length of the TLM segments."""
    return struct.unpack(">QQI", index[:20])


def rustac_read(path: Path) -> Any:
    """A STAC document or table as rustac reads it."""

    async def read() -> Any:
        return await rustac.read(str(path))

    # It gives tuples where JSON has lists.
    return json.loads(json.dumps(asyncio.run(read())))
