"""A cap on the chunks that are fetched at the same time, for sources that allow few connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from zarr.abc.store import Store
from zarr.storage import WrapperStore

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class LimitedStore(WrapperStore[Store]):
    """A store that fetches at most `connections` keys at a time.

    Zarr has such a limit too, ``async.concurrency``, but only one for the whole process. This one belongs to the store
    and goes along when it is pickled; every process that reads counts for itself.
    """

    # Zarr would otherwise be free to read through the wrapped store's synchronous methods, past the limit.
    _supports_sync_io = False

    def __init__(self, store: Store, connections: int) -> None:
        super().__init__(store)
        self.connections = connections
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Fetch a value when one of the connections is free."""
        async with self._slot():
            return await super().get(key, prototype, byte_range)

    def _slot(self) -> asyncio.Semaphore:
        # A semaphore belongs to one event loop. Zarr's own loop serves all threads that read synchronously.
        loop = asyncio.get_running_loop()
        if loop not in self._slots:
            self._slots[loop] = asyncio.Semaphore(self.connections)
        return self._slots[loop]

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self.connections)

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self._store, "connections": self.connections}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["store"], state["connections"])  # type: ignore[misc]
