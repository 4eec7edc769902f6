"""`s2ice.build` and `s2ice.info`: what the commands of the same names do, by the same code."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from s2ice import _s2ice
from s2ice._settings import PARAMETERS, PathLike, Settings
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Names that `s2ice.open` and Icechunk use, and the name of the same setting in the builder's options.
_OPTIONS = {"endpoint_url": "endpoint", "requester_pays": "request_payer"}
_PLAIN = {"endpoint", "region", "virtual_hosted", "anonymous", "request_payer", "allow_http", "connections"}
_PLAIN |= {"requests_per_second", "bytes_per_day", "layout", "profile", "credentials_file", "instance_role", "extra"}
_SECRETS = {"access_key_id", "secret_access_key", "session_token"}


def build(
    *, progress: Callable[[str, int, int | None], object] | None = None, **settings: Unpack[Settings]
) -> dict[str, Any]:
    """Build the store of a tile: an Icechunk repository whose chunks are references into the product files.

    Either the whole build is published or nothing of it. Ctrl-C and an exception of `progress` stop it.

    Parameters
    ----------
    progress
        Called with the phase, the steps done and their total, where that is known, about ten times a second.
    {parameters}

    Returns
    -------
    dict
        The report, as ``s2ice build --json`` prints it: what was stored, matched, left out and why.

    Raises
    ------
    RequestError
        An argument is missing or wrong.
    CredentialsError, SourceError
        The source or the store cannot be reached.
    S2iceError
        Anything else; its text names the product, file or place.

    Notes
    -----
    Options of places (`source_options`, `store_options`, `index_options`, `memory_options`) are those of the
    configuration file with underscores, and the names that `s2ice.open` and Icechunk use for the same:
    ``endpoint_url``, ``requester_pays``, ``force_path_style``, ``access_key_id``, ``secret_access_key``,
    ``session_token``. Any other name is a setting of the Rust crate object_store.
    """
    if settings.get("store") is None and not settings.get("dry_run"):
        raise RequestError("store is missing: say where the store shall be, or dry_run=True")
    request = {name: _plain(name, value) for name, value in settings.items() if value is not None}
    report: dict[str, Any] = json.loads(_s2ice.build(json.dumps(request), progress))
    return report


# Python 3.13 takes the indentation away, 3.12 leaves it.
build.__doc__ = inspect.cleandoc(build.__doc__ or "").replace("{parameters}", PARAMETERS.strip())


def info(store: PathLike, *, storage_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Tell what is in a store: times, arrays, references, containers, last commit. No pixel is read.

    Parameters
    ----------
    store
        A folder or URL.
    storage_options
        As for `build`.

    Returns
    -------
    dict
        The report, as ``s2ice info --json`` prints it.

    Raises
    ------
    StoreNotFoundError
        There is no store.
    S2iceError
        It is not one of s2ice, or cannot be read.
    """
    report: dict[str, Any] = json.loads(_s2ice.info(os.fspath(store), json.dumps(_options(storage_options))))
    return report


def _plain(name: str, value: Any) -> Any:
    """Return the value of a setting in the words of its JSON."""
    if name == "memory" and value is False:
        return "none"
    if name == "recheck" and isinstance(value, bool):
        return ["all"] if value else []
    if name == "recheck" and isinstance(value, str):
        raise RequestError(f"recheck is True, False or a list of product names, not a string: recheck=[{value!r}]")
    if name == "stac_options":
        return value
    if name.endswith("_options"):
        return _options(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [os.fspath(one) if isinstance(one, os.PathLike) else one for one in value]
    return value


def _options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the builder's options in the words of its JSON; what it has no word for goes to its client as it is."""
    options: dict[str, Any] = {"extra": {}}
    for key, value in (given or {}).items():
        name = _OPTIONS.get(key, key)
        if name == "extra":
            options["extra"] |= value
        elif name in _PLAIN:
            options[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
        elif key == "force_path_style":
            options["virtual_hosted"] = not value
        else:
            options["extra"][f"aws_{key}" if key in _SECRETS else key] = str(value)
    return options
