"""`s2ice.open_fleet`: all stores of a publication, of which a place and a time make a cube."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

from s2ice.errors import RequestError, SourceError, StoreNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    import xarray as xr

TABLE = "tiles.parquet"
LONGEST = 1 << 30
"""Bytes of a table that are read."""
LEVELS = ("L2A", "L1C")


def open_fleet(catalogue: str | os.PathLike[str], level: str = "L2A") -> Fleet:
    """Open all stores of a publication as one.

    Nothing but the publication's table is read, some 200 bytes for each store; stores are opened when a cube is made.

    Parameters
    ----------
    catalogue
        URL or folder of a publication, as ``s2ice publish`` makes it.
    level
        Processing level, ``"L2A"`` or ``"L1C"``.

    Returns
    -------
    Fleet
        Stores by tile, to be selected from.

    Raises
    ------
    StoreNotFoundError
        There is no publication.
    SourceError
        Its table cannot be read.

    Examples
    --------
    >>> fleet = s2ice.open_fleet("https://example.org/sentinel-2")  # doctest: +SKIP
    >>> alps = fleet.sel(bounds=(6.5, 45.5, 8.0, 46.5), time="2024-06/2024-08")  # doctest: +SKIP
    >>> alps.cube(["b04", "b08"], resolution=160)  # doctest: +SKIP
    """
    if level not in LEVELS:
        raise RequestError(f"level is one of {', '.join(LEVELS)}, not {level!r}")
    base = os.fspath(catalogue).rstrip("/").removesuffix("/catalog.json")
    table = _table(base)
    chosen = [place for place, value in enumerate(table["processing:level"].to_pylist()) if value == level]
    return Fleet(base, _rows(table, chosen))


@dataclass(frozen=True, repr=False)
class Fleet:
    """Stores of a publication, or those of a place and a time."""

    catalogue: str
    """URL or folder of the publication."""
    table: pa.Table
    """A row per store: the publication's stac-geoparquet."""
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north, in degrees."""
    geometry: Any = None
    """GeoJSON or an object of shapely, geopandas or odc-geo."""
    time: Any = None
    """As in `s2ice.cube`."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def tiles(self) -> list[str]:
        """Ids of the stores, such as ``"33TVN-L2A"``."""
        return [str(one) for one in self.table["id"].to_pylist()]

    @property
    def zones(self) -> dict[str, list[str]]:
        """Ids of the stores by the reference system of their pixels, such as ``"EPSG:32633"``."""
        found: dict[str, list[str]] = {}
        for tile, code in zip(self.tiles, self.table["proj:code"].to_pylist(), strict=True):
            found.setdefault(code, []).append(tile)
        return dict(sorted(found.items()))

    def __repr__(self) -> str:
        starts = [one for one in self.table["start_datetime"].to_pylist() if one is not None]
        ends = [one for one in self.table["end_datetime"].to_pylist() if one is not None]
        lines = [f"<s2ice.Fleet> {self.catalogue}", f"Stores: {len(self)}"]
        if starts and ends:
            lines.append(f"Times: {min(starts):%Y-%m-%d} to {max(ends):%Y-%m-%d}")
        lines.append(f"Products: {sum(self.table['s2ice:products'].to_pylist())}")
        zones = self.zones
        told = ", ".join(f"{code} ({len(tiles)})" for code, tiles in list(zones.items())[:6])
        lines.append(f"Zones: {told}{', ...' if len(zones) > 6 else ''}".rstrip())
        if len(self) <= 12:
            lines.append(f"Tiles: {' '.join(self.tiles)}".rstrip())
        return "\n".join(lines)

    def sel(
        self,
        *,
        bounds: Sequence[float] | None = None,
        geometry: Any = None,
        time: Any = None,
        tiles: Sequence[str] | None = None,
    ) -> Fleet:
        """Select stores by a place and a time, which hold for cubes of them as well.

        Parameters
        ----------
        bounds
            West, south, east, north, in degrees.
        geometry
            GeoJSON, or an object of shapely, geopandas or odc-geo, in the place of `bounds`.
        time
            A date such as ``"2024-05"``, an interval ``"2024-05-01/2024-09-30"``, or two ends; in UTC, both included.
        tiles
            Names such as ``"33TVN"``.

        Raises
        ------
        RequestError
            Nothing of the fleet is there.
        """
        if bounds is not None and geometry is not None:
            raise RequestError("bounds and geometry exclude each other: the box of a geometry follows from it")
        chosen = list(range(len(self)))
        if tiles is not None:
            wanted = {name.upper().removeprefix("T").partition("-")[0].rjust(5, "0") for name in tiles}
            chosen = [place for place in chosen if self.tiles[place].partition("-")[0] in wanted]
            lost = wanted - {self.tiles[place].partition("-")[0] for place in chosen}
            if lost:
                raise RequestError(f"{self.catalogue} has no store of {', '.join(sorted(lost))}")
        if time is not None:
            chosen = self._during(chosen, time)
        place = replace(self, table=_rows(self.table, chosen), time=self.time if time is None else time)
        if bounds is not None or geometry is not None:
            place = replace(place, bounds=None if bounds is None else _box(bounds), geometry=geometry)
            place = replace(place, table=_rows(place.table, place._covering()))
        if not len(place):
            raise RequestError(f"no store of {self.catalogue} has products of this place and time")
        return place

    def cube(self, bands: str | Sequence[str] | None = None, **words: Any) -> xr.Dataset:
        """Open the stores as one lazy Dataset on one grid: `s2ice.cube` of this place and time.

        Parameters
        ----------
        bands, **words
            As in `s2ice.cube`. The grid is that of the zone that most of the place lies in, unless `crs` says another.
        """
        from s2ice._cube import cube

        words.setdefault("crs", self.table["proj:code"][0].as_py())
        return cube(self.tiles, bands, catalogue=self.catalogue, **self._place(), **words)

    def cubes(self, bands: str | Sequence[str] | None = None, **words: Any) -> dict[str, xr.Dataset]:
        """Open the stores as one lazy Dataset per UTM zone, without warping: by the reference system of its pixels.

        Parameters
        ----------
        bands, **words
            As in `s2ice.cube`.
        """
        from s2ice._cube import cube

        return {
            code: cube(tiles, bands, catalogue=self.catalogue, crs=code, **self._place(), **words)
            for code, tiles in self.zones.items()
        }

    def _place(self) -> dict[str, Any]:
        return {"bounds": self.bounds, "geometry": self.geometry, "time": self.time}

    def _during(self, chosen: list[int], time: Any) -> list[int]:
        from s2ice._days import interval

        first, last = interval(time)
        starts, ends = (self.table[name].to_pylist() for name in ("start_datetime", "end_datetime"))

        def is_there(place: int) -> bool:
            if starts[place] is None or ends[place] is None:
                return False
            start, end = (one.replace(tzinfo=None) for one in (starts[place], ends[place]))
            return (first is None or end >= first) and (last is None or start <= last)

        return [place for place in chosen if is_there(place)]

    def _covering(self) -> list[int]:
        """Return the fewest stores that cover what of the place is covered at all, the largest part first.

        Tiles overlap by 10 km and more, and hold the same products there.
        """
        import shapely

        place = self._shape()
        outlines = shapely.from_wkb(self.table["geometry"].to_pylist())
        left = [at for at, outline in enumerate(outlines) if outline.intersects(place)]
        # Outlines have straight edges in degrees, pixels in metres: a strip of some 100 m is no reason for a store.
        parts = {at: outlines[at].intersection(place) for at in left}
        chosen: list[int] = []
        least = place.area * 1e-6
        while left:
            best = max(left, key=lambda at: (parts[at].area, -at))
            if parts[best].area <= least and (chosen or place.area > 0):
                break
            chosen.append(best)
            left.remove(best)
            for at in left:
                parts[at] = parts[at].difference(outlines[best])
            if place.area == 0:
                break
        return chosen

    def _shape(self) -> Any:
        import shapely

        if self.geometry is not None:
            from s2ice._grid import LONLAT, brought, shape_of

            return brought(shape_of(self.geometry, None), LONLAT).geom
        assert self.bounds is not None
        return shapely.box(*self.bounds)


def _rows(table: pa.Table, chosen: list[int]) -> pa.Table:
    import pyarrow as pa

    return table.take(pa.array(chosen, pa.int64()))


def _box(bounds: Sequence[float]) -> tuple[float, float, float, float]:
    try:
        west, south, east, north = (float(value) for value in bounds)
    except (TypeError, ValueError):
        raise RequestError(f"bounds are (west, south, east, north), four numbers, not {bounds!r}") from None
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise RequestError(f"bounds are (west, south, east, north) in degrees, not {tuple(bounds)}")
    return west, south, east, north


def _table(base: str) -> pa.Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
        import shapely  # noqa: F401
    except ModuleNotFoundError as error:
        raise RequestError(f"s2ice.open_fleet needs {error.name}: pip install 's2ice[cube,fleet]'") from None
    address = f"{base}/{TABLE}"
    try:
        if base.startswith(("http://", "https://")):
            with urlopen(address, timeout=60) as answer:
                data = answer.read(LONGEST + 1)
        elif "://" in base and not base.startswith("file://"):
            raise SourceError(f"{base}: a publication is read from a disk or web server")
        else:
            with Path(address.removeprefix("file://")).expanduser().open("rb") as file:
                data = file.read(LONGEST + 1)
    except (FileNotFoundError, URLError) as error:
        raise StoreNotFoundError(f"there is no publication at {base}: {address} cannot be read ({error})") from None
    except OSError as error:
        raise SourceError(f"{address} cannot be read: {error}") from None
    if len(data) > LONGEST:
        raise SourceError(f"{address} has more than {LONGEST} bytes: it is no table of a publication")
    columns = ["id", "geometry", "start_datetime", "end_datetime", "processing:level", "proj:code", "s2ice:products"]
    try:
        return pq.read_table(BytesIO(data), columns=columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError, KeyError, OSError) as error:
        raise SourceError(f"{address} is no table of a publication: {error}") from None
