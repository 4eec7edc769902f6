"""The trees of a store as one cube.

Products of another radiometric offset, and rasters of another main header, stand in trees of their own below ``/eras``.
Reflectance of all of them is on one scale once it is decoded, so here they become one time axis again.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from s2ice._scaled import run, slabs
from s2ice.errors import GroupNotFoundError, S2iceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import zarr

TIME = "time"
PRESENT = "present"
MAIN = "main"
ERAS = "eras"
PRODUCTS = "products"
PRODUCT = "product_id"


def names(root: zarr.Group) -> dict[str, list[str]]:
    """Return the eras that a store names, and what each differs in."""
    stamp = root.attrs.get("s2ice")
    listed = stamp.get("eras", {}) if isinstance(stamp, dict) else {}
    if not isinstance(listed, dict):
        raise S2iceError("the store's list of eras cannot be understood")
    differs = {name: era.get("differs", []) if isinstance(era, dict) else [] for name, era in listed.items()}
    return {name: [str(text) for text in texts] for name, texts in differs.items()}


def trees(root: zarr.Group, asked: str | None) -> list[str]:
    """Return the trees that are asked for, the main one first: all by default.

    Raises
    ------
    GroupNotFoundError
        The store has no such era.
    """
    there = [MAIN, *names(root)]
    if asked is None:
        return there
    if asked not in there:
        listed = ", ".join(map(repr, there))
        raise GroupNotFoundError(f"the store has no era {asked!r}; eras is one of {listed}, or None for all of them")
    return [asked]


def base_of(era: str) -> str:
    """Return the path of an era's tree, or of the main one."""
    return "" if era == MAIN else f"{ERAS}/{era}"


def within(base: str, path: str) -> str:
    """Return the path in the store of a path in a tree."""
    return f"{base}/{path.strip('/')}".strip("/")


class Axis(NamedTuple):
    """One time axis over several trees."""

    trees: list[str]
    """Names of the trees."""
    times: xr.Variable
    """Times, strictly increasing."""
    places: np.ndarray[Any, Any]
    """For each tree and time, the step at which the tree has the product; -1 where it does not have it."""


def axis_of(tables: Mapping[str, xr.Dataset]) -> Axis:
    """Join the time axes of several trees by product: a product of which several hold rasters is one step.

    Parameters
    ----------
    tables
        The products of each tree, with ``time`` and ``product_id``.
    """
    found: dict[str, tuple[Any, list[int]]] = {}
    for number, (tree, table) in enumerate(tables.items()):
        if TIME not in table.variables or PRODUCT not in table.variables:
            raise S2iceError(f"the products of {tree} have no {TIME} or {PRODUCT}: the store was not written by s2ice")
        for step, (time, product) in enumerate(zip(table[TIME].values, table[PRODUCT].values, strict=True)):
            earliest, places = found.setdefault(str(product), (time, [-1] * len(tables)))
            places[number] = step
            found[str(product)] = (min(earliest, time), places)
    ordered = sorted(found.items(), key=lambda entry: (entry[1][0], entry[0]))
    times: list[Any] = []
    for _, (time, _) in ordered:
        # As in a store: a tie moves the later product by a millisecond.
        times.append(time if not times or time > times[-1] else times[-1] + np.timedelta64(1, "ms"))
    first = next(iter(tables.values()))[TIME].variable
    steps = np.array([places for _, (_, places) in ordered], dtype=int).reshape(-1, len(tables)).T
    return Axis(list(tables), xr.Variable(TIME, np.array(times, first.dtype), first.attrs, first.encoding), steps)


class _Flags:
    """Which arrays of a group have data, by time, of each tree; read when it is first needed."""

    def __init__(self, variables: Sequence[xr.Variable | None], places: np.ndarray[Any, Any]) -> None:
        self.variables = variables
        self.places = places
        self.masks = [_masks(variable) if variable is not None else {} for variable in variables]
        self.names = list(dict.fromkeys(name for masks in self.masks for name in masks))

    @cached_property
    def values(self) -> list[np.ndarray[Any, Any]]:
        """Flags of each tree on the joined axis."""
        out = np.zeros(self.places.shape, dtype=np.uint32)
        for flags, variable, places in zip(out, self.variables, self.places, strict=True):
            if variable is not None:
                flags[places >= 0] = variable.values[places[places >= 0]]
        return list(out)

    def of(self, name: str) -> np.ndarray[Any, Any]:
        """Tell for each tree and time whether there are data of an array."""
        masks = [np.uint32(masks.get(name, 0)) for masks in self.masks]
        return np.stack([flags & mask != 0 for flags, mask in zip(self.values, masks, strict=True)])


def _masks(variable: xr.Variable) -> dict[str, int]:
    meanings = str(variable.attrs.get("flag_meanings", "")).split()
    return dict(zip(meanings, np.atleast_1d(variable.attrs.get("flag_masks", [])), strict=False))


class _JoinedFlags(BackendArray):
    """The flags of all trees, with bits of their own where these have others."""

    def __init__(self, flags: _Flags) -> None:
        self.flags = flags
        self.shape = flags.places.shape[1:]
        self.dtype = np.dtype(np.uint32)

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        values = np.zeros(self.shape, dtype=self.dtype)
        for bit, name in enumerate(self.flags.names):
            values |= np.where(self.flags.of(name).any(axis=0), 1 << bit, 0).astype(self.dtype)
        return values[key]

    def variable(self, like: xr.Variable) -> xr.Variable:
        masks = [1 << bit for bit in range(len(self.flags.names))]
        attrs = {**like.attrs, "flag_masks": masks, "flag_meanings": " ".join(self.flags.names)}
        return xr.Variable(TIME, indexing.LazilyIndexedArray(self), attrs, like.encoding)


class Joined(BackendArray):
    """An array along the joined time axis, read lazily from the trees that have it.

    Nothing is read before it is indexed, and then only what is asked for: one request per chunk, as from one tree.
    """

    def __init__(
        self, name: str, parts: Sequence[xr.Variable | None], places: np.ndarray[Any, Any], flags: _Flags | None
    ) -> None:
        there = [part for part in parts if part is not None]
        self.name = name
        self.parts = parts
        self.places = places
        self.flags = flags
        self.fill = _fill(there[0])
        self.shape = (places.shape[1], *there[0].shape[1:])
        self.dtype = np.result_type(*(part.dtype for part in there))

    @cached_property
    def where(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """For each time, the part to read (-1 for none) and the step there."""
        has = self.places >= 0 if self.flags is None else self.flags.of(self.name)
        has = has & np.array([part is not None for part in self.parts])[:, None]
        sources = np.where(has.any(axis=0), np.argmax(has, axis=0), -1)
        return sources, self.places[np.maximum(sources, 0), np.arange(self.shape[0])]

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        wanted = np.arange(self.shape[0])[key[0]]
        times = np.atleast_1d(wanted)
        rest = tuple(key[1:])
        all_sources, all_steps = self.where
        sources = all_sources[times]
        out: np.ndarray[Any, Any] | None = None
        for number, part in enumerate(self.parts):
            (at,) = np.nonzero(sources == number)
            if part is None or at.size == 0:
                continue
            chosen = self.inner(part, all_steps[times[at]], rest)
            if at.size == times.size and out is None:
                out = chosen.values
                continue
            if out is None:
                out = np.full((len(times), *chosen.shape[1:]), self.fill, dtype=self.dtype)
            for some in slabs(at.size, chosen.nbytes / at.size):
                out[at[some]] = chosen[some].values
        if out is None:
            empty = [np.arange(size)[index] for size, index in zip(self.shape[1:], rest, strict=True)]
            shape = [values.size for values in empty if values.ndim]
            out = np.full((len(times), *shape), self.fill, dtype=self.dtype)
        return out if np.ndim(wanted) else out[0]

    def read_of(self, key: tuple[Any, ...]) -> Iterator[xr.Variable]:
        """Say what a selection reads, tree by tree, without reading it."""
        times = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        sources, steps = self.where
        for number, part in enumerate(self.parts):
            (at,) = np.nonzero(sources[times] == number)
            if part is not None and at.size:
                yield self.inner(part, steps[times[at]], tuple(key[1:]))

    @staticmethod
    def inner(part: xr.Variable, steps: np.ndarray[Any, Any], rest: tuple[Any, ...]) -> xr.Variable:
        """Return a selection of one tree, still lazy."""
        return part.isel(dict(zip(part.dims, (run(steps), *rest), strict=True)))


def join_group(datasets: Sequence[xr.Dataset | None], axis: Axis) -> xr.Dataset:
    """Join one group of several trees, the main one first; ``None`` where a tree does not have it.

    The datasets are without ``time``, which is the axis, and without indexes, since making these reads coordinates: the
    grid of a group is the same in all trees, so it is read of the first that has it.
    """
    there = [dataset for dataset in datasets if dataset is not None]
    if not any(TIME in dataset.dims for dataset in there):
        return there[0]
    variables = {TIME: axis.times}
    coordinates = {TIME}.union(*(map(str, dataset.coords) for dataset in there))
    all_flags = [dataset.variables.get(PRESENT) if dataset is not None else None for dataset in datasets]
    flagged = sum(flags is not None for flags in all_flags) == len(there)
    flags = _Flags(all_flags, axis.places) if flagged else None
    for name in _names(there):
        parts = [dataset.variables.get(name) if dataset is not None else None for dataset in datasets]
        first = _checked(name, parts, axis.trees)
        if name == PRESENT and flags is not None:
            variables[name] = _JoinedFlags(flags).variable(first)
        elif TIME in first.dims:
            flag = flags if flags is not None and name in flags.names else None
            lazy = indexing.LazilyIndexedArray(Joined(name, parts, axis.places, flag))
            # Not the packing: the trees have different ones, and these values are unpacked.
            encoding = {key: first.encoding[key] for key in ("chunks", "preferred_chunks") if key in first.encoding}
            variables[name] = xr.Variable(first.dims, lazy, first.attrs, encoding)
        else:
            variables[name] = first
    coords = {name: variable for name, variable in variables.items() if name in coordinates}
    data = {name: variable for name, variable in variables.items() if name not in coordinates}
    return xr.Dataset(data, xr.Coordinates(coords, indexes={}), dict(there[0].attrs))


def _names(datasets: Iterable[xr.Dataset]) -> list[str]:
    return list(dict.fromkeys(str(name) for dataset in datasets for name in dataset.variables))


def _checked(name: str, parts: Sequence[xr.Variable | None], trees: Sequence[str]) -> xr.Variable:
    """Return the first part; refuse what would not be one array: other shapes, or numbers of different scales."""
    there = [(tree, part) for tree, part in zip(trees, parts, strict=True) if part is not None]
    own, first = there[0]
    skipped = 1 if TIME in first.dims else 0
    for tree, part in there[1:]:
        if part.dims != first.dims or part.shape[skipped:] != first.shape[skipped:]:
            raise S2iceError(f"{name} is {first.shape[skipped:]} in {own} and {part.shape[skipped:]} in {tree}")
        for key in ("scale_factor", "add_offset"):
            # Where xarray has decoded the values, these are in the encoding.
            if part.attrs.get(key) != first.attrs.get(key):
                raise S2iceError(
                    f"the digital numbers of {name} have another {key} in {tree} than in {own}, so only decoded values "
                    f'make one cube: leave mask_and_scale=False out, or open one of them, eras="{own}" or eras="{tree}"'
                )
    return first


def _fill(variable: xr.Variable) -> Any:
    if variable.dtype.kind in "fc":
        return np.nan
    if variable.dtype.kind in "mM":
        return np.array("NaT", variable.dtype)
    if variable.dtype.kind in "OUST":
        return ""
    value = variable.attrs.get("_FillValue", variable.encoding.get("fill_value", 0))
    return 0 if value is None else value


def join_trees(trees: Sequence[Mapping[str, xr.Dataset]], axis: Axis) -> dict[str, xr.Dataset]:
    """Join all groups of several trees, by path."""
    paths = list(dict.fromkeys(path for groups in trees for path in groups))
    return {path: join_group([groups.get(path) for groups in trees], axis) for path in paths}
