"""Hosts whose clocks are wrong, and stores whose clock goes on.

libfaketime gives a process another time; the package of its name brings and builds the library. What the file system
says of its files stays true, as that of a file server would.
"""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import moto.s3.models
from moto.core.utils import utcnow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import s3

LIBRARY = "vendor/libfaketime/src/libfaketime.so.1"


def library() -> Path:
    """The library that is preloaded; a test that needs it fails without."""
    package = importlib.util.find_spec("libfaketime")
    assert package, "the package libfaketime is not installed: run `make setup`"
    path = Path(str(package.origin)).parent / LIBRARY
    assert path.exists(), f"{path} is not there: libfaketime was not built"
    return path


def ahead(by: timedelta) -> dict[str, str]:
    """The environment of a process whose clock is ahead by so much."""
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME": f"{by.total_seconds():+.3f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


@contextmanager
def moving(service: s3.Service) -> Iterator[s3.Service]:
    """A service whose clock is ahead of this process's by `service.ahead`, in its answers and as it dates objects."""
    kept = moto.s3.models.utcnow

    def now(*_: Any) -> datetime:
        return utcnow() + service.ahead

    moto.s3.models.utcnow = now
    try:
        yield service
    finally:
        moto.s3.models.utcnow = kept
        service.ahead = timedelta()
