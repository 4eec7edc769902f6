"""Stores laid out as s2ice lays them out, with a few pixels of Zarr's own bytes: what a cube reads is known.

Nothing here uses s2ice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import icechunk
import numpy as np
import pyproj
import zarr

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

type Array = np.ndarray[Any, Any]

FOLDERS = {"scl": "conditions/mask/l2a_classification", "aot": "quality/atmosphere"}
EDGE = 1200
"""Metres."""
CORNER = (399_960.0, 5_300_040.0)
PACKED = {"scale_factor": 0.0001, "_FillValue": 0}


def numbers(seed: int, times: int, metres: int) -> Array:
    """Digital numbers with nodata among them."""
    random = np.random.default_rng([seed, metres])
    out = random.integers(1, 12_000, (times, EDGE // metres, EDGE // metres), dtype="u2")
    out[random.random(out.shape) < 0.05] = 0
    return out


def classes(seed: int, times: int) -> Array:
    return np.random.default_rng(seed).integers(0, 12, (times, EDGE // 20, EDGE // 20), dtype="u1")


def write(
    path: Path,
    days: Sequence[str],
    arrays: dict[str, Array],
    *,
    corner: tuple[float, float] = CORNER,
    epsg: int = 32633,
    clouds: Sequence[float] | None = None,
    absent: dict[str, Sequence[int]] | None = None,
    era: tuple[Sequence[str], dict[str, Array]] | None = None,
    level: str = "L2A",
) -> Path:
    """Write a store.

    ``arrays`` are named as ``b04/10``; of those ``absent`` at some times the flags say so. ``era`` are the times and
    arrays of a tree ``offset-0``; the main tree has an offset of -0.1.
    """
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(path)))
    session = repository.writable_session("main")
    eras = {"offset-0": {"differs": ["radiometric offset 0"]}} if era else {}
    stamp = {"layout": 3, "tile": "33TVN", "level": level, "eras": eras}
    root = zarr.group(session.store, attributes={"s2ice": stamp})
    place = {"corner": corner, "epsg": epsg}
    _tree(root, days, arrays, -0.1, clouds, absent or {}, **place)
    if era:
        _tree(root.require_group("eras/offset-0"), era[0], era[1], 0.0, None, {}, **place)
    session.commit("by hand")
    return path


def _tree(
    root: zarr.Group,
    days: Sequence[str],
    arrays: dict[str, Array],
    offset: float,
    clouds: Sequence[float] | None,
    absent: dict[str, Sequence[int]],
    *,
    corner: tuple[float, float],
    epsg: int,
) -> None:
    times = np.array(days, dtype="datetime64[ms]").astype("i8")
    own = {"time": times, "cloud_cover": np.array(clouds or [10.0] * len(days), "f4")}
    products = root.require_group("products")
    _coordinates(products, own)
    names = np.array([f"product of {day}" for day in days])
    products.create_array("product_id", data=names, chunks=(len(days),), dimension_names=["time"])
    groups: dict[str, list[tuple[str, int, Array]]] = {}
    for key, values in arrays.items():
        name, metres = key.split("/")
        folder = f"{FOLDERS.get(name, 'measurements/reflectance')}/r{metres}m"
        groups.setdefault(folder, []).append((name, int(metres), values))
    for folder, members in groups.items():
        group = root.require_group(folder)
        _coordinates(group, own)
        present = np.zeros(len(days), "u4")
        for bit, (name, metres, values) in enumerate(members):
            there = [step not in absent.get(f"{name}/{metres}", ()) for step in range(len(days))]
            present |= np.where(there, 1 << bit, 0).astype("u4")
            edge = 512 // metres * 2
            array = group.create_array(
                name, data=values, chunks=(1, edge, edge), dimension_names=["time", "y", "x"], fill_value=0
            )
            array.attrs["grid_mapping"] = "spatial_ref"
            array.attrs["coordinates"] = "cloud_cover present spatial_ref"
            if name != "scl":
                array.attrs.update(PACKED | {"add_offset": offset})
        flags = group.create_array("present", data=present, chunks=present.shape, dimension_names=["time"])
        flags.attrs["flag_masks"] = [1 << bit for bit in range(len(members))]
        flags.attrs["flag_meanings"] = " ".join(name for name, *_ in members)
        centres = members[0][1] * (np.arange(EDGE // members[0][1]) + 0.5)
        for axis, ends in (("x", corner[0] + centres), ("y", corner[1] - centres)):
            group.create_array(axis, data=ends, chunks=ends.shape, dimension_names=[axis])
        crs = group.create_array("spatial_ref", shape=(), dtype="i8")
        crs.attrs["crs_wkt"] = pyproj.CRS.from_epsg(epsg).to_wkt()


def _coordinates(group: zarr.Group, own: dict[str, Array]) -> None:
    for name, values in own.items():
        array = group.create_array(name, data=values, chunks=values.shape, dimension_names=["time"])
        if name == "time":
            array.attrs["units"] = "milliseconds since 1970-01-01"
