"""The command: help, reports that keep to their schemas, quietness, dry runs, configuration files, manifests."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pyarrow.parquet as pq
import pytest
from zarr.core.buffer import default_buffer_prototype

import s2ice as package
from conftest import ROOT
from support import stores, tables

if TYPE_CHECKING:
    from conftest import Samples
    from support.bench import Bench
    from support.command import Command

COMMANDS = {
    "index": ["PATHS", "--source", "--output", "--public-style", "--connections", "--json"],
    "manifest": [
        "--tile",
        "--level",
        "--index",
        "--stac",
        "--source",
        "--output",
        "--datetime",
        "--arrays",
        "--config",
    ],
    "build": [
        *("--tile", "--level", "--index", "--stac", "--source", "--store", "--datetime", "--max-cloud-cover"),
        *("--arrays", "--resolutions", "--headers", "--checksum", "--spec", "--memory", "--config", "--dry-run"),
        *("--source-endpoint", "--store-endpoint", "--container", "--quiet", "--verbose", "--json"),
    ],
    "info": ["STORE", "--store-endpoint", "--json"],
}


@functools.cache
def contents(path: str) -> bytes:
    return Path(path).read_bytes()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_options(s2ice: Command, command: str) -> None:
    text = s2ice(command, "--help").stdout
    for option in COMMANDS[command]:
        assert option in text, option
    assert max(map(len, text.splitlines())) <= 110


def test_help_names_the_commands(s2ice: Command) -> None:
    text = s2ice("--help").stdout
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert "Exit codes" in text
    assert s2ice("--version").stdout == f"s2ice {package.__version__}\n"


# --- Reports.


@pytest.fixture(scope="session")
def schemas(s2ice: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("schemas")
    s2ice("schemas", folder)
    return {path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in folder.iterdir()}


def conforms(document: Any, schema: dict[str, Any]) -> None:
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    validator(schema, format_checker=validator.FORMAT_CHECKER).validate(document)


def test_schemas_are_those_of_the_repository(schemas: dict[str, Any]) -> None:
    kept = {p.name.removesuffix(".schema.json"): json.loads(p.read_text()) for p in (ROOT / "schemas").glob("*.json")}
    assert kept == schemas


def test_reports_conform_to_their_schemas(bench: Bench, schemas: dict[str, Any], pair: Samples, tmp_path: Path) -> None:
    report = bench.build(stac=pair.stac)
    conforms(report, schemas["build-report"])
    assert (report["kind"], report["version"]) == ("s2ice.build", 1)
    info = bench.s2ice("info", bench.store, "--json").json
    conforms(info, schemas["info-report"])
    assert (info["kind"], info["version"]) == ("s2ice.info", 1)
    index = bench.s2ice("index", "--source", pair.root, "-o", tmp_path / "i.parquet", "--json").json
    conforms(index, schemas["index-report"])
    assert (index["kind"], index["version"]) == ("s2ice.index", 1)
    # A schema that takes anything would prove nothing.
    for document, schema in ((report, "build-report"), (info, "info-report"), (index, "index-report")):
        with pytest.raises(jsonschema.ValidationError):
            conforms({k: v for k, v in document.items() if k != "version"}, schemas[schema])
        with pytest.raises(jsonschema.ValidationError):
            conforms(document | {"version": "one"}, schemas[schema])


def test_reports_with_refusals_conform(bench: Bench, schemas: dict[str, Any], tmp_path: Path, pair: Samples) -> None:
    rows = tables.rows(bench.index)
    broken = [rows[0] | {"path": None}, rows[1] | {"index": b"x"}, *rows[2:], rows[2], rows[3] | {"index": b"y"}]
    report = bench.build("--dry-run", index=tables.write(tmp_path / "index.parquet", broken), stac=pair.stac)
    conforms(report, schemas["build-report"])
    assert report["dry_run"] is True
    assert report["refused"]
    assert sum(report["refused_counts"].values()) == len(report["refused"])


def test_what_the_store_holds_conforms(sample_store: Path, schemas: dict[str, Any]) -> None:
    documents = stores.documents(stores.local(sample_store))
    conforms(documents[""]["attributes"]["s2ice"], schemas["store-stamp"])
    for document in stores.data_arrays(stores.local(sample_store)).values():
        (codec,) = document["codecs"]
        assert codec["name"] == "s2ice.jpeg2000"
        conforms(codec["configuration"], schemas["codec"])
        with pytest.raises(jsonschema.ValidationError):
            conforms({"reduce": 0}, schemas["codec"])


def test_reports_agree_with_the_store(bench: Bench) -> None:
    report = bench.build()
    info = bench.s2ice("info", bench.store, "--json").json
    arrays = stores.data_arrays(stores.local(bench.store))
    assert (
        {a["path"].strip("/") for a in report["arrays"]}
        == {a["path"].strip("/") for a in info["arrays"]}
        == set(arrays)
    )
    for array in report["arrays"]:
        document = arrays[array["path"].strip("/")]
        assert array["shape"] == document["shape"]
        assert array["chunks"] == document["chunk_grid"]["configuration"]["chunk_shape"]
        assert array["profile"] == document["attributes"]["s2ice:profile"]
    assert info["references"] == report["references"] == sum(a["references"] for a in report["arrays"])
    assert info["references"] == len(stores.local(bench.store).all_virtual_chunk_locations())
    assert info["referenced_bytes"] == report["referenced_bytes"]
    assert info["times"] == report["times"]
    assert info["last_commit"]["snapshot"] == report["committed"]["snapshot"]


# --- Quietness and dry runs.


def test_quiet(bench: Bench, tmp_path: Path, pair: Samples) -> None:
    for line in (
        bench.arguments("-q"),
        ["index", "--source", pair.root, "-o", tmp_path / "i.parquet", "--quiet"],
        ["manifest", *bench.arguments("-q", store=None)[1:], "-o", tmp_path / "m.parquet"],
    ):
        outcome = bench.s2ice(*line)
        assert (outcome.stdout, outcome.stderr) == ("", "")
    # A failure is told even so.
    assert "is not a folder" in bench.refused("-q", source=tmp_path / "none")


def test_usual_runs_are_silent_on_stderr(bench: Bench) -> None:
    """Away from a terminal there are no bars and no warnings of the libraries."""
    outcome = bench.s2ice(*bench.arguments())
    assert outcome.stderr == ""
    assert f"{bench.store} holds Sentinel-2 L2A of 33TVN" in outcome.stdout
    assert bench.s2ice("info", bench.store).stderr == ""


def test_verbose(bench: Bench) -> None:
    outcome = bench.s2ice(*bench.arguments("-v", "--json"))
    assert outcome.json["references"] > 0
    assert outcome.stderr != ""


def test_dry_runs_write_nothing(bench: Bench, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    report = bench.build("--dry-run")
    assert report["dry_run"] is True
    assert "committed" not in report
    assert report["references"] > 0
    assert "would hold" in bench.s2ice(*bench.arguments("--dry-run")).stdout
    assert sorted(tmp_path.rglob("*")) == before
    bench.s2ice("manifest", *bench.arguments("--dry-run", store=None)[1:], "-o", tmp_path / "m.parquet")
    assert not (tmp_path / "m.parquet").exists()
    built = bench.build()
    same = {"references", "referenced_bytes", "times", "arrays", "refused", "products"}
    assert {k: built[k] for k in same} == {k: report[k] for k in same}


def test_a_dry_run_leaves_a_store_alone(bench: Bench) -> None:
    bench.build("--arrays", "**/b01")
    before = bench.at_store()
    bench.build("--dry-run")
    assert bench.at_store() == before


def test_the_memory_stands_beside_the_store(bench: Bench, tmp_path: Path) -> None:
    """What the store holds is not in it: where nothing was refused, it has what the run settled and nothing else."""
    elsewhere, nowhere = tmp_path / "elsewhere.parquet", "none"
    for number, memory in enumerate((None, elsewhere, nowhere)):
        store = tmp_path / f"store-{number}"
        report = bench.build(store=store, memory=memory)
        assert report["refused"] == []
        beside = store / "s2ice" / "memory.parquet"
        assert beside.exists() is (memory is None)
        if memory != nowhere:
            table = pq.read_table(beside if memory is None else elsewhere)
            assert table["kind"].to_pylist() == ["settled"]


# --- Configuration files.


def test_a_configuration_file_holds_all_of_it(bench: Bench, tmp_path: Path, schemas: dict[str, Any]) -> None:
    settings = {
        "tile": "33TVN",
        "level": "L2A",
        "index": [str(bench.index)],
        "source": str(bench.source),
        "store": str(bench.store),
        "memory": "none",
        "arrays": ["**/b01"],
        "resolutions": "all",
        "headers": "read",
        "checksum": "none",
        "spec": 1,
        "container": "archive",
        "max-cloud-cover": 99.0,
        "datetime": "2024-01-01/..",
    }
    conforms(settings, schemas["config"])
    path = tmp_path / "s2ice.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    path.write_text("\n".join([*lines, "[source-options]", "connections = 2"]))
    report = bench.s2ice("build", "--config", path, "--json").json
    assert [a["asset"] for a in report["arrays"]] == ["B01_60m"]
    assert report["container"] == "archive"
    assert bench.s2ice("info", bench.store, "--json").json["spec"] == 1
    # Flags win.
    report = bench.s2ice(
        *("build", "--config", path, "--arrays", "**/b09", "--store", tmp_path / "other", "--spec", 2, "--json")
    ).json
    assert [a["asset"] for a in report["arrays"]] == ["B09_60m"]
    assert report["target"] == str(tmp_path / "other")
    assert bench.s2ice("info", tmp_path / "other", "--json").json["spec"] == 2
    with pytest.raises(jsonschema.ValidationError):
        conforms(settings | {"souce": "x"}, schemas["config"])


# --- The manifest table.


def test_the_manifest_is_what_the_store_holds(bench: Bench, tmp_path: Path) -> None:
    """Row by row: the same chunk, the same file, and its bytes through Icechunk are those at offset and length."""
    path = tmp_path / "manifest.parquet"
    text = bench.s2ice("manifest", *bench.arguments(store=None)[1:], "-o", path).stdout
    assert text.startswith(f"{path} has the references of Sentinel-2 L2A of 33TVN\n")
    assert "changes" not in text
    report = bench.build()
    table = pq.read_table(path)
    assert {f.name: str(f.type) for f in table.schema} == {
        "array": "string",
        "product_id": "string",
        "time": "timestamp[ms, tz=UTC]",
        "chunk": "list<item: uint32 not null>",
        "location": "string",
        "offset": "uint64",
        "length": "uint64",
        "etag": "string",
        "last_modified": "timestamp[ms, tz=UTC]",
    }
    assert pq.ParquetFile(path).metadata.metadata[b"s2ice.manifest"] == b"1"
    rows = table.to_pylist()
    assert len(rows) == report["references"]
    assert sum(row["length"] for row in rows) == report["referenced_bytes"]
    session = stores.local_with_source(bench.store, bench.source)
    assert sorted({row["location"] for row in rows}) == sorted(set(session.all_virtual_chunk_locations()))

    tree = package.open(bench.store)
    times = tree["products/time"].to_numpy().astype("datetime64[ms]")
    products = tree["products/product_id"].to_numpy()

    async def compare() -> None:
        for row in rows:
            assert row["time"].timestamp() * 1000 == times[row["chunk"][0]].astype("i8")
            assert row["product_id"] == products[row["chunk"][0]]
            file = unquote(urlsplit(row["location"]).path)
            data = contents(file)
            key = f"{row['array'].strip('/')}/c/{'/'.join(map(str, row['chunk']))}"
            buffer = await session.store.get(key, default_buffer_prototype())
            assert buffer.to_bytes() == data[row["offset"] : row["offset"] + row["length"]], key

    asyncio.run(compare())
    # And no chunk of the store is missing in the table.
    told = {(row["array"].strip("/"), *row["chunk"]) for row in rows}
    held = asyncio.run(stores.chunks(session))
    assert told == held
