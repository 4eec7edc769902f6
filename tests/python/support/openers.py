"""Ways of other programs to a store, each tried in a process of its own: `python openers.py READER WHAT`.

Prints for each question of docs/readers.md null where the answer is yes, else what went wrong. WHAT is a JSON file of
stores and of what is true of them.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAND = "measurements/reflectance/r60m/b09"
ANGLES = "conditions/geometry/mean_sun_angles"
WINDOW = (0, slice(1000, 1060), slice(1000, 1060))


class Opener:
    """The package's own."""

    def arrays(self, store: str) -> set[str]:
        import s2ice

        leaves = s2ice.open(store).leaves
        return {f"{leaf.path}/{name}".strip("/") for leaf in leaves for name in leaf.data_vars}

    def group(self, store: str, group: str, **options: Any) -> Any:
        import s2ice

        return s2ice.open(store, group, **options)

    def read(self, store: str, path: str) -> Any:
        """An array as it is stored."""
        group, name = path.rsplit("/", 1)
        return self.group(store, group, mask_and_scale=False)[name]

    def steps(self, store: str, path: str) -> int:
        """Time steps of a band that stands in several eras."""
        group, name = path.rsplit("/", 1)
        return int(self.group(store, group)[name].sizes["time"])


class Icechunk(Opener):
    """xarray, zarr and icechunk, as docs/read.md shows it."""

    def session(self, store: str) -> Any:
        import icechunk

        icechunk.set_logs_filter("error")
        storage = icechunk.local_filesystem_storage(store)
        containers = icechunk.Repository.open(storage).config.virtual_chunk_containers
        access = dict.fromkeys(containers, icechunk.credentials.LocalFileSystemAccess)
        keys = icechunk.containers_credentials(access)
        return icechunk.Repository.open(storage, authorize_virtual_chunk_access=keys).readonly_session("main").store

    def arrays(self, store: str) -> set[str]:
        import xarray as xr

        tree = xr.open_datatree(self.session(store), engine="zarr", consolidated=False)
        return {f"{leaf.path}/{name}".strip("/") for leaf in tree.leaves for name in leaf.data_vars}

    def group(self, store: str, group: str, **options: Any) -> Any:
        import xarray as xr

        return xr.open_zarr(self.session(store), group=group, consolidated=False, chunks=None, **options)


class WithoutPackage(Icechunk):
    """The same where nobody installed `s2ice`: nothing announces its codecs."""

    def __init__(self) -> None:
        found = importlib.metadata.entry_points

        def foreign(**parameters: Any) -> Any:
            return importlib.metadata.EntryPoints(p for p in found(**parameters) if not p.value.startswith("s2ice"))

        importlib.metadata.entry_points = foreign  # type: ignore[assignment]


class Zarr(Opener):
    """zarr-python, which takes the folder for a Zarr store."""

    def arrays(self, store: str) -> set[str]:
        import zarr

        return {name for name, _ in zarr.open_group(store, mode="r").members(max_depth=None)}

    def read(self, store: str, path: str) -> Any:
        import zarr

        return zarr.open_array(store, path=path, mode="r")

    def steps(self, store: str, path: str) -> int:
        return int(self.read(store, path).shape[0])


class Gdal(Opener):
    """GDAL, by rasterio."""

    def arrays(self, store: str) -> set[str]:
        import rasterio

        with rasterio.open(store) as dataset:
            return set(dataset.subdatasets)

    def read(self, store: str, path: str) -> Any:
        import rasterio

        with rasterio.open(f'ZARR:"{store}":/{path}') as dataset:
            return dataset.read()

    def steps(self, store: str, path: str) -> int:
        return len(self.read(store, path))


READERS: dict[str, type[Opener]] = {
    "s2ice.open": Opener,
    "icechunk": Icechunk,
    "icechunk without the package": WithoutPackage,
    "zarr": Zarr,
    "gdal": Gdal,
}


def same(found: Any, expected: NDArray[Any]) -> None:
    if not np.array_equal(np.asarray(found), expected):
        raise AssertionError(f"other numbers: {np.asarray(found).ravel()[:4]}, not {expected.ravel()[:4]}")


def has(found: set[str]) -> None:
    if BAND not in found:
        raise AssertionError(f"{BAND} is not listed")


def all_steps(found: int, expected: int) -> None:
    if found != expected:
        raise AssertionError(f"{found} times of {expected}")


def main(name: str, what: Path) -> dict[str, str | None]:
    asked = json.loads(what.read_text())
    reader = READERS[name]()
    band, tiff = np.load(asked["jpeg2000_truth"]), np.load(asked["geotiff_truth"])
    angles = np.array(asked["angles_truth"], "f4")
    questions = {
        "arrays": lambda: has(reader.arrays(asked["jpeg2000"])),
        "JPEG 2000": lambda: same(reader.read(asked["jpeg2000"], BAND)[WINDOW], band[WINDOW[1:]]),
        "GeoTIFF": lambda: same(reader.read(asked["geotiff"], BAND)[WINDOW], tiff[WINDOW[1:]]),
        "angles": lambda: same(reader.read(asked["jpeg2000"], ANGLES)[0], angles),
        "one cube": lambda: all_steps(reader.steps(asked["eras"], BAND), asked["steps"]),
    }
    answers: dict[str, str | None] = {}
    for question, ask in questions.items():
        try:
            ask()
            answers[question] = None
        except Exception as error:
            answers[question] = f"{type(error).__name__}: {error}"
    return answers


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
