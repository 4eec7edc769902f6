"""Fixtures: the binaries, sample products made once per session, real products where they are at hand.

`make test-python` builds what these tests run. By hand: `python crates/python/develop.py`, then
`python -m pytest tests/python`. S2ICE_BIN and S2ICE_SAMPLES_BIN name other binaries, S2ICE_TESTDATA the real products.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import real_data
import reports
from checked import reports_conform, secrets_are_kept  # noqa: F401 (fixtures)
from support import catalogue
from support.archive import Archive
from support.bench import Bench
from support.browsing import chromium, npm_modules, publication, publication_address, visit  # noqa: F401 (fixtures)
from support.command import Command
from support.javascript import codec_package  # noqa: F401 (fixture)
from support.living import Living
from support.publications import public  # noqa: F401 (fixture)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.catalogue import Catalogue

ROOT = Path(__file__).resolve().parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the long form of tests, and those that are only there")


LONG = "model core export gdal eras living core_sources docs stale clocks night l1c look_browser publish race"
"""The files that take longest: a worker that got one last would keep the others waiting."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    places = {f"test_{name}.py": place for place, name in enumerate(LONG.split())}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    if not config.getoption("--soak"):
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> bool:
    """True where the long form of a test is asked for (`make soak`)."""
    return bool(pytestconfig.getoption("--soak"))


def binary(variable: str, name: str) -> Path:
    """One of the workspace's own binaries."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    path = Path(os.environ.get(variable) or target / "debug" / name)
    if not path.exists():
        pytest.exit(f"{path} is not there: run `make build` first, or set {variable}", returncode=3)
    return path


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without credentials, configuration or caches of the user's."""
    home = tmp_path_factory.mktemp("home")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "AZURE_", "GOOGLE_", "S2ICE_", "RUST_")) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(autouse=True)
def files_conform(request: pytest.FixtureRequest) -> Iterator[None]:
    """What runs of s2ice write into files keeps to the schemas, whatever a test is about."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder:
        reports.files_conform(folder)


@pytest.fixture(scope="session")
def s2ice(environment: dict[str, str]) -> Command:
    return Command(binary("S2ICE_BIN", "s2ice"), environment)


@dataclass(frozen=True)
class Samples:
    """A folder of sample products, as the generator wrote it."""

    root: Path

    @property
    def index(self) -> Path:
        return self.root / "index.parquet"

    @property
    def stac(self) -> Path:
        return self.root / "stac/items.json"

    @property
    def products(self) -> list[str]:
        """Names, by sensing time."""
        return sorted((p.stem for p in self.root.glob("*.SAFE")), key=lambda name: name.split("_")[2])

    def files(self, pattern: str = "*") -> list[Path]:
        return sorted(self.root.glob(f"*.SAFE/GRANULE/*/*_DATA/**/{pattern}.jp2"))

    def truth(self, product: str, asset: str) -> Any:
        import numpy as np

        return np.load(self.root / "truth" / product / f"{asset}.npy")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Make a folder once for all workers of a session: the first one makes it, the others wait and read."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def make(key: str, fill: Callable[[Path], object]) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        folder, done = base / f"once-{name}", base / f"once-{name}.done"
        with (base / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def make_samples(once: Callable[..., Path]) -> Callable[..., Samples]:
    """Run the generator; the folder is everybody's who asks for the same: copy what you want to change."""
    program = binary("S2ICE_SAMPLES_BIN", "s2ice-samples")

    def make(*arguments: str, into: Path | None = None) -> Samples:
        options = arguments if "--assets" in arguments else ("--small", *arguments)

        def fill(root: Path) -> None:
            subprocess.run([program, root, *options], check=True, capture_output=True, timeout=300)

        if into:
            fill(into)
        return Samples(into or once(f"samples {options}", fill))

    return make


@pytest.fixture(scope="session")
def samples(make_samples: Callable[..., Samples]) -> Samples:
    """Three dates of 33TVN with B01 and B09 at 60 m and SCL at 20 m; the second ends inside the tile."""
    return make_samples("--dates", "3", "--truth")


@pytest.fixture(scope="session")
def sample_store(s2ice: Command, samples: Samples, once: Callable[..., Path]) -> Path:
    """A store of `samples` on disk, read only."""
    inputs = ("--index", samples.index, "--stac", samples.stac, "--source", samples.root)

    def fill(folder: Path) -> None:
        s2ice("build", "--tile", "33TVN", *inputs, "--store", folder / "33TVN", "--memory", "none", "-q")

    return once("sample_store", fill) / "33TVN"


@pytest.fixture(scope="session")
def bases(make_samples: Callable[..., Samples]) -> Samples:
    """Two S2B and two S2A products of B01 and B09 alone, from which archives are made; read only."""
    return make_samples("--dates", "4", "--assets", "B01_60m,B09_60m", "--no-swath-edge", "--truth")


@pytest.fixture
def archive(bases: Samples, tmp_path: Path) -> Archive:
    """An archive that a test fills, made of `bases`."""
    return Archive(tmp_path / "archive", bases.root)


@pytest.fixture
def living(s2ice: Command, archive: Archive, tmp_path: Path) -> Living:
    """A store of it that is built again and again."""
    return Living(s2ice, archive, tmp_path / "stores")


@pytest.fixture
def items() -> Iterator[Catalogue]:
    """A catalogue that a test fills."""
    with catalogue.serve() as served:
        yield served


@pytest.fixture(scope="session")
def pair(make_samples: Callable[..., Samples]) -> Samples:
    """Two dates, read only."""
    return make_samples("--dates", "2", "--no-swath-edge", "--truth")


@pytest.fixture
def mine(pair: Samples, tmp_path: Path) -> Samples:
    """A copy of `pair` that a test may damage."""
    root = tmp_path / "mine"
    shutil.copytree(pair.root, root, ignore=shutil.ignore_patterns("truth"))
    return Samples(root)


@pytest.fixture
def bench(s2ice: Command, pair: Samples, tmp_path: Path) -> Bench:
    """Builds from `pair`."""
    return Bench(s2ice, pair.root, tmp_path)


@pytest.fixture
def damaged(s2ice: Command, mine: Samples, tmp_path: Path) -> Bench:
    """Builds from `mine`."""
    return Bench(s2ice, mine.root, tmp_path)


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real products, or skip."""
    return real_data.needed()


@pytest.fixture(scope="session")
def golden(testdata: Path) -> dict[str, Any]:
    """What GDAL and OpenJPEG make of every real file."""
    return json.loads((testdata / "golden/decode.json").read_text())


@pytest.fixture(scope="session")
def safe(testdata: Path) -> Path:
    """The folder with the one real SAFE product of 29UNU."""
    return testdata / "safe"


@pytest.fixture(scope="session")
def real_index(s2ice: Command, safe: Path, once: Callable[..., Path]) -> tuple[Path, dict[str, Any]]:
    """`s2ice index` over the real product, and its report."""

    def fill(folder: Path) -> None:
        outcome = s2ice("index", "--source", safe, "-o", folder / "29UNU.parquet", "--json")
        (folder / "report.json").write_text(json.dumps(outcome.json))

    folder = once("real_index", fill)
    return folder / "29UNU.parquet", json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="session")
def real_store(
    s2ice: Command, safe: Path, real_index: tuple[Path, dict[str, Any]], once: Callable[..., Path]
) -> tuple[Path, dict[str, Any]]:
    """A store of every raster of the real product, and the report of the build; read only."""
    inputs = ("--index", real_index[0], "--source", f"file://{safe}", "--resolutions", "all")

    def fill(folder: Path) -> None:
        outcome = s2ice("build", "--tile", "29UNU", *inputs, "--store", folder / "29UNU", "--memory", "none", "--json")
        (folder / "report.json").write_text(json.dumps(outcome.json))

    folder = once("real_store", fill)
    return folder / "29UNU", json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="session", autouse=True)
def quiet_icechunk() -> None:
    """Icechunk warns at every local repository that it is not safe for two writers."""
    import icechunk

    icechunk.set_logs_filter("error")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(real_data.line())
