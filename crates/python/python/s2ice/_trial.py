"""Which of two ways to read is quicker: both take turns where an estimate does not tell."""

from __future__ import annotations

from statistics import median
from threading import Lock

CLEAR = 10.0
"""So many times as quick by estimate, a way is taken without a trial: estimates are of reads of other sizes."""

TURN = 20
"""Reads of a turn. Those of the first half are among reads of the other way, which share the link with them."""

LONG = 160
"""Reads of the way that won, until the other one has a turn again."""


class Trial:
    """Reads of one kind of tile at one place: as a whole, or the parts that a window needs.

    An estimate is of single reads. What many at a time do to each other (a link, a processor) shows when all of them
    go the same way for a while.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._turn = 0
        self._parts: bool | None = None
        self._length = TURN
        self._reads: list[float] = []
        self._found: dict[bool, float] = {}

    def choose(self, whole: float, parts: float) -> tuple[bool, int | None]:
        """Tell whether to read parts, given estimates in seconds, and in which turn that is, if it is in one."""
        if whole >= parts * CLEAR or parts >= whole * CLEAR:
            return whole > parts, None
        with self._lock:
            if self._parts is None:
                self._parts = whole > parts
            return self._parts, self._turn

    def learn(self, turn: int, seconds: float) -> None:
        """Take note of how long a read took that began in a turn."""
        with self._lock:
            if turn != self._turn or self._parts is None:
                return
            self._reads.append(seconds)
            if len(self._reads) == self._length:
                self._found[self._parts] = median(self._reads[self._length // 2 :])
                self._next()

    def _next(self) -> None:
        self._turn += 1
        self._reads = []
        quicker = min(self._found, key=lambda way: self._found[way])
        if len(self._found) == 1 or (self._length == LONG and self._parts == quicker):
            self._parts, self._length = not self._parts, TURN
        else:
            self._parts, self._length = quicker, LONG
