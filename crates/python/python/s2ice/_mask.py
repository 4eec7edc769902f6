"""Clouds, shadows and nodata, by the scene classification of each product."""

from __future__ import annotations

from collections import OrderedDict
from operator import index
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from s2ice._scaled import look_up, run
from s2ice.errors import RequestError

if TYPE_CHECKING:
    import xarray as xr

type Array = np.ndarray[Any, Any]

CLASSES = {
    0: "nodata",
    1: "saturated or defective",
    3: "cloud shadow",
    8: "cloud, medium probability",
    9: "cloud, high probability",
    10: "thin cirrus",
}
"""The classes that are off by default."""

CACHE = 256 << 20
"""Bytes of flags that are kept, so that all bands of a cube read the classification once."""

_TURNS = 64


def classes_of(mask: Any) -> tuple[int, ...] | None:
    """Return the classes that are off, or ``None`` for no mask."""
    if mask is None or mask is False:
        return None
    if isinstance(mask, str) and mask.lower() == "scl":
        return tuple(CLASSES)
    try:
        given = tuple(mask)
        # Neither 3.7 nor True is a class.
        found = () if any(isinstance(one, bool) for one in given) else tuple(sorted({index(one) for one in given}))
    except (TypeError, ValueError):
        found = ()
    if isinstance(mask, str) or not found or not set(found) <= set(range(12)):
        raise RequestError(f"mask is 'scl', a list of the classes 0 to 11 that are to be off, or None, not {mask!r}")
    return found


class Plain:
    """Reads an array as it is."""

    def __init__(self, variable: xr.Variable) -> None:
        self.variable = variable

    def part(self, steps: Array, rows: slice, columns: slice) -> xr.Variable:
        """Return steps, rows and columns, still lazy."""
        return self.variable[run(steps), rows, columns]

    def __call__(self, steps: Array, rows: slice, columns: slice) -> Array:
        """Read steps, rows and columns."""
        return np.asarray(self.part(steps, rows, columns).values)


class Flags(Plain):
    """Reads where the classification says that pixels are off; what was read last is kept.

    It goes along with tasks of dask; each process has what it read itself.
    """

    def __init__(self, scl: xr.Variable, classes: tuple[int, ...]) -> None:
        super().__init__(scl)
        self.classes = classes
        self.fresh()

    def fresh(self) -> None:
        """Forget what was read."""
        self.kept: OrderedDict[tuple[int, ...], Array] = OrderedDict()
        self.size = 0
        self.lock = Lock()
        # Bands of one window ask at the same time: the first reads, the others wait for what it keeps.
        self.turns = [Lock() for _ in range(_TURNS)]

    def __call__(self, steps: Array, rows: slice, columns: slice) -> Array:
        """Read flags of steps, rows and columns."""
        keys = [(int(step), rows.start, rows.stop, columns.start, columns.stop) for step in steps]
        with self.turns[hash(keys[0]) % _TURNS]:
            with self.lock:
                found = {key: self.kept[key] for key in keys if key in self.kept}
            new = [at for at, key in enumerate(keys) if key not in found]
            if new:
                table = np.isin(np.arange(256), self.classes)
                read = look_up(super().__call__(steps[new], rows, columns), table)
                for at, flags in zip(new, read, strict=True):
                    found[keys[at]] = flags
                    self._keep(keys[at], flags)
        return np.stack([found[key] for key in keys])

    def _keep(self, key: tuple[int, ...], flags: Array) -> None:
        with self.lock:
            if key not in self.kept:
                # A copy, since a view would keep all that was read with it.
                self.kept[key] = flags.copy()
                self.size += flags.nbytes
            while self.size > CACHE:
                self.size -= self.kept.popitem(last=False)[1].nbytes

    def __getstate__(self) -> dict[str, Any]:
        return {"variable": self.variable, "classes": self.classes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.variable, self.classes = state["variable"], state["classes"]
        self.fresh()
