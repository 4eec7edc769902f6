"""The chunks read last, as they came, so that windows and dates beside each other ask for no tile twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer

type Key = tuple[str, str, ByteRequest | None]
"""Opened store, key, and the part of its value."""

LARGEST_SHARE = 4
"""What takes more than one part in so many is not kept."""


class Recent:
    """A process's chunks, the one used longest ago left out first."""

    def __init__(self) -> None:
        self.size = 0
        self._chunks: OrderedDict[Key, Buffer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Buffer | None:
        """Return a chunk that is here."""
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
            return self._chunks.get(key)

    def put(self, key: Key, chunk: Buffer, most: int) -> None:
        """Keep a chunk, as long as there are at most so many bytes."""
        size = len(chunk)
        if size * LARGEST_SHARE > most:
            return
        with self._lock:
            if key in self._chunks:
                return
            self._chunks[key] = chunk
            self.size += size
            while self.size > most:
                _, old = self._chunks.popitem(last=False)
                self.size -= len(old)


recent = Recent()
