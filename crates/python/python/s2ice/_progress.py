"""A bar for long reads, on terminals and in notebooks."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

_WIDTH = 30
_EVERY = 0.1
"""Seconds between two pictures of the bar."""


class Bar:
    """Counts chunks and draws."""

    def __init__(self, total: int | None, stream: TextIO) -> None:
        self.total, self.stream = total, stream
        self.done = 0
        self.begun = time.monotonic()
        self.drawn = 0.0
        self.lock = Lock()

    def count(self) -> None:
        """Count one more chunk."""
        with self.lock:
            self.done += 1
            if time.monotonic() - self.drawn > _EVERY:
                self.draw()

    def draw(self, end: str = "") -> None:
        """Write the line anew."""
        self.drawn = time.monotonic()
        seconds = self.drawn - self.begun
        rate = self.done / seconds if seconds else 0.0
        text = f"{self.done:,} chunks, {rate:,.0f}/s"
        # More come where a chunk is read for two tasks.
        if self.total and self.done <= self.total:
            share = self.done / self.total
            left = f", {(self.total - self.done) / rate:,.0f} s left" if rate and share < 1 else ""
            filled = "#" * round(share * _WIDTH)
            text = f"[{filled:<{_WIDTH}}] {self.done:,} of {self.total:,} chunks, {rate:,.0f}/s{left}"
        self.stream.write(f"\r{text:<79}{end}")
        self.stream.flush()


_bars: list[Bar] = []


def count() -> None:
    """Count a chunk that was decoded, in every bar of this process."""
    for bar in _bars:
        bar.count()


@contextmanager
def progress(selection: xr.Dataset | xr.DataArray | None = None, *, file: TextIO | None = None) -> Iterator[None]:
    """Show a bar while something is loaded: the chunks that were read, and how many come.

    Nothing is shown where standard error is neither a terminal nor a notebook. Processes of dask.distributed count for
    themselves and are not seen.

    Parameters
    ----------
    selection
        What will be loaded, so that the bar knows its end (see `estimate`).
    file
        Where to draw, whatever it is; standard error by default.

    Examples
    --------
    >>> with s2ice.progress(cube):  # doctest: +SKIP
    ...     cube.load()
    """
    stream = file or sys.stderr
    if file is None and not (stream.isatty() or _in_notebook()):
        yield
        return
    total = None
    if selection is not None:
        from s2ice._estimate import estimate

        total = estimate(selection).requests
    bar = Bar(total, stream)
    _bars.append(bar)
    try:
        yield
    finally:
        _bars.remove(bar)
        bar.draw("\n")


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
