"""Bad input to a build: one clear sentence, the right exit code, and no store left half made.

What concerns the whole run ends it; what concerns one product or raster leaves that out, by name, and the rest is built
right to the pixel.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import s2ice as package
from conftest import Samples
from support import tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.bench import Bench

B01 = "measurements/reflectance/r60m/b01"


def check_b01(store: Path, samples: Samples, products: list[str]) -> None:
    """The store holds these products, right to the pixel."""
    array = package.open(store, mask_and_scale=False)[B01]
    assert array.sizes["time"] == len(products)
    for step, product in enumerate(products):
        np.testing.assert_array_equal(array[step], samples.truth(product, "B01_60m"))


def first(rows: list[dict[str, Any]], change: Callable[[bytes], bytes]) -> list[dict[str, Any]]:
    """Change the index bytes of B01 of the first product."""
    out = []
    target = min(row["product_id"] for row in rows if row["band_id"] == "B01")
    for row in rows:
        hit = row["band_id"] == "B01" and row["product_id"] == target
        out.append(row | {"index": change(row["index"])} if hit else row)
    return out


# --- The table of the index.


@pytest.mark.parametrize("column", ["product_id", "path", "index"])
def test_a_missing_column(bench: Bench, tmp_path: Path, column: str) -> None:
    table = pq.read_table(bench.index).drop_columns([column])
    pq.write_table(table, tmp_path / "index.parquet")
    sentence = bench.refused(index=tmp_path / "index.parquet")
    assert f"{tmp_path}/index.parquet is no TLM index: column {column} is missing" in sentence


@pytest.mark.parametrize(("column", "wanted"), [("product_id", "utf8"), ("path", "utf8"), ("index", "binary")])
def test_a_column_of_another_type(bench: Bench, tmp_path: Path, column: str, wanted: str) -> None:
    table = pq.read_table(bench.index)
    numbers = pa.array(range(table.num_rows))
    table = table.set_column(table.schema.get_field_index(column), column, numbers)
    pq.write_table(table, tmp_path / "index.parquet")
    sentence = bench.refused(index=tmp_path / "index.parquet")
    assert f"column {column} is Int64, not {wanted}" in sentence


def test_extra_and_reordered_columns(bench: Bench, tmp_path: Path, pair: Samples) -> None:
    table = pq.read_table(bench.index)
    table = table.append_column("comment", pa.array(["x"] * table.num_rows)).append_column(
        "geometry", pa.array([{"x": 1.0}] * table.num_rows)
    )
    pq.write_table(table.select(sorted(table.column_names)), tmp_path / "index.parquet")
    report = bench.build(index=tmp_path / "index.parquet")
    assert report["refused"] == []
    check_b01(bench.store, pair, pair.products)


def test_other_string_types(bench: Bench, tmp_path: Path) -> None:
    """What other writers of Parquet make of text and bytes: large, dictionary."""
    table = pq.read_table(bench.index)
    large = pa.schema(
        [
            ("product_id", pa.large_string()),
            ("band_id", pa.dictionary(pa.int32(), pa.string())),
            ("path", pa.large_string()),
            ("index", pa.large_binary()),
        ]
    )
    pq.write_table(table.cast(large), tmp_path / "index.parquet")
    assert bench.build("--dry-run", index=tmp_path / "index.parquet")["refused"] == []


def test_no_rows(bench: Bench, tmp_path: Path) -> None:
    index = tables.write(tmp_path / "index.parquet", [])
    assert "the index has no rows at all" in bench.refused(index=index)


def test_rows_of_another_tile_only(bench: Bench) -> None:
    assert (
        "no rows of tile 32TQM at level L2A, but 6 rows of others: name an index of this tile and level"
        in bench.refused(tile="32TQM")
    )
    assert "no rows of tile 33TVN at level L1C" in bench.refused(level="L1C")


def test_something_else_than_an_index(bench: Bench, tmp_path: Path, pair: Samples) -> None:
    truncated, empty = tmp_path / "truncated.parquet", tmp_path / "empty.parquet"
    truncated.write_bytes(bench.index.read_bytes()[:-50])
    empty.write_bytes(b"")
    for index in (pair.stac, truncated, empty):
        assert f"{index} is no Parquet file" in bench.refused(index=index)
    assert "does not exist" in bench.refused(index=tmp_path / "none.parquet")
    assert "does not exist" in bench.refused(index="/nowhere/none.parquet")
    assert f"{tmp_path} is a folder" in bench.refused(index=tmp_path)


# --- Its rows.

BROKEN_CELLS = [
    ("truncated", lambda b: b[:30], "the index bytes are truncated at byte 30"),
    ("truncated head", lambda b: b[:7], "the index bytes are truncated at byte 7"),
    ("too long", lambda b: b + b"\0", "the index bytes hold 1 bytes more"),
    ("another marker", lambda b: b[:20] + b"\xff\x00" + b[22:], "unexpected marker FF00"),
    ("text", lambda _: b"this is no index of any kind at all", "the index bytes are truncated"),
    ("another size", lambda b: (10**6).to_bytes(8) + b[8:], "the index says 1000000: it changed since it was indexed"),
    ("another first tile-part", lambda b: b[:8] + (2000).to_bytes(8) + b[16:], "the index says 2000"),
    ("first tile-part outside", lambda b: b[:8] + (10**9).to_bytes(8) + b[16:], "beyond the file's"),
]


@pytest.mark.parametrize(("change", "reason"), [c[1:] for c in BROKEN_CELLS], ids=[c[0] for c in BROKEN_CELLS])
def test_broken_index_bytes(
    bench: Bench, tmp_path: Path, pair: Samples, change: Callable[[bytes], bytes], reason: str
) -> None:
    """Of one raster: it is left out by name. Of all: nothing can be stored."""
    rows = tables.rows(bench.index)
    index = tables.write(tmp_path / "one.parquet", first(rows, change))
    report = bench.build(index=index)
    (refused,) = report["refused"]
    product = min(pair.products)
    assert (refused["product"], refused["raster"]) == (product, "B01_60m")
    assert reason in refused["reason"]
    present = package.open(bench.store)["measurements/reflectance/r60m"]["present_reflectance"]
    flags = dict(zip(present.attrs["flag_meanings"].split(), present.attrs["flag_masks"], strict=True))
    step = pair.products.index(product)
    assert [bool(v & flags["b01"]) for v in present.to_numpy()] == [i != step for i in range(2)]
    assert [bool(v & flags["b09"]) for v in present.to_numpy()] == [True, True]
    b01 = package.open(bench.store, mask_and_scale=False)[B01]
    assert not b01[step].to_numpy().any()

    before = bench.at_store()
    every = tables.write(tmp_path / "all.parquet", [row | {"index": change(row["index"])} for row in rows])
    sentence = bench.refused(index=every)
    assert "nothing can be stored (8 left out): S2" in sentence
    assert reason in sentence
    assert bench.at_store() == before


def test_ranges_outside_the_file(bench: Bench, tmp_path: Path) -> None:
    """Lengths that add up to more than the file has."""

    def longer(index: bytes) -> bytes:
        data = bytearray(index)
        # The first length of the first segment, whatever its width: its highest byte.
        style = data[25]
        data[26 + (style >> 4 & 3)] = 0xFF
        return bytes(data)

    rows = first(tables.rows(bench.index), longer)
    assert rows != tables.rows(bench.index)
    report = bench.build(index=tables.write(tmp_path / "index.parquet", rows))
    (refused,) = report["refused"]
    assert refused["raster"] == "B01_60m"
    assert "does not fit in front of byte" in refused["reason"]


def test_duplicate_rows(bench: Bench, tmp_path: Path, pair: Samples) -> None:
    rows = tables.rows(bench.index)
    index = tables.write(tmp_path / "twice.parquet", [*rows, *rows[:2]])
    report = bench.build(index=index)
    assert report["index"]["duplicates"] == 2
    assert report["refused"] == []
    check_b01(bench.store, pair, pair.products)
    text = bench.s2ice(*bench.arguments("--dry-run", index=index)).stdout
    assert "2 rows of the index repeat another" in text


def test_rows_that_contradict_each_other(bench: Bench, tmp_path: Path, pair: Samples) -> None:
    rows = tables.rows(bench.index)
    other = [r for r in first(rows, lambda b: b[:-1] + bytes([b[-1] ^ 1])) if r not in rows]
    index = tables.write(tmp_path / "index.parquet", rows + other)
    report = bench.build(index=index)
    (refused,) = report["refused"]
    assert (refused["product"], refused["raster"]) == (min(pair.products), "B01_60m")
    assert "contradict each other" in refused["reason"]
    # The same whichever comes first.
    turned = bench.build(index=tables.write(tmp_path / "turned.parquet", other + rows))
    assert turned["refused"] == report["refused"]


BROKEN_ROWS = [
    ("no path", {"path": None}, "path is null or empty"),
    ("no product", {"product_id": "nonsense"}, '"nonsense" is not a Sentinel-2 product name'),
    ("escaping path", {"path": "/../../etc/passwd", "band_id": "B01"}, "/../../etc/passwd"),
    ("no raster", {"path": "/x/y.jp2", "band_id": "B99"}, "names a raster"),
]


@pytest.mark.parametrize(("change", "reason"), [b[1:] for b in BROKEN_ROWS], ids=[b[0] for b in BROKEN_ROWS])
def test_rows_that_are_not_understood(bench: Bench, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    rows = tables.rows(bench.index)
    index = tables.write(tmp_path / "index.parquet", [rows[0] | change, *rows[1:]])
    report = bench.build(index=index)
    told = [*report["index"]["rejected_rows"], *report["refused"]]
    assert len(told) == 1
    assert reason in told[0]["reason"]


def test_a_path_of_another_product(bench: Bench, tmp_path: Path) -> None:
    """Or the store would show one day's pixels at another's time."""
    rows = tables.rows(bench.index)
    other = next(r for r in rows if r["band_id"] == rows[0]["band_id"] and r["product_id"] != rows[0]["product_id"])
    index = tables.write(tmp_path / "index.parquet", [rows[0] | {"path": other["path"]}, *rows[1:]])
    (rejected,) = bench.build(index=index)["index"]["rejected_rows"]
    assert "is of another product than" in rejected["reason"]


# --- The catalogue.


def catalogue(samples: Samples, path: Path, change: Callable[[str], str], items: slice = slice(None)) -> Path:
    collection = json.loads(samples.stac.read_text())
    features = collection["features"]
    features[items] = [json.loads(change(json.dumps(item))) for item in features[items]]
    path.write_text(json.dumps(collection))
    return path


def test_items_of_another_tile(bench: Bench, tmp_path: Path, pair: Samples) -> None:
    def moved(text: str) -> str:
        """As the catalogue has 33TWN: the next tile to the east."""
        return text.replace("33TVN", "33TWN").replace("399960", "499980")

    stac = catalogue(pair, tmp_path / "stac.json", moved)
    assert "has no item of tile 33TVN, only 2 of 33TWN" in bench.refused(stac=stac)
    stac = catalogue(pair, tmp_path / "one.json", moved, slice(1))
    report = bench.build(stac=stac)
    assert report["products"]["stored"] == 1
    (left_out,) = report["products"]["without_product"]
    assert left_out["reason"] == "not in the catalogue"


def test_items_that_contradict_themselves(bench: Bench, tmp_path: Path, pair: Samples) -> None:
    stac = catalogue(pair, tmp_path / "stac.json", lambda text: text.replace("EPSG:32633", "EPSG:32632"))
    # Items that cannot be believed are no whole answer.
    sentence = bench.refused(stac=stac, code=3)
    assert "no item of" in sentence
    assert "proj:code says EPSG:32632" in sentence


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"type": "FeatureCollection", "features": [{]', "is not JSON"),
        ("<html><body>Welcome</body></html>", "is not JSON"),
        ('{"hello": "world"}', "not a STAC"),
        ('{"type": "FeatureCollection", "features": []}', "among the 0 items"),
        ("", "is not JSON"),
    ],
)
def test_something_else_than_a_catalogue(bench: Bench, tmp_path: Path, text: str, reason: str) -> None:
    stac = tmp_path / "stac.json"
    stac.write_text(text)
    sentence = bench.refused(stac=stac)
    assert str(stac) in sentence
    assert reason in sentence


def test_no_catalogue(bench: Bench, tmp_path: Path) -> None:
    assert "No such file" in bench.refused(stac=tmp_path / "none.json")


def test_filters_that_leave_nothing(bench: Bench, pair: Samples) -> None:
    assert "lies outside the interval" in bench.refused(datetime="2020-01-01/2020-12-31")
    assert "its cloud cover is" in bench.refused(stac=pair.stac, max_cloud_cover=1)
    assert "its cloud cover is" in bench.refused(max_cloud_cover=1)
    assert "check --arrays" in bench.refused(arrays="/measurements/reflectance/r10m/b02")


# --- The files of the source.


def b01_of(samples: Samples) -> Path:
    return min(samples.files("*_B01_60m"))


def edited(data: bytes, at: int, new: bytes) -> bytes:
    """Change bytes counted from the SOC marker."""
    start = data.index(b"\xff\x4f\xff\x51") + at
    return data[:start] + new + data[start + len(new) :]


BROKEN_FILES = [
    ("grown", lambda b: b + b"\0", "it changed since it was indexed"),
    ("truncated", lambda b: b[:-500], "it changed since it was indexed"),
    ("truncated in the boxes", lambda b: b[:100], "beyond the file's 100"),
    ("empty", lambda _: b"", "ends before byte 0"),
    ("another kind of file", lambda b: b"P5 9 9 255\n".ljust(len(b)), "neither a JP2 box"),
    ("no SIZ", lambda b: edited(b, 2, b"\0\0"), "unexpected marker 0000"),
    ("no width", lambda b: edited(b, 8, b"\0\0\0\0"), "Xsiz 0"),
    ("endless width", lambda b: edited(b, 8, b"\xff\xff\xff\xff"), "SIZ"),
    ("tiles of nothing", lambda b: edited(b, 24, b"\0\0\0\0"), "SIZ"),
    ("another size of image", lambda b: edited(b, 8, (1000).to_bytes(4)), "1000"),
]


@pytest.mark.parametrize(("change", "reason"), [b[1:] for b in BROKEN_FILES], ids=[b[0] for b in BROKEN_FILES])
def test_broken_files(damaged: Bench, mine: Samples, change: Callable[[bytes], bytes], reason: str) -> None:
    file = b01_of(mine)
    file.write_bytes(change(file.read_bytes()))
    report = damaged.build()
    (refused,) = report["refused"]
    assert (refused["product"], refused["raster"]) == (min(mine.products), "B01_60m")
    assert reason in refused["reason"]
    assert "\n" not in refused["reason"]
    # The same where the store exists: the raster is tried again and refused again, and nothing is written.
    again = damaged.build()
    assert again["refused"] == report["refused"]
    assert "committed" not in again


def test_a_missing_file(damaged: Bench, mine: Samples) -> None:
    b01_of(mine).unlink()
    (refused,) = damaged.build()["refused"]
    assert refused["raster"] == "B01_60m"
    assert refused["reason"].endswith("_B01_60m.jp2 does not exist")


def test_an_empty_source(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    sentence = bench.refused(source=tmp_path / "empty")
    assert "nothing can be stored (2 left out)" in sentence
    assert sentence.endswith("does not exist")


def test_no_source(bench: Bench, tmp_path: Path) -> None:
    assert "is not a folder" in bench.refused(source=tmp_path / "none")
    assert "is not a folder" in bench.refused(source=bench.index)
    assert "ftp://host/x" in bench.refused(code=2, source="ftp://host/x")


# Without it, other offsets and headers go to eras: see test_eras.py.
REFUSE = ("--on-mismatch", "refuse")

BROKEN_METADATA = [
    ("no XML", "GRANULE/*/MTD_TL.xml", lambda _: "<a><b>", "Tile_Geocoding"),
    (
        "another place",
        "GRANULE/*/MTD_TL.xml",
        lambda text: text.replace("<ULX>399960", "<ULX>499980"),
        "upper left (499980, 5300040), expected EPSG:32633 with upper left (399960, 5300040)",
    ),
    (
        "another zone",
        "GRANULE/*/MTD_TL.xml",
        lambda text: text.replace("EPSG:32633", "EPSG:32632"),
        "the geocoding says EPSG:32632",
    ),
    ("no product XML", "MTD_MSIL2A.xml", lambda _: "", "MTD_MSIL2A.xml"),
    (
        "another offset",
        "MTD_MSIL2A.xml",
        lambda text: text.replace(">-1000<", ">0<"),
        "its radiometric offset 0 and quantification 10000, where the main tree has -1000 and 10000",
    ),
    (
        "another scale",
        "MTD_MSIL2A.xml",
        lambda text: re.sub(r"(<BOA_QUANTIFICATION_VALUE[^>]*>)10000<", r"\g<1>20000<", text),
        "quantification 20000 (of no known processing), where the main tree has -1000",
    ),
]


@pytest.mark.parametrize(
    ("name", "change", "reason"), [b[1:] for b in BROKEN_METADATA], ids=[b[0] for b in BROKEN_METADATA]
)
def test_broken_metadata(
    damaged: Bench, mine: Samples, pair: Samples, name: str, change: Callable[[str], str], reason: str
) -> None:
    """A product whose metadata cannot be trusted is refused as a whole."""
    product = min(mine.products)
    (file,) = (mine.root / f"{product}.SAFE").glob(name)
    text = change(file.read_text())
    assert text != file.read_text()
    file.write_text(text)
    report = damaged.build(*REFUSE)
    (refused,) = report["refused"]
    assert refused["product"] == product
    assert "raster" not in refused
    assert reason in refused["reason"]
    check_b01(damaged.store, pair, [p for p in pair.products if p != product])


# --- Products of another class: refused by name, the rest is built.


def joined(first: Samples, second: Samples, folder: Path) -> Samples:
    """The products of two specifications in one folder, with one index."""
    rows = []
    for samples in (first, second):
        for product in samples.root.glob("*.SAFE"):
            shutil.copytree(product, folder / product.name)
        rows += tables.rows(samples.index)
    tables.write(folder / "index.parquet", rows)
    return Samples(folder)


@pytest.fixture(scope="session")
def early(make_samples: Callable[..., Samples]) -> Samples:
    """One product with headers as in early 2016: 12 bit, tiles of 2048."""
    return make_samples("--dates", "1", "--start", "2024-06-10", "--products", "early", "--truth")


@pytest.fixture(scope="session")
def old(make_samples: Callable[..., Samples]) -> Samples:
    """One product of a baseline without radiometric offset."""
    return make_samples("--dates", "1", "--start", "2024-06-10", "--baseline", "02.14")


def test_another_header_class(bench: Bench, tmp_path: Path, pair: Samples, early: Samples) -> None:
    """12-bit tiles under a 15-bit header would decode to wrong numbers without an error."""
    both = joined(pair, early, tmp_path / "source")
    report = bench.build(*REFUSE, index=both.index, source=both.root)
    refused = {(r["product"], r["raster"]) for r in report["refused"]}
    assert {r["kind"] for r in report["refused"]} == {"header_profile"}
    one = {(p, a) for p in early.products for a in ("B01_60m", "B09_60m")}
    other = {(p, a) for p in pair.products for a in ("B01_60m", "B09_60m")}
    assert refused in (one, other)
    for entry in report["refused"]:
        assert "its main header differs from the array's" in entry["reason"]
        assert "15 bit" in entry["reason"]
        assert "12 bit" in entry["reason"]
    kept = early if refused == other else pair
    array = package.open(bench.store, mask_and_scale=False)[B01]
    products = sorted([*pair.products, *early.products], key=lambda name: name.split("_")[2])
    for step, product in enumerate(products):
        pixels = array[step].to_numpy()
        if product in kept.products:
            np.testing.assert_array_equal(pixels, kept.truth(product, "B01_60m"))
        else:
            assert not pixels.any()
    # SCL is of one class in all of them.
    assert package.open(bench.store)["conditions/mask/l2a_classification/r20m"].sizes["time"] == 3


def test_another_offset_class(bench: Bench, tmp_path: Path, pair: Samples, old: Samples) -> None:
    both = joined(pair, old, tmp_path / "source")
    report = bench.build(*REFUSE, index=both.index, source=both.root)
    (refused,) = report["refused"]
    assert refused["product"] == old.products[0]
    assert refused["kind"] == "radiometry"
    assert "its radiometric offset 0" in refused["reason"]
    check_b01(bench.store, pair, pair.products)


def test_tile_parts_apart(bench: Bench, tmp_path: Path, pair: Samples, make_samples: Callable[..., Samples]) -> None:
    """Two tile-parts of a tile side by side are one range; apart they cannot be one chunk."""
    options = ("--dates", "1", "--start", "2024-06-10", "--truth", "--products")
    split = make_samples(*options, "split")
    both = joined(pair, split, tmp_path / "split")
    report = bench.build(index=both.index, source=both.root)
    assert report["refused"] == []
    product = split.products[0]
    array = package.open(bench.store, mask_and_scale=False)[B01]
    np.testing.assert_array_equal(array[2], split.truth(product, "B01_60m"))

    interleaved = make_samples(*options[:-2], "--products", "interleaved")
    both = joined(pair, interleaved, tmp_path / "interleaved")
    sentence = bench.refused(index=both.index, source=both.root)
    assert "named local" in sentence
    assert "--container" in sentence
    apart = bench.store.with_name("apart")
    report = bench.build(index=both.index, source=both.root, store=apart)
    rasters = {r.get("raster") for r in report["refused"]}
    assert rasters == {None, "B01_60m", "B09_60m", "SCL_20m"}
    assert all(
        "do not follow each other" in r["reason"] or "no raster of this product" in r["reason"]
        for r in report["refused"]
    )
    check_b01(apart, pair, pair.products)


# --- Configuration and command line.

CONFIGURATIONS = [
    ("unknown key", 'tile = "33TVN"\n\nsouce = "x"\n', 3, "unknown field `souce`"),
    ("unknown key of a table", 'tile = "33TVN"\n[source-options]\nregion = "x"\nbogus = 1\n', 4, "`bogus`"),
    ("not TOML", 'tile = "33TVN"\nlevel = \n', 2, "expected"),
    ("another type", "\ntile = 3\n", 2, "expected a string"),
    ("unknown choice", '\n\nheaders = "guess"\n', 3, "unknown variant `guess`"),
]


@pytest.mark.parametrize(
    ("text", "line", "reason"), [c[1:] for c in CONFIGURATIONS], ids=[c[0] for c in CONFIGURATIONS]
)
def test_configuration_files(bench: Bench, tmp_path: Path, text: str, line: int, reason: str) -> None:
    path = tmp_path / "s2ice.toml"
    path.write_text(text)
    sentence = bench.refused(code=2, config=path)
    assert f"{path}, line {line}: " in sentence
    assert reason in sentence


def test_no_configuration_file(bench: Bench, tmp_path: Path) -> None:
    assert "none.toml cannot be read" in bench.refused(code=2, config=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tile": "nowhere"}, '"nowhere" is not an MGRS tile'),
        ({"tile": None}, "--tile is missing"),
        ({"index": None}, "--index is missing"),
        ({"source": None}, "--source is missing"),
        ({"store": None}, "--store is missing"),
        ({"level": "L3A"}, "L3A"),
        ({"datetime": "soon"}, "soon"),
        ({"max_cloud_cover": 120}, "percentage"),
        ({"arrays": "[z-a"}, "--arrays"),
        ({"arrays": "**/b99"}, "--arrays: **/b99: no array of level L2A"),
        ({"source_option": "novalue"}, "KEY=VALUE"),
        ({"collection": "sentinel-2-l2a"}, "--collection"),
        ({"source": "/"}, "the whole disk"),
        ({"source": "s3:/bucket/x"}, "write s3://bucket/x"),
    ],
)
def test_requests_that_make_no_sense(bench: Bench, changes: dict[str, Any], reason: str) -> None:
    assert reason in bench.refused(code=2, **changes)


def test_a_slash_is_missing_in_the_stores_address(bench: Bench, tmp_path: Path) -> None:
    for store, right in (("s3:/stores/x", "s3://stores/x"), (f"file:{tmp_path}/x", f"file://{tmp_path}/x")):
        assert f"write {right}" in bench.refused(code=2, store=store)


def test_globs_are_checked_where_a_store_is_there_already(bench: Bench) -> None:
    bench.build()
    assert "--arrays: **/b99" in bench.refused("--arrays", "**/b01", "--arrays", "**/b99", code=2)


def test_options_that_clap_refuses(bench: Bench) -> None:
    for options in (("--headers", "guess"), ("--spec", "3"), ("--connections", "0"), ("--no-such-option",)):
        outcome = bench.s2ice(*bench.arguments(*options), code=2)
        assert outcome.stdout == ""
        assert options[-1] in outcome.stderr
        assert "panicked" not in outcome.stderr
        assert not bench.store.exists()


def test_a_memory_that_is_none(bench: Bench, tmp_path: Path) -> None:
    """It costs requests and no build: it is passed over with a word."""
    junk = tmp_path / "memory.parquet"
    junk.write_text("hello\n")
    outcome = bench.s2ice(*bench.arguments(memory=junk))
    assert "cannot be read and is passed over" in outcome.stderr
    assert bench.store.exists()
