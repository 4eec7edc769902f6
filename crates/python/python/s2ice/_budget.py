"""How many connections a host gets from this process.

A host that answers "too many requests" gets half as many from then on, and slowly more again, so that nobody has to
know its limit. The remedy is the one of TCP: additive increase, multiplicative decrease.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GROWTH = 0.1
"""What a whole round of answers adds."""


class _Waiter(NamedTuple):
    most: float
    loop: asyncio.AbstractEventLoop
    ready: asyncio.Future[None]


class Budget:
    """The connections to one host, whichever thread, event loop or store asks for them."""

    def __init__(self) -> None:
        self.open = 0
        self.allowed = math.inf
        self.failures = 0
        """Chunks that failed since one was read."""
        self._lowered = 0.0
        self._waiting: deque[_Waiter] = deque()
        self._lock = threading.Lock()

    @asynccontextmanager
    async def connection(self, most: float) -> AsyncIterator[None]:
        """Hold one connection, as soon as fewer than `most` are open and it is this one's turn."""
        await self._acquire(most)
        try:
            yield
        finally:
            self._release()

    def busy(self, since: float) -> None:
        """Note the host's answer, to a request of that (monotonic) time, that these are too many."""
        with self._lock:
            # The requests that were open at the last answer are no news.
            if since >= self._lowered:
                self.allowed = max(1.0, min(self.allowed, self.open) // 2)
                self._lowered = monotonic()

    def well(self) -> None:
        """Note a good answer."""
        with self._lock:
            self.failures = 0
            self.allowed += GROWTH / self.allowed
            self._wake()

    async def _acquire(self, most: float) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._waiting and self._fits(most):
                self.open += 1
                return
            waiter = _Waiter(most, loop, loop.create_future())
            self._waiting.append(waiter)
        try:
            await waiter.ready
        except asyncio.CancelledError:
            with self._lock:
                mine = waiter in self._waiting
                if mine:
                    self._waiting.remove(waiter)
            if not mine:
                self._release()
            raise

    def _fits(self, most: float) -> bool:
        return self.open < most and self.open + 1 <= self.allowed

    def _release(self) -> None:
        with self._lock:
            self.open -= 1
            self._wake()

    def _wake(self) -> None:
        # In their order: a store that asked for few is not overtaken by one that asked for many.
        while self._waiting and self._fits(self._waiting[0].most):
            waiter = self._waiting.popleft()
            try:
                waiter.loop.call_soon_threadsafe(_set, waiter.ready)
            except RuntimeError:  # its loop is closed
                continue
            self.open += 1


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


_budgets: dict[str, Budget] = {}


def of(host: str) -> Budget:
    """Return the budget of a host in this process."""
    return _budgets.setdefault(host, Budget())
