"""A band of a cube: what is read of which store for which date, laid over each other."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from s2ice._bring import Array, Layer, Window, missing
from s2ice._scaled import slabs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr

    from s2ice._days import Product


class Rasters(NamedTuple):
    """The copies of one band in one store, the one to be preferred first."""

    layers: list[Layer]
    has: Array
    """For each layer and time of the store, whether there are data."""

    def layer_of(self, step: int) -> Layer | None:
        """Return the copy to read at a time."""
        there = np.flatnonzero(self.has[:, step])
        return self.layers[there[0]] if there.size else None


class _Piece(NamedTuple):
    """What is read at once: some products of one layer, and the dates that they belong to."""

    layer: Layer
    store: int
    dates: Array
    steps: Array
    window: Window


class Band(BackendArray):
    """Values of one band on (time, y, x).

    Parameters
    ----------
    days
        For each date the products to be laid over each other; the first that has a value goes first.
    rasters, flags
        The band, and what of it is off, by store; no flags where nothing is masked.
    inside
        The pixels of the grid that are in the geometry.
    """

    def __init__(
        self,
        days: Sequence[Sequence[Product]],
        rasters: Sequence[Rasters | None],
        flags: Sequence[Rasters] | None,
        inside: Array | None,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        fill: Any,
    ) -> None:
        self.days, self.rasters, self.flags, self.inside = days, rasters, flags, inside
        self.shape = (len(days), *shape)
        self.dtype = dtype
        self.fill = fill

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        dates, (rows, down), (columns, across) = self.part(key)
        # The last axis first, since integers take their axis away.
        values = self.read(dates, rows, columns)[..., across][:, down]
        return values if np.ndim(np.arange(self.shape[0])[key[0]]) else values[0]

    def part(self, key: tuple[Any, ...]) -> tuple[Array, tuple[slice, Any], tuple[slice, Any]]:
        """Return the dates of a selection, and for both axes what it spans and the selection therein."""
        dates = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        spans = [_span(one, size) for one, size in zip(key[1:], self.shape[1:], strict=True)]
        return dates, spans[0], spans[1]

    def read(self, dates: Array, rows: slice, columns: slice) -> Array:
        """Read dates of a window."""
        out = np.full((len(dates), rows.stop - rows.start, columns.stop - columns.start), self.fill, self.dtype)
        for rank, piece in self.pieces(dates, rows, columns):
            across = piece.window.into
            todo = np.arange(len(piece.dates))
            if rank:
                todo = np.flatnonzero([missing(out[date][across], self.fill).any() for date in piece.dates])
            for some in slabs(len(todo), self.bytes_of(piece)):
                chosen = todo[some]
                values = self._masked(piece, piece.steps[chosen], rows, columns)
                for date, image in zip(piece.dates[chosen], values, strict=True):
                    below = out[date][across]
                    np.copyto(below, image, where=missing(below, self.fill) if rank else True)
        if self.inside is not None:
            out[:, ~self.inside[rows, columns]] = self.fill
        return out

    def pieces(self, dates: Array, rows: slice, columns: slice) -> Iterator[tuple[int, _Piece]]:
        """Say what has to be read, layer by layer, first what goes first."""
        for rank in range(max((len(self.days[date]) for date in dates), default=0)):
            found: dict[int, tuple[Layer, int, list[int], list[int]]] = {}
            for at, date in enumerate(dates):
                if rank < len(self.days[date]):
                    store, step = self.days[date][rank].store, self.days[date][rank].step
                    rasters = self.rasters[store]
                    layer = rasters.layer_of(step) if rasters else None
                    if layer is not None:
                        entry = found.setdefault(id(layer), (layer, store, [], []))
                        entry[2].append(at)
                        entry[3].append(step)
            for layer, store, places, steps in found.values():
                window = layer.window(rows, columns)
                if window is not None:
                    yield rank, _Piece(layer, store, np.array(places), np.array(steps), window)

    def read_of(self, key: tuple[Any, ...]) -> Iterator[xr.Variable]:
        """Say what a selection reads, array by array, without reading it; as if nothing was laid over anything else."""
        dates, (rows, _), (columns, _) = self.part(key)
        for _, piece in self.pieces(dates, rows, columns):
            yield piece.layer.fetch.part(piece.steps, *piece.layer.inside(piece.window))
            if self.flags is not None:
                for steps, layer in self._flags_of(piece.store, piece.steps):
                    window = layer.window(*self._into(piece, rows, columns))
                    if window is not None:
                        yield layer.fetch.part(piece.steps[steps], *layer.inside(window))

    def bytes_of(self, piece: _Piece) -> int:
        """Return the bytes of one product of a piece, before it is brought to the grid or after, whichever is more."""
        areas = (piece.layer.inside(piece.window), piece.window.into)
        return int(self.dtype.itemsize * max(prod(one.stop - one.start for one in area) for area in areas))

    def _masked(self, piece: _Piece, steps: Array, rows: slice, columns: slice) -> Array:
        values = piece.layer.read(steps, rows, columns, piece.window)
        if self.flags is None:
            return values
        off = self.off(piece.store, steps, *self._into(piece, rows, columns))
        if not values.flags.writeable:
            values = values.copy()
        values[off] = self.fill
        return values

    @staticmethod
    def _into(piece: _Piece, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Return the rows and columns of the grid that a piece covers of those that are asked for."""
        down, across = piece.window.into
        return (
            slice(rows.start + down.start, rows.start + down.stop),
            slice(columns.start + across.start, columns.start + across.stop),
        )

    def _flags_of(self, store: int, steps: Array) -> Iterator[tuple[Array, Layer]]:
        """Return the classifications of products, and which of the products each is for."""
        assert self.flags is not None
        layers = [self.flags[store].layer_of(int(step)) for step in steps]
        for layer in {id(layer): layer for layer in layers if layer is not None}.values():
            yield np.array([place for place, own in enumerate(layers) if own is layer]), layer

    def off(self, store: int, steps: Array, rows: slice, columns: slice) -> Array:
        """Tell what is off: all of a product whose classification is not there."""
        out = np.ones((len(steps), rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
        for at, layer in self._flags_of(store, steps):
            window = layer.window(rows, columns)
            if window is not None:
                down, across = window.into
                out[at, down, across] = layer.read(steps[at], rows, columns, window)
        return out


def _span(key: Any, size: int) -> tuple[slice, Any]:
    """Return the shortest slice that a selection lies in, and the selection seen from there."""
    chosen = np.arange(size)[key]
    if chosen.size == 0:
        return slice(0, 0), slice(0, 0)
    low, high = int(chosen.min()), int(chosen.max()) + 1
    if isinstance(key, slice):
        step = key.step or 1
        return slice(low, high), slice(None, None, step)
    return slice(low, high), chosen - low
