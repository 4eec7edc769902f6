"""Secrets that tests hand to s2ice, and the search for them in everything that it writes, whatever a test is about."""

from __future__ import annotations

import mmap
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK = "pl4nted"
PATTERN = re.compile(rf"{MARK}-[\w-]+".encode())
GIVEN = {".toml", ".env", ".ini"}
"""Files in which tests hand them over: s2ice writes none that ends so."""


def word(name: str) -> str:
    """A secret that tells what it is one of."""
    return f"{MARK}-{name.replace(' ', '-')}"


def found(data: str | bytes | mmap.mmap) -> list[str]:
    """The secrets that stand in this."""
    data = data.encode(errors="replace") if isinstance(data, str) else data
    return sorted({match[0].decode() for match in PATTERN.finditer(data)})


def said(text: str) -> None:
    """What s2ice said tells no secret."""
    assert not found(text), f"{found(text)} in: {text}"


def in_files(folder: Path) -> dict[str, list[str]]:
    """The secrets in files below a folder, by path."""
    out = {}
    for path in folder.rglob("*"):
        if path.suffix in GIVEN or path.is_symlink() or not path.is_file() or not path.stat().st_size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if names := found(data):
                out[str(path)] = names
    return out


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """No file below a folder tells one when the block ends."""
    yield
    told = in_files(folder)
    assert told == {}, "secrets stand in files"
