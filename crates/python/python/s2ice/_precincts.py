"""Reading the parts of a tile that a window needs, where that is cheaper than the tile.

The steps are a generator, so that one text serves Zarr's asynchronous and its synchronous pipeline. It yields either
ranges of the chunk, to be read at the same time, or a function to call; answers are sent back, and errors thrown.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import lru_cache, partial
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from s2ice._pace import reading
from s2ice._tile import tile_codec
from s2ice._trial import Trial
from s2ice.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Buffer, Callable, Generator

    from s2ice._pace import Chunk, Pace
    from s2ice._s2ice import TileCodec
    from s2ice._selection import Range

type Span = tuple[int, int] | None
"""Half-open range of a chunk; ``None`` for all of it."""

type Step = list[Span] | Callable[[], Any]
type Decode = Callable[[Buffer | list[tuple[int, Buffer]]], Any]

SHARES = (0.08, 0.3, 0.09, 0.027, 0.01)
"""Of a tile of reflectances, the share of its bytes that a first read asks for, by the resolutions left out. Where none
is, the packets of the lowest resolutions, which every window needs."""

CHEAP = 64 * 1024
"""Bytes that are read for nothing rather than in a second request."""

AT_MOST = 2
"""Requests beside the first one, unless the fewest bytes are asked for: requests are paid for, too."""


class Heads:
    """The heads of chunks that were read, SOT to PLT: about 100 bytes each, the latest ones."""

    def __init__(self, most: int = 1 << 14) -> None:
        self._heads: OrderedDict[str, bytes] = OrderedDict()
        self._most = most
        self._lock = Lock()

    def get(self, name: str | None) -> bytes | None:
        """Return the head of a chunk, if it is known."""
        with self._lock:
            head = self._heads.get(name or "")
            if head is not None:
                self._heads.move_to_end(name or "")
            return head

    def put(self, name: str | None, head: bytes) -> None:
        """Remember a head; that of a chunk without a name is not kept."""
        if name is not None:
            with self._lock:
                self._heads[name] = head
                if len(self._heads) > self._most:
                    self._heads.popitem(last=False)

    def drop(self, name: str | None) -> None:
        """Forget a head."""
        with self._lock:
            self._heads.pop(name or "", None)


heads = Heads()


@dataclass
class Tally:
    """Sizes of the tiles of one kind, as they were met."""

    codec: TileCodec
    reduce: int
    totals: deque[int] = field(default_factory=lambda: deque(maxlen=32))
    leads: deque[int] = field(default_factory=lambda: deque(maxlen=32))
    trials: WeakKeyDictionary[Pace, Trial] = field(default_factory=WeakKeyDictionary)
    """By the place that is read from."""

    @property
    def samples(self) -> int:
        """Samples of a whole tile, before resolutions are left out."""
        height, width = self.codec.chunk_shape
        return self.codec.components * height * width << 2 * self.reduce

    @property
    def total(self) -> float:
        """Bytes of a tile, on average; of reflectances, as long as none is known."""
        if self.totals:
            return sum(self.totals) / len(self.totals)
        return self.samples * (0.8 if self.codec.dtype.endswith("16") else 0.2)

    @property
    def first(self) -> int:
        """Bytes to ask for first."""
        if self.leads:
            # What nine of ten tiles need, or all where that is cheap.
            ordered = sorted(self.leads)
            lead = ordered[-1] if ordered[-1] <= CHEAP else ordered[len(ordered) * 9 // 10]
        else:
            lead = int(self.total * SHARES[min(self.reduce, len(SHARES) - 1)])
        return max(self.codec.head_bytes, lead)

    def share(self, window: tuple[Range, Range]) -> float:
        """Tell about which part of a tile's bytes a window needs."""
        if self.reduce:
            return SHARES[min(self.reduce, len(SHARES) - 1)]
        # Precincts are about a quarter of a tile wide; what comes first is needed in any case.
        lengths = zip(window, self.codec.chunk_shape, strict=True)
        rows, columns = (min(1, (high - low) / size + 0.25) for (low, high), size in lengths)
        return min(1, SHARES[0] + rows * columns)


@lru_cache(maxsize=512)
def tally_of(main_header: str, reduce: int) -> Tally:
    """Return what is known of the tiles of a configuration."""
    return Tally(tile_codec(main_header, reduce), reduce)


def read_window(tally: Tally, place: Chunk, window: tuple[Range, Range], decode: Decode) -> Generator[Step, Any, Any]:
    """Read what a window needs and decode it.

    Parameters
    ----------
    tally
        What is known of tiles of this kind.
    place
        Where the chunk lies.
    window
        Rows and columns of the chunk.
    decode
        Decodes the window from the whole chunk, or from parts with their offsets.

    Returns
    -------
    Any
        What `decode` returned; ``None`` for a chunk that is not in the store.
    """
    begin = perf_counter()
    turn: int | None = None
    try:
        chosen, head = reading(), heads.get(place.name)
        wanted, turn = _choose(tally, place, window, chosen, is_met=head is not None)
        parts = (yield from _parts(tally, place, window, chosen, head)) if wanted else None
        if parts == []:
            return None
        if parts:
            decoded = yield partial(decode, parts)
            _learn(tally, place, turn, begin)
            return decoded
    except CodecError:
        # The whole chunk tells what is wrong with it, or that only its packet lengths are.
        heads.drop(place.name)
        turn = None
    (chunk,) = yield [None]
    if chunk is None:
        return None
    decoded = yield partial(decode, chunk)
    tally.totals.append(len(chunk))
    _remember(tally, place.name, chunk, window)
    _learn(tally, place, turn, begin)
    return decoded


def _choose(
    tally: Tally, place: Chunk, window: tuple[Range, Range], chosen: str, *, is_met: bool
) -> tuple[bool, int | None]:
    """Tell whether to read parts of a chunk, whose head may be known, and in which turn of a trial."""
    # All of a chunk but a margin, as an edge tile is asked for, is all of it, too.
    if tally.share(window) == 1 or chosen == "fewest_requests" or place.size == 0:
        return False, None
    # An overview takes as many requests as the tile, mostly: the bytes decide, whatever they seem to cost.
    if chosen == "fewest_bytes" or is_met or tally.reduce:
        return True, None
    total = place.size or tally.total
    parts = place.pace.seconds(max(tally.first, tally.share(window) * total), 2)
    trial = tally.trials.setdefault(place.pace, Trial())
    return trial.choose(place.pace.seconds(total), parts)


def _learn(tally: Tally, place: Chunk, turn: int | None, begin: float) -> None:
    if turn is not None:
        tally.trials[place.pace].learn(turn, perf_counter() - begin)


def _parts(
    tally: Tally, place: Chunk, window: tuple[Range, Range], chosen: str, head: Any
) -> Generator[Step, Any, list[tuple[int, Buffer]] | None]:
    """Read the parts of a chunk; ``None`` where the whole is cheaper, or needed; none for a chunk that is missing."""
    codec, box = tally.codec, (*window[0], *window[1])
    pace, name = place.pace, place.name
    gap = 0 if chosen == "fewest_bytes" else pace.worth
    if head is None:
        plan: Any = codec.head_bytes if chosen == "fewest_bytes" else tally.first
        asked = 0
        while isinstance(plan, int):
            # At least doubled, so that no head takes many rounds. Icechunk refuses ranges that end beyond the chunk.
            asked = max(plan, 2 * asked)
            asked = min(asked, place.size or asked)
            try:
                (head,) = yield [(0, asked)]
            except Exception:
                if place.size is not None:
                    raise
                # Other stores may do so, too; the whole chunk tells whether it can be read.
                return None
            if head is None:
                return []
            plan = codec.plan(head, box, gap)
            if isinstance(plan, int) and (len(head) < asked or asked == place.size):
                # The chunk ends inside its head.
                return None
        if plan is None:
            return None
        heads.put(name, bytes(memoryview(head)[: plan[1]]))
    else:
        plan = codec.plan(head, box, gap)
    total, _, lead, ranges = plan
    tally.totals.append(total)
    tally.leads.append(lead)
    if chosen == "auto":
        ranges = _merged(ranges)
    if any(end > (place.size or end) for _, end in ranges):
        return None
    rest = sum(end - start for start, end in ranges)
    # Requests at the same time are an eighth each of one after the other, as for the gaps between ranges.
    if chosen == "auto" and not tally.reduce and pace.seconds(total) <= pace.seconds(rest, 1 + (len(ranges) - 1) / 8):
        return None
    read = yield list(ranges)
    if any(part is None for part in read):
        return None
    return [(0, head), *((start, part) for (start, _), part in zip(ranges, read, strict=True))]


def _merged(ranges: list[Range]) -> list[Range]:
    """Read over the smallest gaps, so that no window takes many requests."""
    out = list(ranges)
    while len(out) > AT_MOST:
        at = min(range(1, len(out)), key=lambda at: out[at][0] - out[at - 1][1])
        out[at - 1 : at + 1] = [(out[at - 1][0], out[at][1])]
    return out


def _remember(tally: Tally, name: str | None, chunk: Buffer, window: tuple[Range, Range]) -> None:
    if name is not None:
        head = memoryview(chunk)[: tally.codec.head_bytes]
        plan = tally.codec.plan(head, (*window[0], *window[1]))
        if isinstance(plan, tuple):
            heads.put(name, bytes(head[: plan[1]]))
