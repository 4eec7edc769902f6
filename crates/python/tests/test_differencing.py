"""The filter of TIFF predictor 2: row by row, modulo the data type, in chains as stores have them."""

from __future__ import annotations

import copy
import json
import pickle
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

import s2ice
from s2ice.differencing import FILTER_NAME, HorizontalDifferencing

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPELINES = ["BatchedCodecPipeline", "FusedCodecPipeline"]
FILTER: dict[str, Any] = {"name": FILTER_NAME}


@pytest.fixture(params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> Iterator[str]:
    if not hasattr(zarr.core.codec_pipeline, request.param):
        pytest.skip(f"this zarr has no {request.param}")
    with zarr.config.set({"codec_pipeline.path": f"zarr.core.codec_pipeline.{request.param}"}):
        yield request.param


def array(
    shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, *codecs: dict[str, Any], fill: int = 0
) -> zarr.Array[Any]:
    """An array whose metadata say just that."""
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": {},
    }
    store = MemoryStore()
    sync(store.set("zarr.json", buffer(json.dumps(metadata).encode())))
    return zarr.open_array(store, mode="r+")


def buffer(data: bytes) -> Any:
    return default_buffer_prototype().buffer.from_bytes(data)


def put(into: zarr.Array[Any], key: str, data: bytes) -> None:
    sync(into.store.set(key, buffer(data)))


def tile(samples: np.ndarray[Any, Any], order: str) -> bytes:
    """A deflated tile with predictor 2, as libtiff writes (rows, columns, components)."""
    left = np.zeros_like(samples)
    left[:, 1:] = samples[:, :-1]
    return zlib.compress((samples - left).astype(samples.dtype.newbyteorder(order)).tobytes())


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_rows_begin_anew_and_sums_wrap_around(pipeline: str, dtype: str, order: str) -> None:
    samples = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (64, 48), dtype=dtype, endpoint=True)
    bytes_, deflate = {"name": "bytes", "configuration": {"endian": order}}, {"name": "numcodecs.zlib"}
    made = array((1, 64, 96), (1, 64, 48), dtype, FILTER, bytes_, deflate | {"configuration": {"level": 1}}, fill=9)
    put(made, "c/0/0/0", tile(samples[..., None], order[0].replace("l", "<").replace("b", ">")))
    assert np.array_equal(made[0, :, :48], samples)
    assert np.array_equal(made[0, 7:9, 13:48], samples[7:9, 13:48])
    assert (made[0, :, 48:] == 9).all(), "a missing chunk holds fill values, not differences"
    # Both ways.
    made[0, :, 48:] = samples[::-1]
    assert np.array_equal(made[0, :, 48:], samples[::-1])


def test_components_of_a_pixel_stand_side_by_side(pipeline: str) -> None:
    samples = np.random.default_rng(2).integers(0, 256, (32, 24, 3), dtype="u1")
    transpose = {"name": "transpose", "configuration": {"order": [0, 2, 3, 1]}}
    deflate = {"name": "numcodecs.zlib", "configuration": {"level": 1}}
    made = array((1, 3, 32, 24), (1, 3, 32, 24), "uint8", FILTER, transpose, {"name": "bytes"}, deflate)
    put(made, "c/0/0/0/0", tile(samples, "|"))
    assert np.array_equal(made[0], np.moveaxis(samples, -1, 0))


def test_what_it_cannot_be_is_refused() -> None:
    plain = {"name": "bytes", "configuration": {"endian": "little"}}
    for dtype in ("int16", "float32", "int8"):
        with pytest.raises(s2ice.CodecError, match=f"{FILTER_NAME}: the array's data type is"):
            array((4, 4), (4, 4), dtype, FILTER, plain)
    with pytest.raises(s2ice.CodecError, match="it has no configuration"):
        array((4, 4), (4, 4), "uint16", FILTER | {"configuration": {"axis": 0}}, plain)
    with pytest.raises(s2ice.CodecError, match="expected the codec"):
        HorizontalDifferencing.from_dict({"name": "numcodecs.delta"})


def test_it_is_a_value() -> None:
    codec = HorizontalDifferencing.from_dict(dict(FILTER))
    assert codec == HorizontalDifferencing() == pickle.loads(pickle.dumps(codec)) == copy.deepcopy(codec)
    assert codec.to_dict() == FILTER
    assert zarr.registry.get_codec_class(FILTER_NAME) is HorizontalDifferencing
