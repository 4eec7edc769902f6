"""Products without index rows in Amazon's layout, where no folder of the files bears the product's name."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import xarray as xr

import s2ice as package
from support import s3
from support.mirrors import arrange, files, in_aws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

TILE = "33TVN"
R60M = "measurements/reflectance/r60m"


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        yield service


def line(source: object, samples: Samples, store: Path, *more: object) -> tuple[object, ...]:
    return (
        *("build", "--tile", TILE, "--stac", samples.stac, "--source", source, "--store", store),
        *("--index-missing", "--json", *more),
    )


def local(s2ice: Command, folder: Path, samples: Samples, store: Path, *more: object) -> Any:
    return s2ice(*line(folder, samples, store, "--source-layout", "aws", "--memory", "none", *more)).json


def test_products_are_found_and_proven(s2ice: Command, samples: Samples, sample_store: Path, tmp_path: Path) -> None:
    source, learned = arrange(samples, in_aws, tmp_path / "source"), tmp_path / "learned.parquet"
    report = local(s2ice, source, samples, tmp_path / "store", "--write-index", learned)
    assert (report["refused"], report["products"]["without_index"]) == ([], [])
    assert (report["indexed"]["products"], report["times"]["count"]) == (3, 3)
    ours = package.open(tmp_path / "store")[R60M].to_dataset().load()
    theirs = package.open(sample_store)[R60M].to_dataset().load()
    for name in ("b01", "b09", "processing_baseline", "time"):
        xr.testing.assert_equal(ours[name], theirs[name])

    # What was learned is an index of its own, of the files as they lie there.
    rows = pq.read_table(learned, columns=["band_id", "path"]).to_pylist()
    assert all(row["path"].endswith(f"/{row['band_id']}.jp2") for row in rows)
    usual = ("build", "--tile", TILE, "--stac", samples.stac, "--source", source, "--source-layout", "aws")
    s2ice(*usual, "--index", learned, "--store", tmp_path / "again", "--memory", "none")
    assert s2ice("diff", tmp_path / "store", tmp_path / "again", "--json").json["same"]


def test_requests_on_the_mirror(s2ice: Command, service: s3.Service, samples: Samples, tmp_path: Path) -> None:
    """A listing and two documents per product, one of them twice, and its rasters."""
    bucket = service.bucket("sentinel-s2-l2a")
    for file, product, inside in files(samples):
        if place := in_aws(product, inside):
            service.client.put_object(Bucket=bucket, Key=place, Body=file.read_bytes())
    place = (
        "--source-endpoint",
        service.endpoint,
        "--memory",
        "none",
    )
    with service.recorded() as requests:
        report = s2ice(*line("aws-l2a", samples, tmp_path / "store", *place), **s3.ENVIRONMENT).json
    assert (report["refused"], report["indexed"]["products"]) == ([], 3)
    mine = [r for r in requests if r.bucket == bucket]
    documents = [r for r in mine if r.path.endswith(".xml")]
    rasters = {r.path for r in mine if r.path.endswith(".jp2")}
    listings = [r for r in mine if r.path.rstrip("/") == f"/{bucket}"]
    # The folder's metadata.xml proves the product by its head; its angles are read with the whole of it.
    assert (len(documents), len(listings), len(rasters)) == (9, 3, len(samples.files()))
    assert report["source_use"]["requests"] == len(mine)


@pytest.fixture(scope="module")
def processed(make_samples: Callable[..., Samples]) -> tuple[Samples, Samples]:
    """A product, and the same acquisition processed again later."""
    options = ("--dates", "1", "--no-swath-edge")
    return make_samples(*options), make_samples(*options, "--processed", "2024-07-01")


@pytest.mark.parametrize("number", [0, 1])
def test_the_number_is_proven_by_the_metadata(
    s2ice: Command, processed: tuple[Samples, Samples], tmp_path: Path, number: int
) -> None:
    first, again = processed
    assert first.products != again.products
    source = arrange(first, partial(in_aws, number=number), tmp_path / "source")
    arrange(again, partial(in_aws, number=1 - number), source)
    for samples, place in ((first, number), (again, 1 - number)):
        table = tmp_path / f"{place}.parquet"
        command = ("manifest", "--tile", TILE, "--stac", samples.stac, "--source", source, "--source-layout", "aws")
        s2ice(*command, "--index-missing", "--memory", "none", "-o", table)
        rows = pq.read_table(table).to_pylist()
        assert {row["product_id"] for row in rows} == set(samples.products)
        assert all(f"/2024/5/1/{place}/R" in row["location"] for row in rows)


def test_what_is_not_proven_is_refused(s2ice: Command, processed: tuple[Samples, Samples], tmp_path: Path) -> None:
    first, again = processed
    source = arrange(first, in_aws, tmp_path / "source")
    # The folder is now the other product's, although both products are known.
    arrange(again, in_aws, source)
    build = line(source, first, tmp_path / "store", "--source-layout", "aws", "--memory", "none")
    sentence = s2ice(*build, code=1).sentence
    assert "none of the 1 items of" in sentence
    assert "is proven to be of the product (0: " in sentence
    assert not (tmp_path / "store").exists()

    shutil.copytree(first.root / "stac", tmp_path / "stac")
    (tmp_path / "stac/items.json").unlink()
    for item in (again.root / "stac").glob("S2*.json"):
        shutil.copy(item, tmp_path / "stac")
    report = s2ice(
        *("build", "--tile", TILE, "--stac", tmp_path / "stac", "--source", source, "--source-layout", "aws"),
        *("--index-missing", "--memory", "none", "--store", tmp_path / "store", "--json"),
    ).json

    assert report["changes"]["appended"] == again.products
    (left,) = report["products"]["without_index"]
    assert left["product"] == first.products[0]
    assert "none of the folders of that tile and day is proven to be of the product (0: " in left["reason"]
    assert "it is of granule" in left["reason"]


def test_an_index_of_another_mirror_takes_no_other_products_metadata(
    s2ice: Command, processed: tuple[Samples, Samples], tmp_path: Path
) -> None:
    """Rasters of the right size beside a granule of another product."""
    first, again = processed
    source = arrange(first, in_aws, tmp_path / "source")
    other = arrange(again, in_aws, tmp_path / "other")
    (granule,) = other.glob("tiles/33/T/VN/*/*/*/0/metadata.xml")
    shutil.copy(granule, source / granule.relative_to(other))
    command = ("build", "--tile", TILE, "--index", first.index, "--source", source, "--source-layout", "aws")
    outcome = s2ice(*command, "--memory", "none", "--store", tmp_path / "store", "--json", code=1)
    assert "granule" in outcome.sentence


def test_products_that_are_not_there_are_named(s2ice: Command, samples: Samples, tmp_path: Path) -> None:
    source = arrange(samples, in_aws, tmp_path / "source")
    gone = sorted(source.glob("tiles/33/T/VN/*/*/*"))[0]
    shutil.rmtree(gone)
    report = local(s2ice, source, samples, tmp_path / "store")
    (left,) = report["products"]["without_index"]
    assert "no files lie in" in left["reason"]
    assert report["times"]["count"] == 2


def test_level_1c_has_no_folders_of_resolutions_but_previews(
    s2ice: Command, make_samples: Callable[..., Samples], tmp_path: Path
) -> None:
    samples = make_samples("--level", "L1C", "--dates", "1", "--assets", "B01_60m,B09_60m,B10_60m", "--no-swath-edge")
    source = arrange(samples, in_aws, tmp_path / "source")
    for band in list(source.glob("tiles/**/B*.jp2")):
        (band.parent / "preview").mkdir(exist_ok=True)
        shutil.copy(band, band.parent / "preview" / band.name)
    report = local(s2ice, source, samples, tmp_path / "store", "--level", "L1C")
    assert (report["refused"], report["indexed"]["rasters"]) == ([], 3)
    s2ice(
        *("build", "--tile", TILE, "--level", "L1C", "--index", samples.index, "--source", samples.root),
        *("--store", tmp_path / "usual", "--memory", "none"),
    )
    ours, usual = (
        package.open(tmp_path / name)[R60M].to_dataset()[["b01", "b10"]].load() for name in ("store", "usual")
    )
    xr.testing.assert_equal(ours, usual)
