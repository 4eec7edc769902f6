"""The Copernicus Data Space: four connections to a user, whatever number of processes he reads with.

Each connection of a process on this machine holds one of four files locked. The system unlocks the files of a process
that ends, however it does.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from s2ice.errors import S2iceError

try:
    import fcntl
except ImportError:  # Windows: each process counts for itself there
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DOMAIN = "dataspace.copernicus.eu"
ENDPOINT = f"https://eodata.{DOMAIN}"
CONNECTIONS = 4
PAUSE = 0.02
"""Between two looks at the files, seconds."""


def owns(host: str) -> bool:
    """Tell whether a host is one of the Copernicus Data Space."""
    return host == DOMAIN or host.endswith(f".{DOMAIN}")


def runtime() -> Path:
    """Return the folder of this user and machine for what processes share, and make it.

    Raises
    ------
    S2iceError
        Somebody else has it.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(base) / "s2ice" if base and Path(base).is_dir() else Path(tempfile.gettempdir()) / f"s2ice-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != user):
        raise S2iceError(f"{folder} belongs to another user: set XDG_RUNTIME_DIR to a folder of your own")
    return folder


@asynccontextmanager
async def connection(most: float) -> AsyncIterator[None]:
    """Hold one of the user's connections; only the first `most` files are tried."""
    if fcntl is None:
        yield
        return
    paths = [runtime() / f"copernicus-{i}" for i in range(int(min(most, CONNECTIONS)))]
    held = None
    while held is None:
        for path in random.sample(paths, len(paths)):
            held = _locked(path)
            if held is not None:
                break
        else:
            await asyncio.sleep(PAUSE * (1 + random.random()))
    try:
        yield
    finally:
        os.close(held)


def _locked(path: Path) -> int | None:
    """Lock a file, and return its descriptor unless another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
