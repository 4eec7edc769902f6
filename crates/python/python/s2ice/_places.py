"""What may stand in the place of a store: a STAC collection or item, or a tile of a publication."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import urlopen

from s2ice import _words
from s2ice._address import AddressError, parse
from s2ice._consent import Allow, allowed, check
from s2ice.errors import ConsentError, RequestError, SourceError, StoreNotFoundError

ENGINE = "s2ice"
VERSIONS = ("branch", "tag", "snapshot")

_TILE = re.compile(r"T?(\d{1,2})([C-X][A-Z]{2})(-L1C|-L2A)?", re.IGNORECASE)


class Led(NamedTuple):
    """Where a STAC document leads: the store's address, and the words of `s2ice.open` that go with it."""

    store: str
    words: dict[str, Any]


def named(store: Any, catalogue: str | os.PathLike[str] | None) -> Any:
    """Return the document of a publication that the id of a tile stands for; anything else as it is."""
    if catalogue is None:
        return store
    found = _TILE.fullmatch(store) if isinstance(store, str) else None
    if found is None:
        raise RequestError(
            f"with catalogue, the store is the id of a tile such as '33TVN' or '33TVN-L1C', not {store!r}"
        )
    number, square, level = found.groups()
    base = os.fspath(catalogue).rstrip("/").removesuffix("/catalog.json")
    return f"{base}/{int(number):02}{square.upper()}{(level or '-L2A').upper()}/collection.json"


def led(store: Any, allow: Allow | None) -> Led | None:
    """Follow a STAC document to its store; ``None`` for what is none.

    Raises
    ------
    SourceError
        The document cannot be read, or names no store.
    ConsentError
        It leads to this machine or its network, and lies elsewhere.
    """
    document, address = _document(store)
    if document is None:
        return None
    where = address or f"{document.get('type')} {document.get('id')}"
    asset = _asset(document, where)
    href = str(asset["href"])
    options = dict(asset.get("xarray:open_kwargs") or {})
    for path in filter(None, (options.get("group"), options.get("eras") and f"eras/{options['eras']}")):
        href = href.removesuffix(f"/{path}")
    if "://" not in href and not href.startswith("/"):
        if address is None:
            raise SourceError(
                f"{where} leads to {href}, and does not say where it lies itself: read it from its address"
            )
        href = urljoin(address, href) if "://" in address else str(Path(address).parent / href)
    _look(href, address, where, allow)
    words = {name: options[name] for name in VERSIONS if name in options}
    if given := options.get("storage_options") or asset.get("xarray:storage_options"):
        words["storage_options"] = _words.options(given)
    return Led(href, words)


def _document(store: Any) -> tuple[dict[str, Any] | None, str | None]:
    """Return a STAC document and its address."""
    if hasattr(store, "to_dict") and hasattr(store, "assets"):
        # An object of pystac.
        return dict(store.to_dict(transform_hrefs=False)), store.get_self_href()
    if isinstance(store, Mapping):
        links = [link.get("href") for link in store.get("links", []) if link.get("rel") == "self"]
        return dict(store), links[0] if links else None
    if not isinstance(store, str | os.PathLike):
        return None, None
    address = os.fspath(store)
    if not address.partition("?")[0].endswith((".json", ".geojson")):
        return None, None
    try:
        if address.startswith(("http://", "https://")):
            with urlopen(address, timeout=30) as answer:
                return json.load(answer), address
        if "://" in address and not address.startswith("file://"):
            raise SourceError(
                f"{address}: a STAC document is read from a disk or web server; else pass what pystac reads"
            )
        path = Path(address.removeprefix("file://")).expanduser().absolute()
        return json.loads(path.read_text()), str(path)
    except (FileNotFoundError, URLError) as error:
        raise StoreNotFoundError(f"there is no STAC document at {address}: {error}") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{address} is no STAC document: {error}") from None


def _asset(document: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the asset that is the store, or else a part of it."""
    assets = [asset for asset in (document.get("assets") or {}).values() if isinstance(asset, dict)]
    ours = [one for one in assets if (one.get("xarray:open_kwargs") or {}).get("engine") == ENGINE and "href" in one]
    if not ours:
        raise SourceError(
            f"{where} has no asset with xarray's engine {ENGINE!r}: s2ice reads items and collections of its own"
        )
    return min(ours, key=lambda one: "group" in one["xarray:open_kwargs"])


def _look(href: str, address: str | None, where: str, allow: Allow | None) -> None:
    """Refuse a document from elsewhere that leads to this machine or its network."""
    if address is not None and "://" not in address:
        return
    try:
        own = parse(address).origin if address else None
        target = parse(href if "://" in href else f"file://{href}")
        check(target, "store", own, allowed(allow)._replace(public=True), local=False)
    except AddressError as error:
        raise SourceError(f"{where} leads to {href}, which cannot be understood: {error}") from None
    except ConsentError:
        raise ConsentError(
            f"{where} leads to a store at {href}, on this machine or its network: if that is meant, open the store by "
            f'that address, or pass allow="{href}"'
        ) from None
