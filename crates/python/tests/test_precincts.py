"""Windows from the packets that they need: the same pixels, fewer bytes, and never slower."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import icechunk
import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore, WrapperStore

from s2ice import _pace, _precincts
from s2ice._trial import Trial
from s2ice.errors import RequestError
from support import Jp2, chunk_key, metadata, write_array

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class Counted(WrapperStore[Any]):
    """Keeps the ranges that were asked of chunks."""

    _supports_sync_io = False

    def __init__(self, store: Any, asked: list[tuple[Any, int]] | None = None) -> None:
        super().__init__(store)
        self.asked = [] if asked is None else asked

    def _with_store(self, store: Any) -> Counted:
        return type(self)(store, self.asked)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        found = await super().get(key, prototype, byte_range)
        if not key.endswith("zarr.json") and found is not None:
            self.asked.append((byte_range, len(found)))
        return found

    def taken(self) -> tuple[int, int]:
        """Requests and bytes since the last call."""
        taken = len(self.asked), sum(size for _, size in self.asked)
        self.asked.clear()
        return taken


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of any place or tile."""
    monkeypatch.setattr(_pace, "_paces", {})
    monkeypatch.setattr(_precincts, "heads", _precincts.Heads())
    _precincts.tally_of.cache_clear()


@pytest.fixture(params=["auto", "fewest_bytes", "fewest_requests"])
def reading(request: pytest.FixtureRequest) -> Iterator[str]:
    with zarr.config.set({"s2ice.reading": request.param}):
        yield request.param


def in_icechunk(jp2: Jp2, **kwargs: Any) -> Counted:
    """The array in a session that cannot change."""
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    buffer = default_buffer_prototype().buffer

    async def write() -> None:
        await session.store.set("zarr.json", buffer.from_bytes(json.dumps(metadata(jp2, **kwargs)).encode()))
        for tile in jp2.tiles:
            await session.store.set(chunk_key(jp2, 0, tile), buffer.from_bytes(jp2.chunk(tile)))

    asyncio.run(write())
    session.commit("tiles")
    return Counted(repository.readonly_session("main").store)


@pytest.mark.parametrize("place", ["folder", "icechunk"])
def test_random_windows(made: Jp2, tmp_path: Path, place: str, reading: str) -> None:
    store = in_icechunk(made) if place == "icechunk" else Counted(LocalStore(write_array(tmp_path / "band", made)))
    array = zarr.open_array(store, mode="r")
    pixels = made.pixels()
    rng = np.random.default_rng(5)
    whole = sum(made.tiles[tile][1] for tile in made.tiles) / len(made.tiles)
    for _ in range(60):
        y, x = rng.integers(made.height), rng.integers(made.width)
        window = np.s_[y : y + rng.integers(1, 30), x : x + rng.integers(1, 30)]
        np.testing.assert_array_equal(array[(0, *window)], pixels[window])
    requests, size = store.taken()
    tiles = size / whole
    assert {"fewest_bytes": tiles < 0.3 * requests, "fewest_requests": tiles > 0.8 * requests, "auto": True}[reading]
    np.testing.assert_array_equal(array[0], pixels)
    assert store.taken()[0] == len(made.tiles)
    assert not array[1, 3:9, 5:6].any()


class Strict(Counted):
    """Refuses ranges beyond the end, and does not tell what it wraps."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        found = await super().get(key, prototype, byte_range)
        if found is not None and byte_range is not None and len(found) < byte_range.end - byte_range.start:
            raise ValueError("out of bounds")
        return found


def test_stores_that_refuse_ranges_beyond_the_end(made: Jp2, tmp_path: Path) -> None:
    store = Strict(LocalStore(write_array(tmp_path / "band", made)))
    array = zarr.open_array(store, mode="r")
    tally = _precincts.tally_of(made.main_header, 0)
    tally.totals.append(1 << 20)
    tally.leads.append(1 << 17)
    np.testing.assert_array_equal(array[0, 3:5, 3:5], made.pixels()[3:5, 3:5])
    assert [asked is None for asked, _ in store.asked] == [False, True]


def test_lengths_of_packets_are_remembered(made: Jp2) -> None:
    store = in_icechunk(made)
    array = zarr.open_array(store, mode="r")
    with zarr.config.set({"s2ice.reading": "fewest_bytes"}):
        np.testing.assert_array_equal(array[0, 3:5, 3:5], made.pixels()[3:5, 3:5])
        assert store.asked[0][0].start == 0
        first = store.taken()
        np.testing.assert_array_equal(array[0, 3:5, 3:5], made.pixels()[3:5, 3:5])
        assert all(asked.start > 0 for asked, _ in store.asked)
        again = store.taken()
    assert again[0] == first[0] - 1
    assert again[1] < first[1] < made.tiles[0][1]


def test_what_may_change_is_not_remembered(made: Jp2, made_again: Jp2, tmp_path: Path) -> None:
    folder = write_array(tmp_path / "band", made)
    array = zarr.open_array(LocalStore(folder, read_only=True), mode="r")
    with zarr.config.set({"s2ice.reading": "fewest_bytes"}):
        np.testing.assert_array_equal(array[0, 3:5, 3:5], made.pixels()[3:5, 3:5])
        (folder / chunk_key(made, 0, 0)).write_bytes(made_again.chunk(0))
        np.testing.assert_array_equal(array[0, 3:5, 3:5], made_again.pixels()[3:5, 3:5])


def test_the_whole_tile_is_read_where_packet_lengths_lie(made: Jp2, tmp_path: Path) -> None:
    chunk = bytearray(made.chunk(5))
    # Two neighbours of two bytes each change places, so that their sum stays.
    at = 17
    while chunk[at] < 0x80 or chunk[at + 2] < 0x80 or chunk[at : at + 2] == chunk[at + 2 : at + 4]:
        at += 1 if chunk[at] < 0x80 else 2
    chunk[at : at + 4] = chunk[at + 2 : at + 4] + chunk[at : at + 2]
    folder = write_array(tmp_path / "band", made)
    (folder / chunk_key(made, 0, 5)).write_bytes(chunk)
    store = Counted(LocalStore(folder))
    array = zarr.open_array(store, mode="r")
    row, column = (n * 80 for n in divmod(5, made.grid[1]))
    with zarr.config.set({"s2ice.reading": "fewest_bytes"}):
        window = np.s_[row : row + 70, column : column + 70]
        np.testing.assert_array_equal(array[(0, *window)], made.pixels()[window])
    assert store.asked[-1][0] is None


def test_first_reads_of_views_hold_what_they_need(made: Jp2) -> None:
    store = in_icechunk(made, reduce=1)
    array = zarr.open_array(store, mode="r")
    np.testing.assert_array_equal(array[0], made.pixels(OVERVIEW_LEVEL=0))
    store.taken()
    # Now the heads are known.
    np.testing.assert_array_equal(array[0], made.pixels(OVERVIEW_LEVEL=0))
    requests, size = store.taken()
    assert requests == len(made.tiles)
    assert size < 0.5 * sum(length for _, length in made.tiles.values())


@pytest.mark.parametrize("reduce", [1, 2])
def test_no_view_takes_whole_tiles_however_cheap_bytes_seem(
    made: Jp2, reduce: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after as many reads as a trial of two ways would have."""
    store = in_icechunk(made, reduce=reduce)
    array = zarr.open_array(store, mode="r")
    free = pace(0.02, 1e12)
    monkeypatch.setattr(_pace, "pace_of", lambda _: free)
    expected = made.pixels(OVERVIEW_LEVEL=reduce - 1)
    total = sum(length for _, length in made.tiles.values())
    shares = []
    for _ in range(12):
        monkeypatch.setattr(_precincts, "heads", _precincts.Heads())
        store.taken()
        np.testing.assert_array_equal(array[0], expected)
        shares.append(store.taken()[1] / total)
    assert max(shares[1:]) < (0.6, 0.4)[reduce - 1], shares


def pace(answer: float, per_second: float) -> _pace.Pace:
    """A place that answers so late and sends so many bytes."""
    place = _pace.Pace()
    for size in (300, 900_000, 40_000, 100, 500_000) * 4:
        place.learn(size, answer + size / per_second)
    return place


@pytest.mark.parametrize(
    ("answer", "per_second", "rounds"),
    [(0.0005, 2e9, 1), (0.03, 50e6, 1), (0.1, 10e6, 1), (0.02, 5e6, 2), (0.001, 100e6, 2)],
)
def test_the_cheaper_way_is_taken(answer: float, per_second: float, rounds: int) -> None:
    """A tile of 0.9 MB, of which a window needs a fifth."""
    place = pace(answer, per_second)
    assert place.seconds(900_000) == pytest.approx(answer + 900_000 / per_second, rel=0.2)
    assert (place.seconds(900_000) > place.seconds(180_000, 2)) == (rounds == 2)


def test_an_unknown_way_of_reading_is_refused(made: Jp2) -> None:
    array = zarr.open_array(in_icechunk(made), mode="r")
    with zarr.config.set({"s2ice.reading": "quickly"}), pytest.raises(RequestError, match="one of auto, fewest"):
        array[0, 3, 3]


def test_the_quicker_way_wins_and_the_other_has_its_turns() -> None:
    costs = {True: 3.0, False: 2.0}
    trial = Trial()
    taken = []
    for _ in range(2000):
        way, turn = trial.choose(5.0, 4.0)
        taken.append(way)
        assert turn is not None
        trial.learn(turn, costs[way])
        # A read of a turn that is over tells nothing.
        trial.learn(turn - 1, 0.0)
        if len(taken) == 1000:
            costs[True] = 1.0
    assert taken[:40] == [True] * 20 + [False] * 20, "what the estimate says goes first"
    assert 0.85 < taken[:1000].count(False) / 1000 < 0.95
    assert taken[1200:].count(True) / 800 > 0.85
    assert trial.choose(100.0, 1.0) == (True, None)
    assert trial.choose(1.0, 100.0) == (False, None)
