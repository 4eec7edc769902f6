"""Example contexts of the pages of a publication, and a publication that is made of them."""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
import zlib
from datetime import date
from typing import TYPE_CHECKING, Any

import jinja2

from support.tile_pages import Context, bare, common, hostile, rich, snippet

if TYPE_CHECKING:
    from pathlib import Path


TEMPLATES = {"base.html", "parts.html", "calendar.html", "front.html", "status.html", "zone.html", "tile.html"}
STATES = ("ok", "ok", "ok", "ok", "ok", "ok", "ok", "stale", "failed", "unknown")


def plain_map(up: str) -> Context:
    return {"page": f"{up}tiles/{{name}}/index.html", "tile_url": None, "attribution": None, "max_zoom": 12}


def tile_list(count: int) -> list[list[Any]]:
    """Rows of tiles.json in the form of the MGRS grid: columns of zones, rows of 100 km; Europe comes first."""
    chance = random.Random(count)
    zones = sorted(range(1, 61), key=lambda zone: abs(zone - 32.5))
    south = [*range(36, 70), *range(-56, 36), *range(70, 83)]
    places = [(zone, latitude, column) for latitude in south for zone in zones for column in range(8)]
    places.sort(key=lambda place: (place[1] not in range(36, 70), abs(place[0] - 32.5) > 4))
    rows = []
    for zone, latitude, column in places[:count]:
        wide = 0.99 / max(math.cos(math.radians(latitude + 0.5)), 0.2)
        west = -180 + 6 * (zone - 1) + column * min(wide, 0.76) - 0.1
        east = west + wide + 0.1
        if west < -180:
            west += 360
        if east > 180:
            east -= 360
        band = "CDEFGHJKLMNPQRSTUVWX"[min((latitude + 80) // 8, 19)]
        name = f"{zone:02}{band}{'ABCDEFGH'[column]}{'ABCDEFGHJKLMNPQRSTUV'[latitude % 20]}-L2A"
        newest = f"2026-11-{chance.randint(1, 28):02}"
        box = [round(west, 2), latitude, round(east, 2), latitude + 1]
        rows.append([name, *box, newest, chance.randint(80, 1500), chance.choice(STATES)])
    return rows


def tally(rows: list[list[Any]]) -> dict[str, int]:
    return {state: sum(row[7] == state for row in rows) for state in ("ok", "stale", "failed", "unknown")}


def front(rows: list[list[Any]]) -> Context:
    context = common(0, "")
    context["catalogue"] |= {"description": "Central Europe, refreshed each night.", "parquet": "tiles.parquet"}
    zones = []
    for name in sorted({row[0][:2] for row in rows}):
        own = [row for row in rows if row[0][:2] == name]
        west = -180 + 6 * (int(name) - 1)
        zones.append(
            {
                "name": name,
                "href": f"zones/{name}.html",
                "tiles": len(own),
                "dates": sum(row[6] for row in own),
                "newest": max(row[5] for row in own) + "T10:10:21Z",
                "box": [west, min(row[2] for row in own), west + 6, max(row[4] for row in own)],
                "health": tally(own),
            }
        )
    newest = max((row[5] for row in rows), default=None)
    context["totals"] = {
        "tiles": len(rows),
        "dates": sum(row[6] for row in rows),
        "newest": newest and newest + "T10:10:21Z",
        "health": tally(rows),
    }
    code = (
        'import s2ice\n\ncube = s2ice.open("https://sentinel.example.org/stores/33TVN-L2A", '
        '"measurements/reflectance/r10m")\ncube.b04.sel(time="2025-07").mean("time")\n'
    )
    return context | {
        "map": plain_map("") | {"tiles": "tiles.json"},
        "zones": zones,
        "snippets": [snippet("python", "Python", code, "pip install s2ice")],
    }


def status(rows: list[list[Any]]) -> Context:
    """Of a fleet whose tiles were all seen today, but for those that failed or are stale."""
    newest = max((row[5] for row in rows), default="")
    rank = {"failed": 0, "stale": 1}

    def behind(day: str) -> int:
        return (date.fromisoformat(newest) - date.fromisoformat(day)).days

    def success(state: str) -> str | None:
        return {"ok": "2026-11-30T04:10:11Z", "stale": "2026-11-27T04:10:11Z"}.get(state)

    tiles = [
        {
            "mgrs": row[0].split("-")[0],
            "level": row[0].split("-")[1],
            "href": f"tiles/{row[0]}/index.html",
            "health": row[7],
            "newest": f"{row[5]}T10:10:21Z",
            "behind_days": behind(row[5]),
            "success": success(row[7]),
            "refused": 0,
        }
        for row in sorted(rows, key=lambda row: (rank.get(row[7], 2), row[5], row[0]))[:100]
    ]
    days = sorted(row[5] for row in rows)
    parts = {"furthest behind": 0, "5 % furthest behind": 5, "median": 50, "newest": 100}
    spread = [
        {
            "name": name,
            "newest": f"{days[(len(days) - 1) * part // 100]}T10:10:21Z" if rows else None,
            "behind_days": behind(days[(len(days) - 1) * part // 100]) if rows else None,
            "success": success("stale" if part < 50 else "ok") if rows else None,
        }
        for name, part in parts.items()
    ]
    health = tally(rows)
    dates = sum(row[6] for row in rows)
    totals = {
        "tiles": len(rows),
        "products": dates,
        "references": dates * 3000,
        "referenced_bytes": dates * 800_000_000,
        "refused": 12,
        "empty": 0,
        "never": health["failed"] + health["unknown"],
    }
    states = [
        {"health": name, "tiles": health[name], "reason": f"What is meant by {name}."}
        for name in ("failed", "stale", "unknown", "ok")
    ]
    return common(0, "status.html") | {"totals": totals, "states": states, "spread": spread, "tiles": tiles}


def zone(name: str, rows: list[list[Any]]) -> Context:
    chance = random.Random(3)
    tiles = [
        {
            "name": row[0],
            "mgrs": row[0].split("-")[0],
            "level": row[0].split("-")[1],
            "href": f"../tiles/{row[0]}/index.html",
            "box": row[1:5],
            "dates": row[6],
            "first": "2016-04-03T10:00:22Z",
            "newest": f"{row[5]}T10:10:21Z",
            "clear_share": round(chance.uniform(12, 60), 2) if row[7] != "unknown" else None,
            "health": row[7],
        }
        for row in sorted(rows)
    ]
    about = {"name": name, "longitudes": ["12° E", "18° E"], "clear_percent": 20}
    return common(1, f"zones/{name}.html") | {"map": plain_map("../"), "zone": about, "tiles": tiles}


def picture(side: int) -> bytes:
    """A PNG: stripes of green and brown."""
    pixel = (b"\x3c\x6e\x46", b"\x8a\x7a\x5a")
    lines = b"".join(b"\0" + b"".join(pixel[(x // 24 + y // 24) % 2] for x in range(side)) for y in range(side))

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def environment(page: Path) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(page)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def write(page: Path, root: Path, rows: list[list[Any]]) -> dict[str, Path]:
    """A publication of a front page, the page of zone 33 and three tiles; the pages by name."""
    shutil.copytree(page, root / "assets", ignore=shutil.ignore_patterns("*.html", "*.md"))
    own = [row for row in rows if row[0].startswith("33")]
    contexts = {
        "index.html": ("front.html", front(rows)),
        "status.html": ("status.html", status(rows)),
        "zones/33.html": ("zone.html", zone("33", own)),
        "tiles/33TVN-L2A/index.html": ("tile.html", rich()),
        "tiles/01CCV-L2A/index.html": ("tile.html", bare()),
        "tiles/01KAB-L2A/index.html": ("tile.html", hostile()),
    }
    templates = environment(page)
    for path, (template, context) in contexts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(templates.get_template(template).render(context))
    for path in root.glob("tiles/*"):
        (path / "preview.png").write_bytes(picture(343))
    (root / "tiles.json").write_text(json.dumps(rows, separators=(",", ":")))
    return {path: root / path for path in contexts}
