"""What the benchmark compares s2ice with: two ways to write the same references with VirtualiZarr.

``per-product`` goes the way of the public prototype for Sentinel-2: a virtual dataset per band and product, merged,
concatenated along time by xarray, written by ``to_icechunk``. ``arrays`` is the best that VirtualiZarr can do: whole
numpy arrays made from the index in one go, and every check that can be left out left out.

Usage: peers.py per-product|arrays INDEX.parquet STORE [--products N]

Prints one line of JSON. Imports do not count as work.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from datetime import datetime
from typing import Any

import icechunk
import numpy as np
import pyarrow.parquet as pq
import xarray as xr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import S3Store
from virtualizarr.manifests import (
    ChunkManifest,
    ManifestArray,
    ManifestGroup,
    ManifestStore,
)
from virtualizarr.manifests.utils import create_v3_array_metadata
from virtualizarr.parallel import get_executor

COLUMNS = ("product_id", "band_id", "path", "index")
BANDS = ("B02", "B03", "B04", "B08")
GRID, PIXELS, TILE = 11, 10980, 1024
SOURCE = "s3://eodata"
ENDPOINT = "https://eodata.dataspace.copernicus.eu"
# The pixels are never read: any codec will do.
CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {}}]


def metadata(shape: tuple[int, ...], names: tuple[str, ...]) -> Any:
    chunk = (1, TILE, TILE)[-len(shape) :]
    return create_v3_array_metadata(
        shape=shape, data_type=np.dtype("uint16"), chunk_shape=chunk, fill_value=0, codecs=CODECS, dimension_names=names
    )


def datatake_start(product: str) -> datetime:
    return datetime.strptime(product.split("_")[2], "%Y%m%dT%H%M%S")


def tile_ranges(index: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and lengths of the tiles from the bytes of one row (one TLM segment, tiles in order)."""
    first_sot = int.from_bytes(index[8:16], "big")
    entries = np.frombuffer(index[26:], dtype=np.dtype([("tile", "u1"), ("length", ">u4")]))
    lengths = entries["length"].astype("uint64")
    offsets = first_sot + np.concatenate([[0], np.cumsum(lengths[:-1])]).astype("uint64")
    return offsets.astype("uint64"), lengths


def per_product(path: str, count: int | None) -> xr.Dataset:
    """One virtual dataset per product."""
    table = pq.read_table(path).to_pydict()
    rows = {
        (product, band): (place, index)
        for product, band, place, index in zip(*(table[name] for name in COLUMNS), strict=True)
    }
    registry = ObjectStoreRegistry({SOURCE: S3Store("eodata", endpoint=ENDPOINT, skip_signature=True)})

    def open_band(product: str, band: str) -> xr.Dataset:
        place, index = rows[product, band]
        offsets, lengths = (values.reshape(GRID, GRID) for values in tile_ranges(index))
        paths = np.full_like(offsets, f"{SOURCE}{place}", dtype=np.dtypes.StringDType())
        manifest = ChunkManifest.from_arrays(paths=paths, offsets=offsets, lengths=lengths, validate_paths=False)
        array = ManifestArray(metadata=metadata((PIXELS, PIXELS), ("y", "x")), chunkmanifest=manifest)
        group = ManifestGroup(arrays={band.lower(): array})
        dataset = ManifestStore(group=group, registry=registry).to_virtual_dataset()
        return dataset.assign_coords(time=datatake_start(product))

    def open_product(product: str) -> xr.Dataset:
        return xr.merge([open_band(product, band) for band in BANDS])

    products = sorted(set(table["product_id"]), key=datatake_start)[:count]
    with get_executor("dask")() as executor:
        datasets = list(executor.map(open_product, products))
    return xr.concat(datasets, dim="time", coords="minimal", data_vars="minimal")


def arrays(path: str, count: int | None) -> xr.Dataset:
    """Whole arrays of references, straight from the columns of the index."""
    table = pq.read_table(path)
    columns = [table[name].to_numpy() for name in COLUMNS]
    starts = {product: datatake_start(product) for product in set(columns[0])}
    products = sorted(starts, key=starts.__getitem__)[:count]
    chosen = np.isin(columns[0], products)
    variables = {}
    for band in BANDS:
        names, _, places, index = (column[chosen & (columns[1] == band)] for column in columns)
        by_time = np.argsort([starts[name] for name in names])
        cells = np.frombuffer(b"".join(index), dtype="u1").reshape(len(names), -1)[by_time]
        first_sot = cells[:, 8:16].copy().view(">u8").astype("uint64")
        lengths = cells[:, 26:].reshape(len(names), -1, 5)[:, :, 1:].copy().view(">u4")[:, :, 0].astype("uint64")
        ends = np.cumsum(lengths, axis=1, dtype="uint64")
        files = np.array([f"{SOURCE}{place}" for place in places], dtype=np.dtypes.StringDType())[by_time]
        shape = (len(names), GRID, GRID)
        manifest = ChunkManifest.from_arrays(
            paths=np.repeat(files, GRID * GRID).reshape(shape),
            offsets=(first_sot + ends - lengths).reshape(shape),
            lengths=lengths.reshape(shape),
            validate_paths=False,
        )
        names3 = ("time", "y", "x")
        array = ManifestArray(metadata=metadata((len(names), PIXELS, PIXELS), names3), chunkmanifest=manifest)
        variables[band.lower()] = xr.Variable(names3, array)
    times = np.array([starts[product] for product in products], dtype="datetime64[ns]")
    return xr.Dataset(variables, coords={"time": times})


def repository(folder: str) -> icechunk.Repository:
    config = icechunk.RepositoryConfig.default()
    source = icechunk.s3_store(endpoint_url=ENDPOINT, anonymous=True, region="default")
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(f"{SOURCE}/", source))
    return icechunk.Repository.create(icechunk.local_filesystem_storage(folder), config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=["per-product", "arrays"])
    parser.add_argument("index")
    parser.add_argument("store")
    parser.add_argument("--products", type=int, help="only the first N products")
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    begin = time.perf_counter()
    dataset = (per_product if args.way == "per-product" else arrays)(args.index, args.products)
    gathered = time.perf_counter()
    session = repository(args.store).writable_session("main")
    if args.way == "per-product":
        dataset.vz.to_icechunk(session.store)
    else:
        dataset.vz.to_icechunk(session.store, validate_containers=False)
    written = time.perf_counter()
    session.commit("references")
    done = time.perf_counter()
    report = {
        "references": sum(dataset[name].data.manifest.shape_chunk_grid[0] for name in dataset.data_vars) * GRID * GRID,
        "work_seconds": done - begin,
        "parts": {"gather": gathered - begin, "to_icechunk": written - gathered, "commit": done - written},
    }
    json.dump(report, sys.stdout)
    print()


if __name__ == "__main__":
    main()
