"""From what stands for a store to a session on one version of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import icechunk
import zarr
from zarr.core.sync import sync

from s2ice import _elsewhere, _failure, _places
from s2ice._source import Access, authorise
from s2ice._storage import Options, Place, locate
from s2ice.errors import (
    CredentialsError,
    GroupNotFoundError,
    RefNotFoundError,
    RequestError,
    S2iceError,
    SourceError,
    StoreNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

TIMEOUT = 60.0
"""Of a chunk, and of the answers that open a store, seconds."""

type StoreLike = str | os.PathLike[str] | Mapping[str, Any] | icechunk.Storage | icechunk.Repository | icechunk.Session
"""Objects of pystac as well, which need not be installed."""

_NOT_ICECHUNK = ("serialize", "deserializ", "magic", "invalid file", "flatbuffer", "header", "Not a directory")


def connected(
    store: StoreLike,
    access: Access,
    storage_options: Options | None = None,
    *,
    branch: str | None = None,
    tag: str | None = None,
    snapshot: str | None = None,
    as_of: datetime | None = None,
    timeout: float = TIMEOUT,
) -> icechunk.Session:
    """Return a session on one version of a store, which may read the chunks; the arguments are those of `open`."""
    if as_of is not None and as_of.tzinfo is None:
        raise RequestError(f"as_of has no time zone, {as_of!r}: give it one, such as tzinfo=datetime.UTC")
    if isinstance(store, icechunk.Session):
        _refuse("a session", access, branch, tag, snapshot, as_of, storage_options)
        return store
    if (place := _places.led(store, access.allow)) is not None:
        store, words = place
        storage_options = words.pop("storage_options", None) if storage_options is None else storage_options
        if all(one is None for one in (branch, tag, snapshot, as_of)):
            branch, tag, snapshot = map(words.get, _places.VERSIONS)
    repository = _repository(store, access, storage_options, timeout)
    return version(repository, timeout, branch, tag=tag, snapshot=snapshot, as_of=as_of)


def root_of(store: Any) -> zarr.Group:
    """Return the root group of a version."""
    try:
        return zarr.open_group(store, mode="r")
    except FileNotFoundError:
        raise GroupNotFoundError("this version of the store is empty: it has no root group") from None


def _repository(store: Any, access: Access, options: Options | None, timeout: float) -> icechunk.Repository:
    if isinstance(store, icechunk.Repository):
        _refuse("a repository", Access(), storage_options=options)
        return authorise(store, access) if access != Access() else store
    place = located(store, options, access.anonymous)
    return authorise(opened(place, timeout), access, own=place.own, local=place.local)


def located(store: Any, options: Options | None, anonymous: bool | None) -> Place:
    """Return where a store lies."""
    if isinstance(store, icechunk.Storage):
        _refuse("an Icechunk storage", Access(), storage_options=options)
        return Place(store, str(store))
    return locate(store, options, anonymous)


def opened(place: Place, timeout: float = TIMEOUT) -> icechunk.Repository:
    """Open the repository at a place."""
    try:
        return _in_time(place.name, timeout, lambda: icechunk.Repository.open_async(place.storage))
    except icechunk.RepositoryNotFoundError:
        raise _not_there(place.name) from None
    except icechunk.IcechunkError as error:
        raise _unopened(place.name, error) from error


def _in_time[T](name: str, timeout: float, ask: Callable[[], Awaitable[T]]) -> T:
    """Wait for an answer of a store; Icechunk would go on asking one that is silent for a quarter of an hour."""

    async def asked() -> T:
        return await asyncio.wait_for(ask(), timeout)

    try:
        return sync(asked())
    except TimeoutError:
        raise S2iceError(
            f"the store {name} gave no answer in {timeout:g} s: check the address and the connection, or raise timeout="
        ) from None


def _unopened(name: str, error: icechunk.IcechunkError) -> S2iceError:
    reason = error.message.partition("\n\ncontext:")[0].strip()
    if any(sign in reason for sign in ("403", "Forbidden", "AccessDenied", "InvalidAccessKeyId", "credentials")):
        return CredentialsError(
            f"the store {name} refuses access: {reason}. Pass anonymous=True if it is public, or its credentials in "
            "storage_options"
        )
    # Where a server has one answer for every address, Icechunk tries to read it as its own files.
    if any(sign in reason for sign in _NOT_ICECHUNK):
        return _not_there(name)
    return S2iceError(f"cannot open the store {name}: {reason}")


def _not_there(name: str) -> StoreNotFoundError:
    told = _elsewhere.described(name)
    return StoreNotFoundError(f"there is no Icechunk store at {name}{f': {told}' if told else ''}")


def version(
    repository: icechunk.Repository,
    timeout: float,
    branch: str | None = None,
    *,
    tag: str | None = None,
    snapshot: str | None = None,
    as_of: datetime | None = None,
) -> icechunk.Session:
    """Return a session on one version, the newest one of `main` by default."""
    if sum(ref is not None for ref in (branch, tag, snapshot)) > 1:
        raise RequestError("branch, tag and snapshot exclude each other")
    if tag is None and snapshot is None:
        branch = branch or "main"
    try:
        return _failure.again(
            lambda: _in_time(
                str(repository),
                timeout,
                lambda: repository.readonly_session_async(branch, tag=tag, snapshot_id=snapshot, as_of=as_of),
            )
        )
    except (icechunk.NotFoundError, icechunk.InvalidInputError) as error:
        there = ", ".join(f"branch {name}" for name in sorted(repository.list_branches()))
        tags = ", ".join(f"tag {name}" for name in sorted(repository.list_tags()))
        raise RefNotFoundError(
            f"{error.message.partition('\n')[0]}; the store has {there}{', ' if tags else ''}{tags}"
        ) from None


def _refuse(what: str, access: Access, *refs: Any, storage_options: Options | None = None) -> None:
    if access != Access() or storage_options is not None or any(ref is not None for ref in refs):
        raise SourceError(f"{what} already has its storage, version and access; open it without these arguments")
