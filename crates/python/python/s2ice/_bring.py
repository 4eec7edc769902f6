"""One array of a store, brought to the grid of a cube.

Where pixel edges of both grids fall together, pixels are repeated or blocks of them taken, without any interpolation.
Everything else (other CRS, bilinear, sizes that do not divide) is GDAL's warper, date by date.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from s2ice.errors import RequestError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from s2ice._mask import Plain

type Array = np.ndarray[Any, Any]

HOWS = ("nearest", "average", "bilinear", "overview")
ANY = "any"
"""Of flags: set where any pixel below is set."""
_TOLERANCE = 1e-6
_VIEWED = 0.13
_APART = 5.0
"""Views of 10 and of 20 m lie 5 m apart, at 40 m an eighth of a pixel: they are taken for one. What is further off, in
pixels or in metres, as a neighbouring tile whose corner is no multiple of a coarse pixel, is interpolated."""


class Window(NamedTuple):
    """What a part of the target takes of the source: pixels, maybe beyond its edges, and where they go."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    into: tuple[slice, slice]
    """Rows and columns of the part that is asked for."""


class Layer:
    """An array on its own grid, to be read on another.

    Parameters
    ----------
    fetch
        Reads steps, rows and columns of the array.
    source, target
        The grids.
    how
        ``"nearest"``, ``"average"``, ``"bilinear"``, `ANY`, or ``"overview"`` for an array that is seen at the
        resolution of the target already.
    fill
        What stands for nodata: NaN, 0, or False for flags.
    every
        Of an overview: of how many stored pixels there is one, along an axis.
    """

    def __init__(self, fetch: Plain, source: GeoBox, target: GeoBox, how: str, fill: Any, every: int = 1) -> None:
        self.fetch, self.source, self.target, self.how, self.fill = fetch, source, target, how, fill
        self.every = every

    @cached_property
    def relation(self) -> tuple[str, int, int, int]:
        """How the grids lie to each other: ``repeat``, ``block`` or ``warp``; by how many pixels; the offset.

        The offset is that of the source's corner, in pixels of the finer grid.
        """
        mine, other = self.source.affine, self.target.affine
        upright = mine.b == mine.d == other.b == other.d == 0 and mine.a == -mine.e and other.a == -other.e
        if self.source.crs != self.target.crs or not upright:
            return "warp", 1, 0, 0
        finer = min(mine.a, other.a)
        times = max(mine.a, other.a) / finer
        offsets = ((other.f - mine.f) / finer, (mine.c - other.c) / finer)
        numbers = [round(value) for value in (times, *offsets)]
        off = min(_VIEWED, _APART / finer + _TOLERANCE) if self.how == "overview" else _TOLERANCE
        if any(abs(value - number) > off for value, number in zip((times, *offsets), numbers, strict=True)):
            return "warp", 1, 0, 0
        if self.how == "bilinear" and numbers[0] > 1:
            return "warp", 1, 0, 0
        return ("repeat" if mine.a >= other.a else "block"), numbers[0], numbers[1], numbers[2]

    @property
    def told(self) -> str:
        """What is done, for the attributes of a band."""
        kind, times, *_ = self.relation
        metres = f"{abs(self.source.affine.a):g} m"
        if self.how == "overview":
            each = f"{self.every} x {self.every} pixels of {abs(self.source.affine.a) / self.every:g} m"
            view = f"overview: every {each}, as the file's wavelet transform has them"
            return view + (", interpolated by GDAL" if kind == "warp" else "")
        if kind == "warp":
            same = self.source.crs == self.target.crs
            return f"{self.how} of pixels of {metres}" + ("" if same else f" in {self.source.crs}") + ", by GDAL"
        if times == 1:
            return f"none: pixels of {metres} as stored"
        if kind == "repeat":
            return f"nearest: each pixel of {metres} repeated {times} x {times} times"
        return f"{self.how} of {times} x {times} pixels of {metres}"

    @cached_property
    def scale(self) -> float:
        """Pixels of the target for one of the source, along an axis; GDAL would take it from each window anew."""
        pixels = self.target.extent.to_crs(self.source.crs, resolution="auto").area / self.source.affine.a**2
        ratio = (self.target.shape[0] * self.target.shape[1] / pixels) ** 0.5
        # As good as the same: projections stretch by less than that within a tile.
        return 1.0 if 0.9 < ratio < 1.1 else float(ratio)

    def window(self, rows: slice, columns: slice) -> Window | None:
        """Return what a part of the target takes of the source; ``None`` where it lies outside."""
        if self.relation[0] == "warp":
            return self._warped(rows, columns)
        kind, times, *offsets = self.relation
        found = [
            _along(kind, times, offset, size, part)
            for offset, size, part in zip(offsets, self.source.shape, (rows, columns), strict=True)
        ]
        if None in found:
            return None
        (down, top), (across, left) = found  # type: ignore[misc]
        return Window(down, across, (top, left))

    def _warped(self, rows: slice, columns: slice) -> Window | None:
        part = self.target[rows, columns]
        box = part.extent.to_crs(self.source.crs, resolution=abs(part.affine.a) * 16).boundingbox
        own = self.source.affine
        left, right = (box.left - own.c) / own.a, (box.right - own.c) / own.a
        top, bottom = (box.top - own.f) / own.e, (box.bottom - own.f) / own.e
        # The reach of a kernel, and of what bends between the points that were transformed.
        margin = 3 + 2 * max(1, abs(part.affine.a / self.source.affine.a))
        if self.source.crs != self.target.crs:
            margin = 3 + 2 * max(1, (right - left) / max(part.shape[1], 1))
        found = []
        for low, high, size in ((top, bottom, self.source.shape[0]), (left, right, self.source.shape[1])):
            first, last = max(0, int(np.floor(low - margin))), min(size, int(np.ceil(high + margin)))
            if first >= last:
                return None
            found.append((first, last))
        whole = (slice(0, part.shape[0]), slice(0, part.shape[1]))
        return Window(found[0], found[1], whole)

    def inside(self, window: Window) -> tuple[slice, slice]:
        """Return the rows and columns to fetch: those of a window that the source has."""
        height, width = self.source.shape
        ends = ((window.rows, height), (window.columns, width))
        rows, columns = (slice(max(0, low), min(size, high)) for (low, high), size in ends)
        return rows, columns

    def read(self, steps: Array, rows: slice, columns: slice, window: Window) -> Array:
        """Read steps of a window, on the target's grid."""
        down, across = self.inside(window)
        values = self.fetch(steps, down, across)
        kind, times, *offsets = self.relation
        if kind == "warp":
            return self._warp(values, self.target[rows, columns], self.source[down, across])
        if kind == "repeat":
            if times == 1:
                return values
            values = values.repeat(times, axis=1).repeat(times, axis=2)
            first = [
                part.start + into.start - (offset + low.start * times)
                for part, into, offset, low in zip((rows, columns), window.into, offsets, (down, across), strict=True)
            ]
            height, width = (into.stop - into.start for into in window.into)
            return values[:, first[0] : first[0] + height, first[1] : first[1] + width]
        return self._blocks(_padded(values, window, (down, across), self.fill), times)

    def _blocks(self, values: Array, times: int) -> Array:
        cells = ((row, column) for row in range(times) for column in range(times))
        if self.how == "nearest":
            # The pixel whose area the centre lies in; of four that meet there, as in GDAL, the lower right one.
            return np.ascontiguousarray(values[:, times // 2 :: times, times // 2 :: times])
        shape = (values.shape[0], values.shape[1] // times, values.shape[2] // times)
        if self.how == ANY:
            flags = np.zeros(shape, dtype=bool)
            for row, column in cells:
                flags |= values[:, row::times, column::times]
            return flags
        total, count = np.zeros(shape, dtype=np.float64), np.zeros(shape, dtype=np.uint32)
        for row, column in cells:
            cell = values[:, row::times, column::times]
            there = ~missing(cell, self.fill)
            np.add(total, cell, out=total, where=there)
            count += there
        with np.errstate(invalid="ignore"):
            total /= count
        if values.dtype.kind == "f":
            return total.astype(values.dtype)
        return np.where(count > 0, np.rint(total), self.fill).astype(values.dtype)

    def _warp(self, values: Array, target: GeoBox, source: GeoBox) -> Array:
        from rasterio.warp import Resampling, reproject

        flags = values.dtype == bool
        given = values.astype(np.uint8) if flags else values
        # Nothing is nodata in flags: what lies outside stays unset.
        fill = None if flags else self.fill
        out = np.full((len(values), *target.shape), 0 if flags else self.fill, dtype=given.dtype)
        # An overview that lies between the pixels of the target is interpolated.
        how = Resampling.max if flags else Resampling["bilinear" if self.how == "overview" else self.how]
        for step, image in enumerate(given):
            reproject(
                image,
                out[step],
                src_transform=source.affine,
                src_crs=str(source.crs),
                dst_transform=target.affine,
                dst_crs=str(target.crs),
                src_nodata=fill,
                dst_nodata=fill,
                resampling=how,
                # Exact: what GDAL approximates by default depends on the window, and chunks would not fit each other.
                tolerance=0.0,
                XSCALE=self.scale,
                YSCALE=self.scale,
            )
        return out.astype(bool) if flags else out


def _along(kind: str, times: int, offset: int, size: int, part: slice) -> tuple[tuple[int, int], slice] | None:
    """Return the pixels of the source on one axis, and where in the part they go."""
    if kind == "repeat":
        first, last = max(part.start, offset), min(part.stop, offset + size * times)
        pixels = (first - offset) // times, -(-(last - offset) // times)
    else:
        first, last = max(part.start, offset // times), min(part.stop, -(-(offset + size) // times))
        pixels = first * times - offset, last * times - offset
    return None if first >= last else (pixels, slice(first - part.start, last - part.start))


def _padded(values: Array, window: Window, there: tuple[slice, slice], fill: Any) -> Array:
    """Return whole blocks: where they reach beyond the source, they are filled."""
    wide = [
        (own.start - low, high - own.stop)
        for own, (low, high) in zip(there, (window.rows, window.columns), strict=True)
    ]
    return np.pad(values, [(0, 0), *wide], constant_values=fill) if any(map(any, wide)) else values


def missing(values: Array, fill: Any) -> Array:
    """Tell where there is nodata."""
    out: Array = np.isnan(values) if values.dtype.kind == "f" and np.isnan(fill) else values == fill
    return out


def how_of(asked: Any, name: str, *, classes: bool, finer: bool) -> str:
    """Return how a band is brought to another resolution.

    Parameters
    ----------
    asked
        A word for all bands, or words by band.
    classes
        Whether the band has classes, of which only the nearest can be taken.
    finer
        Whether the stored pixels are finer than those of the cube.
    """
    word = asked.get(name) if isinstance(asked, Mapping) else asked
    if word is not None and word not in HOWS:
        raise RequestError(f"resampling is one of {', '.join(map(repr, HOWS))}, or such by band, not {word!r}")
    if classes:
        return "nearest"
    if word == "overview":
        # Of what has no view.
        word = None
    return word or ("average" if finer else "nearest")
