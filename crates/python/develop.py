"""Build the workspace with cargo and install the wheel's files, editable, into the Python that runs this script.

`maturin develop` does the same for one package; but then Cargo resolves features for that package alone, so Icechunk
and what it depends on are compiled once more than for `cargo build --workspace`. This script takes the extension module
out of that very build. It needs nothing but the standard library.

    python crates/python/develop.py [--no-build] [further arguments of cargo build]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main(arguments: list[str]) -> None:
    """Build and install."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    if "--no-build" in arguments:
        arguments.remove("--no-build")
    else:
        # Extension modules are not linked with libpython.
        environment = os.environ | {"PYO3_BUILD_EXTENSION_MODULE": "1"}
        subprocess.run(["cargo", "build", "--workspace", *arguments], cwd=ROOT, env=environment, check=True)
    profile = "release" if "--release" in arguments else "debug"
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = target / profile / f"{'' if os.name == 'nt' else 'lib'}_s2ice{sysconfig.get_config_var('SHLIB_SUFFIX')}"
    if sys.platform == "darwin":
        built = built.with_suffix(".dylib")
    module = HERE / "python/s2ice" / ("_s2ice.pyd" if os.name == "nt" else "_s2ice.abi3.so")
    # Through a new file: a running Python may have the old one mapped.
    partial = module.with_suffix(".new")
    shutil.copy2(built, partial)
    partial.replace(module)
    install(project, version)
    print(f"{module.name} from {built}, installed in {sysconfig.get_path('purelib')}")  # noqa: T201


def install(project: dict[str, Any], version: str) -> None:
    """Write the .pth file and the metadata with the entry points (the layout of PEP 376)."""
    site = Path(sysconfig.get_path("purelib"))
    for old in site.glob("s2ice-*.dist-info"):
        shutil.rmtree(old)
    (site / "s2ice.pth").write_text(f"{HERE / 'python'}\n")
    info = site / f"s2ice-{version}.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: s2ice\nVersion: {version}\n{requires}")
    (info / "INSTALLER").write_text("develop.py\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    files = ["s2ice.pth", *(f"{info.name}/{name}" for name in ("METADATA", "INSTALLER", "entry_points.txt", "RECORD"))]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))


if __name__ == "__main__":
    main(sys.argv[1:])
