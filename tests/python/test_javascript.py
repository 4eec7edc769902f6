"""The npm package `@s2ice/codec`: zarrita in Node and Chromium reads what zarr-python reads, and no more."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from support import hosts, s3, stores
from support.browsing import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from conftest import Samples
    from support.command import Command
    from support.hosts import Host
    from support.javascript import Package

B01 = "/measurements/reflectance/r60m/b01"
X2 = "/measurements/reflectance/r60m_x2/b01"
REAL = [
    "/measurements/reflectance/r60m/b02",
    "/measurements/reflectance/r60m/b8a",
    "/conditions/mask/l2a_classification/r20m/scl",
    "/conditions/mask/detector_footprint/r60m/b01",
    "/quality/atmosphere/r10m/aot",
    "/quality/l2a_quicklook/r60m/tci",
    "/quality/mask/r60m/b01",
    "/quality/probability/r20m/cld",
]


@pytest.fixture(scope="module")
def store(s2ice: Command, samples: Samples, once: Callable[..., Path]) -> Path:
    """Three dates, with overviews; read only."""
    inputs = ("--index", samples.index, "--stac", samples.stac, "--source", samples.root)

    def fill(folder: Path) -> None:
        place = ("--store", folder / "33TVN", "--overviews", "2,4")
        s2ice("build", "--tile", "33TVN", *inputs, *place, "--memory", "none", "-q")

    return once("store with overviews", fill) / "33TVN"


@pytest.fixture
def served(store: Path, samples: Samples) -> Iterator[tuple[Host, Host]]:
    """The store, and the files that it refers to, each on a host of its own that counts."""
    with hosts.serve(store, samples.root) as (own, source):
        own.origins = source.origins = "*"
        yield own, source


def expected(root: zarr.Group, path: str) -> dict[str, Any]:
    """What zarr-python reads."""
    array = root[path.strip("/")]
    assert isinstance(array, zarr.Array)
    data = np.ascontiguousarray(array[...])
    out: dict[str, Any] = {"dtype": array.metadata.to_dict()["data_type"], "shape": list(array.shape)}
    if out["dtype"] == "string":
        return out | {"values": data.tolist(), "sha256": None}
    if not array.shape:
        return out | {"values": str(data[0]), "sha256": None}
    return out | {"values": None, "sha256": hashlib.sha256(data.tobytes()).hexdigest()}


def opened(store: Path, source: Path) -> zarr.Group:
    return zarr.open_group(stores.local_with_source(store, source).store, mode="r")


def test_node_reads_every_array(
    codec_package: Package, store: Path, samples: Samples, served: tuple[Host, Host]
) -> None:
    own, source = served
    sources = {"local": f"{source.address}/"}
    found = codec_package.task("arrays", url=own.address, sources=sources)
    root = opened(store, samples.root)
    paths = [f"/{name}" for name, node in root.members(max_depth=None) if isinstance(node, zarr.Array)]
    assert sorted(found) == sorted(paths)
    assert len(paths) > 50
    assert found == {path: expected(root, path) for path in paths}


def test_node_reads_a_real_product(codec_package: Package, real_store: tuple[Path, dict[str, Any]], safe: Path) -> None:
    with hosts.serve(real_store[0], safe) as (own, source):
        found = codec_package.task("arrays", url=own.address, sources={"local": source.address}, paths=REAL)
    root = opened(real_store[0], safe)
    assert found == {path: expected(root, path) for path in REAL}


@pytest.mark.parametrize("where", ["here", "inWorker"])
def test_chromium_reads_them(
    codec_package: Package,
    store: Path,
    samples: Samples,
    served: tuple[Host, Host],
    visit: Callable[..., Page],
    where: str,
) -> None:
    own, source = served
    paths = [B01, X2, "/conditions/mask/l2a_classification/r20m/scl", "/products/product_id"]
    options = {"url": own.address, "sources": {"local": source.address}, "paths": paths}
    with hosts.serve(codec_package.pages) as (site,):
        page = visit(f"{site.address}/index.html")
        found = page.evaluate(f"options => {where}('arrays', options)", options)
    root = opened(store, samples.root)
    assert found == {path: expected(root, path) for path in paths}
    # Nothing was asked that a page of another origin has to ask leave for first.
    assert all(b"OPTIONS" not in line.encode() for line in [*own.requests, *source.requests])


def test_overviews_take_their_beginnings(codec_package: Package, served: tuple[Host, Host]) -> None:
    own, source = served
    options = {"url": own.address, "sources": {"local": source.address}, "paths": [X2]}
    sent = []
    for prefixes in (True, False):
        source.sent, source.requests = 0, []
        sent.append((codec_package.task("arrays", prefixes=prefixes, **options), source.sent, len(source.requests)))
    (few, fewer, asked), (all_, more, chunks) = sent
    assert few == all_
    assert fewer < more
    assert asked <= 2 * chunks


@pytest.mark.parametrize("reduce", [0, 1, 3])
def test_windows_take_their_packets(codec_package: Package, served: tuple[Host, Host], reduce: int) -> None:
    own, source = served
    side = -(-192 // 2**reduce)
    window = {"y": [side // 3, side // 2], "x": [side // 2, side * 2 // 3]}
    options = {"path": B01, "index": [0, 3, 3], "reduce": reduce, "window": window}
    found = codec_package.task("window", url=own.address, sources={"local": source.address}, **options)
    assert found["samples"] == found["cut"]
    assert len(set(found["cut"])) > 1
    assert not found["whole"]
    assert found["bytes"] < found["length"]


def test_nobody_is_asked_who_was_not_named(codec_package: Package, served: tuple[Host, Host], store: Path) -> None:
    own, source = served
    found = codec_package.task("arrays", url=own.address, paths=[B01])
    assert "cannot be reached from here: give its address in sources" in found["error"]
    assert source.requests == []


def test_who_lets_no_other_page_read_is_told_of(
    codec_package: Package, served: tuple[Host, Host], visit: Callable[..., Page]
) -> None:
    own, source = served
    source.origins = ""
    options = {"url": own.address, "sources": {"local": source.address}, "paths": [B01]}
    with hosts.serve(codec_package.pages) as (site,):
        page = visit(f"{site.address}/index.html", but=("CORS", "Failed to load resource"))
        found = page.evaluate("options => here('arrays', options)", options)
    assert "does not let pages of other origins read (CORS)" in found["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ranges": False}, "and not the range that was asked for"),
        ({"how": "denied"}, "answers 403"),
        ({"how": "gone"}, "cannot be reached"),
    ],
)
def test_hosts_that_answer_otherwise_are_told_of(
    codec_package: Package, served: tuple[Host, Host], change: dict[str, Any], words: str
) -> None:
    own, source = served
    address = "http://127.0.0.1:9" if change.get("how") == "gone" else source.address
    for name, value in change.items():
        setattr(source, name, value)
    found = codec_package.task("arrays", url=own.address, sources={"local": address}, paths=[B01])
    assert words in found["error"], found


def test_the_documented_proxy_reads_with_keys(
    codec_package: Package,
    served: tuple[Host, Host],
    store: Path,
    samples: Samples,
    visit: Callable[..., Page],
    tmp_path: Path,
) -> None:
    (code,) = re.findall(r"```python\n(# proxy\.py.*?)```", (ROOT / "docs/javascript.md").read_text(), re.DOTALL)
    (tmp_path / "proxy.py").write_text(code)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with s3.serve() as service, hosts.serve(codec_package.pages) as (site,):
        service.bucket("closed")
        for file in samples.root.rglob("*.jp2"):
            service.client.upload_file(str(file), "closed", str(file.relative_to(samples.root)))
        command = [sys.executable, tmp_path / "proxy.py", "closed", str(port), service.endpoint]
        proxy = subprocess.Popen(command, env=os.environ | s3.ENVIRONMENT, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            page = visit(f"{site.address}/index.html")
            options = {"url": served[0].address, "sources": {"local": f"http://127.0.0.1:{port}"}, "paths": [B01]}
            found = page.evaluate("options => here('arrays', options)", options)
        finally:
            proxy.terminate()
            proxy.wait()
    assert found == {B01: expected(opened(store, samples.root), B01)}


def test_damage_is_an_error_in_words(codec_package: Package, store: Path, samples: Samples) -> None:
    counts = codec_package.node("damage.mjs", store, samples.root, 20261130)
    assert counts["decoded"] + counts["refused"] == 1000
    assert counts["refused"] > 100
    assert counts["read"] + counts["unread"] == 600
    assert counts["unread"] > 100


def test_what_npm_gets(codec_package: Package) -> None:
    with tarfile.open(codec_package.tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    assert {"package.json", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "js/codec.wasm"} <= names
    told = json.loads((codec_package.root / "package.json").read_text())
    for entry in told["exports"].values():
        for path in entry.values() if isinstance(entry, dict) else [entry]:
            assert path.removeprefix("./") in names, path
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)
    assert version
    assert told["version"] == version[1]
    assert (
        told["dependencies"]["fzstd"]
        == json.loads((ROOT / "tests/page/package.json").read_text())["dependencies"]["fzstd"]
    )


def test_its_size_is_as_told(codec_package: Package) -> None:
    wasm = (codec_package.root / "js/codec.wasm").read_bytes()
    stated = re.search(
        r"`codec.wasm` has (\d+) kB, (\d+) kB compressed with gzip", (ROOT / "crates/javascript/README.md").read_text()
    )
    assert stated
    for size, told in zip((len(wasm), len(gzip.compress(wasm, 9))), stated.groups(), strict=True):
        # Compilers differ a little.
        assert size / 1000 == pytest.approx(int(told), rel=0.06)
