"""Stores written out for other readers: opened by fsspec and xarray, pixel by pixel those of the store itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import kerchunk.df
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from kerchunk.combine import MultiZarrToZarr

import s2ice as package
from conftest import ROOT
from support import s3, tables
from support.cogs import DEFLATE, Product, collect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

# fsspec reads Parquet with the engine that pandas is about to give up.
pytestmark = pytest.mark.filterwarnings("ignore:The 'fastparquet' engine is deprecated")

TILE = "33TVN"
R60M = "measurements/reflectance/r60m"
GEOMETRY = "conditions/geometry"
ASSETS = "B01_60m,B09_60m,SCL_60m,AOT_60m,TCI_60m,MSK_CLDPRB_60m"
RECORD = 10_000


class Made(NamedTuple):
    """A store, what it was made of, and its groups."""

    store: Path
    root: Path
    groups: list[str]


def build(s2ice: Command, store: Path, root: Path, level: str = "L2A") -> Made:
    index = root.parent / "index.parquet"
    s2ice("index", "--source", root, "-o", index, "-q")
    inputs = ("--tile", TILE, "--level", level, "--index", index, "--source", root, "--resolutions", "all")
    s2ice("build", *inputs, "--store", store, "--memory", "none", "-q")
    return made(store, root)


def made(store: Path, root: Path) -> Made:
    eras = [f"eras/{name}/" for name in package.eras(store) if name != "main"]
    found = []
    for era in ["", *eras]:
        tree = package.open(store, eras=era.split("/")[1] if era else "main")
        found += [era + node.path.strip("/") for node in tree.leaves]
    return Made(store, root, found)


@pytest.fixture(scope="module")
def mixed(s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Rasters of every kind at two dates, and two dates of another offset; below a folder with a blank in its name."""
    folder = tmp_path_factory.mktemp("mixed")
    root = folder / "the products"
    for options in (("--dates", "2"), ("--dates", "2", "--baseline", "03.01", "--start", "2020-05-01")):
        for product in make_samples(*options, "--assets", ASSETS).root.glob("*.SAFE"):
            shutil.copytree(product, root / product.name)
    return build(s2ice, folder / "store", root)


def export(s2ice: Command, made: Made, output: Path, *options: object) -> dict[str, Any]:
    return s2ice("export", "kerchunk", made.store, "-o", output, *options, "--json").json


def storage(report: dict[str, Any], output: object = None) -> dict[str, Any]:
    """What the report says that fsspec has to be told."""
    (remote,) = report["remotes"]
    options = {"remote_protocol": remote["protocol"], "remote_options": remote["options"]}
    return {"fo": str(output or report["output"]), **options}


def dataset(report: dict[str, Any], group: str | None = None, output: object = None, **options: Any) -> xr.Dataset:
    options = {"chunks": None, "mask_and_scale": False, **options}
    return xr.open_dataset(
        "reference://", engine="zarr", group=group, storage_options=storage(report, output), **options
    )


def wanted(made: Made, group: str, **options: Any) -> xr.Dataset:
    """The same group of the store itself, with its flags under the name that they have there."""
    options = {"mask_and_scale": False, "eras": "main", **options}
    if group.startswith("eras/"):
        _, options["eras"], group = group.split("/", 2)
    found = package.open(made.store, group, **options)
    return found.rename({name: "present" for name in found.variables if str(name).startswith("present_")})


def same(found: xr.Dataset, expected: xr.Dataset, part: slice = slice(None)) -> None:
    """Dimensions, data types and values; of rasters those of a part of their rows and columns."""
    assert set(found.variables) == set(expected.variables)
    if {"y", "x"} <= set(expected.dims):
        found, expected = (each.isel(y=part, x=part) for each in (found, expected))
    for name, variable in expected.variables.items():
        other = found[name].variable
        assert set(other.dims) == set(variable.dims), name
        assert other.dtype.kind in "OUT" or other.dtype == variable.dtype, name
        np.testing.assert_array_equal(other.transpose(*variable.dims).values, variable.values, err_msg=str(name))


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_every_value_is_that_of_the_store(s2ice: Command, mixed: Made, tmp_path: Path, form: str) -> None:
    report = export(s2ice, mixed, tmp_path / f"refs.{form}")
    assert {"products", R60M, GEOMETRY, f"eras/offset-0/{R60M}", "eras/offset-0/products"} <= set(mixed.groups)
    assert report["references"] == s2ice("info", mixed.store, "--json").json["references"]
    for group in mixed.groups:
        same(dataset(report, group), wanted(mixed, group))
        # Scaled and masked, without being told how.
        scaled = dataset(report, group, mask_and_scale=True)
        for name, variable in wanted(mixed, group, mask_and_scale=True).variables.items():
            found = scaled[name].variable.transpose(*variable.dims)
            assert found.dtype.kind == variable.dtype.kind or found.dtype.kind in "OUT", (group, name)
            if variable.dtype.kind in "fiu":
                np.testing.assert_allclose(found.values, variable.values, atol=1e-9, err_msg=f"{group} {name}")
    assert wanted(mixed, R60M).b01.values.any()


def test_the_root_is_consolidated_and_kerchunks_own_engine_opens_a_group(
    s2ice: Command, mixed: Made, tmp_path: Path
) -> None:
    report = export(s2ice, mixed, tmp_path / "refs.json", "--group", R60M)
    same(dataset(report, consolidated=True), wanted(mixed, R60M))
    options = {key: value for key, value in storage(report).items() if key != "fo"}
    opened = xr.open_dataset(
        report["output"], engine="kerchunk", storage_options=options, chunks=None, mask_and_scale=False
    )
    same(opened, wanted(mixed, R60M))
    whole = export(s2ice, mixed, tmp_path / "whole.json")
    same(dataset(whole, R60M, consolidated=True), wanted(mixed, R60M))


def test_a_part_of_a_store(s2ice: Command, mixed: Made, tmp_path: Path) -> None:
    second = str(wanted(mixed, R60M).time.values[1])[:10]
    options = ("--arrays", "*/r60m/b01", "--arrays", "*/sun_angles", "--datetime", f"{second}/..")
    for form in ("json", "parquet"):
        report = export(s2ice, mixed, tmp_path / f"refs.{form}", *options)
        assert report["sets"] == 1
        found = dataset(report, R60M)
        assert "b09" not in found
        same(found, wanted(mixed, R60M).isel(time=[1]).drop_vars("b09"))
        angles = wanted(mixed, GEOMETRY).isel(time=[1])
        same(dataset(report, GEOMETRY), angles.drop_vars(set(angles.data_vars) - {"sun_angles", "present"}))
        same(dataset(report, "products"), wanted(mixed, "products").isel(time=[1]))
    refs = json.loads((tmp_path / "refs.json").read_text())["refs"]
    assert not [key for key in refs if key.startswith("eras/")]
    root = json.loads(refs[".zattrs"])
    assert root["s2ice"]["eras"] == {}
    era = export(s2ice, mixed, tmp_path / "era.json", "--group", f"/eras/offset-0/{R60M}/")
    same(dataset(era), wanted(mixed, f"eras/offset-0/{R60M}"))


def records(folder: Path, array: str) -> list[tuple[Any, ...]]:
    """The rows of an array, nothing where nothing stands."""
    files = sorted((folder / array).glob("refs.*.parq"), key=lambda path: int(path.name.split(".")[1]))
    rows: list[tuple[Any, ...]] = []
    for number, file in enumerate(files):
        assert file.name == f"refs.{number}.parq"
        table = pd.read_parquet(file, engine="fastparquet")
        columns = [[None if value is np.nan else value for value in table[c].tolist()] for c in table.columns]
        assert list(table.columns) == ["path", "offset", "size", "raw"]
        rows += zip(*columns, strict=True)
    return rows


def test_parquet_is_what_kerchunk_makes_of_the_json(s2ice: Command, mixed: Made, tmp_path: Path) -> None:
    export(s2ice, mixed, tmp_path / "refs.json")
    export(s2ice, mixed, tmp_path / "refs.parquet")
    refs = json.loads((tmp_path / "refs.json").read_text())["refs"]
    refs = {key: value for key, value in refs.items() if not key.endswith(".zmetadata")}
    oracle = tmp_path / "oracle.parquet"
    kerchunk.df.refs_to_dataframe(refs, str(oracle), record_size=RECORD, categorical_threshold=10**9)
    found, expected = (
        json.loads((folder / ".zmetadata").read_text()) for folder in (tmp_path / "refs.parquet", oracle)
    )
    assert (found["metadata"], found["record_size"]) == (expected["metadata"], RECORD)
    arrays = [key.removesuffix("/.zarray") for key in found["metadata"] if key.endswith("/.zarray")]
    assert len(arrays) > 100
    for array in arrays:
        mine, theirs = records(tmp_path / "refs.parquet", array), records(oracle, array)
        assert mine == theirs[: len(mine)], array
        assert all(row == (None, 0, 0, None) for row in theirs[len(mine) :])
    missing = [row for array in arrays for row in records(tmp_path / "refs.parquet", array) if row[0] is row[3] is None]
    assert missing, "tiles of nodata have no reference"


def test_products_are_combined_by_time(s2ice: Command, mixed: Made, tmp_path: Path) -> None:
    line = ("export", "kerchunk", mixed.store, "--per-product", tmp_path, "--json")
    report = s2ice(*line, "--group", R60M).json
    names = sorted(str(name) for name in wanted(mixed, "products").product_id.values)
    files = sorted(tmp_path.glob("*.json"))
    assert ([file.stem for file in files], report["sets"]) == (names, 2)
    order = [str(tmp_path / f"{name}.json") for name in wanted(mixed, "products").product_id.values]
    remote = {key: value for key, value in storage(report).items() if key != "fo"}
    combined = MultiZarrToZarr(
        order, concat_dims=["time"], identical_dims=["x", "y", "spatial_ref"], **remote
    ).translate(str(tmp_path / "combined.json"))
    assert combined["version"] == 1
    same(dataset(report, output=tmp_path / "combined.json", consolidated=False), wanted(mixed, R60M))
    parts = [dataset(report, output=file) for file in order]
    assert [part.sizes["time"] for part in parts] == [1, 1]
    same(xr.concat(parts, "time", data_vars="minimal", coords="minimal", compat="override"), wanted(mixed, R60M))


def test_each_product_with_all_its_rasters(s2ice: Command, mixed: Made, tmp_path: Path) -> None:
    report = s2ice("export", "kerchunk", mixed.store, "--per-product", tmp_path, "--json").json
    assert report["sets"] == len(list(tmp_path.glob("*.json"))) == 4
    assert report["references"] == s2ice("info", mixed.store, "--json").json["references"]
    for era, prefix in (("main", ""), ("offset-0", "eras/offset-0/")):
        for step, name in enumerate(package.open(mixed.store, "products", eras=era).product_id.values):
            file = tmp_path / f"{name}.json"
            groups = {
                key.removesuffix("/.zgroup") for key in json.loads(file.read_text())["refs"] if key.endswith("/.zgroup")
            }
            for group in mixed.groups:
                inside = group.startswith("eras/") == bool(prefix)
                assert (group in groups) == inside, group
                if inside:
                    same(dataset(report, group, file), wanted(mixed, group).isel(time=[step]))


def test_masks_of_several_components(s2ice: Command, make_samples: Callable[..., Samples], tmp_path: Path) -> None:
    shutil.copytree(make_samples("--dates", "1", "--level", "L1C").root, tmp_path / "products")
    masks = build(s2ice, tmp_path / "store", tmp_path / "products", "L1C")
    report = export(s2ice, masks, tmp_path / "refs.json")
    for group in masks.groups:
        same(dataset(report, group), wanted(masks, group))
    (group,) = (group for group in masks.groups if group.startswith("quality/mask"))
    masked = dataset(report, group, mask_and_scale=True)
    qualit = next(array for array in masked.data_vars.values() if "component" in array.dims)
    assert (qualit.dtype, qualit.sizes["component"]) == (np.uint8, 8)
    assert (qualit.values == 0).any()


def test_rasters_of_a_real_product(
    s2ice: Command, real_store: tuple[Path, dict[str, Any]], safe: Path, tmp_path: Path
) -> None:
    real = made(real_store[0], safe)
    assert len(real.groups) > 12
    corner = slice(-700, None)
    for form, part in (("json", slice(None)), ("parquet", corner)):
        report = export(s2ice, real, tmp_path / f"refs.{form}")
        for group in real.groups:
            same(dataset(report, group), wanted(real, group), part if group.endswith("r60m") else corner)


def test_geotiffs(s2ice: Command, tmp_path: Path) -> None:
    product = Product(tmp_path / "products")
    product.add("B09", 60, driver="COG", block=1024, **DEFLATE)
    product.add("B01", 60, block=256, ENDIANNESS="BIG", BIGTIFF="YES", **DEFLATE)
    product.add("AOT", 60, block=512, compress="DEFLATE")
    product.add("WVP", 60, block=512)
    product.add("TCI", 60, driver="COG", block=512, **DEFLATE)
    stac, store = collect(tmp_path / "items.json", product), tmp_path / "store"
    inputs = ("--source-kind", "cog", "--tile", TILE, "--stac", stac, "--source", product.root, "--resolutions", "all")
    s2ice("build", *inputs, "--store", store, "--memory", "none", "-q")
    cogs = made(store, product.root)
    for form in ("json", "parquet"):
        report = export(s2ice, cogs, tmp_path / f"refs.{form}")
        for group in cogs.groups:
            same(dataset(report, group), wanted(cogs, group))
    tci = dataset(report, "quality/l2a_quicklook/r60m").tci
    assert (tci.dims, tci.sizes["band"]) == (("time", "y", "x", "band"), 3)
    sentence = s2ice("export", "index", store, "-o", tmp_path / "index.parquet", code=2).sentence
    assert "GeoTIFFs, which need no index" in sentence


READ = """
import json, sys
import numpy as np
import xarray as xr
options, group, output = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
opened = xr.open_dataset(
    "reference://", engine="zarr", group=group, chunks=None, storage_options=options, mask_and_scale=False
)
np.save(output, opened.b01[0].values)
"""


def test_buckets(s2ice: Command, pair: Samples, tmp_path: Path) -> None:
    """Keys with blanks; the report tells s3fs the endpoint, the environment the keys, as one request for each tile."""
    with s3.serve() as service:
        service.bucket("eodata")
        service.upload(pair.root, "eodata", "the products/")
        source = ("--source", "s3://eodata/the products", "--source-endpoint", service.endpoint)
        line = ("--tile", TILE, "--index", pair.index, "--stac", pair.stac, *source, "--source-region", "eu-test-1")
        store = tmp_path / "store"
        s2ice("build", *line, "--store", store, "--memory", "none", "-q", **s3.ENVIRONMENT)
        for form in ("json", "parquet"):
            report = s2ice("export", "kerchunk", store, "-o", tmp_path / f"refs.{form}", "--json").json
            (remote,) = report["remotes"]
            assert (remote["prefix"], remote["protocol"]) == ("s3://eodata/the products/", "s3")
            assert remote["options"] == {
                "anon": False,
                "asynchronous": True,
                "endpoint_url": service.endpoint,
                "client_kwargs": {"region_name": "eu-test-1"},
                "config_kwargs": {"s3": {"addressing_style": "path"}},
            }
            # s3fs leaves its connections to the end of the interpreter.
            reader = [sys.executable, "-c", READ, json.dumps(storage(report)), R60M, str(tmp_path / "b01.npy")]
            with service.recorded() as requests:
                subprocess.run(reader, check=True, env=os.environ | s3.ENVIRONMENT, timeout=300)
            np.testing.assert_array_equal(np.load(tmp_path / "b01.npy"), pair.truth(pair.products[0], "B01_60m"))
            assert {request.method for request in requests} == {"GET"}
            refs = json.loads((tmp_path / "refs.json").read_text())["refs"]
            assert len(requests) == len([key for key in refs if key.startswith(f"{R60M}/b01/0.")])


def test_what_cannot_be_written_out(s2ice: Command, mixed: Made, tmp_path: Path) -> None:
    def refused(*options: object, output: Path = tmp_path / "refs.json", code: int = 2) -> str:
        return s2ice("export", "kerchunk", mixed.store, "-o", output, *options, code=code).sentence

    assert "has no group no/such" in refused("--group", "no/such")
    assert "name the group in which it is" in refused("--group", f"{R60M}/b01")
    assert "it holds 2020-05-01 to 2024-05-0" in refused("--datetime", "2011-01-01/2012-01-01")
    assert "nothing of" in refused("--arrays", "*/b01", "--group", GEOMETRY)
    assert "no array of level L2A" in refused("--arrays", "*/b99")
    assert "name it OUT.json or OUT.parquet" in refused(output=tmp_path / "refs.zarr")
    s2ice("export", "kerchunk", mixed.store, code=2)
    s2ice("export", "kerchunk", mixed.store, "-o", tmp_path / "a.json", "--per-product", tmp_path, code=2)
    # Places that hold something else.
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes").write_text("kept")
    for name, code in (("x.parquet", 2), ("x.json", 1)):
        shutil.copytree(mine, tmp_path / name)
        assert str(tmp_path / name) in refused(output=tmp_path / name, code=code)
        assert (tmp_path / name / "notes").read_text() == "kept"
    (tmp_path / "notes.json").write_text('{"kept": true}')
    assert "something else than a reference set" in refused(output=tmp_path / "notes.json")
    assert "failed" in refused(output=tmp_path / "no/refs.json", code=1)
    assert "failed" in refused(output=tmp_path / "no/refs.parquet", code=1)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("form", ["index", "manifest"])
def test_tables_write_over_their_own_kind_alone(s2ice: Command, mixed: Made, tmp_path: Path, form: str) -> None:
    table = tmp_path / "table.parquet"

    def refused(*options: object) -> str:
        return s2ice("export", form, mixed.store, "-o", table, *options, code=2).sentence

    assert "it holds 2020-05-01 to 2024-05-0" in refused("--datetime", "2011-01-01/2012-01-01")
    assert not table.exists()
    s2ice("export", "manifest" if form == "index" else "index", mixed.store, "-o", table, "-q")
    for foreign in (table.read_bytes(), b"kept"):
        table.write_bytes(foreign)
        assert f"{table} holds something else than a" in refused()
        assert table.read_bytes() == foreign
    table.write_bytes(b"")
    for _ in range(2):
        s2ice("export", form, mixed.store, "-o", table, "-q")
    assert tables.rows(table)


def test_a_set_takes_the_place_of_another(s2ice: Command, mixed: Made, tmp_path: Path) -> None:
    for form in ("json", "parquet"):
        output = tmp_path / f"refs.{form}"
        export(s2ice, mixed, output)
        report = export(s2ice, mixed, output, "--group", R60M)
        same(dataset(report), wanted(mixed, R60M))
    assert not (tmp_path / "refs.parquet/measurements").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["refs.json", "refs.parquet"]


def test_stores_of_other_writers(s2ice: Command, tmp_path: Path) -> None:
    import icechunk
    import zarr

    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "other")))
    session = repository.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(1,), dtype="u1")
    session.commit("other")
    for form, output in (("kerchunk", "refs.json"), ("index", "index.parquet")):
        for store, what in (("other", "s2ice did not write"), ("nowhere", "there is no store")):
            sentence = s2ice("export", form, tmp_path / store, "-o", tmp_path / output, code=1).sentence
            assert what in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_an_index_builds_the_same_store_elsewhere(s2ice: Command, pair: Samples, tmp_path: Path) -> None:
    """At a source with ETags: one read of each file, as for any index, and none of tiles."""
    with s3.serve() as service:
        service.bucket("eodata")
        service.upload(pair.root, "eodata", "L2A/")
        line = ("build", "--tile", TILE, "--stac", pair.stac, "--source", "s3://eodata/L2A", "--json")
        line = (*line, "--source-endpoint", service.endpoint, "--memory", "none")

        def stored(name: str, index: Path) -> tuple[Path, int]:
            with service.recorded() as requests:
                s2ice(*line, "--index", index, "--store", tmp_path / name, **s3.ENVIRONMENT)
            return tmp_path / name, len([request for request in requests if request.path.endswith(".jp2")])

        s2ice(
            *("index", "--source", "s3://eodata/L2A", "--source-endpoint", service.endpoint, "-q"),
            *("-o", tmp_path / "own.parquet"),
            **s3.ENVIRONMENT,
        )
        first, _ = stored("first", tmp_path / "own.parquet")
        report = s2ice("export", "index", first, "-o", tmp_path / "index.parquet", "--json").json
        assert (report["rows"], report.get("left_out")) == (6, None)
        again, requests = stored("again", tmp_path / "index.parquet")
        s2ice("diff", first, again)
        assert requests == report["rows"]
    own = {(row["product_id"], row["asset"]): row for row in tables.rows(tmp_path / "own.parquet")}
    for row in tables.rows(tmp_path / "index.parquet"):
        truth = own[row["product_id"], row["asset"]]
        for column in ("band_id", "path", "index", "resolution", "etag"):
            assert row[column].strip('"') if column == "etag" else row[column], column
        assert (row["path"], row["index"], row["resolution"]) == (truth["path"], truth["index"], truth["resolution"])
        assert row["etag"].strip('"') == truth["etag"].strip('"')
        assert row["main_header"] is None


def test_what_an_index_cannot_tell_is_left_out_by_name(s2ice: Command, mixed: Made, tmp_path: Path) -> None:
    report = s2ice("export", "index", mixed.store, "-o", tmp_path / "index.parquet", "--json").json
    own = {(row["product_id"], row["asset"]): row for row in tables.rows(mixed.root.parent / "index.parquet")}
    rows = {(row["product_id"], row["asset"]): row for row in tables.rows(tmp_path / "index.parquet")}
    left = {(one["product"], one["raster"]): one["reason"] for one in report["left_out"]}
    assert set(rows) | set(left) == set(own)
    assert not set(rows) & set(left)
    for key, row in rows.items():
        assert (row["path"], row["index"]) == (own[key]["path"], own[key]["index"]), key
    for key, reason in left.items():
        assert own[key]["nodata"], key
        assert "nodata" in reason
    assert rows
    assert left


def test_a_manifest_and_the_metadata_are_a_store(
    s2ice: Command, mixed: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of docs/other-readers.md make it, by icechunk alone, for a mirror whose files nobody asked for."""
    (code,) = re.findall(r"```python\n(import asyncio.*?)```", (ROOT / "docs/other-readers.md").read_text(), re.DOTALL)
    s2ice("export", "manifest", mixed.store, "-o", tmp_path / "manifest.parquet", "-q")
    mirror = tmp_path / "mirror"
    code = code.replace('row["location"]', f'row["location"].replace("{mixed.root.as_uri()}", "{mirror.as_uri()}")')
    code = code.replace("file:///archive", mirror.as_uri()).replace("/archive", str(mirror))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores/33TVN-L2A").symlink_to(mixed.store)
    exec(compile(code, "other-readers.md", "exec"), {})
    shutil.copytree(mixed.root, mirror)
    again = made(tmp_path / "elsewhere", mirror)
    assert set(again.groups) == set(mixed.groups)
    for group in mixed.groups:
        same(wanted(again, group), wanted(mixed, group), slice(0, 800))
