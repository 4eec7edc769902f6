"""`s2ice.build` and `s2ice.info`: what the commands of the same names do, by the same code."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Literal

from s2ice import _s2ice
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

type PathLike = str | os.PathLike[str]

# Names that `s2ice.open` and Icechunk use, and the name of the same setting in the builder's options.
_OPTIONS = {"endpoint_url": "endpoint", "requester_pays": "request_payer"}
_PLAIN = {"endpoint", "region", "virtual_hosted", "anonymous", "request_payer", "allow_http", "connections"}
_PLAIN |= {"requests_per_second", "bytes_per_day", "layout"}
_SECRETS = {"access_key_id", "secret_access_key", "session_token"}


def build(
    *,
    tile: str,
    level: str = "L2A",
    index: PathLike | Sequence[PathLike] = (),
    source: PathLike,
    source_kind: Literal["jp2", "cog"] = "jp2",
    store: PathLike | None = None,
    stac: PathLike | None = None,
    collection: str | None = None,
    datetime: str | None = None,
    max_cloud_cover: float | None = None,
    arrays: str | Sequence[str] | None = None,
    angles: bool = True,
    resolutions: Literal["best", "all"] = "best",
    on_mismatch: Literal["auto", "era", "refuse"] = "auto",
    headers: Literal["read", "index", "assume"] = "read",
    checksum: Literal["etag", "modified", "none"] = "etag",
    spec: Literal[1, 2] = 2,
    container: str | None = None,
    memory: PathLike | Literal[False] | None = None,
    source_options: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    prune: bool = False,
    accept_incomplete: bool = False,
    recheck: bool | Sequence[str] = False,
    full: bool = False,
    dry_run: bool = False,
    progress: Callable[[str, int, int | None], object] | None = None,
) -> dict[str, Any]:
    """Build the store of a tile: an Icechunk repository whose chunks are references into the product files.

    Either the whole build is published or nothing of it. Ctrl-C and an exception of `progress` stop it.

    Parameters
    ----------
    tile
        MGRS tile, such as ``"29UNU"``.
    level
        ``"L2A"`` or ``"L1C"``.
    index
        TLM index in Parquet, one or several files or URLs; the command ``s2ice index`` makes one. Needed for
        ``source_kind="jp2"``.
    source
        Prefix of the product files: a folder, or a ``file://``, ``s3://``, ``gs://``, ``az://``, ``https://`` URL.
    source_kind
        ``"jp2"`` for SAFE products and a TLM index, ``"cog"`` for GeoTIFFs that the items of `stac` name; these need no
        index.
    store
        Where the store shall be: a folder, or an ``s3://``, ``gs://``, ``az://`` URL. Needed unless `dry_run`.
    stac
        STAC items that choose the products: an API's address, an ItemCollection, item or ndjson file, a folder, or a
        stac-geoparquet file. Without it every product of the index is taken.
    collection
        Collection of the items; by default an API's usual one for the level, and any in files.
    datetime
        Interval ``"A/B"`` of dates or times; ``..`` is an open end.
    max_cloud_cover
        Leave out products cloudier than this, percent.
    arrays
        Only arrays whose path matches one of these globs, such as ``"**/scl"``.
    angles
        Take the sun and viewing angles (``/conditions/geometry``), for which the whole ``MTD_TL.xml`` of every product
        is read, some 0.5 MB each, instead of its first kilobytes.
    resolutions
        ``"best"``: each band at its own resolution or the finest there is; ``"all"``: the R10m, R20m and R60m copies.
    on_mismatch
        What becomes of products with another radiometric offset, and of rasters with another main header, than the
        store's: ``"era"`` puts them into eras, groups ``/eras/<name>`` of the same store, ``"refuse"`` leaves them out,
        ``"auto"`` puts them there unless an unknown encoder made them.
    headers
        Where main headers come from. ``"read"``: from each file, by one ranged request, or the memory; ``"index"``:
        from the index where it has them; ``"assume"``: from the known classes of Sentinel-2 files, stamped unverified;
        times and offsets then come from the products' names.
    checksum
        What readers check a file against: its ETag, its modification time, or nothing.
    spec
        Icechunk format of a new store; 1 is read by every version of Icechunk.
    container
        Name under which readers re-point the store to a mirror; the bucket's by default.
    memory
        Where what is learned of the source is remembered between builds: a path or URL. Beside the store by default;
        ``False`` for nowhere.
    source_options, storage_options
        How to reach the source and the store: ``endpoint_url``, ``region``, ``anonymous``, ``requester_pays``,
        ``force_path_style``, ``allow_http``, ``access_key_id``, ``secret_access_key``, ``session_token``,
        ``connections`` (requests at a time), or any setting of the Rust crate object_store by its name there. Other
        credentials come from the environment.
    prune
        Take away products and rasters that the inputs no longer have; otherwise they stay.
    accept_incomplete
        Let a later processing take the place of an earlier one though it lacks rasters that the earlier one has.
    recheck
        Ask the files of every product (``True``), or of the products that a list names, again, whatever was known of
        them.
    full
        Ask the STAC API for every item, not only for what changed since the last build of this store.
    dry_run
        Work everything out and write nothing.
    progress
        Called with the phase, the steps done and their total, where that is known, about ten times a second.

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
    """
    _check(on_mismatch, "on_mismatch", ("auto", "era", "refuse"))
    _check(headers, "headers", ("read", "index", "assume"))
    _check(checksum, "checksum", ("etag", "modified", "none"))
    _check(resolutions, "resolutions", ("best", "all"))
    _check(source_kind, "source_kind", ("jp2", "cog"))
    if isinstance(recheck, str):
        raise RequestError(f"recheck is True, False or a list of product names, not a string: recheck=[{recheck!r}]")
    if store is None and not dry_run:
        raise RequestError("store is missing: say where the store shall be, or dry_run=True")
    if collection is not None and stac is None:
        raise RequestError("collection is one of a catalogue, and stac names none")
    request = {
        "tile": tile,
        "level": level,
        "source_kind": source_kind,
        "index": [os.fspath(path) for path in _several(index)],
        "stac": None if stac is None else os.fspath(stac),
        "collection": collection,
        "datetime": datetime,
        "max_cloud_cover": max_cloud_cover,
        "arrays": _several(arrays or []),
        "angles": angles,
        "resolutions": resolutions,
        "on_mismatch": on_mismatch,
        "headers": headers,
        "memory": "none" if memory is False else "store" if memory is None else os.fspath(memory),
        "source": os.fspath(source),
        "source_options": _options(source_options),
        "store": None if store is None else os.fspath(store),
        "store_options": _options(storage_options),
        "checksum": checksum,
        "spec": spec,
        "container": container,
        "prune": prune,
        "accept_incomplete": accept_incomplete,
        "recheck": ["all"] if recheck is True else list(recheck or []),
        "full": full,
        "dry_run": dry_run,
    }
    report: dict[str, Any] = json.loads(_s2ice.build(json.dumps(request), progress))
    return report


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


def _check(value: str, name: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RequestError(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}")


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str | os.PathLike) else list(value)


def _options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the builder's options in the words of its JSON; what it has no word for goes to its client as it is."""
    options: dict[str, Any] = {"extra": {}}
    for key, value in (given or {}).items():
        name = _OPTIONS.get(key, key)
        if name in _PLAIN:
            options[name] = value
        elif key == "force_path_style":
            options["virtual_hosted"] = not value
        else:
            options["extra"][f"aws_{key}" if key in _SECRETS else key] = str(value)
    return options
