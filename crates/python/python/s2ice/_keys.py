"""Keys of the archive: where those of the Copernicus Data Space stand, and each fetched once in a process."""

from __future__ import annotations

import configparser
import os
import pickle
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk

from s2ice.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable

CDSE = "cdse"
"""Its word among credentials, and the name of its profile."""
_PAIRS = (("CDSE_S3_ACCESS_KEY", "CDSE_S3_SECRET_KEY"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
_MARGIN = timedelta(minutes=1)
"""Before they expire, keys are fetched anew."""


def cdse() -> dict[str, str]:
    """Find the keys of the Copernicus Data Space: own variables, the profile ``cdse``, variables of S3.

    The profile goes before the variables of S3, which are more often another service's.

    Raises
    ------
    CredentialsError
        There are none; the text says where they may stand.
    """
    shared = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    own = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "s2ice/credentials"
    found = _variables(*_PAIRS[0]) or _profile(shared) or _profile(own) or _variables(*_PAIRS[1])
    if found is None:
        raise CredentialsError(
            f"there are no keys of the Copernicus Data Space: set {' and '.join(_PAIRS[0])}, or write a profile "
            f"[{CDSE}] with aws_access_key_id and aws_secret_access_key into {shared} or {own}; they come from "
            "https://eodata-s3keysmanager.dataspace.copernicus.eu"
        )
    return found


def _variables(key: str, secret: str) -> dict[str, str] | None:
    if not (os.environ.get(key) and os.environ.get(secret)):
        return None
    return {"access_key_id": os.environ[key], "secret_access_key": os.environ[secret]}


def _profile(path: Path) -> dict[str, str] | None:
    # Secrets have per cent signs, and the parser's own words would quote the line.
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        raise CredentialsError(f"the credentials file {path} cannot be read: it is not `key = value`") from None
    if CDSE not in parser:
        return None
    section = parser[CDSE]
    key, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
    if not (key and secret):
        raise CredentialsError(f"the profile [{CDSE}] of {path} lacks aws_access_key_id or aws_secret_access_key")
    return {"access_key_id": key, "secret_access_key": secret}


def once(credentials: Any) -> Any:
    """Let a function that gives keys be called once in a process, and again when they expire."""
    if not isinstance(credentials, icechunk.S3Credentials.Refreshable):
        return credentials
    given: Any = credentials  # its stub leaves the fields out
    return icechunk.S3Credentials.Refreshable(pickle.dumps(_Once(given.pickled_function)), given.current)


class _Once:
    """Calls a pickled function when the process has no keys of it that are still good."""

    def __init__(self, function: bytes) -> None:
        self.function = function

    def __call__(self) -> Any:
        with _lock:
            kept = _fetched.get(self.function)
            if kept is None or (kept.expires_after is not None and kept.expires_after - _MARGIN < datetime.now(UTC)):
                function: Callable[[], Any] = pickle.loads(self.function)
                kept = _fetched[self.function] = function()
            return kept


_fetched: dict[bytes, Any] = {}
_lock = threading.Lock()
