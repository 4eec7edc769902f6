"""The npm package, Node and pages that read stores: fixtures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.browsing import ROOT, missing, needed

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPTS = ROOT / "tests/javascript"


@dataclass
class Package:
    """The package as npm packs it, in a folder with what the tests use beside it."""

    folder: Path
    tarball: Path

    @property
    def root(self) -> Path:
        return self.folder / "node_modules/@s2ice/codec"

    @property
    def pages(self) -> Path:
        """Scripts for a browser, bundled."""
        return self.folder / "pages"

    def node(self, script: str, *arguments: object) -> Any:
        """What a script prints."""
        command = [needed("node", "nodejs"), self.folder / script, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def task(self, name: str, **options: Any) -> Any:
        return self.node("node.mjs", name, json.dumps(options))


def _target() -> Path:
    sysroot = subprocess.check_output([needed("rustc", "rustc"), "--print", "sysroot"], text=True).strip()
    return Path(sysroot) / "lib/rustlib/wasm32-unknown-unknown/lib"


@pytest.fixture(scope="session")
def codec_package(once: Callable[..., Path], npm_modules: Path) -> Package:
    """Built, packed, unpacked and bundled."""
    if not (_target().is_dir() or (shutil.which("apt-get") and os.geteuid() == 0)):
        missing("wasm32's standard library is not here: rustup target add wasm32-unknown-unknown")

    def fill(folder: Path) -> None:
        made = folder / "made"
        subprocess.run([ROOT / "tests/tools/javascript.sh", made, npm_modules], check=True)
        npm = [needed("npm", "npm"), "pack", "--silent", "--pack-destination", folder]
        subprocess.run(npm, cwd=made, check=True, stdout=subprocess.DEVNULL)
        (tarball,) = folder.glob("*.tgz")
        modules = folder / "node_modules"
        for module in [*npm_modules.iterdir(), *npm_modules.glob("@*/*")]:
            if not module.name.startswith("@"):
                place = modules / module.relative_to(npm_modules)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(module)
        with tarfile.open(tarball) as archive:
            archive.extractall(modules / "@s2ice", filter="data")
        (modules / "@s2ice/package").rename(modules / "@s2ice/codec")
        for script in SCRIPTS.glob("*.mjs"):
            shutil.copy(script, folder)
        pages = folder / "pages"
        bundle = [modules / ".bin/esbuild", "page=page.mjs", "worker=worker.mjs", "--bundle", "--format=esm"]
        subprocess.run([*bundle, "--splitting", f"--outdir={pages}", "--log-level=error"], cwd=folder, check=True)
        shutil.copy(modules / "@s2ice/codec/js/codec.wasm", pages)
        script = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>'
        (pages / "index.html").write_text(script)

    folder = once("codec_package", fill)
    (tarball,) = folder.glob("*.tgz")
    return Package(folder, tarball)
