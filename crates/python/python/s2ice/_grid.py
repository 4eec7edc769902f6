"""The grid of a cube: where its pixels lie. odc-geo does the geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo import xy_
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import BoundingBox, Geometry, bbox_union, box

from s2ice.errors import RequestError, S2iceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

LONLAT = "EPSG:4326"


def of(dataset: xr.Dataset) -> GeoBox:
    """Return the grid that an opened group is on."""
    x, y = dataset["x"].values, dataset["y"].values
    wkt = dataset["spatial_ref"].attrs.get("crs_wkt") if "spatial_ref" in dataset.variables else None
    if wkt is None or len(x) < 2 or len(y) < 2:
        raise S2iceError("a group of the store has no x, y or spatial_ref: the store was not written by s2ice")
    width, height = float(x[1] - x[0]), float(y[1] - y[0])
    affine = Affine(width, 0, float(x[0]) - width / 2, 0, height, float(y[0]) - height / 2)
    return GeoBox((len(y), len(x)), affine, crs(wkt))


def crs(given: Any) -> CRS:
    """Return a coordinate reference system, with its EPSG code where it has one."""
    try:
        found = CRS(given)
    except Exception:  # whatever PROJ says
        raise RequestError(f"{given!r} is no coordinate reference system: give it as 'EPSG:32633'") from None
    return CRS(f"EPSG:{found.epsg}") if found.epsg else found


def shape_of(given: Any, bounds_crs: Any) -> Geometry:
    """Return a geometry: GeoJSON, of shapely or odc-geo, a GeoSeries or GeoDataFrame, which know their own CRS."""
    if isinstance(given, Geometry):
        return given
    own = getattr(given, "crs", None)
    mapping = given if isinstance(given, dict) else getattr(given, "__geo_interface__", None)
    if not isinstance(mapping, dict):
        raise RequestError(f"geometry is GeoJSON or an object of shapely, geopandas or odc-geo, not {type(given)}")
    system = crs(bounds_crs or (str(own) if own is not None else LONLAT))
    try:
        import shapely
        from shapely.geometry import shape

        # Collections are what their parts cover together; rows without a geometry cover nothing.
        parts = [shapely.force_2d(shape(part)) for part in _parts(mapping)]
        joined = parts[0] if len(parts) == 1 else shapely.union_all([shapely.make_valid(part) for part in parts])
        empty = joined.is_empty
    except Exception as error:  # whatever shapely says
        told = f"geometry is no valid GeoJSON geometry, with type and coordinates: {error}"
        raise RequestError(told.rstrip(": ")) from None
    if empty:
        raise RequestError("geometry is empty: it covers no pixel")
    return Geometry(joined, system)


def _parts(mapping: Any) -> list[dict[str, Any]]:
    """Return the geometries of GeoJSON, of collections those within."""
    match mapping.get("type"):
        case "Feature":
            return _parts(mapping.get("geometry") or {})
        case "FeatureCollection":
            inner = [one.get("geometry") for one in mapping["features"]]
        case "GeometryCollection":
            inner = mapping["geometries"]
        case _:
            return [mapping]
    return [part for one in inner if one for part in _parts(one)]


def brought(shape: Geometry, system: Any) -> Geometry:
    """Bring a geometry into another reference system, its edges bent as finely as its extent asks for.

    odc-geo would go by the area, of which lines have none.
    """
    span = max(shape.boundingbox.span_x, shape.boundingbox.span_y)
    return shape.to_crs(system, resolution=span / 64) if span > 0 else shape.to_crs(system)


def target(
    tiles: Sequence[GeoBox],
    resolution: float,
    *,
    bounds: Sequence[float] | None,
    bounds_crs: Any,
    geometry: Geometry | None,
    into: Any,
    like: GeoBox | None = None,
) -> GeoBox:
    """Return the grid of a cube: its pixel edges are multiples of the resolution, as those of all tiles are.

    Parameters
    ----------
    tiles
        Grids of the stores; the first one's CRS is taken, unless `into` says another.
    bounds, bounds_crs, geometry, into
        As in `s2ice.cube`: without bounds and geometry, all that the tiles cover.
    like
        A grid of this resolution that pixels are to be those of.
    """
    if not resolution > 0:
        raise RequestError(f"resolution is a size of pixels, more than 0, not {resolution}")
    system = tiles[0].crs if into is None else crs(into)
    if bounds is not None and geometry is not None:
        raise RequestError("bounds and geometry exclude each other: the box of a geometry follows from it")
    there = [_box(tile.extent.to_crs(system, resolution="auto", check_and_fix=True)) for tile in tiles]
    if geometry is not None:
        area = _box(brought(geometry, system))
    elif bounds is not None:
        area = _bounds(bounds, bounds_crs, system)
    else:
        area = bbox_union(there)
    if not any(_meet(area, one) for one in there):
        lonlat = [round(float(value), 4) for value in bbox_union(t.extent.to_crs(LONLAT).boundingbox for t in tiles)]
        raise RequestError(f"bounds or geometry lie outside of the store, which covers {lonlat} in degrees ({LONLAT})")
    anchor = xy_(0.0, 0.0)
    if like is not None and like.crs == system:
        anchor = xy_(like.affine.c / resolution % 1, like.affine.f / resolution % 1)
    return GeoBox.from_bbox(area, resolution=resolution, anchor=anchor, tol=1e-6)


def _bounds(bounds: Sequence[float], bounds_crs: Any, system: CRS | None) -> BoundingBox:
    values = [float(value) for value in bounds]
    if len(values) != 4 or not (values[0] < values[2] and values[1] < values[3]) or not np.isfinite(values).all():
        raise RequestError(f"bounds are (west, south, east, north), not {tuple(bounds)}")
    own = crs(bounds_crs or LONLAT)
    if own.geographic and max(abs(value) for value in values) > 360:
        raise RequestError(
            f"bounds are degrees of {own}, and {tuple(bounds)} are none: pass bounds_crs=, such as "
            f"bounds_crs='{system}'"
        )
    if own == system:
        return BoundingBox(*values, crs=own)
    return _box(brought(box(*values, crs=own), system))


def _box(shape: Geometry) -> BoundingBox:
    return shape.boundingbox


def _meet(one: BoundingBox, other: BoundingBox) -> bool:
    return bool(one.left < other.right and other.left < one.right and one.bottom < other.top and other.bottom < one.top)


def coordinates(geobox: GeoBox) -> dict[str, Any]:
    """Return x and y of the pixel centres, and the CRS as CF and rioxarray know it."""
    import pyproj
    import xarray as xr

    known = pyproj.CRS.from_wkt(geobox.crs.wkt)
    a = geobox.affine
    # No transform: that of x and y is never stale.
    attrs = known.to_cf()
    attrs["spatial_ref"] = attrs["crs_wkt"]
    axes = {axis["axis"].lower(): axis for axis in known.cs_to_cf() if "axis" in axis}
    rows, columns = geobox.shape
    return {
        "y": xr.Variable("y", a.f + a.e * (np.arange(rows) + 0.5), axes.get("y")),
        "x": xr.Variable("x", a.c + a.a * (np.arange(columns) + 0.5), axes.get("x")),
        "spatial_ref": xr.Variable((), np.int64(0), attrs),
    }


def inside(geobox: GeoBox, shape: Geometry) -> np.ndarray[Any, Any]:
    """Tell which pixels have their centre in a shape of the same CRS."""
    from rasterio.features import geometry_mask

    out: np.ndarray[Any, Any] = geometry_mask(
        [shape.json], out_shape=geobox.shape, transform=geobox.affine, invert=True
    )
    return out
