"""Stores of level 1C: every pixel is the file's, radiometry is the product's, true colour has tiles of 256 pixels."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from test_real_product import digest

import s2ice as package

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

    from conftest import Samples
    from support.command import Command

BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
R60 = "measurements/reflectance/r60m"
PLACES = {
    "B01_60m": f"{R60}/b01",
    "B09_60m": f"{R60}/b09",
    "B10_60m": f"{R60}/b10",
    "MSK_CLASSI_B00": "conditions/mask/l1c_classification/r60m/b00",
    "MSK_DETFOO_B01": "conditions/mask/detector_footprint/r60m/b01",
    "MSK_QUALIT_B10": "quality/mask/r60m/b10",
}


@dataclass(frozen=True)
class Built:
    """A store of level 1C, the report of its build, and what it was made from."""

    samples: Samples
    store: Path
    report: dict[str, Any]

    def open(self, **options: Any) -> xr.DataTree:
        return package.open(self.store, **options)


@pytest.fixture(scope="session")
def build_l1c(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Built]:
    def build(*arguments: str, tile: str = "33TVN", samples: Samples | None = None) -> Built:
        samples = samples or make_samples("--level", "L1C", *arguments)
        folder = tmp_path_factory.mktemp("l1c")
        s2ice("index", "--source", samples.root, "-o", folder / "index.parquet", "-q")
        outcome = s2ice(
            *("build", "--tile", tile, "--level", "L1C", "--index", folder / "index.parquet"),
            *("--source", f"file://{samples.root}", "--store", folder / "store", "--memory", "none", "--json"),
        )
        return Built(samples, folder / "store", outcome.json)

    return build


@pytest.fixture(scope="module")
def small(build_l1c: Callable[..., Built]) -> Built:
    """Two dates of the bands of 60 m with masks; the second ends inside the tile."""
    return build_l1c("--dates", "2", "--truth")


@pytest.fixture(scope="module")
def tree(small: Built) -> xr.DataTree:
    return small.open(mask_and_scale=False)


@pytest.mark.parametrize("asset", PLACES)
def test_every_pixel(asset: str, small: Built, tree: xr.DataTree) -> None:
    array = tree[PLACES[asset]]
    assert array.sizes["time"] == 2
    for number, product in enumerate(small.samples.products):
        truth = small.samples.truth(product, asset)
        assert truth.any()
        wanted = np.moveaxis(truth, -1, 0) if truth.ndim == 3 else truth
        assert array.dtype == wanted.dtype
        np.testing.assert_array_equal(array[number].to_numpy(), wanted)


def test_the_tree_is_that_of_level_1c(small: Built, tree: xr.DataTree) -> None:
    assert {array["path"].lstrip("/") for array in small.report["arrays"]} == set(PLACES.values())
    assert small.report["refused"] == []
    assert all(array["header"] == "verified" for array in small.report["arrays"])
    stamp = [tree.attrs[f"s2ice:{key}"] for key in ("level", "metadata", "headers")]
    assert stamp == ["L1C", "product", "verified"]
    for group in ("l2a_classification", "atmosphere", "probability", "l2a_quicklook"):
        assert not any(group in path for path in tree.groups), group
    # The names tell the level, and every product is one of it.
    assert all("_MSIL1C_" in name for name in tree.products.product_id.to_numpy())


def test_radiometry_is_that_of_the_product(small: Built, tree: xr.DataTree) -> None:
    """RADIO_ADD_OFFSET takes the place of BOA_ADD_OFFSET."""
    for name in ("b01", "b09", "b10"):
        attributes = tree[f"{R60}/{name}"].attrs
        assert (attributes["scale_factor"], attributes["add_offset"], attributes["_FillValue"]) == (0.0001, -0.1, 0)
        assert attributes["standard_name"] == "toa_bidirectional_reflectance"
        assert "top-of-atmosphere" in attributes["long_name"].lower()
    assert set(tree.products.boa_add_offset.to_numpy()) == {-1000}
    scaled = small.open()[f"{R60}/b10"][1].to_numpy()
    raw = tree[f"{R60}/b10"][1].to_numpy()
    assert (raw == 0).any()
    np.testing.assert_allclose(scaled, np.where(raw == 0, np.nan, raw * 0.0001 - 0.1), rtol=0, atol=1e-6)


def test_before_baseline_04_there_is_no_offset(build_l1c: Callable[..., Built]) -> None:
    old = build_l1c("--dates", "1", "--baseline", "03.01", "--assets", "B10_60m", "--truth")
    tree = old.open(mask_and_scale=False)
    assert tree[f"{R60}/b10"].attrs["add_offset"] == 0
    assert set(tree.products.boa_add_offset.to_numpy()) == {0}
    (product,) = old.samples.products
    np.testing.assert_array_equal(tree[f"{R60}/b10"][0].to_numpy(), old.samples.truth(product, "B10_60m"))


def test_bands_of_another_offset_are_refused(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path: Path
) -> None:
    """One band's RADIO_ADD_OFFSET differs: the product is left out, and a sentence says why."""
    samples = make_samples("--level", "L1C", "--dates", "2", "--assets", "B10_60m", "--no-swath-edge")
    first = samples.root / f"{samples.products[0]}.SAFE/MTD_MSIL1C.xml"
    text = first.read_text()
    assert text.count("RADIO_ADD_OFFSET>") == 13
    first.write_text(text.replace('band_id="10">-1000<', 'band_id="10">-900<'))
    outcome = s2ice(
        *("build", "--tile", "33TVN", "--level", "L1C", "--index", samples.index, "--source", samples.root),
        *("--store", tmp_path / "store", "--memory", "none", "--json"),
    )
    (refused,) = outcome.json["refused"]
    assert (refused["product"], refused["kind"]) == (samples.products[0], "metadata")
    assert "RADIO_ADD_OFFSET of B10 is -900, of B01 -1000" in refused["reason"]
    assert outcome.json["times"]["count"] == 1


def test_absent_is_told_from_nodata(
    s2ice: Command, make_samples: Callable[..., Samples], build_l1c: Callable[..., Built]
) -> None:
    """A raster that the first product lacks is not present there; that the other one is empty in parts is no matter."""
    samples = make_samples("--level", "L1C", "--dates", "2")
    (gone,) = (samples.root / f"{samples.products[0]}.SAFE").glob("GRANULE/*/IMG_DATA/*_B09.jp2")
    gone.unlink()
    tree = build_l1c(samples=samples).open(mask_and_scale=False)
    present = tree[f"{R60}/present_reflectance"]
    meanings = present.attrs["flag_meanings"].split()
    assert meanings == ["b01", "b09", "b10"]
    flags = dict(zip(meanings, present.attrs["flag_masks"], strict=True))
    has = {name: [bool(value & flags[name]) for value in present.to_numpy()] for name in meanings}
    assert has == {"b01": [True, True], "b09": [False, True], "b10": [True, True]}
    assert not tree[f"{R60}/b09"][0].to_numpy().any()
    assert tree[f"{R60}/b09"][1].to_numpy().any()


def test_catalogue_and_public_index_feed_a_store_that_grows(
    s2ice: Command, small: Built, make_samples: Callable[..., Samples], tmp_path: Path
) -> None:
    """By the catalogue's items of sentinel-2-l1c and the index without masks; then the second date is appended."""
    samples = small.samples

    def build(*more: str) -> dict[str, Any]:
        return s2ice(
            *("build", "--tile", "33TVN", "--level", "L1C", "--index", samples.index, "--stac", samples.stac),
            *("--source", samples.root, "--store", tmp_path / "store", "--memory", "none", "--json", *more),
        ).json

    day = samples.products[0].split("_")[2]
    first = build("--datetime", f"{day[:4]}-{day[4:6]}-{day[6:8]}")
    assert (first["times"]["count"], first["products"]["matched"]) == (1, 1)
    second = build()
    assert second["changes"]["appended"] == [samples.products[1]]
    assert {array["path"] for array in second["arrays"]} == {f"/{R60}/b01", f"/{R60}/b09", f"/{R60}/b10"}
    tree = package.open(tmp_path / "store", mask_and_scale=False)
    whole = small.open(mask_and_scale=False)
    for name in ("b01", "b09", "b10"):
        np.testing.assert_array_equal(tree[f"{R60}/{name}"].to_numpy(), whole[f"{R60}/{name}"].to_numpy())
    # Nothing is left to do, and a store of the other level is not mixed with it.
    assert "committed" not in build()
    l2a = make_samples("--dates", "1")
    refused = s2ice(
        *("build", "--tile", "33TVN", "--index", l2a.index, "--source", l2a.root),
        *("--store", tmp_path / "store", "--memory", "none"),
        code=1,
    )
    assert "L1C" in refused.stderr
    assert "L2A" in refused.stderr


def test_bands_may_be_assumed(s2ice: Command, small: Built, tmp_path: Path) -> None:
    """Without a look at the files, by the known header classes, and stamped as such."""
    outcome = s2ice(
        *("build", "--tile", "33TVN", "--level", "L1C", "--index", small.samples.index, "--headers", "assume"),
        *("--source", f"file://{small.samples.root}", "--store", tmp_path / "store", "--memory", "none", "--json"),
    )
    assert {array["header"] for array in outcome.json["arrays"]} == {"assumed"}
    tree = package.open(tmp_path / "store", mask_and_scale=False)
    assert tree.attrs["s2ice:headers"] == "assumed"
    assert set(tree.products.metadata_source.to_numpy()) == {"name"}
    assert tree[f"{R60}/b10"].attrs["add_offset"] == -0.1
    for number, product in enumerate(small.samples.products):
        found = tree[f"{R60}/b10"][number].to_numpy()
        np.testing.assert_array_equal(found, small.samples.truth(product, "B10_60m"))


def test_true_colour_has_small_tiles(s2ice: Command, build_l1c: Callable[..., Built]) -> None:
    """10980 pixels in tiles of 256: 43 x 43, the last ones 228 pixels wide."""
    built = build_l1c("--dates", "1", "--assets", "TCI_10m")
    (report,) = built.report["arrays"]
    assert (report["path"], report["references"]) == ("/quality/l1c_quicklook/r10m/tci", 43 * 43)
    tci = built.open(mask_and_scale=False)["quality/l1c_quicklook/r10m/tci"]
    assert tci.shape == (1, 3, 10980, 10980)
    assert tuple(tci.encoding["preferred_chunks"].values()) == (1, 3, 256, 256)
    (path,) = built.samples.files("*_TCI")
    with rasterio.open(path) as file:
        for row, column in ((0, 0), (0, 10752), (10752, 0), (10700, 10700), (5000, 5111), (2047, 255)):
            window = Window(column, row, min(300, 10980 - column), min(300, 10980 - row))
            wanted = file.read(window=window)
            found = tci[0, :, row : row + 300, column : column + 300].to_numpy()
            assert wanted.any()
            np.testing.assert_array_equal(found, wanted)
    # No file of this kind was seen, so none is assumed.
    outcome = s2ice(
        *("build", "--tile", "33TVN", "--level", "L1C", "--index", built.samples.index, "--headers", "assume"),
        *("--source", built.samples.root, "--dry-run"),
        code=1,
    )
    assert "TCI_10m: no main header is known for this kind of raster" in outcome.stderr


def test_fourteen_images_make_three_groups(build_l1c: Callable[..., Built]) -> None:
    """All 13 bands, each in the group of its own resolution, and true colour."""
    built = build_l1c("--dates", "1", "--assets", ",".join(f"{band}_{native(band)}m" for band in BANDS))
    wanted = {f"/measurements/reflectance/r{native(band)}m/{band.lower()}" for band in BANDS}
    assert {array["path"] for array in built.report["arrays"]} == wanted
    assert built.report["refused"] == []
    tree = built.open(mask_and_scale=False)
    for band in BANDS:
        r = native(band)
        (path,) = built.samples.files(f"*_{band}")
        array = tree[f"measurements/reflectance/r{r}m/{band.lower()}"]
        side = 109_800 // r
        assert array.shape == (1, side, side)
        # The last pixels of the image: an edge tile.
        with rasterio.open(path) as file:
            wanted_pixels = file.read(1, window=Window(side - 200, side - 200, 200, 200))
        np.testing.assert_array_equal(array[0, -200:, -200:].to_numpy(), wanted_pixels)


def native(band: str) -> int:
    return 10 if band in {"B02", "B03", "B04", "B08"} else 60 if band in {"B01", "B09", "B10"} else 20


REAL = "S2A_MSIL1C_20230216T044851_N0509_R076_T46UEU_20230216T063628"


@pytest.fixture(scope="module")
def real(testdata: Path, build_l1c: Callable[..., Built], tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The real product's masks. Its folder is called otherwise than its PRODUCT_URI, so a copy gets that name."""
    from conftest import Samples

    root = tmp_path_factory.mktemp("real-l1c")
    (folder,) = (testdata / "jp2/l1c-N0509-T46UEU").glob("*.SAFE")
    shutil.copytree(folder, root / f"{REAL}.SAFE")
    return build_l1c(tile="46UEU", samples=Samples(root))


MASKS = ["MSK_CLASSI_B00", *(f"MSK_{kind}_{band}" for kind in ("DETFOO", "QUALIT") for band in BANDS)]


def test_real_masks_are_all_there(real: Built) -> None:
    assert {array["asset"] for array in real.report["arrays"]} == set(MASKS)
    assert real.report["refused"] == []
    tree = real.open(mask_and_scale=False)
    assert list(tree.products.product_id.to_numpy()) == [REAL]
    assert tree.products.datastrip_id.item() == "S2A_OPER_MSI_L1C_DS_2APS_20230216T063628_S20230216T045412_N05.09"
    assert str(tree.products.time.to_numpy()[0]).startswith("2023-02-16T04:55:06.266")
    assert tree.products.boa_add_offset.item() == -1000
    np.testing.assert_allclose(tree.products.cloud_cover.item(), 7.07566663680612, rtol=1e-6)


@pytest.mark.parametrize("asset", MASKS)
def test_real_masks_are_exact(asset: str, real: Built, golden: dict[str, Any]) -> None:
    """Every pixel, by the hash of OpenJPEG's decode."""
    (facts,) = [f for path, f in golden.items() if path.endswith(f"/{asset}.jp2") and path.startswith("jp2/l1c-N0509")]
    (path,) = [array["path"] for array in real.report["arrays"] if array["asset"] == asset]
    array = real.open(mask_and_scale=False)[path]
    rows, columns, *components = facts["shape"]
    assert array.shape == (1, *components, rows, columns)
    assert tuple(array.encoding["preferred_chunks"].values()) == (1, *components, *reversed(facts["tile"]))
    assert array.dtype == facts["dtype"]
    assert digest(array[0]) == facts["decoded_sha256"]
