"""Values of digital numbers: exact, and with little memory beside them."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

import s2ice
import tiles
from s2ice import _scaled
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from pathlib import Path

R10M = "measurements/reflectance/r10m"


@pytest.mark.parametrize("offset", [-0.1, 0.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_number_is_the_double_rounded_once(offset: float, dtype: str) -> None:
    numbers = np.arange(65_536, dtype="u2").reshape(256, 256)
    variable = xr.Variable(("y", "x"), numbers, {"scale_factor": 0.0001, "add_offset": offset, "_FillValue": 0})
    theirs = xr.conventions.decode_cf_variable("b04", variable.copy())
    mine = _scaled.decoded(xr.Dataset({"b04": variable}), np.dtype(dtype))["b04"]
    # xarray decodes numbers of 16 bits with an offset to float64; it is asked here for what this must be.
    wanted = np.where(numbers == 0, np.nan, numbers.astype("f8") * 0.0001 + offset)
    np.testing.assert_array_equal(mine, wanted.astype(dtype))
    np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert mine.dtype == dtype
    assert len(np.unique(mine.values[~np.isnan(mine.values)])) == 65_535
    assert not {"scale_factor", "add_offset", "_FillValue"} & set(mine.attrs)


def test_a_box_takes_three_times_its_stored_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scaled, "SLAB", 1 << 20)
    numbers = np.random.default_rng(0).integers(0, 10_000, (64, 256, 256), dtype="u2")
    variable = xr.Variable(("time", "y", "x"), numbers, {"scale_factor": 0.0001, "add_offset": -0.1, "_FillValue": 0})
    lazily = _scaled.decoded(xr.Dataset({"b04": variable}), np.dtype("f4"))["b04"]
    tracemalloc.start()
    loaded = lazily.values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert loaded.nbytes == 2 * numbers.nbytes
    # Twice for what is returned, the rest for a slab; what is stored is read slab by slab too.
    assert peak < 2.5 * numbers.nbytes


def test_types_of_what_is_opened(tmp_path: Path) -> None:
    store = tiles.write(
        tmp_path / "store", ["2024-05-01"], {"b04/10": tiles.numbers(1, 1, 10), "scl/20": tiles.classes(1, 1)}
    )
    kinds = {
        str(s2ice.open(store, R10M, **words).b04.dtype)
        for words in ({}, {"dtype": "f4"}, {"dtype": np.float32}, {"chunks": {}})
    }
    assert kinds == {"float32"}
    assert s2ice.open(store, R10M, dtype="float64").b04.dtype == "float64"
    assert s2ice.open(store, R10M, mask_and_scale=False).b04.dtype == "uint16"
    tree = s2ice.open(store)
    assert (tree[R10M].b04.dtype, tree["conditions/mask/l2a_classification/r20m"].scl.dtype) == ("float32", "uint8")
    for dtype in ("int16", "float16", "a number", None):
        with pytest.raises(RequestError, match="dtype is 'float32' or 'float64'"):
            s2ice.open(store, R10M, dtype=dtype)
