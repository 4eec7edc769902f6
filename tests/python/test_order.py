"""The store follows from the set of its inputs: not from their order, nor from how they are cut into files."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from zarr.core.buffer import default_buffer_prototype

from conftest import Samples
from support import stores, tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.command import Command

STEPS = 4


@pytest.fixture(scope="module")
def many(make_samples: Callable[..., Samples], tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Four dates: one processed twice, one of another header class, one of another offset."""
    root = tmp_path_factory.mktemp("many")
    assets = ("--assets", "B01_60m,SCL_60m", "--resolutions", "all")
    rows = []
    for options in (
        ("--dates", "3"),
        ("--dates", "1", "--processed", "2024-08-01"),
        ("--dates", "1", "--start", "2024-06-10", "--products", "early"),
        ("--dates", "1", "--start", "2024-06-20", "--baseline", "02.14"),
    ):
        made = make_samples(*options, *assets, into=root)
        rows += tables.rows(made.index)
    unique = {(row["product_id"], row["band_id"]): row for row in rows}
    tables.write(root / "index.parquet", unique.values())
    return Samples(root)


async def everything(session: Any) -> tuple[dict[str, bytes], list[str]]:
    """Every key with its bytes, references followed; and where the references lead."""
    out = {}
    for key in [key async for key in session.store.list()]:
        buffer = await session.store.get(key, default_buffer_prototype())
        out[key] = buffer.to_bytes()
    return out, sorted(session.all_virtual_chunk_locations())


def build(s2ice: Command, many: Samples, folder: Path, *indexes: Path, stac: Path | None = None) -> Any:
    store = folder / "33TVN"
    options = [item for index in indexes for item in ("--index", index)]
    options += ["--stac", stac] if stac else []
    report = s2ice(
        *("build", "--tile", "33TVN", *options, "--source", many.root, "--store", store),
        *("--memory", "none", "--json"),
    ).json
    state = asyncio.run(everything(stores.local_with_source(store, many.root)))
    told = {key: report[key] for key in ("arrays", "times", "refused", "references", "products")}
    kept = ("differs", "arrays", "times", "references")
    told["eras"] = {era["era"]: {key: era[key] for key in kept} for era in report["eras"]}
    return state, told


@pytest.fixture(scope="module")
def reference(s2ice: Command, many: Samples, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(s2ice, many, tmp_path_factory.mktemp("reference"), many.index)


def test_the_set_is_worth_testing(reference: Any) -> None:
    (keys, locations), report = reference
    assert report["times"]["count"] == STEPS
    assert {r["kind"] for r in report["refused"]} == {"superseded"}
    assert list(report["eras"]) == ["offset-0", "offset-1000-profile-2"]
    references = [told["references"] for told in (report, *report["eras"].values())]
    assert all(references)
    assert len(locations) == sum(references) > 100
    assert len(keys) > sum(references)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rows_in_another_order(s2ice: Command, many: Samples, reference: Any, tmp_path: Path, seed: int) -> None:
    rows = tables.rows(many.index)
    random.Random(seed).shuffle(rows)
    index = tables.write(tmp_path / "index.parquet", rows)
    assert build(s2ice, many, tmp_path, index) == reference


def test_two_index_files(s2ice: Command, many: Samples, reference: Any, tmp_path: Path) -> None:
    """Cut through the middle of products, in either order, and with rows in both."""
    rows = sorted(tables.rows(many.index), key=lambda row: row["band_id"])
    half = len(rows) // 2
    first = tables.write(tmp_path / "first.parquet", rows[: half + 1])
    second = tables.write(tmp_path / "second.parquet", rows[half - 1 :])
    for name, pair in (("a", (first, second)), ("b", (second, first))):
        (tmp_path / name).mkdir()
        assert build(s2ice, many, tmp_path / name, *pair) == reference


def test_our_own_index(s2ice: Command, many: Samples, reference: Any, tmp_path: Path) -> None:
    """`s2ice index` over the folder: the same chunks, but for those it proves to be nodata."""
    index = tmp_path / "index.parquet"
    s2ice("index", "--source", many.root, "-o", index, "-q")
    (keys, _), report = build(s2ice, many, tmp_path, index)
    (wanted, _), _ = reference
    # What tells of the references and of the rows they came from is another, of course.
    trees = ("", *(f"eras/{era}/" for era in report["eras"]))
    own = {f"{tree}products/{name}/c/0" for tree in trees for name in ("referenced_bytes", "content", "inputs")}
    assert {key: value for key, value in wanted.items() if key in keys and key not in own} == {
        key: value for key, value in keys.items() if key not in own
    }
    missing = sorted(set(wanted) - set(keys))
    arrays = [array for told in (report, *report["eras"].values()) for array in told["arrays"]]
    assert len(missing) == sum(array["nodata_chunks"] for array in arrays) > 0
    assert all("/c/" in key for key in missing)


def test_onto_another_state(s2ice: Command, many: Samples, reference: Any, tmp_path: Path) -> None:
    """What the store held before leaves no trace in its state."""
    rows = tables.rows(many.index)
    build(s2ice, many, tmp_path, tables.write(tmp_path / "few.parquet", rows[: len(rows) // 2]))
    assert build(s2ice, many, tmp_path, many.index) == reference


def test_twice(s2ice: Command, many: Samples, reference: Any, tmp_path: Path) -> None:
    assert build(s2ice, many, tmp_path, many.index) == reference
    assert build(s2ice, many, tmp_path, many.index) == reference
