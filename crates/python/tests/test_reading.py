"""Reads that end: a source that fails as sources do, in front of HTTP and S3, on stores of many small chunks."""

from __future__ import annotations

import shutil
import socket
import time
from typing import TYPE_CHECKING, Any

import icechunk as ic
import numpy as np
import pytest
import xarray as xr
import zarr

import faults
import s2ice
import servers
from s2ice import _budget, _failure
from s2ice.differencing import HorizontalDifferencing
from s2ice.errors import ChunkError, MissingChunksWarning, RequestError, S2iceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP = "measurements/reflectance/r10m"
STEPS, SIDE = 500, 8
"""Of the series: as many products of 4 chunks of 4 x 4 pixels."""
SLOWLY = 150
"""As many of them are on the stand-in for S3, which takes its time."""
KEYS = {"access_key_id": "key", "secret_access_key": "none"}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as short as the tests are, and hosts without a past."""
    monkeypatch.setattr(_failure, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_failure, "BUSY_PAUSE", 0.05)
    monkeypatch.setattr(_budget, "_budgets", {})


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, Any]:
    return np.arange(1, STEPS * SIDE * SIDE + 1, dtype="<u2").reshape(STEPS, SIDE, SIDE)


@pytest.fixture(scope="module")
def archive(pixels: np.ndarray[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for each product: its four chunks one after the other."""
    folder = tmp_path_factory.mktemp("archive")
    for step, image in enumerate(pixels):
        tiles = [image[row : row + 4, column : column + 4].tobytes() for row in (0, 4) for column in (0, 4)]
        (folder / f"{step}.bin").write_bytes(b"".join(tiles))
    return folder


def store(folder: Path, prefix: str, options: Any) -> Path:
    """Write the series as a store whose chunks lie below the prefix."""
    config = ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, options, name="archive"))
    repository = ic.Repository.create(ic.local_filesystem_storage(str(folder)), config=config)
    repository.save_config()
    session = repository.writable_session("main")
    root = zarr.group(session.store, attributes={"s2ice": {"version": "0.1.0"}})
    products = root.require_group("products")
    group = root.require_group(GROUP)
    names = np.array([f"S2B_{step:03}" for step in range(STEPS)], dtype="U7")
    products.create_array("product_id", data=names, chunks=(STEPS,), dimension_names=["time"])
    for where in (products, group):
        axis = where.create_array("time", data=np.arange(STEPS), chunks=(STEPS,), dimension_names=["time"])
        axis.attrs["units"] = "days since 2025-07-01"
    packed = {"filters": [HorizontalDifferencing()], "compressors": "auto"}
    plain: dict[str, Any] = {"compressors": None}
    for name, attributes, codecs in (("b04", {"_FillValue": 0}, plain), ("raw", {}, plain), ("packed", {}, packed)):
        group.create_array(
            name,
            shape=(STEPS, SIDE, SIDE),
            chunks=(1, 4, 4),
            dtype="uint16",
            fill_value=0,
            dimension_names=["time", "y", "x"],
            attributes=attributes,
            **codecs,
        )
        session.store.set_virtual_refs(
            f"{GROUP}/{name}",
            [
                ic.VirtualChunkSpec([step, tile // 2, tile % 2], f"vcc://archive/{step}.bin", 32 * tile, 32)
                for step in range(STEPS)
                for tile in range(4)
            ],
            validate_containers=False,
        )
    session.commit("first")
    return folder


@pytest.fixture(scope="module", params=["http", "s3"])
def source(request: pytest.FixtureRequest, archive: Path) -> Iterator[tuple[str, faults.Faults]]:
    """The address of the archive by HTTP or S3, and its faults."""
    if request.param == "http":
        with servers.folder(archive) as url, faults.before(url, about=".bin") as (address, what):
            yield f"{address}/", what
        return
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **_boto())
    client.create_bucket(Bucket="archive")
    for step in range(SLOWLY):
        client.upload_file(str(archive / f"{step}.bin"), "archive", f"{step}.bin")
    client.close()
    with faults.before(endpoint, about=".bin") as (address, what):
        yield address, what
    server.stop()


def _boto() -> dict[str, str]:
    return {"aws_access_key_id": "key", "aws_secret_access_key": "none"}


@pytest.fixture(scope="module")
def place(source: tuple[str, faults.Faults], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A store of that archive, and how to open it."""
    address, _ = source
    folder = tmp_path_factory.mktemp("stores") / "series"
    if address.endswith("/"):
        options: Any = ic.ObjectStoreConfig.Http({"allow_http": "true"}, None)
        return store(folder, address, options), {"allow": address}
    options = ic.s3_store(
        region="us-east-1", endpoint_url=address, allow_http=True, s3_compatible=True, force_path_style=True
    )
    return store(folder, "s3://archive/", options), {"allow": address, "credentials": KEYS}


@pytest.fixture
def well(source: tuple[str, faults.Faults]) -> Iterator[faults.Faults]:
    """The faults, of which there are none before and after."""
    _, what = source
    what.forget()
    yield what
    what.plan, what.connections, what.delay = lambda _: "", 10**6, 0.0


def opened(place: tuple[Path, dict[str, Any]], **kwargs: Any) -> xr.Dataset:
    folder, options = place
    return s2ice.open(folder, GROUP, **options, **kwargs)


def test_2000_chunks_from_a_source_that_fails(
    place: tuple[Path, dict[str, Any]], well: faults.Faults, pixels: np.ndarray[Any, Any]
) -> None:
    """Every 20th request fails in another way; a stalled one costs its time-out."""
    count = 0
    ways = ("503", "cut", "429", "reset", "html", "500", "stalled")

    def plan(_: int) -> str:
        nonlocal count
        count += 1
        way = ways[count // 20 % len(ways)]
        return way if count % 20 == 0 and (way != "stalled" or count < 200) else ""

    well.plan = plan
    steps = STEPS if "credentials" not in place[1] else SLOWLY
    begun = time.monotonic()
    read = opened(place, timeout=5, mask_and_scale=False).b04[:steps].load()
    assert time.monotonic() - begun < 120
    np.testing.assert_array_equal(read, pixels[:steps])
    assert set(well.answered) == {"", *ways}


def test_a_limit_of_connections_is_found(
    place: tuple[Path, dict[str, Any]], well: faults.Faults, pixels: np.ndarray[Any, Any]
) -> None:
    well.connections, well.delay = 4, 0.02
    read = opened(place, mask_and_scale=False).b04[:50].load()
    np.testing.assert_array_equal(read, pixels[:50])
    assert 0 < well.answered["429"] < 60
    (budget,) = [budget for budget in _budget._budgets.values() if budget.allowed < 100]
    # Below what Zarr would open, and with room to grow until the next refusal.
    assert 1 <= budget.allowed < 10


def test_connections_are_as_asked(place: tuple[Path, dict[str, Any]], well: faults.Faults) -> None:
    """More than Zarr's own limit of 10, and fewer; of all stores of the process together."""
    well.delay = 0.05
    opened(place, max_connections=24).b04[:20].load()
    assert 10 < well.most <= 24
    well.forget()
    both = [opened(place, max_connections=2, chunks={"time": 1}) for _ in range(2)]
    xr.concat([dataset.b04[:4] for dataset in both], "time").compute(scheduler="threads", num_workers=4)
    assert well.most == 2
    for wrong in ({"max_connections": 0}, {"timeout": 0}, {"cache_bytes": -1}, {"on_error": "zero"}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            opened(place, **wrong)


@pytest.mark.parametrize("fault", ["stalled", "503", "404", "reset"])
def test_a_source_that_is_down(fault: str, place: tuple[Path, dict[str, Any]], well: faults.Faults) -> None:
    """An error in a bounded time that names all, and what cannot pass is not asked again."""
    well.plan = lambda _: fault
    dataset = opened(place, timeout=1.5)
    begun = time.monotonic()
    with pytest.raises(ChunkError) as caught:
        dataset.b04[17, 0, 0].load()
    assert time.monotonic() - begun < 5
    assert isinstance(caught.value, S2iceError)
    assert isinstance(caught.value, OSError)
    told = str(caught.value)
    for part in (f"{GROUP}/b04", "2025-07-18", "S2B_017", "chunk 17/0/0", "/17.bin", "What to do: "):
        assert part in told
    assert "s2ice-" not in told
    chunk = caught.value.chunk
    assert chunk is not None
    assert (chunk.product, chunk.chunk) == ("S2B_017", (17, 0, 0))
    if fault == "404":
        assert sum(well.asked.values()) == 1
    elif fault != "stalled":
        assert 1 < sum(well.asked.values()) <= 2 * _failure.TRIES
    # After some of these, further chunks are not waited for as long.
    assert "at fault" in told or fault not in ("503", "reset")


def test_a_local_file_that_was_cut_or_is_gone(archive: Path, tmp_path: Path) -> None:
    """What cannot pass is said at once, and in the words of a reader."""
    copy = tmp_path / "archive"
    shutil.copytree(archive, copy)
    folder = store(tmp_path / "store", f"{copy.as_uri()}/", ic.local_filesystem_store(str(copy)))
    (copy / "3.bin").write_bytes((copy / "3.bin").read_bytes()[:40])
    (copy / "4.bin").unlink()
    dataset = s2ice.open(folder, GROUP, allow=copy)
    for step, remedy in ((3, "the file is shorter than the one that was referenced"), (4, "the file is gone")):
        told = rf"S2B_00{step}.*chunk {step}/1/1 from .*/{step}\.bin.*{remedy}"
        with pytest.raises(ChunkError, match=told) as caught:
            dataset.b04[step, 5, 5].load()
        assert "times in" not in str(caught.value)


def test_a_store_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"http://127.0.0.1:{silent.getsockname()[1]}/33TVN"
        with pytest.raises(S2iceError, match=rf"the store {place} gave no answer in 0.5 s: check the address"):
            s2ice.open(place, timeout=0.5)
        with pytest.raises(S2iceError, match=r"gave no answer in 0\.5 s"):
            s2ice.eras(place, timeout=0.5)


def test_bytes_that_do_not_decode(place: tuple[Path, dict[str, Any]], well: faults.Faults) -> None:
    """Whatever codec it is that finds them wrong."""
    with pytest.raises(ChunkError, match=r"r10m/packed of 2025-07-03.*S2B_002.*/2\.bin.*or are damaged"):
        opened(place).packed[2].load()


def test_nan_for_what_fails(
    place: tuple[Path, dict[str, Any]], well: faults.Faults, pixels: np.ndarray[Any, Any]
) -> None:
    dataset = opened(place, on_error="nan")
    well.plan = lambda _: "404"
    with pytest.warns(MissingChunksWarning, match=r"2 chunks could not be read.*s2ice.missing"):
        assert np.isnan(dataset.b04[5, :4].load()).all()
    well.plan = lambda _: ""
    # It is read again the next time, and told from nodata by the list.
    np.testing.assert_array_equal(dataset.b04[6].load(), pixels[6])
    listed = [chunk for chunk in s2ice.missing() if chunk.array == f"{GROUP}/b04"]
    assert {chunk.chunk for chunk in listed} >= {(5, 0, 0), (5, 0, 1)}
    assert {chunk.product for chunk in listed} == {"S2B_005"}
    well.plan = lambda _: "404"
    with pytest.raises(ChunkError):
        dataset.raw[5].load()  # it has no value for nodata
    with pytest.raises(RequestError, match="have no NaN"):
        opened(place, on_error="nan", mask_and_scale=False)


def test_tiles_read_last(place: tuple[Path, dict[str, Any]], well: faults.Faults) -> None:
    for cache_bytes, requests in ((1 << 20, 4), (0, 8), (100, 8)):
        dataset = opened(place, cache_bytes=cache_bytes)
        well.forget()
        dataset.b04[3].load()
        dataset.b04[3, ::2].load()
        assert sum(well.asked.values()) == requests
