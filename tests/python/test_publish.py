"""A publication: what is written, what a stranger gets at its address, and what is not written over."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import html5lib
import icechunk
import numpy as np
import pytest

from support import hosts, rust, s3
from support.command import LOGGED
from support.living import Living
from support.publications import ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from xml.etree import ElementTree

    from support.command import Outcome
    from support.publications import Public


def test_a_stranger_opens_the_copy(public: Public) -> None:
    report = public.publish()
    assert (report["stores"], report["unchanged"], report["hindrances"]) == (1, 0, [])
    assert [(store["id"], store["copied"]) for store in report["published"]] == [(ID, True)]
    assert report["published"][0]["store"] == f"{public.url}{ID}/store"
    assert "B04, B03 and B02" in report["without_preview"][0]["reason"]
    public.is_as_built()
    collection = json.loads((public.place / ID / "collection.json").read_text())
    (store,) = [link["href"] for link in collection["links"] if link["rel"] == "store"]
    assert store == f"{public.url}{ID}/store"
    text = "".join(path.read_text(errors="ignore") for path in public.place.rglob("*.json"))
    assert str(public.folder) not in text


def test_without_news_nothing_is_written(public: Public) -> None:
    public.publish()
    before = public.files()
    for more in ((), ("--prune",)):
        report = public.publish(*more)
        assert (report["unchanged"], report["published"], report["files"], report["copied_objects"]) == (1, [], 0, 0)
        assert public.files() == before


def test_what_changed_is_written(public: Public) -> None:
    public.publish()
    before = public.files()
    cube = public.cube()
    public.living.run([*public.living.archive.products, public.living.archive.add("2024-06-11")])
    report = public.publish()
    assert [store["copied"] for store in report["published"]] == [True]
    after = public.files()
    lasting = ("manifests", "snapshots", "transactions", "chunks")
    for path, state in before.items():
        if path.split("/")[2:3] and path.split("/")[2] in lasting:
            assert after[path] == state, path
    public.is_as_built()
    assert public.cube().sizes["time"] == 3
    # Who opened it before stays where he was.
    assert np.array_equal(cube.b01[1].values, public.cube().b01[1].values)


def test_documents_of_states_go_with_their_states(public: Public) -> None:
    public.publish()
    (first,) = (public.place / ID / "states").iterdir()
    public.living.run([*public.living.archive.products, public.living.archive.add("2024-06-11")])
    public.s2ice("publish", *public.line()[1:], "--json")
    assert len(list((public.place / ID / "states").iterdir())) == 2
    tag = f"published/{first.stem}"
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(public.living.store)))
    repository.delete_tag(tag)
    assert public.publish()["files_removed"] == 1
    assert not first.exists()
    about = json.loads((public.place / ID / "collection.json").read_text())["links"]
    assert f"{public.url}{ID}/index.html" in [link["href"] for link in about if link["rel"] == "about"]


def test_a_killed_publication_goes_on(public: Public) -> None:
    for seconds in (0.005, 0.01, 0.02, 0.03, 0.05, 0.08):
        process = public.s2ice.start(*public.line("--no-look"))
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert public.publish()["hindrances"] == []
    public.is_as_built()
    assert not [path for path in public.place.rglob(".*") if path.is_file()]


def test_one_that_is_told_to_stop_says_what_it_did(public: Public) -> None:
    public.host.delay = 60
    process = public.s2ice.start(*public.line())
    while not (public.place / "index.html").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    public.host.done.set()
    assert "part of it may be written, and the same command goes on" in stderr


def test_two_stores_of_one_name_are_refused_before_anything_is_written(public: Public, tmp_path: Path) -> None:
    other = tmp_path / "stores/other"
    shutil.copytree(public.living.store, other)
    outcome = public.s2ice(*public.line(), other, code=2)
    assert "two of the stores are 33TVN-L2A" in outcome.sentence
    assert not list(public.place.iterdir())


def test_the_copy_of_another_store_stays(public: Public, tmp_path: Path) -> None:
    public.publish()
    before = public.files()
    other = Living(public.s2ice, public.living.archive, tmp_path / "others")
    other.run([*public.living.archive.products][:1])
    line = public.line()
    line[1] = other.store
    assert "is the copy of another store of that tile" in public.s2ice(*line, code=2).sentence
    assert public.files() == before
    # One that only moved is the same.
    line[1] = tmp_path / "moved"
    public.living.store.rename(tmp_path / "moved")
    assert public.s2ice(*line, "--json").json["hindrances"] == []


def test_a_bad_store_takes_nothing_from_the_others(public: Public, tmp_path: Path) -> None:
    bad = tmp_path / "stores/bad"
    shutil.copytree(public.living.store, bad)
    (bad / "repo").write_bytes((bad / "repo").read_bytes()[:10])
    outcome = public.s2ice(*public.line(), bad, tmp_path / "none", "--json", code=1)
    assert [store["id"] for store in outcome.json["published"]] == [ID]
    damaged, gone = (store["reason"] for store in outcome.json["failed"])
    assert "there is no store" not in damaged
    assert str(bad) in damaged
    assert "there is no store" in gone
    assert damaged in outcome.sentence
    public.is_as_built()


def test_a_store_that_is_named_stays(public: Public, tmp_path: Path) -> None:
    """Also while its disk is not there: nothing is taken out but what the file does not name."""
    public.s2ice("run", config(public))
    before = public.files()
    public.living.store.parent.rename(tmp_path / "away")
    sentence = public.s2ice("publish", config(public), "--prune", code=1).sentence
    assert "there is no store at" in sentence
    outcome = public.s2ice(*public.line("--prune"), tmp_path / "none", "--json", code=1)
    assert [store["id"] for store in outcome.json["failed"]] == [ID, None]
    assert (outcome.json["removed"], outcome.json["stores"]) == ([], 1)
    assert public.files() == before


def test_a_store_that_cannot_be_seen_is_not_said_to_be_gone(public: Public) -> None:
    line = public.line("--no-look")
    line[1] = f"{public.host.address}/stores/{public.living.store.name}"
    with public.host.unwell("denied", "/stores/"):
        assert "was refused" in public.s2ice(*line, code=1).sentence


def test_what_was_lost_comes_back(public: Public) -> None:
    public.publish()
    before = public.files()
    (public.place / "catalog.json").unlink()
    assert "--restore" in public.s2ice(*public.line(), code=1).sentence
    (public.place / ID / "index.html").unlink()
    (public.place / ID / "collection.json").write_text("by hand")
    (public.place / "zones/33/catalog.json").unlink()
    shutil.rmtree(public.place / ID / "store")
    report = public.publish("--restore")
    # Of the copy its lasting objects, and that of branches and tags.
    assert (report["lost"], report["hindrances"]) == (4 + report["copied_objects"] + 1, [])
    assert report["copied_objects"] > 3
    assert public.files().keys() == before.keys()
    documents = [path for path in before if "/store/" not in path and "ledger" not in path]
    assert [public.files()[path][0] for path in documents] == [before[path][0] for path in documents]
    public.is_as_built()
    report = public.publish("--restore")
    assert (report["lost"], report["files"], report["unchanged"]) == (0, 0, 1)


def truncate(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:9])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "manifests gone": lambda copy: shutil.rmtree(copy / "manifests"),
    "snapshots cut": lambda copy: truncate(copy / "snapshots"),
    "branches empty": lambda copy: (copy / "repo").write_bytes(b""),
    "branches gone": lambda copy: (copy / "repo").unlink(),
}


def test_a_damaged_copy_is_made_whole(public: Public) -> None:
    public.publish()
    # So that the copy has what no original has: branches and tags as they were.
    public.living.run([*public.living.archive.products, public.living.archive.add("2024-06-11")])
    public.publish()
    copy = public.place / ID / "store"
    whole = {path: size for path, (size, _) in public.files().items() if not path.endswith("/repo")}
    for how, damage in DAMAGES.items():
        damage(copy)
        if how != "manifests gone":
            assert "--restore" in public.s2ice(*public.line("--title", how), code=1).sentence, how
        report = public.publish("--restore")
        assert (report["lost"] > 0, report["hindrances"]) == (True, []), how
        public.is_as_built()
        now = {path: size for path, (size, _) in public.files().items() if not path.endswith("/repo")}
        lasting = [path for path in whole if "/store/" in path and "overwritten" not in path]
        assert {path: now.get(path) for path in lasting} == {path: whole[path] for path in lasting}, how
    assert public.publish("--restore")["lost"] == 0


def test_a_state_that_was_rolled_back_is_told(public: Public) -> None:
    public.living.run([*public.living.archive.products, public.living.archive.add("2024-06-11")])
    public.publish()
    public.s2ice("rollback", public.living.store)
    public.publish()

    def states() -> list[tuple[bool, str | None]]:
        told = []
        for path in sorted((public.place / ID / "states").iterdir()):
            document = json.loads(path.read_text())
            links = {link["rel"]: link["href"].rpartition("/")[2] for link in document["links"]}
            told.append((document.get("deprecated", False), links.get("successor-version")))
        return told

    first, back = sorted(path.name for path in (public.place / ID / "states").iterdir())
    collection = json.loads((public.place / ID / "collection.json").read_text())
    assert [link["href"] for link in collection["links"] if link["rel"] == "memento"] == [
        f"{public.url}{ID}/states/{first}"
    ]
    assert states() == [(False, None), (True, first)]
    text = " ".join("".join(page(public, f"{ID}/index.html").itertext()).split())
    assert f"present state, now published/{first.removesuffix('.json')}" in text
    assert text.count(", taken back") == 1
    assert public.cube().sizes["time"] == 2
    public.living.run([*public.living.archive.products, public.living.archive.add("2024-06-16")])
    public.publish()
    now = max(path.name for path in (public.place / ID / "states").iterdir())
    assert states() == [(True, now), (True, now), (False, None)]
    assert back != now


def test_a_publication_and_stores_lie_apart(public: Public, tmp_path: Path) -> None:
    public.publish()
    before = public.files()
    store, place = public.living.store, public.line()[3]
    holding = tmp_path / "holding"
    shutil.copytree(store, holding / ID)
    link = tmp_path / "link"
    link.symlink_to(store)
    for named, out, reason in [
        (store, store, "lies in the store"),
        (store, link, "lies in the store"),
        (store, store / "refs/public", "lies in the store"),
        (holding / ID, holding, f"in its folder {ID}"),
        (public.place / ID / "store", place, "has its copy of a store"),
        (f"{public.url}{ID}/store", place, "has its copy of a store"),
    ]:
        line = ["publish", named, "--out", out, "--base-url", public.url]
        assert reason in public.s2ice(*line, code=2).sentence
    assert public.files() == before
    assert not (store / "refs/public").exists()
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        line = ["publish", store, "--out", out, "--base-url", public.url]
        assert f"{file} is a file: name a folder" in public.s2ice(*line, code=2).sentence


def test_how_a_source_is_reached_is_news(public: Public) -> None:
    line = public.line("--no-look", "--json")
    line[line.index("--source-url") + 1] = "s3://archive"
    for region in ("eu-central-1", "eu-west-1"):
        report = public.s2ice(*line, "--source-option", f"region={region}", "--source-option", "anonymous=true").json
        assert [store["id"] for store in report["published"]] == [ID]
        assert region in (public.place / ID / "collection.json").read_text()
        repository = icechunk.local_filesystem_storage(str(public.place / ID / "store"))
        (container,) = icechunk.Repository.fetch_config(repository).virtual_chunk_containers.values()
        assert region in str(container)


def test_a_ledger_without_a_byte_is_told(public: Public) -> None:
    public.publish()
    (public.place / "publication.json").write_text("")
    assert "publication.json is not what s2ice publishes: name another" in public.s2ice(*public.line(), code=2).sentence
    # Without it its files are nobody's; how they are taken over is said.
    assert "remove it and all that it told of but the folders `store`" in public.s2ice(*public.line(), code=2).sentence
    (public.place / "publication.json").unlink()
    assert "all that it told of but the folders `store`" in public.s2ice(*public.line(), code=2).sentence
    for path in public.place.rglob("*"):
        if path.is_file() and "store" not in path.relative_to(public.place).parts:
            path.unlink()
    assert public.publish()["copied_objects"] == 0


IN_THE_WAY = [
    "catalog.json",
    f"{ID}/collection.json",
    "zones/33/catalog.json",
    "publication.json",
    "zones/33/ledger.json",
]


@pytest.mark.parametrize("path", IN_THE_WAY)
def test_what_others_made_stays(public: Public, path: str) -> None:
    file = public.place / path
    file.parent.mkdir(parents=True)
    file.write_text('{"mine": true}')
    for _ in range(2):
        sentence = public.s2ice(*public.line(), code=2).sentence
        assert path in sentence
        assert "name another place" in sentence
        assert not (public.place / ID / "store").exists()
    assert file.read_text() == '{"mine": true}'


def test_a_store_in_the_place_of_the_copy_stays(public: Public) -> None:
    """It may be somebody's only one."""
    place = public.place / ID / "store"
    shutil.copytree(public.living.store, place, ignore=shutil.ignore_patterns("s2ice"))
    before = public.files()
    sentence = public.s2ice(*public.line(), code=2).sentence
    assert "did not copy there" in sentence
    assert {path: state for path, state in public.files().items() if path.startswith(ID)} == before


def test_stores_of_the_first_format_are_not_copied(public: Public, tmp_path: Path) -> None:
    archive = public.living.archive
    archive.index(tmp_path / "old.parquet", list(archive.products))
    store = tmp_path / "first"
    place = ("--source", archive.root, "--store", store, "--spec", "1")
    public.s2ice("build", "--tile", "33TVN", "--index", tmp_path / "old.parquet", *place, "-q")
    line = public.line()
    line[1] = store
    sentence = public.s2ice(*line, code=2).sentence
    assert "build it anew in another folder with --spec 2, or with --spec 1 in a bucket" in sentence
    assert not (public.place / ID / "store").exists()


def test_things_in_the_place_of_the_copy_stay(public: Public) -> None:
    place = public.place / ID / "store"
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    assert "holds something else" in public.s2ice(*public.line(), code=1).sentence
    assert [path.name for path in place.iterdir()] == ["notes.txt"]


def page(public: Public, path: str) -> ElementTree.Element:
    """A page that is HTML without a fault."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse((public.place / path).read_text())


def snippets(public: Public, path: str) -> dict[str, str]:
    found = page(public, path).iterfind(".//div[@class='snippet']")
    return {div.attrib["id"]: "".join(next(div.iter("code")).itertext()) for div in found}


def runs(code: str, tmp_path: Path) -> str:
    """What Python says to it, in a folder and a process of its own."""
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_snippets_run_as_they_stand(public: Public, tmp_path: Path) -> None:
    public.publish()
    tile = snippets(public, f"{ID}/index.html")
    assert tile.keys() == {"open-python", "open-rust", "open-shell", "open-pin"}
    mean = float(runs(tile["open-python"], tmp_path).strip("[]\n "))
    assert float(rust.runs(tile["open-rust"], tmp_path)) == pytest.approx(mean, abs=1e-6)
    cube = public.cube()
    x, y = 399_960 + 54_900, 5_300_040 - 54_900
    box = cube.b01.sel(time="2024-06-06", x=slice(x - 3000, x + 3000), y=slice(y + 3000, y - 3000))
    assert mean == pytest.approx(float(box.mean()) * 0.0001 - 0.1, abs=1e-4)
    assert "time: 2" in runs(tile["open-pin"], tmp_path)
    program, *words = shlex.split(tile["open-shell"])
    assert program == "s2ice"
    assert "Sentinel-2 L2A of 33TVN" in public.s2ice(*words).stdout
    front = snippets(public, "index.html")
    assert "b01" in runs(front["open-python"], tmp_path)


def test_pages_tell_what_is_in_the_store(public: Public) -> None:
    archive, living = public.living.archive, public.living
    archive.add("2024-12-01")
    bad = archive.add("2024-12-06")
    damaged = archive.products[bad].files(archive.root)[0]
    damaged.unlink()
    damaged.write_bytes(b"not a JPEG 2000 file")
    living.run(list(archive.products), memory=None)
    public.publish()
    for path in ("index.html", "status.html", "zones/33/index.html", f"{ID}/index.html"):
        for link in page(public, path).iter("a"):
            address = link.attrib["href"].partition("#")[0]
            assert "://" in address or ((public.place / path).parent / address).exists(), (path, address)
    text = " ".join(" ".join(page(public, f"{ID}/index.html").itertext()).split())
    for product in archive.products:
        assert product in text
    assert "No date until 2024-11-30: 177 days" in text
    assert re.search(rf"{bad} B0\d_60m left out: its main header cannot be read", text)
    assert str(public.folder) not in text
    for path in ("status.html", "zones/33/index.html"):
        assert "33TVN" in "".join(page(public, path).itertext())


def test_a_background_is_named_where_it_is_given(public: Public) -> None:
    tiles = "https://tiles.example.org/{z}/{x}/{y}.png"
    public.publish("--map-tiles", tiles, "--map-attribution", "They & others")
    text = (public.place / "index.html").read_text()
    (policy,) = page(public, "index.html").iterfind(".//meta[@http-equiv='Content-Security-Policy']")
    assert "img-src 'self' data: https://tiles.example.org" in policy.attrib["content"]
    assert "They &amp; others" in text
    for host in ("{x}.example.org", "a;b", "a,b"):
        other = f"https://{host}/{{z}}/{{x}}/{{y}}.png"
        assert "stand behind the host" in public.s2ice(*public.line("--map-tiles", other), code=2).stderr
    assert "z, x and y stand in braces" in public.s2ice(*public.line("--map-tiles", "x"), code=2).sentence


def config(public: Public, *names: str, more: str = "") -> Path:
    archive, folder = public.living.archive, public.folder
    archive.index(folder / "run-index.parquet", names or list(archive.products))
    file = folder / "s2ice.toml"
    file.write_text(f"""
tiles = ["33TVN"]
source = "{archive.root}"
index = ["{folder}/run-index.parquet"]
store = "{folder}/stores/{{tile}}"
[run]
report = "{folder}/runs.jsonl"
[publish]
out = "{public.place}"
base-url = "{public.url}"
source-url = "{public.host.address}/archive"
{more}
""")
    return file


def test_a_run_publishes(public: Public) -> None:
    """What changed, every night; where nothing did, no more than when it was last looked."""
    first = public.s2ice("run", config(public), "--json").json["publication"]
    assert first["outcome"] == "published"
    assert [store["id"] for store in first["report"]["published"]] == [ID]
    public.is_as_built()
    before = public.files()
    again = public.s2ice("run", config(public), "--json").json["publication"]["report"]
    assert (again["published"], again["unchanged"], again["copied_objects"]) == ([], 1, 0)
    changed = {path for path, state in public.files().items() if before.get(path) != state}
    assert changed == {"zones/33/ledger.json", "publication.json", "status.html", "tiles.parquet"}
    public.living.archive.add("2024-06-11")
    told = public.s2ice("run", config(public))
    assert f"published at {public.url}: 1 store, 1 described anew" in told.stdout
    assert public.cube().sizes["time"] == 3
    public.s2ice("run", config(public), "--dry-run")
    # By hand, by the same file.
    assert public.s2ice("publish", config(public), "--json").json["unchanged"] == 1


def test_a_run_whose_publication_fails(public: Public) -> None:
    """The stores are refreshed all the same, and the exit code says that something is to be done."""
    public.host.ranges = False
    outcome = public.s2ice("run", config(public), "--json", code=1)
    assert outcome.stderr.count("readers need Range requests") == 1
    assert "s2ice: the publication: " in LOGGED.sub("s2ice: ", outcome.stderr.splitlines()[-1])
    assert outcome.json["outcomes"] == {"unchanged": 1}
    public.host.ranges = True
    public.place.joinpath("catalog.json").unlink()
    public.place.joinpath("publication.json").write_text("mine")
    outcome = public.s2ice("run", config(public), "--json", code=1)
    assert outcome.json["publication"]["outcome"] == "failed"
    assert "publication.json is not what s2ice publishes" in outcome.stderr


WRONG = {
    "out": ('out = "https://host/x"', "`publish.out`: a web server cannot be written to"),
    "base-url": ('base-url = "s3://bucket"', "`publish.base-url`: it is an address that browsers open"),
    "source-url": ('source-url = "ftp://x"', "`publish.source-url`: "),
    "unknown": ('where = "x"', "where"),
    "secret": ('publisher = "We"\npublisher-url = "https://me:hunter2@host/"', "without user and password"),
    "publisher-url": ('publisher-url = "https://example.org"', "`publish.publisher-url`: it says nothing without"),
    "map-attribution": ('map-attribution = "They"', "`publish.map-attribution`: it says nothing without"),
    "map-tiles": ('map-tiles = "https://host/{z}/{x}/{y}{r}.png"', "and nothing else does"),
    "title": ('title = " "', "`publish.title`: it is empty"),
}


@pytest.mark.parametrize("key", WRONG)
def test_what_is_wrong_in_a_file_is_told_with_its_line(public: Public, key: str) -> None:
    line, reason = WRONG[key]
    file = config(public)
    lines = [kept for kept in file.read_text().splitlines() if not kept.startswith(f"{key} =")]
    file.write_text("\n".join([*lines, line]) + "\n")
    sentence = public.s2ice("run", file, "--check", code=2).sentence
    assert reason in sentence
    assert f"line {len(lines) + len(line.splitlines())}" in sentence


def test_a_file_whose_stores_lie_in_the_publication_is_refused(public: Public) -> None:
    """Before a tile is begun: afterwards its store would be where documents are to be."""
    file = config(public)
    text = file.read_text()
    for store, out, reason in (
        (f"{public.place}/{{tile}}-L2A", public.place, f"in its folder {ID}"),
        (f"{public.folder}/stores/{{tile}}", public.living.store / "public", "lies in the store"),
    ):
        told = text.replace(f'"{public.folder}/stores/{{tile}}"', f'"{store}"').replace(f'"{public.place}"', f'"{out}"')
        file.write_text(told)
        for more in (["run", file, "--check"], ["run", file], ["publish", file]):
            sentence = public.s2ice(*more, code=2).sentence
            assert "line 2: `publish`: " in sentence
            assert reason in sentence
    file.write_text(text)
    assert "the file is right" in public.s2ice("run", file, "--check").stdout


def test_a_base_url_of_another_publication_is_told(public: Public, tmp_path: Path) -> None:
    """Its catalogue is the same to the byte; its store is not."""
    public.publish()
    public.living.run([*public.living.archive.products, public.living.archive.add("2024-06-11")])
    line = public.line("--json")
    line[line.index("--out") + 1] = tmp_path / "elsewhere"
    (hindrance,) = public.s2ice(*line, code=1).json["hindrances"]
    assert (hindrance["trial"], "is in another state" in hindrance["reason"]) == ("base_url", True)


HINDRANCES = {
    "elsewhere": ("base_url", "--base-url does not lead to what was written"),
    "another": ("base_url", "is another file than was written"),
    "gone": ("base_url", "does not answer"),
    "refused": ("base_url", "make the bucket public"),
    "ranges": ("range", "readers need Range requests"),
    "missing": ("missing", "let strangers list the bucket"),
    "page": ("missing", "readers need 404"),
    "origins": ("cors", "Access-Control-Allow-Origin"),
    "store": ("open", "make it public to read"),
    "product": ("tile", "make it public to read"),
}


@pytest.mark.parametrize("how", HINDRANCES)
def test_what_a_stranger_cannot_do_is_told(public: Public, how: str) -> None:
    trial, reason = HINDRANCES[how]
    more: tuple[object, ...] = ()
    if how == "elsewhere":
        more = ("--base-url", f"{public.host.address}/nowhere")
    if how == "another":
        (public.folder / "catalog.json").write_text("{}")
        more = ("--base-url", public.host.address)
    if how == "gone":
        public.host.stop()
    if how == "refused":
        public.host.how, public.host.about = "denied", "catalog.json"
    if how in {"store", "product"}:
        public.host.how, public.host.about = "denied", f"{ID}/store/snapshots" if how == "store" else "/archive/"
    if how == "ranges":
        public.host.ranges = False
    if how == "missing":
        public.host.missing = "403 Forbidden"
    if how == "page":
        public.host.missing = "200 OK"
    if how == "origins":
        public.host.origins = ""
    line = public.line()
    if more:
        line[line.index("--base-url") : line.index("--base-url") + 2] = more
    outcome: Outcome = public.s2ice(*line, "--json", code=1)
    found = [(hindrance["trial"], hindrance["reason"]) for hindrance in outcome.json["hindrances"]]
    assert found[0][0] == trial
    assert reason in found[0][1]
    assert reason in outcome.stderr
    assert "\n\n" not in outcome.stderr


def test_a_source_on_this_machine_is_told(public: Public, tmp_path: Path) -> None:
    line = public.line()
    at = line.index("--source-url")
    del line[at : at + 2]
    outcome = public.s2ice(*line, "--json", code=1)
    assert [hindrance["trial"] for hindrance in outcome.json["hindrances"]] == ["tile"]
    assert "give --source-url" in outcome.sentence
    for path in public.place.rglob("*"):
        if path.suffix in {".html", ".json", ".parquet"}:
            assert str(public.folder).encode() not in path.read_bytes(), path
    copied = icechunk.Repository.fetch_config(icechunk.local_filesystem_storage(str(public.place / ID / "store")))
    (container,) = copied.virtual_chunk_containers.values()
    assert container.url_prefix == "file:///not-published/local/"
    # Who has the files names them.
    tile = snippets(public, f"{ID}/index.html")
    assert tile.keys() == {"open-python", "open-shell", "open-pin"}
    for code in (tile["open-python"], snippets(public, "index.html")["open-python"]):
        assert "only the publisher reaches them" in code
        runs(code.replace("s3://...", f"{public.host.address}/archive"), tmp_path)


def test_product_files_elsewhere_are_allowed_by_name(public: Public, tmp_path: Path) -> None:
    with hosts.serve(public.living.archive.root) as (other,):
        line = public.line("--no-look")
        line[line.index("--source-url") + 1] = other.address
        public.s2ice(*line)
        assert "b01" in runs(snippets(public, "index.html")["open-python"], tmp_path)


def test_requests_that_make_no_sense(public: Public, tmp_path: Path) -> None:
    def refused(*line: object, code: int = 2) -> str:
        return public.s2ice("publish", *line, code=code).sentence

    place = ("--out", tmp_path / "p", "--base-url", "http://127.0.0.1:1")
    assert "there is no store at" in refused(tmp_path / "none", *place, code=1)
    assert "--base-url" in refused(public.living.store, "--out", tmp_path / "p", "--base-url", "s3://bucket")
    assert "--out" in refused(public.living.store, "--out", "https://host/x", "--base-url", "http://127.0.0.1:1")
    store = public.living.store
    for source in ("archive", "::", str(tmp_path)):
        assert "others follow it" in refused(store, *place, "--source-url", source)
    bucket = ("--out", "s3://bucket", "--base-url", "http://127.0.0.1:1")
    assert "others follow it" in refused(store, *bucket, "--source-url", tmp_path.as_uri())
    secret = "https://user:hunter2@host/"
    for publisher in ("javascript:alert(1)", "not a url", secret, "https://user@host/", "https://ho\tst/"):
        assert "browsers open" in refused(store, *place, "--publisher", "We", "--publisher-url", publisher)
    assert "without user and password" in refused(store, *place, "--map-tiles", secret + "{z}/{x}/{y}.png")
    assert "--source-option: it says nothing" in refused(store, *place, "--source-option", "anonymous=true")
    assert not (tmp_path / "p").exists() or not list((tmp_path / "p").rglob("*.json"))


def test_a_bucket_is_published_in(public: Public) -> None:
    """Copied to S3, where commits are safe again, and read there without keys."""
    with s3.serve() as service:
        service.bucket("public")
        # Some programs make objects for folders.
        for folder in (f"a/{ID}/store/", f"a/{ID}/store/chunks/"):
            service.client.put_object(Bucket="public", Key=folder, Body=b"")
        options = [("--out-option", f"endpoint={service.endpoint}"), ("--out-option", "region=us-east-1")]
        line = ["publish", public.living.store, "--out", "s3://public/a", "--base-url", f"{service.endpoint}/public/a"]
        line += [item for pair in options for item in pair]
        line += ["--source-url", f"{public.host.address}/archive", "--no-look", "--json"]
        report = public.s2ice(*line, **s3.ENVIRONMENT).json
        assert report["copied_objects"] > 3
        storage = service.storage(f"a/{ID}/store", bucket="public")
        config = icechunk.Repository.fetch_config(storage)
        assert config.storage.unsafe_use_conditional_update
        (container,) = config.virtual_chunk_containers.values()
        assert container.url_prefix == f"{public.host.address}/archive/"
        with service.recorded() as requests:
            again = public.s2ice(*line, **s3.ENVIRONMENT).json
        assert (again["unchanged"], again["files"]) == (1, 0)
        assert {request.method for request in requests} <= {"GET", "HEAD"}
        head = service.client.head_object(Bucket="public", Key="a/catalog.json")
        assert head["ContentType"] == "application/json"
        # A name that none of ours has hinders nothing.
        service.client.put_object(Bucket="public", Key="a/notes//x", Body=b"mine")
        service.client.delete_object(Bucket="public", Key="a/catalog.json")
        assert public.s2ice(*line, "--restore", **s3.ENVIRONMENT).json["lost"] == 1
        # Its own copy is none of its stores, however it is called, nor are its files those of another publication.
        port = service.endpoint.rpartition(":")[2]
        for endpoint, code in ((f"{service.endpoint}/", 2), (f"http://localhost:{port}", (1, 2))):
            own = ["publish", f"s3://public/a/{ID}/store", *line[2:-1]]
            own += ["--store-option", f"endpoint={endpoint}", "--store-option", "region=us-east-1"]
            assert "name the store itself" in public.s2ice(*own, code=code, **s3.ENVIRONMENT).sentence
        within = [word.replace("s3://public/a", f"s3://public/a/{ID}/store/x") for word in map(str, line)]
        assert "is an Icechunk repository" in public.s2ice(*within, code=2, **s3.ENVIRONMENT).sentence
        # Of several at once one goes on, in a new place and in an old one.
        for more in ((), ("--title", "Another")):
            words = [word.replace("s3://public/a", "s3://public/b") if isinstance(word, str) else word for word in line]
            several = [public.s2ice.start(*words, *more, **s3.ENVIRONMENT) for _ in range(3)]
            told = [process.communicate()[1] for process in several]
            assert 0 in [process.returncode for process in several], told
            assert all(
                "another writer" in text for process, text in zip(several, told, strict=True) if process.returncode
            )
            assert public.s2ice(*words, *more, **s3.ENVIRONMENT).json["files"] == 0
