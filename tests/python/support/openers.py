"""Ways of other programs to a store, each tried in a process of its own: `python openers.py READER WHAT`.

Prints for each question of docs/readers.md null where the answer is yes, else what went wrong. WHAT is a JSON file of
stores, of what was made of them, and of what is true of them.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAND = "measurements/reflectance/r60m/b09"
ANGLES = "conditions/geometry/mean_sun_angles"
WINDOW = (0, slice(1000, 1060), slice(1000, 1060))
"""The reader's first time, and a part of the rows and columns."""


class Opener:
    """The package's own."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked

    def made(self, store: str) -> Path:
        """The folder with what the command made of a store."""
        return Path(self.asked["made"]) / Path(store).name

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

    def __init__(self, asked: dict[str, Any]) -> None:
        super().__init__(asked)
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


class Engine(Opener):
    """xarray, by the engine `s2ice`."""

    def arrays(self, store: str) -> set[str]:
        import xarray as xr

        leaves = xr.open_datatree(store, engine="s2ice").leaves
        return {f"{leaf.path}/{name}".strip("/") for leaf in leaves for name in leaf.data_vars}

    def group(self, store: str, group: str, **options: Any) -> Any:
        import xarray as xr

        return xr.open_dataset(store, engine="s2ice", group=group, **options)


class Xpystac(Opener):
    """xarray, by an asset of the catalogue that `s2ice publish` wrote."""

    def collection(self, store: str) -> Any:
        import pystac

        return pystac.Collection.from_file(f"{self.asked['address']}/{Path(store).name}/33TVN-L2A/collection.json")

    def arrays(self, store: str) -> set[str]:
        collection = self.collection(store)
        (link,) = collection.get_links("store")
        return {
            f"{asset.href}/{band['name']}".removeprefix(f"{link.href}/")
            for asset in collection.assets.values()
            for band in asset.extra_fields.get("bands", [])
        }

    def group(self, store: str, group: str, **options: Any) -> Any:
        import xarray as xr

        asset = self.collection(store).assets[group.replace("/", "-")]
        # Its release 0.5.0 fails at media types with a parameter.
        asset.media_type = "application/vnd.zarr"
        return xr.open_dataset(asset, eras=None, **options)


class Kerchunk(Opener):
    """xarray, by fsspec's reference file system."""

    file = "refs.json"

    def options(self, store: str) -> dict[str, Any]:
        references = {"fo": str(self.made(store) / self.file), "remote_protocol": "file"}
        return {"engine": "zarr", "chunks": None, "storage_options": references}

    def arrays(self, store: str) -> set[str]:
        import xarray as xr

        tree = xr.open_datatree("reference://", **self.options(store))
        return {f"{leaf.path}/{name}".strip("/") for leaf in tree.leaves for name in leaf.data_vars}

    def group(self, store: str, group: str, **options: Any) -> Any:
        import xarray as xr

        return xr.open_dataset("reference://", group=group, **self.options(store), **options)


class KerchunkParquet(Kerchunk):
    """The same in Parquet."""

    file = "refs.parquet"


class Sidecars(Opener):
    """rasterio, by the VRTs of `s2ice export gdal`."""

    def arrays(self, store: str) -> set[str]:
        import rasterio

        found = set()
        for path in self.made(store).glob("gdal/*/**/*.vrt"):
            with rasterio.open(path) as dataset:
                group = Path(*path.relative_to(self.made(store)).with_suffix("").parts[2:])
                found |= {f"{group}/{name}" for name in dataset.descriptions}
        return found

    def read(self, store: str, path: str) -> Any:
        import rasterio

        group, name = path.rsplit("/", 1)
        folder = self.made(store) / "gdal"
        # The third part of a product's name is its time.
        times = {path.name.split("_")[2]: path / f"{group}.vrt" for path in folder.glob("S2*")}
        with rasterio.open(times[min(times)]) as dataset:
            return dataset.read([dataset.descriptions.index(name) + 1])

    def steps(self, store: str, path: str) -> int:
        return len(self.read(store, path))


class RasterioPath(Opener):
    """rasterio, by `s2ice.rasterio_path`."""

    def arrays(self, store: str) -> set[str]:
        return set(self.read(store, "/"))

    def read(self, store: str, path: str) -> Any:
        import rasterio

        import s2ice

        times = s2ice.open(store, BAND.rsplit("/", 1)[0]).time
        with rasterio.open(s2ice.rasterio_path(store, path, times[0])) as dataset:
            return dataset.read()

    def steps(self, store: str, path: str) -> int:
        return len(self.read(store, path))


class Zarrs(Opener):
    """zarrs, by a program in Rust."""

    def run(self, store: str, *line: str) -> list[str]:
        command = [self.asked["zarrs"], store, self.asked["sources"][store], *line]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr)
        return done.stdout.splitlines()

    def arrays(self, store: str) -> set[str]:
        return {path.strip("/") for path in self.run(store)}

    def read(self, store: str, path: str) -> Any:
        kind = "f32" if path == ANGLES else "u16"
        window = [f"{part.start}:{part.stop}" for part in WINDOW[1:]] if path == BAND else []
        shape, values = map(json.loads, self.run(store, kind, f"/{path}", "0:1", *window))
        shape = [1, *(part.stop - part.start for part in WINDOW[1:])] if window else [1, *shape[1:]]
        found = np.array(values, kind.replace("u16", "u2").replace("f32", "f4")).reshape(shape)
        # What was read is the window itself.
        return {WINDOW: found[0]} if window else found

    def steps(self, store: str, path: str) -> int:
        shape, _ = self.run(store, "u16", f"/{path}", "0:1", "0:1", "0:1")
        return int(json.loads(shape)[0])


READERS: dict[str, type[Opener]] = {
    "s2ice.open": Opener,
    "engine": Engine,
    "xpystac": Xpystac,
    "kerchunk JSON": Kerchunk,
    "kerchunk Parquet": KerchunkParquet,
    "sidecars": Sidecars,
    "rasterio_path": RasterioPath,
    "zarrs": Zarrs,
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
    reader = READERS[name](asked)
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
