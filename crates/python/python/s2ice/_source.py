"""Access to the archive that a store's chunks lie in.

An Icechunk store can name any place as the home of its chunks, so nothing is opened up because a store asks for it:

* What is asked at all is decided first, by `s2ice._consent`.
* Credentials are sent only where the user gives them. Without, requests are unsigned; on S3 somebody must say so, the
  user or the store.
* What is authorised is exactly the prefixes that the store names, never a whole scheme or bucket.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import icechunk
from icechunk import credentials as access_to

from s2ice import _copernicus, _keys, _words
from s2ice._address import Address, AddressError, of_container
from s2ice._consent import Allow, allowed, check
from s2ice._storage import local_path, scheme_of, with_endpoint
from s2ice.errors import ConsentError, CredentialsError, SourceError

type Credentials = str | Mapping[str, Any] | Any
type Source = str | os.PathLike[str] | Mapping[str, Any]

_WHOLE = 64 << 20
"""Bytes that are asked for in one request."""
_S3_KEYS = {"access_key_id", "secret_access_key", "session_token", "expires_after", "anonymous", "from_env"}
_S3_OPTIONS = {
    "allow_http",
    "anonymous",
    "endpoint_url",
    "force_path_style",
    "network_stream_timeout_seconds",
    "region",
    "requester_pays",
}


class Access(NamedTuple):
    """What the user allows for the sources of a store."""

    credentials: Credentials | None = None
    anonymous: bool | None = None
    source: Source | Mapping[str, Source] | None = None
    allow: Allow | None = None

    @classmethod
    def told(
        cls,
        credentials: Credentials | None = None,
        anonymous: bool | None = None,
        source: Source | Mapping[str, Source] | None = None,
        allow: Allow | None = None,
    ) -> Access:
        """Return what is said in the words of this or of other packages."""
        source, credentials = _words.source(source, _words.credentials(credentials))
        return cls(credentials, anonymous, source, allow)


def authorise(
    repository: icechunk.Repository, access: Access, *, own: Address | None = None, local: bool = False
) -> icechunk.Repository:
    """Give a repository access to the sources it names, re-pointed where asked.

    Parameters
    ----------
    own
        Host or bucket of the repository, where the user named one.
    local
        Whether the repository lies on this machine's disk.

    Raises
    ------
    ConsentError
        A source lies where nobody allowed to ask.
    SourceError
        A source that is not there is re-pointed, or cannot be read.
    CredentialsError
        A source needs credentials and none are given, or what is given is none.
    """
    config = repository.config
    # A store may give two containers one name; each is looked at.
    containers = [(c.name or url, c) for url, c in (config.virtual_chunk_containers or {}).items()]
    moved = _moves(access, list(dict.fromkeys(name for name, _ in containers)))
    consent = allowed(access.allow)
    absolute = repository.spec_version < icechunk.SpecVersion.v2
    granted = {}
    config.clear_virtual_chunk_containers()
    for name, container in containers:
        if name in moved:
            container = _moved(container, moved[name], _for(access.credentials, name))
        else:
            check(_address(container, name), name, own, consent, local=local)
        credentials = _credentials(container, name, _for(access.credentials, name), access)
        container = _confined(container, name, absolute=absolute)
        config.set_virtual_chunk_container(container)
        granted[container.url_prefix] = credentials
    config.storage = _once(config.storage)
    # What is authorised is what was looked at: the configuration is not read from the store again.
    return repository.reopen(config=config, authorize_virtual_chunk_access=granted)


def _once(settings: icechunk.StorageSettings | None) -> icechunk.StorageSettings:
    """Let Icechunk ask once for each object: `s2ice._reading` asks again, and tries are not to multiply."""
    settings = settings or icechunk.StorageSettings()
    settings.retries = icechunk.StorageRetriesSettings(max_tries=1)
    settings.concurrency = icechunk.StorageConcurrencySettings(1, _WHOLE)
    return settings


def _address(container: icechunk.VirtualChunkContainer, name: str) -> Address:
    try:
        return of_container(container)
    except AddressError as error:
        raise ConsentError(
            f"where the chunks of this store lie, {container.url_prefix} (source {name!r}), cannot be understood: "
            f"{error}; if you know the place, give it as source={{{name!r}: ...}}"
        ) from None


def _confined(
    container: icechunk.VirtualChunkContainer, name: str, *, absolute: bool
) -> icechunk.VirtualChunkContainer:
    """Return the container under a prefix that no reference can guess.

    Icechunk compares prefixes with decoded locations, so that https://good.org%2F@evil.org/ would lie below
    https://good.org/ and yet lead elsewhere. References that name their container are not compared with anything of the
    store's; whole addresses are, and must guess the user name that is put in front of the host.
    """
    scheme, _, rest = container.url_prefix.partition("://")
    if scheme == "file":
        return container
    if container.name and not absolute:
        prefix = f"{scheme}://s2ice-{secrets.token_hex(8)}@{rest}"
        store: Any = container.store
        return icechunk.VirtualChunkContainer(prefix, store, name=container.name)
    if scheme in ("http", "https"):
        raise ConsentError(
            f"the references of this store are whole addresses (Icechunk format 1, or a source without a name), which "
            f"cannot be held to {container.url_prefix}: if you trust the store, open its repository with icechunk, "
            f"authorise {name!r}, and pass the session"
        )
    return container


def _moves(access: Access, names: list[str]) -> dict[str, Source]:
    """Which container goes where."""
    source: Any = access.source
    if source is None:
        return {}
    listed = ", ".join(names) or "none"
    if isinstance(source, str | os.PathLike) or (isinstance(source, Mapping) and "url" in source):
        if len(names) != 1:
            raise SourceError(f"the store has {len(names)} sources ({listed}): say which, as source={{name: url}}")
        return {names[0]: source}
    if not isinstance(source, Mapping):
        raise SourceError(f"source must be a URL or a mapping from name to URL, not {source!r}")
    unknown = sorted(set(source) - set(names))
    if unknown:
        raise SourceError(f"the store has no source {', '.join(unknown)}; its sources are {listed}")
    return dict(source)


def _moved(
    container: icechunk.VirtualChunkContainer, target: Source, credentials: Credentials | None
) -> icechunk.VirtualChunkContainer:
    """Return the container under the same name at another place."""
    options: dict[str, Any] = dict(target) if isinstance(target, Mapping) else {"url": target}
    try:
        url = os.fspath(options.pop("url"))
    except KeyError:
        raise SourceError(f"the new place of source {container.name} has no url: {target!r}") from None
    if not container.name:
        raise SourceError(f"the source {container.url_prefix} has no name, so its chunks cannot be read elsewhere")
    scheme = scheme_of(url)
    if scheme == "file":
        path = local_path(url)
        url = f"file://{path}"
    else:
        url = unquote(url)
    if "%" in url:
        raise SourceError(f"{url}: Icechunk cannot read below a folder with a per cent sign in its name")
    # Icechunk compares the prefix with decoded addresses.
    url = url.rstrip("/") + "/"
    known = {"s3": _S3_OPTIONS, "az": {"account"}, "http": {"headers"}, "https": {"headers"}}.get(scheme, set())
    unknown = sorted(set(options) - known)
    if unknown:
        allowed = f"known for {scheme} are {', '.join(sorted(known))}" if known else f"{scheme} takes none"
        raise SourceError(f"{url}: unknown options {', '.join(unknown)}; {allowed}")
    store: Any
    match scheme:
        case "file":
            store = icechunk.ObjectStoreConfig.LocalFileSystem(str(path))
        case "s3":
            if credentials == _keys.CDSE:
                options.setdefault("endpoint_url", _copernicus.ENDPOINT)
            full = with_endpoint(options)
            s3 = icechunk.ObjectStoreConfig.S3Compatible if full.get("endpoint_url") else icechunk.ObjectStoreConfig.S3
            store = s3(icechunk.S3Options(**full))
        case "gs":
            store = icechunk.ObjectStoreConfig.Gcs()
        case "az":
            account = options.get("account") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
            store = icechunk.ObjectStoreConfig.Azure({"account": account} if account else None)
        case "http" | "https":
            plain = {"allow_http": "true"} if scheme == "http" else None
            store = icechunk.ObjectStoreConfig.Http(plain, options.get("headers"))
        case _:
            raise SourceError(f"{url}: a source is a path or a file, s3, gs, az, http or https URL, not {scheme}")
    return icechunk.VirtualChunkContainer(url, store, name=container.name)


def _for(credentials: Any, name: str) -> Any:
    """Return the credentials for one source, out of one for all or a mapping by name."""
    if isinstance(credentials, Mapping) and not _S3_KEYS & set(credentials):
        return credentials.get(name)
    return credentials


def _credentials(
    container: icechunk.VirtualChunkContainer, name: str, given: Any, access: Access
) -> icechunk.AnyCredential | None:
    url = container.url_prefix
    if isinstance(given, str) and given not in ("env", _keys.CDSE):
        raise CredentialsError(f"credentials are 'env', 'cdse', a mapping or credentials of Icechunk, not {given!r}")
    if given == _keys.CDSE:
        given = _keys.cdse() if any(map(_copernicus.owns, _address(container, name).names)) else None
    match scheme_of(url):
        case "file":
            return access_to.LocalFileSystemAccess
        case "http" | "https":
            return access_to.HttpAccess
        case "s3" | "tigris":
            return icechunk.Credentials.S3(_s3(container, name, given, access))
        case "gs":
            return icechunk.Credentials.Gcs(_cloud(given, access, access_to.gcs_credentials))
        case "az":
            return icechunk.Credentials.Azure(_cloud(given, access, access_to.azure_credentials))
        case scheme:
            raise SourceError(f"the chunks of this store lie in {url}; {scheme} cannot be read")


def _cloud(given: Any, access: Access, make: Any) -> Any:
    if given is None and access.anonymous is not False:
        return make(anonymous=True)
    if given is None or given == "env":
        return make(from_env=True)
    return make(**given) if isinstance(given, Mapping) else given


def _s3(container: icechunk.VirtualChunkContainer, name: str, given: Any, access: Access) -> Any:
    # The options of a container are the one field of its store configuration.
    options = getattr(container.store, "_0", None)
    if given is not None:
        if given == "env":
            return access_to.s3_from_env_credentials()
        return _keys.once(access_to.s3_credentials(**given) if isinstance(given, Mapping) else given)
    if access.anonymous or (access.anonymous is None and getattr(options, "anonymous", False)):
        return access_to.s3_anonymous_credentials()
    endpoint = getattr(options, "endpoint_url", None)
    where = container.url_prefix + (f" at {endpoint}" if endpoint else "")
    raise CredentialsError(
        f"the chunks of this store lie in {where} (source {name!r}), and no credentials were given. Pass "
        "credentials='env' to take AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from the environment, "
        "credentials={'access_key_id': ..., 'secret_access_key': ...}, or anonymous=True if the source is public"
    )
