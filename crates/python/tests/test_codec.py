"""The Zarr 3 codec: every way of reading gives GDAL's pixels."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
import zarr.api.asynchronous
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import s2ice
from s2ice._s2ice import TileCodec
from s2ice.codec import Jpeg2000Codec
from support import CODEC, Jp2, chunk_key, metadata, write_array

if TYPE_CHECKING:
    from collections.abc import Buffer, Callable, Iterator
    from pathlib import Path

PIPELINES = {
    "batched": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "fused": "zarr.core.codec_pipeline.FusedCodecPipeline",
}


class AsyncOnly(WrapperStore[Any]):
    """A store as Icechunk's: no synchronous reads."""

    _supports_sync_io = False


@pytest.fixture(params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> Iterator[str]:
    if not hasattr(zarr.core.codec_pipeline, PIPELINES[request.param].rpartition(".")[2]):
        pytest.skip(f"this zarr has no {request.param} pipeline")
    with zarr.config.set({"codec_pipeline.path": PIPELINES[request.param]}):
        yield request.param


@pytest.fixture(params=["sync store", "async store"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return request.param == "async store"


def open_array(folder: Path, is_async: bool = False) -> zarr.Array[Any]:
    store = LocalStore(folder, read_only=True)
    return zarr.open_array(AsyncOnly(store) if is_async else store, mode="r")


@pytest.fixture(scope="session")
def folder(made: Jp2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made file at time 0 without its tile 4; nothing at time 1. The fill value is 7."""
    return write_array(tmp_path_factory.mktemp("zarr") / "band", made, fill=7, leave_out=frozenset({4}))


@pytest.fixture(scope="session")
def expected(made: Jp2) -> np.ndarray[Any, Any]:
    pixels = np.stack([made.pixels(), np.full((made.height, made.width), 7, "uint16")])
    pixels[0, 80:160, 80:160] = 7
    return pixels


def test_whole_array(folder: Path, expected: np.ndarray[Any, Any], pipeline: str, is_async: bool) -> None:
    array = open_array(folder, is_async)
    assert type(array._async_array.codec_pipeline).__name__.lower().startswith(pipeline)
    np.testing.assert_array_equal(array[:], expected)


SELECTIONS: dict[str, Any] = {
    "pixel": (0, 17, 203),
    "window in a tile": (0, slice(85, 95), slice(3, 20)),
    "window over tiles": (slice(0, 1), slice(60, 250), slice(70, 230)),
    "steps": (slice(None), slice(3, 300, 7), slice(1, None, 90)),
    "edge": (0, slice(-5, None), slice(-5, None)),
    "missing time": (1, slice(0, 9), slice(0, 9)),
    "empty": (0, slice(9, 9), slice(None)),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_basic(name: str, folder: Path, expected: np.ndarray[Any, Any], pipeline: str, is_async: bool) -> None:
    selection = SELECTIONS[name]
    np.testing.assert_array_equal(open_array(folder, is_async)[selection], expected[selection])


def test_fancy(folder: Path, expected: np.ndarray[Any, Any], pipeline: str, is_async: bool) -> None:
    array = open_array(folder, is_async)
    rng = np.random.default_rng(1)
    t, y, x = rng.integers(0, 2, 40), rng.integers(0, 300, 40), rng.integers(0, 230, 40)
    np.testing.assert_array_equal(array.vindex[t, y, x], expected[t, y, x])
    rows, columns = [299, 3, 81, 82], [0, 229, 100]
    np.testing.assert_array_equal(array.oindex[0, rows, columns], expected[0][np.ix_(rows, columns)])
    mask = expected > 15000
    np.testing.assert_array_equal(array.vindex[mask], expected[mask])
    keep = np.arange(230) % 50 == 3
    np.testing.assert_array_equal(array.oindex[0, :, keep], expected[0][:, keep])
    np.testing.assert_array_equal(array.blocks[0, 3, 2], expected[0:1, 240:300, 160:230])


def test_components(made_rgb: Jp2, tmp_path: Path, pipeline: str, is_async: bool) -> None:
    array = open_array(write_array(tmp_path / "rgb", made_rgb, fill=255), is_async)
    pixels = made_rgb.pixels()
    assert array.shape == (2, 3, 300, 230)
    np.testing.assert_array_equal(array[0], pixels)
    np.testing.assert_array_equal(array[0, 2, 70:90, 5], pixels[2, 70:90, 5])
    np.testing.assert_array_equal(array[0, ::2, 290:, 220:], pixels[::2, 290:, 220:])
    assert (array[1] == 255).all()


def test_reduce(made_plain: Jp2, tmp_path: Path, pipeline: str) -> None:
    for reduce, packets in ((1, 2), (2, 1)):
        folder = tmp_path / str(reduce)
        folder.mkdir()
        (folder / "zarr.json").write_text(json.dumps(metadata(made_plain, reduce=reduce)))
        for tile in made_plain.tiles:
            path = folder / chunk_key(made_plain, 0, tile)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made_plain.prefix(tile, packets))
        array = open_array(folder)
        pixels = made_plain.pixels(overview_level=reduce - 1)
        np.testing.assert_array_equal(array[0], pixels)
        np.testing.assert_array_equal(array[0, 30:50:3, 17:45], pixels[30:50:3, 17:45])


def test_async_api(folder: Path, expected: np.ndarray[Any, Any]) -> None:
    async def read() -> list[Any]:
        array = await zarr.api.asynchronous.open_array(store=LocalStore(folder, read_only=True), mode="r")
        return await asyncio.gather(*(array.getitem((0, slice(y, y + 9), slice(None))) for y in range(0, 300, 60)))

    for y, rows in zip(range(0, 300, 60), asyncio.run(read()), strict=True):
        np.testing.assert_array_equal(rows, expected[0, y : y + 9])


def test_edge_tiles_are_padded_with_the_fill_value(made: Jp2) -> None:
    codec = TileCodec(made.main_header)
    out = np.zeros((80, 80), "uint16")
    codec.decode(made.chunk(11), out.view("u1"), 9)
    np.testing.assert_array_equal(out[:60, :70], made.pixels()[240:, 160:])
    assert (out[60:] == 9).all()
    assert (out[:, 70:] == 9).all()
    window = np.zeros((12, 25), "uint16")
    codec.decode(made.chunk(11), window.view("u1"), 9, (52, 64, 50, 75))
    np.testing.assert_array_equal(window, out[52:64, 50:75])


@pytest.mark.skipif(not hasattr(zarr.errors, "ChunkNotFoundError"), reason="this zarr always fills")
def test_missing_chunks_are_reported_missing(folder: Path) -> None:
    with zarr.config.set({"array.read_missing_chunks": False}):
        array = open_array(folder)
        assert array[0, :80, :80].any()
        with pytest.raises(zarr.errors.ChunkNotFoundError):
            array[1, :80, :80]


@pytest.mark.parametrize("damage", ["cut", "empty", "other tile", "no tile", "flipped"])
def test_damaged_chunk_is_an_error(damage: str, made: Jp2, tmp_path: Path, pipeline: str) -> None:
    folder = write_array(tmp_path / "band", made)
    path = folder / chunk_key(made, 0, 0)
    good = path.read_bytes()
    bad = {
        "cut": good[: len(good) // 2],
        "empty": b"",
        "other tile": good[:4] + b"\xff\x00" + good[6:],
        "no tile": b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>",
        "flipped": good[:12] + bytes(reversed(good[12:])),
    }[damage]
    path.write_bytes(bad)
    array = open_array(folder)
    with pytest.raises(s2ice.CodecError):
        array[0, :80, :80]
    with pytest.raises(s2ice.CodecError):
        array[0, 75, 75]
    np.testing.assert_array_equal(array[0, 80:, :], made.pixels()[80:])


def test_reading_does_not_need_s2ice_imported(folder: Path, expected: np.ndarray[Any, Any]) -> None:
    script = (
        "import sys, zarr\n"
        f"array = zarr.open_array({str(folder)!r}, mode='r')\n"
        "assert 'xarray' not in sys.modules and 'icechunk' not in sys.modules\n"
        "print(int(array[0, 10:20, 10:20].astype('u8').sum()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == expected[0, 10:20, 10:20].astype("u8").sum()


def test_metadata_is_kept_as_it_came(made: Jp2, folder: Path) -> None:
    codec = open_array(folder).metadata.to_dict()["codecs"]
    assert codec == ({"name": CODEC, "configuration": {"main_header": made.main_header, "reduce": 0}},)
    entry = metadata(made)["codecs"][0]
    assert Jpeg2000Codec.from_dict(entry).to_dict() == entry
    del entry["configuration"]["reduce"]
    assert Jpeg2000Codec.from_dict(entry).reduce == 0


def open_with(made: Jp2, tmp_path: Path, changes: dict[str, Any]) -> Any:
    (tmp_path / "zarr.json").write_text(json.dumps(metadata(made) | changes))
    return zarr.open_array(tmp_path, mode="r")


@pytest.mark.parametrize("chunks", [[1, 64, 80], [2, 80, 80], [1, 80, 160]])
def test_wrong_chunks_are_refused_at_open(chunks: list[int], made: Jp2, tmp_path: Path) -> None:
    grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    with pytest.raises(s2ice.CodecError, match=rf"chunks are \({chunks[0]}, {chunks[1]}.* 1 x 80 x 80"):
        open_with(made, tmp_path, {"chunk_grid": grid})


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_wrong_dtype_is_refused_at_open(dtype: str, made: Jp2, tmp_path: Path) -> None:
    with pytest.raises(s2ice.CodecError, match=rf"data type is {dtype}.*describes uint16"):
        open_with(made, tmp_path, {"data_type": dtype})


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({}, "main_header must be"),
        ({"main_header": 3}, "main_header must be"),
        ({"main_header": "AAAA", "colour": 1}, "unknown configuration colour"),
        ({"main_header": "AAAA", "reduce": True}, "reduce must be an integer"),
        ({"main_header": "AAAA", "reduce": -1}, "reduce must be 0 to 32"),
        ({"main_header": "no base64!"}, "base64"),
        ({"main_header": "AAAA"}, "SOC"),
    ],
)
def test_bad_configuration(configuration: dict[str, Any], message: str, made: Jp2, tmp_path: Path) -> None:
    with pytest.raises(s2ice.CodecError, match=message):
        open_with(made, tmp_path, {"codecs": [{"name": CODEC, "configuration": configuration}]})


def test_writing_is_refused(made: Jp2, folder: Path) -> None:
    store = MemoryStore()
    text = json.dumps(metadata(made)).encode()
    zarr.core.sync.sync(store.set("zarr.json", default_buffer_prototype().buffer.from_bytes(text)))
    array = zarr.open_array(store, mode="r+")
    with pytest.raises(s2ice.CodecError, match="only decodes"):
        array[0, :80, :80] = 1


def test_output_buffer_is_checked(made: Jp2) -> None:
    codec = TileCodec(made.main_header)
    assert (codec.components, codec.chunk_shape, codec.dtype) == (1, (80, 80), "uint16")
    for out in (np.zeros(10, "u1"), np.zeros(80 * 80 * 2 + 1, "u1")):
        with pytest.raises(s2ice.CodecError):
            codec.decode(made.chunk(0), out)
    with pytest.raises(s2ice.CodecError, match="read-only"):
        codec.decode(made.chunk(0), bytes(80 * 80 * 2))
    with pytest.raises(s2ice.CodecError, match="contiguous"):
        codec.decode(made.chunk(0), np.zeros((80 * 80 * 2, 2), "u1")[:, 0])
    for window in ((0, 81, 0, 80), (5, 4, 0, 80)):
        with pytest.raises(s2ice.CodecError):
            codec.decode(made.chunk(0), np.zeros(80 * 80 * 2, "u1"), 0, window)
    with pytest.raises(s2ice.CodecError):
        codec.decode(made.chunk(0), np.zeros(80 * 80 * 2, "u1"), fill=70000)


def as_bytearray(data: bytes) -> tuple[Buffer, memoryview]:
    base = bytearray(data)
    return base, memoryview(base)


def as_memoryview(data: bytes) -> tuple[Buffer, memoryview]:
    base = memoryview(bytearray(data))
    return base, base


def as_read_only_view(data: bytes) -> tuple[Buffer, memoryview]:
    base = memoryview(bytearray(data))
    return base.toreadonly(), base


def as_array(data: bytes) -> tuple[Buffer, memoryview]:
    base = np.frombuffer(data, "u1").copy()
    return base, base.data


def as_read_only_array(data: bytes) -> tuple[Buffer, memoryview]:
    base = np.frombuffer(data, "u1").copy()
    view = base.view()
    view.flags.writeable = False
    return view, base.data


LENT = [as_bytearray, as_memoryview, as_read_only_view, as_array, as_read_only_array]


@pytest.mark.parametrize("lend", LENT)
def test_a_chunk_changed_after_decoding_does_not_matter(
    lend: Callable[[bytes], tuple[Buffer, memoryview]], made: Jp2
) -> None:
    data, want = made.chunk(0), made.pixels()[:80, :80]
    codec, out = TileCodec(made.main_header), np.zeros((80, 80), "uint16")
    chunk, base = lend(data)
    codec.decode(chunk, out.view("u1"))
    assert base == data
    base[:] = bytes(len(data))
    np.testing.assert_array_equal(out, want)
    # What is decoded next is what the buffer holds by then.
    with pytest.raises(s2ice.CodecError):
        codec.decode(chunk, out.view("u1"))
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("lend", LENT)
def test_a_chunk_changed_while_decoding_does_not_matter(
    lend: Callable[[bytes], tuple[Buffer, memoryview]], made: Jp2
) -> None:
    # Both contents decode, so whatever moment the copy is taken at, one of the two must come out and no mixture.
    first, second = made.chunk(0), made.chunk(1)
    length = max(len(first), len(second))
    codec, wants = TileCodec(made.main_header), [made.pixels()[:80, :80], made.pixels()[:80, 80:160]]
    chunk, base = lend(first.ljust(length, b"\0"))
    lengths = [len(first), len(second)]
    contents = [first.ljust(length, b"\0"), second.ljust(length, b"\0")]
    view, stop = memoryview(chunk), threading.Event()

    def change() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            base[:] = contents[turn % 2]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for turn in range(200):
            out = np.zeros((80, 80), "uint16")
            try:
                codec.decode(view[: lengths[turn % 2]], out.view("u1"))
            except s2ice.CodecError:
                # The other content, cut at this one's length.
                assert not out.any()
                continue
            assert any(np.array_equal(out, want) for want in wants)
    finally:
        stop.set()
        thread.join()
    base[:] = contents[0]
    out = np.zeros((80, 80), "uint16")
    codec.decode(view[: lengths[0]], out.view("u1"))
    np.testing.assert_array_equal(out, wants[0])


def test_the_output_is_written_at_once_or_not_at_all(made: Jp2) -> None:
    codec, want = TileCodec(made.main_header), made.pixels()[:80, :80]
    for size in (len(made.chunk(0)) // 2, len(made.chunk(0)) - 1, 0):
        out = bytearray(b"\x5a" * (80 * 80 * 2))
        with pytest.raises(s2ice.CodecError):
            codec.decode(made.chunk(0)[:size], out)
        assert out == b"\x5a" * (80 * 80 * 2)
    wholes: list[Buffer] = [bytearray(80 * 80 * 2), memoryview(bytearray(80 * 80 * 2)), np.zeros((80, 160), "u1")]
    for whole in wholes:
        codec.decode(made.chunk(0), whole)
        np.testing.assert_array_equal(np.frombuffer(whole, "uint16").reshape(80, 80), want)


def test_one_buffer_for_chunk_and_output(made: Jp2) -> None:
    data, size = made.chunk(0), 80 * 80 * 2
    shared = bytearray(data.ljust(max(len(data), size), b"\0"))
    view = memoryview(shared)
    TileCodec(made.main_header).decode(view[: len(data)], view[:size])
    np.testing.assert_array_equal(np.frombuffer(shared, "uint16", 80 * 80).reshape(80, 80), made.pixels()[:80, :80])


def test_buffers_that_only_claim_their_length(made: Jp2) -> None:
    codec, out = TileCodec(made.main_header), np.zeros(80 * 80 * 2, "u1")
    with pytest.raises(s2ice.CodecError, match="chunk is not C-contiguous"):
        codec.decode(np.broadcast_to(np.zeros(1, "u1"), 2**46), out)
    with pytest.raises(s2ice.CodecError, match="read-only"):
        codec.decode(made.chunk(0), np.broadcast_to(np.zeros(1, "u1"), 2**46))


def test_windows_of_extreme_numbers(made: Jp2) -> None:
    codec, out, top = TileCodec(made.main_header), np.zeros(0, "u1"), 2**32 - 1
    for window in ((0, top, 0, top), (top, top, 0, 80), (0, 80, top, 0), (0, 81, 0, 0), (1, 0, 0, 80)):
        with pytest.raises(s2ice.CodecError, match="window"):
            codec.decode(made.chunk(0), out, 0, window)


def test_a_header_whose_samples_overflow(made: Jp2) -> None:
    header = base64.b64decode(made.main_header)
    # SIZ with 64 components and tiles of 2**29 x 2**29: 2**64 samples, which is 0 in 64 bits.
    length, depth = int.from_bytes(header[4:6]), header[42:45]
    numbers = bytearray(header[6:42])
    numbers[18:26] = struct.pack(">2I", 2**29, 2**29)
    numbers[34:36] = struct.pack(">H", 64)
    siz = struct.pack(">2sH", header[2:4], 38 + 3 * 64) + numbers + depth * 64
    crafted = base64.b64encode(header[:2] + siz + header[4 + length :]).decode()
    with pytest.raises(s2ice.CodecError, match="a tile of 64 x 536870912 x 536870912 samples"):
        TileCodec(crafted)


def test_pickle_and_copy(made: Jp2, folder: Path, expected: np.ndarray[Any, Any]) -> None:
    codec = Jpeg2000Codec(made.main_header)
    assert pickle.loads(pickle.dumps(codec)) == codec == copy.deepcopy(codec)
    assert hash(pickle.loads(pickle.dumps(codec))) == hash(codec)
    array = pickle.loads(pickle.dumps(open_array(folder)))
    np.testing.assert_array_equal(array[0, 70:90, 70:90], expected[0, 70:90, 70:90])


def test_threads_share_a_codec(made: Jp2) -> None:
    codec, pixels = TileCodec(made.main_header), made.pixels()

    def one(index: int) -> bool:
        tile = index % 9 // 3 * 3 + index % 2
        row, column = divmod(tile, 3)
        out = np.empty((80, 80), "uint16")
        codec.decode(made.chunk(tile), out.view("u1"))
        return np.array_equal(out[:60], pixels[row * 80 :, column * 80 :][:60, :80])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(200)))


def test_dask(folder: Path, expected: np.ndarray[Any, Any]) -> None:
    da = pytest.importorskip("dask.array")
    array = da.from_zarr(open_array(folder))
    for scheduler in ("threads", "processes"):
        values = array[:, 50:120, 100:].compute(scheduler=scheduler, num_workers=2)
        np.testing.assert_array_equal(values, expected[:, 50:120, 100:])


@pytest.mark.parametrize(
    ("name", "told"), [("", "s2ice"), ("s2ice", "s2ice"), ("openjpeg", "OpenJPEG"), ("other", None)]
)
def test_the_environment_chooses_the_decoder(made: Jp2, name: str, told: str | None) -> None:
    code = f"from s2ice._s2ice import TileCodec; print(TileCodec({made.main_header!r}).decoder)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"S2ICE_DECODER": name},
        capture_output=True,
        text=True,
        check=False,
    )
    if told is None:
        assert run.returncode != 0
        assert 'the decoder "other" is neither "s2ice" nor "openjpeg"' in run.stderr
    else:
        assert run.stdout.strip() == told
