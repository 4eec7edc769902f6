"""The store's metadata against the public validators of its conventions, and against GDAL.

The command `eopf-geozarr validate` cannot read an Icechunk session, so its models are used on the metadata documents. A
broken copy of the same documents must fail, or the validators would prove nothing.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import urllib.error
import urllib.request
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import rasterio
import zarr_cm
from pydantic import ValidationError
from zarr.core.buffer import default_buffer_prototype

from support import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

type Documents = dict[str, dict[str, Any]]

REFLECTANCE = "measurements/reflectance"
SCL = "conditions/mask/l2a_classification"
LEVEL = re.compile(r"r(\d+)m(?:_x(\d+))?")


@pytest.fixture(scope="session")
def pyramid_store(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One sample date with copies at 20 m and 60 m, a quicklook and probabilities."""
    return pyramids(s2ice, make_samples, tmp_path_factory)


@pytest.fixture(scope="session")
def overview_store(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same with overviews."""
    return pyramids(s2ice, make_samples, tmp_path_factory, "--overviews", "2,4")


def pyramids(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory, *options: str
) -> Path:
    assets = "B02_20m,B02_60m,B01_60m,SCL_20m,SCL_60m,TCI_60m,AOT_60m,MSK_CLDPRB_20m,MSK_CLDPRB_60m"
    samples = make_samples("--dates", "1", "--resolutions", "all", "--assets", assets)
    folder = tmp_path_factory.mktemp("pyramids")
    # The generator's own index has the best copies only, as the public one.
    index, store = folder / "index.parquet", folder / "33TVN"
    s2ice("index", "--source", samples.root, "-o", index, "-q")
    s2ice(
        *("build", "--tile", "33TVN", "--index", index, "--source", samples.root, "--store", store),
        *("--resolutions", "all", "--memory", "none", "-q"),
        *options,
    )
    return store


@pytest.fixture(scope="module", params=["samples", "overviews", "real"])
def documents(request: pytest.FixtureRequest) -> Documents:
    return stores.documents(stores.local(store_of(request, request.param)))


def store_of(request: pytest.FixtureRequest, name: str) -> Path:
    found = request.getfixturevalue({"real": "real_store", "overviews": "overview_store"}.get(name, "pyramid_store"))
    return found[0] if name == "real" else found


@pytest.fixture(scope="session")
def models() -> SimpleNamespace:
    """The models of eopf-geozarr; their import asks the network for CF names, which tests do not."""

    def offline(*_: Any, **__: Any) -> Any:
        raise urllib.error.URLError("tests stay offline")

    original, urllib.request.urlopen = urllib.request.urlopen, offline
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic on zarr-cm's typed dictionaries
            from eopf_geozarr.data_api.geozarr import store, v3
            from eopf_geozarr.data_api.geozarr.geoproj import Proj
            from eopf_geozarr.data_api.geozarr.spatial import Spatial
    finally:
        urllib.request.urlopen = original
    return SimpleNamespace(
        GeoZarr=store.GeoZarr,
        PyramidAttributes=store.GeoZarrMultiscaleGroupAttrs,
        MultiscaleGroup=v3.MultiscaleGroup,
        Dataset=v3.Dataset,
        DataArray=v3.DataArray,
        Proj=Proj,
        Spatial=Spatial,
    )


def nested(documents: Documents, path: str) -> dict[str, Any]:
    """A node with its members inside, as the models want it."""
    document = copy.deepcopy(documents[path])
    if document["node_type"] == "group":
        prefix = f"{path}/" if path else ""
        below = {p.removeprefix(prefix): p for p in documents if p.startswith(prefix) and p != path}
        document["members"] = {name: nested(documents, p) for name, p in below.items() if "/" not in name}
    return document


def has_data(document: dict[str, Any]) -> bool:
    """References, or the angles of `/conditions/geometry` at the nodes of their grid."""
    attributes = document["attributes"]
    return document["node_type"] == "array" and (
        "s2ice:asset" in attributes or {"angle_standard_names", "grid_mapping"} <= set(attributes)
    )


def kinds(documents: Documents) -> dict[str, list[str]]:
    """Paths by what they are: data arrays, leaf groups with a grid, pyramids, other groups, coordinates."""
    out: dict[str, list[str]] = {"root": [""], "data": [], "leaf": [], "pyramid": [], "group": [], "coordinate": []}
    for path, document in documents.items():
        if document["node_type"] == "array":
            out["data" if has_data(document) else "coordinate"].append(path)
        elif path:
            holds_data = any(p.rpartition("/")[0] == path and has_data(d) for p, d in documents.items())
            levels = [p for p, d in documents.items() if p.rpartition("/")[0] == path and d["node_type"] == "group"]
            levels = [p for p in levels if LEVEL.fullmatch(p.rpartition("/")[2])]
            out["leaf" if holds_data else "pyramid" if len(levels) > 1 else "group"].append(path)
    return out


def test_there_is_something_of_each_kind(documents: Documents) -> None:
    found = kinds(documents)
    assert all(found.values()), {kind: len(paths) for kind, paths in found.items()}
    assert {REFLECTANCE} & set(found["pyramid"] + found["group"])
    assert SCL in found["pyramid"]


def test_zarr_conventions(documents: Documents) -> None:
    """zarr-cm: what each kind of node must declare, at a revision it knows, and valid."""
    found = kinds(documents)
    wanted = {
        "root": {"proj", "spatial"},
        "data": set(),
        "leaf": {"proj", "spatial"},
        "pyramid": {"proj", "spatial", "multiscales"},
        "group": set(),
        "coordinate": set(),
    }
    for kind, paths in found.items():
        for path in paths:
            revisions = zarr_cm.detect_revisions(documents[path]["attributes"])
            assert set(revisions) == wanted[kind], path
            assert None not in revisions.values(), path
            # Word for word as the schemas of v0.1 ask, of which zarr-cm keeps a copy.
            told = [
                dict(getattr(zarr_cm, name).CMO) for name in ("proj", "spatial", "multiscales") if name in revisions
            ]
            assert documents[path]["attributes"].get("zarr_conventions", []) == told, path
            for name in revisions:
                getattr(zarr_cm, name).validate_node_metadata(documents[path])
            zarr_cm.validate_all(documents[path]["attributes"])


def test_geozarr_models(documents: Documents, models: SimpleNamespace) -> None:
    """eopf-geozarr: the store, every data array, every leaf with its coordinates, every pyramid."""
    found = kinds(documents)
    models.GeoZarr(**nested(documents, ""))
    for path in found["data"]:
        models.DataArray(**documents[path])
    for path in found["leaf"]:
        models.Proj(**documents[path]["attributes"])
        models.Spatial(**documents[path]["attributes"])
    for path in found["leaf"]:
        models.Dataset(**nested(documents, path))
    for path in found["pyramid"]:
        models.MultiscaleGroup(**nested(documents, path))
        models.PyramidAttributes(**documents[path]["attributes"])


def test_pyramids_tell_the_truth(documents: Documents) -> None:
    """What no validator looks at: the levels exist, and their grids are those of the groups."""
    for path in kinds(documents)["pyramid"]:
        layout = documents[path]["attributes"]["multiscales"]["layout"]
        levels = [level["asset"] for level in layout]
        assert levels == sorted(levels, key=lambda name: [int(n or 1) for n in LEVEL.fullmatch(name).groups()])  # type: ignore[union-attr]
        for level in layout:
            leaf = documents[f"{path}/{level['asset']}"]["attributes"]
            assert leaf["spatial:transform"] == level["spatial:transform"]
            assert leaf["spatial:shape"] == level["spatial:shape"]
            whole, _, factor = level["asset"].partition("_x")
            # Bands of a group come to it in different ways; an overview is of one group.
            told = {"derived_from", "resampling_method"} & set(level)
            assert len(told) == (2 if factor else 0)
            of = documents[f"{path}/{level['derived_from']}"]["attributes"] if factor else layout[0]
            assert not factor or level["derived_from"] == whole
            left, top = (of["spatial:transform"][at] for at in (2, 5))
            scale = leaf["spatial:transform"][0] / of["spatial:transform"][0]
            assert level["transform"]["scale"] == [scale, scale]
            # Pixel (0, 0) of the level begins at the translation, in pixels of what it is of.
            moved = level["transform"]["translation"]
            size = of["spatial:transform"][0]
            assert (left + moved[1] * size, top - moved[0] * size) == (
                leaf["spatial:transform"][2],
                leaf["spatial:transform"][5],
            )


def test_grids_tell_the_truth(documents: Documents) -> None:
    for path in kinds(documents)["data"]:
        document = documents[path]
        group = path.rpartition("/")[0]
        grid = documents[group]["attributes"]
        assert grid["spatial:shape"] == document["shape"][-2:]
        assert document["dimension_names"][-2:] == grid["spatial:dimensions"]
        assert document["attributes"]["grid_mapping"] == "spatial_ref"
        for name, length in zip(document["dimension_names"], document["shape"], strict=True):
            assert documents[f"{group}/{name}"]["shape"] == [length]


def replaced(documents: Documents, path: str, change: Callable[[dict[str, Any]], Any]) -> Documents:
    broken = copy.deepcopy(documents)
    change(broken[path]["attributes"])
    return broken


def convention(attributes: dict[str, Any], name: str) -> dict[str, Any]:
    (entry,) = [entry for entry in attributes["zarr_conventions"] if entry["name"] == name]
    return entry


BROKEN_FOR_ZARR_CM = [
    ("wrong uuid", "proj", lambda a: convention(a, "proj").update(uuid="f17cb550-0000-0000-0000-000000000000")),
    ("unknown revision", "spatial", lambda a: convention(a, "spatial").update(schema_url="https://example.org/v9")),
    ("no uuid and no url", "spatial", lambda a: [convention(a, "spatial").pop(k) for k in ("uuid", "schema_url")]),
    ("short transform", "spatial", lambda a: a["spatial:transform"].pop()),
    ("text in the transform", "spatial", lambda a: a["spatial:transform"].__setitem__(0, "20")),
    ("empty shape", "spatial", lambda a: a["spatial:shape"].__setitem__(0, 0)),
    ("no conventions at all", "spatial", lambda a: a.pop("zarr_conventions")),
    ("wrong registration", "spatial", lambda a: a.__setitem__("spatial:registration", "corner")),
    ("no code", "proj", lambda a: a.pop("proj:code")),
    ("code without authority", "proj", lambda a: a.__setitem__("proj:code", "32633")),
]


@pytest.mark.parametrize(("what", "name", "change"), BROKEN_FOR_ZARR_CM, ids=[b[0] for b in BROKEN_FOR_ZARR_CM])
def test_a_broken_group_fails_zarr_cm(
    pyramid_store: Path, what: str, name: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    documents = stores.documents(stores.local(pyramid_store))
    path = f"{SCL}/r20m"
    validate = getattr(zarr_cm, name).validate_node_metadata
    validate(documents[path])
    with pytest.raises((ValueError, TypeError, KeyError)):
        validate(replaced(documents, path, change)[path])


BROKEN_PYRAMIDS = [
    ("no layout", lambda a: a["multiscales"].pop("layout")),
    ("level without its group", lambda a: a["multiscales"]["layout"][1].pop("asset")),
    ("level without transform", lambda a: a["multiscales"]["layout"][1].pop("spatial:transform")),
    ("level with a short shape", lambda a: a["multiscales"]["layout"][0]["spatial:shape"].pop()),
    ("scale of one number", lambda a: a["multiscales"]["layout"][1]["transform"].__setitem__("scale", 3.0)),
    ("no bounding box", lambda a: a.pop("spatial:bbox")),
    ("bounding box upside down", lambda a: a["spatial:bbox"].reverse()),
]


@pytest.mark.parametrize(("what", "change"), BROKEN_PYRAMIDS, ids=[b[0] for b in BROKEN_PYRAMIDS])
def test_a_broken_pyramid_fails_the_models(
    pyramid_store: Path, models: SimpleNamespace, what: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    documents = stores.documents(stores.local(pyramid_store))
    models.PyramidAttributes(**documents[SCL]["attributes"])
    with pytest.raises(ValidationError):
        models.PyramidAttributes(**replaced(documents, SCL, change)[SCL]["attributes"])


BROKEN_ROOTS = [
    ("no bounding box", lambda a: a.pop("spatial:bbox")),
    ("no code", lambda a: a.pop("proj:code")),
    ("two systems", lambda a: a.__setitem__("proj:wkt2", 'PROJCRS["x"]')),
    ("bounding box upside down", lambda a: a["spatial:bbox"].reverse()),
]


@pytest.mark.parametrize(("what", "change"), BROKEN_ROOTS, ids=[b[0] for b in BROKEN_ROOTS])
def test_a_broken_root_fails_the_models(
    pyramid_store: Path, models: SimpleNamespace, what: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    documents = stores.documents(stores.local(pyramid_store))
    with pytest.raises(ValidationError):
        models.GeoZarr(**nested(replaced(documents, "", change), ""))


@pytest.mark.parametrize("missing", ["x", "time", "spatial_ref"])
def test_a_leaf_without_a_coordinate_fails_the_models(
    pyramid_store: Path, models: SimpleNamespace, missing: str
) -> None:
    documents = stores.documents(stores.local(pyramid_store))
    leaf = nested(documents, f"{SCL}/r20m")
    models.Dataset(**leaf)
    del leaf["members"][missing]
    with pytest.raises(ValidationError, match=missing):
        models.Dataset(**leaf)


def test_crs_by_gdal(documents: Documents, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """GDAL's Zarr driver on a copy of the metadata and coordinates.

    GDAL refuses a codec it does not know before it looks at anything else, and has no Icechunk driver yet, so the copy
    names no codec and leaves out the chunks of the data arrays.
    """
    name = request.node.callspec.params["documents"]
    export(stores.local(store_of(request, name)), documents, tmp_path)
    code = 32629 if name == "real" else 32633
    for path in kinds(documents)["data"]:
        document = documents[path]
        index = "".join(":0" for _ in document["shape"][:-2])
        with rasterio.open(f'ZARR:"{tmp_path}":/{path}{index}') as file:
            assert file.crs.to_epsg() == code, path
            grid = documents[path.rpartition("/")[0]]["attributes"]
            transform = list(grid["spatial:transform"])
            if grid["spatial:registration"] == "node":
                # GDAL counts from the corner of a cell around the node.
                transform[2], transform[5] = transform[2] - transform[0] / 2, transform[5] - transform[4] / 2
            assert list(file.transform[:6]) == transform, path
            assert [file.height, file.width] == document["shape"][-2:]
            assert file.dtypes[0] == document["data_type"]
            if path.startswith(REFLECTANCE):
                assert file.scales[0] == 0.0001
                assert file.offsets[0] == -0.1
                assert file.nodata == 0
    unchanged = tmp_path / "codec"
    unchanged.mkdir()
    (unchanged / "zarr.json").write_text(json.dumps(documents[f"{SCL}/r20m/scl"]))
    with pytest.raises(rasterio.errors.RasterioIOError, match=r"s2ice\.jpeg2000"):
        rasterio.open(f'ZARR:"{unchanged}"')


def export(session: Any, documents: Documents, folder: Path) -> None:
    """Write metadata and coordinates to disk; data arrays lose their codec and chunks."""
    data = set(kinds(documents)["data"])
    for path, document in documents.items():
        document = copy.deepcopy(document)
        if path in data:
            document["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        target = folder / path / "zarr.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(document))

    async def coordinates() -> None:
        for key in [key async for key in session.store.list()]:
            path = re.sub(r"/c(/\d+)*$", "", key)
            if not key.endswith("zarr.json") and path not in data:
                buffer = await session.store.get(key, default_buffer_prototype())
                target = folder / key
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(buffer.to_bytes())

    asyncio.run(coordinates())
