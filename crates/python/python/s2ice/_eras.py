"""The stores of a tile as one cube.

Products of another radiometric offset, and rasters of another main header, stand in stores of their own beside the main
one: its eras. Reflectance of all of them is on one scale once it is decoded, so here they become one time axis again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from s2ice.errors import S2iceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import zarr

TIME = "time"
PRESENT = "present"
_NAME = re.compile(r"offset-[a-z0-9.-]{0,57}")


def is_name(text: str) -> bool:
    """Tell whether a text may be part of an era's address."""
    return _NAME.fullmatch(text) is not None


def names(root: zarr.Group) -> dict[str, list[str]]:
    """Return the eras that a main store names, and what each differs in."""
    stamp = root.attrs.get("s2ice")
    listed = stamp.get("eras", {}) if isinstance(stamp, dict) else {}
    if not isinstance(listed, dict):
        raise S2iceError("the store's list of eras cannot be understood")
    out = {}
    for name, era in listed.items():
        # The name becomes part of an address: what a store says must not lead anywhere else.
        if not is_name(name):
            raise S2iceError(f"the store names an era {name!r}, which is no name of an era")
        differs = era.get("differs", []) if isinstance(era, dict) else []
        out[name] = [str(text) for text in differs]
    return out


class Axis(NamedTuple):
    """One time axis over several stores."""

    times: np.ndarray[Any, Any]
    """Times, strictly increasing."""
    places: list[np.ndarray[Any, Any]]
    """For each store, the step at which it has the product of each time; -1 where it does not have it."""

    def first(self) -> np.ndarray[Any, Any]:
        """Return the number of the first store that has each product."""
        return np.argmax(np.stack(self.places) >= 0, axis=0)


def axis_of(columns: Sequence[xr.Dataset]) -> Axis:
    """Join the time axes of several stores by product: a product of which several hold rasters is one step.

    Parameters
    ----------
    columns
        The root group of each store, with ``time`` and ``product_id``.
    """
    found: dict[str, tuple[Any, list[int]]] = {}
    for number, root in enumerate(columns):
        if TIME not in root.variables or "product_id" not in root.variables:
            raise S2iceError("a store of the tile has no time or product_id at its root: it was not written by s2ice")
        for step, (time, product) in enumerate(zip(root[TIME].values, root["product_id"].values, strict=True)):
            earliest, places = found.setdefault(str(product), (time, [-1] * len(columns)))
            places[number] = step
            found[str(product)] = (min(earliest, time), places)
    ordered = sorted(found.items(), key=lambda entry: (entry[1][0], entry[0]))
    times: list[Any] = []
    for _, (time, _) in ordered:
        # As in a store: a tie moves the later product by a millisecond.
        times.append(time if not times or time > times[-1] else times[-1] + np.timedelta64(1, "ms"))
    table = np.array([places for _, (_, places) in ordered], dtype=int).reshape(-1, len(columns))
    dtype = columns[0][TIME].dtype
    return Axis(np.array(times, dtype=dtype), [table[:, number] for number in range(len(columns))])


class _Joined(BackendArray):
    """An array along the joined time axis, read lazily from the stores that have it.

    Nothing is read before it is indexed, and then only what is asked for: one request per chunk, as from one store.
    """

    def __init__(
        self, parts: Sequence[xr.Variable | None], sources: np.ndarray[Any, Any], steps: Any, fill: Any
    ) -> None:
        there = [part for part in parts if part is not None]
        self.parts = parts
        # For each time, the part to read (-1 for none) and the step there.
        self.sources = sources
        self.steps = steps
        self.fill = fill
        self.shape = (len(sources), *there[0].shape[1:])
        self.dtype = np.result_type(*(part.dtype for part in there))

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        wanted = np.arange(self.shape[0])[key[0]]
        times = np.atleast_1d(wanted)
        rest = tuple(key[1:])
        out: np.ndarray[Any, Any] | None = None
        for number, part in enumerate(self.parts):
            (at,) = np.nonzero(self.sources[times] == number)
            if part is None or at.size == 0:
                continue
            steps = self.steps[times[at]]
            chosen = dict(zip(part.dims, (_slice(steps), *rest), strict=True))
            values = part.isel(chosen).values
            if out is None:
                out = np.full((len(times), *values.shape[1:]), self.fill, dtype=self.dtype)
            out[at] = values
        if out is None:
            empty = [np.arange(size)[index] for size, index in zip(self.shape[1:], rest, strict=True)]
            shape = [values.size for values in empty if values.ndim]
            out = np.full((len(times), *shape), self.fill, dtype=self.dtype)
        return out if np.ndim(wanted) else out[0]


def _slice(steps: np.ndarray[Any, Any]) -> Any:
    """Return a slice where the steps follow each other: Zarr reads it with less ado than a list."""
    first = int(steps[0])
    return slice(first, first + len(steps)) if np.array_equal(steps, first + np.arange(len(steps))) else steps


def join_group(datasets: Sequence[xr.Dataset | None], axis: Axis) -> xr.Dataset:
    """Join one group of several stores, the main one first; ``None`` where a store does not have it."""
    there = [(number, dataset) for number, dataset in enumerate(datasets) if dataset is not None]
    if not any(TIME in dataset.dims for _, dataset in there):
        return there[0][1]
    variables: dict[str, xr.Variable] = {}
    coordinates: set[str] = set()
    arrays = _names(dataset for _, dataset in there)
    present = _present(datasets, axis)
    for name in arrays:
        parts = [dataset.variables.get(name) if dataset is not None else None for dataset in datasets]
        first = next(part for part in parts if part is not None)
        coordinates |= {name for _, dataset in there if name in dataset.coords}
        if name == TIME:
            variables[name] = xr.Variable(TIME, axis.times, first.attrs, first.encoding)
        elif name == PRESENT and present is not None:
            variables[name] = present.variable(first)
        elif TIME in first.dims:
            variables[name] = _join(name, parts, axis, present)
        else:
            if any(part is not None and not np.array_equal(part.values, first.values) for part in parts):
                raise S2iceError(f"{name} is not the same in all stores of the tile")
            variables[name] = first
    dataset = xr.Dataset({}, attrs=dict(there[0][1].attrs))
    dataset = dataset.assign({name: variable for name, variable in variables.items() if name not in coordinates})
    return dataset.assign_coords({name: variables[name] for name in arrays if name in coordinates})


def _names(datasets: Iterable[xr.Dataset]) -> list[str]:
    return list(dict.fromkeys(str(name) for dataset in datasets for name in dataset.variables))


class _Flags(NamedTuple):
    """Which arrays of a group have data, by time, of each store."""

    size: int
    names: list[str]
    by_store: list[dict[str, np.ndarray[Any, Any]]]

    def of(self, name: str, number: int) -> np.ndarray[Any, Any] | None:
        return self.by_store[number].get(name)

    def variable(self, like: xr.Variable) -> xr.Variable:
        """Return the flags of all stores, with bits of their own where these have others."""
        masks = [1 << bit for bit in range(len(self.names))]
        values = np.zeros(self.size, dtype=np.uint32)
        for name, mask in zip(self.names, masks, strict=True):
            flags = [store[name] for store in self.by_store if name in store]
            values |= np.where(np.any(flags, axis=0), mask, 0).astype(np.uint32)
        attrs = {**like.attrs, "flag_masks": masks, "flag_meanings": " ".join(self.names)}
        return xr.Variable(TIME, values, attrs, like.encoding)


def _present(datasets: Sequence[xr.Dataset | None], axis: Axis) -> _Flags | None:
    by_store: list[dict[str, np.ndarray[Any, Any]]] = []
    size = len(axis.times)
    for dataset, places in zip(datasets, axis.places, strict=True):
        flags: dict[str, np.ndarray[Any, Any]] = {}
        if dataset is not None:
            if PRESENT not in dataset.variables:
                return None
            variable = dataset.variables[PRESENT]
            values, meanings = variable.values, str(variable.attrs.get("flag_meanings", "")).split()
            for name, mask in zip(meanings, np.atleast_1d(variable.attrs.get("flag_masks", [])), strict=False):
                flags[name] = np.zeros(size, dtype=bool)
                (at,) = np.nonzero(places >= 0)
                flags[name][at] = values[places[at]] & np.uint32(mask) != 0
        by_store.append(flags)
    return _Flags(size, list(dict.fromkeys(name for flags in by_store for name in flags)), by_store)


def _join(name: str, parts: Sequence[xr.Variable | None], axis: Axis, present: _Flags | None) -> xr.Variable:
    there = [part for part in parts if part is not None]
    first = there[0]
    _check(name, there)
    sources = np.full(len(axis.times), -1)
    for number in reversed(range(len(parts))):
        if parts[number] is None:
            continue
        flags = present.of(name, number) if present is not None else None
        sources[axis.places[number] >= 0 if flags is None else flags] = number
    steps = np.stack(axis.places)[np.maximum(sources, 0), np.arange(len(sources))]
    lazy = _Joined(parts, sources, steps, _fill(first))
    data = indexing.LazilyIndexedArray(lazy)
    # Not the packing: the stores have different ones, and these values are unpacked.
    encoding = {key: first.encoding[key] for key in ("chunks", "preferred_chunks") if key in first.encoding}
    return xr.Variable(first.dims, data, first.attrs, encoding)


def _check(name: str, parts: Sequence[xr.Variable]) -> None:
    """Refuse what would not be one array: other shapes, or digital numbers of different scales."""
    first = parts[0]
    for part in parts[1:]:
        if part.dims != first.dims or part.shape[1:] != first.shape[1:]:
            raise S2iceError(f"{name} is {first.shape[1:]} in one store of the tile and {part.shape[1:]} in another")
        for key in ("scale_factor", "add_offset"):
            # Where xarray has decoded the values, these are in the encoding.
            if part.attrs.get(key) != first.attrs.get(key):
                raise S2iceError(
                    f"the digital numbers of {name} have another {key} in another era: they can be merged as "
                    'reflectance only. Leave mask_and_scale=False out, or open the eras one by one with eras="<name>"'
                )


def _fill(variable: xr.Variable) -> Any:
    if variable.dtype.kind in "fc":
        return np.nan
    if variable.dtype.kind in "mM":
        return np.array("NaT", variable.dtype)
    if variable.dtype.kind in "OUST":
        return ""
    value = variable.attrs.get("_FillValue", variable.encoding.get("fill_value", 0))
    return 0 if value is None else value


def join_trees(trees: Sequence[xr.DataTree], axis: Axis) -> xr.DataTree:
    """Join all groups of several stores."""
    groups: list[Mapping[str, xr.Dataset]] = [
        {node.path: node.to_dataset(inherit=False) for node in tree.subtree} for tree in trees
    ]
    paths = list(dict.fromkeys(path for group in groups for path in group))
    return xr.DataTree.from_dict({path: join_group([group.get(path) for group in groups], axis) for path in paths})


def with_chunks(dataset: xr.Dataset, chunks: Any) -> xr.Dataset:
    """Return dask arrays where they are asked for, in the stored chunks unless `chunks` says otherwise."""
    if chunks is None:
        return dataset
    if chunks != {} and not isinstance(chunks, Mapping):
        return dataset.chunk(chunks)

    def of(array: xr.DataArray) -> dict[Any, Any]:
        stored = dict(zip(array.dims, array.encoding.get("chunks") or array.shape, strict=True))
        return stored | {name: size for name, size in chunks.items() if name in array.dims}

    return dataset.assign({name: array.chunk(of(array)) for name, array in dataset.data_vars.items()})


def finished(dataset: xr.Dataset, dropped: Sequence[str], chunks: Any) -> xr.Dataset:
    """Return what was asked for of a joined group."""
    return with_chunks(dataset.drop_vars(dropped, errors="ignore"), chunks)
