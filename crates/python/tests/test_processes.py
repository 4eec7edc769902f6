"""Reading from other processes: forked, spawned, of dask, as a DataLoader starts them; and what they share."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import pickle
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import icechunk as ic
import numpy as np
import pytest

import s2ice
from s2ice import _copernicus, _keys
from s2ice.errors import CredentialsError, ForkError
from test_open import R10M, archive, local, write_store  # noqa: F401 (fixtures)

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from support import Jp2


class Samples:
    """What a DataLoader takes: it is pickled, and its workers ask for items by number."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, number: int) -> np.ndarray[Any, Any]:
        return np.asarray(self.dataset.b04[0, number * 80 : number * 80 + 80, :80].values)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers(method: str, local: Path, made: Jp2) -> None:  # noqa: F811
    samples = Samples(s2ice.open(local, R10M, mask_and_scale=False))
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        for number, sample in enumerate(pool.map(samples.__getitem__, range(2))):
            np.testing.assert_array_equal(sample, made.pixels()[number * 80 : number * 80 + 80, :80])


def _told(samples: Samples, place: Path, answers: Any) -> None:
    for read in (lambda: samples[0], lambda: s2ice.open(place)):
        try:
            read()
        except ForkError as error:
            answers.put(str(error))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_says_that_it_cannot_read(local: Path) -> None:  # noqa: F811
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    samples = pickle.loads(pickle.dumps(Samples(s2ice.open(local, R10M))))
    child = context.Process(target=_told, args=(samples, local, answers))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    for _ in range(2):
        assert "multiprocessing_context='spawn'" in answers.get()


# --- The Copernicus Data Space: 4 connections, of all processes together.


def _hold(folder: Path, most: int) -> list[tuple[float, float]]:
    """Hold a connection for a while, as three readers of a process do at a time."""
    held = []

    async def one() -> None:
        async with _copernicus.connection(most):
            begun = time.monotonic()
            await asyncio.sleep(0.05)
            held.append((begun, time.monotonic()))

    async def all_() -> None:
        await asyncio.gather(*(one() for _ in range(3)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        asyncio.run(all_())
    return held


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(("asked", "most"), [(4, 4), (64, 4), (1, 1)])
def test_copernicus_counts_all_processes(asked: int, most: int, tmp_path: Path) -> None:
    # They do not read, so that a fork will do.
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        held = [span for spans in pool.map(_hold, [tmp_path] * 3, [asked] * 3) for span in spans]
    assert len(held) == 9
    together = [sum(begun <= moment < ended for begun, ended in held) for moment, _ in held]
    assert 1 <= max(together) <= most


def copernican(made: Jp2, folder: Path) -> Path:
    """A store whose source is on the Copernicus Data Space."""
    options = ic.s3_store(endpoint_url=_copernicus.ENDPOINT, s3_compatible=True, force_path_style=True)
    write_store(ic.local_filesystem_storage(str(folder / "s")), made, "s3://eodata/", options)
    return folder / "s"


def test_copernicus_is_known_by_its_host(made: Jp2, tmp_path: Path) -> None:
    store = copernican(made, tmp_path)
    keys = {"access_key_id": "a", "secret_access_key": "b"}
    for asked in (None, 64):
        dataset = s2ice.open(store, R10M, credentials=keys, max_connections=asked)
        opened = _store_of(dataset)
        assert opened.terms.copernicus
        assert opened.concurrency == 4
    assert not _copernicus.owns("dataspace.copernicus.eu.example.com")


def _store_of(dataset: xr.Dataset) -> Any:
    """The store behind a lazy variable, without a word on how xarray wraps it."""
    found: list[Any] = []

    class Finder(pickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if type(obj).__name__ == "ReadingStore":
                found.append(obj)
            return NotImplemented

    Finder(io.BytesIO()).dump(dataset)
    return found[0]


# --- Keys.


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys."""
    for name in ("CDSE_S3_ACCESS_KEY", "CDSE_S3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_keys_of_copernicus(homeless: Path, made: Jp2, monkeypatch: pytest.MonkeyPatch) -> None:
    store = copernican(made, homeless)
    with pytest.raises(CredentialsError, match=r"set CDSE_S3_ACCESS_KEY and .*\[cdse\].*eodata-s3keysmanager"):
        s2ice.open(store, R10M, credentials="cdse")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "aws")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "1")
    assert _keys.cdse() == {"access_key_id": "aws", "secret_access_key": "1"}
    for folder, key in ((".config/s2ice", "own"), (".aws", "shared")):
        path = homeless / folder / "credentials"
        path.parent.mkdir(parents=True)
        path.write_text(
            f"[default]\naws_access_key_id=x\n[cdse]\naws_access_key_id = {key}\naws_secret_access_key = %s\n"
        )
        assert _keys.cdse() == {"access_key_id": key, "secret_access_key": "%s"}
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "cdse")
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "2")
    assert _keys.cdse()["access_key_id"] == "cdse"
    s2ice.open(store, R10M, credentials="cdse")


def test_keys_of_copernicus_go_nowhere_else(homeless: Path, made: Jp2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "cdse")
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "2")
    options = ic.s3_store(endpoint_url="https://s3.example.com", s3_compatible=True, force_path_style=True)
    write_store(ic.local_filesystem_storage(str(homeless / "s")), made, "s3://eodata/", options)
    with pytest.raises(CredentialsError, match=r"no credentials were given"):
        s2ice.open(homeless / "s", R10M, credentials="cdse", source={"url": "s3://x", "endpoint_url": "http://[::1]:1"})
    # A copy without an endpoint is the one there.
    dataset = s2ice.open(homeless / "s", R10M, credentials="cdse", source="s3://eodata")
    assert _store_of(dataset).terms.hosts == (f"{_copernicus.ENDPOINT}/",)


CALLS = 0


def fetch() -> ic.S3StaticCredentials:
    """Give keys that are good for long at the first call, and for short at the second."""
    global CALLS
    CALLS += 1
    return ic.S3StaticCredentials("a", "b", expires_after=datetime.now(UTC) + timedelta(hours=1 if CALLS != 2 else 0))


def test_keys_are_fetched_once_in_a_process() -> None:
    given = ic.s3_credentials(get_credentials=fetch)
    once = [pickle.loads(_keys.once(given).pickled_function) for _ in range(3)]
    assert {ask().access_key_id for ask in once for _ in range(100)} == {"a"}
    assert CALLS == 1
    _keys._fetched.clear()
    once[0]()
    once[0]()
    assert CALLS == 3


def test_a_process_has_one_store_of_an_opening(local: Path) -> None:  # noqa: F811
    dataset = s2ice.open(local, R10M)
    assert _store_of(pickle.loads(pickle.dumps(dataset))) is _store_of(dataset)
