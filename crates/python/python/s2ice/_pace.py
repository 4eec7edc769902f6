"""What reading costs at a place: time to answer and bytes per second, learned from the reads themselves."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from threading import Lock
from typing import TYPE_CHECKING, Any

import zarr
from zarr.storage import WrapperStore

from s2ice.errors import RequestError

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter, SyncByteGetter

READING = "s2ice.reading"
"""The setting in Zarr's configuration, ``ZARR_S2ICE__READING`` in the environment."""

CHOICES = ("auto", "fewest_requests", "fewest_bytes")

SMALL = 32 * 1024
"""Bytes up to which a read tells of the time to answer rather than of the bytes per second."""

AT_FIRST = ((0, 0.05), (1_000_000, 0.15))
"""Bytes and seconds of a small and of a large read before the first ones: a bucket in another part of the world."""


class Pace:
    """Medians of the latest small and large reads from one place, and the line through both."""

    def __init__(self) -> None:
        self._reads: tuple[deque[tuple[int, float]], ...] = (deque(maxlen=15), deque(maxlen=15))
        self._lock = Lock()
        self._line = self._fit()

    def learn(self, size: int, seconds: float) -> None:
        """Take note of a read."""
        with self._lock:
            self._reads[size > SMALL].append((size, seconds))
            self._line = self._fit()

    def seconds(self, size: float, rounds: float = 1) -> float:
        """Tell how long it takes to read so many bytes in so many requests, one after the other."""
        answer, per_byte = self._line
        return rounds * answer + size * per_byte

    @property
    def worth(self) -> int:
        """Bytes that may be read for nothing to save a request of several at the same time."""
        answer, per_byte = self._line
        # An eighth, since the others wait at the same time.
        return int(min(max(answer / per_byte / 8, 4096), 1 << 18))

    def _fit(self) -> tuple[float, float]:
        points = []
        for reads, first in zip(self._reads, AT_FIRST, strict=True):
            sizes, seconds = zip(*reads, strict=True) if reads else ((first[0],), (first[1],))
            points.append((median(sizes), median(seconds)))
        (small, quick), (large, slow) = points
        # Never below what memory would take, so that answers of one size do not make bytes free.
        per_byte = max((slow - quick) / (large - small), 1e-10)
        return max(quick - small * per_byte, 1e-5), per_byte


def reading() -> str:
    """Return what is to be saved when a part of a tile is asked for.

    Raises
    ------
    RequestError
        The setting has a value that is not known.
    """
    chosen = zarr.config.get(READING, CHOICES[0])
    if chosen not in CHOICES:
        raise RequestError(f"{READING} in Zarr's configuration is one of {', '.join(CHOICES)}, not {chosen!r}")
    return str(chosen)


_paces: dict[object, Pace] = {}


@dataclass(frozen=True)
class Chunk:
    """Where a chunk is read from."""

    pace: Pace
    name: str | None
    """Its name, if its bytes never change."""
    size: int | None = None
    """Its bytes, if the store knows them."""
    measured: bool = False
    """The store itself takes note of what reading costs."""


def locate(getter: ByteGetter | SyncByteGetter) -> Chunk:
    """Tell where a chunk is read from."""
    return Chunk(pace_of(getattr(getter, "store", None)), None)


async def locate_async(getter: ByteGetter) -> Chunk:
    """Tell where a chunk is read from; Icechunk is asked for its size, which stands in the manifest."""
    outer: Any = getattr(getter, "store", None)
    store = _innermost(outer)
    session = getattr(store, "session", None)
    if session is None:
        return locate(getter)
    path = getattr(getter, "path", "")
    name = f"{session.snapshot_id}/{path}" if store.read_only else None
    measured = getattr(outer, "measures", False)
    # Wrappers of others would read the chunk to tell its size.
    size = await (outer if measured else store).getsize(path)
    return Chunk(pace_of(outer), name, size, measured)


def pace_of(store: Any) -> Pace:
    """Return what reading costs at the places that a store refers to."""
    store = _innermost(store)
    session = getattr(store, "session", None)
    # What lies in folders and in memory may change.
    place = type(store) if session is None else frozenset(session.config.virtual_chunk_containers or ())
    return _paces.setdefault(place, Pace())


def _innermost(store: Any) -> Any:
    while isinstance(store, WrapperStore):
        store = store._store
    return store
