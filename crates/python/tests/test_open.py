"""`s2ice.open` on small repositories that icechunk-python writes, with the made file as the archive."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import icechunk as ic
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.core.buffer import default_buffer_prototype

import planted
import s2ice
import servers
from s2ice.errors import (
    ChunkError,
    ConsentError,
    CredentialsError,
    GroupNotFoundError,
    NotAnS2iceStoreWarning,
    RefNotFoundError,
    RequestError,
    S2iceError,
    SourceError,
    StoreNotFoundError,
)
from support import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import Jp2

R10M = "measurements/reflectance/r10m"
R20M = "measurements/reflectance/r20m"
AUTHORISED = {"file": ic.credentials.LocalFileSystemAccess, "http": ic.credentials.HttpAccess}


def put(store: Any, key: str, document: dict[str, Any]) -> None:
    text = json.dumps(document).encode()
    zarr.core.sync.sync(store.set(key, default_buffer_prototype().buffer.from_bytes(text)))


def write_store(
    storage: ic.Storage,
    jp2: Jp2,
    prefix: str,
    options: Any,
    *,
    stamp: bool = True,
    name: str | None = "eodata",
    **checksum: Any,
) -> ic.Repository:
    """Write two leaf groups of one band each whose chunks are ranges of ``archive/band.jp2`` under the prefix."""
    config = ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, options, name=name))
    repository = ic.Repository.create(storage, config=config)
    repository.save_config()
    session = repository.writable_session("main")
    root = zarr.group(session.store, attributes={"s2ice": {"version": "0.1.0"}} if stamp else {})
    location = f"vcc://{name}/archive/band.jp2" if name else f"{prefix}archive/band.jp2"
    for path in (R10M, R20M):
        group = root.require_group(path)
        for axis, size in (("time", 2), ("y", jp2.height), ("x", jp2.width)):
            values = group.create_array(axis, data=np.arange(size), chunks=(size,), dimension_names=[axis])
            if axis == "time":
                values.attrs["units"] = "days since 2025-07-01"
        attributes = {"scale_factor": 0.0001, "add_offset": -0.1, "_FillValue": 0}
        put(session.store, f"{path}/b04/zarr.json", metadata(jp2, attributes=attributes))
        session.store.set_virtual_refs(
            f"{path}/b04",
            [
                ic.VirtualChunkSpec([0, *divmod(tile, jp2.grid[1])], location, offset, length, **checksum)
                for tile, (offset, length) in jp2.tiles.items()
            ],
            validate_containers=False,
        )
    session.commit("first")
    return repository


@pytest.fixture(scope="session")
def archive(made: Jp2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    (folder / "archive").mkdir()
    shutil.copy(made.path, folder / "archive/band.jp2")
    return folder


@pytest.fixture(scope="session")
def local(made: Jp2, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "29UNU"
    options = ic.ObjectStoreConfig.LocalFileSystem(str(archive))
    repository = write_store(ic.local_filesystem_storage(str(path)), made, f"{archive.as_uri()}/", options)
    repository.create_tag("v1", repository.lookup_branch("main"))
    return path


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory, local: Path, archive: Path) -> Iterator[str]:
    """A web server with ranges: /29UNU is the local store, /archive the archive."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "29UNU").symlink_to(local)
    (folder / "archive").symlink_to(archive / "archive")
    (folder / "a mirror").symlink_to(archive)
    with servers.folder(folder) as url:
        yield url


def check(tree: xr.DataTree, made: Jp2) -> None:
    stored = tree[f"{R20M}/b04"][0, 70:200, 60:].values
    scaled = made.pixels()[70:200, 60:] * 0.0001 - 0.1
    np.testing.assert_allclose(stored, np.where(made.pixels()[70:200, 60:] == 0, np.nan, scaled), rtol=1e-4, atol=1e-6)


def test_tree(local: Path, made: Jp2) -> None:
    tree = s2ice.open(local)
    assert isinstance(tree, xr.DataTree)
    assert {node.path for node in tree.leaves} == {f"/{R10M}", f"/{R20M}"}
    check(tree, made)
    assert np.isnan(tree[f"{R10M}/b04"][1]).all()
    assert str(tree[R10M].time.values[1])[:10] == "2025-07-02"


def test_group(local: Path, made: Jp2) -> None:
    for group in (R10M, f"/{R10M}/"):
        dataset = s2ice.open(str(local), group, mask_and_scale=False)
        assert isinstance(dataset, xr.Dataset)
        np.testing.assert_array_equal(dataset.b04[0], made.pixels())
        assert dataset.b04.dtype == "uint16"


def test_other_ways_to_name_it(local: Path, archive: Path, made: Jp2) -> None:
    check(s2ice.open(local.as_uri()), made)
    check(s2ice.open(ic.local_filesystem_storage(str(local)), allow=archive), made)
    repository = ic.Repository.open(ic.local_filesystem_storage(str(local)))
    check(s2ice.open(repository, allow=archive), made)
    (prefix,) = repository.config.virtual_chunk_containers or {}
    allowed = repository.reopen(authorize_virtual_chunk_access={prefix: AUTHORISED["file"]})
    check(s2ice.open(allowed), made)
    check(s2ice.open(allowed.readonly_session("main")), made)
    with pytest.raises(SourceError, match="a session already has"):
        s2ice.open(allowed.readonly_session("main"), anonymous=True)
    with pytest.raises(SourceError, match="a repository already has"):
        s2ice.open(allowed, storage_options={"region": "x"})


def test_versions(local: Path) -> None:
    snapshot = ic.Repository.open(ic.local_filesystem_storage(str(local))).lookup_branch("main")
    assert len(s2ice.open(local, tag="v1").leaves) == 2
    assert len(s2ice.open(local, snapshot=snapshot).leaves) == 2
    for version in ({"branch": "dev"}, {"tag": "v2"}, {"snapshot": "ABCDEFGHJKMNPQRSTVWX"}, {"snapshot": "?"}):
        with pytest.raises(RefNotFoundError, match=r"the store has branch main, tag v1$"):
            s2ice.open(local, **version)
    with pytest.raises(ValueError, match="exclude each other"):
        s2ice.open(local, branch="main", tag="v1")
    with pytest.raises(RequestError, match="as_of has no time zone"):
        s2ice.open(local, as_of=datetime(2999, 1, 1))
    assert len(s2ice.open(local, as_of=datetime(2999, 1, 1, tzinfo=UTC)).leaves) == 2
    with pytest.raises(CredentialsError, match="credentials are 'env'"):
        s2ice.open(local, credentials="envv")
    with pytest.raises(GroupNotFoundError, match="this version of the store is empty"):
        s2ice.open(local, snapshot="1CECHNKREP0F1RSTCMT0")  # the first snapshot of every Icechunk repository


def test_missing_group(local: Path) -> None:
    listed = f"The groups with arrays are: {R10M}, {R20M}$"
    with pytest.raises(GroupNotFoundError, match=f"there is no group r10m. {listed}"):
        s2ice.open(local, "r10m")
    with pytest.raises(GroupNotFoundError, match=f"holds no arrays itself. {listed}"):
        s2ice.open(local, "measurements")
    with pytest.raises(GroupNotFoundError, match=f"b04 is an array; open its group. {listed}"):
        s2ice.open(local, f"{R10M}/b04")


def test_no_store(tmp_path: Path, web: str) -> None:
    for place in (tmp_path, tmp_path / "nothing", f"{web}/nothing"):
        with pytest.raises(StoreNotFoundError, match=f"no Icechunk store at {re.escape(str(place))}"):
            s2ice.open(place)
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(S2iceError, match=r"cannot open the store http://127\.0\.0\.1:1/x"):
        s2ice.open("http://127.0.0.1:1/x")
    with pytest.raises(SourceError, match="not ftp"):
        s2ice.open("ftp://host/x")
    with pytest.raises(SourceError, match="should look like s3://bucket/x"):
        s2ice.open("s3:/bucket/x")
    with pytest.raises(SourceError, match="names no bucket"):
        s2ice.open("s3:///x")
    with pytest.raises(SourceError, match=r"unknown storage_options colour; known are"):
        s2ice.open("s3://bucket/x", storage_options={"colour": 1})
    with pytest.raises(SourceError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        s2ice.open("az://container/x")


def test_store_of_another_writer(made: Jp2, archive: Path, tmp_path: Path) -> None:
    options = ic.ObjectStoreConfig.LocalFileSystem(str(archive))
    write_store(ic.local_filesystem_storage(str(tmp_path / "s")), made, f"{archive.as_uri()}/", options, stamp=False)
    with pytest.warns(NotAnS2iceStoreWarning, match="not written by s2ice"):
        check(s2ice.open(tmp_path / "s"), made)


# --- Security: a store that comes from elsewhere reads no local files.


def test_remote_store_may_not_read_local_files(web: str, archive: Path, made: Jp2) -> None:
    with pytest.raises(ConsentError, match=f'on this machine.s disk.*allow="{archive.as_uri()}/"'):
        s2ice.open(f"{web}/29UNU")
    check(s2ice.open(f"{web}/29UNU", allow=archive.as_uri()), made)
    for elsewhere in (archive / "archive", True):
        with pytest.raises(ConsentError):
            s2ice.open(f"{web}/29UNU", allow=elsewhere)


def test_repository_object_may_not_read_local_files_unasked(local: Path) -> None:
    repository = ic.Repository.open(ic.local_filesystem_storage(str(local)))
    tree = s2ice.open(repository)
    with pytest.raises(ChunkError, match="authorise its containers"):
        tree[f"{R10M}/b04"][0].load()
    with pytest.raises(ConsentError, match='allow="file:///'):
        s2ice.open(repository, anonymous=True)


def test_only_the_prefixes_of_the_store_are_authorised(local: Path, archive: Path, tmp_path: Path, made: Jp2) -> None:
    """A reference that points elsewhere is not followed."""
    copy = tmp_path / "copy"
    shutil.copytree(local, copy)
    secret = tmp_path / "secret.jp2"
    shutil.copy(made.path, secret)
    repository = ic.Repository.open(ic.local_filesystem_storage(str(copy)))
    session = repository.writable_session("main")
    offset, length = made.tiles[0]
    session.store.set_virtual_ref(
        f"{R10M}/b04/c/0/0/0", secret.as_uri(), offset=offset, length=length, validate_container=False
    )
    session.commit("point elsewhere")
    dataset = s2ice.open(copy, R10M)
    assert np.isfinite(dataset.b04[0, 100, 100])
    with pytest.raises(ChunkError):
        dataset.b04[0, 0, 0].load()


# --- Re-pointing a store at a mirror.


def test_mirror(local: Path, archive: Path, web: str, made: Jp2, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror of it"
    shutil.copytree(archive, mirror)
    pixels = np.fromfile(mirror / "archive/band.jp2", "u1")
    for source in (mirror, str(mirror), mirror.as_uri(), f"{web}/", web, {"eodata": mirror}, {"eodata": {"url": web}}):
        check(s2ice.open(local, source=source), made)
    for source in (f"{web}/a mirror", f"{web}/a%20mirror/"):
        check(s2ice.open(local, source=source), made)
    # What is read is the mirror, not the original.
    pixels[made.tiles[0][0] + 30 :] = 0
    pixels.tofile(mirror / "archive/band.jp2")
    with pytest.raises(ChunkError, match=r"the bytes are not those that were referenced, or are damaged"):
        s2ice.open(local, R10M, source=mirror).b04[0].load()


WRITTEN = datetime(2025, 7, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("checksum", "older", "newer"),
    [
        # As `s2ice build --checksum etag`, `modified` and `none` write them for a bucket.
        ({"etag_checksum": "d41d8cd98f00b204e9800998ecf8427e"}, False, False),
        ({"last_updated_at_checksum": WRITTEN}, True, False),
        ({}, True, True),
    ],
    ids=["etag", "modified", "none"],
)
def test_copies_of_a_bucket_on_a_disk(
    checksum: dict[str, Any], older: bool, newer: bool, made: Jp2, archive: Path, tmp_path: Path
) -> None:
    """The table of the README: references to a bucket decide which files of a disk may stand in."""
    options = ic.s3_store(region="us-east-1")
    storage = ic.local_filesystem_storage(str(tmp_path / "s"))
    write_store(storage, made, "s3://eodata/", options, **checksum)
    copied = shutil.copytree(archive, tmp_path / "copy")
    for at, is_read in ((WRITTEN - timedelta(days=1), older), (WRITTEN, older), (WRITTEN + timedelta(days=1), newer)):
        os.utime(copied / "archive/band.jp2", (at.timestamp(), at.timestamp()))
        if is_read:
            check(s2ice.open(tmp_path / "s", source=copied), made)
            continue
        with pytest.raises(ChunkError, match="the checksum of the object owning the virtual chunk has changed"):
            s2ice.open(tmp_path / "s", R10M, source=copied).b04[0].load()


def test_mirror_of_a_remote_store_may_be_local(web: str, archive: Path, made: Jp2) -> None:
    check(s2ice.open(f"{web}/29UNU", source={"eodata": archive}), made)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"other": "/x"}, "no source other; its sources are eodata"),
        (7, "must be a URL or a mapping"),
        ({"eodata": {"region": "x"}}, "has no url"),
        ("ftp://host/x", "not ftp"),
        ({"url": "s3://b/", "colour": 1}, "unknown options colour"),
        ({"url": "/x", "region": "y"}, "file takes none"),
        ("/100 %", "per cent sign"),
    ],
)
def test_bad_mirror(source: Any, message: str, local: Path) -> None:
    with pytest.raises(SourceError, match=message):
        s2ice.open(local, source=source)


def test_store_without_names_cannot_move(made: Jp2, archive: Path, tmp_path: Path) -> None:
    options = ic.ObjectStoreConfig.LocalFileSystem(str(archive))
    storage = ic.local_filesystem_storage(str(tmp_path / "s"))
    write_store(storage, made, f"{archive.as_uri()}/", options, name=None)
    check(s2ice.open(tmp_path / "s"), made)
    with pytest.raises(SourceError, match="has no name"):
        s2ice.open(tmp_path / "s", source=tmp_path)


# --- S3 through moto.

SECRET = planted.word("S3")
KEYS = {"access_key_id": "key", "secret_access_key": SECRET}


@pytest.fixture(scope="session")
def s3(made: Jp2, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with two stores in s3://stores and their archive in s3://eodata; gives its endpoint."""
    import boto3
    from moto.server import ThreadedMotoServer

    os.environ["MOTO_RECORDER_FILEPATH"] = str(tmp_path_factory.mktemp("moto") / "requests")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key=SECRET
    )
    for bucket in ("stores", "eodata"):
        client.create_bucket(Bucket=bucket, ACL="public-read")
    client.upload_file(str(made.path), "eodata", "archive/band.jp2", ExtraArgs={"ACL": "public-read"})
    for name, anonymous in (("29UNU", False), ("public", True)):
        storage = ic.s3_storage(
            bucket="stores",
            prefix=name,
            endpoint_url=endpoint,
            region="us-east-1",
            allow_http=True,
            force_path_style=True,
            **KEYS,
        )
        options = ic.s3_store(
            region="us-east-1",
            endpoint_url=endpoint,
            allow_http=True,
            s3_compatible=True,
            force_path_style=True,
            anonymous=anonymous,
        )
        write_store(storage, made, "s3://eodata/", options)
    client.close()
    yield endpoint
    server.stop()


def test_s3(s3: str, made: Jp2, monkeypatch: pytest.MonkeyPatch) -> None:
    store = {"storage_options": {"endpoint_url": s3, **KEYS}}
    check(s2ice.open("s3://stores/29UNU", credentials=KEYS, **store), made)
    check(s2ice.open("s3://stores/29UNU", credentials={"eodata": KEYS}, **store), made)
    check(s2ice.open("s3://stores/29UNU", credentials=ic.s3_anonymous_credentials(), **store), made)
    check(s2ice.open("s3://stores/public", **store), made)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    check(s2ice.open("s3://stores/29UNU", credentials="env"), made)


def test_s3_without_credentials(s3: str, made: Jp2) -> None:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    for entry in client.list_objects_v2(Bucket="stores")["Contents"]:
        client.put_object_acl(Bucket="stores", Key=entry["Key"], ACL="public-read")
    client.close()
    check(s2ice.open("s3://stores/29UNU", anonymous=True, storage_options={"endpoint_url": s3}), made)


def test_s3_credentials_are_never_taken_unasked(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for credentials in (None, {"other": KEYS}):
        with pytest.raises(CredentialsError, match=r"s3://eodata/ at http://127.0.0.1:\d+ \(source 'eodata'\).*'env'"):
            s2ice.open("s3://stores/29UNU", credentials=credentials, storage_options={"endpoint_url": s3})


def test_s3_missing(s3: str) -> None:
    options = {"endpoint_url": s3, **KEYS}
    with pytest.raises(StoreNotFoundError):
        s2ice.open("s3://stores/nothing", storage_options=options)
    with pytest.raises(S2iceError, match="nobucket"):
        s2ice.open("s3://nobucket/x", storage_options=options)


def test_s3_mirror_of_a_local_store(s3: str, local: Path, made: Jp2) -> None:
    mirror = {"url": "s3://eodata", "endpoint_url": s3}
    check(s2ice.open(local, source=mirror, anonymous=True), made)
    check(s2ice.open(local, source={"eodata": mirror}, credentials=KEYS), made)
    with pytest.raises(CredentialsError):
        s2ice.open(local, source=mirror)


def test_one_request_per_chunk(s3: str, made: Jp2, monkeypatch: pytest.MonkeyPatch) -> None:
    def requests() -> int:
        with urlopen(f"{s3}/moto-api/recorder/download-recording") as answer:
            lines = [json.loads(line) for line in answer.read().splitlines()]
        return sum("/eodata/" in line["url"] for line in lines)

    dataset = s2ice.open("s3://stores/public", R10M, storage_options={"endpoint_url": s3, **KEYS})
    urlopen(f"{s3}/moto-api/recorder/start-recording", data=b"").close()
    try:
        dataset.b04[0, 100, 100].load()
        assert requests() == 1
        dataset.b04[0, 100:200, 100:200].load()
        # One of the four is that of the pixel.
        assert requests() == 4
    finally:
        urlopen(f"{s3}/moto-api/recorder/stop-recording", data=b"").close()


# --- Concurrency and distribution.


def test_max_connections(local: Path, made: Jp2, monkeypatch: pytest.MonkeyPatch) -> None:
    from icechunk.store import IcechunkStore

    now, most, original = 0, 0, IcechunkStore.get

    async def counted(self: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal now, most
        if "/c/" not in key:
            return await original(self, key, *args, **kwargs)
        now += 1
        most = max(most, now)
        try:
            return await original(self, key, *args, **kwargs)
        finally:
            now -= 1

    monkeypatch.setattr(IcechunkStore, "get", counted)
    before = zarr.config.get("async.concurrency")
    s2ice.open(local, R10M).b04[0].load()
    assert most > 2
    most = 0
    tree = s2ice.open(local, max_connections=2)
    check(tree, made)
    pickle.loads(pickle.dumps(tree[R10M].to_dataset())).b04[0].load()
    assert most == 2
    assert zarr.config.get("async.concurrency") == before
    with pytest.raises(ValueError, match="1 or more"):
        s2ice.open(local, max_connections=0)


def test_dask(local: Path, made: Jp2) -> None:
    for options in ({}, {"max_connections": 3}):
        dataset = s2ice.open(local, R10M, chunks={}, mask_and_scale=False, **options)
        assert dataset.b04.chunks == ((2,), (80, 80, 80, 60), (80, 80, 70))
        scheduler = "processes" if options else "threads"
        pixels = dataset.b04[0, 60:].compute(scheduler=scheduler, num_workers=2)
        np.testing.assert_array_equal(pixels, made.pixels()[60:])


def test_opening_in_a_fresh_process(local: Path) -> None:
    script = f"import s2ice; print(int(s2ice.open({str(local)!r}, {R10M!r}, mask_and_scale=False).b04[0].max()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10000
