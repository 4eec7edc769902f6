"""A host's limits, held by a whole cluster: each process asks the engine's semaphore for the connections that it wants.

A process has as many leases as it has requests under way or waiting, as far as there are any, and of the requests per
second the same part. It lets go of a lease when it needs it no longer, and every few seconds where all are taken, so
that others have their turn. The leases of a process that is lost run out by themselves.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dask
import distributed
from dask.utils import parse_timedelta

if TYPE_CHECKING:
    from s2ice import _s2ice

_LOG = logging.getLogger("distributed.worker.s2ice")

TICK = 0.02
"""Seconds between two looks at what is wanted."""
TURN = 5.0
"""Seconds after which a lease is let go of where others may wait."""
IDLE = 0.25
"""Seconds for which a lease is kept that is not used."""
LEASE = "distributed.scheduler.locks.lease-timeout"
"""How long the scheduler keeps leases of which it hears nothing, in dask's configuration."""
DAY = 24 * 3600


class Shares:
    """What this process has of all hosts with limits."""

    def __init__(self, budgets: _s2ice.Worker, worker: distributed.Worker) -> None:
        self._budgets, self._worker = budgets, worker
        self._closed = threading.Event()
        self._shares: dict[str, _Share] = {}
        threading.Thread(target=self._run, name="s2ice shares", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        try:
            while not self._closed.wait(TICK):
                self._look()
        except Exception:
            # Nobody would be granted anything any more: better no tiles than tiles that wait for ever.
            _LOG.exception("s2ice: limits of hosts can no longer be shared; the tiles of this worker are stopped")
            self._budgets.stop()
        for share in self._shares.values():
            share.close()

    def _look(self) -> None:
        for origin, (limits, *demand) in self._budgets.demands().items():
            share = self._shares.get(origin)
            if share is None or share.limits != limits:
                if share is not None:
                    share.close()
                share = self._shares[origin] = _Share(origin, limits, self._budgets, self._worker)
            share.demand = demand


class _Share:
    """What this process has of one host."""

    def __init__(self, origin: str, limits: Any, budgets: _s2ice.Worker, worker: distributed.Worker) -> None:
        self.origin, self.limits, self.demand = origin, limits, [0, 0, 0]
        self._budgets = budgets
        self._most, _, self._per_day = limits
        self._leases = distributed.Semaphore(
            max_leases=self._most, name=f"s2ice {origin} {self._most}", scheduler_rpc=worker.scheduler, loop=worker.loop
        )
        self._account = _Account(origin, self._per_day, worker) if self._per_day else None
        self._held: list[float] = []
        # After so long without word of the scheduler nothing may be used: others may have the leases soon.
        kept = dask.config.get(LEASE)
        self._silence = math.inf if kept == "inf" else parse_timedelta(kept) / 2
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"s2ice share of {origin}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()

    def _grant(self, connections: int) -> None:
        account = self._account
        spent = account is not None and account.is_spent
        self._budgets.grant(self.origin, connections, account.granted if account else None, spent)

    def _run(self) -> None:
        used = heard = time.monotonic()
        while not self._closed.wait(TICK):
            in_use, waiting, received = self.demand
            now = time.monotonic()
            wanted = min(in_use + waiting, self._most)
            try:
                if self._account is not None and wanted and self._account.extend(received):
                    self._grant(len(self._held))
                if wanted > len(self._held):
                    used = now
                    if self._leases.acquire(timeout=0.5):
                        self._held.append(time.monotonic())
                        self._grant(len(self._held))
                    heard = time.monotonic()
                elif wanted == len(self._held) > 0:
                    used = now
                    if now - self._held[0] > TURN and self._leases.get_value() >= self._most:
                        self._let_go()
                elif self._held and now - used > IDLE:
                    self._let_go()
                if self._held and now - heard > self._silence / 3:
                    self._leases.get_value()
                    heard = time.monotonic()
            except Exception:  # Whatever the scheduler's silence looks like.
                if now - heard > self._silence:
                    self._grant(0)
                time.sleep(1)
        self._grant(0)
        with suppress(Exception):
            while self._held:
                self._let_go()
            if self._account is not None:
                self._account.close(self.demand[2])

    def _let_go(self) -> None:
        """Give one lease back, as soon as no request needs it."""
        left = len(self._held) - 1
        self._grant(left)
        end = time.monotonic() + 600
        while self._budgets.demands()[self.origin][1] > left and time.monotonic() < end:
            time.sleep(TICK)
        self._leases.release()
        self._held.pop(0)


class _Account:
    """Bytes of a day: what all processes took, in a variable of the engine. What a lost one took counts as used."""

    def __init__(self, origin: str, per_day: int, worker: distributed.Worker) -> None:
        self._per_day = per_day
        self._part = max(per_day // 64, 1)
        name = f"s2ice bytes {origin}"
        self._lock = distributed.Lock(name, scheduler_rpc=worker.scheduler, loop=worker.loop)
        self._taken = distributed.Variable(name, client=worker._get_client())
        self.granted = 0
        self.is_spent = False

    def _change(self, amount: int) -> int:
        """Take an amount, or as much as is left of it; a negative one is given back."""
        with self._lock:
            try:
                start, taken = self._taken.get(timeout=0.1)
            except TimeoutError:
                start, taken = time.time(), 0
            if time.time() - start > DAY:
                start, taken = time.time(), 0
            amount = min(amount, self._per_day - taken)
            self._taken.set((start, taken + amount))
            return amount

    def extend(self, received: int) -> bool:
        """Take more where what was taken is used up; true where anything changed."""
        if received < self.granted or self.is_spent:
            return False
        amount = self._change(self._part)
        self.granted += amount
        self.is_spent = amount <= 0
        return True

    def close(self, received: int) -> None:
        """Give back what was not used."""
        if self.granted > received:
            self._change(received - self.granted)
