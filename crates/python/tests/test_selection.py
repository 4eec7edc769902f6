"""The bounding box of a selection gives the same values as the selection itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from s2ice._selection import bounds

SHAPE = (1, 3, 20, 30)
ARRAY = np.arange(np.prod(SHAPE)).reshape(SHAPE)
EVERY = slice(None)
MASK = np.arange(30) % 7 == 3
SELECTIONS: dict[str, Any] = {
    "nothing said": (),
    "whole": (EVERY, EVERY, EVERY, EVERY),
    "slices": (slice(0, 1), slice(1, 3), slice(4, 9), slice(7, 8)),
    "steps": (EVERY, slice(0, 3, 2), slice(3, 20, 5), slice(29, None, 3)),
    "backwards": (EVERY, EVERY, slice(18, 2, -4), slice(None, None, -1)),
    "from the end": (EVERY, EVERY, slice(-5, -2), -3),
    "integers": (0, 2, 5, 7),
    "fewer axes": (0, slice(1, 2)),
    "empty slice": (EVERY, EVERY, slice(5, 5), EVERY),
    "one array": (EVERY, EVERY, EVERY, np.array([17, 3, 3, 29])),
    "points": (np.array([0, 0, 0]), np.array([2, 0, 1]), np.array([19, 4, 4]), np.array([3, 28, 28])),
    "orthogonal": np.ix_([0], [2, 0], [15, 3, 8], [1, 29]),
    "grid of points": (0, 1, np.array([[3, 4], [9, 5]]), np.array([[8, 8], [2, 20]])),
    "negative indices": (EVERY, EVERY, np.array([-1, -20, 4]), EVERY),
    "mask": (EVERY, EVERY, slice(2, 6), MASK),
    "empty mask": (EVERY, EVERY, EVERY, np.zeros(30, bool)),
    "empty array": (EVERY, EVERY, np.array([], np.int64), EVERY),
    "newaxis": (0, None, 0, slice(3, 5), 4),
    "ellipsis": (..., slice(3, 5)),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_box_then_shifted_equals_selection(name: str) -> None:
    selection = SELECTIONS[name]
    box, shifted = bounds(selection, SHAPE)
    cut = ARRAY[tuple(slice(*ends) for ends in box)]
    np.testing.assert_array_equal(cut[shifted], ARRAY[selection])


def test_box_is_as_small_as_it_can_be() -> None:
    box, _ = bounds((0, slice(0, 3, 2), slice(3, 20, 5), np.array([17, 3, 3, 29])), SHAPE)
    assert box == ((0, 1), (0, 3), (3, 19), (3, 30))


def test_random_selections() -> None:
    rng = np.random.default_rng(5)

    def one(n: int) -> Any:
        a, b = sorted(rng.integers(0, n + 1, 2).tolist())
        kind = rng.integers(4)
        if kind == 0:
            return slice(a, b, int(rng.integers(1, 5)))
        if kind == 1:
            return int(rng.integers(-n, n))
        return EVERY if kind == 2 else slice(a, None)

    for _ in range(300):
        selection = tuple(one(n) for n in SHAPE)
        box, shifted = bounds(selection, SHAPE)
        cut = ARRAY[tuple(slice(*ends) for ends in box)]
        np.testing.assert_array_equal(cut[shifted], ARRAY[selection])


@pytest.mark.parametrize("index", [20, -21, np.array([3, 20])])
def test_out_of_range(index: Any) -> None:
    with pytest.raises(IndexError, match="axis of 20"):
        bounds((0, 0, index, 0), SHAPE)
