"""Chunks that could not be read, and have NaN in their place: a list of each opened store.

The list is a file of this user and machine, so that the processes that read for one program write into one list.
"""

from __future__ import annotations

import atexit
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from s2ice._copernicus import runtime

if TYPE_CHECKING:
    from pathlib import Path


class MissingChunk(NamedTuple):
    """A chunk that could not be read."""

    array: str
    """Path of the array in the store."""
    chunk: tuple[int, ...]
    """Its place in the grid of chunks: along time, rows and columns."""
    time: str | None
    """Time of the product, ISO 8601."""
    product: str | None
    url: str | None
    """The file that it is a part of."""
    reason: str


_lists: set[str] = set()
_made: set[Path] = set()


def missing() -> list[MissingChunk]:
    """List the chunks that ``on_error="nan"`` has filled.

    Returns
    -------
    list of MissingChunk
        Each once, of all stores that this process has opened, whichever process of this machine was reading. On a
        cluster of several machines, ask the workers: ``client.run(s2ice.missing)``.
    """
    found: dict[MissingChunk, None] = {}
    for token in sorted(_lists):
        path = _path(token)
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            array, chunk, *rest = json.loads(line)
            found[MissingChunk(array, tuple(chunk), *rest)] = None
    return list(found)


def record(token: str, chunk: MissingChunk) -> None:
    """Write a chunk down, in one piece."""
    line = json.dumps(chunk) + "\n"
    descriptor = os.open(_path(token), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def follow(token: str, *, made: bool) -> None:
    """List the chunks of an opened store from now on; who opened it removes its list at the end."""
    _lists.add(token)
    if made:
        _made.add(_path(token))


def _path(token: str) -> Path:
    return runtime() / f"missing-{token}.jsonl"


@atexit.register
def _remove() -> None:
    for path in _made:
        path.unlink(missing_ok=True)
