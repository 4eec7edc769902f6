"""An index made on one source, the pixels on another: the arrangements of the mirrors, and what does not agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr

import s2ice as package
from support import s3
from support.mirrors import LAYOUTS, arrange, files, in_aws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command

TILE = "33TVN"
R60M = "measurements/reflectance/r60m"


@dataclass
class Made:
    """Samples, and the store built where they were indexed."""

    samples: Samples
    store: Path


@pytest.fixture(scope="module")
def made(samples: Samples, sample_store: Path) -> Made:
    return Made(samples, sample_store)


def build(s2ice: Command, made: Made, source: object, store: object, *more: object, code: int = 0, **env: str) -> Any:
    line = ("build", "--tile", TILE, "--index", made.samples.index, "--stac", made.samples.stac, "--memory", "none")
    return s2ice(*line, "--source", source, "--store", store, "--json", *more, code=code, **env)


def same(mirrored: object, made: Made, **options: Any) -> None:
    """Every pixel of B01 is that of the store of the products themselves."""
    ours = package.open(mirrored, **options)[R60M].to_dataset()["b01"].load()
    xr.testing.assert_equal(ours, package.open(made.store)[R60M].to_dataset()["b01"].load())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_index_serves_every_arrangement(s2ice: Command, made: Made, layout: str, tmp_path: Path) -> None:
    source = arrange(made.samples, LAYOUTS[layout], tmp_path / "source")
    report = build(s2ice, made, source, tmp_path / "store", "--source-layout", layout).json
    assert report["refused"] == []
    assert report["times"]["count"] == 3
    same(tmp_path / "store", made)


def test_another_file_in_the_place_is_refused(s2ice: Command, made: Made, tmp_path: Path) -> None:
    source = arrange(made.samples, in_aws, tmp_path / "source")
    first = sorted(source.glob("tiles/33/T/VN/*/*/*/0/R60m/B01.jp2"))[0]
    first.write_bytes(first.read_bytes() + b"\0")
    report = build(s2ice, made, source, tmp_path / "store", "--source-layout", "aws").json
    assert [refusal["raster"] for refusal in report["refused"]] == ["B01_60m"]
    assert report["refused"][0]["kind"] == "changed"


def test_a_file_of_the_same_size_with_another_header_is_refused(s2ice: Command, made: Made, tmp_path: Path) -> None:
    """The index knows the header; size and first tile-part alone would not tell."""
    index = tmp_path / "index.parquet"
    s2ice("index", "--source", made.samples.root, "-o", index)
    source = arrange(made.samples, in_aws, tmp_path / "source")
    for file in sorted(source.glob("tiles/33/T/VN/*/*/*/0/R60m/B01.jp2")):
        content = bytearray(file.read_bytes())
        # Guard bits of the quantisation: a header as good as any, with which the pixels would be others.
        at = content.index(b"\xff\x5c") + 4
        content[at] ^= 0x20
        file.write_bytes(content)
    line = ("build", "--tile", TILE, "--index", index, "--source", source, "--source-layout", "aws", "--memory", "none")
    report = s2ice(*line, "--store", tmp_path / "store", "--json").json
    assert [(r["raster"], r["kind"]) for r in report["refused"]] == [("B01_60m", "changed")] * 3
    assert all("main header is not the one that was indexed" in r["reason"] for r in report["refused"])


def test_tiles_that_lie_elsewhere_in_a_file_of_the_same_size_are_found(
    s2ice: Command, made: Made, tmp_path: Path
) -> None:
    """The same size and header: where the tiles lie says that it is another file, which is left out by name."""
    source = arrange(made.samples, in_aws, tmp_path / "source")
    first, _, third = sorted(source.glob("tiles/33/T/VN/*/*/*/0/R60m/B09.jp2"))
    size, other = first.stat().st_size, third.read_bytes()
    first.write_bytes((other + b"\0" * size)[:size])
    line = (
        "--source-layout",
        "aws",
    )
    report = build(s2ice, made, source, tmp_path / "store", *line).json
    ((refused),) = report["refused"]
    assert refused["raster"] == "B09_60m"


def test_masks_are_not_guessed(s2ice: Command, make_samples: Callable[..., Samples], tmp_path: Path) -> None:
    samples = make_samples("--dates", "1", "--assets", "B01_60m,MSK_CLDPRB_20m")
    source = arrange(samples, in_aws, tmp_path / "source")
    index = tmp_path / "index.parquet"
    s2ice("index", "--source", samples.root, "-o", index)
    line = ("build", "--tile", TILE, "--index", index, "--source", source, "--source-layout", "aws", "--memory", "none")
    report = s2ice(*line, "--store", tmp_path / "store", "--json").json
    assert [(r["raster"], r["kind"]) for r in report["refused"]] == [("MSK_CLDPRB_20m", "index")]
    assert "is not known" in report["refused"][0]["reason"]


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        yield service


@pytest.mark.parametrize(
    ("name", "bucket", "layout"), [("cdse", "eodata", "cdse"), ("aws-l2a", "sentinel-s2-l2a", "aws")]
)
def test_mirrors_have_names(
    s2ice: Command, service: s3.Service, made: Made, name: str, bucket: str, layout: str, tmp_path: Path
) -> None:
    service.bucket(bucket)
    for file, product, inside in files(made.samples):
        if place := LAYOUTS[layout](product, inside):
            service.client.put_object(Bucket=bucket, Key=place, Body=file.read_bytes())
    end = ("--source-endpoint", service.endpoint)
    report = build(s2ice, made, name, tmp_path / "store", *end, **s3.ENVIRONMENT).json
    assert report["refused"] == []
    assert report["source"] == f"s3://{bucket}/"
    assert report["container"] == bucket
    same(tmp_path / "store", made, credentials=s3.KEYS, allow=service.endpoint)


def test_folder_markers_are_no_files(s2ice: Command, made: Made, tmp_path: Path) -> None:
    source = arrange(made.samples, LAYOUTS["gcs"], tmp_path / "source")
    for folder in [path for path in source.rglob("*") if path.is_dir()]:
        (folder.parent / f"{folder.name}_$folder$").write_bytes(b"")
        (folder / "T33TVN_20240501T100021_B01_60m.jp2_$folder$").write_bytes(b"")
    index = tmp_path / "index.parquet"
    report = s2ice("index", "--source", source, "-o", index, "--json").json
    assert (report["indexed"], report["refused"]) == (len(made.samples.files("*")), [])
