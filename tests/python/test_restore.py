"""What was lost or damaged of a publication: what comes back, what is named, and what is left alone."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import icechunk
import pytest

from support.publications import ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Samples
    from support.archive import Archive
    from support.command import Command
    from support.publications import Public

EAST = "01WCP-L2A"


@pytest.fixture(scope="session")
def east(s2ice: Command, make_samples: Callable[..., Samples], once: Callable[..., Path]) -> Path:
    """A store of another zone, read only."""
    samples = make_samples("--tile", "01WCP", "--dates", "1", "--start", "2024-05-01")
    inputs = ("--index", samples.index, "--source", samples.root, "--memory", "none", "-q")
    folder = once("store 01WCP", lambda into: s2ice("build", "--tile", "01WCP", *inputs, "--store", into / "01WCP"))
    return folder / "01WCP"


def place_without_ledgers(public: Public) -> None:
    for path in public.place.rglob("*"):
        if path.is_file() and "store" not in path.relative_to(public.place).parts:
            path.unlink()


def test_a_copy_is_mended_beside_its_store(public: Public) -> None:
    public.publish("--no-look")
    before = public.files()
    # The store is damaged, and its copy whole: it stays.
    (log,) = [path for path in (public.living.store / "transactions").iterdir() if "1CECHNK" not in path.name][:1]
    whole = log.read_bytes()
    log.write_bytes(whole[:20])
    sentence = public.s2ice(*public.line("--restore", "--no-look"), code=1).sentence
    assert log.name in sentence
    assert "bring it back from" in sentence
    assert public.files() == before
    log.write_bytes(whole)
    # What keeps its size is seen, also where ledgers are gone and the store has moved.
    place_without_ledgers(public)
    damaged = public.place / ID / "store/transactions" / log.name
    damaged.write_bytes(whole[:-9] + bytes(9))
    (public.place / ID / "store/snapshots").rename(public.place / "snapshots-gone")
    public.living.store = public.living.store.rename(public.folder / "moved")
    report = public.publish("--restore")
    assert (report["lost"], report["hindrances"]) == (1 + len(list((public.place / "snapshots-gone").iterdir())), [])
    assert damaged.read_bytes() == whole
    public.is_as_built()


def burst(path: Path) -> None:
    """Blocks of one byte 131,072 times, behind the header of an object: 600 MiB in 19 kB."""
    heads = (131_072 << 3 | 1 << 1 | (block == 4799) for block in range(4800))
    frame = b"\x28\xb5\x2f\xfd\x00\x38" + b"".join(head.to_bytes(3, "little") + b"\x07" for head in heads)
    path.write_bytes(path.read_bytes()[:39] + frame)


def stretch(path: Path) -> None:
    os.truncate(path, 40 << 30)


@pytest.mark.parametrize("damage", [burst, stretch])
def test_nothing_is_read_or_unpacked_without_a_bound(public: Public, damage: Callable[[Path], None]) -> None:
    """Icechunk would: a store is looked at first, and its copy by what was proven of the store."""
    public.publish("--no-look")
    for folder in (public.living.store, public.place / ID / "store"):
        objects = [folder / "repo"]
        objects += (min((folder / kind).iterdir()) for kind in ("snapshots", "transactions", "manifests"))
        for path in objects:
            whole = path.read_bytes()
            damage(path)
            if folder == public.living.store:
                before = public.files()
                sentence = public.s2ice(*public.line("--restore", "--no-look"), code=1).sentence
                assert f"is damaged in its object {path.relative_to(folder)} (it has " in sentence
                assert public.files() == before
                path.write_bytes(whole)
            else:
                assert public.publish("--restore", "--no-look")["lost"] == 1
                assert path.stat().st_size < 1 << 20
    public.is_as_built()


def test_stores_that_nobody_names(public: Public, east: Path) -> None:
    """What is lost of them, and told otherwise than now, is said each time."""
    both = public.line("--no-look", "--no-preview")
    both.insert(1, east)
    public.s2ice(*both)
    whole = public.files().keys()
    for path in ("catalog.json", f"{EAST}/collection.json", f"{EAST}/index.html", f"{ID}/index.html"):
        (public.place / path).unlink()
    for lost in (2, 0):
        outcome = public.s2ice(*public.line("--no-look", "--no-preview", "--restore"), "--json", code=1)
        assert (outcome.json["lost"], [store["id"] for store in outcome.json["failed"]]) == (lost, [EAST])
        assert "2 of its files are lost, and come back when it is named too" in outcome.sentence
    told = public.s2ice(*both, "--restore").stdout
    assert "lost and back" in told
    assert public.files().keys() == whole
    for _ in range(2):
        sentence = public.s2ice(*public.line("--no-look", "--no-preview", "--title", "Another"), code=1).sentence
        assert f"{EAST} was not published: it is told of at {public.url} as of" in sentence
    public.s2ice(*both, "--title", "Another")
    public.s2ice(*public.line("--no-look", "--no-preview", "--title", "Another"))


def test_a_lost_ledger_takes_no_stores_out(public: Public, east: Path) -> None:
    line = public.line("--no-look", "--no-preview", "--json")
    both = [line[0], east, *line[1:]]
    public.s2ice(*both)
    # The zone's stays known without that of the whole.
    for path in public.place.iterdir():
        if path.is_file():
            path.unlink()
    shutil.rmtree(public.place / "assets")
    assert public.s2ice(*line).json["stores"] == 2
    assert EAST in (public.place / "tiles.json").read_text()
    (public.place / "zones/01").rename(public.folder / "zone")
    before = public.files()
    sentence = public.s2ice(*line, code=2).sentence
    assert "zones/01/ledger.json is gone: bring it back" in sentence
    assert public.files() == before
    (public.folder / "zone").rename(public.place / "zones/01")
    assert public.s2ice(*line).json["stores"] == 2
    # A ledger that was written over does not lead to copies.
    ledger = public.place / "zones/01/ledger.json"
    written = json.loads(ledger.read_text())
    copy = f"{EAST}/store/repo"
    written["files"][copy] = ""
    written["stores"][EAST]["files"].append(copy)
    ledger.write_text(json.dumps(written))
    assert public.s2ice(*line, "--prune").json["removed"] == [EAST]
    assert (public.place / copy).exists()


def test_what_cannot_be_listed_hinders_nothing(public: Public) -> None:
    public.publish("--no-look")
    (public.place / "index.html").unlink()
    (public.place / "loop").symlink_to(public.place)
    assert public.publish("--no-look", "--restore")["lost"] == 1


def test_a_folder_where_a_file_was_is_told(public: Public) -> None:
    public.publish("--no-look")
    snapshot = next((public.place / ID / "store/snapshots").iterdir())
    files = ((public.place / ID / "index.html", "holds a file"), (snapshot, "is a folder where a copy has"))
    for file, reason in files:
        file.unlink()
        file.mkdir()
        for _ in range(2):
            assert reason in public.s2ice(*public.line("--no-look", "--restore"), code=2).sentence
        file.rmdir()
    assert public.publish("--restore")["lost"] == 2


def test_where_references_lead_is_news(public: Public) -> None:
    public.publish("--no-look")
    storage = icechunk.local_filesystem_storage(str(public.living.store))

    def lead(prefix: str, store: icechunk.ObjectStoreConfig) -> None:
        config = icechunk.Repository.fetch_config(storage)
        config.clear_virtual_chunk_containers()
        config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(prefix, store, name="local"))
        icechunk.Repository.open(storage, config=config).save_config()

    lead("s3://archive/", icechunk.s3_store(region="eu-west-1", anonymous=True))
    line = public.line("--no-look", "--no-preview", "--json")
    at = line.index("--source-url")
    del line[at : at + 2]
    assert [store["id"] for store in public.s2ice(*line).json["published"]] == [ID]
    assert "s3://archive/" in (public.place / ID / "collection.json").read_text()
    assert public.s2ice(*line).json["unchanged"] == 1
    lead("s3://archive/", icechunk.s3_store(region="us-east-1"))
    assert public.s2ice(*line).json["unchanged"] == 0
    before = public.files()
    lead("s3://archive/", icechunk.s3_store(region="x", endpoint_url="http://user:hunter2@127.0.0.1:9"))
    sentence = public.s2ice(*line, code=1).sentence
    assert "credentials do not belong in an address" in sentence
    assert "hunter2" not in sentence
    assert public.files() == before


def test_what_leads_out_of_the_place_is_not_followed(public: Public, archive: Archive) -> None:
    store, outside = public.living.store, public.folder / "outside"
    outside.mkdir()
    before = public.living.files()
    for target in (store, outside):
        public.place.mkdir(exist_ok=True)
        (public.place / ID).symlink_to(target)
        assert "by a link, out of the place" in public.s2ice(*public.line(), code=2).sentence
        (public.place / ID).unlink()
    # Nor is anything written into a store that nobody named.
    for place in (store, store / "refs"):
        line = ["publish", archive.root / "none", "--out", place, "--base-url", public.url]
        assert "is an Icechunk repository" in public.s2ice(*line, code=2).sentence
    assert (public.living.files(), list(outside.iterdir())) == (before, [])
    # A copy may not lie elsewhere either, nor come back there.
    public.publish("--no-look")
    copy = public.place / ID / "store"
    copy.rename(outside / "store")
    copy.symlink_to(outside / "store")
    (outside / "store/repo").unlink()
    left = list(outside.rglob("*"))
    for more in (("--title", "Another"), ("--restore",)):
        assert "by a link, out of the place" in public.s2ice(*public.line("--no-look", *more), code=2).sentence
    assert list(outside.rglob("*")) == left
    shutil.rmtree(public.place)
    shutil.rmtree(outside / "store")
    # A link to nothing is in the way, each time.
    (public.place / "zones/33").mkdir(parents=True)
    for path in ("catalog.json", "publication.json", "zones/33/ledger.json", "zones/33/index.html"):
        for make in (lambda file: file.symlink_to("nothing"), lambda file: file.mkdir()):
            file = public.place / path
            make(file)
            for _ in range(2):
                assert f"holds a file {path} that" in public.s2ice(*public.line(), code=2).sentence
            file.unlink() if file.is_symlink() else file.rmdir()
    lock = public.folder / ".public.s2ice-lock"
    lock.unlink()
    lock.mkdir()
    assert "it lies beside the place" in public.s2ice(*public.line(), code=1).sentence
    lock.rmdir()
    # What is known of the last run may be anything.
    (store / "s2ice").mkdir(exist_ok=True)
    (store / "s2ice/last-run.json").write_text("{")
    outcome = public.s2ice(*public.line("--no-look"))
    assert "taken for unknown" in outcome.stderr
    (store / "s2ice/last-run.json").unlink()
