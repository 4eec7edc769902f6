"""`s2ice.open`: from the place of a store to xarray."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, overload

import icechunk
import xarray as xr
import zarr

from s2ice import _eras
from s2ice._limit import LimitedStore
from s2ice._source import Access, Credentials, Source, authorise
from s2ice._storage import Options, locate
from s2ice.errors import (
    CredentialsError,
    GroupNotFoundError,
    NotAnS2iceStoreWarning,
    RefNotFoundError,
    S2iceError,
    SourceError,
    StoreNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

type StoreLike = str | os.PathLike[str] | icechunk.Storage | icechunk.Repository | icechunk.Session

ROOT_ATTRIBUTE = "s2ice"


@overload
def open(store: StoreLike, group: None = None, **kwargs: Any) -> xr.DataTree: ...
@overload
def open(store: StoreLike, group: str, **kwargs: Any) -> xr.Dataset: ...
def open(
    store: StoreLike,
    group: str | None = None,
    *,
    branch: str | None = None,
    tag: str | None = None,
    snapshot: str | None = None,
    as_of: datetime | None = None,
    anonymous: bool | None = None,
    credentials: Credentials | None = None,
    storage_options: Options | None = None,
    source: Source | Mapping[str, Source] | None = None,
    allow_file: bool = False,
    max_connections: int | None = None,
    chunks: Any = None,
    eras: str | None = None,
    **kwargs: Any,
) -> xr.DataTree | xr.Dataset:
    """Open a store with xarray, read-only and lazily.

    Parameters
    ----------
    store
        A path, a ``file://``, ``s3://``, ``gs://``, ``az://``, ``http://`` or ``https://`` URL, or an Icechunk storage,
        repository or session. A session is used as it is. A repository keeps its own access to the source unless one of
        `credentials`, `anonymous`, `source` or `allow_file` is given.
    group
        Path of one group, such as ``"measurements/reflectance/r10m"``, to open it as a Dataset. The whole store is
        opened as a DataTree by default.
    branch, tag, snapshot
        The version to read; the branch ``main`` by default.
    as_of
        Read the branch as it was at this time.
    anonymous
        ``True`` sends unsigned requests to the store and to the source. What `storage_options` and `credentials` say
        goes first.
    credentials
        For the *source*, the archive that the pixels lie in: ``"env"`` to take them from the environment
        (``AWS_ACCESS_KEY_ID``, ...), a mapping with ``access_key_id`` and ``secret_access_key``, Icechunk credentials,
        or a mapping from the names of the sources to such. Without, requests to the source are unsigned.
    storage_options
        For the *store*: ``endpoint_url``, ``region``, ``anonymous``, ``allow_http``, ``force_path_style``,
        ``access_key_id``, ... as ``icechunk.s3_storage`` and its like for other clouds take them. Without, credentials
        come from the environment.
    source
        Another place of the source, such as a mirror: a URL, or a mapping from the names of the sources to URLs. In the
        place of a URL may stand a mapping with ``url``, ``endpoint_url``, ``region``, ``anonymous``, ...
    allow_file
        Let a store that is not on this machine's disk read the local files it names.
    max_connections
        Most chunks to fetch at a time; the Copernicus Data Space allows 4 connections per user. By default Zarr's
        setting ``async.concurrency`` decides.
    chunks
        As in `xarray.open_zarr`. ``None`` reads lazily without dask; ``{}`` makes dask arrays with one task per tile.
    eras
        What the tile's other stores are to be: products before baseline 04.00 have another radiometric offset, and
        some rasters another main header, so they stand in stores of their own, which `eras` lists. ``"merge"`` gives
        one cube of all of them, decoded to one scale; a name such as ``"offset-0"`` opens that era alone; without, only
        the main store is opened. Goes with the store's address and, of the versions, with `as_of`.
    **kwargs
        For `xarray.open_datatree` or `xarray.open_zarr`: ``mask_and_scale=False`` gives the digital numbers as stored,
        ``drop_variables`` leaves arrays out, ...

    Returns
    -------
    xarray.DataTree or xarray.Dataset

    Raises
    ------
    StoreNotFoundError
        There is no store at this place.
    RefNotFoundError
        There is no such branch, tag or snapshot.
    GroupNotFoundError
        There is no such group; the message lists the groups.
    CredentialsError
        The store or its source asks for credentials.
    SourceError
        The source cannot be used as asked.
    S2iceError
        Anything else that keeps the store from being opened.

    Examples
    --------
    >>> tree = s2ice.open("s3://bucket/29UNU.icechunk", credentials="env")  # doctest: +SKIP
    >>> r10m = tree["measurements/reflectance/r10m"]  # doctest: +SKIP
    >>> r10m.b04.sel(time="2025-07-01", method="nearest").load()  # doctest: +SKIP
    """
    access = Access(credentials, anonymous, source, allow_file)
    if max_connections is not None and max_connections < 1:
        raise ValueError(f"max_connections must be 1 or more, not {max_connections}")
    if eras is not None:
        if not isinstance(store, str | os.PathLike) or any(ref is not None for ref in (branch, tag, snapshot)):
            raise ValueError("eras goes with the address of the main store and, of the versions, with as_of")
        if eras != "merge":
            store = _beside(str(store), eras)
    if isinstance(store, icechunk.Session):
        _refuse("a session", access, branch, tag, snapshot, as_of, storage_options)
        session = store
    else:
        repository = _repository(store, access, storage_options)
        session = _session(repository, branch, tag, snapshot, as_of)
    zarr_store: Any = session.store
    if max_connections is not None:
        zarr_store = LimitedStore(zarr_store, max_connections)
    root = _root(zarr_store)
    if ROOT_ATTRIBUTE not in root.attrs:
        warnings.warn(
            f"{session} was not written by s2ice: its root group has no attribute {ROOT_ATTRIBUTE}",
            NotAnS2iceStoreWarning,
            stacklevel=2,
        )
    path = (group or "").strip("/")
    if eras == "merge":
        roots = [root]
        for name in _eras.names(root):
            repository = _repository(_beside(str(store), name), access._replace(partly=True), storage_options)
            other: Any = _session(repository, None, None, None, as_of).store
            limited = max_connections is not None
            roots.append(_root(LimitedStore(other, zarr_store.connections, shared=zarr_store) if limited else other))
        return _merge(roots, path, chunks, kwargs)
    if path == "":
        return xr.open_datatree(zarr_store, engine="zarr", consolidated=False, chunks=chunks, **kwargs)
    path = _existing(root, path)
    dataset: xr.Dataset = xr.open_zarr(zarr_store, group=path, consolidated=False, chunks=chunks, **kwargs)
    return dataset


def eras(store: str | os.PathLike[str], *, storage_options: Options | None = None) -> dict[str, list[str]]:
    """List the eras of a tile: the stores beside the main one, and what each differs in.

    Parameters
    ----------
    store
        Address of the main store.
    storage_options
        As in `open`.

    Returns
    -------
    dict
        Sentences by name; `open` takes the name as `eras`.
    """
    storage, name, _ = locate(store, storage_options, None)
    return _eras.names(_root(_session(_opened(storage, name), None, None, None, None).store))


def _beside(store: str, era: str) -> str:
    """Return the address of an era."""
    if not _eras.is_name(era):
        raise ValueError(f'eras is "merge" or the name of an era such as "offset-0", not {era!r}')
    return f"{store.rstrip('/')}.era-{era}"


def _root(store: Any) -> zarr.Group:
    try:
        return zarr.open_group(store, mode="r")
    except FileNotFoundError:
        raise GroupNotFoundError("this version of the store is empty: it has no root group") from None


def _merge(roots: list[zarr.Group], path: str, chunks: Any, kwargs: dict[str, Any]) -> xr.DataTree | xr.Dataset:
    """Open a group, or the tree, of several stores as one."""
    for option in ("decode_times", "decode_cf"):
        if kwargs.get(option) is False:
            raise ValueError(
                f'eras="merge" joins decoded values: leave {option}=False out, or open the eras one by one'
            )
    # What tells where a product has data is needed here, whoever drops it.
    dropped = kwargs.pop("drop_variables", None) or []
    dropped = [dropped] if isinstance(dropped, str) else list(dropped)
    kwargs["drop_variables"] = [name for name in dropped if name not in ("present", "time")]
    columns = [xr.open_zarr(root.store, consolidated=False, chunks=None) for root in roots]
    axis = _eras.axis_of(columns)
    if path == "":
        opened: list[Any] = [root.store for root in roots]
        trees = [xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None, **kwargs) for store in opened]
        tree = _eras.join_trees(trees, axis)
        return tree.map_over_datasets(_eras.finished, kwargs={"dropped": dropped, "chunks": chunks})
    there = [isinstance(root.get(path), zarr.Group) for root in roots]
    if not any(there):
        _existing(roots[0], path)
    datasets = [
        xr.open_zarr(root.store, group=_existing(root, path), consolidated=False, chunks=None, **kwargs)
        if has
        else None
        for root, has in zip(roots, there, strict=True)
    ]
    return _eras.finished(_eras.join_group(datasets, axis), dropped, chunks)


def _repository(store: Any, access: Access, options: Options | None) -> icechunk.Repository:
    if isinstance(store, icechunk.Repository):
        _refuse("a repository", Access(), storage_options=options)
        return authorise(store, access, local=False) if access != Access() else store
    if isinstance(store, icechunk.Storage):
        _refuse("an Icechunk storage", Access(), storage_options=options)
        storage, name, local = store, str(store), False
    else:
        storage, name, local = locate(store, options, access.anonymous)
    return authorise(_opened(storage, name), access, local=local)


def _opened(storage: icechunk.Storage, name: str) -> icechunk.Repository:
    try:
        return icechunk.Repository.open(storage)
    except icechunk.RepositoryNotFoundError:
        raise StoreNotFoundError(f"there is no Icechunk store at {name}") from None
    except icechunk.IcechunkError as error:
        raise _unopened(name, error) from error


def _unopened(name: str, error: icechunk.IcechunkError) -> S2iceError:
    reason = error.message.partition("\n\ncontext:")[0].strip()
    if any(sign in reason for sign in ("403", "Forbidden", "AccessDenied", "InvalidAccessKeyId", "credentials")):
        return CredentialsError(
            f"the store {name} refuses access: {reason}. Pass anonymous=True if it is public, or its credentials in "
            "storage_options"
        )
    return S2iceError(f"cannot open the store {name}: {reason}")


def _session(
    repository: icechunk.Repository, branch: str | None, tag: str | None, snapshot: str | None, as_of: datetime | None
) -> icechunk.Session:
    if sum(ref is not None for ref in (branch, tag, snapshot)) > 1:
        raise ValueError("branch, tag and snapshot exclude each other")
    if tag is None and snapshot is None:
        branch = branch or "main"
    try:
        return repository.readonly_session(branch, tag=tag, snapshot_id=snapshot, as_of=as_of)
    except (icechunk.NotFoundError, icechunk.InvalidInputError) as error:
        there = ", ".join(f"branch {name}" for name in sorted(repository.list_branches()))
        tags = ", ".join(f"tag {name}" for name in sorted(repository.list_tags()))
        raise RefNotFoundError(
            f"{error.message.partition('\n')[0]}; the store has {there}{', ' if tags else ''}{tags}"
        ) from None


def _existing(root: zarr.Group, path: str) -> str:
    """Return the path of a group that holds arrays, or say which there are."""
    try:
        node = root[path]
    except KeyError:
        node = None
    if isinstance(node, zarr.Group) and any(True for _ in node.array_keys()):
        return path
    nodes = list(root.members(max_depth=None))
    leaves = sorted({name.rpartition("/")[0] for name, member in nodes if isinstance(member, zarr.Array)} - {""})
    if isinstance(node, zarr.Array):
        reason = f"{path} is an array; open its group"
    elif node is not None:
        reason = f"the group {path} holds no arrays itself"
    else:
        reason = f"there is no group {path}"
    raise GroupNotFoundError(f"{reason}. The groups with arrays are: {', '.join(leaves) or 'none'}")


def _refuse(what: str, access: Access, *refs: Any, storage_options: Options | None = None) -> None:
    if access != Access() or storage_options is not None or any(ref is not None for ref in refs):
        raise SourceError(f"{what} already has its storage, version and access; open it without these arguments")
