"""Whoever drives a run: hands its tiles to the engine and takes what comes back."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import distributed
from distributed import CancelledError, Client, Future

from s2ice import _s2ice
from s2ice.errors import S2iceError
from s2ice.fleet import _task

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = 30.0
"""Seconds to wait for a scheduler that is named by its address."""
PATIENCE = 300.0
"""Seconds to wait for one that is gone."""
GRACE = 60.0
"""Seconds in which tiles under way may stop."""


class Drive:
    """A run over a cluster."""

    def __init__(
        self,
        client: Client | str,
        run: _s2ice.FleetRun | _s2ice.FleetHousekeeping,
        source: tuple[str, str, str],
        task: Callable[..., str],
        given: Callable[[int], tuple[object, ...]],
        progress: Callable[[int, int, str], object] | None,
    ) -> None:
        """Prepare to have `task` done with each tile of `run`, by what `given` says of it.

        `source` is the file's path, the run's name and what is asked of it.
        """
        self._own = None
        if isinstance(client, str):
            client = self._own = connected(client, FIRST)
        self._client, self._address = client, client.scheduler.address
        path, self._name, wish = source
        self._run, self._task, self._given, self._progress = run, task, given, progress
        self._source = (path, run.text, self._name, wish, _s2ice.__version__)
        self._left = run.due()
        self._all = self._ended = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Workers forget the run, and give back what they have of the hosts.
        with suppress(Exception):
            distributed.Event(_task.ending(self._name), client=self._client).set()
        if self._own is not None:
            self._own.close()

    def all(self) -> None:
        """Have the work done with all tiles."""
        self._all = len(self._left)
        futures: dict[Future, int] = {}
        try:
            while self._left:
                futures = self._submit()
                self._take(futures)
                if self._left:
                    self._reconnect()
        except KeyboardInterrupt:
            self._stop(futures)
            raise

    def _submit(self) -> dict[Future, int]:
        source = self._client.submit(_task.source, *self._source, key=f"s2ice-file-{self._name}", pure=False)
        futures = {}
        for place, (number, tile, level) in enumerate(self._left):
            # Tasks of one name wait at the scheduler. Others would all be given to workers at once, and count as lost
            # with each worker that is.
            key = (f"s2ice-{self._name}", f"{tile} {level}")
            given = (source, number, *self._given(number))
            # Those in most need first, whatever the engine has beside.
            future = self._client.submit(self._task, *given, key=key, pure=False, priority=-place)
            futures[future] = number
        return futures

    def _take(self, futures: dict[Future, int]) -> None:
        """Take results as they come; what is left afterwards was lost with the scheduler."""
        for future in distributed.as_completed(list(futures), loop=self._client.loop, raise_errors=False):
            if future.status in ("cancelled", "lost"):
                continue
            try:
                self._tell(futures[future], future)
            except CancelledError:
                # The scheduler went between the word that there is a result and the result.
                continue
            del futures[future]
        left = set(futures.values())
        self._left = [due for due in self._left if due[0] in left]

    def _tell(self, number: int, future: Future) -> None:
        if future.status == "finished":
            self._told(number, word=future.result())
            return
        error: Any = future.exception()
        if isinstance(error, ModuleNotFoundError):
            raise S2iceError(f"the workers of {self._address} lack a package: {error}")
        if isinstance(error, S2iceError):
            raise error
        if isinstance(error, distributed.KilledWorker):
            reason = "its workers were lost several times in a row: they may lack memory for it"
        else:
            reason = f"{type(error).__name__}: {error}"
        self._told(number, lost=reason)

    def _told(self, number: int, **end: str) -> None:
        for line in self._run.ended(number, **end):
            self._ended += 1
            if self._progress is not None:
                self._progress(self._ended, self._all, line)

    def _reconnect(self) -> None:
        self._client = self._own = connected(self._address, PATIENCE)

    def _stop(self, futures: dict[Future, int]) -> None:
        """Tell the tiles under way to stop, and wait for what they say."""
        with suppress(Exception):
            distributed.Event(_task.ending(self._name), client=self._client).set()
            waiting = [future for future in futures if future.status == "pending"]
            distributed.wait(waiting, timeout=GRACE)
        for future, number in futures.items():
            with suppress(Exception):
                self._told(number, word=future.result(timeout=0.1) if future.status == "finished" else "stopped")


def connected(address: str, patience: float) -> Client:
    """Connect to the scheduler, which may be about to come back."""
    end = time.monotonic() + patience
    while True:
        try:
            return Client(address, timeout=min(5, patience), set_as_default=False)
        except (OSError, TimeoutError) as error:
            if time.monotonic() > end:
                raise S2iceError(f"no scheduler answers at {address}: {error}") from None
            time.sleep(1)
