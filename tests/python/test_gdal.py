"""GDAL, by rasterio: what `s2ice export gdal` pieces together has the pixels of the originals, for few requests."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

import conftest
import s2ice as package
from s2ice.errors import ConsentError, RefNotFoundError, RequestError, StoreNotFoundError
from support import cogs, s3, stores, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

R60M = "measurements/reflectance/r60m"
SCL = "conditions/mask/l2a_classification/r20m"
PLACES = {"B01_60m": (R60M, "b01"), "B09_60m": (R60M, "b09"), "SCL_20m": (SCL, "scl")}
TILES = {"60m": 192, "20m": 640, "10m": 1024}


def band(path: Path, name: str) -> int:
    """Number of a band of a VRT."""
    with rasterio.open(path) as file:
        return file.descriptions.index(name) + 1


def corners(tile: int, edge: int) -> list[Window]:
    """Windows across the corner of four tiles, in the last tile, and of one pixel."""
    return [Window(tile - 5, tile - 7, 12, 15), Window(edge - 9, edge - 4, 9, 4), Window(tile, tile, 1, 1)]


@pytest.fixture(scope="module")
def walked(s2ice: Command, samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the samples in which tiles of nothing but nodata have no reference."""
    folder = tmp_path_factory.mktemp("walked")
    s2ice("index", "--source", samples.root, "-o", folder / "index.parquet", "-q")
    place = ("--index", folder / "index.parquet", "--source", samples.root, "--store", folder / "store")
    s2ice("build", "--tile", "33TVN", *place, "--memory", "none", "-q")
    return folder / "store"


@pytest.fixture(scope="module")
def exported(s2ice: Command, walked: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gdal") / "new/folder"
    return folder, s2ice("export", "gdal", walked, "-o", folder, "--json").json


def test_every_pixel_of_the_samples(exported: tuple[Path, dict[str, Any]], samples: Samples) -> None:
    folder, report = exported
    assert report["gdal"] == {"rasters": 9, "vrts": 6, "options": {}}
    for product in samples.products:
        for asset, (group, name) in PLACES.items():
            truth = samples.truth(product, asset)
            path = folder / product / f"{group}.vrt"
            number = band(path, name)
            with rasterio.open(path) as file:
                np.testing.assert_array_equal(file.read(number), truth)
                for window in corners(TILES[asset.partition("_")[2]], len(truth)):
                    np.testing.assert_array_equal(file.read(number, window=window), truth[window.toslices()])


def test_tiles_without_data_read_as_nodata(
    exported: tuple[Path, dict[str, Any]], walked: Path, samples: Samples
) -> None:
    """They have no reference: what stands for them is coded anew, and reads as 0 at every resolution."""
    session = stores.local(walked)
    held = {index[1:] for index in _run(stores.chunks(session)) if index[0] == f"{R60M}/b01"}
    missing = sorted({(1, row, column) for row in range(10) for column in range(10)} - held)
    assert len(missing) > 10, "the second of the samples ends at the edge of the swath"
    product = samples.products[1]
    (original,) = samples.root.glob(f"{product}.SAFE/GRANULE/*/IMG_DATA/R60m/*_B01_60m.jp2")
    path = exported[0] / product / f"{R60M}.vrt"
    number = band(path, "b01")
    with rasterio.open(path) as file, rasterio.open(original) as whole:
        for _, row, column in missing:
            window = Window(column * 192, row * 192, 192, 192).intersection(Window(0, 0, 1830, 1830))
            assert not file.read(number, window=window).any()
        assert file.overviews(number) == whole.overviews(1)
        for factor in (2, 4, 8, 16):
            shape = (-(-1830 // factor),) * 2
            np.testing.assert_array_equal(file.read(number, out_shape=shape), whole.read(1, out_shape=shape))


def _run(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def test_bands_say_what_the_store_says(exported: tuple[Path, dict[str, Any]], samples: Samples, walked: Path) -> None:
    folder, product = exported[0], samples.products[0]
    r60m = package.open(walked, R60M)
    with rasterio.open(folder / product / f"{R60M}.vrt") as file:
        assert file.descriptions == ("b01", "b09")
        assert file.crs.to_string() == "EPSG:32633"
        assert file.transform[:6] == (60, 0, 399_960, 0, -60, 5_300_040)
        assert (file.scales, file.offsets, file.nodatavals) == ((1e-4, 1e-4), (-0.1, -0.1), (0, 0))
        assert file.block_shapes == [(192, 192)] * 2
        assert file.tags()["product_id"] == product
        sensed = np.datetime64(file.tags()["time"].removesuffix("Z")).astype("datetime64[ms]")
        assert sensed == r60m.time.to_numpy()[0].astype("datetime64[ms]")
        assert file.tags(ns="IMAGERY")["SATELLITEID"] == product[:3]
        assert file.tags(1)["long_name"] == r60m.b01.attrs["long_name"]
        values = file.read(2, masked=True) * file.scales[1] + file.offsets[1]
        np.testing.assert_allclose(values.filled(np.nan), r60m.b09[0].to_numpy(), atol=1e-6)
    with rasterio.open(folder / product / f"{SCL}.vrt") as file:
        assert (file.descriptions, file.nodatavals, file.dtypes) == (("scl",), (None,), ("uint8",))
        assert (file.scales, file.offsets) == ((1,), (0,))
    # Which GDAL reads only in C++: in the text it stands.
    assert "<Category>cloud_shadows</Category>" in (folder / product / f"{SCL}.vrt").read_text()


REAL = ["B01_60m", "B04_60m", "B8A_60m", "SCL_20m", "AOT_10m", "AOT_20m", "WVP_60m", "TCI_60m", "MSK_CLDPRB_20m"]
REAL += ["MSK_SNWPRB_60m", "MSK_CLASSI_B00", "MSK_DETFOO_B02", "MSK_DETFOO_B05", "MSK_DETFOO_B10", "MSK_QUALIT_B01"]


@pytest.fixture(scope="module")
def real(
    s2ice: Command, real_store: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, str]]:
    """The VRT of each raster of the real product, and the name of its array."""
    folder = tmp_path_factory.mktemp("real")
    report = s2ice("export", "gdal", real_store[0], "-o", folder, "--json").json
    assert report["gdal"]["rasters"] == 49
    assert "left_out" not in report
    (product,) = (path for path in folder.iterdir() if path.is_dir())
    places = {array["asset"]: array["path"].strip("/").rsplit("/", 1) for array in real_store[1]["arrays"]}
    return {asset: (product / f"{group}.vrt", name) for asset, (group, name) in places.items()}


def of_real(golden: dict[str, Any], testdata: Path, asset: str) -> tuple[Path, dict[str, Any]]:
    names = (f"{asset}.jp2", f"_{asset}.jp2")
    (found,) = [path for path in golden if path.startswith("safe/") and path.rpartition("/")[2].endswith(names)]
    return testdata / found, golden[found]


def test_every_pixel_of_the_real_product(
    real: dict[str, tuple[Path, str]], golden: dict[str, Any], testdata: Path
) -> None:
    """All pixels, by the hash of GDAL's own decode; of quality masks of gigabytes the corner of four tiles."""
    for asset, (path, name) in real.items():
        original, facts = of_real(golden, testdata, asset)
        with rasterio.open(path) as file, rasterio.open(original) as whole:
            bands = [i + 1 for i, text in enumerate(file.descriptions) if text.split(" ")[0] == name]
            assert len(bands) == whole.count
            step = whole.block_shapes[0][0]
            for window in corners(step, whole.height):
                np.testing.assert_array_equal(file.read(bands, window=window), whole.read(window=window), asset)
            if asset.startswith("MSK_QUALIT") and whole.width > 5000:
                continue
            sha = hashlib.sha256()
            for start in range(0, whole.height, step):
                rows = file.read(bands, window=Window(0, start, whole.width, min(step, whole.height - start)))
                sha.update(np.ascontiguousarray(np.moveaxis(rows, 0, -1)).data)
            assert sha.hexdigest() == facts["decoded_sha256"], asset


def test_bands_of_the_real_product(real: dict[str, tuple[Path, str]]) -> None:
    with rasterio.open(real["TCI_60m"][0]) as file:
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    with rasterio.open(real["MSK_CLDPRB_20m"][0]) as file:
        assert set(file.nodatavals) == {255}
        assert file.units[0] == "percent"
    with rasterio.open(real["MSK_QUALIT_B01"][0]) as file:
        assert file.descriptions[:3] == ("b01 ancillary_lost", "b01 ancillary_degraded", "b01 msi_lost")
        assert set(file.nodatavals) == {None}
    with rasterio.open(real["WVP_60m"][0]) as file:
        assert file.scales[file.descriptions.index("wvp")] == 0.001


@contextmanager
def counted(folder: Path) -> Iterator[str]:
    """A server of a folder that counts requests, in a process of its own."""
    command = [sys.executable, str(conftest.ROOT / "tests/bench/range_server.py"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def ask(server: str, what: str) -> dict[str, Any]:
    with urllib.request.urlopen(server + what) as answer:
        return json.load(answer)


@pytest.mark.soak
def test_a_window_costs_three_or_four_requests(s2ice: Command, tmp_path: Path) -> None:
    """Of files without TLM, which GDAL else walks from tile to tile; the benchmark compares the pixels as well."""
    program = conftest.binary("S2ICE_SAMPLES_BIN", "s2ice-samples")
    (tmp_path / "bin").mkdir()
    for binary in (s2ice.binary, program):
        (tmp_path / "bin" / binary.name).symlink_to(binary.resolve())
    script = conftest.ROOT / "tests/bench/windows.py"
    command = [sys.executable, str(script), "--bin", str(tmp_path / "bin"), "--work", str(tmp_path / "work")]
    subprocess.run(command, check=True, env=s2ice.environment | {"S2ICE_TESTDATA": "/none"}, capture_output=True)
    found = json.loads((tmp_path / "work/windows.json").read_text())
    assert len(found) == 12
    assert all(row["sidecar"]["requests"] <= (9 if row["where"] == "corner of four" else 4) for row in found)
    far = [row for row in found if row["where"] in ("a middle tile", "last tile")]
    assert all(row["directly"]["requests"] >= 2 * row["sidecar"]["requests"] for row in far)
    assert max(row["directly"]["requests"] for row in far) > 100


def test_s3_with_the_options_that_are_told(
    s2ice: Command, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3.serve() as service:
        service.bucket("eodata")
        service.upload(samples.root, "eodata", "Sentinel-2/")
        source = ("--source", "s3://eodata/Sentinel-2", "--source-endpoint", service.endpoint)
        place = ("--index", samples.index, "--store", tmp_path / "store", "--memory", "none", "-q")
        s2ice("build", "--tile", "33TVN", *source, *place, **s3.ENVIRONMENT)
        export = ("export", "gdal", tmp_path / "store", "-o", tmp_path / "gdal", "--arrays", f"/{R60M}/b01")
        report = s2ice(*export, "--json").json
        ((told, options),) = report["gdal"]["options"].items()
        assert told == "s3://eodata/Sentinel-2/"
        assert options["AWS_HTTPS"] == "NO"
        text = (tmp_path / "gdal/README.txt").read_text()
        assert all(f"{name}={value}" in text for name, value in options.items())
        assert s3.SECRET not in "".join(path.read_text("latin-1") for path in (tmp_path / "gdal").rglob("*.*"))
        for name, value in (options | s3.ENVIRONMENT).items():
            monkeypatch.setenv(name, value)
        product = samples.products[0]
        with rasterio.open(tmp_path / "gdal" / product / f"{R60M}.vrt") as file:
            np.testing.assert_array_equal(file.read(1), samples.truth(product, "B01_60m"))


def test_eras_have_their_own_offsets(
    s2ice: Command, pair: Samples, make_samples: Callable[..., Samples], tmp_path: Path
) -> None:
    old = make_samples("--dates", "1", "--no-swath-edge", "--baseline", "03.01", "--start", "2020-05-01", "--truth")
    for product in [*pair.root.glob("*.SAFE"), *old.root.glob("*.SAFE")]:
        shutil.copytree(product, tmp_path / "source" / product.name)
    index = tables.write(tmp_path / "index.parquet", [*tables.rows(pair.index), *tables.rows(old.index)])
    place = ("--index", index, "--source", tmp_path / "source", "--store", tmp_path / "store", "--memory", "none")
    s2ice("build", "--tile", "33TVN", *place, "-q")
    s2ice("export", "gdal", tmp_path / "store", "-o", tmp_path / "gdal", "-q")
    for product, offset in ((old.products[0], 0), (pair.products[0], -0.1)):
        with rasterio.open(tmp_path / "gdal" / product / f"{R60M}.vrt") as file:
            assert set(file.offsets) == {offset}
    # In Python both are found by the path of the main tree.
    cube = package.open(tmp_path / "store", R60M, mask_and_scale=True)
    path = package.rasterio_path(tmp_path / "store", f"{R60M}/b01", cube.time[0])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), old.truth(old.products[0], "B01_60m"))
        assert file.offsets == (0,)


@pytest.mark.parametrize("kind", ["split", "early", "unknown"])
def test_other_files(s2ice: Command, make_samples: Callable[..., Samples], tmp_path: Path, kind: str) -> None:
    """Two tile-parts in each tile, of which the table has one entry; 12 bits in tiles of 2048; another encoder."""
    samples = make_samples("--dates", "2", "--products", kind, "--truth")
    s2ice("index", "--source", samples.root, "-o", tmp_path / "index.parquet", "-q")
    place = ("--index", tmp_path / "index.parquet", "--source", samples.root, "--store", tmp_path / "store")
    s2ice("build", "--tile", "33TVN", *place, "--memory", "none", "--on-mismatch", "era", "-q")
    s2ice("export", "gdal", tmp_path / "store", "-o", tmp_path / "gdal", "-q")
    for product in samples.products:
        for asset, (group, name) in PLACES.items():
            path = tmp_path / "gdal" / product / f"{group}.vrt"
            truth, number = samples.truth(product, asset), band(path, name)
            with rasterio.open(path) as file:
                for window in corners(TILES[asset.partition("_")[2]], len(truth)):
                    np.testing.assert_array_equal(file.read(number, window=window), truth[window.toslices()])
                np.testing.assert_array_equal(file.read(number), truth)


def test_geotiffs_need_no_sidecar(s2ice: Command, tmp_path: Path) -> None:
    product = cogs.Product(tmp_path / "cogs")
    product.add("B09", 60, driver="COG", block=512, **cogs.DEFLATE)
    product.add("TCI", 60, driver="COG", block=512, **cogs.DEFLATE)
    stac = cogs.collect(tmp_path / "items.json", product)
    place = ("--stac", stac, "--source", product.root, "--store", tmp_path / "store", "--memory", "none")
    s2ice("build", "--source-kind", "cog", "--tile", cogs.TILE, *place, "--resolutions", "all", "-q")
    report = s2ice("export", "gdal", tmp_path / "store", "-o", tmp_path / "gdal", "--json").json
    assert report["gdal"]["rasters"] == 2
    assert not list((tmp_path / "gdal").rglob("*.head"))
    for raster, group in (("B09_60m", R60M), ("TCI_60m", "quality/l2a_quicklook/r60m")):
        expected = cogs.read(product.files[raster][1])
        with rasterio.open(tmp_path / "gdal" / product.name / f"{group}.vrt") as file:
            np.testing.assert_array_equal(file.read().reshape(expected.shape), expected)
            assert file.crs.to_epsg() == cogs.EPSG


def test_bad_input_is_one_sentence(s2ice: Command, sample_store: Path, tmp_path: Path) -> None:
    export = ("export", "gdal", sample_store, "-o")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    assert "holds something else" in s2ice(*export, other, code=2).sentence
    assert [path.name for path in other.iterdir()] == ["mine.txt"]
    assert "is no folder" in s2ice(*export, other / "mine.txt", code=2).sentence
    new = tmp_path / "new"
    assert "nothing of" in s2ice(*export, new, "--datetime", "1999-01-01/1999-02-01", code=2).sentence
    assert "no array of level" in s2ice(*export, new, "--arrays", "/nothing", code=2).sentence
    assert "no tag, branch or snapshot" in s2ice(*export, new, "--at", "nothing", code=1).sentence
    assert not new.exists()
    # Twice to one folder, another part the second time.
    s2ice(*export, new, "--arrays", f"/{R60M}/b01", "-q")
    before = {path for path in new.rglob("*") if path.is_file()}
    s2ice(*export, new, "--arrays", f"/{SCL}/scl", "-q")
    assert before < {path for path in new.rglob("*") if path.is_file()}


def test_a_path_for_rasterio(walked: Path, samples: Samples, tmp_path: Path) -> None:
    time = package.open(walked, R60M).time
    for step, product in enumerate(samples.products):
        instant = time.to_numpy()[step]
        for given in (time[step], instant, str(instant), f"{instant}Z", str(instant)[:19], str(instant)[:10]):
            path = package.rasterio_path(walked, f"/{R60M}/b09", given)
            with rasterio.open(path) as file:
                assert file.count == 1
                np.testing.assert_array_equal(file.read(1), samples.truth(product, "B09_60m"))
    kept = package.rasterio_path(str(walked), f"{SCL}/scl", "2024-05-01", folder=tmp_path / "kept", at="main")
    assert kept.startswith(str(tmp_path / "kept"))
    with rasterio.open(kept) as file:
        np.testing.assert_array_equal(file.read(1), samples.truth(samples.products[0], "SCL_20m"))


def test_what_rasterio_path_refuses(walked: Path, tmp_path: Path) -> None:
    def refused(error: type[Exception], *arguments: Any, **options: Any) -> str:
        with pytest.raises(error) as caught:
            package.rasterio_path(*arguments, **options)
        return str(caught.value)

    day, array = "2024-05-01", f"{R60M}/b01"
    refused(StoreNotFoundError, tmp_path / "nothing", array, day)
    refused(RefNotFoundError, walked, array, day, at="nothing")
    assert "there are /conditions" in refused(RequestError, walked, f"{R60M}/b02", day)
    assert "at that time" in refused(RequestError, walked, array, "1999-01-01")
    assert "3 times then" in refused(RequestError, walked, array, "2024-05")
    for time in ("yesterday", None, "2024-05-01T10:00:00+02:00", np.datetime64("NaT", "ns")):
        assert "time is a date" in refused(RequestError, walked, array, time)
    (tmp_path / "file").write_text("x")
    refused(RequestError, walked, array, day, folder=tmp_path)


def test_a_path_asks_where_it_may(s2ice: Command, samples: Samples, tmp_path: Path) -> None:
    """A store leads rasterio no further than `s2ice.open`."""
    with counted(samples.root) as server:
        place = ("--index", samples.index, "--source", server, "--store", tmp_path / "store", "--memory", "none")
        s2ice("build", "--tile", "33TVN", *place, "-q")
        array, day = f"{R60M}/b01", "2024-05-01"
        ask(server, "__reset")
        with pytest.raises(ConsentError, match="allow="):
            package.rasterio_path(tmp_path / "store", array, day)
        path = package.rasterio_path(tmp_path / "store", array, day, allow=server)
        assert ask(server, "__stats")["requests"] == 0
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), samples.truth(samples.products[0], "B01_60m"))
