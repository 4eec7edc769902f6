"""Running a program in Rust as a stranger does, without compiling what `make test` has compiled already."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = ("cargo", "build", "--workspace", "--lib", "--all-features", "--locked", "--message-format=json")
"""A part of what `make test` builds: all of it is fresh, and Cargo tells where it lies."""

CRATES = ("s2ice_store", "tokio")
"""What the note of the snippet puts into a new package."""


def crates() -> dict[str, Path]:
    environment = os.environ | {"PYO3_BUILD_EXTENSION_MODULE": "1"}
    built = subprocess.run(BUILD, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Path] = {}
    for message in map(json.loads, built.stdout.splitlines()):
        if message["reason"] != "compiler-artifact" or message["profile"]["test"]:
            continue
        name = message["target"]["name"]
        (library,) = [file for file in message["filenames"] if file.endswith(".rlib")] or [None]
        if name in CRATES and library:
            assert name not in found, f"two builds of {name}"
            found[name] = Path(library)
    return found


def compiled(source: Path, folder: Path) -> Path:
    """The program in a file."""
    program = folder / source.stem
    libraries = crates()
    assert libraries.keys() == set(CRATES)
    line = ["rustc", "--edition", "2024", "-L", f"dependency={libraries['s2ice_store'].parent / 'deps'}"]
    line += [f"--extern={name}={path}" for name, path in libraries.items()]
    done = subprocess.run([*line, "-o", program, source], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def runs(code: str, folder: Path) -> str:
    """What a program says."""
    source = folder / "main.rs"
    source.write_text(code)
    program = compiled(source, folder)
    ran = subprocess.run([program], check=False, capture_output=True, text=True, cwd=folder, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
