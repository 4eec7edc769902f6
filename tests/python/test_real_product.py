"""A real product: every pixel through xarray is GDAL's, every index byte the public indexer's."""

from __future__ import annotations

import hashlib
import re
import shutil
import xml.etree.ElementTree as ET
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (registers the accessor)

import s2ice as package
from support import tables
from support.living import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

    from conftest import Samples
    from support.command import Command

TILE = "29UNU"
PRODUCT = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454"


@pytest.fixture(scope="module")
def tree(real_store: tuple[Path, dict[str, Any]]) -> xr.DataTree:
    return package.open(real_store[0], mask_and_scale=False)


@pytest.fixture(scope="module")
def wanted(golden: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By file kind: what must be in the store. The preview image (PVI) is no raster of the EOPF layout."""
    out = {}
    for path, facts in golden.items():
        name = path.rsplit("/", 1)[1].removesuffix(".jp2")
        if path.startswith("safe/") and not name.endswith("_PVI"):
            out[re.sub(r"^T29UNU_\d{8}T\d{6}_", "", name)] = facts | {"path": path}
    assert len(out) == 49
    return out


@pytest.fixture(scope="module")
def granule(safe: Path) -> ET.Element:
    (path,) = safe.glob(f"{PRODUCT}.SAFE/GRANULE/*/MTD_TL.xml")
    return ET.fromstring(path.read_text())


def test_everything_is_taken(
    real_index: tuple[Path, dict[str, Any]], real_store: tuple[Path, dict[str, Any]], wanted: dict[str, dict[str, Any]]
) -> None:
    report = real_store[1]
    assert report["refused"] == []
    assert {array["asset"] for array in report["arrays"]} == set(wanted)
    assert all(array["header"] == "verified" for array in report["arrays"])
    assert report["products"]["metadata_from_name"] == 0
    (left_out,) = real_index[1]["skipped"]
    assert left_out["path"].endswith("_PVI.jp2")
    assert real_index[1]["refused"] == []


BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
ASSETS = [
    *(f"{name}_60m" for name in [*BANDS, "AOT", "WVP", "TCI", "SCL"] if name not in {"B08", "B10"}),
    *("SCL_20m", "AOT_20m", "AOT_10m", "MSK_CLDPRB_20m", "MSK_CLDPRB_60m", "MSK_SNWPRB_20m", "MSK_SNWPRB_60m"),
    *(f"MSK_{kind}_{band}" for kind in ("DETFOO", "QUALIT") for band in BANDS),
    "MSK_CLASSI_B00",
]


@pytest.mark.parametrize("asset", ASSETS)
def test_every_pixel(
    asset: str, tree: xr.DataTree, real_store: tuple[Path, dict[str, Any]], wanted: dict[str, dict[str, Any]]
) -> None:
    """All pixels, edges of the image included, by the hash of GDAL's decode."""
    (path,) = [array["path"] for array in real_store[1]["arrays"] if array["asset"] == asset]
    array, facts = tree[path], wanted[asset]
    assert array.dtype == facts["dtype"]
    assert array.sizes["time"] == 1
    rows, columns, *components = facts["shape"]
    assert array.shape == (1, *components, rows, columns)
    assert tuple(array.encoding["preferred_chunks"].values()) == (1, *components, *reversed(facts["tile"]))
    assert digest(array[0]) == facts["decoded_sha256"]


def digest(array: xr.DataArray) -> str:
    """SHA-256 of all pixels: little endian, rows, columns, components last. A band of whole chunks at a time."""
    chunk = array.encoding["preferred_chunks"]["y"]
    step = chunk * max(1, 1024 // chunk)
    sha, empty = hashlib.sha256(), b""
    for start in range(0, array.sizes["y"], step):
        values = array[..., start : start + step, :].to_numpy()
        if values.ndim == 3 and not values.any():  # of gigabytes of empty quality masks, the order does not matter
            if len(empty) != values.nbytes:
                empty = bytes(values.nbytes)
            sha.update(empty)
            continue
        values = np.moveaxis(values, 0, -1) if values.ndim == 3 else values
        sha.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
    return sha.hexdigest()


def test_assets_are_all(wanted: dict[str, dict[str, Any]]) -> None:
    assert set(ASSETS) == set(wanted)


def test_values_are_those_of_rasterio(tree: xr.DataTree, testdata: Path, wanted: dict[str, dict[str, Any]]) -> None:
    """The hashes' order of bytes and axes is no matter of opinion."""
    for asset, path in (
        ("TCI_60m", "quality/l2a_quicklook/r60m/tci"),
        ("B04_60m", "measurements/reflectance/r60m/b04"),
    ):
        with rasterio.open(testdata / wanted[asset]["path"]) as file:
            pixels = file.read()
        np.testing.assert_array_equal(tree[path].to_numpy()[0].reshape(pixels.shape), pixels)


def test_reflectance_is_scaled_and_masked(real_store: tuple[Path, dict[str, Any]], tree: xr.DataTree) -> None:
    r60m = package.open(real_store[0], "measurements/reflectance/r60m")
    raw = tree["measurements/reflectance/r60m/b04"]
    assert raw.attrs["add_offset"] == -0.1
    assert raw.attrs["scale_factor"] == 0.0001
    assert raw.attrs["_FillValue"] == 0
    numbers = raw.to_numpy()[0].astype("f8")
    assert (numbers == 0).any()
    want = np.where(numbers == 0, np.nan, numbers * 0.0001 - 0.1)
    np.testing.assert_allclose(r60m.b04.to_numpy()[0], want, rtol=0, atol=1e-6)
    scl = package.open(real_store[0], "conditions/mask/l2a_classification/r20m").scl
    assert scl.dtype == "uint8"
    assert "_FillValue" not in scl.attrs


def test_place_is_that_of_the_metadata(
    real_store: tuple[Path, dict[str, Any]], granule: ET.Element, testdata: Path, wanted: dict[str, dict[str, Any]]
) -> None:
    code = granule.findtext(".//HORIZONTAL_CS_CODE")
    origins = {
        int(g.get("resolution")): (float(g.findtext("ULX")), float(g.findtext("ULY")), int(g.findtext("XDIM")))
        for g in granule.iter("Geoposition")
    }
    sizes = {int(s.get("resolution")): int(s.findtext("NROWS")) for s in granule.iter("Size")}
    assert set(origins) == {10, 20, 60}
    for array in real_store[1]["arrays"]:
        group, name = array["path"].strip("/").rsplit("/", 1)
        metres = int(group.rsplit("/r", 1)[1].removesuffix("m"))
        dataset = package.open(real_store[0], group)
        ulx, uly, step = origins[metres]
        assert step == metres
        assert dataset.rio.crs.to_string() == code
        assert dataset[name].rio.crs.to_string() == code
        assert dataset[name].rio.transform()[:6] == (metres, 0, ulx, 0, -metres, uly)
        assert dataset.sizes["x"] == dataset.sizes["y"] == sizes[metres]
    with rasterio.open(testdata / wanted["SCL_20m"]["path"]) as file:
        scl = package.open(real_store[0], "conditions/mask/l2a_classification/r20m").scl
        assert file.crs == scl.rio.crs
        assert tuple(file.bounds) == scl.rio.bounds()


def test_time_is_that_of_the_metadata(tree: xr.DataTree, granule: ET.Element) -> None:
    sensing = granule.findtext(".//SENSING_TIME").removesuffix("Z")
    exact = np.datetime64(sensing, "us")
    axes = {node.path: node["time"] for node in tree.subtree if "time" in node.ds.variables}
    assert len(axes) > 10
    for axis in axes.values():
        assert axis.to_numpy().astype("datetime64[ms]").tolist() == [exact.astype("datetime64[ms]").tolist()]
    assert tree["products/sensing_time_us"].to_numpy().astype("datetime64[us]").tolist() == [exact.tolist()]
    assert datetime.fromisoformat(sensing).microsecond % 1000 != 0, "the test needs a time finer than milliseconds"


def test_columns_are_those_of_the_product(tree: xr.DataTree) -> None:
    root = tree["products"]
    text = {name: root[name].to_numpy().tolist() for name in ("product_id", "platform", "metadata_source")}
    assert text == {"product_id": [PRODUCT], "platform": ["S2A"], "metadata_source": ["product"]}
    assert root["boa_add_offset"].to_numpy().tolist() == [-1000]
    assert root["datastrip_id"].to_numpy()[0].startswith("S2A_OPER_MSI_L2A_DS_ATOS_20221005T164454_S20221005T115407")
    leaf = tree["measurements/reflectance/r60m"]
    assert leaf["processing_baseline"].to_numpy().tolist() == [400]
    assert leaf["relative_orbit"].to_numpy().tolist() == [23]
    assert 0 <= leaf["cloud_cover"].to_numpy()[0] <= 100


def test_present_flags_name_every_array(real_store: tuple[Path, dict[str, Any]], tree: xr.DataTree) -> None:
    members: dict[str, set[str]] = {}
    for array in real_store[1]["arrays"]:
        group, name = array["path"].rsplit("/", 1)
        members.setdefault(group, set()).add(name)
    for group, names in members.items():
        (present,) = [flags for name, flags in tree[group].coords.items() if str(name).startswith("present_")]
        meanings, masks = present.attrs["flag_meanings"].split(), present.attrs["flag_masks"]
        assert set(meanings) == names
        value = int(present.to_numpy()[0])
        assert all(value & mask for mask in masks)
        assert value == sum(masks)


def test_index_bytes_are_those_of_the_public_indexer(
    real_index: tuple[Path, dict[str, Any]], testdata: Path, wanted: dict[str, dict[str, Any]]
) -> None:
    rows = tables.rows(real_index[0])
    assert len(rows) == len(wanted)
    for row in rows:
        path = (testdata / "golden/tlm-index/safe").joinpath(row["path"].lstrip("/")).with_suffix(".tlm")
        assert row["index"] == path.read_bytes(), row["path"]
        assert row["product_id"] == PRODUCT
        assert row["asset"] == tables.asset(row)


MASKS = "jp2/l2a-N0509-masks"
L1C = "jp2/l1c-N0509-T46UEU"


@pytest.mark.parametrize(
    ("folder", "product", "granule"),
    [
        (MASKS, "S2B_MSIL2A_20230810T095559_N0509_R122_T33TWL_20230810T130104", "L2A_T33TWL_A033574_20230810T095955"),
        (L1C, "S2A_MSIL1C_20230216T044851_N0509_R076_T46UEU_20230216T063628", "L1C_T46UEU_A039970_20230216T045412"),
    ],
)
def test_index_bytes_of_other_products(
    s2ice: Command, testdata: Path, tmp_path: Path, folder: str, product: str, granule: str
) -> None:
    """Their folders here have no product's name, so they are given one."""
    masks = tmp_path / "source" / f"{product}.SAFE/GRANULE/{granule}/QI_DATA"
    masks.mkdir(parents=True)
    origin = {}
    for file in sorted((testdata / folder).rglob("*MSK_*.jp2")):
        name = "MSK_" + file.name.rpartition("MSK_")[2]
        shutil.copy(file, masks / name)
        origin[name] = testdata / "golden/tlm-index" / file.relative_to(testdata).with_suffix(".tlm")
    index = tmp_path / "index.parquet"
    report = s2ice("index", "--source", tmp_path / "source", "-o", index, "--json").json
    assert report["refused"] == []
    rows = tables.rows(index)
    assert len(rows) == len(origin) == 27
    for row in rows:
        assert row["index"] == origin[row["path"].rsplit("/", 1)[1]].read_bytes(), row["path"]


def test_files_with_tlm_have_the_lengths_of_their_twins(
    s2ice: Command, testdata: Path, safe: Path, real_index: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The same files with a TLM segment in front: same lengths, offsets shifted by the segment."""
    source = tmp_path / "source"
    twins = {}
    for row in tables.rows(real_index[0]):
        name = row["path"].rsplit("/", 1)[1].removesuffix(".jp2")
        file = testdata / "golden/with-tlm" / f"{name}_with_TLM.jp2"
        if file.exists():
            path = source / row["path"].lstrip("/")
            path.parent.mkdir(parents=True) if not path.parent.exists() else None
            shutil.copy(file, path)
            twins[row["path"]] = row["index"]
    assert len(twins) == 4
    for style, empty in (([], False), (["--public-style"], True)):
        written = tmp_path / f"index{empty}.parquet"
        report = s2ice("index", "--source", source, "-o", written, "--json", *style).json
        assert (report["with_tlm"], report["walked"], report["refused"]) == (4, 0, [])
        for row in tables.rows(written):
            if empty:
                assert row["index"] == b""
                continue
            twin, path = twins[row["path"]], source / row["path"].lstrip("/")
            size, first, _ = tables.head(row["index"])
            shift = path.stat().st_size - tables.head(twin)[0]
            assert shift > 0
            assert (size, first) == (path.stat().st_size, tables.head(twin)[1] + shift)
            assert tables.lengths(row["index"]) == tables.lengths(twin)
    # Both lead to the same references.
    for metadata in safe.glob("*.SAFE/**/MTD_*.xml"):
        shutil.copy(metadata, source / metadata.relative_to(safe))
    manifests = []
    for name in ("indexFalse", "indexTrue"):
        manifests.append(tmp_path / f"{name}.manifest.parquet")
        s2ice(
            *("manifest", "--tile", TILE, "--index", tmp_path / f"{name}.parquet", "--source", source),
            *("--resolutions", "all", "-o", manifests[-1], "--memory", "none", "-q"),
        )
    assert tables.rows(manifests[0]) == tables.rows(manifests[1])
    assert len(tables.rows(manifests[0])) > 200


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("jp2/odd", "3 refused, the first: "), ("jp2/l1c-pvi", "2 skipped, the first: ")],
)
def test_odd_files_are_refused_by_name(
    s2ice: Command, testdata: Path, tmp_path: Path, folder: str, reason: str
) -> None:
    """Files that belong to no product of the layout: said in one sentence, and nothing is written."""
    output = tmp_path / "index.parquet"
    sentence = s2ice("index", "--source", testdata / folder, "-o", output, code=1).sentence
    assert "no raster below" in sentence
    assert f"{folder} can be indexed; {reason}" in sentence
    assert ".jp2: no " in sentence
    assert not output.exists()


ODD = [
    (
        "S2A_OPER_MSI_L1C_TL_CGS1_20130621T120000_A000065_T14SLD_B01",
        "S2A_MSIL1C_20130621T120000_N0000_R065_T14SLD_20130621T120000.SAFE/GRANULE/L1C_T14SLD_A000065_20130621T120000",
        "IMG_DATA/T14SLD_20130621T120000_B01.jp2",
    ),
    (
        "S2A_OPER_MSI_L1C_TL_CGS1_20130621T120000_A000065_T14SLD_B02",
        "S2A_MSIL1C_20130621T120000_N0000_R065_T14SLD_20130621T120000.SAFE/GRANULE/L1C_T14SLD_A000065_20130621T120000",
        "IMG_DATA/T14SLD_20130621T120000_B02.jp2",
    ),
    (
        "S2A_USER_MSI_L2A_TL_MPS__20150210T180608_A000069_T14RMQ_B03_20m",
        "S2A_MSIL2A_20150210T180608_N0000_R069_T14RMQ_20150210T180608.SAFE/GRANULE/L2A_T14RMQ_A000069_20150210T180608",
        "IMG_DATA/R20m/T14RMQ_20150210T180608_B03_20m.jp2",
    ),
]


@pytest.mark.parametrize(("name", "granule", "image"), ODD)
def test_odd_files_in_a_product(
    s2ice: Command, testdata: Path, golden: dict[str, Any], tmp_path: Path, name: str, granule: str, image: str
) -> None:
    """RPCL, tiles of 2048, 16 bit, one single tile: with a product's name around them they are read right."""
    source, store = tmp_path / "source", tmp_path / "store"
    target = source / granule / image
    target.parent.mkdir(parents=True)
    shutil.copy(testdata / "jp2/odd" / f"{name}.jp2", target)
    index = tmp_path / "index.parquet"
    s2ice("index", "--source", source, "-o", index, "-q")
    (row,) = tables.rows(index)
    assert row["index"] == (testdata / "golden/tlm-index/jp2/odd" / f"{name}.tlm").read_bytes()
    level, tile = granule[7:10], granule.split("_")[5].removeprefix("T").removesuffix(".SAFE")
    build = ("build", "--tile", tile, "--level", level, "--index", index, "--source", source, "--store", store)
    sentence = s2ice(*build, "--memory", "none", code=1).sentence
    assert "MTD_TL.xml does not exist" in sentence
    assert not store.exists()
    # Without the product's XML, on the index's word:
    assume = (*build, "--headers", "assume")
    assert "is not the one that the ground segment is known to write" in s2ice(*assume, code=1).sentence
    report = s2ice(*assume, "--on-mismatch", "era", "--json").json
    (array,) = report["arrays"]
    pixels = package.open(store, mask_and_scale=False)[array["path"]]
    assert digest(pixels[0]) == golden[f"jp2/odd/{name}.jp2"]["decoded_sha256"]
    assert report["products"]["metadata_from_name"] == 1


@pytest.mark.parametrize("products", ["usual", "unknown"])
def test_the_known_header_stays(
    s2ice: Command,
    make_samples: Callable[..., Samples],
    safe: Path,
    real_index: tuple[Path, dict[str, Any]],
    golden: dict[str, Any],
    tmp_path: Path,
    products: str,
) -> None:
    """Products of an unknown encoder are refused by name, and do not push the real one out where they are let in."""
    assets = ("--assets", "B01_60m,B09_60m", "--products", products, "--truth")
    made = make_samples("--tile", "29UNU", "--dates", "2", "--baseline", "04.00", *assets)
    source = tmp_path / "source"
    rows = tables.rows(made.index)
    for product in made.root.glob("*.SAFE"):
        shutil.copytree(product, source / product.name)
    (row,) = [row for row in tables.rows(real_index[0]) if row["asset"] == "B01_60m"]
    rows.append({name: row[name] for name in tables.PUBLIC.names})
    files = [safe / row["path"].lstrip("/"), *safe.glob("*.SAFE/MTD_*.xml"), *safe.glob("*.SAFE/GRANULE/*/MTD_*.xml")]
    for file in files:
        target = source / file.relative_to(safe)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    index, store = tables.write(tmp_path / "index.parquet", rows), tmp_path / "store"
    place = ("--index", index, "--source", source, "--store", store, "--memory", "none")
    line = ("build", "--tile", TILE, *place, "--json")
    report = s2ice(*line).json
    unknown = made.products if products == "unknown" else []
    assert {key for key in refused(report) if key[1]} == {
        (product, band, "header_profile") for product in unknown for band in ("B01_60m", "B09_60m")
    }
    known = "is not the one that the ground segment is known to write"
    assert all(known in r["reason"] for r in report["refused"] if r["kind"] == "header_profile")

    def main_b01() -> Any:
        return package.open(store, mask_and_scale=False, eras="main")["measurements/reflectance/r60m/b01"]

    assert main_b01().sizes["time"] == (1 if unknown else 3)
    assert digest(main_b01()[0]) == golden[f"safe/{row['path'].lstrip('/')}"]["decoded_sha256"]
    report = s2ice(*line, "--on-mismatch", "era").json
    assert refused(report) == set()
    assert digest(main_b01()[0]) == golden[f"safe/{row['path'].lstrip('/')}"]["decoded_sha256"]
    b01 = package.open(store)["measurements/reflectance/r60m/b01"]
    assert b01.sizes["time"] == 3
    for product, pixels in zip(made.products, b01[1:].to_numpy(), strict=True):
        truth = made.truth(product, "B01_60m").astype(float)
        np.testing.assert_allclose(pixels, np.where(truth == 0, np.nan, (truth - 1000) / 10000), atol=1e-6)
