"""The addresses that are asked: of a store, of the containers it names, and of what a reader allows.

A container is data of somebody else. Its address is taken apart by a grammar that has no room for what parsers disagree
about: user names, backslashes, control characters, percent signs in a host. What does not fit is refused.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import icechunk

if TYPE_CHECKING:
    from collections.abc import Mapping

type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_GRAMMAR = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]*)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^\x00-\x1f\x7f\\%?#]*)?",
    re.IGNORECASE,
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
# Of Amazon, where it is part of the host; and of services with an endpoint, which only sign with it: RegionOne, WAW3-1.
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_FOREIGN_REGION = re.compile(r"[A-Za-z0-9._-]{1,100}")
# Buckets that Amazon's client asks Amazon for, whatever endpoint it is given.
_OUTPOST = "--op-s3"
_ACCOUNT = re.compile(r"[a-z0-9-]{3,30}")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TIGRIS = "https://t3.storage.dev"
# Names that no public server has: RFC 6761, RFC 6762, RFC 8375, and what networks of firms and clouds use.
_LOCAL = (
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "home.arpa",
    "test",
)
# Networks whose addresses carry one of IPv4 in their last bits: compatible, translated (RFC 6052).
_CARRIERS = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96")))


class AddressError(ValueError):
    """An address that cannot be understood in one way only; the text says why."""


class Address(NamedTuple):
    """A prefix of what can be asked for: of files (no host), of a bucket (``s3``, ``gs``), or of a web or S3 server."""

    scheme: str
    host: str
    """Bucket, or host with the port where that is not the usual one."""
    path: str
    """With a slash at both ends."""
    names: tuple[str, ...] = ()
    """The server's name and, where it is another, the one connected to; none for a public cloud's own servers."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"

    @property
    def origin(self) -> Address:
        """The whole host or bucket; of files the address itself."""
        return self if self.scheme == "file" else self._replace(path="/")

    def covers(self, other: Address) -> bool:
        """Tell whether everything below the other address is below this one."""
        return self[:2] == other[:2] and other.path.startswith(self.path)


def parse(text: str) -> Address:
    """Take an address apart.

    Raises
    ------
    AddressError
        It is none of the plain form ``scheme://host/path``.
    """
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise AddressError("it is not of the plain form scheme://host/path")
    scheme, host, port = found["scheme"].lower(), found["host"], found["port"]
    scheme = {"s3a": "s3", "gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az"}.get(scheme, scheme)
    path = (found["path"] or "/").rstrip("/") + "/"
    if any(part in (".", "..") for part in path.split("/")):
        raise AddressError("its path has a part . or ..")
    match scheme:
        case "file" if not host and port is None:
            return Address(scheme, "", path)
        case "s3" | "gs" | "tigris" if _BUCKET.fullmatch(host) and port is None:
            return Address(scheme, host, path)
        case "az" if _BUCKET.fullmatch(host) and port is None:
            raise AddressError("the account is missing: say https://ACCOUNT.blob.core.windows.net/CONTAINER")
        case "http" | "https" if host:
            name = _canonical(host)
            usual = port is None or int(port) == _DEFAULT_PORTS[scheme]
            return Address(scheme, name if usual else f"{name}:{int(port)}", path, (name,))
        case "file" | "s3" | "gs" | "tigris" | "http" | "https" | "az":
            raise AddressError("its host or bucket is no plain name")
    raise AddressError(f"{scheme} is not file, s3, gs, http or https")


def of_container(container: icechunk.VirtualChunkContainer) -> Address:
    """Return what is asked when a chunk of a container is read.

    Raises
    ------
    AddressError
        That cannot be told, or the container sets options that lead elsewhere, such as a proxy.
    """
    kinds: Any = icechunk.ObjectStoreConfig
    store: Any = container.store
    if isinstance(store, kinds.S3 | kinds.S3Compatible | kinds.Tigris):
        usual = _TIGRIS if isinstance(store, kinds.Tigris) else None
        place = _parsed(container, "s3", "tigris")
        return in_bucket(place, store._0.endpoint_url or usual, store._0.region, path_style=store._0.force_path_style)
    if isinstance(store, kinds.Azure):
        _only(store._0, "account")
        return on_azure(container.url_prefix, (store._0 or {}).get("account") or "")
    if isinstance(store, kinds.Gcs):
        _only(store._0)
        return _parsed(container, "gs")
    if isinstance(store, kinds.Http):
        address = _parsed(container, "http", "https")
        # Over https it would let the server lead on to http.
        _only(store._0, *(["allow_http"] if address.scheme == "http" else []))
        if store._1:
            raise AddressError(f"it sends headers of its own ({', '.join(sorted(store._1))})")
        return address
    if isinstance(store, kinds.LocalFileSystem):
        return _parsed(container, "file")
    raise AddressError("it lies nowhere that can be read")


def in_bucket(bucket: Address, endpoint: str | None, region: str | None, *, path_style: bool = True) -> Address:
    """Return the address of a bucket's contents on S3: below the endpoint, or the bucket's where Amazon is meant."""
    if region and not (_FOREIGN_REGION if endpoint else _REGION).fullmatch(region):
        raise AddressError(f"{region!r} is no region")
    if not endpoint:
        return bucket
    if bucket.host.lower().endswith(_OUTPOST):
        raise AddressError(f"its bucket is one of Amazon's Outposts, and is not asked for at {endpoint}")
    service = parse(endpoint)
    if service.scheme not in _DEFAULT_PORTS:
        raise AddressError(f"its endpoint {endpoint} is no http or https address")
    names = service.names if path_style else (*service.names, f"{bucket.host}.{service.names[0]}".lower())
    return service._replace(path=f"{service.path}{bucket.host}{bucket.path}", names=names)


def on_azure(url: str, account: str) -> Address:
    """Return the address of a container's contents on Azure."""
    found = _GRAMMAR.fullmatch(url)
    if found is None or not _ACCOUNT.fullmatch(account):
        raise AddressError("it names no account, or is not of the plain form az://container/path")
    return parse(f"https://{account}.blob.core.windows.net/{found['host']}{found['path'] or '/'}")


def _parsed(container: icechunk.VirtualChunkContainer, *schemes: str) -> Address:
    address = parse(container.url_prefix)
    if address.scheme not in schemes:
        raise AddressError(f"its address is not of {' or '.join(schemes)}")
    return address


def _only(options: Mapping[str, str] | None, *known: str) -> None:
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise AddressError(f"it sets {', '.join(unknown)}, which can lead to other hosts")


def _canonical(host: str) -> str:
    """Return the one spelling of a host: lower case, no dot at the end, IP addresses as they are usually written."""
    name = host.lower().removesuffix(".")
    try:
        if name.startswith("["):
            return f"[{ipaddress.IPv6Address(name[1:-1])}]"
        # What ends in a number is an address of IPv4 to clients, in whatever base: 127.1, 0x7f000001, 017700000001.
        if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", name.rpartition(".")[2]):
            return str(ipaddress.IPv4Address(socket.inet_aton(name)))
    except (OSError, ValueError):
        raise AddressError(f"{host} is no host") from None
    if not name or ".." in name or name.startswith("."):
        raise AddressError(f"{host} is no host")
    return name


def is_private_ip(ip: Ip) -> bool:
    """Tell whether an address is anything but a public one, itself or through the address of IPv4 that it carries."""
    if isinstance(ip, ipaddress.IPv6Address):
        carried = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        carried += [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) for network in _CARRIERS if ip in network]
        if any(inner is not None and is_private_ip(inner) for inner in carried) or ip.is_site_local:
            return True
        if ip.ipv4_mapped is not None or ip in _CARRIERS[1]:
            return False
    return not ip.is_global or ip.is_multicast


def is_private(name: str) -> bool:
    """Tell whether a host, in its canonical spelling, is one that only this network knows."""
    try:
        return is_private_ip(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return "." not in name or name.endswith(tuple(f".{local}" for local in _LOCAL))


def resolved(name: str) -> list[Ip]:
    """Return the addresses of a host by this machine's resolver; none where it knows none."""
    try:
        found = socket.getaddrinfo(name.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    # The scope of a link-local address is not part of it.
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
