"""Settings: every place has keys of its own, nothing secret is shown, and a check finds what can be without asking."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

import planted
from support import s3
from support.living import TILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.archive import Archive
    from support.catalogue import Catalogue
    from support.command import Command

NAMES = ("SOURCE_SECRET", "STORE_SECRET", "INDEX_SECRET", "MEMORY_SECRET", "STAC_TOKEN", "STAC_QUERY", "STAC_PASSWORD")
SECRETS = {name: planted.word(name) for name in NAMES}
"""None of them may stand in anything that is written."""

IDS = {place: f"{place}-key-id-0001" for place in ("source", "store", "index", "memory")}


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        for bucket in ("eodata", "indexes", "stores", "memories"):
            service.bucket(bucket)
        yield service


@pytest.fixture
def places(service: s3.Service, archive: Archive, items: Catalogue, tmp_path: Path) -> Path:
    """A configuration file in which each place is reached with keys of its own, in each of the ways."""
    names = [archive.add("2024-06-01"), archive.add("2024-06-06", base=1)]
    service.upload(archive.root, "eodata")
    index = archive.index(tmp_path / "index.parquet", names)
    service.client.put_object(Bucket="indexes", Key="i/33TVN.parquet", Body=index.read_bytes())
    items.put(archive.items(names))
    keys = tmp_path / "keys.ini"
    keys.write_text(
        f"[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n[indexes]\n"
        f"aws_access_key_id = {IDS['index']}\naws_secret_access_key = {SECRETS['INDEX_SECRET']}\n"
    )
    keys.chmod(0o600)
    at = f'endpoint = "{service.endpoint}"\nregion = "us-east-1"'
    scheme, _, host = items.address.partition("://")
    config = tmp_path / "s2ice.toml"
    config.write_text(
        f"""
tiles = ["{TILE}"]
source = "s3://eodata"
index = "s3://indexes/i/{{tile}}.parquet"
store = "s3://stores/{{tile}}"
memory = "s3://memories/{{tile}}.parquet"
stac = "{scheme}://me:{SECRETS["STAC_PASSWORD"]}@{host}/?token=${{STAC_QUERY}}"
[source-options]
{at}
[source-options.extra]
aws_access_key_id = "${{SOURCE_KEY}}"
aws_secret_access_key = "${{SOURCE_SECRET}}"
[index-options]
{at}
profile = "indexes"
credentials-file = "{keys}"
[memory-options]
{at}
[memory-options.extra]
aws_access_key_id = "{IDS["memory"]}"
aws_secret_access_key = "{SECRETS["MEMORY_SECRET"]}"
[store-options]
{at}
[stac-options]
requests-per-second = 500.0
headers = {{ authorization = "Bearer ${{STAC_TOKEN}}" }}
[run]
report = "{tmp_path}/runs.jsonl"
metrics = "{tmp_path}/s2ice.prom"
"""
    )
    config.chmod(0o600)
    return config


def environment() -> dict[str, str]:
    own = {"SOURCE_KEY": IDS["source"]} | {
        name: SECRETS[name] for name in ("SOURCE_SECRET", "STAC_TOKEN", "STAC_QUERY")
    }
    # Those of the store: another place must not be reached with them.
    return own | {
        "AWS_ACCESS_KEY_ID": IDS["store"],
        "AWS_SECRET_ACCESS_KEY": SECRETS["STORE_SECRET"],
        "AWS_SESSION_TOKEN": "",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_each_place_is_reached_with_its_own_keys_and_none_is_shown(
    s2ice: Command, service: s3.Service, places: Path, items: Catalogue
) -> None:
    shown = []
    with service.recorded() as requests:
        for line in (("--check",), ("--check", "--json"), ("-vvv",), ("-vvv", "--full", "--json"), ("-vvv",)):
            outcome = s2ice("run", places, *line, **environment())
            shown.append(outcome.stdout + outcome.stderr)
    assert {(request.bucket, request.key) for request in requests} == {
        ("eodata", IDS["source"]),
        ("indexes", IDS["index"]),
        ("stores", IDS["store"]),
        ("memories", IDS["memory"]),
    }
    unset = {name: value for name, value in environment().items() if name != "SOURCE_SECRET"}
    for outcome in (s2ice("status", places, **environment()), s2ice("run", places, "-vvv", code=2, **unset)):
        shown.append(outcome.stdout + outcome.stderr)
    assert "SOURCE_SECRET is not set" in shown[-1]
    written = [file.read_text() for file in (places.parent / "runs.jsonl", places.parent / "s2ice.prom")]
    for bucket in ("stores", "memories"):
        for found in service.client.list_objects_v2(Bucket=bucket)["Contents"]:
            body = service.client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
            written.append(body.decode("latin-1"))
    assert len(written) > 10
    assert [planted.found(text) for text in (*shown, *written) if planted.found(text)] == []
    assert set(items.authorizations) == {f"Bearer {SECRETS['STAC_TOKEN']}"}


HARD = 'a%/+?# &"\\é'
"""Characters that are written otherwise in addresses, in JSON, or in both."""


@pytest.mark.parametrize("how", ["repeats", "sends"])
@pytest.mark.parametrize("hard", ["", HARD], ids=["plain", "hard"])
def test_what_a_catalogue_repeats_is_told_nobody(
    s2ice: Command, places: Path, items: Catalogue, how: str, hard: str
) -> None:
    """Whatever it answers stands in errors, reports and beside the store."""
    given = environment() | {name: SECRETS[name] + hard for name in ("STAC_TOKEN", "STAC_QUERY")}
    given["STAC_TOKEN"] = given["STAC_TOKEN"].replace("é", "")
    given["STAC_QUERY"] = quote(given["STAC_QUERY"], safe="")
    s2ice("run", places, **given)
    items.down = how
    for more in (("-vvv",), ("--json",), ("--log-format", "json")):
        outcome = s2ice("run", places, *more, code=(1, 3), **given)
        assert ("***" if how == "repeats" else "sends to http://127.0.0.2, on") in outcome.stdout + outcome.stderr
    for more in ((), ("--json",)):
        s2ice("status", places, *more, code=1, **given)
    address = f"http://x:{quote(given['STAC_QUERY'])}@{items.address.partition('://')[2]}/?t={given['STAC_QUERY']}"
    line = ("build", "--tile", TILE, "--index-missing", "--source", "/tmp", "--store", places.parent / "none")
    s2ice(*line, "--stac", address, "--stac-header", f"x-key: {given['STAC_TOKEN']}", code=(1, 3))
    s2ice(*line, "--stac", address, "--stac-header", f"bad name: {given['STAC_TOKEN']}", code=2)


ADDRESSES = {
    "https:/me:{}@host/v1": "write https://",
    "https//me:{}@host/v1": "write https://",
    "http:me:{}@host": "write http://",
    "http://me:{}/1+2@host/v1": "",
    "http://me:{}?1@host/v1": "",
    "ftp://me:{}@host/v1": "",
}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("variable", [False, True])
def test_what_is_no_address_is_refused_and_not_repeated(
    s2ice: Command, tmp_path: Path, address: str, variable: bool
) -> None:
    """Also where only the value of a variable makes it none."""
    word = planted.word("password")
    whole = address.format(word)
    value = whole.partition("me:")[2].partition("@")[0]
    config = tmp_path / "s2ice.toml"
    shown = whole.replace(value, "${PW}") if variable else whole
    config.write_text(GOOD.replace("https://host/v1", shown))
    for more in (("--check",), ()):
        sentence = s2ice("run", config, *more, code=2, PW=value).stderr
        assert "`stac`" in sentence
        assert ADDRESSES[address] in sentence


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_with_keys_that_others_may_read_is_told(s2ice: Command, places: Path, mode: int) -> None:
    places.chmod(mode)
    outcome = s2ice("run", places, "--check", **environment())
    told = "others may read it, and memory-options.extra.aws_access_key_id stands in it" in outcome.stderr
    assert told == (mode == 0o644)
    assert planted.found(outcome.stdout + outcome.stderr) == []


GOOD = """tiles = ["33TVN"]
source = "s3://eodata"
index = ["i/{tile}.parquet"]
store = "s3://stores/{tile}"
stac = "https://host/v1"
"""

BAD = {
    "glob": ('arrays = ["[z-a"]', "`arrays`: "),
    "glob of no array": ('arrays = ["**/b99"]', "`arrays`: **/b99: no array of level L2A"),
    "rate": ("source-options = { requests-per-second = 0.0 }", "`source-options`: "),
    "negative rate": ("source-options = { requests-per-second = -1.0 }", "`source-options`: "),
    "rate nan": ("source-options = { requests-per-second = nan }", "`source-options`: "),
    "no connections": ("source-options = { connections = 0 }", "`source-options`: "),
    "catalogue's rate": (
        "stac-options = { requests-per-second = 0.0 }",
        "requests-per-second: 0 is no number",
    ),
    "catalogue's rate nan": ("stac-options = { requests-per-second = nan }", "requests-per-second: NaN is no"),
    "catalogue's time": ("stac-options = { timeout-seconds = inf }", "timeout-seconds: inf is no"),
    "no attempts": ("stac-options = { attempts = 0 }", "attempts: 0 would ask for nothing"),
    "no items": ("stac-options = { max-items = 0 }", "max-items: 0 would ask for nothing"),
    "header's name": ('stac-options = { headers = { "a b" = "x" } }', "is no name of a header"),
    "header's value": ('stac-options = { headers = { a = "x\\ny" } }', "its value is none that a header can have"),
    "variable": ('stac-options = { headers = { a = "${NO_SUCH}" } }', "a: the environment variable NO_SUCH is not set"),
    "half a variable": ('stac-options = { headers = { a = "${NO" } }', "begins no name of an environment variable"),
    "catalogue": ('stac = "ftp://host/x"', "`stac`: "),
    "catalogue's variable": (
        'stac = "https://host/?t=${NO_SUCH}"',
        "`stac`: the environment variable NO_SUCH is",
    ),
    "empty catalogue": ('stac = ""', "`stac`: "),
    "source": ('source = "ftp://host"', "`source`: "),
    "source with a password": ('source = "https://me:hunter2@host"', "`source`: "),
    "source with a query": ('source = "https://host/x?sig=hunter2"', "`source`: "),
    "endpoint": ('source-options = { endpoint = "host" }', "`source-options`: "),
    "endpoint with a password": ('store-options = { endpoint = "https://me:hunter2@host" }', "`store-options`: "),
    "setting of no client": ('store-options = { extra = { bogus = "1" } }', "`store-options`: "),
    "client's time": ('source-options = { extra = { timeout = "soon" } }', "`source-options`: "),
    "profile of no file": (
        'index-options = { credentials-file = "/no/such/file" }\nindex = "s3://b/i.parquet"',
        "`index-options`: ",
    ),
    "two kinds of keys": ("store-options = { anonymous = true, instance-role = true }", "`store-options`: "),
    "role of no bucket": ('source = "https://host/x"\nsource-options = { instance-role = true }', "`source-options`: "),
    "store on the web": ('store = "https://host/x"', "`store`: a web server cannot be written to"),
    "store": ('store = "s3://"', "`store`: "),
    "index": ('index = "s3://bucket"', "`index`: "),
    "index with a signature": ('index = "https://host/i.parquet?sig=hunter2"', "`index`: "),
    "memory": ('memory = "s3://"', "`memory`: "),
    "empty container": ('container = " "', "`container`: it is empty"),
    "container": ('container = "a b/c"', "`container`: "),
    "written index": (
        'index-missing = true\nwrite-index = "s3://b/i.parquet"',
        "`write-index`: it is a file",
    ),
    "written index alone": ('write-index = "i.parquet"', "--write-index goes with --index-missing"),
    "order": ('recheck = ["all"]', "`recheck` is for the command line only"),
    "dry run": ("dry-run = true", "`dry-run` is for the command line only"),
    "cover": ("max-cloud-cover = nan", "`max-cloud-cover`: it is a percentage, 0 to 100"),
    "limit": ("prune-limit = 101", "`prune-limit`: it is a percentage, 0 to 100"),
    "spec": ("spec = 3", "`spec`: 3 is unknown, 1 or 2"),
    "overlap": ('overlap = "-1d"', "`overlap`: "),
    "interval": ('datetime = "2024-02-01/2024-01-01"', "`datetime`: the interval ends"),
    "GeoTIFFs with an index": ('source-kind = "cog"', "leave out --index"),
    "no time": ('[run]\ntile-timeout = "0s"', "`tile-timeout`: no tile is done in no time"),
    "report on a bucket": ('[run]\nreport = "s3://b/r.jsonl"', "`report`: it is a file of this machine"),
    "report that is a folder": ('[run]\nreport = "/tmp"', "`report`: /tmp is a folder"),
    "report in a folder": ('[run]\nreport = "/tmp/reports/"', "`report`: it is a folder"),
    "metrics below a file": ('[run]\nmetrics = "/etc/hostname/s2ice.prom"', "lies below a file"),
    "one file by another way": (
        '[run]\nreport = "/a/../a/r"\nmetrics = "/a/r"',
        "`metrics`: it is the file of `report`, too",
    ),
    "time-out of an age": ("stac-options = { timeout-seconds = 1e300 }", "`stac-options`: "),
    "pause of an age": ("stac-options = { backoff-seconds = 1e30 }", "`stac-options`: "),
    "wait of an age": ("stac-options = { longest-wait-seconds = 1e20 }", "`stac-options`: "),
    "one request an age": ("stac-options = { requests-per-second = 1e-30 }", "`stac-options`: "),
    "no bytes": ("source-options = { bytes-per-day = 0 }", "`source-options`: "),
    "one file for both": ('[run]\nreport = "a"\nmetrics = "./a"', "`metrics`: it is the file of `report`, too"),
    "no jobs": ("[run]\njobs = 0", "`jobs`: "),
}


@pytest.mark.parametrize("case", BAD)
def test_a_check_finds_it_and_names_line_and_key(s2ice: Command, tmp_path: Path, case: str) -> None:
    more, expected = BAD[case]
    keys = [line.split(" = ")[0] for line in more.splitlines()]
    kept = [line for line in GOOD.splitlines() if line.split(" = ")[0] not in keys]
    config = tmp_path / "s2ice.toml"
    config.write_text("\n".join([*kept, more, ""]))
    sentence = s2ice("run", "--check", config, code=2).stderr
    assert expected in sentence, sentence
    assert "hunter2" not in sentence
    place, _, _ = sentence.removeprefix(f"s2ice: configuration file {config}, line ").partition(":")
    text = config.read_text().splitlines()[int(place) - 1]
    alone = ("--write-index", "leave out")
    assert text.split(" = ")[0] in (*keys, "tiles") if expected.startswith(alone) else text.split(" = ")[0] in keys


TWICE = {
    "memory and index": 'memory = "{0}/i.parquet"',
    "memory and items": 'memory = "file://{0}/items.json"\nstac = "{0}/items.json"',
    "memory and this file": 'memory = "{0}/s2ice.toml"',
    "report and this file": '[run]\nreport = "{0}/s2ice.toml"',
    "report and index": '[run]\nreport = "{0}/i.parquet"',
    "metrics and memory": 'memory = "{0}/m"\n[run]\nmetrics = "{0}/m"',
    "written index and memory": 'index-missing = true\nwrite-index = "{0}/w"\nmemory = "{0}/w"',
}


@pytest.mark.parametrize("case", TWICE)
def test_no_file_is_used_for_two_things(s2ice: Command, tmp_path: Path, case: str) -> None:
    """What is written would be the end of what is read."""
    more = TWICE[case].format(tmp_path)
    keys = [line.split(" = ")[0] for line in more.splitlines()]
    good = GOOD.replace('["i/{tile}.parquet"]', f'"{tmp_path}/i.parquet"').splitlines()
    config = tmp_path / "s2ice.toml"
    config.write_text("\n".join([*(line for line in good if line.split(" = ")[0] not in keys), more, ""]))
    before = config.read_bytes()
    for line in (("--check",), ()):
        assert "give each a file of its own" in s2ice("run", config, *line, code=2).stderr
    assert config.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["s2ice.toml"]


@pytest.mark.parametrize("key", ["report", "metrics", "memory"])
def test_what_is_not_its_own_is_not_written_over(s2ice: Command, archive: Archive, tmp_path: Path, key: str) -> None:
    """The stores are brought up to date all the same."""
    index = archive.index(tmp_path / "i.parquet", [archive.add("2024-06-01")])
    mine = tmp_path / "mine"
    mine.write_text("PAR1 or anything")
    lines = [f'tiles = ["{TILE}"]', f'source = "{archive.root}"', f'index = "{index}"', f'store = "{tmp_path}/store"']
    line = f'{key} = "{mine}"'
    config = tmp_path / "s2ice.toml"
    config.write_text("\n".join([*lines, *([line] if key == "memory" else ["[run]", line]), ""]))
    outcome = s2ice("run", config, code=0 if key == "memory" else 1)
    assert str(mine) in outcome.stderr
    assert mine.read_text() == "PAR1 or anything"
    assert s2ice("info", tmp_path / "store", "--json").json["references"] > 0


def test_all_mistakes_are_told_at_once(s2ice: Command, tmp_path: Path) -> None:
    config = tmp_path / "s2ice.toml"
    tables = [f'[[tile]]\ntile = "33TV{letter}"\nstore = "s3://b/{letter}"\nlevel = "L{letter}"\n' for letter in "NPQ"]
    config.write_text(GOOD + "[run]\njobs = 0\n" + "".join(tables))
    lines = s2ice("run", "--check", config, code=2).stderr.splitlines()
    assert len(lines) == 4
    assert all(f"configuration file {config}, line " in line for line in lines)
    assert s2ice("run", "--check", config, "--json", code=2).stdout == ""


def test_a_good_file_of_many_tiles(s2ice: Command, tmp_path: Path) -> None:
    letters = [f"{a}{b}" for a in "NPQRSTUVWXYZ" for b in "ABCDEFGHJKLMNPQRSTUV"]
    tiles = [f"33T{pair}" for pair in letters if pair[0] <= "V"]
    config = tmp_path / "s2ice.toml"
    config.write_text(GOOD.replace('"33TVN"', ", ".join(json.dumps(tile) for tile in tiles)))
    assert len(s2ice("run", "--check", config, "--json").json["tiles"]) == len(tiles)


def test_options_of_places_on_the_command_line(
    s2ice: Command, service: s3.Service, archive: Archive, tmp_path: Path
) -> None:
    name = archive.add("2024-06-01")
    service.upload(archive.root, "eodata", "line/")
    index = archive.index(tmp_path / "index.parquet", [name])
    service.client.put_object(Bucket="indexes", Key="line.parquet", Body=index.read_bytes())
    at = ("endpoint=" + service.endpoint, "region=us-east-1")
    keys = {
        place: (f"aws_access_key_id=${{{place.upper()}_ID}}", f"aws_secret_access_key=${{{place.upper()}_KEY}}")
        for place in ("source", "index")
    }
    options = [part for place in keys for pair in (*at, *keys[place]) for part in (f"--{place}-option", pair)]
    line = (
        "--tile",
        TILE,
        "--index",
        "s3://indexes/line.parquet",
        "--source",
        "s3://eodata/line",
        "--store",
        tmp_path / "s",
    )
    names = {"SOURCE_ID": "source-id", "SOURCE_KEY": "source-key", "INDEX_ID": "index-id", "INDEX_KEY": "index-key"}
    with service.recorded() as requests:
        s2ice("build", *line, *options, **names)
    assert {(request.bucket, request.key) for request in requests} == {("eodata", "source-id"), ("indexes", "index-id")}
    assert os.environ.get("SOURCE_ID") is None
