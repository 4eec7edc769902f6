"""What a worker of the cluster does: one tile at a time, by what this process has of the run."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import distributed

from s2ice import _s2ice
from s2ice.errors import S2iceError
from s2ice.fleet._shares import Shares

_LOCK = threading.Lock()
_HERE: dict[str, Here] = {}
"""By the name of the run."""
_KEPT = 2
"""Runs that a process knows at a time."""


@dataclass(frozen=True)
class Source:
    """What all tiles of a run need: the file, the run's name and what is asked of it."""

    path: str
    text: str
    run: str
    wish: str
    version: str


def source(*parts: str) -> Source:
    """Make what tiles need: a task, so that the engine can do it again wherever it was lost."""
    return Source(*parts)


class Here:
    """A run in this process."""

    def __init__(self, given: Source, worker: distributed.Worker) -> None:
        self.worker = _s2ice.Worker(given.path, given.text, given.run, given.wish, shares=True)
        self.shares = Shares(self.worker, worker)
        self._ended = distributed.Event(ending(given.run), client=worker._get_client())
        threading.Thread(target=self._listen, name=f"s2ice run {given.run}", daemon=True).start()

    def _listen(self) -> None:
        """Wait until the run ends or is told to stop."""
        with suppress(Exception):
            while not self._ended.wait(timeout=30):
                pass
        self.worker.stop()
        self.shares.close()


def ending(run: str) -> str:
    """Name the event that ends a run."""
    return f"s2ice-end-{run}"


def _here(given: Source) -> Here:
    with _LOCK:
        found = _HERE.get(given.run)
        if found is None:
            if given.version != _s2ice.__version__:
                raise S2iceError(
                    f"this worker has s2ice {_s2ice.__version__}, and the run was begun by {given.version}: give both "
                    "the same"
                )
            found = _HERE[given.run] = Here(given, distributed.get_worker())
            while len(_HERE) > _KEPT:
                _HERE.pop(next(iter(_HERE)))
        return found


def tile(given: Source, number: int, deadline: float | None, heard: str | None) -> str:
    """Refresh a tile: what became of it, as JSON, or a word on why it was not begun."""
    if deadline is not None and time.time() >= deadline:
        return "late"
    return _here(given).worker.refresh(number, heard)


def store(given: Source, number: int, work: str) -> str:
    """Do housekeeping of a store: what became of it, as JSON."""
    return _here(given).worker.housekeep(number, work)
