"""What a store may make its reader ask: nothing beyond its own host that the reader has not allowed."""

from __future__ import annotations

import http.server
import re
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import icechunk as ic
import numpy as np
import pytest
import zarr

import s2ice
import servers
from s2ice import _address, _consent
from s2ice.errors import ChunkError, ConsentError, CredentialsError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

HTTP = ic.ObjectStoreConfig.Http({"allow_http": "true"}, None)
HTTPS = ic.ObjectStoreConfig.Http(None, None)
GS = ic.ObjectStoreConfig.Gcs(None)


def s3(endpoint: str | None = None, **options: Any) -> Any:
    options = {"region": "us-east-1", "force_path_style": True, "anonymous": True} | options
    return ic.ObjectStoreConfig.S3Compatible(ic.S3Options(endpoint_url=endpoint, allow_http=True, **options))


def azure(**options: str) -> Any:
    return ic.ObjectStoreConfig.Azure(options)


class Handler(http.server.BaseHTTPRequestHandler):
    """Writes requests down, and answers with zeros, or with another place."""

    server: Any

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        if self.server.elsewhere:
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = map(int, found.groups()) if found else (0, 63)
        body = bytes(64)[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/64")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", self.date_time_string(0))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(elsewhere: str = "") -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.elsewhere = [], elsewhere
    with servers.running(server) as server.url:
        yield server


@pytest.fixture
def server() -> Iterator[Any]:
    with serving() as running:
        yield running


def write(path: Path, prefix: str, options: Any, location: str = "vcc://a/x", **kwargs: Any) -> Path:
    """Write a store that is asked for its chunks as soon as it is opened: a coordinate's lie in the container."""
    config = ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, options, name=kwargs.pop("name", "a")))
    repository = ic.Repository.create(ic.local_filesystem_storage(str(path)), config=config, **kwargs)
    repository.save_config()
    session = repository.writable_session("main")
    root = zarr.group(session.store, attributes={"s2ice": {"version": "0.1.0"}})
    root.create_array("x", shape=(8,), chunks=(8,), dtype="i8", compressors=None, dimension_names=["x"])
    chunks = [ic.VirtualChunkSpec([0], location, 0, 64)]
    session.store.set_virtual_refs("x", chunks, validate_containers=False)
    session.commit("made elsewhere")
    return path


def asks(store: Any, **kwargs: Any) -> None:
    assert (s2ice.open(store, **kwargs).x.values == np.zeros(8)).all()


# --- Nothing is asked before it is allowed.

LOOPBACK = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7F.1",
    "0177.0.0.1",
    "127.0.0.1.",
]


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("kind", ["http", "s3"])
def test_nothing_is_asked_before_consent(kind: str, host: str, server: Any, tmp_path: Path) -> None:
    place = f"http://{host}:{server.server_port}"
    store = write(tmp_path / "s", f"{place}/", HTTP) if kind == "http" else write(tmp_path / "s", "s3://b/", s3(place))
    neighbour = f"http://127.0.0.1:{server.server_port - 1}"
    for allow in (None, False, True, "https://127.0.0.1", "http://127.0.0.1", neighbour, f"{server.url}/other"):
        with pytest.raises(ConsentError, match=r"\(source 'a'\), an address of this machine") as caught:
            s2ice.open(store, allow=allow)
    assert server.seen == []
    offered = re.search(r'allow="(.*)"$', str(caught.value))
    assert offered, caught.value
    # Of web servers, Icechunk reads plain spellings only; a resolver may not know numbers with a dot at the end.
    if host in ("127.0.0.1", "localhost") or (kind == "s3" and not host.endswith(".")):
        # The address that the error offers is the one that helps.
        asks(store, allow=offered[1])
        assert len(server.seen) > 0


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518", "169.254.169.254."),
        *("10.0.0.1", "10.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "0.0.0.0", "0"),
        *("224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.0.192"),
        *(
            "[::1]",
            "[::]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
        ),
        *("[::ffff:a9fe:a9fe]", "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]", "[0:0:0:0:0:0:0:1]"),
        *("localhost", "localhost.", "intern", "minio", "metadata", "a.localhost", "metadata.google.internal"),
        *(
            "METADATA.GOOGLE.INTERNAL.",
            "printer.local",
            "nas.lan",
            "router.home.arpa",
            "x.svc.cluster.local",
            "db.corp",
        ),
    ],
)
def test_private_addresses_always_ask(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*args: Any, **_: Any) -> Any:
        raise AssertionError(f"{args} was resolved before consent")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    for number, (prefix, options) in enumerate(
        [(f"http://{host}/", HTTP), (f"https://{host}:8443/x/", HTTPS), ("s3://b/", s3(f"http://{host}:9000"))]
    ):
        store = write(tmp_path / str(number), prefix, options)
        for allow in (None, True):
            with pytest.raises(ConsentError, match="an address of this machine or its network"):
                s2ice.open(store, allow=allow)


@pytest.mark.parametrize("ip", ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2001:4860:4860::8888", "1.1.1.1"])
def test_public_addresses_are_no_private_ones(ip: str) -> None:
    assert not _address.is_private(ip)


@pytest.mark.parametrize(
    ("prefix", "options"),
    [
        ("https://good.org@evil.org/", HTTPS),
        ("https://good.org:x@10.0.0.1/", HTTPS),
        ("https://good.org%2f@evil.org/", HTTPS),
        ("https://good.org\\@evil.org/", HTTPS),
        ("https://127%2e0.0.1/", HTTPS),
        ("https://\uff11\uff12\uff17.0.0.1/", HTTPS),
        ("https://127\u30020.0.1/", HTTPS),
        ("https://local\thost/", HTTPS),
        ("https://good.org/a/../b/", HTTPS),
        ("https://good.org/?x=/", HTTPS),
        ("https://good.org/", HTTP),
        ("https://good.org/", ic.ObjectStoreConfig.Http({"proxy_url": "http://10.0.0.1"}, None)),
        ("https://good.org/", ic.ObjectStoreConfig.Http(None, {"Host": "intern"})),
        ("s3://b@c/", s3()),
        ("s3://b/", s3(region="x.evil.org/#")),
        *(("s3://b/", s3(region=region)) for region in ("RegionOne", "eu_west", "evil.org", "x@10.0.0.1/")),
        *(
            ("s3://b/", s3("https://good.org", region=region))
            for region in ("a/b", "x@10.0.0.1:80", "x#", "a b", "\u00fc")
        ),
        # Buckets for which Amazon's client leaves the endpoint, and makes the host of the region.
        *((f"s3://{'x' * 12}{kind}{'o' * 42}--op-s3/", s3("https://good.org")) for kind in "eo"),
        ("s3://b/", s3("https://good.org@10.0.0.1")),
        ("s3://b/", s3("https://good.org?x=")),
        ("s3://b/", s3("ftp://good.org")),
        ("gs://b/", ic.ObjectStoreConfig.Gcs({"base_url": "http://10.0.0.1"})),
        ("gs://b/", ic.ObjectStoreConfig.Gcs({"proxy_url": "http://10.0.0.1"})),
        ("az://b/", azure(account="x", endpoint="http://10.0.0.1")),
        ("az://b/", azure(account="10.0.0.1/")),
        ("az://b/", azure()),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(prefix: str, options: Any, tmp_path: Path) -> None:
    """Even where everything is allowed."""
    store = write(tmp_path / "s", prefix, options)
    for allow in (None, True, ["https://good.org", "s3://b", "s3://c", "gs://b"]):
        with pytest.raises(ConsentError, match=r"cannot be understood: .*; if you know the place, give it as source="):
            s2ice.open(store, allow=allow)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "https://good.org:99999999/",
            "https://good.org:/",
            "https://256.1.1.1",
            "https://1.2.3.4.5",
            "https://0x100000000",
        ),
        *(
            "https://",
            "https:///x",
            "https://..",
            "https://.org",
            "https://[::1",
            "https://[::1%eth0]/",
            "https://[1.2.3.4]/",
        ),
        *(
            "s3://b:80/",
            "s3://",
            "gs://-/",
            "file://host/x",
            "http:good.org",
            "//good.org",
            "https://good.org/\x00",
            "x",
        ),
    ],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(_address.AddressError):
        _address.parse(text)


# --- What is allowed, and by what.

ELSEWHERE = "neither the store's own host nor a public source"


@pytest.mark.parametrize(
    ("prefix", "options", "offered"),
    [
        ("https://evil.org/x/", HTTPS, "https://evil.org/"),
        ("https://evil.org:8443/", HTTPS, "https://evil.org:8443/"),
        ("s3://bucket/x/", s3(), "s3://bucket/"),
        ("s3://eodata/", s3(), "s3://eodata/"),
        ("s3://eodata/", s3("https://evil.org"), "https://evil.org/"),
        ("s3://eodata/", s3("http://eodata.dataspace.copernicus.eu"), "http://eodata.dataspace.copernicus.eu/"),
        ("s3://other/", s3("https://eodata.dataspace.copernicus.eu"), "https://eodata.dataspace.copernicus.eu/"),
        ("s3://sentinel-s2-l2a/", s3("https://evil.org"), "https://evil.org/"),
        ("s3://b/", ic.ObjectStoreConfig.Tigris(ic.S3Options(anonymous=True)), "https://t3.storage.dev/"),
        ("gs://bucket/", GS, "gs://bucket/"),
        ("az://c/x/", azure(account="acc"), "https://acc.blob.core.windows.net/"),
    ],
)
def test_other_hosts_ask(
    prefix: str, options: Any, offered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("8.8.8.8", 0))])
    monkeypatch.setattr("s2ice._open.root_of", opened)
    store = write(tmp_path / "s", prefix, options)
    with pytest.raises(ConsentError, match=f'{ELSEWHERE}.*allow="{re.escape(offered)}"$'):
        s2ice.open(store)
    for allow in (offered, [Path("/data"), offered], True):
        with pytest.raises(Opened):
            s2ice.open(store, allow=allow)
    monkeypatch.setenv("S2ICE_ALLOW", f"https://nothing.org  {offered}")
    with pytest.raises(Opened):
        s2ice.open(store)


class Opened(Exception):
    """Access was given."""


def opened(_: Any) -> Any:
    raise Opened


@pytest.mark.parametrize(
    ("prefix", "options"),
    [
        ("s3://eodata/", s3("https://eodata.dataspace.copernicus.eu")),
        ("s3://eodata/Sentinel-2/", s3("https://eodata.dataspace.copernicus.eu:443/")),
        ("gs://gcp-public-data-sentinel-2/", GS),
        ("s3://sentinel-s2-l2a/", s3(region="eu-central-1")),
        ("s3://e84-earth-search-sentinel-data/", s3(region="us-west-2")),
    ],
)
def test_known_sources_need_no_consent(
    prefix: str, options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2ice._open.root_of", opened)
    with pytest.raises(Opened):
        s2ice.open(write(tmp_path / "s", prefix, options))


def test_the_known_sources_are_those_of_the_builder() -> None:
    text = (Path(__file__).parents[3] / "crates/manifest/src/source/mirror.rs").read_text()
    table = text.partition("pub const MIRRORS")[2].partition("];")[0]
    mirrors = re.findall(r'url: "(.*?)".*?endpoint: (?:Some\("(.*?)"\)|None)', table, re.DOTALL)
    assert len(mirrors) >= 4
    for url, endpoint in mirrors:
        assert _address.in_bucket(_address.parse(url), endpoint, None) in _consent.KNOWN


def test_own_host(server: Any, tmp_path: Path) -> None:
    """What the reader wrote as the place of the store may be asked for its chunks too."""
    check = _consent.check
    own = _address.parse("http://10.0.0.1:9000")
    check(_address.parse("http://10.0.0.1:9000/x"), "a", own, _consent.Allowed(), local=False)
    for other in ("http://10.0.0.1:9001", "https://10.0.0.1:9000", "http://10.0.0.2:9000"):
        with pytest.raises(ConsentError):
            check(_address.parse(other), "a", own, _consent.Allowed(), local=False)
    # A bucket of a public cloud is a place of its own, though its neighbours have the same host.
    check(_address.parse("s3://bucket/x"), "a", _address.parse("s3://bucket"), _consent.Allowed(), local=False)
    with pytest.raises(ConsentError):
        check(_address.parse("s3://other"), "a", _address.parse("s3://bucket"), _consent.Allowed(), local=False)
    # What the reader gives as the source is allowed by that.
    store = write(tmp_path / "s", "https://evil.org/", HTTPS)
    asks(store, source=server.url)
    assert len(server.seen) > 0


@pytest.mark.parametrize(
    ("store", "options", "own"),
    [
        ("s3://stores/x", {"endpoint_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/"),
        ("s3://stores/x", {}, "s3://stores/"),
        ("gs://stores/x", {}, "gs://stores/"),
        ("az://stores/x", {"account": "acc"}, "https://acc.blob.core.windows.net/"),
        ("https://Host.example.org/a%20b/x", {}, "https://host.example.org/"),
        ("https://user@host.example.org/x", {}, "None"),
        ("/data/x", {}, "None"),
    ],
)
def test_the_own_host_of_stores(store: str, options: dict[str, str], own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from s2ice._storage import locate

    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(variable, raising=False)
    assert str(locate(store, options, None).own) == own


def test_names_that_stand_for_private_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2ice._open.root_of", opened)
    answers = {
        "looks.public.org": ["8.8.8.8", "10.1.2.3"],
        "b.looks.public.org": ["8.8.8.8"],
        "public.org": ["8.8.8.8"],
    }
    answers |= {"b.public.org": ["fe80::1%eth0"]}
    asked: list[str] = []

    def resolver(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(0, 0, 0, "", (ip, 0)) for ip in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    store = write(tmp_path / "s", "https://looks.public.org/", HTTPS)
    with pytest.raises(ConsentError, match=ELSEWHERE):
        s2ice.open(store)
    # A name is not even resolved before it is allowed.
    assert asked == []
    for allow in (True, "https://looks.public.org", ["https://looks.public.org", "10.1.2.4"]):
        with pytest.raises(
            ConsentError,
            match=r'looks\.public\.org stands for 10\.1\.2\.3.*allow=\["https://looks.public.org/", "10\.1\.2\.3"\]$',
        ):
            s2ice.open(store, allow=allow)
    for network in ("10.1.2.3", "10.0.0.0/8"):
        with pytest.raises(Opened):
            s2ice.open(store, allow=["https://looks.public.org", network])
        with pytest.raises(ConsentError, match=ELSEWHERE):
            s2ice.open(store, allow=network)
    # With buckets in front of the host it is another name that is connected to.
    moved = write(tmp_path / "b", "s3://b/", s3("https://public.org", force_path_style=False))
    with pytest.raises(ConsentError, match=r"b\.public\.org stands for fe80::1"):
        s2ice.open(moved, allow="https://public.org")


@pytest.mark.parametrize("entry", ["data.example.org", "*", "https://*.org", "https://", "ftp://x", "az://c", "", 7])
def test_entries_that_are_no_addresses(entry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write(tmp_path / "s", "https://evil.org/", HTTPS)
    with pytest.raises(RequestError, match="allow"):
        s2ice.open(store, allow=entry)
    if entry and isinstance(entry, str):
        monkeypatch.setenv("S2ICE_ALLOW", entry)
        with pytest.raises(RequestError, match=f"S2ICE_ALLOW takes addresses such as .* not '{re.escape(entry)}'"):
            s2ice.open(store)


def test_consent_is_asked_of_every_container(tmp_path: Path) -> None:
    """Two of one name, or one that is named as the other's address: none hides behind another."""
    config = ic.RepositoryConfig.default()
    config.set_virtual_chunk_container(ic.VirtualChunkContainer("gs://gcp-public-data-sentinel-2/", GS, name="a"))
    config.set_virtual_chunk_container(ic.VirtualChunkContainer("https://evil.org/", HTTPS, name="b"))
    ic.Repository.create(ic.local_filesystem_storage(str(tmp_path / "s")), config=config).save_config()
    with pytest.raises(ConsentError, match=r"evil\.org"):
        s2ice.open(tmp_path / "s")
    # Consent to a place gives no credentials.
    store = write(tmp_path / "s3", "s3://b/", s3(anonymous=False))
    with pytest.raises(CredentialsError):
        s2ice.open(store, allow="s3://b")


# --- Regions.


@pytest.mark.parametrize("region", ["RegionOne", "WAW3-1", "eu_west", "default", "de.south", "us-east-1", "", None])
@pytest.mark.parametrize("path_style", [True, False])
@pytest.mark.parametrize("kind", [ic.ObjectStoreConfig.S3Compatible, ic.ObjectStoreConfig.S3])
def test_regions_of_services_with_an_endpoint(
    kind: Any, path_style: bool, region: str | None, server: Any, tmp_path: Path
) -> None:
    """They make no host there, so a name of any kind will do; consent is asked of the endpoint all the same."""
    options = ic.S3Options(
        endpoint_url=server.url, region=region, allow_http=True, anonymous=True, force_path_style=path_style
    )
    store = write(tmp_path / "s", "s3://b/", kind(options))
    with pytest.raises(ConsentError, match="an address of this machine"):
        s2ice.open(store, allow=True)
    assert server.seen == []
    asks(store, allow=server.url)
    assert {path.partition("?")[0] for path in server.seen} == {"/b/x"}


@pytest.mark.parametrize("region", ["RegionOne", "a.b", "-", "_", "."])
def test_no_region_leads_from_its_endpoint(region: str, server: Any, tmp_path: Path) -> None:
    """What Amazon's client asks of buckets of Outposts, whose names leave the endpoint: nothing, they are refused."""
    bucket = f"{'x' * 12}o{'o' * 42}--op-s3"
    store = write(tmp_path / "s", f"s3://{bucket}/", s3(server.url, region=region))
    with pytest.raises(ConsentError, match="one of Amazon's Outposts"):
        s2ice.open(store, allow=[server.url, f"s3://{bucket}"])
    assert server.seen == []


# --- References and servers that lead on.


def test_references_cannot_leave_an_allowed_host(server: Any, tmp_path: Path) -> None:
    """Icechunk takes https://good%2F@evil/ for something below https://good/; under our prefixes nothing does."""
    with serving() as good:
        location = (
            f"http://{quote(good.url.removeprefix('http://'), safe='')}%2F@{server.url.removeprefix('http://')}/x"
        )
        store = write(tmp_path / "s", f"{good.url}/", HTTP, location)
        bare = ic.Repository.open(
            ic.local_filesystem_storage(str(store)),
            authorize_virtual_chunk_access={f"{good.url}/": ic.credentials.HttpAccess},
        )
        zarr.open_group(bare.readonly_session("main").store, mode="r")["x"][:]
        assert len(server.seen) > 0, "Icechunk itself refuses such references by now"
        server.seen.clear()
        with pytest.raises(ChunkError, match="no virtual chunk container can handle"):
            s2ice.open(store, allow=good.url)
        assert server.seen == []


@pytest.mark.parametrize("kwargs", [{"name": None}, {"spec_version": 1}])
def test_whole_addresses_on_web_servers_are_refused(kwargs: dict[str, Any], server: Any, tmp_path: Path) -> None:
    store = write(tmp_path / "s", f"{server.url}/", HTTP, f"{server.url}/x", **kwargs)
    with pytest.raises(ConsentError, match=r"whole addresses .* cannot be held to .* pass the session"):
        s2ice.open(store, allow=server.url)
    assert server.seen == []


def test_servers_that_send_a_reader_on(server: Any, tmp_path: Path) -> None:
    """The limit that docs/decisions/0026-consent.md names: by http, not by S3, an allowed server can send one on."""
    with serving(elsewhere=server.url) as sending:
        asks(write(tmp_path / "http", f"{sending.url}/", HTTP), allow=sending.url)
        assert len(server.seen) > 0
        server.seen.clear()
        store = write(tmp_path / "s3", "s3://b/", s3(sending.url))
        with pytest.raises(ChunkError):
            s2ice.open(store, allow=sending.url, timeout=1)
        assert server.seen == []
