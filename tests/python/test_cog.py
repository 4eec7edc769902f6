"""GeoTIFFs of Earth Search: every pixel as rasterio reads it, and nothing taken that cannot be right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numcodecs
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import rasterio
from rasterio.windows import Window

import s2ice as package
from support import s3
from support.cogs import DEFLATE, TILE, Product, collect, pixels, read, write

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from conftest import Samples
    from support.command import Command, Outcome

R60M = "measurements/reflectance/r60m"
R20M = "measurements/reflectance/r20m"
PLACES = {
    "B01_60m": f"{R60M}/b01",
    "B09_60m": f"{R60M}/b09",
    "B11_20m": f"{R20M}/b11",
    "SCL_20m": "conditions/mask/l2a_classification/r20m/scl",
    "AOT_60m": "quality/atmosphere/r60m/aot",
    "WVP_60m": "quality/atmosphere/r60m/wvp",
    "TCI_60m": "quality/l2a_quicklook/r60m/tci",
    "CLD_60m": "quality/probability/r60m/cld",
}


def arguments(stac: Path, source: object, store: object) -> tuple[object, ...]:
    return (
        *("build", "--source-kind", "cog", "--tile", TILE, "--stac", stac, "--source", source),
        *("--store", store, "--json"),
    )


def numbers(store: object, place: str, **options: Any) -> xr.DataArray:
    """An array as it is stored."""
    group, name = place.rsplit("/", 1)
    return package.open(str(store), group, mask_and_scale=False, **options)[name]


class Built(NamedTuple):
    """A product with files of all kinds, and the store of it."""

    product: Product
    stac: Path
    store: Path
    cache: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def built(s2ice: Command, tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("cogs")
    product = Product(root)
    # What Earth Search has: GDAL's COG driver, tiles of 1024 pixels, and overviews.
    product.add("B09", 60, driver="COG", block=1024, **DEFLATE)
    product.add("B11", 20, driver="COG", block=1024, **DEFLATE)
    product.add("SCL", 20, driver="COG", block=512, **DEFLATE)
    product.add("TCI", 60, driver="COG", block=512, **DEFLATE)
    # Other ways to write the same: bytes the other way round, 64-bit offsets, no predictor, no compression.
    product.add("B01", 60, block=256, ENDIANNESS="BIG", BIGTIFF="YES", **DEFLATE)
    product.add("AOT", 60, block=512, compress="DEFLATE")
    product.add("WVP", 60, block=512)
    product.add("CLD", 60, block=512, nodata=None, **DEFLATE)
    stac = collect(root / "items.json", product)
    store, cache = root / "store", root / "facts.ndjson"
    outcome = s2ice(*arguments(stac, root, store), "--resolutions", "all", "--memory", cache)
    return Built(product, stac, store, cache, outcome.json)


@pytest.mark.parametrize("raster", PLACES)
def test_every_pixel_is_that_of_rasterio(built: Built, raster: str) -> None:
    _, path = built.product.files[raster]
    expected = read(path)
    array = numbers(built.store, PLACES[raster])
    assert array.dtype == expected.dtype
    assert np.array_equal(array[0].values, expected)
    name, metres = raster.removesuffix("m").split("_")
    assert np.array_equal(expected, pixels(name, int(metres))), "rasterio reads what was written"


def test_windows_are_those_of_rasterio(built: Built) -> None:
    """Across tiles, in the cut tiles at the edges, and single pixels."""
    for raster in ("B01_60m", "B09_60m", "TCI_60m"):
        array = numbers(built.store, PLACES[raster])
        with rasterio.open(built.product.files[raster][1]) as file:
            for rows, columns in [((500, 530), (1000, 1100)), ((1800, 1830), (1820, 1830)), ((1024, 1025), (511, 512))]:
                window = Window.from_slices(rows, columns)
                expected = file.read(window=window)
                found = array[0, ..., slice(*rows), slice(*columns)].values
                assert np.array_equal(found, expected if found.ndim == 3 else expected[0]), (raster, rows, columns)


def test_one_running_sum_over_a_tile_is_right_in_its_first_row_only(built: Built) -> None:
    """What the well-known kerchunk files of Sentinel-2 COGs do: numcodecs.delta behind zlib."""
    _, path = built.product.files["B09_60m"]
    with rasterio.open(path) as file:
        offset, length = (int(file.get_tag_item(f"BLOCK_{word}_0_0", "TIFF", bidx=1)) for word in ("OFFSET", "SIZE"))
        tile = file.read(1, window=Window(0, 0, 1024, 1024))
    deflated = path.read_bytes()[offset : offset + length]
    flat = numcodecs.Delta(dtype="<u2").decode(zlib.decompress(deflated)).reshape(1024, 1024)
    assert np.array_equal(flat[0], tile[0])
    wrong = (flat != tile).mean(axis=1)
    assert (wrong[1:] > 0.9).all(), "from the second row on nearly every number is another"
    assert np.array_equal(numbers(built.store, PLACES["B09_60m"])[0, :1024, :1024].values, tile)


def test_scale_and_offset_are_those_of_the_item(built: Built) -> None:
    band = package.open(str(built.store), R60M).b09
    raw = numbers(built.store, PLACES["B09_60m"])
    assert (raw.attrs["scale_factor"], raw.attrs["add_offset"]) == (0.0001, -0.1)
    expected = np.where(raw == 0, np.nan, raw * 0.0001 - 0.1)
    assert np.allclose(band.values, expected, equal_nan=True)
    tree = package.open(str(built.store))
    assert tree.products.metadata_source.values.tolist() == ["item"]
    assert tree.attrs["s2ice:metadata"] == "item"
    assert (tree.attrs["s2ice:source_kind"], tree.attrs["s2ice:headers"]) == ("cog", "verified")
    assert tree.attrs["s2ice:codec"] == "s2ice.horizontal_differencing"
    assert str(tree.products.time.values[0]) == "2024-05-01T10:10:31.024000000"
    assert tree.products.cloud_cover.values.tolist() == [12.5]


def test_codecs_have_registered_names_but_for_one(built: Built) -> None:
    """Nothing of s2ice is imported: Zarr finds the filter by its name."""
    script = """
import json, sys
import icechunk, zarr
store = icechunk.Repository.open(icechunk.local_filesystem_storage(sys.argv[1])).readonly_session("main").store
arrays = {name: zarr.open_array(store, path=path, mode="r") for name, path in json.loads(sys.argv[2]).items()}
print(json.dumps({name: [codec["name"] for codec in a.metadata.to_dict()["codecs"]] for name, a in arrays.items()}))
"""
    places = {name: PLACES[name] for name in ("B01_60m", "B09_60m", "TCI_60m", "AOT_60m", "WVP_60m")}
    line = [sys.executable, "-W", "error", "-c", script, str(built.store), json.dumps(places)]
    assert json.loads(subprocess.check_output(line)) == {
        "B01_60m": ["s2ice.horizontal_differencing", "bytes", "numcodecs.zlib"],
        "B09_60m": ["s2ice.horizontal_differencing", "bytes", "numcodecs.zlib"],
        "TCI_60m": ["s2ice.horizontal_differencing", "transpose", "bytes", "numcodecs.zlib"],
        "AOT_60m": ["bytes", "numcodecs.zlib"],
        "WVP_60m": ["bytes"],
    }


def test_the_second_run_asks_nothing(s2ice: Command, built: Built, tmp_path: Path) -> None:
    assert built.report["source_use"]["requests"] <= len(built.product.files) + 12, "one look a file, and the samples"
    line = (*arguments(built.stac, built.product.root, built.store), "--resolutions", "all")
    again = s2ice(*line, "--memory", built.cache).json
    assert again["source_use"]["requests"] == 0
    assert again.get("committed") is None
    assert again["changes"]["unchanged"] == 1
    # A file that changed with its item is asked again.
    product = Product(built.product.root)
    product.assets, product.updated = built.product.assets, "2024-06-01T00:00:00Z"
    later = collect(tmp_path / "later.json", product)
    line = (*arguments(later, built.product.root, built.store), "--resolutions", "all")
    requests = s2ice(*line, "--memory", built.cache, "--dry-run").json["source_use"]["requests"]
    assert len(built.product.files) < requests <= len(built.product.files) + 2, "and pixels of one band, for the offset"


def small(root: Path, day: str, seed: int = 0, **fields: Any) -> Product:
    product = Product(root, day=day, **fields)
    for name in ("B01", "B09"):
        product.add(name, 60, pixels(name, 60, seed), block=1024, **DEFLATE)
    return product


def test_stores_live(s2ice: Command, tmp_path: Path) -> None:
    """Products are appended, put in between, replaced by a later processing, and taken away."""
    first, second, third = (small(tmp_path, day, seed) for seed, day in enumerate(["20240501", "20240506", "20240511"]))
    store, cache = tmp_path / "store", tmp_path / "facts.ndjson"

    def run(*products: Product, more: tuple[str, ...] = ()) -> dict[str, Any]:
        stac = collect(tmp_path / "items.json", *products)
        return s2ice(*arguments(stac, tmp_path, store), "--memory", cache, *more).json["changes"]

    assert run(first)["appended"] == [first.name]
    assert run(first, third)["appended"] == [third.name]
    assert run(first, second, third)["inserted"] == [second.name]
    newer = small(tmp_path, "20240506", 7, baseline="0511", generated="20240701T000000")
    replaced = run(first, newer, third)["replaced"]
    assert replaced == [{"product": second.name, "by": newer.name}]
    kept = run(first)
    assert (kept["unchanged"], kept["kept"]) == (1, 2)
    for place in ("B01_60m", "B09_60m"):
        array = numbers(store, PLACES[place])
        assert array.shape[0] == 3
        for step, product in enumerate([first, newer, third]):
            assert np.array_equal(array[step].values, read(product.files[place][1])), (place, step)
    assert run(first, third, more=("--prune",))["removed"] == [newer.name]


def test_sparse_tiles_are_missing_chunks(s2ice: Command, tmp_path: Path) -> None:
    product = Product(tmp_path)
    data = pixels("B09", 60)
    data[:512, 512:1024] = 0
    path = product.add("B09", 60, data, block=512, sparse_ok=True, **DEFLATE)
    product.add("CLD", 60, np.zeros((1830, 1830), "u1"), block=1024, sparse_ok=True, **DEFLATE)
    stac = collect(tmp_path / "items.json", product)
    report = s2ice(*arguments(stac, tmp_path, tmp_path / "store"), "--memory", "none").json
    (array,) = report["arrays"]
    assert (array["references"], array["nodata_chunks"]) == (15, 1)
    assert np.array_equal(numbers(tmp_path / "store", PLACES["B09_60m"])[0].values, read(path))
    # A probability of 0 is a value: its array's missing chunks read as 255.
    (refused,) = report["refused"]
    assert refused["raster"] == "MSK_CLDPRB_60m"
    assert "stands for 0" in refused["reason"]


def test_a_file_that_cannot_be_right_is_left_out_by_name(s2ice: Command, tmp_path: Path) -> None:
    product = Product(tmp_path)
    good = product.add("B09", 60, block=1024, **DEFLATE)
    data = pixels("B01", 60)

    def refused(name: str, metres: int, **options: Any) -> str:
        path = product.root / product.folder / f"{name}.tif"
        change = options.pop("change", None)
        product.add(name, metres, options.pop("data", data), **options)
        if change:
            change(path)
        stac = collect(tmp_path / "items.json", product)
        outcome = s2ice(*arguments(stac, tmp_path, tmp_path / "store"), "--dry-run", "--memory", "none").json
        (entry,) = outcome["refused"]
        assert entry["raster"] == f"{name}_{metres}m"
        assert [array["asset"] for array in outcome["arrays"]] == ["B09_60m"]
        assert "\n" not in entry["reason"]
        return entry["reason"]

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:5000])

    def spoil(path: Path) -> None:
        path.write_bytes(b"\x00" * 64 + path.read_bytes()[64:])

    assert "the file has 5000" in refused("B01", 60, change=cut, **DEFLATE)
    assert "it is no TIFF" in refused("B01", 60, change=spoil, **DEFLATE)
    assert "(LZW)" in refused("B01", 60, compress="LZW", predictor=2)
    assert "(Zstandard)" in refused("B01", 60, compress="ZSTD")
    assert "in strips" in refused("B01", 60, tiled=False, blockxsize=None, blockysize=None, **DEFLATE)
    assert "samples of 32 bits" in refused("B01", 60, data=data.astype("f4"), compress="DEFLATE", predictor=3)
    assert "signed" in refused("B01", 60, data=data.astype("i2"), **DEFLATE)
    assert "samples of 32 bits" in refused("B01", 60, data=data.astype("u4"), **DEFLATE)
    assert "samples of 8 bits, B01_60m holds" in refused("B01", 60, data=data.astype("u1"), **DEFLATE)
    assert "4 components" in refused("B01", 60, data=np.stack([data] * 4), **DEFLATE)
    assert "place it at EPSG:32633 (399960, 5300100)" in refused("B01", 60, corner=(399_960, 5_300_100), **DEFLATE)
    assert "place it at EPSG:32632" in refused("B01", 60, epsg=32_632, **DEFLATE)
    assert "1000 x 1000 pixels" in refused("B01", 60, data=data[:1000, :1000], **DEFLATE)
    del product.assets["coastal"]
    assert 'its nodata value is "255"' in refused("SCL", 60, data=data.astype("u1"), nodata=255, **DEFLATE)
    del product.assets["scl"]
    planes = np.stack([pixels("SCL", 60)] * 3)
    assert "planes of their own" in refused("TCI", 60, data=planes, interleave="band", **DEFLATE)
    assert good.exists()


def test_what_the_item_does_not_prove_is_left_out_by_name(s2ice: Command, tmp_path: Path) -> None:
    product = small(tmp_path, "20240501")
    assets = json.dumps(product.assets)

    def build(change: Any, code: int = 0) -> Outcome:
        product.assets, product.properties = json.loads(assets), {}
        change(product)
        stac = collect(tmp_path / "items.json", product)
        line = arguments(stac, tmp_path, tmp_path / "store")
        return s2ice(*line, "--dry-run", "--memory", "none", code=code)

    def sentence(change: Any) -> str:
        return build(change, code=1).sentence

    def band(key: str, **fields: Any) -> Any:
        return lambda p: p.assets[key]["raster:bands"][0].update(fields)

    def silent(p: Product) -> None:
        del p.assets["coastal"]["raster:bands"][0]["offset"]

    (left,) = build(silent).json["refused"]
    assert (left["raster"], left["kind"]) == ("B01_60m", "metadata")
    assert "states no scale and offset" in left["reason"]
    assert "-0.1 for B01_60m, but 0.0001 and 0 for B09_60m" in sentence(band("nir09", offset=0))

    def applied(p: Product) -> None:
        p.properties["earthsearch:boa_offset_applied"] = True

    assert "Earth Search's older collection sentinel-2-l2a" in sentence(applied)

    def other_size(p: Product) -> None:
        p.assets["coastal"]["file:size"] += 1

    (left,) = build(other_size).json["refused"]
    assert (left["raster"], left["kind"]) == ("B01_60m", "changed")

    def outside(href: str) -> Any:
        return lambda p: p.assets["coastal"].update(href=href)

    for href in ("./B01.tif", "/etc/B01.tif", "s3://b/../B01.tif", f"{product.host}/x/B01.tif?sig=1"):
        (left,) = build(outside(href)).json["refused"]
        assert (left["raster"], left["kind"]) == ("B01_60m", "source"), href


def test_a_store_is_of_one_kind(s2ice: Command, built: Built, samples: Samples, sample_store: Path) -> None:
    line = ("build", "--tile", TILE, "--memory", "none", "--dry-run")
    jp2 = (*line, "--index", samples.index, "--stac", samples.stac, "--source", samples.root)
    told = s2ice(*jp2, "--store", built.store, code=2).sentence
    assert "the store refers to GeoTIFFs, and --source-kind jp2 asks for JPEG 2000 files" in told
    cog = (*line, "--stac", built.stac, "--source", built.product.root)
    told = s2ice(*cog, "--source-kind", "cog", "--store", sample_store, code=2).sentence
    assert "the store refers to JPEG 2000 files" in told
    for more, words in [
        (("cog", "--index", samples.index), "leave out --index"),
        (("cog", "--headers", "assume"), "--headers must be read"),
        (("cog", "--level", "L1C"), "level L2A only"),
        (("cog", "--source-layout", "gcs"), "leave out --source-layout"),
    ]:
        assert words in s2ice(*cog, "--source-kind", *more, code=2).sentence
    assert "possible values: jp2, cog" in s2ice(*cog, "--source-kind", "tiff", code=2).stderr
    without = (*line, "--source-kind", "cog", "--source", built.product.root)
    assert "--stac is missing" in s2ice(*without, code=2).sentence


def test_damaged_tiles_are_never_pixels(s2ice: Command, tmp_path: Path) -> None:
    """What a file says of itself needs no proof; a tile that is damaged in it is an error for who reads it."""
    product = Product(tmp_path)
    path = product.add("B09", 60, block=1024, **DEFLATE)
    stac = collect(tmp_path / "items.json", product)
    with rasterio.open(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset + 50] ^= 0xFF
    path.write_bytes(data)
    line = (*arguments(stac, tmp_path, tmp_path / "store")[:-1], "--memory", "none", "-q")
    s2ice(*line)
    array = numbers(tmp_path / "store", PLACES["B09_60m"])
    array[0, :1024, :1024].load()
    with pytest.raises(Exception, match=r"decompress|inflate"):
        array[0, 1024:, 1024:].load()


def test_from_python_and_by_configuration(s2ice: Command, built: Built, tmp_path: Path) -> None:
    report = package.build(
        tile=TILE,
        source_kind="cog",
        stac=built.stac,
        source=built.product.root,
        store=tmp_path / "python",
        arrays="**/b09",
        memory=False,
    )
    assert [array["asset"] for array in report["arrays"]] == ["B09_60m"]
    config = tmp_path / "run.toml"
    config.write_text(
        f'source-kind = "cog"\nsource = "{built.product.root}"\nstac = "{built.stac}"\n'
        f'tiles = ["{TILE}"]\nstore = "{tmp_path}/{{tile}}"\nmemory = "none"\narrays = ["**/b09"]\n'
    )
    s2ice("run", config, "-q")
    for store in ("python", TILE):
        assert np.array_equal(
            numbers(tmp_path / store, PLACES["B09_60m"]).values, numbers(built.store, PLACES["B09_60m"]).values
        )
    manifest = tmp_path / "m.parquet"
    line = [part for part in arguments(built.stac, built.product.root, "x") if part not in ("--store", "x")]
    s2ice("manifest", *line[1:], "-o", manifest, "--memory", "none")
    assert manifest.stat().st_size > 0


def test_items_may_come_as_stac_geoparquet(s2ice: Command, built: Built, tmp_path: Path) -> None:
    """Scale and offset lie deep in the columns of the assets."""
    item = built.product.item
    row = {"type": "Feature", "id": item["id"], "collection": item["collection"], "assets": item["assets"]}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row | item["properties"]]), tmp_path / "items.parquet")
    line = arguments(tmp_path / "items.parquet", built.product.root, tmp_path / "store")
    report = s2ice(*line, "--resolutions", "all", "--memory", built.cache).json
    assert report["refused"] == []
    assert report["arrays"] == built.report["arrays"]


def test_products_in_other_tiles_have_an_era(s2ice: Command, tmp_path: Path) -> None:
    """One array has tiles of one size: what has another goes to an era, or is refused by name where that is asked."""
    first, second = Product(tmp_path), Product(tmp_path, day="20240506")
    for product, block in ((first, 512), (second, 1024)):
        product.add("B09", 60, block=block, **DEFLATE)
        product.add("B01", 60, block=512, **DEFLATE)
    stac = collect(tmp_path / "items.json", first, second)
    refusing = arguments(stac, tmp_path, tmp_path / "refusing")
    report = s2ice(*refusing, "--memory", "none", "--on-mismatch", "refuse").json
    (refused,) = report["refused"]
    assert (refused["raster"], refused["kind"]) == ("B09_60m", "header_profile")
    assert "its TIFF header differs from the array's: tiles of" in refused["reason"]

    store = tmp_path / "store"
    report = s2ice(*arguments(stac, tmp_path, store), "--memory", "none").json
    assert report["refused"] == []
    (era,) = report["eras"]
    (placed,) = era["placed"]
    assert (placed["raster"], era["era"]) == ("B09_60m", "offset-1000-profile-2")
    assert "its TIFF header differs from the array's: tiles of" in placed["reason"]
    merged = package.open(store, "measurements/reflectance/r60m", mask_and_scale=False)
    for step, product in enumerate((first, second)):
        for band in ("B01", "B09"):
            wanted = read(product.files[f"{band}_60m"][1])
            assert np.array_equal(merged[band.lower()][step].values, wanted), (step, band)


def test_a_bucket_is_read_in_ranges(s2ice: Command, built: Built, tmp_path: Path) -> None:
    """One look per file when it is built, one GET per chunk when it is read, and nothing else at the source."""
    with s3.serve() as service:
        bucket = service.bucket("e84-earth-search-sentinel-data")
        service.bucket("stores")
        for path in sorted((built.product.root / "sentinel-2-c1-l2a").rglob("*.tif")):
            key = path.relative_to(built.product.root).as_posix()
            service.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        line = (
            *arguments(built.stac, f"s3://{bucket}", "s3://stores/33TVN-cog"),
            *("--source-endpoint", service.endpoint, "--source-region", "us-west-2"),
            *("--store-endpoint", service.endpoint, "--resolutions", "all"),
            *(
                "--memory",
                tmp_path / "facts.ndjson",
            ),
        )
        with service.recorded() as requests:
            s2ice(*line, **s3.ENVIRONMENT)
        asked = [request for request in requests if request.bucket == bucket]
        assert {request.method for request in asked} == {"GET"}
        # Files of GDAL's COG driver tell everything at their beginning.
        for name in ("B09", "B11", "SCL", "TCI"):
            assert len([r for r in asked if r.path.endswith(f"/{name}.tif")]) == 1, name
        options = {"endpoint_url": service.endpoint, "region": "us-east-1", "allow_http": True}
        options |= {"force_path_style": True, **s3.KEYS}
        opened = numbers("s3://stores/33TVN-cog", PLACES["B09_60m"], storage_options=options, credentials=s3.KEYS)
        with service.recorded() as requests:
            found = opened[0].values
        asked = [request for request in requests if request.bucket == bucket]
        assert (len(asked), {request.method for request in asked}) == (4, {"GET"})
        assert all(request.range for request in asked)
        assert np.array_equal(found, read(built.product.files["B09_60m"][1]))
        with service.recorded() as requests:
            s2ice(*line, **s3.ENVIRONMENT)
        assert [request for request in requests if request.bucket == bucket] == []


def test_a_file_that_was_replaced_is_not_read(s2ice: Command, tmp_path: Path) -> None:
    product = Product(tmp_path)
    path = product.add("B09", 60, block=1024, **DEFLATE)
    stac = collect(tmp_path / "items.json", product)
    s2ice(*arguments(stac, tmp_path, tmp_path / "store"), "--memory", "none")
    array = numbers(tmp_path / "store", PLACES["B09_60m"])
    other = tmp_path / "other.tif"
    write(other, pixels("B09", 60, 5), 60, block=1024, **DEFLATE)
    shutil.move(other, path)
    os.utime(path, (2_000_000_000, 2_000_000_000))
    with pytest.raises(Exception, match=r"modified|changed|checksum"):
        _ = array[0].values
