"""Sources, indexes and stores that cannot be reached, refuse, or hold something else; runs that are cut off."""

from __future__ import annotations

import fcntl
import http.server
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import icechunk
import pytest
import zarr

import s2ice as package
import servers
from support import s3, stores

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Samples
    from support.bench import Bench
    from support.command import Command

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens
KEYS = ("--store-option", "aws_access_key_id=key", "--store-option", f"aws_secret_access_key={s3.SECRET}")


class Page(http.server.BaseHTTPRequestHandler):
    """A web server that answers everything with a page."""

    status = 200
    body = b"<!DOCTYPE html>\n<html>\n<body>Welcome</body>\n</html>\n"

    def do_GET(self) -> None:
        self.rfile_read()
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_PUT = do_POST = do_HEAD = do_GET  # noqa: N815 (the names are http.server's)

    def rfile_read(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def pages(status: int) -> Iterator[str]:
    handler = type("Pages", (Page,), {"status": status})
    with servers.running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url:
        yield url


@pytest.fixture(scope="module")
def service() -> Iterator[s3.Service]:
    with s3.serve() as service:
        service.bucket("eodata")
        service.bucket("stores")
        yield service


@pytest.fixture(scope="module")
def archive(service: s3.Service, pair: Samples) -> str:
    service.upload(pair.root, "eodata", ACL="public-read")
    return "s3://eodata"


# --- Sources.


SIGNED = ("--source-option", "aws_access_key_id=key", "--source-option", f"aws_secret_access_key={s3.SECRET}")


def test_a_source_that_nobody_serves(bench: Bench) -> None:
    for sentence in (
        bench.refused(source=f"{NOBODY}/x", code=3),
        bench.refused(*SIGNED, source="s3://eodata", source_endpoint=NOBODY, code=3),
    ):
        assert "cannot connect" in sentence
        assert "check the address" in sentence


def test_a_source_without_credentials(bench: Bench, service: s3.Service, archive: str) -> None:
    sentence = bench.refused(source=archive, source_endpoint=service.endpoint, code=3)
    assert "no credentials found" in sentence


def test_a_source_that_refuses(bench: Bench, service: s3.Service, archive: str, pair: Samples) -> None:
    """All of it, or one file of it."""
    options = {"source": archive, "source_endpoint": service.endpoint}
    with service.denying(lambda r: r.bucket == "eodata"):
        sentence = bench.refused("--source-anonymous", code=3, **options)
    assert "was refused (403 AccessDenied): check the credentials" in sentence
    with service.denying(lambda r: r.path.endswith("_B09_60m.jp2")):
        report = bench.build("--source-anonymous", **options)
    assert {(r["product"], r["raster"]) for r in report["refused"]} == {(p, "B09_60m") for p in pair.products}
    assert all("was refused (403" in r["reason"] for r in report["refused"])


def test_a_source_without_the_product(bench: Bench, service: s3.Service, archive: str) -> None:
    options = {"source": f"{archive}/elsewhere", "source_endpoint": service.endpoint}
    assert bench.refused("--source-anonymous", **options).endswith("MTD_TL.xml does not exist")


def test_a_source_without_the_bucket(bench: Bench, service: s3.Service) -> None:
    sentence = bench.refused("--source-anonymous", source="s3://eodatta", source_endpoint=service.endpoint)
    assert 'bucket "eodatta" does not exist at ' in sentence


@pytest.mark.parametrize("status", [200, 404])
def test_an_endpoint_that_is_a_web_site(bench: Bench, status: int) -> None:
    with pages(status) as url:
        sentence = bench.refused("--source-anonymous", source="s3://eodata", source_endpoint=url)
    assert "check the endpoint" in sentence or "does not answer range requests" in sentence
    assert "<" not in sentence


def test_a_web_site_as_source(bench: Bench) -> None:
    with pages(404) as url:
        assert bench.refused(source=f"{url}/x").endswith("MTD_TL.xml does not exist")
    with pages(403) as url:
        assert "was refused (403)" in bench.refused(source=f"{url}/x", code=3)
    with pages(200) as url:
        assert "ange request" in bench.refused(source=f"{url}/x")


# --- Indexes and catalogues at an address.


def test_an_index_at_an_address(bench: Bench) -> None:
    assert "cannot connect" in bench.refused(index=f"{NOBODY}/index.parquet", code=3)
    with pages(404) as url:
        assert bench.refused(index=f"{url}/index.parquet").endswith("/index.parquet does not exist")
    with pages(403) as url:
        assert "was refused (403)" in bench.refused(index=f"{url}/index.parquet", code=3)


def test_a_catalogue_at_an_address(bench: Bench) -> None:
    assert "cannot reach" in bench.refused(stac=f"{NOBODY}/v1", code=3)
    reasons = {200: "is not JSON", 403: "answered 403", 404: "is this the root of a STAC API?"}
    for status, reason in reasons.items():
        with pages(status) as url:
            assert reason in bench.refused(stac=f"{url}/v1", code=3 if status == 403 else 1)


# --- Places for a store.


def a_folder(store: Path) -> None:
    store.mkdir(parents=True)
    (store / "thesis.txt").write_text("three years of work")


def a_file(store: Path) -> None:
    store.parent.mkdir(parents=True)
    store.write_text("three years of work")


def a_zarr_store(store: Path) -> None:
    store.parent.mkdir(parents=True)
    zarr.create_group(store)


def a_foreign_repository(store: Path) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(store)))
    session = repository.writable_session("main")
    zarr.create_group(session.store).create_array("precious", shape=(3,), dtype="u1")
    session.commit("three years of work")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (a_folder, "holds something else than an Icechunk repository: name an empty or new place"),
        (a_file, "holds something else than an Icechunk repository: name an empty or new place"),
        (a_zarr_store, "holds something else than an Icechunk repository: name an empty or new place"),
        (a_foreign_repository, "is an Icechunk repository that s2ice did not write: name another place"),
    ],
)
def test_a_place_that_is_taken(bench: Bench, make: Callable[[Path], None], reason: str) -> None:
    make(bench.store)
    assert reason in bench.refused()
    assert reason in bench.refused("--dry-run")


def test_a_store_of_another_tile(bench: Bench, sample_store: Path, s2ice: Command, tmp_path: Path) -> None:
    sentence = bench.refused(tile="32TQM", store=sample_store, index=relabelled(bench, tmp_path))
    assert f"{sample_store} is the store of 33TVN L2A, not of 32TQM L2A" in sentence


def relabelled(bench: Bench, folder: Path) -> Path:
    """An index that names products of 32TQM. Their metadata need not exist: the place is looked at first."""
    from support import tables

    rows = [
        {k: v.replace("33TVN", "32TQM") if isinstance(v, str) else v for k, v in row.items()}
        for row in tables.rows(bench.index)
    ]
    return tables.write(folder / "32TQM.parquet", rows)


def test_a_store_of_a_newer_layout(bench: Bench) -> None:
    bench.build()
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(bench.store)))
    session = repository.writable_session("main")
    root = zarr.open_group(session.store)
    root.attrs["s2ice"] = {**root.attrs["s2ice"], "layout": 99, "writer": "s2ice 9.0.0"}
    session.commit("From the future")
    sentence = bench.refused()
    assert "was written by s2ice 9.0.0 with layout version 99, this program knows 4: upgrade s2ice" in sentence
    assert "upgrade s2ice" in bench.s2ice("info", bench.store, code=1).sentence


def test_an_empty_folder_and_an_empty_repository_can_be_used(bench: Bench, tmp_path: Path) -> None:
    for make in (lambda p: p.mkdir(), lambda p: icechunk.Repository.create(icechunk.local_filesystem_storage(str(p)))):
        bench.store = tmp_path / f"empty{make.__code__.co_firstlineno}{id(make)}"
        make(bench.store)
        assert bench.build()["references"] > 0


def test_a_store_that_nobody_serves(bench: Bench) -> None:
    sentence = bench.refused(*KEYS, "--store-endpoint", NOBODY, store="s3://stores/x")
    assert "cannot connect" in sentence
    sentence = bench.s2ice("info", "s3://stores/x", "--store-endpoint", NOBODY, *KEYS, code=1).sentence
    assert "cannot connect" in sentence


@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_store_at_a_web_site(bench: Bench, status: int) -> None:
    reason = {200: "range requests", 403: "was refused (403)", 404: "check the endpoint"}[status]
    with pages(status) as url:
        sentence = bench.refused(*KEYS, "--store-endpoint", url, store="s3://stores/x")
    assert reason in sentence
    assert "<" not in sentence


def test_a_store_without_bucket_or_credentials(bench: Bench, service: s3.Service) -> None:
    sentence = bench.refused(*KEYS, "--store-endpoint", service.endpoint, store="s3://storrs/x")
    assert 'bucket "storrs" does not exist' in sentence
    sentence = bench.refused("--store-endpoint", service.endpoint, store="s3://stores/x")
    assert "no credentials found" in sentence


def test_a_store_that_may_not_be_written(bench: Bench, service: s3.Service) -> None:
    """Reading is allowed, writing is not: told in one sentence, and nothing is there."""
    with service.denying(lambda r: r.method == "PUT"):
        sentence = bench.refused(*KEYS, "--store-endpoint", service.endpoint, store="s3://stores/denied")
    assert "403" in sentence
    assert "AccessDenied" in sentence
    assert keys(service, "denied/") == []


def test_info_where_no_store_is(s2ice: Command, tmp_path: Path, service: s3.Service) -> None:
    assert f"there is no store at file://{tmp_path}/none" in s2ice("info", tmp_path / "none", code=1).sentence
    assert "there is no store at" in s2ice("info", tmp_path, code=1).sentence
    a_foreign_repository(tmp_path / "foreign")
    assert "s2ice did not write" in s2ice("info", tmp_path / "foreign", code=1).sentence
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(tmp_path / "foreign")))
    session = repository.writable_session("main")
    zarr.open_group(session.store).attrs["s2ice"] = {"theirs": True}
    session.commit("an attribute of the same name")
    assert "s2ice did not write" in s2ice("info", tmp_path / "foreign", code=1).sentence
    sentence = s2ice("info", "s3://stores/none", "--store-endpoint", service.endpoint, *KEYS, code=1).sentence
    assert "there is no store at s3://stores/none" in sentence


# --- Two at a time.


def test_a_lock_of_another_process(bench: Bench) -> None:
    bench.build()
    lock = bench.store.with_name(f".{bench.store.name}.s2ice-lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        sentence = bench.refused("--lock-wait", "0s")
        assert f"another s2ice process is writing {bench.store}" in sentence
        assert str(lock) in sentence
        # Within its patience a run waits.
        threading.Timer(1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        assert "committed" not in bench.build()


def test_two_first_builds_at_once(bench: Bench, service: s3.Service, archive: str) -> None:
    """Both want to make the store. One is published whole; the other finds that nothing is left to do."""
    met = threading.Barrier(2, timeout=30)

    def together(request: s3.Request) -> bool:
        # Both runs have found nothing at the place when the first of them makes the repository.
        if request.method == "GET" and request.path.endswith("/both/repo") and not met.broken and met.n_waiting < 2:
            with suppress(threading.BrokenBarrierError):
                met.wait(timeout=2)
        return False

    line = bench.arguments(*KEYS, "--store-endpoint", service.endpoint, "-q", store="s3://stores/both")
    with service.denying(together):
        runs = [bench.s2ice.start(*line) for _ in range(2)]
        outcomes = [(run.communicate(timeout=120)[1], run.returncode) for run in runs]
    assert outcomes == [("", 0), ("", 0)]
    whole(bench, service, "s3://stores/both")


def test_a_build_overtaken_by_another(bench: Bench, service: s3.Service) -> None:
    """The first run makes the repository, the second uses it and publishes; the first then has nothing left to do."""
    writing, overtaken = threading.Event(), threading.Event()

    def hold(request: s3.Request) -> bool:
        if request.key == "slow" and request.method == "PUT" and "/overtaken/manifests/" in request.path:
            writing.set()
            overtaken.wait(60)
        return False

    store = "s3://stores/overtaken"
    line = bench.arguments(
        "--store-endpoint", service.endpoint, "--store-option", f"aws_secret_access_key={s3.SECRET}", "-q", store=store
    )
    with service.denying(hold):
        slow = bench.s2ice.start(*line, "--store-option", "aws_access_key_id=slow")
        assert writing.wait(60)
        bench.s2ice(*line, "--store-option", "aws_access_key_id=fast")
        overtaken.set()
        text = slow.communicate(timeout=120)[1]
    assert (slow.returncode, text) == (0, "")
    whole(bench, service, store)


def whole(bench: Bench, service: s3.Service, store: str) -> None:
    info = bench.s2ice("info", store, "--store-endpoint", service.endpoint, *KEYS, "--json").json
    assert info["times"]["count"] == 2
    assert info["branches"] == ["main"]


# --- Interruptions.


def keys(service: s3.Service, prefix: str) -> list[str]:
    found = service.client.list_objects_v2(Bucket="stores", Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", [])]


def interrupted(run: subprocess.Popen[str], with_signal: signal.Signals = signal.SIGINT) -> str:
    run.send_signal(with_signal)
    started = time.monotonic()
    stdout, stderr = run.communicate(timeout=30)
    assert time.monotonic() - started < 15
    assert run.returncode == 1
    assert stdout == ""
    return stderr


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_reads(bench: Bench, with_signal: signal.Signals) -> None:
    """A source that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        run = bench.s2ice.start(*bench.arguments("-q", source=url))
        connection, _ = silent.accept()
        with connection:
            assert interrupted(run, with_signal) == "s2ice: interrupted; nothing was published\n"
    assert not bench.store.exists()


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_writes(bench: Bench, service: s3.Service, with_signal: signal.Signals) -> None:
    """The repository is made, the first manifests are written: the run's branch goes, and the next run takes over."""
    prefix = f"interrupted-{with_signal.name}/"
    run, begun = slowed(bench, service, prefix)
    with begun:
        assert interrupted(run, with_signal) == "s2ice: interrupted; nothing was published\n"
    store = f"s3://stores/{prefix.rstrip('/')}"
    options = (*KEYS, "--store-endpoint", service.endpoint)
    assert "there is no store" in bench.s2ice("info", store, *options, code=1).sentence
    bench.build(*options, store=store)
    whole(bench, service, store)


def test_interrupted_while_it_rewrites(bench: Bench, service: s3.Service) -> None:
    """A store that was there stays as it was, without a branch of the interrupted run."""
    options = ("--store-endpoint", service.endpoint, *KEYS)
    bench.build(*options, "--arrays", "**/b01", store="s3://stores/rewritten")
    before = bench.s2ice("info", "s3://stores/rewritten", *options, "--json").json
    run, begun = slowed(bench, service, "rewritten/")
    with begun:
        interrupted(run)
    after = bench.s2ice("info", "s3://stores/rewritten", *options, "--json").json
    assert after == before
    assert after["branches"] == ["main"]


def slowed(bench: Bench, service: s3.Service, prefix: str) -> tuple[subprocess.Popen[str], Any]:
    """A run caught in the middle of its commit."""
    writing = threading.Event()

    def slow(request: s3.Request) -> bool:
        if request.method == "PUT" and request.path.startswith(f"/stores/{prefix}manifests/"):
            writing.set()
            time.sleep(0.3)
        return False

    @contextmanager
    def begun() -> Iterator[None]:
        with service.denying(slow):
            assert writing.wait(60)
            yield

    service.deny = slow
    line = bench.arguments("-q", *KEYS, "--store-endpoint", service.endpoint, store=f"s3://stores/{prefix.rstrip('/')}")
    return bench.s2ice.start(*line), begun()


def test_a_local_store_survives_interruptions(bench: Bench, pair: Samples) -> None:
    """Wherever a rewrite is cut off, readers have the old state or the new one."""
    bench.build("--arrays", "**/b01")
    old = stores.local(bench.store).snapshot_id
    seen = set()
    for pause in (0.02, 0.05, 0.08, 0.12, 0.2, 0.4):
        run = bench.s2ice.start(*bench.arguments("-q"))
        time.sleep(pause)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=30)
        session = stores.local(bench.store)
        if session.snapshot_id == old:
            # On a busy machine the first signal may come before the program listens to it.
            assert run.returncode in (1, -signal.SIGINT)
        arrays = set(stores.data_arrays(session))
        assert arrays in (
            {"measurements/reflectance/r60m/b01"},
            {
                "measurements/reflectance/r60m/b01",
                "measurements/reflectance/r60m/b09",
                "conditions/mask/l2a_classification/r20m/scl",
            },
        )
        seen.add(run.returncode)
    assert 1 in seen
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(bench.store)))
    assert set(repository.list_branches()) == {"main"}
    assert bench.build()["references"] > 0
    array = package.open(bench.store, mask_and_scale=False)["measurements/reflectance/r60m/b01"]
    assert (array[0].to_numpy() == pair.truth(pair.products[0], "B01_60m")).all()
