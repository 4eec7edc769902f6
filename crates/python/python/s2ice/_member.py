"""A store as a member of a cube: its groups, its bands on the cube's grid, and where they are off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from s2ice import _band, _bands, _bring, _connect, _eras, _grid, _mask, _open
from s2ice._source import Access
from s2ice.errors import GroupNotFoundError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import icechunk
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from s2ice._band import Rasters
    from s2ice._mask import Array

_VERSION = ("branch", "tag", "snapshot", "as_of")
_ACCESS = ("credentials", "anonymous", "source", "allow")


class View(NamedTuple):
    """A group of which rasters are seen at a coarser resolution."""

    group: xr.Dataset
    every: int
    """Of how many stored pixels there is one, along an axis."""


class Tile:
    """A store of a cube: its groups, each opened when a band needs it."""

    def __init__(self, store: Any, eras: str | None, scale: bool, dtype: Any, words: dict[str, Any]) -> None:
        given = dict(words)
        version = {name: given.pop(name) for name in _VERSION if name in given}
        access = Access.told(*(given.pop(name, None) for name in _ACCESS))
        options = given.pop("storage_options", None)
        timeout = given.get("timeout", _connect.TIMEOUT)
        self.session: icechunk.Session = _connect.connected(store, access, options, timeout=timeout, **version)
        self.options: dict[str, Any] = {"eras": eras, "dtype": dtype, "mask_and_scale": scale} | given
        self.root = _connect.root_of(self.session.store)
        self.eras = eras
        self.name = store if isinstance(store, str) else "the store"
        self.opened: dict[tuple[str, float | None], xr.Dataset] = {}
        self.found: dict[str, list[str]] = {}
        self.token = (
            self.session.snapshot_id if self.session.read_only else id(self.session),
            eras,
            # What is read elsewhere, or filled, is another thing.
            str(words.get("source")),
            str(words.get("on_error")),
        )

    def groups(self, names: Sequence[str] | None) -> dict[str, list[str]]:
        """Return the groups that hold arrays, by name."""
        return _bands.groups(self.root, self.eras, names)

    def find(self, names: Sequence[str], *, scl: bool) -> None:
        """Look for the bands, and for what they are masked with."""
        self.found = self.groups([*dict.fromkeys([*names, *(["scl"] if scl else [])])])
        if scl and not self.found["scl"]:
            raise RequestError(f"{self.name} has no scene classification to mask with: pass mask=None")
        lacking = [name for name in names if not self.found[name]]
        if lacking:
            every = [name for name, paths in self.groups(_bands.EVERY).items() if paths]
            raise RequestError(f"{self.name} has no {', '.join(lacking)}; it has {', '.join(every)}")

    def group(self, path: str, resolution: float | None = None) -> xr.Dataset:
        """Open a group, or a view of it."""
        if (path, resolution) not in self.opened:
            self.opened[path, resolution] = _open.open(self.session, path, resolution=resolution, **self.options)
        return self.opened[path, resolution]

    def views(self, array: str, resolution: float, least: int) -> list[View]:
        """Return the views of a raster at a resolution, that of the finest pixels first.

        Parameters
        ----------
        array, resolution
            The raster, and the pixel size in metres.
        least
            How much coarser it must be.
        """
        out = []
        for path in sorted(self.found[array], key=_metres):
            every = resolution / _metres(path)
            if every >= least and math.log2(every).is_integer():
                try:
                    group = self.group(path, resolution)
                except (GroupNotFoundError, RequestError):
                    # None of its rasters has so many levels.
                    continue
                if array in group:
                    out.append(View(group, int(every)))
        return out

    @property
    def table(self) -> xr.Dataset:
        """A group with the times of all products, and the grid of the tile."""
        return self.group(next(path for paths in self.found.values() for path in paths))

    def rasters(self, array: str, name: str, grid: GeoBox, resampling: Any, views: Sequence[View]) -> Rasters:
        """Return the copies of a band, the best for this grid first: views where these are wanted."""
        layers: list[_bring.Layer] = []
        has: list[Array] = []
        for group, every, how in self._copies(array, name, grid, resampling, views):
            variable = group[array].variable
            layers.append(_bring.Layer(_mask.Plain(variable), _grid.of(group), grid, how, _fill(variable), every))
            has.append(_present(group, array))
            if np.any(has, axis=0).all():
                # All products are there: no further copy is opened.
                break
        return _band.Rasters(layers, np.array(has))

    def _copies(
        self, array: str, name: str, grid: GeoBox, resampling: Any, views: Sequence[View]
    ) -> Iterator[tuple[xr.Dataset, int, str]]:
        """Open the copies of a band one after the other, and tell how each is brought to the grid."""
        for group, every in views:
            yield group, every, "overview"
        for path in self._ranked(array, grid):
            group = self.group(path)
            source = _grid.of(group)
            finer = abs(source.affine.a) < abs(grid.affine.a) and source.crs == grid.crs
            yield group, 1, _bring.how_of(resampling, name, classes=array in _bands.CLASSES, finer=finer)

    def flags(self, classes: tuple[int, ...], grid: GeoBox) -> Rasters:
        """Return where pixels are off."""
        groups = [self.group(path) for path in self._ranked("scl", grid)]
        layers = [
            _bring.Layer(_mask.Flags(group["scl"].variable, classes), _grid.of(group), grid, _bring.ANY, True)
            for group in groups
        ]
        return _band.Rasters(layers, np.array([_present(group, "scl") for group in groups]))

    def _ranked(self, array: str, grid: GeoBox) -> list[str]:
        """Return the groups of an array: at the resolution of the grid, then finer ones, then coarser ones."""
        metres = {path: _metres(path) for path in self.found[array]}
        size = abs(grid.affine.a) if grid.crs is not None and grid.crs.projected else abs(grid.affine.a) * 111_320

        def rank(path: str) -> tuple[bool, float]:
            coarser = metres[path] > size * 1.001
            return coarser, metres[path] if coarser else -metres[path]

        return sorted(metres, key=rank)


def _metres(path: str) -> float:
    return float(path.rpartition("/r")[2].removesuffix("m"))


def _present(group: xr.Dataset, array: str) -> Array:
    """Tell at which times a group has an array."""
    for flags in [flags for name, flags in group.coords.items() if str(name).startswith(_eras.PRESENT)]:
        masks = dict(
            zip(
                str(flags.attrs.get("flag_meanings", "")).split(), np.atleast_1d(flags.attrs["flag_masks"]), strict=True
            )
        )
        if array in masks:
            return np.asarray(flags.values & masks[array] != 0)
    return np.ones(group.sizes["time"], dtype=bool)


def _fill(variable: xr.Variable) -> Any:
    return np.nan if variable.dtype.kind == "f" else variable.attrs.get("_FillValue", 0)
