"""From the place of a store, as users write it, to an Icechunk storage."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import icechunk

from s2ice import _words
from s2ice._address import Address, AddressError, in_bucket, on_azure, parse
from s2ice.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

type Options = Mapping[str, Any]

_SCHEMES = {"file", "s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "http", "https"}


class Place(NamedTuple):
    """A store's storage, and what is known of where it lies."""

    storage: icechunk.Storage
    name: str
    """For messages."""
    own: Address | None = None
    """The host or bucket that the reader named; none on disk."""
    local: bool = False
    """Whether it lies on this machine's disk."""


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, ``file`` for a plain path; aliases are folded."""
    head, separator, _ = url.partition("://")
    if not separator:
        return "file"
    return {"s3a": "s3", "gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az"}.get(head.lower(), head.lower())


def local_path(url: str) -> Path:
    """Return the absolute path of a ``file://`` URL or a plain path; ``~`` is the home folder."""
    path = Path(unquote(urlsplit(url).path)) if "://" in url else Path(url).expanduser()
    return path.absolute()


def with_endpoint(options: Options) -> dict[str, Any]:
    """Complete S3 options from each other and from the usual environment variables.

    A custom endpoint means path-style addresses and some region, and an ``http://`` one that plain HTTP is meant.
    """
    full = dict(options)
    endpoint = full.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = full.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        full["endpoint_url"] = endpoint
        full.setdefault("force_path_style", True)
        full.setdefault("allow_http", endpoint.startswith("http://"))
        region = region or "us-east-1"
    if region:
        full["region"] = region
    return full


def locate(store: str | os.PathLike[str], options: Options | None, anonymous: bool | None) -> Place:
    """Make the storage for a path or URL.

    Raises
    ------
    SourceError
        The scheme or an option is not known, or the URL names no bucket.
    """
    url = os.fspath(store)
    head, separator, rest = url.partition(":/")
    if separator and not rest.startswith("/") and head.lower() in _SCHEMES:
        slashes = ":///" if head.lower() == "file" else "://"
        raise SourceError(f"{url}: a slash is missing; it should look like {head}{slashes}{rest}")
    given = _words.options(options)
    scheme = scheme_of(url)
    if anonymous is not None and scheme in {"s3", "gs", "az"} and not _has_credentials(given):
        given.setdefault("anonymous", anonymous)
    parts = urlsplit(url)
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if scheme in {"s3", "gs", "az"} and not bucket:
        raise SourceError(f"{url} names no bucket; it should look like {scheme}://bucket/prefix")
    match scheme:
        case "file":
            path = str(local_path(url))
            return Place(_call(icechunk.local_filesystem_storage, given, url, path=path), path, local=True)
        case "s3":
            given = with_endpoint(given)
            own = _own(lambda: in_bucket(parse(f"s3://{bucket}"), given.get("endpoint_url"), None))
            return Place(_call(icechunk.s3_storage, given, url, bucket=bucket, prefix=prefix), url, own)
        case "gs":
            return Place(
                _call(icechunk.gcs_storage, given, url, bucket=bucket, prefix=prefix),
                url,
                _own(lambda: parse(f"gs://{bucket}")),
            )
        case "az":
            account = given.pop("account", None) or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
            if not account:
                raise SourceError(
                    f"{url} needs the name of the storage account: storage_options={{'account': ...}} or the "
                    "environment variable AZURE_STORAGE_ACCOUNT_NAME"
                )
            fixed = {"account": account, "container": bucket, "prefix": prefix}
            own = _own(lambda: on_azure(f"az://{bucket}", account))
            return Place(_call(icechunk.azure_storage, given, url, **fixed), url, own)
        case "http" | "https":
            if scheme == "http":
                given["opts"] = {"allow_http": "true"} | dict(given.get("opts") or {})
            own = _own(lambda: parse(f"{scheme}://{bucket}"))
            return Place(_call(icechunk.http_storage, given, url, base_url=url.rstrip("/")), url, own)
        case _:
            raise SourceError(f"{url}: a store is a path or a file, s3, gs, az, http or https URL, not {scheme}")


def _own(address: Callable[[], Address]) -> Address | None:
    """Return the host or bucket of a store; none where its name is not plain, so that only `allow` speaks for it."""
    try:
        return address().origin
    except AddressError:
        return None


def _has_credentials(options: Options) -> bool:
    return any(key in options for key in ("access_key_id", "secret_access_key", "from_env", "get_credentials"))


def _call(make: Callable[..., icechunk.Storage], options: Options, url: str, **fixed: Any) -> icechunk.Storage:
    known = set(inspect.signature(make).parameters) - set(fixed)
    unknown = sorted(set(options) - known)
    if unknown:
        allowed = f"known are {', '.join(sorted(known))}" if known else "it takes none"
        hint = _words.meant(unknown[0], known)
        raise SourceError(f"{url}: unknown storage_options {', '.join(unknown)}{hint or ';'} {allowed}")
    return make(**fixed, **options)
