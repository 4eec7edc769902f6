"""`s2ice.build` and `s2ice.info` from Python: the store of a real product, read back and compared with GDAL."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import s2ice
from s2ice.errors import RequestError, S2iceError, SourceError, StoreNotFoundError
from support import read_jp2

if TYPE_CHECKING:
    from pathlib import Path

    from support import Jp2

SAFE = "safe"


def index_row(root: Path, jp2: Jp2) -> dict[str, Any]:
    """Return one row of the public layout; the TLM segment is made up from the tiles (clause A.7.1)."""
    product = jp2.path.relative_to(root).parts[0].removesuffix(".SAFE")
    tlm = b"".join(struct.pack(">HI", tile, length) for tile, (_, length) in sorted(jp2.tiles.items()))
    segment = struct.pack(">HHBB", 0xFF55, 4 + len(tlm), 0, 0x60) + tlm
    first = jp2.tiles[0][0]
    return {
        "product_id": product,
        "band_id": jp2.path.stem.split("_")[2],
        "path": f"/{jp2.path.relative_to(root).as_posix()}",
        "index": struct.pack(">QQI", jp2.path.stat().st_size, first, len(segment)) + segment,
    }


@pytest.fixture(scope="session")
def product(testdata: Path) -> list[Jp2]:
    """The 60 m bands, SCL at 20 m and AOT at 10 m of the real product."""
    images = (testdata / SAFE).glob("*.SAFE/GRANULE/*/IMG_DATA/R*/*.jp2")
    wanted = [path for path in images if path.stem.endswith(("B01_60m", "B04_60m", "TCI_60m", "SCL_20m", "AOT_10m"))]
    assert len(wanted) == 5
    return [read_jp2(path) for path in sorted(wanted)]


@pytest.fixture(scope="session")
def index(product: list[Jp2], testdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("index") / "29UNU.parquet"
    parquet.write_table(pa.Table.from_pylist([index_row(testdata / SAFE, jp2) for jp2 in product]), path)
    return path


@pytest.fixture(scope="session")
def built(index: Path, testdata: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("build")
    store, calls = folder / "29UNU", []
    report = s2ice.build(
        tile="29UNU",
        index=index,
        source=testdata / SAFE,
        store=store,
        memory=folder / "memory.parquet",
        progress=lambda *call: calls.append(call),
    )
    assert calls
    assert all(isinstance(phase, str) and done >= 0 for phase, done, _ in calls)
    return store, report


def test_report(built: tuple[Path, dict[str, Any]], product: list[Jp2]) -> None:
    store, report = built
    assert report["kind"] == "s2ice.build"
    assert (report["tile"], report["level"], report["times"]["count"]) == ("29UNU", "L2A", 1)
    assert len(report["arrays"]) == len(product)
    assert report["refused"] == []
    info = s2ice.info(store)
    assert info["kind"] == "s2ice.info"
    assert {a["path"] for a in info["arrays"]} == {f"/{a['path'].strip('/')}" for a in report["arrays"]}
    assert info["references"] == report["references"]


def test_every_pixel(built: tuple[Path, dict[str, Any]], product: list[Jp2]) -> None:
    store, report = built
    tree = s2ice.open(store, mask_and_scale=False)
    paths = {array["asset"]: array["path"] for array in report["arrays"]}
    for jp2 in product:
        (path,) = [path for asset, path in paths.items() if jp2.path.stem.endswith(f"_{asset}")]
        array, pixels = tree[path][0], jp2.pixels()
        assert array.shape == pixels.shape
        if jp2.height > 6000:
            for window in (np.s_[-900:, -700:], np.s_[1000:1100, 2000:2100]):
                np.testing.assert_array_equal(array[window].values, pixels[window])
        else:
            np.testing.assert_array_equal(array.values, pixels)


def test_reflectance_of_baseline_four(built: tuple[Path, dict[str, Any]], product: list[Jp2]) -> None:
    (jp2,) = [jp2 for jp2 in product if jp2.path.stem.endswith("B04_60m")]
    r60m = s2ice.open(built[0], "measurements/reflectance/r60m")
    numbers = jp2.pixels()[500:600, 500:600].astype(float)
    want = np.where(numbers == 0, np.nan, (numbers - 1000) / 10000)
    np.testing.assert_allclose(r60m.b04[0, 500:600, 500:600], want, atol=1e-6)
    assert r60m.time.dtype.kind == "M"
    assert str(r60m.time.values[0])[:10] == "2022-10-05"


def test_building_again_asks_the_source_for_nothing(
    built: tuple[Path, dict[str, Any]], index: Path, testdata: Path
) -> None:
    store, first = built
    again = s2ice.build(
        tile="29UNU", index=[index], source=testdata / SAFE, store=store, memory=store.parent / "memory.parquet"
    )
    assert again["references"] == first["references"]
    assert first["source_use"]["requests"] > 0
    assert again["source_use"]["requests"] == 0
    assert "committed" not in again


def test_arrays_can_be_chosen(index: Path, testdata: Path) -> None:
    report = s2ice.build(tile="29UNU", index=index, source=testdata / SAFE, arrays="**/scl", memory=False, dry_run=True)
    assert [array["asset"] for array in report["arrays"]] == ["SCL_20m"]


def test_an_exception_of_progress_stops_the_build(index: Path, testdata: Path, tmp_path: Path) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        s2ice.build(
            tile="29UNU", index=index, source=testdata / SAFE, store=tmp_path / "s", memory=False, progress=stop
        )
    with pytest.raises(StoreNotFoundError):
        s2ice.open(tmp_path / "s")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tile": "nowhere"}, RequestError, "nowhere"),
        ({"level": "L3A"}, RequestError, "L3A"),
        ({"index": []}, RequestError, "index is missing"),
        ({"max_cloud_cover": 120}, RequestError, "percentage"),
        ({"spec": 3}, RequestError, "spec: 3 is unknown"),
        ({"headers": "guess"}, RequestError, "headers: unknown variant `guess`, expected one of `read`"),
        ({"on_mismatch": "eras"}, RequestError, "on_mismatch: unknown variant `eras`, expected one of"),
        ({"recheck": "S2A_X"}, RequestError, "a list of product names"),
        ({"collection": "sentinel-2-l2a"}, RequestError, "names none"),
        ({"datetime": "soon"}, RequestError, "soon"),
        ({"store": None}, RequestError, "store is missing: say where"),
        ({"source_options": {"connections": "many"}}, RequestError, "source_options: connections: invalid type"),
        ({"source": "/nowhere/at/all"}, SourceError, "/nowhere/at/all"),
        ({"source": "ftp://host/x"}, RequestError, "ftp"),
        ({"index": "/nowhere.parquet"}, S2iceError, "nowhere.parquet"),
    ],
)
def test_bad_requests(changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    arguments = {"tile": "29UNU", "index": "i.parquet", "source": tmp_path, "store": store, "memory": False} | changes
    with pytest.raises(error, match=message):
        s2ice.build(**arguments)
    assert not store.exists()


def test_info_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        s2ice.info(tmp_path)


def test_options_go_by_either_name() -> None:
    from s2ice._build import _options

    assert _options({"endpoint_url": "http://h", "force_path_style": False, "access_key_id": "k", "timeout": 5}) == {
        "endpoint": "http://h",
        "virtual_hosted": True,
        "extra": {"aws_access_key_id": "k", "timeout": "5"},
    }


def test_ctrl_c(tmp_path: Path) -> None:
    """A build that waits for an answer that never comes ends at once."""
    import signal
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        # Whoever runs the tests in the background has the signal ignored.
        script = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import s2ice;"
            f"s2ice.build(tile='29UNU', index={url + 'i.parquet'!r}, source={url!r}, dry_run=True, memory=False)"
        )
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        silent.settimeout(60)
        connection, _ = silent.accept()
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        connection.close()
    assert "KeyboardInterrupt" in errors
    assert time.monotonic() - started < 5
