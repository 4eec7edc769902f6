"""Example contexts of the page of a store: a rich one, a bare one, and one that means harm."""

from __future__ import annotations

import math
import random
from calendar import isleap
from datetime import date, timedelta
from typing import Any

Context = dict[str, Any]

NOTICE = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
HOSTILE = """<script>alert(1)</script> "quoted" 'single' & </td> {{ 7*7 }} javascript:alert(1)"""
BANDS = {
    10: {"b02": "blue", "b03": "green", "b04": "red", "b08": "near infrared"},
    20: {
        "b05": "red edge 705 nm",
        "b06": "red edge 740 nm",
        "b07": "red edge 783 nm",
        "b11": "1610 nm",
        "b12": "2190 nm",
    },
    60: {"b01": "coastal aerosol", "b09": "water vapour"},
}


def common(depth: int, path: str) -> Context:
    """What all pages are told; `depth` is the number of folders the page lies in."""
    up = "../" * depth
    return {
        "assets": f"{up}assets/",
        "canonical": f"https://sentinel.example.org/{path}",
        "csp_img": "",
        "generator": "s2ice 0.1.0",
        "catalogue": {
            "title": "Sentinel-2 cubes",
            "href": f"{up}index.html",
            "stac": f"{up}catalog.json",
            "status": f"{up}status.html",
        },
        "licence": {"years": "2016-2026", "href": NOTICE},
        "publisher": {"name": "Example Observatory", "href": "https://example.org/"},
    }


def snippet(name: str, title: str, code: str, note: str = "") -> Context:
    return {"id": name, "title": title, "note": note, "code": code}


def product(day: date, unit: str, mgrs: str = "33TVN") -> str:
    stamp = day.strftime("%Y%m%d")
    return f"S2{unit}_MSIL2A_{stamp}T101021_N0511_R122_T{mgrs}_{stamp}T141500"


def calendar(
    first: date, step: float, count: int, *, refused: int = 0, gap: tuple[date, date] | None = None
) -> Context:
    """Dates some days apart, cloudier in winter; some products left out, a gap."""
    chance = random.Random(11)
    rows: list[Context] = []
    for number in range(count):
        day = first + timedelta(days=int(number * step))
        if gap and gap[0] <= day <= gap[1]:
            continue
        winter = 0.5 + 0.5 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 15) / 365)
        cloud = round(100 * chance.betavariate(0.45 + winter, 0.9), 1)
        notes = "era offset-0" if day < date(2022, 1, 25) else ""
        name = product(day, "ABC"[number % 3])
        row = {"kind": "date", "date": day.isoformat(), "cloud": cloud if number % 97 else None, "product": name}
        rows.append(row | {"day": day.timetuple().tm_yday, "notes": notes})
    for row in chance.sample(rows, refused):
        row["kind"], row["notes"] = "refused", "header_profile: the main header is of an unknown encoder"
        del row["cloud"]
    if gap:
        row = {"kind": "gap", "date": gap[0].isoformat(), "day": gap[0].timetuple().tm_yday, "notes": ""}
        until = {"until": gap[1].isoformat(), "until_day": gap[1].timetuple().tm_yday}
        rows.append(row | until | {"days": (gap[1] - gap[0]).days + 1})
    rows.sort(key=lambda row: row["date"])
    clear = [row for row in rows if row.get("cloud") is not None and row["cloud"] <= 20]
    years = []
    for year in sorted({int(row["date"][:4]) for row in rows}, reverse=True):
        own = [row for row in rows if row["date"].startswith(str(year))]
        years.append(
            {
                "year": year,
                "days": 366 if isleap(year) else 365,
                "count": sum(row["kind"] == "date" for row in own),
                "clear_dates": sum(row in clear for row in own),
                "rows": own,
            }
        )
    numbers = {
        "clear_percent": 20,
        "gap_days": 30,
        "clear_dates": len(clear),
        "refused": refused,
        "gaps": int(gap is not None),
    }
    return numbers | {"years": years}


def arrays(count: int) -> list[Context]:
    groups = []
    for metres, bands in BANDS.items():
        side = 109800 // metres
        scaled = {"scale": 0.0001, "offset": -0.1, "unit": "", "data_type": "uint16"}
        own = [
            {"name": name, "title": f"bottom-of-atmosphere reflectance, {words}", **scaled}
            for name, words in bands.items()
        ]
        path = f"/measurements/reflectance/r{metres}m"
        groups.append({"path": path, "metres": metres, "arrays": own})
        for array in own:
            array |= {"shape": [count, side, side], "chunk": [1, 1024, 1024], "present": count - count // 50}
    kept = {"data_type": "uint8", "scale": None, "offset": None, "unit": "", "present": count}
    scl = {"name": "scl", "title": "scene classification", "shape": [count, 5490, 5490], "chunk": [1, 640, 640], **kept}
    groups.append({"path": "/conditions/mask/l2a_classification/r20m", "metres": 20, "arrays": [scl]})
    angle = {"data_type": "float32", "scale": None, "offset": None, "unit": "", "present": count}
    sun = {"name": "sun_angles", "title": "sun angles", "shape": [count, 2, 23, 23], "chunk": [32, 2, 23, 23], **angle}
    groups.append({"path": "/conditions/geometry", "metres": None, "arrays": [sun]})
    wvp = {"name": "wvp", "title": "water vapour", "data_type": "uint16", "scale": 0.001, "offset": 0, "unit": "cm"}
    wvp |= {"shape": [count, 10980, 10980], "chunk": [1, 1024, 1024], "present": count}
    groups.append({"path": "/quality/atmosphere/r10m", "metres": 10, "arrays": [wvp]})
    return groups


def corners(box: list[float], x: int, y: int) -> list[Context]:
    west, south, east, north = box
    places = [("north-west", x, y, west, north), ("north-east", x + 109800, y, east, north)]
    places += [("south-east", x + 109800, y - 109800, east, south), ("south-west", x, y - 109800, west, south)]
    names = ("name", "x", "y", "longitude", "latitude")
    return [dict(zip(names, place, strict=True)) for place in places]


def open_tile(store: str) -> list[Context]:
    python = (
        f'import s2ice\n\nr10m = s2ice.open(\n    "{store}",\n    "measurements/reflectance/r10m",\n'
        '    credentials="env",\n)\n'
        'clear = r10m.sel(time=r10m.cloud_cover < 20)\nclear.b04.sel(time="2025-07").mean("time").load()\n'
    )
    rust = (
        f'let store = ("{store}", SourceOptions::default());\n'
        'let array = Array::async_open(open(store, sources).await?, "/measurements/reflectance/r10m/b04").await?;\n'
    )
    crate = "cargo add s2ice-store --git https://github.com/s2ice/s2ice --features zarrs"
    return [
        snippet(
            "python", "Python", python, "pip install s2ice; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are yours."
        ),
        snippet("shell", "Shell", f"s2ice info {store}\n"),
        snippet("rust", "Rust", rust, f"{crate}\ncargo add tokio --features macros,rt-multi-thread"),
    ]


def rich() -> Context:
    """Ten years of a tile: 1,500 dates, an era, refusals, a gap, many states."""
    dates = calendar(date(2016, 4, 3), 2.555, 1520, refused=20, gap=(date(2021, 2, 3), date(2021, 3, 21)))
    count = sum(year["count"] for year in dates["years"])
    name, box = "33TVN-L2A", [13.6643, 46.8586, 15.1423, 47.8458]
    store = f"https://sentinel.example.org/stores/{name}"
    last = dates["years"][0]["rows"][-1]["date"] + "T10:10:21.024Z"
    states = [date(2026, 11, 20) - timedelta(days=5 * number) for number in range(12)]
    return common(2, f"tiles/{name}/") | {
        "tile": {
            "mgrs": "33TVN",
            "level": "L2A",
            "title": "Bottom-of-atmosphere reflectance, classification, atmosphere and masks",
            "zone": {"name": "33", "href": "../../zones/33.html"},
        },
        "times": {"count": count, "first": "2016-04-03T10:00:22.027Z", "last": last},
        "size": {"references": 2_264_310, "referenced_bytes": 3_412_345_678_901},
        "place": {
            "epsg": 32633,
            "crs": "WGS 84 / UTM zone 33N",
            "box": box,
            "corners": corners(box, 399960, 5300040),
        },
        "preview": {
            "href": "preview.png",
            "date": "2026-08-14",
            "alt": "True colour of the tile: mountains in the south, a lake, fields in the north; no cloud",
            "width": 343,
            "height": 343,
        },
        "preview_missing": "",
        "calendar": dates,
        "look": {
            "store": "../33TVN-L2A/store",
            "sources": [
                {"name": "s2", "href": "https://eodata.dataspace.copernicus.eu/eodata/", "access": "keys"},
                {"name": "open", "href": "https://sentinel-cogs.s3.us-west-2.amazonaws.com/", "access": "open"},
                {"name": "local", "href": "", "access": "closed"},
            ],
        },
        "groups": arrays(count),
        "eras": [
            {
                "name": "main",
                "differs": ["offset -1000"],
                "count": count - 800,
                "first": "2022-01-25T10:00:00Z",
                "last": last,
            },
            {
                "name": "offset-0",
                "differs": ["radiometric offset 0 instead of -1000"],
                "count": 800,
                "first": "2016-04-03T10:00:22.027Z",
                "last": "2022-01-22T10:02:41.024Z",
            },
        ],
        "latest": {"tag": "s2ice-2026-11-20T031200Z", "time": "2026-11-20T03:12:00Z"},
        "states": [
            {
                "tag": f"s2ice-{day}T031200Z",
                "href": f"states/{day}.json",
                "time": f"{day}T03:12:00Z",
                "count": count - 2 * number if number < 10 else None,
                "snapshot": f"VY76P925PRY57WFEK{number:03}",
                "stands": number != 2,
            }
            for number, day in enumerate(states)
        ],
        "states_left_out": 41,
        "pin": snippet("pin", "Pin a state", f'tree = s2ice.open("{store}", tag="s2ice-2026-11-20T031200Z")\n'),
        "containers": [
            {
                "name": "s2",
                "url": "s3://eodata/",
                "endpoint": "https://eodata.dataspace.copernicus.eu",
                "access": "keys of your own (free) in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            }
        ],
        "state": {
            "health": "ok",
            "reason": "The last run saw everything.",
            "last_run": "2026-11-20T03:12:00Z",
            "outcome": "updated",
            "verified": "2026-11-18T03:14:00Z",
            "lag_days": 0,
            "headers": "verified: each file's own header was read before it was referenced",
            "refused": [
                {
                    "kind": "header_profile",
                    "count": 18,
                    "meaning": "Another main header than the array's other rasters.",
                },
                {"kind": "ranges", "count": 2, "meaning": "The file has its tiles elsewhere than the index says."},
            ],
        },
        "snippets": open_tile(store),
        "links": {"collection": "collection.json", "store": store},
    }


def bare() -> Context:
    """A store without dates, pictures, states or a run."""
    context = rich() | common(2, "tiles/01CCV-L2A/")
    box = [-179.9, -79.2, -174.6, -78.1]
    nothing = {"count": 0, "first": None, "last": None}
    return context | {
        "publisher": None,
        "tile": context["tile"] | {"mgrs": "01CCV", "zone": {"name": "01", "href": "../../zones/01.html"}},
        "times": nothing,
        "size": {"references": 0, "referenced_bytes": 0},
        "place": {"epsg": 32701, "crs": "WGS 84 / UTM zone 1S", "box": box, "corners": corners(box, 399960, 1300020)},
        "preview": None,
        "preview_missing": "no date has less than 20 % cloud.",
        "calendar": calendar(date(2026, 1, 1), 5, 0),
        "look": None,
        "groups": [],
        "eras": [],
        "latest": {"tag": None, "time": "2026-11-20T03:12:00Z"},
        "states": [],
        "states_left_out": 0,
        "pin": None,
        "state": context["state"]
        | {
            "health": "unknown",
            "reason": "",
            "last_run": None,
            "outcome": None,
            "verified": None,
            "lag_days": None,
            "refused": [],
        },
    }


def poisoned(value: Any, key: str = "") -> Any:
    """The same with hostile text wherever text comes from others."""
    if isinstance(value, dict):
        return {name: poisoned(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, key) for inner in value]
    ours = {
        "kind",
        "date",
        "until",
        "time",
        "first",
        "last",
        "newest",
        "last_run",
        "verified",
        "assets",
        "id",
        "health",
    }
    if not isinstance(value, str) or key in ours:
        return value
    if key in {"access", "href", "stac", "status", "collection", "canonical", "csp_img"}:
        return value
    return HOSTILE


def hostile() -> Context:
    """A tile over 180 degrees whose every text is foreign and means harm."""
    context = poisoned(rich() | {"calendar": calendar(date(2025, 1, 1), 5, 60, refused=5)})
    box = [179.1203, -17.2, -179.8499, -16.2]
    context["place"] |= {"epsg": 32701, "box": box, "corners": corners(box, 699960, 8200000)}
    context["licence"]["href"] = "javascript:alert(1)"
    context["csp_img"] = "https://tiles.example.org; script-src 'unsafe-inline'"
    return context
