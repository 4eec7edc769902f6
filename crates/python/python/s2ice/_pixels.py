"""An index of pixels along ``x`` or ``y`` that refuses to be mixed with pixels of another size.

xarray joins what it calculates with by equal labels. Centres of pixels of 10 m and of 20 m have none in common, so a
difference of two bands would be empty, and with 60 m it would be one pixel of nine, without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex

from s2ice.errors import GridError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

AXES = ("y", "x")

_APART = "these have no pixel in common"
_REMEDY = (
    'Choose the same area of both, or bring one to the pixels of the other with a.reindex_like(b, method="nearest") or '
    "a.interp(x=b.x, y=b.y)"
)


class _Kind(type(PandasIndex)):  # type: ignore[misc]
    """Makes xarray, which aligns indexes of one type, take this type and its base for one.

    Whatever xarray makes of our data (``interp``, ``coarsen``, a saved file) has plain indexes, and must go with ours.
    """

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is PandasIndex

    def __hash__(cls) -> int:
        return hash(PandasIndex)


class PixelIndex(PandasIndex, metaclass=_Kind):
    """A `PandasIndex` of the centres of pixels that knows how large these are, also after every second was left out."""

    pixel: float | None = None
    """Edge of a pixel in the unit of the labels; none where nobody knows."""

    @classmethod
    def from_variables(cls, variables: Mapping[Any, xr.Variable], *, options: Mapping[str, Any]) -> Self:
        """Make the index of a coordinate."""
        made: Self = super().from_variables(variables, options=options)  # type: ignore[assignment]
        made.pixel = _spacing(made)
        return made

    @classmethod
    def concat(cls, indexes: Sequence[Self], dim: Hashable, positions: Iterable[Iterable[int]] | None = None) -> Self:
        """Put pixels of one size side by side."""
        for index in indexes[1:]:
            _check(indexes[0], index)
        made: Self = super().concat(indexes, dim, positions)
        made.pixel = pixel_of(indexes[0]) if indexes else None
        return made

    def join(self, other: PandasIndex, how: str = "inner") -> Any:
        """Return the pixels of both; refuse pixels of other sizes, and an intersection that is empty."""
        # xarray calls this with a plain index as `self` as well.
        _check(self, other)
        joined = PandasIndex.join(self, other, how)
        if how == "inner" and joined.index.empty and not (self.index.empty or other.index.empty):
            raise GridError(
                f"{_APART} along {self.dim}: one lies from {_range(self)}, the other from {_range(other)}. {_REMEDY}"
            )
        made = PixelIndex(joined.index, joined.dim, coord_dtype=joined.coord_dtype)
        made.pixel = pixel_of(self) or pixel_of(other)
        return made

    def reindex_like(self, other: Any, method: Any = None, tolerance: Any = None) -> dict[Hashable, Any]:
        """Return where the pixels of another index are among these."""
        if method is None and isinstance(other, PixelIndex):
            _check(self, other)
        elif method is None and other.index.empty and not self.index.empty:
            # What xarray has joined with a plain index in front is left here.
            raise GridError(f"{_APART} along {self.dim}. {_REMEDY}")
        elif method is None and other.index.isin(self.index).all():
            # So are the few centres that pixels of 20 m have in common with ones of 60 m.
            _check(self, other)
        found: dict[Hashable, Any] = super().reindex_like(other, method=method, tolerance=tolerance)
        return found

    def _replace(self, index: Any, dim: Any = None, coord_dtype: Any = None) -> Self:
        made: Self = super()._replace(index, dim, coord_dtype)  # type: ignore[no-untyped-call]
        made.pixel = self.pixel
        return made


def pixel_of(index: PandasIndex) -> float | None:
    """Return the edge of the pixels of an index; ``None`` where its labels do not tell."""
    return index.pixel if isinstance(index, PixelIndex) else _spacing(index)


def _spacing(index: PandasIndex) -> float | None:
    if len(index.index) < 2 or index.index.dtype.kind not in "fiu":
        return None
    steps = np.abs(np.diff(index.index.to_numpy()))
    return float(steps[0]) if np.allclose(steps, steps[0], rtol=1e-6) else None


def _check(one: PandasIndex, other: PandasIndex) -> None:
    own, others = pixel_of(one), pixel_of(other)
    if own is None or others is None or np.isclose(own, others, rtol=1e-6):
        return
    raise GridError(
        f"pixels of {own:g} m and of {others:g} m do not go together along {one.dim}: bring one to the grid of the "
        f'other, s2ice.cube(..., resolution={min(own, others):g}) or a.reindex_like(b, method="nearest") or '
        "a.interp(x=b.x, y=b.y)"
    )


def _range(index: PandasIndex) -> str:
    return f"{index.index[0]:g} to {index.index[-1]:g}"


def with_indexes(coordinates: Mapping[Any, xr.Variable]) -> xr.Coordinates:
    """Return coordinates with their indexes, those along ``x`` and ``y`` as pixels."""
    coordinates = dict(coordinates)
    pixels = {name: coordinates.pop(name) for name in AXES if name in coordinates and coordinates[name].dims == (name,)}
    made = xr.Dataset(coords=coordinates).coords
    for name, variable in pixels.items():
        index = PixelIndex.from_variables({name: variable}, options={})
        made = made.assign(xr.Coordinates(index.create_variables({name: variable}), indexes={name: index}))
    return made
