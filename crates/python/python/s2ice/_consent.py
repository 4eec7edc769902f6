"""What a store may make its reader ask.

An Icechunk store names the hosts that its chunks lie on. Nothing of it is authorised before each of these is

* the store's own host or bucket, which the reader named when he opened it,
* a public source of Sentinel-2 that s2ice knows, at its own address, or
* allowed by the reader, with `allow` or the environment variable ``S2ICE_ALLOW``.

Hosts that only this machine or its network knows are asked only where one of the first and the last names them. See
docs/decisions/0026-consent.md.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from s2ice._address import Address, AddressError, is_private, is_private_ip, parse, resolved
from s2ice.errors import ConsentError, RequestError

if TYPE_CHECKING:
    from s2ice._address import Ip

type Allow = bool | str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

VARIABLE = "S2ICE_ALLOW"

# The mirrors that have a name (crates/manifest/src/source/mirror.rs) and the buckets of Earth Search.
KNOWN = tuple(
    map(
        parse,
        (
            "https://eodata.dataspace.copernicus.eu/eodata/",
            "gs://gcp-public-data-sentinel-2/",
            "s3://sentinel-s2-l2a/",
            "s3://sentinel-s2-l1c/",
            "s3://e84-earth-search-sentinel-data/",
        ),
    )
)


class Allowed(NamedTuple):
    """What a reader allows."""

    addresses: tuple[Address, ...] = ()
    networks: tuple[Network, ...] = ()
    """Private addresses that allowed names may stand for."""
    public: bool = False
    """Every public host."""


def allowed(allow: Allow | None) -> Allowed:
    """Understand what a reader allows, by argument and by environment.

    Raises
    ------
    RequestError
        An entry is no address.
    """
    entries: list[tuple[str, str]] = [(VARIABLE, entry) for entry in os.environ.get(VARIABLE, "").split()]
    if isinstance(allow, str | os.PathLike):
        entries.append(("allow", os.fspath(allow)))
    elif isinstance(allow, Iterable):
        entries += [("allow", os.fspath(entry)) for entry in allow]
    elif not isinstance(allow, bool | None):
        raise RequestError(f"allow is an address, a list of addresses, or True, not {allow!r}")
    addresses, networks = [], []
    for origin, entry in entries:
        network = _network(entry)
        if network is not None:
            networks.append(network)
            continue
        try:
            path = entry.startswith(("/", "~"))
            addresses.append(parse(f"file://{Path(entry).expanduser()}" if path else entry))
        except AddressError as error:
            raise RequestError(
                f"{origin} takes addresses such as https://host, s3://bucket or /folder, and networks such as "
                f"10.0.0.0/8, not {entry!r}: {error}"
            ) from None
    return Allowed(tuple(addresses), tuple(networks), allow is True)


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def check(address: Address, name: str, own: Address | None, allowed: Allowed, *, local: bool) -> None:
    """Refuse a place that nobody allowed; it is not asked for anything, and its name is only resolved if it is allowed.

    Parameters
    ----------
    address
        Where the chunks of a container lie.
    name
        Name of the container.
    own
        Host or bucket of the store, where the reader named one.
    local
        Whether the store lies on this machine's disk, so that its files are this machine's as well.

    Raises
    ------
    ConsentError
        Says which host, and how to allow it.
    """
    where = f"the chunks of this store lie at {address} (source {name!r})"
    named = any(entry.covers(address) for entry in allowed.addresses)
    is_own = own is not None and own.covers(address)
    if address.scheme == "file":
        if local or named:
            return
        raise ConsentError(
            f"{where}, on this machine's disk, and the store does not: if it may read your files there, pass "
            f'allow="{address}"; your own copy of them is given as source={{{name!r}: ...}}'
        )
    private = any(map(is_private, address.names))
    if is_own or named:
        # The reader wrote the name, or opened the store there.
        if private or (own is not None and is_own and own.names == address.names):
            return
    elif any(known.covers(address) for known in KNOWN):
        return
    elif private:
        raise ConsentError(
            f"{where}, an address of this machine or its network, which a store is not to make you ask: if it is "
            f'yours, pass allow="{address.origin}"'
        )
    elif not allowed.public:
        raise ConsentError(
            f"{where}, which is neither the store's own host nor a public source that s2ice knows: if you trust it, "
            f'pass allow="{address.origin}"'
        )
    _check_resolved(address, where, allowed)


def _check_resolved(address: Address, where: str, allowed: Allowed) -> None:
    """Refuse a name that stands for an address of this network, unless that is allowed too."""

    def refused(ip: Ip) -> bool:
        return is_private_ip(ip) and not any(ip in network for network in allowed.networks)

    inside = sorted({str(ip) for name in address.names for ip in resolved(name) if refused(ip)})
    if inside:
        listed = ", ".join(f'"{entry}"' for entry in (address.origin, *inside))
        raise ConsentError(
            f"{where}, and {address.names[-1]} stands for {' and '.join(inside)}, of this machine or its network: if "
            f"that is meant, pass allow=[{listed}]"
        )
