"""From digital numbers to values, a few at a time: no array of double precision stands beside what is returned.

Rasters have 8 or 16 bits, so a table of all their numbers is small, exact, and faster than arithmetic.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

type Array = np.ndarray[Any, Any]

SLAB = 64 << 20
"""Bytes that are read at a time, about: what lies in memory beside the values that are returned."""

_BLOCK = 1 << 16
_PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value")


def checked(dtype: Any) -> np.dtype[Any]:
    """Return the type of decoded values.

    Raises
    ------
    RequestError
        It is not a floating-point type of 32 or 64 bits.
    """
    try:
        found = np.dtype(object if dtype is None else dtype)
    except TypeError:
        found = np.dtype(object)
    if found not in (np.float32, np.float64):
        raise RequestError(
            f"dtype is 'float32' or 'float64', not {dtype!r}; mask_and_scale=False gives the digital numbers as stored"
        )
    return found


def slabs(count: int, size: float) -> Iterator[slice]:
    """Cut a number of steps of so many bytes each into runs of about `SLAB` bytes."""
    step = max(1, int(SLAB // max(size, 1)))
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def run(steps: Array) -> Any:
    """Return a slice where steps follow each other: Zarr reads it with less ado than a list."""
    first = int(steps[0])
    return slice(first, first + len(steps)) if np.array_equal(steps, first + np.arange(len(steps))) else steps


@lru_cache(64)
def table(kind: str, dtype: str, scale: float, offset: float, fills: tuple[float, ...]) -> Array:
    """Return the values of all digital numbers, computed in double precision and rounded once; NaN for nodata."""
    numbers = np.arange(np.iinfo(kind).max + 1)
    values = (numbers * np.float64(scale) + np.float64(offset)).astype(dtype)
    values[np.isin(numbers, fills)] = np.nan
    return values


def look_up(numbers: Array, values: Array) -> Array:
    """Return ``values[numbers]``, which NumPy would do with indices of eight bytes for the whole array at once."""
    out = np.empty(numbers.shape, dtype=values.dtype)
    flat, into = np.ascontiguousarray(numbers).reshape(-1), out.reshape(-1)
    for first in range(0, flat.size, _BLOCK):
        np.take(values, flat[first : first + _BLOCK], out=into[first : first + _BLOCK], mode="clip")
    return out


class Scaled(BackendArray):
    """The values of a packed variable."""

    def __init__(self, numbers: xr.Variable, packing: tuple[Any, ...]) -> None:
        self.numbers = numbers
        self.packing = packing
        self.shape = numbers.shape
        self.dtype = table(*packing).dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def inner(self, key: tuple[Any, ...]) -> xr.Variable:
        """Return the selection of digital numbers, still lazy."""
        return self.numbers.isel(dict(zip(self.numbers.dims, key, strict=True)))

    def _read(self, key: tuple[Any, ...]) -> Any:
        numbers, values = self.inner(key), table(*self.packing)
        if numbers.ndim < 2:
            return look_up(np.asarray(numbers.values), values)
        out = np.empty(numbers.shape, dtype=values.dtype)
        for steps in slabs(len(out), numbers.nbytes / max(len(out), 1)):
            out[steps] = look_up(numbers[steps].values, values)
        return out


def decoded(dataset: xr.Dataset, dtype: np.dtype[Any]) -> xr.Dataset:
    """Decode what was opened with ``mask_and_scale=False``."""
    changed = {
        name: _decoded(str(name), variable, dtype)
        for name, variable in dataset.variables.items()
        if any(key in variable.attrs for key in _PACKING)
    }
    coordinates = {name: variable for name, variable in changed.items() if name in dataset.coords}
    return dataset.assign(
        {name: variable for name, variable in changed.items() if name not in coordinates}
    ).assign_coords(coordinates)


def _decoded(name: str, variable: xr.Variable, dtype: np.dtype[Any]) -> xr.Variable:
    if variable.dtype not in (np.uint8, np.uint16):
        out: xr.Variable = xr.conventions.decode_cf_variable(
            name, variable, decode_times=False, decode_timedelta=False, concat_characters=False
        )
        return out
    attrs, encoding = dict(variable.attrs), dict(variable.encoding)
    taken = {key: attrs.pop(key) for key in _PACKING if key in attrs}
    fills = tuple(sorted({float(fill) for key in _PACKING[2:] if key in taken for fill in np.atleast_1d(taken[key])}))
    scale, offset = (float(taken.get(key, default)) for key, default in zip(_PACKING[:2], (1, 0), strict=True))
    array = Scaled(variable, (variable.dtype.str, dtype.str, scale, offset, fills))
    packed = {"dtype": variable.dtype, **taken}
    return xr.Variable(variable.dims, indexing.LazilyIndexedArray(array), attrs, encoding | packed)
