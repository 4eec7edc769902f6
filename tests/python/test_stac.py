"""The publication as a STAC catalogue, as software sees it that we did not write."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pystac
import pystac_client
import pytest
import stac_pydantic
import xarray as xr
import zarr
from pystac.stac_io import StacIO
from pystac.validation import set_validator

import s2ice as package
from conftest import Samples
from s2ice.errors import RequestError
from support import hosts, s3, schemas, stores, tables
from support.schemas import Validator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.command import Command
    from support.hosts import Host

ID, EAST = "33TVN-L2A", "01WCP-L2A"
R60M = "measurements/reflectance/r60m"
ERA = "offset-0"
TITLE = '<script>alert("1")</script> & \\ "tiles"'


@dataclass
class Public:
    """A publication that a web server serves, with the product files beside it."""

    host: Host
    place: Path
    archive: Samples
    line: tuple[object, ...]
    """The command that published it."""

    @property
    def url(self) -> str:
        return f"{self.host.address}/public/"

    def read(self, path: str) -> Any:
        return json.loads((self.place / path).read_text())

    def documents(self) -> list[str]:
        """Paths of all STAC documents."""
        found = sorted(path.relative_to(self.place).as_posix() for path in self.place.rglob("*.json"))
        ours = ("catalog.json", "collection.json")
        return [path for path in found if path.endswith(ours) or "/states/" in path]


@pytest.fixture(scope="module")
def public(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Public]:
    """A store with two states and an era, and one across 180 degrees."""
    root = tmp_path_factory.mktemp("site")
    archive = Samples(root / "archive")
    assets = ("--assets", "B01_60m,B09_60m,SCL_60m,TCI_60m", "--no-swath-edge", "--truth")
    for name, options in {
        "new": ("--dates", "2", "--start", "2024-05-01"),
        "old": ("--dates", "1", "--start", "2020-06-20", "--baseline", "02.14"),
        "east": ("--tile", "01WCP", "--dates", "1", "--start", "2024-05-01"),
    }.items():
        make_samples(*options, *assets, into=archive.root)
        shutil.copy(archive.index, root / f"{name}.parquet")
    first = ("--datetime", "2024-05-01/2024-05-02")
    for tile, names, more in (("33TVN", ("new",), first), ("33TVN", ("new", "old"), ()), ("01WCP", ("east",), ())):
        indexes = [part for name in names for part in ("--index", root / f"{name}.parquet")]
        inputs = (*indexes, "--source", archive.root, "--memory", "none", "-q")
        s2ice("build", "--tile", tile, *inputs, "--store", root / tile, *more)
    with hosts.serve(root) as (host,):
        line = (
            *("publish", root / "33TVN", root / "01WCP", "--out", root / "public", "--no-look"),
            *("--base-url", f"{host.address}/public", "--source-url", f"{host.address}/archive"),
            *("--title", TITLE, "--publisher", "Institute", "--publisher-url", "https://example.org/"),
        )
        s2ice(*line)
        yield Public(host, root / "public", archive, line)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[Validator]:
    """Pystac with schemas of this machine alone."""
    validator = Validator()
    set_validator(validator)
    yield validator
    set_validator(pystac.validation.stac_validator.JsonSchemaSTACValidator())


def read(public: Public, path: str) -> pystac.STACObject:
    return StacIO.default().read_stac_object(str(public.place / path))


def opened(asset: pystac.Asset, **options: Any) -> xr.Dataset:
    """What xpystac opens: release 0.5.0 fails at media types with a parameter, which the best practices ask for."""
    with pytest.raises(UnboundLocalError):
        xr.open_dataset(asset)
    asset.media_type = "application/vnd.zarr"
    return xr.open_dataset(asset, **options)


def collection(public: Public, name: str = ID) -> pystac.Collection:
    found = read(public, f"{name}/collection.json")
    assert isinstance(found, pystac.Collection)
    return found


def test_documents_are_valid(public: Public, offline: Validator) -> None:
    paths = public.documents()
    assert len(paths) == 1 + 2 + 2 + 3, paths
    for path in paths:
        document = public.read(path)
        offline.validate_core(document, pystac.STACObjectType(document["type"]), "1.1.0")
        model = stac_pydantic.Catalog if document["type"] == "Catalog" else stac_pydantic.Collection
        model.model_validate(document)


def test_extensions_are_valid(public: Public, offline: Validator) -> None:
    if schemas.folder() is None:
        pytest.skip("no schemas of the extensions; set S2ICE_SCHEMAS")
    used: set[str] = set()
    for path in public.documents():
        checked = pystac.validation.validate_dict(public.read(path))
        used.update(url for url in checked if "stac-extensions" in url)
    names = {url.split("/")[3] for url in used}
    wanted = {"datacube", "eo", "processing", "projection", "raster", "version", "virtual-assets", "xarray-assets"}
    assert names == wanted, "web servers have neither schemes of storage nor keys"


def test_a_client_walks_it(public: Public) -> None:
    with pytest.warns(pystac_client.warnings.PystacClientWarning):
        client = pystac_client.Client.open(f"{public.url}catalog.json")
    assert client.title == TITLE
    zones = list(client.get_children())
    assert [zone.id for zone in zones] == ["zone-01", "zone-33"]
    found = {child.id: child for zone in zones for child in zone.get_children()}
    assert sorted(found) == [EAST, ID]
    store = found[ID]
    assert isinstance(store, pystac.Collection)
    assert store.get_parent() is zones[1]
    assert [provider.name for provider in store.providers or []] == ["ESA", "Institute"]
    assert [link.href for link in store.get_links("store")] == [f"{public.url}{ID}/store"]
    # What belongs to the publication is there.
    for path in public.documents():
        for link in public.read(path)["links"]:
            if link["href"].startswith(public.url) and link["rel"] != "store":
                assert (public.place / link["href"].removeprefix(public.url)).is_file(), link


def test_across_180_degrees_west_is_greater(public: Public) -> None:
    ((west, south, east, north),) = collection(public, EAST).extent.spatial.bboxes
    assert west > 170 > -170 > east
    assert south < north
    ((west, south, east, north),) = collection(public).extent.spatial.bboxes
    assert 13.6 < west < east < 15.2


def test_assets_are_groups_and_bands_are_arrays(public: Public) -> None:
    root = zarr.open_group(stores.local(public.place.parent / "33TVN").store, mode="r")
    places = 0
    for key, asset in collection(public).assets.items():
        if asset.media_type != "application/vnd.zarr; version=3":
            continue
        path = asset.href.removeprefix(f"{public.url}{ID}/store/")
        group = root[path]
        assert isinstance(group, zarr.Group), key
        for band in asset.extra_fields.get("bands", []):
            array = group[band["name"].partition("[")[0]]
            shared = asset.extra_fields | band
            assert shared["data_type"] == str(array.dtype), (key, band)
            assert shared.get("nodata") == array.attrs.get("_FillValue")
            assert shared.get("raster:scale") == array.attrs.get("scale_factor")
            assert shared.get("raster:offset") == array.attrs.get("add_offset")
            places += 1
        for name, variable in asset.extra_fields.get("cube:variables", {}).items():
            dimensions = asset.extra_fields["cube:dimensions"]
            assert list(group[name].metadata.dimension_names) == variable["dimensions"]
            assert set(variable["dimensions"]) <= set(dimensions)
    assert places == 2 + 1 + 3 + 2, "reflectance, classification, true colour, and the era"


def test_the_cube_is_where_it_says(public: Public) -> None:
    fields = collection(public).assets["measurements-reflectance-r60m"].extra_fields
    cube = package.open(str(public.place.parent / "33TVN"), R60M, eras="main")
    for axis in ("x", "y"):
        dimension, values = fields["cube:dimensions"][axis], cube[axis].values
        assert dimension["extent"] == [values.min(), values.max()]
        assert dimension["step"] == values[1] - values[0]
        assert dimension["reference_system"] == 32633
    a, _, c, _, e, f = fields["proj:transform"]
    assert (c + a / 2, f + e / 2) == (cube.x[0], cube.y[0])
    assert fields["proj:shape"] == [cube.sizes["y"], cube.sizes["x"]]
    assert fields["proj:bbox"] == [c, f + e * cube.sizes["y"], c + a * cube.sizes["x"], f]
    extent = [np.datetime64(time.removesuffix("Z")) for time in fields["cube:dimensions"]["time"]["extent"]]
    assert extent == [cube.time[0], cube.time[-1]]


def test_xpystac_opens_assets(public: Public) -> None:
    assets = collection(public).assets
    cube = opened(assets["measurements-reflectance-r60m"])
    names = [name for name in public.archive.products if "_T33TVN_" in name]
    assert cube.sizes["time"] == 2
    for step, name in enumerate(names[1:]):
        truth = public.archive.truth(name, "B01_60m").astype(float)
        wanted = np.where(truth == 0, np.nan, (truth - 1000) / 10_000)
        np.testing.assert_allclose(cube.b01.isel(time=step).values, wanted, atol=1e-9)
    # The asset is the main tree; the cube of all eras is asked for.
    assert xr.open_dataset(assets["measurements-reflectance-r60m"], eras=None).sizes["time"] == 3
    assert opened(assets["products"]).product_id.values.tolist() == names[1:]
    with pytest.raises(RequestError, match="name a group"):
        opened(assets["icechunk"])


def test_xarray_opens_assets_alone(public: Public) -> None:
    assets = collection(public).assets
    asset = assets["measurements-reflectance-r60m"]
    cube = xr.open_dataset(asset.href, **asset.extra_fields["xarray:open_kwargs"])
    xr.testing.assert_equal(cube.b09.load(), opened(asset).b09.load())
    options = assets[f"eras-{ERA}"].extra_fields["xarray:open_kwargs"]
    era = xr.open_datatree(assets[f"eras-{ERA}"].href, **options)
    assert era[R60M].b01.sizes["time"] == 1
    whole = xr.open_datatree(assets["icechunk"].href, **assets["icechunk"].extra_fields["xarray:open_kwargs"])
    assert whole[R60M].b01.sizes["time"] == 3


def test_states_open_as_they_were(public: Public) -> None:
    latest = collection(public)
    (state,) = [read(public, link.href.removeprefix(public.url)) for link in latest.get_links("memento")]
    (link,) = state.get_links("predecessor-version")
    with pytest.warns(pystac.errors.DeprecatedWarning):
        before = read(public, link.href.removeprefix(public.url))
    assert isinstance(before, pystac.Collection)
    assert before.extra_fields["deprecated"]
    assert [link.href for link in before.get_links("latest-version")] == [f"{public.url}{ID}/collection.json"]
    asset = before.assets["icechunk"]
    tree = xr.open_datatree(asset.href, **asset.extra_fields["xarray:open_kwargs"])
    assert tree[R60M].b01.sizes["time"] == 1
    assert "It holds 1 product." in before.description
    ((first, last),) = before.extent.temporal.intervals
    assert first == last


def test_rustac_reads_collection_and_table(public: Public) -> None:
    found = tables.rustac_read(public.place / ID / "collection.json")
    assert found["id"] == ID
    items = tables.rustac_read(public.place / "tiles.parquet")["features"]
    assert [item["id"] for item in items] == [EAST, ID]
    plain = items[1]
    # A column of both kinds becomes one of the wider.
    assert [len(item["geometry"]["coordinates"]) for item in items] == [2, 1]
    for item in items:
        assert item["bbox"] == collection(public, item["id"]).extent.spatial.bboxes[0]
        assert item["assets"]["icechunk"]["href"] == f"{public.url}{item['id']}/store"
        assert item["collection"] == item["id"]
        assert item["properties"]["grid:code"] == f"MGRS-{item['id'][:5]}"
        pystac.Item.from_dict(item)
    assert plain["properties"]["s2ice:products"] == 3
    assert plain["properties"]["s2ice:eras"] == [ERA]
    assert plain["properties"]["s2ice:health"] == "unknown"


def test_rows_are_items(public: Public, offline: Validator) -> None:
    items = tables.rustac_read(public.place / "tiles.parquet")["features"]
    for item in items:
        offline.validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")
        stac_pydantic.Item.model_validate(item)
        if schemas.folder():
            assert len(pystac.validation.validate_dict(item)) == 1 + 3


def test_the_table_is_geoparquet(public: Public, offline: Validator) -> None:
    table = pq.read_table(public.place / "tiles.parquet")
    for name in ("id", "stac_extensions", "geometry", "bbox", "links", "assets", "start_datetime", "end_datetime"):
        assert name in table.column_names, name
    metadata = {
        key.decode(): json.loads(value) for key, value in table.schema.metadata.items() if key != b"ARROW:schema"
    }
    assert metadata["stac-geoparquet"] == {"version": "1.0.0"}
    column = metadata["geo"]["columns"]["geometry"]
    assert column["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert str(table.schema.field("geometry").type) == "binary"
    assert [field.name for field in table.schema.field("bbox").type] == ["xmin", "ymin", "xmax", "ymax"]
    if schemas.folder():
        offline.conforms(metadata["geo"], "https://geoparquet.org/releases/v1.1.0/schema.json")
        known = "https://radiantearth.github.io/stac-geoparquet-spec/latest/json-schema/metadata.json"
        offline.conforms(metadata["stac-geoparquet"], known)


def test_the_map_has_all_stores(public: Public) -> None:
    east, plain = public.read("tiles.json")
    assert [east[0], plain[0]] == [EAST, ID]
    assert east[1] > east[3]
    assert plain[5:] == ["2024-05-06", 3, "unknown"]
    assert math.dist(plain[1:5], collection(public).extent.spatial.bboxes[0]) < 1e-3


def test_the_same_stores_give_the_same_bytes(public: Public, s2ice: Command, tmp_path: Path) -> None:
    line = [tmp_path / "public" if part == public.place else part for part in public.line]
    s2ice(*line)
    for path in [*public.documents(), "tiles.parquet", "tiles.json"]:
        assert (tmp_path / "public" / path).read_bytes() == (public.place / path).read_bytes(), path


def test_nothing_of_the_publishers_machine_is_told(public: Public) -> None:
    for path in public.documents():
        text = (public.place / path).read_text()
        assert str(public.place.parent) not in text, path
        assert "file://" not in text, path


def test_sources_that_only_the_publisher_reaches_are_not_told(
    s2ice: Command, sample_store: Path, tmp_path: Path
) -> None:
    shutil.copytree(sample_store, tmp_path / "store")
    s2ice("publish", tmp_path / "store", "--out", tmp_path / "out", "--base-url", "https://example.org/", "--no-look")
    document = json.loads((tmp_path / "out" / ID / "collection.json").read_text())
    assert "give `source=`" in document["description"]
    assert [key for key in document["assets"] if key.startswith("source")] == []
    assert "file://" not in json.dumps(document)


def test_buckets_have_schemes_and_keys(
    s2ice: Command, samples: Samples, offline: Validator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3.serve() as service:
        service.bucket("eodata")
        service.bucket("stores")
        service.upload(samples.root, "eodata")
        store = ("--store-endpoint", service.endpoint)
        s2ice(
            *("build", "--tile", "33TVN", "--index", samples.index, "--memory", "none", "-q", *store),
            *("--source", "s3://eodata", "--source-endpoint", service.endpoint, "--source-region", "eu-test-1"),
            *("--store", "s3://stores/33TVN"),
            **s3.ENVIRONMENT,
        )
        place = ("--out", tmp_path / "out", "--base-url", "https://example.org/", "--no-look")
        s2ice("publish", "s3://stores/33TVN", *store, *place, **s3.ENVIRONMENT)
        document = json.loads((tmp_path / "out" / ID / "collection.json").read_text())
        assert document["storage:schemes"]["store"] | {"region": ""} == {
            "type": "custom-s3",
            "platform": service.endpoint,
            "bucket": "stores",
            "region": "",
            "anonymous": False,
            "requester_pays": False,
        }
        (source,) = [asset for asset in document["assets"].values() if asset["roles"] == ["source"]]
        assert source["auth:refs"] == ["s3"]
        assert document["auth:schemes"]["s3"]["type"] == "s3"
        assert document["assets"]["icechunk"]["icechunk:virtual_chunk_containers"] == [
            {"url_prefix": "s3://eodata/", "credentials": {"type": "s3", "anonymous": False}}
        ]
        (link,) = [link for link in document["links"] if link["rel"] == "store"]
        assert (link["href"], link["storage:refs"]) == ("s3://stores/33TVN", ["store"])
        if schemas.folder():
            assert len(pystac.validation.validate_dict(document)) == 1 + 10
        # What the schemes say is enough to open it, given keys.
        for name, value in s3.ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        asset = pystac.Collection.from_dict(document).assets["measurements-reflectance-r60m"]
        cube = opened(asset, credentials="env", allow=service.endpoint)
        assert float(cube.b01[0].mean()) > 0


def test_a_real_product(
    s2ice: Command, real_store: tuple[Path, dict[str, Any]], offline: Validator, tmp_path: Path
) -> None:
    shutil.copytree(real_store[0], tmp_path / "store")
    place = ("--out", tmp_path / "out", "--base-url", "https://example.org/", "--source-url", "https://example.org/s/")
    s2ice("publish", tmp_path / "store", *place, "--no-look")
    document = json.loads((tmp_path / "out/29UNU-L2A/collection.json").read_text())
    offline.validate_core(document, pystac.STACObjectType.COLLECTION, "1.1.0")
    if schemas.folder():
        pystac.validation.validate_dict(document)
    bands = {
        band["name"]: band
        for key, asset in document["assets"].items()
        for band in asset.get("bands", [])
        if "mask" not in key
    }
    assert bands["b8a"]["eo:common_name"] == "nir08"
    assert bands["tci[band=3]"]["eo:common_name"] == "blue"
    assert document["assets"]["conditions-geometry"]["proj:shape"] == [23, 23]
    assert document["assets"]["thumbnail"]["type"] == "image/jpeg"
    assert 15_000 < (tmp_path / "out/29UNU-L2A/preview.jpg").stat().st_size < 100_000
    assert document["summaries"]["platform"] == ["sentinel-2a"]
    assert document["summaries"]["processing:version"] == ["04.00"]
