"""What lies in the place where a store should be, so that the error can say it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from s2ice._storage import local_path, scheme_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HEAD = 1 << 16
"""Bytes of a document that are looked at."""
_TIMEOUT = 10
"""Seconds to wait for it."""

_ZARR = ("zarr.json", ".zgroup", ".zmetadata", ".zattrs", ".zarray")
_CATALOGUES = ("collection.json", "catalog.json")


def described(url: str) -> str:
    """Tell in a clause what lies at a path or HTTP address; nothing where it cannot be told.

    Only the place that the user named is asked, without credentials.
    """
    match scheme_of(url):
        case "file":
            return _on_disk(local_path(url))
        case "http" | "https":
            return _on_the_web(url)
        case _:
            return ""


def _on_disk(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            return document(file.read(_HEAD)) or "there is a file, and a store is a folder"
    if not path.is_dir():
        return f"the folder {path.parent} is not there either" if not path.parent.is_dir() else "nothing is there"
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "the folder is empty"
    if any(name in names for name in _ZARR):
        return "there is a Zarr store without versions: xarray.open_zarr opens it"
    catalogue = next((name for name in _CATALOGUES if name in names), None)
    if catalogue:
        return f"there is a STAC catalogue, {catalogue}, whose assets lead to stores"
    if any(name.startswith("MTD_MSI") for name in names) or any(name.endswith(".SAFE") for name in names):
        return "there are products: s2ice build makes a store of them"
    stores = [name for name in names if (path / name / "refs").is_dir() or (path / name / "repo").is_file()]
    if stores:
        return f"there are stores below it: {', '.join(stores[:5])}{', ...' if len(stores) > 5 else ''}"
    return "there is a folder with other things"


def _on_the_web(url: str) -> str:
    try:
        with urlopen(Request(url, headers={"Range": f"bytes=0-{_HEAD - 1}"}), timeout=_TIMEOUT) as answer:
            return document(answer.read(_HEAD))
    except HTTPError as error:
        with error:
            told = document(error.read(_HEAD)) if error.code not in (404, 410) else ""
        return f"the server answers {error.code}{f', {told}' if told else ''}"
    except (OSError, ValueError):
        return ""


def document(head: bytes) -> str:
    """Tell what a document is by its beginning."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "there is a page for people (HTML): take the address of the store that it names"
    if text.startswith(b"<"):
        code = text.partition(b"<Code>")[2].partition(b"</Code>")[0].decode(errors="replace")
        return f"there is an XML document{f' with the code {code}' if code else ''}"
    if text.startswith((b"{", b"[")):
        return _json(head)
    if head.startswith(b"PK\x03\x04"):
        return "there is a zip archive: unpack it"
    return ""


def _json(head: bytes) -> str:
    try:
        found: Any = json.loads(head)
    except ValueError:
        found = {}
    keys: Mapping[str, Any] = found if isinstance(found, dict) else {}
    if "stac_version" in keys or keys.get("type") in ("Collection", "Catalog", "Feature", "FeatureCollection"):
        kind = {"Feature": "item", "Collection": "collection", "Catalog": "catalogue"}.get(
            str(keys.get("type")), "document"
        )
        return f"there is a STAC {kind}, whose assets lead to stores"
    if "refs" in keys:
        return "there are kerchunk references: xarray.open_dataset(..., engine='kerchunk') opens them"
    if "zarr_format" in keys:
        return "there is a Zarr store without versions: xarray.open_zarr opens it"
    return "there is a JSON document"
