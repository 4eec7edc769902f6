"""Where in a store the bands of a cube stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zarr

from s2ice import _eras
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

_REFLECTANCE = [f"b{number:02}" for number in range(1, 13)] + ["b8a"]
_FOLDERS = {
    **dict.fromkeys(_REFLECTANCE, "measurements/reflectance"),
    **dict.fromkeys(("aot", "wvp"), "quality/atmosphere"),
    **dict.fromkeys(("cld", "snw"), "quality/probability"),
    "scl": "conditions/mask/l2a_classification",
}
# The common names of the STAC extension `eo`.
_COMMON = {
    "coastal": "b01",
    "blue": "b02",
    "green": "b03",
    "red": "b04",
    "rededge071": "b05",
    "rededge075": "b06",
    "rededge078": "b07",
    "nir": "b08",
    "nir08": "b8a",
    "nir09": "b09",
    "cirrus": "b10",
    "swir16": "b11",
    "swir22": "b12",
}
EVERY = tuple(_FOLDERS)
"""The arrays that a cube takes."""
CLASSES = frozenset({"scl"})
"""Bands of which no mean can be taken."""
UNMASKED = frozenset({"scl", "cld", "snw"})
"""Bands that tell of clouds themselves."""


def common(name: str) -> str:
    """Return the array that a common name stands for; other names in small letters."""
    return _COMMON.get(name.lower(), name.lower())


def array_of(name: str) -> str:
    """Return the array that a user's name of a band stands for, whatever its case.

    Raises
    ------
    RequestError
        There is no such band.
    """
    array = common(name)
    if isinstance(name, str) and "," in name:
        raise RequestError(
            f"bands are a list of names, such as {[one.strip() for one in name.split(',')]}, not {name!r}"
        )
    if array not in _FOLDERS:
        raise RequestError(
            f"there is no band {name!r}; a cube takes {', '.join(_FOLDERS)}, and the common names {', '.join(_COMMON)}"
        )
    return array


def groups(root: zarr.Group, eras: str | None, wanted: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the groups of each wanted array that a store has, in any of its trees; of all reflectance by default."""
    trees = _eras.trees(root, eras)
    arrays = _REFLECTANCE if wanted is None else wanted
    found: dict[str, list[str]] = {name: [] for name in arrays}
    for folder in sorted({_FOLDERS[name] for name in arrays}):
        here = {name for name in arrays if _FOLDERS[name] == folder}
        for resolution in ("r10m", "r20m", "r60m"):
            path = f"{folder}/{resolution}"
            nodes = [root.get(_eras.within(_eras.base_of(tree), path)) for tree in trees]
            there = {name for node in nodes if isinstance(node, zarr.Group) for name in node.array_keys()}
            for name in here & there:
                found[name].append(path)
    return {name: paths for name, paths in found.items() if paths or wanted is not None}
