"""The store that reads: with time-outs, retries and a budget for each host, and errors that say what failed.

It stands between Zarr and Icechunk. Time-outs and retries are here, since Icechunk's own are for each request,
multiply, and are different for each kind of source.
"""

from __future__ import annotations

import asyncio
import math
import pickle
import uuid
import warnings
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from weakref import WeakValueDictionary

import icechunk
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.config import config
from zarr.storage import WrapperStore

from s2ice import _budget, _copernicus, _failure, _fork, _missing, _pace
from s2ice._address import AddressError, of_container
from s2ice._place import Places, split
from s2ice._recent import recent
from s2ice.errors import ChunkError, MissingChunksWarning, RequestError, S2iceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from s2ice._missing import MissingChunk

CACHE_BYTES = 64 << 20
ATTEMPT = 0.4
"""Share of the time-out that one request may take."""
KEPT = 8
"""Stores that a process keeps between two tasks that bring them along."""

type OnError = Literal["raise", "nan"]


class Terms(NamedTuple):
    """How an opened store is read."""

    token: str
    """Names this opening, in every process."""
    hosts: tuple[str, ...]
    copernicus: bool
    timeout: float
    max_connections: int | None
    cache_bytes: int
    on_error: OnError


def wrapped(
    session: icechunk.Session,
    store: Store,
    *,
    timeout: float,
    max_connections: int | None = None,
    cache_bytes: int = CACHE_BYTES,
    on_error: OnError = "raise",
    masked: bool = True,
) -> ReadingStore:
    """Wrap the store of a session, or a view of it; the arguments are those of `s2ice.open`.

    Raises
    ------
    RequestError
        An argument is out of range.
    """
    if max_connections is not None and max_connections < 1:
        raise RequestError(f"max_connections must be 1 or more, not {max_connections}")
    if cache_bytes < 0:
        raise RequestError(f"cache_bytes must be 0 or more, not {cache_bytes}")
    if on_error not in ("raise", "nan"):
        raise RequestError(f'on_error is "raise" or "nan", not {on_error!r}')
    if on_error == "nan" and not masked:
        raise RequestError('on_error="nan" needs decoded values: digital numbers (mask_and_scale=False) have no NaN')
    hosts, copernicus = _hosts(session)
    # What a writer changes is not kept.
    cache_bytes = cache_bytes if session.read_only else 0
    token = uuid.uuid4().hex
    if on_error == "nan":
        _missing.follow(token, made=True)
    made = ReadingStore(store, Terms(token, hosts, copernicus, timeout, max_connections, cache_bytes, on_error))
    _stores[token] = made
    return made


def check_timeout(timeout: float) -> None:
    """Refuse what is no time."""
    if not timeout > 0:
        raise RequestError(f"timeout must be more than 0 seconds, not {timeout}")


def _hosts(session: icechunk.Session) -> tuple[tuple[str, ...], bool]:
    """Return the hosts that the chunks lie on, and whether Copernicus is among them."""
    hosts, copernicus = set(), False
    for container in (session.config.virtual_chunk_containers or {}).values():
        prefix = _failure.plain(container.url_prefix)
        store: Any = container.store
        try:
            address = of_container(icechunk.VirtualChunkContainer(prefix, store, name=container.name))
        except AddressError:
            hosts.add(prefix)
            continue
        hosts.add("file" if address.scheme == "file" else str(address.origin))
        copernicus = copernicus or any(map(_copernicus.owns, address.names))
    return tuple(sorted(hosts)), copernicus


class ReadingStore(WrapperStore[Store]):
    """A store of Icechunk that reads on terms."""

    # Zarr would otherwise be free to read through the wrapped store's synchronous methods.
    _supports_sync_io = False
    measures = True
    """It tells its pace what reads cost: the codec sees what is kept here as well, and pauses."""

    def __init__(self, store: Store, terms: Terms) -> None:
        super().__init__(store)
        self.terms = terms
        self.places = Places(store)
        self._pace = _pace.pace_of(store)
        self._warned = False
        self._pickled: bytes | None = None

    @property
    def concurrency(self) -> int:
        """Chunks that one read asks for at a time."""
        asked = self.terms.max_connections or config.get("async.concurrency")
        return min(asked, _copernicus.CONNECTIONS) if self.terms.copernicus else int(asked)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Fetch a value, or the part of it.

        Raises
        ------
        ChunkError
            The chunk cannot be read.
        """
        _fork.guard()
        if split(key) is None:
            try:
                return await self._tried(lambda: self._store.get(key, prototype, byte_range), ())
            except _Failed as failed:
                raise failed.of(key) from failed.cause
        kept = self._kept(key, byte_range)
        if kept is not None and isinstance(kept, prototype.buffer):
            return kept
        try:
            value = await self._tried(lambda: self._timed(key, prototype, byte_range), self.terms.hosts)
        except _Failed as failed:
            raise await self.failed(key, failed.failure) from failed.cause
        if value is not None and self.terms.cache_bytes:
            recent.put((self.terms.token, key, byte_range), value, self.terms.cache_bytes)
        return value

    async def failed(self, key: str, failure: _failure.Failure) -> ChunkError:
        """Make the error of a chunk that cannot be read or decoded."""
        chunk = await self.places.find(key, failure.reason)
        return ChunkError(_told(chunk, failure.remedy), chunk)

    async def fills(self, error: ChunkError, fill: Any) -> bool:
        """Tell whether the fill value may stand for a chunk that failed, as nodata does."""
        chunk = error.chunk
        if self.terms.on_error != "nan" or chunk is None:
            return False
        attributes = await self.places.attributes(chunk.array)
        if "_FillValue" in attributes:
            return bool(attributes["_FillValue"] == fill)
        meanings = dict(
            zip(attributes.get("flag_values", ()), str(attributes.get("flag_meanings", "")).split(), strict=False)
        )
        return str(meanings.get(fill, "")).startswith("no_") or bool(fill != fill)

    def record(self, chunks: list[MissingChunk]) -> None:
        """Note the chunks of a read that were filled; the first time, warn."""
        for chunk in chunks:
            _missing.record(self.terms.token, chunk)
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{len(chunks)} chunks could not be read and are NaN, such as {chunks[0].array}: {chunks[0].reason}; "
                "s2ice.missing() lists these and all that follow",
                MissingChunksWarning,
                stacklevel=2,
            )

    def _kept(self, key: str, byte_range: ByteRequest | None) -> Buffer | None:
        if not self.terms.cache_bytes:
            return None
        whole = recent.get((self.terms.token, key, None))
        if byte_range is None:
            return whole
        return recent.get((self.terms.token, key, byte_range)) if whole is None else _part(whole, byte_range)

    async def _timed(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None) -> Buffer | None:
        since = monotonic()
        value = await self._store.get(key, prototype, byte_range)
        if value is not None:
            self._pace.learn(len(value), monotonic() - since)
        return value

    async def _tried[T](self, request: Callable[[], Awaitable[T]], hosts: tuple[str, ...]) -> T:
        budgets = [_budget.of(host) for host in hosts]
        spent, tries = 0.0, 0
        most = 1 if any(budget.failures >= _failure.FAILING for budget in budgets) else _failure.TRIES
        while True:
            async with self._connections(budgets):
                since = monotonic()
                try:
                    async with asyncio.timeout(min(self.terms.timeout * ATTEMPT, self.terms.timeout - spent)):
                        value = await request()
                except (icechunk.IcechunkError, OSError) as error:
                    cause, failure = error, _failure.of(error)
                else:
                    for budget in budgets:
                        budget.well()
                    return value
            tries += 1
            spent += monotonic() - since
            if failure.kind is _failure.Kind.BUSY:
                for budget in budgets:
                    budget.busy(since)
            pause = _failure.pause(failure.kind, tries)
            final = failure.kind is _failure.Kind.FINAL
            if final or tries >= most or spent + pause >= self.terms.timeout:
                if not final:
                    for budget in budgets:
                        budget.failures += 1
                    failure = failure._replace(reason=f"{failure.reason}, {tries} times in {spent:.0f} s")
                raise _Failed(failure, cause)
            await asyncio.sleep(pause)
            spent += pause

    @asynccontextmanager
    async def _connections(self, budgets: list[_budget.Budget]) -> AsyncIterator[None]:
        most = self.terms.max_connections or math.inf
        async with AsyncExitStack() as held:
            for budget in budgets:
                await held.enter_async_context(
                    budget.connection(min(most, _copernicus.CONNECTIONS) if self.terms.copernicus else most)
                )
            if budgets and self.terms.copernicus:
                await held.enter_async_context(_copernicus.connection(most))
            yield

    async def getsize(self, key: str) -> int:
        """Return the bytes of a value; 0 for a chunk that is not there."""
        _fork.guard()
        try:
            return await self._tried(lambda: self._store.getsize(key), ())
        except _Failed as failed:
            raise failed.of(key) from failed.cause

    async def exists(self, key: str) -> bool:
        """Tell whether there is such a key."""
        _fork.guard()
        return await super().exists(key)

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List what lies below a prefix."""
        _fork.guard()
        return super().list_dir(prefix)

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self.terms)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._pickled is None:
            self._pickled = pickle.dumps(self._store)
        return _restored, (self._pickled, self.terms)


class _Failed(Exception):
    """A request that is not tried again."""

    def __init__(self, failure: _failure.Failure, cause: Exception) -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.cause = cause

    def of(self, key: str) -> S2iceError:
        """Return the error of what is no chunk."""
        return S2iceError(f"cannot read {key} of the store: {self}; {self.failure.remedy}")


_stores: WeakValueDictionary[str, ReadingStore] = WeakValueDictionary()
_kept: deque[ReadingStore] = deque(maxlen=KEPT)


def _restored(pickled: bytes, terms: Terms) -> ReadingStore:
    """Return this process's one store of an opening: its connections, manifests and keys serve all tasks."""
    store = _stores.get(terms.token)
    if store is None:
        store = _stores[terms.token] = ReadingStore(pickle.loads(pickled), terms)
        _kept.append(store)
        if terms.on_error == "nan":
            _missing.follow(terms.token, made=False)
    return store


def _part(whole: Buffer, byte_range: ByteRequest) -> Buffer:
    match byte_range:
        case RangeByteRequest(start, end):
            return whole[start:end]
        case OffsetByteRequest(offset):
            return whole[offset:]
        case SuffixByteRequest(suffix):
            return whole[max(0, len(whole) - suffix) :]


def _told(chunk: MissingChunk, remedy: str) -> str:
    of = f" of {chunk.time}" if chunk.time else ""
    product = f" ({chunk.product})" if chunk.product else ""
    source = f" from {chunk.url}" if chunk.url else ""
    place = "/".join(map(str, chunk.chunk))
    return f"cannot read {chunk.array}{of}{product}, chunk {place}{source}: {chunk.reason}. What to do: {remedy}"
