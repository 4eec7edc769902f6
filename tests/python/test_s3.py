"""Source and store on S3: what is written, who reads it, and how many requests that takes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import icechunk
import numpy as np
import pytest
import rioxarray  # noqa: F401 (registers the accessor)
import xarray as xr
import zarr
from icechunk import credentials as access_to

import s2ice as package
from s2ice.errors import ChunkError, CredentialsError
from support import s3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

TILE = "33TVN"
R60M = "measurements/reflectance/r60m"
R20M_SCL = "conditions/mask/l2a_classification/r20m"
SOURCE = "s3://eodata/Sentinel-2/MSI/L2A"


class Cloud(NamedTuple):
    """The service with the sample products at SOURCE and a store of them."""

    service: s3.Service
    store: str
    build: tuple[object, ...]
    cache: Path
    report: dict[str, Any]
    requests: list[s3.Request]


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        yield service


@pytest.fixture(scope="module")
def cloud(s2ice: Command, service: s3.Service, samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    service.bucket("eodata")
    service.bucket("stores")
    service.upload(samples.root, "eodata", "Sentinel-2/MSI/L2A/")
    build = (
        *("build", "--tile", TILE, "--index", samples.index, "--stac", samples.stac, "--json"),
        *("--source", SOURCE, "--source-endpoint", service.endpoint, "--source-region", "eu-test-1"),
        *("--store-endpoint", service.endpoint),
    )
    store, cache = "s3://stores/33TVN", tmp_path_factory.mktemp("cache") / "facts.ndjson"
    with service.recorded() as requests:
        report = s2ice(*build, "--store", store, "--memory", cache, **s3.ENVIRONMENT).json
    return Cloud(service, store, build, cache, report, requests)


def repository(cloud: Cloud, prefix: str = "33TVN", **access: Any) -> icechunk.Repository:
    """Open with icechunk alone, as its manual says: s2ice is only the codec here."""
    storage = cloud.service.storage(prefix)
    keys = icechunk.Credentials.S3(access_to.s3_credentials(**s3.KEYS))
    return icechunk.Repository.open(storage, authorize_virtual_chunk_access={f"{SOURCE}/": keys} | access)


def dataset(cloud: Cloud, group: str, prefix: str = "33TVN", **kwargs: Any) -> xr.Dataset:
    session = repository(cloud, prefix).readonly_session("main")
    return xr.open_zarr(session.store, group=group, consolidated=False, chunks=None, **kwargs)


def test_every_pixel_with_icechunk_and_xarray_alone(cloud: Cloud, samples: Samples) -> None:
    for group, name, asset in ((R60M, "b01", "B01_60m"), (R20M_SCL, "scl", "SCL_20m")):
        array = dataset(cloud, group, mask_and_scale=False)[name]
        assert array.sizes["time"] == 3
        for step, product in enumerate(samples.products):
            np.testing.assert_array_equal(array[step], samples.truth(product, asset))


def test_the_store_says_where_its_source_is(cloud: Cloud) -> None:
    containers = repository(cloud).config.virtual_chunk_containers or {}
    (container,) = containers.values()
    assert (container.name, container.url_prefix) == ("eodata", f"{SOURCE}/")
    # The options of a container are the one field of its store configuration.
    options = container.store._0
    assert (options.endpoint_url, options.region, options.force_path_style) == (
        cloud.service.endpoint,
        "eu-test-1",
        True,
    )
    with pytest.raises(CredentialsError):
        package.open(cloud.store, storage_options={"endpoint_url": cloud.service.endpoint, **s3.KEYS})


def test_a_build_asks_for_each_header_and_metadata_once(cloud: Cloud, samples: Samples) -> None:
    """One ranged GET per raster, two small reads of XML per product; nothing is listed or headed."""
    asked = [r for r in cloud.requests if r.bucket == "eodata"]
    assert {r.method for r in asked} == {"GET"}
    assert all(r.range is not None for r in asked)
    # The first tile-part comes along with the head and proves the index.
    images = [r.path for r in asked if r.path.endswith(".jp2")]
    assert len(images) == len(set(images)) == len(samples.files())
    documents = [r.path for r in asked if r.path.endswith(".xml")]
    assert len(documents) == len(set(documents)) == 2 * len(samples.products)
    assert len(asked) == cloud.report["source_use"]["requests"]
    # The granules' XML is read as a whole, for the angles; of everything else little.
    whole = sum(path.stat().st_size for path in samples.root.glob("*.SAFE/GRANULE/*/MTD_TL.xml"))
    assert cloud.report["source_use"]["bytes"] < whole + 20_000 * len(asked)


def test_one_get_per_chunk(cloud: Cloud, samples: Samples) -> None:
    """Reading whole arrays costs one ranged GET for each chunk of each file, and nothing else at the source.

    Where bytes are dear, the last packets of a tile at the edge may be left out: they are empty.
    """
    for group, name, chunk in ((R60M, "b09", 192), (R20M_SCL, "scl", 640)):
        array = dataset(cloud, group, mask_and_scale=False)[name]
        with cloud.service.recorded() as requests, zarr.config.set({"s2ice.reading": "fewest_requests"}):
            array[:2].load()
        asked = [r for r in requests if r.bucket == "eodata"]
        grid = math.ceil(array.sizes["y"] / chunk) ** 2
        assert len(asked) == 2 * grid == len({(r.path, r.range) for r in asked})
        assert {r.method for r in asked} == {"GET"}
        # A chunk is a range of the file: together they are all of its tile-parts.
        for file in samples.files(f"*_{name.upper()}_?0m")[:2]:
            ranges = sorted(r.range for r in asked if r.path.endswith(file.name) and r.range)
            assert len(ranges) == grid
            assert all(a[1] + 1 == b[0] for a, b in pairwise(ranges))
            assert ranges[-1][1] == file.stat().st_size - 3, "all but the EOC marker"


def test_a_window_costs_its_chunks(cloud: Cloud, samples: Samples) -> None:
    tree = package.open(
        cloud.store,
        credentials=s3.KEYS,
        storage_options={"endpoint_url": cloud.service.endpoint, **s3.KEYS},
        mask_and_scale=False,
    )
    with cloud.service.recorded() as requests, zarr.config.set({"s2ice.reading": "fewest_requests"}):
        window = tree[R60M].b01[:, 380:390, 190:194].load()
    asked = [r for r in requests if r.bucket == "eodata"]
    assert len(asked) == 3 * 2 * 2
    for step, product in enumerate(samples.products):
        np.testing.assert_array_equal(window[step], samples.truth(product, "B01_60m")[380:390, 190:194])


def test_opening_reads_no_source(cloud: Cloud) -> None:
    with cloud.service.recorded() as requests:
        package.open(
            cloud.store, credentials=s3.KEYS, storage_options={"endpoint_url": cloud.service.endpoint, **s3.KEYS}
        )
    assert [r for r in requests if r.bucket == "eodata"] == []
    assert len(requests) < 20


def test_a_mirror(cloud: Cloud, samples: Samples) -> None:
    """The same products elsewhere: the reader says where, nothing is rebuilt."""
    cloud.service.bucket("mirror")
    # A mirror that keeps the bytes keeps the ETags.
    cloud.service.upload(samples.root, "mirror", "s2/")
    with cloud.service.recorded() as requests:
        tree = package.open(
            cloud.store,
            source={"eodata": {"url": "s3://mirror/s2", "endpoint_url": cloud.service.endpoint}},
            credentials=s3.KEYS,
            storage_options={"endpoint_url": cloud.service.endpoint, **s3.KEYS},
            mask_and_scale=False,
        )
        values = tree[R60M].b01[0, :300, :300].to_numpy()
    np.testing.assert_array_equal(values, samples.truth(samples.products[0], "B01_60m")[:300, :300])
    assert {r.bucket for r in requests} == {"stores", "mirror"}


@pytest.mark.parametrize("checksum", ["etag", "none"])
def test_a_changed_object(cloud: Cloud, s2ice: Command, samples: Samples, checksum: str) -> None:
    """The ETag of a reference turns a file that was replaced into an error; without it, nobody notices."""
    bucket = cloud.service.bucket(f"changing-{checksum}")
    cloud.service.upload(samples.root, bucket)
    store = f"s3://stores/changing-{checksum}"
    s2ice(
        *("build", "--tile", TILE, "--index", samples.index, "--source", f"s3://{bucket}", "--memory", "none"),
        *("--source-endpoint", cloud.service.endpoint, "--store-endpoint", cloud.service.endpoint, "--store", store),
        *("--checksum", checksum, "--arrays", "**/b01", "-q"),
        **s3.ENVIRONMENT,
    )
    tree = package.open(
        store,
        credentials=s3.KEYS,
        storage_options={"endpoint_url": cloud.service.endpoint, **s3.KEYS},
        mask_and_scale=False,
        cache_bytes=0,
    )
    array = tree[R60M].b01
    assert array[0, 0, 0].load().size == 1
    (file,) = [f for f in samples.files("*_B01_60m") if samples.products[0] in f.as_posix()]
    data = bytearray(file.read_bytes())
    data[-1000] ^= 0xFF
    key = file.relative_to(samples.root).as_posix()
    cloud.service.client.put_object(Bucket=bucket, Key=key, Body=bytes(data))
    if checksum == "none":
        assert array[0, 0, 0].load().size == 1
    else:
        with pytest.raises(ChunkError, match=r"modified|checksum|changed|precondition"):
            array[0, 0, 0].load()
    assert array[1, 0, 0].load().size == 1, "the other files are still read"


def test_a_source_without_credentials(cloud: Cloud, s2ice: Command, samples: Samples) -> None:
    """A public bucket is read with unsigned requests, by the build and by readers, and the store remembers it."""
    cloud.service.bucket("public")
    cloud.service.upload(samples.root, "public", ACL="public-read")
    with cloud.service.recorded() as requests:
        s2ice(
            *("build", "--tile", TILE, "--index", samples.index, "--arrays", "**/b09", "--memory", "none", "-q"),
            *("--source", "s3://public", "--source-endpoint", cloud.service.endpoint, "--source-anonymous"),
            *("--store", "s3://stores/public", "--store-endpoint", cloud.service.endpoint),
            **s3.ENVIRONMENT,
        )
        tree = package.open(
            "s3://stores/public",
            storage_options={"endpoint_url": cloud.service.endpoint, **s3.KEYS},
            mask_and_scale=False,
        )
        values = tree[R60M].b09[0, :10, :10].to_numpy()
    np.testing.assert_array_equal(values, samples.truth(samples.products[0], "B09_60m")[:10, :10])
    assert {r.signed for r in requests if r.bucket == "public"} == {False}
    assert {r.signed for r in requests if r.bucket == "stores"} == {True}


@pytest.mark.parametrize("spec", [1, 2])
def test_spec_versions(cloud: Cloud, s2ice: Command, samples: Samples, spec: int) -> None:
    s2ice(*cloud.build, "--memory", cloud.cache, "--store", f"s3://stores/spec{spec}", "--spec", spec, **s3.ENVIRONMENT)
    assert repository(cloud, f"spec{spec}").spec_version == spec
    b01 = dataset(cloud, R60M, f"spec{spec}", mask_and_scale=False).b01
    np.testing.assert_array_equal(b01[2, 100:300], samples.truth(samples.products[2], "B01_60m")[100:300])
    info = s2ice(
        "info", f"s3://stores/spec{spec}", "--store-endpoint", cloud.service.endpoint, "--json", **s3.ENVIRONMENT
    )
    assert info.json["spec"] == spec


def test_main_moves_once(cloud: Cloud) -> None:
    """`main` has the empty first snapshot and the build's; the run's branch is gone."""
    repo = repository(cloud)
    assert repo.list_branches() == {"main"}
    messages = [snapshot.message for snapshot in repo.ancestry(branch="main")]
    assert len(messages) == 2
    assert messages[0] == f"Build 33TVN L2A: 3 products, 3 arrays, {cloud.report['references']} references"
    newest = next(iter(repo.ancestry(branch="main")))
    assert newest.metadata["s2ice:products"] == 3
    assert newest.metadata["s2ice:references_written"] == cloud.report["references"]


def test_persisted_settings_are_safe_for_readers(cloud: Cloud) -> None:
    config = repository(cloud).config
    concurrency = config.storage.concurrency
    assert concurrency.max_concurrent_requests_for_object == 1
    assert concurrency.ideal_concurrent_request_size >= 16 * 1024 * 1024
    assert config.storage.retries.max_tries >= 5


def test_rebuilding_a_store_keeps_its_history(cloud: Cloud, s2ice: Command) -> None:
    s2ice(*cloud.build, "--memory", cloud.cache, "--store", "s3://stores/twice", "--arrays", "**/b01", **s3.ENVIRONMENT)
    report = s2ice(*cloud.build, "--memory", cloud.cache, "--store", "s3://stores/twice", **s3.ENVIRONMENT).json
    assert report["committed"]["created"] is False
    repo = repository(cloud, "twice")
    assert len(list(repo.ancestry(branch="main"))) == 3
    root = zarr.open_group(repo.readonly_session("main").store, mode="r")
    assert {"b01", "b09"} <= set(root[R60M].array_keys())


def test_crs_by_rioxarray(cloud: Cloud) -> None:
    for group, name, metres in ((R60M, "b01", 60), (R20M_SCL, "scl", 20)):
        array = dataset(cloud, group)[name]
        assert array.rio.crs.to_epsg() == 32633
        assert array.rio.transform()[:6] == (metres, 0, 399960, 0, -metres, 5300040)
        assert array.rio.grid_mapping == "spatial_ref"


def test_indexing_a_bucket(cloud: Cloud, s2ice: Command, samples: Samples, tmp_path: Path) -> None:
    """`s2ice index` over S3 has the bytes of the generator's own index, and ETags that a build can trust."""
    from support import tables

    output = tmp_path / "index.parquet"
    # Other tests keep other products in the bucket.
    products = [f"{product}.SAFE" for product in samples.products]
    s2ice(
        *("index", *products, "--source", SOURCE, "--source-endpoint", cloud.service.endpoint, "-o", output, "-q"),
        **s3.ENVIRONMENT,
    )
    ours = {(row["product_id"], row["band_id"]): row for row in tables.rows(output)}
    theirs = {(row["product_id"], row["band_id"]): row for row in tables.rows(samples.index)}
    assert set(ours) == set(theirs)
    for key, row in ours.items():
        assert row["index"] == theirs[key]["index"]
        assert row["path"] == theirs[key]["path"]
        assert row["etag"]
    with cloud.service.recorded() as requests:
        s2ice(
            *("build", "--tile", TILE, "--index", output, "--source", SOURCE, "--store", "s3://stores/by-index"),
            *("--source-endpoint", cloud.service.endpoint, "--store-endpoint", cloud.service.endpoint),
            *("--headers", "index", "--memory", "none", "-q"),
            **s3.ENVIRONMENT,
        )
    asked = [r for r in requests if r.bucket == "eodata" and not r.path.endswith(".xml")]
    assert len(asked) == len(ours), "headers come from the index, and one tile of each raster proves its row"
    assert all(r.range and r.range[0] > 0 for r in asked)
    b01 = dataset(cloud, R60M, "by-index", mask_and_scale=False).b01
    np.testing.assert_array_equal(b01[0, :200], samples.truth(samples.products[0], "B01_60m")[:200])
