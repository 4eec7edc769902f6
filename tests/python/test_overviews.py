"""Stored overviews: GDAL's pixels, where the wavelet puts them, for readers that know Zarr and the codec alone."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr

import s2ice as package
from support import stores
from support.living import B01, Living, changes
from support.publications import ID, Public

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

ASSETS = "B01_60m,B09_60m,SCL_60m,TCI_60m,MSK_CLDPRB_60m"
FACTORS = (2, 4)
R60M = "measurements/reflectance/r60m"
X2 = f"{R60M}_x2/b01"


class Made:
    """A store with overviews, and the files behind it."""

    def __init__(self, s2ice: Command, root: Path, folder: Path, *options: object, tile: str) -> None:
        self.root, self.store = root, folder / tile
        index = folder / "index.parquet"
        s2ice("index", "--source", root, "-o", index, "-q")
        inputs = ("--tile", tile, "--index", index, "--source", root, "--resolutions", "all", "--memory", "none")
        self.report = s2ice("build", *inputs, "--store", self.store, *options, "--json").json

    def session(self) -> Any:
        return stores.local_with_source(self.store, self.root)

    def files(self) -> Iterator[tuple[str, int, Path]]:
        """Path of the array, time step and file of every raster."""
        with_times = package.open(self.store, "products", mask_and_scale=False)
        for step, product in enumerate(with_times["product_id"].to_numpy()):
            for array in self.report["arrays"]:
                found = list(self.root.glob(f"{product}.SAFE/GRANULE/*/*_DATA/**/*{array['asset']}.jp2"))
                if found and "_x" not in array["path"]:
                    yield array["path"].strip("/"), step, found[0]


@pytest.fixture(scope="module")
def made(s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = make_samples("--dates", "2", "--assets", ASSETS).root
    return Made(s2ice, root, tmp_path_factory.mktemp("overviews"), "--overviews", "2,4", tile="33TVN")


@pytest.fixture(scope="module")
def real(s2ice: Command, safe: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    arrays = ("**/r60m/b01", "**/r60m/tci", "**/r20m/aot", "**/r20m/cld", "**/r20m/scl", "**/r10m/aot")
    chosen = [word for glob in arrays for word in ("--arrays", glob)]
    return Made(s2ice, safe, tmp_path_factory.mktemp("real"), *chosen, "--overviews", "2,4", tile="29UNU")


def beside(path: str, factor: int) -> str:
    group, _, name = path.rpartition("/")
    return f"{group}_x{factor}/{name}"


def check_against_gdal(made: Made) -> int:
    """Every overview is GDAL's of the file, and lies where the file's own pixels k * factor lie."""
    root = zarr.open_group(made.session().store, mode="r")
    compared = 0
    for path, step, file in made.files():
        classes = path.startswith(("conditions/mask", "quality/mask"))
        for level, factor in enumerate(FACTORS):
            overview = beside(path, factor)
            assert (overview in root) == (not classes)
            if classes:
                continue
            array: Any = root[overview]
            with rasterio.open(file, OVERVIEW_LEVEL=level) as gdal:
                found = array[step].reshape(-1, *array.shape[-2:])
                np.testing.assert_array_equal(found, gdal.read(), err_msg=overview)
            group = overview.rpartition("/")[0]
            with rasterio.open(file) as whole:
                for name, at in (("x", 0), ("y", 1)):
                    centres: Any = root[f"{group}/{name}"]
                    pixels = np.array([0, 1, centres.shape[0] - 1]) * factor
                    wanted = np.asarray(whole.xy(pixels, pixels))[at]
                    assert np.abs(centres[:][[0, 1, -1]] - wanted).max() < 0.01
            compared += 1
    return compared


def test_overviews_are_gdals(made: Made) -> None:
    """B01, B09, TCI and the cloud probability, at two dates and two factors."""
    assert check_against_gdal(made) == 4 * 2 * 2


def test_overviews_of_a_real_product_are_gdals(real: Made) -> None:
    assert check_against_gdal(real) == 5 * 2


def test_the_documents_say_what_there_is(made: Made) -> None:
    documents = stores.documents(stores.local(made.store))
    whole, half, quarter = (documents[path] for path in (B01, X2, f"{R60M}_x4/b01"))
    assert [d["shape"] for d in (whole, half, quarter)] == [[2, 1830, 1830], [2, 915, 915], [2, 458, 458]]
    chunks = [d["chunk_grid"]["configuration"]["chunk_shape"] for d in (whole, half, quarter)]
    assert chunks == [[1, 192, 192], [1, 96, 96], [1, 48, 48]]
    assert [d["codecs"][0]["configuration"]["reduce"] for d in (whole, half, quarter)] == [0, 1, 2]
    assert documents[""]["attributes"]["s2ice"]["overviews"] == [2, 4]
    group = documents[f"{R60M}_x4"]["attributes"]
    assert group["spatial:transform"] == [240, 0, 399960 - 90, 0, -240, 5300040 + 90]
    assert "every 4th pixel" in group["comment"]
    layout = documents["measurements/reflectance"]["attributes"]["multiscales"]["layout"]
    assert [level["asset"] for level in layout] == ["r60m", "r60m_x2", "r60m_x4"]
    assert [level.get("derived_from") for level in layout] == [None, "r60m", "r60m"]
    assert layout[2]["transform"] == {"scale": [4.0, 4.0], "translation": [-1.5, -1.5]}
    assert not any(path.startswith("conditions/mask") and "_x" in path for path in documents)


def test_plain_xarray_opens_them(made: Made) -> None:
    store: Any = made.session().store
    tree = xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None)
    half = tree[f"{R60M}_x2"]
    assert half.sizes == {"time": 2, "y": 915, "x": 915}
    own = package.open(made.store, f"{R60M}_x2")
    np.testing.assert_allclose(half.b01.isel(time=0), own.b01.isel(time=0), rtol=1e-6)
    np.testing.assert_array_equal(half.present, [3, 3])


def test_s2ice_takes_them_for_no_bands(made: Made) -> None:
    """A cube has the bands once, and a view is made of the rasters themselves."""
    shown = {node.path.strip("/") for node in package.open(made.store).leaves}
    assert {R60M, f"{R60M}_x2", f"{R60M}_x4", "quality/l2a_quicklook/r60m_x2"} <= shown
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # odc-geo on shapely
        cube = package.cube(made.store, resolution=120, mask=None)
    assert sorted(cube.data_vars) == ["b01", "b09"]
    view = package.open(made.store, resolution=120, mask_and_scale=False)
    paths = {node.path.strip("/") for node in view.leaves}
    assert R60M in paths
    assert not any("_x" in path for path in paths)
    stored = package.open(made.store, f"{R60M}_x2", mask_and_scale=False)
    np.testing.assert_array_equal(view[R60M].b01, stored.b01)
    np.testing.assert_array_equal(view[R60M].x, stored.x)


def test_kerchunk_has_them(s2ice: Command, made: Made, tmp_path: Path) -> None:
    output = tmp_path / "refs.json"
    s2ice("export", "kerchunk", made.store, "-o", output)
    options = {"fo": str(output), "remote_protocol": "file", "remote_options": {"asynchronous": True}}
    dataset = xr.open_dataset(
        "reference://", engine="zarr", group=f"{R60M}_x4", storage_options=options, mask_and_scale=False
    )
    own = package.open(made.store, f"{R60M}_x4", mask_and_scale=False)
    np.testing.assert_array_equal(dataset.b01, own.b01)
    np.testing.assert_array_equal(dataset.x, own.x)


def test_what_is_told_of_them(s2ice: Command, made: Made) -> None:
    told = {array["path"]: array for array in s2ice("info", made.store, "--json").json["arrays"]}
    assert told[f"/{X2}"]["references"] == told[f"/{B01}"]["references"] > 100
    assert set(told) == {array["path"] for array in made.report["arrays"]}
    s2ice("diff", made.store, made.store)


def test_a_publication_lists_them(public: Public) -> None:
    public.living.run(overviews="2")
    public.publish()
    assets = json.loads((public.place / ID / "collection.json").read_text())["assets"]
    asset = assets["measurements-reflectance-r60m_x2"]
    assert (asset["title"], asset["roles"][-1]) == ("Reflectance, 60 m, overview by 2", "overview")
    assert [band["name"] for band in asset["bands"]] == ["b01", "b09"]
    assert asset["raster:spatial_resolution"] == 120
    view = package.open(public.living.store, resolution=120, mask_and_scale=False)
    np.testing.assert_array_equal(public.cube(f"{R60M}_x2").b01, view[R60M].b01)


# A store that lives.


@pytest.fixture
def three(living: Living) -> list[str]:
    return [living.archive.add(f"2024-06-{day:02}", base=base) for base, day in enumerate((1, 6, 11))]


def overviews(living: Living) -> dict[str, Any]:
    documents = stores.documents(stores.local(living.store))
    return {path: d["shape"] for path, d in documents.items() if d["node_type"] == "array" and path.endswith("/b01")}


def test_updates_keep_them_in_step(living: Living, three: list[str]) -> None:
    """Appended, inserted, pruned: without being told again, and as if built at once."""
    living.run(three[1:2], overviews="4,2")
    assert overviews(living) == {B01: [1, 1830, 1830], X2: [1, 915, 915], f"{R60M}_x4/b01": [1, 458, 458]}
    report = living.run(three[1:])
    assert changes(report) == {"appended": three[2:], "unchanged": 1}
    assert report["committed"]["references_written"] == 3 * 200
    report = living.run(three)
    assert report["committed"]["references_moved"] == 3 * 2 * 200
    assert {shape[0] for shape in overviews(living).values()} == {3}
    living.rests(three)
    living.is_as_built(three, overviews="2,4")
    living.run(three[1:], "--prune")
    living.is_as_built(three[1:], overviews="2,4")
    for step in range(2):
        whole, half = (package.open(living.store, group, mask_and_scale=False) for group in (R60M, f"{R60M}_x2"))
        assert abs(float(half.b01[step].mean()) - float(whole.b01[step].mean())) < 30


def test_they_come_and_go_whole(living: Living, three: list[str]) -> None:
    """Other overviews of a store that exists: made of what it refers to, without a request to the source."""
    living.run(three)
    report = living.run(three, overviews="2")
    assert report["source_use"]["requests"] == 0
    assert report["committed"]["references_moved"] == 3 * 200
    living.is_as_built(three, overviews="2")
    living.run(three, overviews="8")
    living.is_as_built(three, overviews="8")
    assert set(overviews(living)) == {B01, f"{R60M}_x8/b01"}
    living.run(three, overviews="none")
    living.is_as_built(three)


def test_eras_have_their_own(
    s2ice: Command, living: Living, three: list[str], make_samples: Callable[..., Samples]
) -> None:
    old = make_samples("--start", "2024-07-10", "--baseline", "02.14", "--assets", "B01_60m,B09_60m", "--dates", "1")
    living.archive.adopt(old.root)
    living.run(overviews="2")
    found = overviews(living)
    assert found[X2] == [3, 915, 915]
    assert found[f"eras/offset-0/{X2}"] == [1, 915, 915]
    joined = package.open(living.store)
    assert joined[f"{R60M}_x2"].sizes["time"] == 4
    np.testing.assert_allclose(
        joined[f"{R60M}_x2"].b01.isel(time=3), package.open(living.store, resolution=120)[R60M].b01.isel(time=3)
    )


BAD = [
    ("3", "3 is no factor of an overview"),
    ("1", "1 is no factor of an overview"),
    ("2,two", "factors such as 2,4"),
    ("", "factors such as 2,4"),
]


@pytest.mark.parametrize(("factors", "reason"), BAD)
def test_what_is_no_factor_is_refused(living: Living, three: list[str], factors: str, reason: str) -> None:
    sentence = living.fails(three, code=2, overviews=factors)
    assert sentence.startswith("s2ice: --overviews")
    assert reason in sentence


def test_more_than_the_files_have_is_refused(living: Living, three: list[str]) -> None:
    sentence = living.fails(three, code=2, overviews="2,32")
    assert "no raster of the store has such an overview, 16 is the most" in sentence
    living.run(three[:1], overviews="2")
    assert "--overviews 64" in living.fails(three, code=2, overviews="64")


def test_python_takes_factors(living: Living, three: list[str]) -> None:
    index, source = living.archive.index(living.folder.parent / "i.parquet", three), living.archive.root
    package.build(tile="33TVN", index=index, source=source, store=living.store, memory=False, overviews=[2])
    assert set(overviews(living)) == {B01, X2}
    with pytest.raises(package.errors.RequestError, match="6 is no factor"):
        package.build(tile="33TVN", index=index, source=source, store=living.store, memory=False, overviews=[6])
