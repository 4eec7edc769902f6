"""What becomes of a group once xarray has opened it, so that whatever works on a Dataset works on it.

* Everything has one order. zarr lists what answers first, and xarray keeps the names of coordinates in a set.
* Attributes and encodings say nothing that is no longer true of a part, or of what is computed: no transform but that
  of ``x`` and ``y``, no packing, no codec. What netCDF cannot hold is flat.
* Small coordinates are there, read side by side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from s2ice import _pixels
from s2ice._eras import MAIN, PRESENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

STAMP = "s2ice"

_ORDER = ("time", "band", "component", "detector", "angle", "y", "x", "spatial_ref", "cloud_cover", "relative_orbit")
_CONVENTIONS = re.compile(r"zarr_conventions|multiscales|(proj|spatial):.*|valid_(min|max|range)|GeoTransform")
_SMALL = 1 << 22
"""Bytes of a coordinate that is read at once; those of a store have less."""
_AT_A_TIME = 32


class Told(NamedTuple):
    """What the attributes of an opened group tell of its store."""

    stamp: Mapping[str, Any]
    """The root's attribute of s2ice."""
    read: Sequence[str]
    """The eras that are read, ``main`` among them."""

    def attributes(self) -> dict[str, Any]:
        """Return flat attributes: tile, level, and which eras are and are not here."""
        out: dict[str, Any] = {f"{STAMP}:{key}": self.stamp[key] for key in ("tile", "level") if key in self.stamp}
        there = [MAIN, *(self.stamp.get("eras") or {})]
        if len(there) > 1:
            out[f"{STAMP}:eras"] = " ".join(self.read)
            left_out = [era for era in there if era not in self.read]
            if left_out:
                out[f"{STAMP}:eras_left_out"] = " ".join(left_out)
        return out


def present_of(group: str) -> str:
    """Return the name of the flags of a group: those of others are other flags, and may stand beside them.

    ``measurements/reflectance/r10m`` has ``present_reflectance``.
    """
    parts = [part for part in group.split("/") if part and not re.fullmatch(r"r\d+m(_x\d+)?", part)]
    return f"{PRESENT}_{parts[-1]}" if parts else PRESENT


def tidied(groups: Mapping[str, xr.Dataset], told: Told, *, indexes: bool = True) -> dict[str, xr.Dataset]:
    """Return groups, by path, that were opened without indexes and without dask arrays among their coordinates."""
    ordered = dict(sorted(groups.items(), key=lambda entry: _natural(entry[0])))
    _load(variable for group in ordered.values() for variable in group.coords.variables.values())
    return {path: _tidied(path, group, told, indexes=indexes) for path, group in ordered.items()}


def _load(variables: Iterable[xr.Variable]) -> None:
    waiting = [variable for variable in variables if variable.nbytes < _SMALL and not variable._in_memory]
    if len(waiting) > 1:
        with ThreadPoolExecutor(min(len(waiting), _AT_A_TIME)) as pool:
            list(pool.map(xr.Variable.load, waiting))


def _tidied(path: str, group: xr.Dataset, told: Told, *, indexes: bool) -> xr.Dataset:
    new = {PRESENT: present_of(path)}
    coordinates = {
        new.get(str(name), str(name)): _coordinate(group.variables[name]) for name in sorted(group.coords, key=_place)
    }
    make: Callable[[Any], xr.Coordinates] = (
        _pixels.with_indexes if indexes else lambda variables: xr.Coordinates(variables, indexes={})
    )
    data = {str(name): _data(group.variables[name]) for name in sorted(group.data_vars, key=_natural)}
    attributes = {**_flat(group.attrs), **told.attributes()}
    return xr.Dataset(data, make(coordinates), attributes)


def _place(name: Any) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER)), str(name)


def _natural(name: Any) -> list[tuple[int, float, str]]:
    """Order ``b8a`` behind ``b08`` and ``r10m`` before ``r60m``; groups stand by their paths."""
    found = re.fullmatch(r"b(\d+)(a?)", str(name))
    if found:
        return [(0, float(found[1]) + 0.5 * bool(found[2]), "")]
    return [(1, 0, part) for part in str(name).split("/")]


def _coordinate(variable: xr.Variable) -> xr.Variable:
    kept = {key: variable.encoding[key] for key in ("units", "calendar") if key in variable.encoding}
    if "units" in kept:
        kept["dtype"] = np.dtype("int64")
    elif variable.dtype.kind == "f" and variable.dims == variable.dims[:1] and not np.isnan(variable.values).any():
        kept["_FillValue"] = None
    return _with(variable, kept)


def _data(variable: xr.Variable) -> xr.Variable:
    kept = {
        key: variable.encoding[key] for key in ("preferred_chunks", "units", "calendar") if key in variable.encoding
    }
    if variable.dtype.kind == "f":
        kept["_FillValue"] = variable.dtype.type(np.nan)
    elif variable.dtype == np.uint8 and not {"flag_values", "component_meanings", "_FillValue"} & set(variable.attrs):
        # netCDF's own fill value for these is 255, so white would be masked.
        kept["dtype"] = np.dtype("int16")
    return _with(variable, kept)


def _with(variable: xr.Variable, encoding: dict[str, Any]) -> xr.Variable:
    out = variable.copy(deep=False)
    out.attrs, out.encoding = _flat(variable.attrs), encoding
    return out


def _flat(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes that every format can hold; conventions about the group in the store stay there."""
    out: dict[str, Any] = {}
    for key, value in attributes.items():
        if key == STAMP and isinstance(value, Mapping):
            out |= {f"{STAMP}:{name}": _plain(part) for name, part in value.items() if part not in ({}, None)}
        elif key != "coordinates" and not _CONVENTIONS.fullmatch(str(key)):
            out[str(key)] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, bool | Mapping) or value is None:
        return json.dumps(value)
    if isinstance(value, list | tuple) and len({type(part) for part in value} - {int, float}) != 0:
        return value if all(isinstance(part, str) for part in value) else json.dumps(value)
    return value
