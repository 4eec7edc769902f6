"""`s2ice.cube`: one lazy Dataset on one grid, of one store or several."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from numbers import Real
from typing import TYPE_CHECKING, Any

import xarray as xr
from xarray.core import indexing

from s2ice import _bands, _chunks, _pixels, _places, _scaled
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from odc.geo.geobox import GeoBox

    from s2ice._band import Rasters
    from s2ice._mask import Array
    from s2ice._member import Tile, View

_NOT_OURS = frozenset(["create_default_indexes", "decode_cf", "decode_times", "drop_variables", "group", "use_cftime"])
_KEPT = (
    *("long_name", "standard_name", "units", "radiation_wavelength", "radiation_wavelength_units"),
    *("flag_values", "flag_meanings", "scale_factor", "add_offset"),
)
"""Attributes of the store's arrays that hold for a cube as well."""
SEEN = 4
"""From so many pixels for one on, along an axis, bands are read of their views, unless another way is asked for."""


def cube(
    store: Any,
    bands: str | Sequence[str] | None = None,
    *,
    bounds: Sequence[float] | None = None,
    bounds_crs: Any = None,
    geometry: Any = None,
    time: Any = None,
    resolution: float = 10,
    dtype: Any = "float32",
    mask: str | Sequence[int] | None = "scl",
    max_cloud_cover: float | None = None,
    groupby: str | None = "solar_day",
    resampling: str | Mapping[str, str] | None = None,
    crs: Any = None,
    chunks: Any = "auto",
    catalogue: str | PathLike[str] | None = None,
    mask_and_scale: bool = True,
    eras: str | None = None,
    **words: Any,
) -> xr.Dataset:
    """Open bands of a tile, or of several, as one lazy Dataset on one grid.

    Parameters
    ----------
    store
        What `open` takes, a STAC collection or item as ``s2ice publish`` writes it, the id of a tile with `catalogue`;
        or a list of such, whose tiles are joined.
    bands
        Names such as ``"b04"`` or, as in STAC, ``"red"``; all reflectance by default. Variables are named as is asked.
    bounds
        West, south, east, north, in degrees unless `bounds_crs` says otherwise. The box is widened to whole pixels. All
        that the tiles cover by default.
    bounds_crs
        The reference system of `bounds`, and of a `geometry` that does not tell its own: ``"EPSG:4326"`` by default.
    geometry
        GeoJSON, or an object of shapely, geopandas or odc-geo, in the place of `bounds`. Pixels whose centre lies
        outside of it are nodata.
    time
        A date such as ``"2024-05"``, an interval ``"2024-05-01/2024-09-30"``, or two ends; in UTC, both included.
    resolution
        Size of pixels, in metres, or in the units of `crs`. Pixel edges are multiples of it, but where bands are
        overviews: 40, 80 or 160 of bands of 10 m, 80, 160, 320 of 20 m, 240, 480 and 960 of 60 m.
    dtype
        As in `open`.
    mask
        ``"scl"`` turns clouds, their shadows, cirrus, defective pixels and nodata off: classes 0, 1, 3, 8, 9 and 10
        of the scene classification. A list names other classes, ``None`` turns nothing off. Coarser pixels are
        off where any pixel of the classification below them is, and so are pixels of another `crs`. Nothing is turned
        off in ``scl``, ``cld`` and ``snw``.
    max_cloud_cover
        Of products, in percent. Those of which it is not known are left out.
    groupby
        ``"solar_day"`` lays the products of one day over each other: halves of a datatake, neighbouring tiles. The
        first one that has a value goes first. ``"time"`` leaves each product alone.
    resampling
        How bands of another resolution are brought to the grid where the store has no copy at it: ``"nearest"``,
        ``"average"``, ``"bilinear"`` or ``"overview"``, for all bands or by band. An overview is read of the lowest
        resolutions of the files, at 160 m about 1 % of the bytes of a band of 10 m: weighted means that lie where every
        16th pixel lies, as in `open`. By default finer pixels are read as overviews where there is one that is 4 times
        as coarse or more, else averages are taken of them, and coarser ones are repeated. ``scl`` is always the
        nearest. Each band's attribute ``resampling`` tells.
    crs
        Of the grid; that of the first store by default. Tiles of another one are warped by GDAL, as `resampling` says.
    chunks
        As in `open`; ``None`` reads lazily without dask.
    catalogue
        URL or folder of a publication, whose tile ids may then stand for stores: ``"33TVN"``, ``"33TVN-L1C"``.
    mask_and_scale
        ``False`` gives the digital numbers, with ``_FillValue`` for nodata and for what is off: 0, and 255 of ``cld``
        and ``snw``.
    eras
        As in `open`.
    **words
        For `open`: ``credentials``, ``anonymous``, ``storage_options``, ``allow``, ``branch``, ...

    Returns
    -------
    xarray.Dataset
        Bands on (time, y, x), with ``time`` the first sensing time of each date and ``cloud_cover`` the mean of its
        products.

    Raises
    ------
    RequestError
        An argument is out of range, or nothing in the store is what is asked for.
    S2iceError
        What `open` raises.

    Examples
    --------
    >>> cube = s2ice.cube("33TVN-L2A", ["red", "nir"], bounds=(14.2, 47.4, 14.3, 47.5))  # doctest: +SKIP
    >>> ((cube.nir - cube.red) / (cube.nir + cube.red)).median("time").compute()  # doctest: +SKIP
    """
    _check()
    from s2ice import _days, _grid, _mask
    from s2ice._member import Tile

    classes = _mask.classes_of(mask)
    kind = _scaled.checked(dtype)
    _chunks.check(chunks)
    asked = [bands] if isinstance(bands, str) else bands
    names = None if asked is None else {name: _bands.array_of(name) for name in asked}
    shape = None if geometry is None else _grid.shape_of(geometry, bounds_crs)
    if isinstance(resampling, Mapping) and names is not None and (unknown := set(resampling) - set(names)):
        raise RequestError(f"resampling names {', '.join(sorted(unknown))}; the bands asked for are {', '.join(names)}")
    if not _is_number(resolution) or not resolution > 0:
        raise RequestError(f"resolution is a size of pixels, such as 10, not {resolution!r}")
    if bounds is not None and not _is_box(bounds):
        raise RequestError(f"bounds are (west, south, east, north), four numbers, not {bounds!r}")
    if max_cloud_cover is not None and not _is_number(max_cloud_cover):
        raise RequestError(f"max_cloud_cover is a percentage from 0 to 100, not {max_cloud_cover!r}")
    if not_ours := sorted(_NOT_OURS & set(words)):
        raise RequestError(f"cube takes no {', '.join(not_ours)}: it decodes and joins what it needs")
    stores = store if isinstance(store, list | tuple) else [store]
    if not stores:
        raise RequestError("no store is given")
    tiles = [Tile(_places.named(one, catalogue), eras, mask_and_scale, kind, words) for one in stores]
    if names is None:
        names = {name: name for name in sorted({name for tile in tiles for name in tile.groups(None)})}
    for tile in tiles:
        tile.find([*names.values()], scl=classes is not None)
    tables = [tile.table for tile in tiles]
    views = {
        name: [_views(tile, array, name, resolution, resampling) for tile in tiles] for name, array in names.items()
    }
    # Where a tile is seen, what it covers is what its pixels do there.
    seen = [next((of[at][0].group for of in views.values() if of[at]), None) for at in range(len(tiles))]
    grid = _grid.target(
        [_grid.of(table if group is None else group) for table, group in zip(tables, seen, strict=True)],
        resolution,
        bounds=bounds,
        bounds_crs=bounds_crs,
        geometry=shape,
        into=crs,
        like=None if seen[0] is None else _grid.of(seen[0]),
    )
    if grid.crs.geographic and resolution >= 1:
        raise RequestError(f"pixels of {resolution} degrees: in {crs} the resolution is in degrees, such as 0.0001")
    products = _days.products(tables, time, max_cloud_cover)
    days = _days.grouped(products, groupby, _longitude(grid))
    inside = None if shape is None else _grid.inside(grid, _grid.brought(shape, grid.crs))
    flags = None if classes is None else [tile.flags(classes, grid) for tile in tiles]
    out = {}
    for name, array in names.items():
        rasters = [tile.rasters(array, name, grid, resampling, of) for tile, of in zip(tiles, views[name], strict=True)]
        out[name] = _variable(array, rasters, flags, days, inside, grid, scaled=mask_and_scale)
    coords = _pixels.with_indexes(_days.coordinates(days) | _grid.coordinates(grid))
    attrs = {"resolution": resolution} | ({"mask_classes": list(classes)} if classes else {})
    dataset = xr.Dataset(out, coords, attrs)
    token = ([tile.token for tile in tiles], str(grid), str(shape), str(days), classes, resampling, str(kind))
    _chunks.check_names(chunks, [dataset])
    dataset = _chunks.chunked(dataset, chunks, (*token, mask_and_scale))
    for variable in dataset.variables.values():
        # Where a saved cube has its chunks is its own affair.
        variable.encoding.pop("chunks", None)
    return dataset


def _is_number(value: Any) -> bool:
    """Return whether it is one, of Python or of NumPy; ``True`` is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_box(bounds: Any) -> bool:
    try:
        return len([float(number) for number in bounds]) == 4
    except (TypeError, ValueError):
        return False


def _check() -> None:
    missing = [package for module, package in (("odc.geo", "odc-geo"), ("rasterio", "rasterio")) if not _there(module)]
    if missing:
        raise RequestError(f"s2ice.cube needs {' and '.join(missing)}: pip install 's2ice[cube]'")


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _views(tile: Tile, array: str, name: str, resolution: float, resampling: Any) -> list[View]:
    """Return the views of a band, where it is to be read of such."""
    word = resampling.get(name) if isinstance(resampling, Mapping) else resampling
    if word not in (None, "overview") or array in _bands.CLASSES:
        return []
    views = tile.views(array, resolution, 2 if word else SEEN)
    if word and not views:
        raise RequestError(
            f"{tile.name} has no overview of {name} at {resolution:g} m: there is one at 2, 4, 8 or 16 times its pixels"
        )
    return views


def _longitude(grid: GeoBox) -> float:
    return float(grid.extent.centroid.to_crs("EPSG:4326").coords[0][0])


def _variable(
    array: str, rasters: list[Rasters], flags: Any, days: Any, inside: Array | None, grid: GeoBox, *, scaled: bool
) -> xr.Variable:
    from s2ice import _band

    first = rasters[0].layers[0]
    like = first.fetch.variable
    masked = None if array in _bands.UNMASKED else flags
    rows, columns = grid.shape
    band = _band.Band(days, rasters, masked, inside, (rows, columns), like.dtype, first.fill)
    told = dict.fromkeys(layer.told for one in rasters for layer in one.layers)
    attrs = {key: like.attrs[key] for key in _KEPT if key in like.attrs}
    attrs |= {"grid_mapping": "spatial_ref", "resampling": "; else ".join(told)}
    if band.dtype.kind != "f" and (array not in _bands.CLASSES or not scaled):
        attrs["_FillValue"] = first.fill
    encoding = {"chunks": (1, *_tiles(first, grid))}
    return xr.Variable(("time", "y", "x"), indexing.LazilyIndexedArray(band), attrs, encoding)


def _tiles(layer: Any, grid: GeoBox) -> tuple[int, int]:
    """Return the size of the files' tiles in pixels of the grid."""
    chunks = layer.fetch.variable.encoding.get("preferred_chunks")
    stored = (chunks["y"], chunks["x"]) if chunks else layer.source.shape
    ratio = 1.0 if layer.relation[0] == "warp" else abs(layer.source.affine.a / grid.affine.a)
    high, wide = (max(1, min(size, round(n * ratio))) for n, size in zip(stored, grid.shape, strict=True))
    return high, wide
