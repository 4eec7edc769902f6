"""`s2ice.open`: from the place of a store to xarray."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, overload

import icechunk
import xarray as xr
import zarr

from s2ice import _eras
from s2ice._levels import LevelStore
from s2ice._limit import LimitedStore
from s2ice._source import Access, Credentials, Source, authorise
from s2ice._storage import Options, Place, locate
from s2ice.errors import (
    CredentialsError,
    GroupNotFoundError,
    NotAnS2iceStoreWarning,
    RefNotFoundError,
    RequestError,
    S2iceError,
    SourceError,
    StoreNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from s2ice._consent import Allow

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
    allow: Allow | None = None,
    max_connections: int | None = None,
    chunks: Any = None,
    eras: str | None = None,
    resolution: float | None = None,
    nearest: bool = False,
    **kwargs: Any,
) -> xr.DataTree | xr.Dataset:
    """Open a store with xarray, read-only and lazily.

    Parameters
    ----------
    store
        A path, a ``file://``, ``s3://``, ``gs://``, ``az://``, ``http://`` or ``https://`` URL, or an Icechunk storage,
        repository or session. A session is used as it is. A repository keeps its own access to the source unless one of
        `credentials`, `anonymous`, `source` or `allow` is given.
    group
        Path of one group, such as ``"measurements/reflectance/r10m"``, to open it as a Dataset. The whole store is
        opened as a DataTree by default.
    branch, tag, snapshot
        The version to read; the branch ``main`` by default.
    as_of
        Read the branch as it was at this time, which must have a time zone.
    anonymous
        ``True`` sends unsigned requests to the store and to the source. What `storage_options` and `credentials` say
        goes first.
    credentials
        For the *source*, the archive that the pixels lie in: ``"env"`` to take them from the environment
        (``AWS_ACCESS_KEY_ID``, ...), a mapping with ``access_key_id`` and ``secret_access_key``, Icechunk credentials,
        or a mapping from the names of the sources to such. Without, a source on S3 is read only with `anonymous`, or
        where the store says that it is public; else there is a `CredentialsError`. Requests to other clouds are
        unsigned then.
    storage_options
        For the *store*: ``endpoint_url``, ``region``, ``anonymous``, ``allow_http``, ``force_path_style``,
        ``access_key_id``, ... as ``icechunk.s3_storage`` and its like for other clouds take them. Without, credentials
        come from the environment.
    source
        Another place of the source, such as a mirror: a URL, or a mapping from the names of the sources to URLs. In the
        place of a URL may stand a mapping with ``url``, ``endpoint_url``, ``region``, ``anonymous``, ...
    allow
        Where the store may lead beyond its own host or bucket and the public sources that s2ice knows: one or several
        addresses such as ``"https://host"``, ``"s3://bucket/prefix"`` or ``"/folder"``, each with all that lies below
        it. A host of your own network must be named; ``True`` stands for every other. Where a name stands for an
        address of your network, allow that as well: ``"10.1.2.3"`` or ``"10.0.0.0/8"``. What `source` names is
        allowed. The environment variable ``S2ICE_ALLOW`` holds further addresses, with spaces between.
    max_connections
        Most chunks to fetch at a time; the Copernicus Data Space allows 4 connections per user. By default Zarr's
        setting ``async.concurrency`` decides.
    chunks
        As in `xarray.open_zarr`. ``None`` reads lazily without dask; ``{}`` makes dask arrays with one task per tile.
    eras
        Products before baseline 04.00 have another radiometric offset, and some rasters another main header, so they
        stand in trees of their own, the eras, which `eras` lists. Without, all of them are one cube, decoded to one
        scale; ``"main"`` opens the main tree alone and a name such as ``"offset-0"`` that era alone.
    resolution
        Pixel size in metres, for a coarser view of the rasters that have it: 20, 40, 80 or 160 of those of 10 m, 40 to
        320 of those of 20 m, 120 to 960 of those of 60 m. Of every tile only the lowest resolutions are read, about 1 %
        of the bytes of 10 m bands at 160 m. Groups keep their names; rasters without this resolution are left out, and
        so are rasters of classes. Pixels are weighted means of their surroundings, as the file's wavelet transform made
        them, and lie where every second, fourth, ... pixel lies.
    nearest
        With `resolution`: take rasters of classes, too, and those that are no JPEG 2000, as every second, fourth, ...
        pixel. Their tiles are read as a whole.
    **kwargs
        For `xarray.open_datatree` or `xarray.open_zarr`: ``mask_and_scale=False`` gives the digital numbers as stored
        (of one era where these have other offsets), ``drop_variables`` leaves arrays out, ...

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
        There is no such group or era; the message lists them.
    ConsentError
        The store leads to a place that is not allowed; the message says how to allow it. Nothing was asked there.
    CredentialsError
        The store or its source asks for credentials.
    RequestError
        Arguments contradict each other, `as_of` has no time zone, or no raster has this resolution.
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
    access = Access(credentials, anonymous, source, allow)
    if as_of is not None and as_of.tzinfo is None:
        raise RequestError(f"as_of has no time zone, {as_of!r}: give it one, such as tzinfo=datetime.UTC")
    if max_connections is not None and max_connections < 1:
        raise RequestError(f"max_connections must be 1 or more, not {max_connections}")
    if isinstance(store, icechunk.Session):
        _refuse("a session", access, branch, tag, snapshot, as_of, storage_options)
        session = store
    else:
        repository = _repository(store, access, storage_options)
        session = _session(repository, branch, tag, snapshot, as_of)
    zarr_store: Any = session.store
    if max_connections is not None:
        zarr_store = LimitedStore(zarr_store, max_connections)
    if resolution is not None:
        zarr_store = LevelStore(zarr_store, resolution, nearest=nearest)
    root = _root(zarr_store)
    if resolution is not None:
        _check_resolution(root, zarr_store)
    if ROOT_ATTRIBUTE not in root.attrs:
        warnings.warn(
            f"{session} was not written by s2ice: its root group has no attribute {ROOT_ATTRIBUTE}",
            NotAnS2iceStoreWarning,
            stacklevel=2,
        )
    path = (group or "").strip("/")
    named = _eras.names(root)
    if eras not in (None, _eras.MAIN, *named):
        listed = ", ".join(map(repr, (_eras.MAIN, *named)))
        raise GroupNotFoundError(f"the store has no era {eras!r}; eras is one of {listed}, or None for all of them")
    trees = [_eras.MAIN, *named] if eras is None else [eras]
    # The path of a group in an era is taken as it stands.
    if len(trees) > 1 and path.partition("/")[0] != _eras.ERAS:
        return _joined(root, trees, path, chunks, kwargs)
    base = _eras.base_of(trees[0])
    if path == "" and named:
        return xr.DataTree.from_dict(_groups(root, base, chunks=chunks, **kwargs))
    if path == "":
        return xr.open_datatree(zarr_store, engine="zarr", consolidated=False, chunks=chunks, **kwargs)
    path = _eras.within(base, _existing(root, [base], path))
    dataset: xr.Dataset = xr.open_zarr(zarr_store, group=path, consolidated=False, chunks=chunks, **kwargs)
    return dataset


def eras(store: StoreLike, *, storage_options: Options | None = None) -> dict[str, list[str]]:
    """List the eras of a store: the trees beside the main one, and what each differs in.

    Parameters
    ----------
    store, storage_options
        As in `open`.

    Returns
    -------
    dict
        Sentences by name; `open` takes the name as `eras`.
    """
    if isinstance(store, icechunk.Session):
        return _eras.names(_root(store.store))
    if not isinstance(store, icechunk.Repository):
        store = _opened(_located(store, storage_options, None))
    return _eras.names(_root(store.readonly_session("main").store))


def _root(store: Any) -> zarr.Group:
    try:
        return zarr.open_group(store, mode="r")
    except FileNotFoundError:
        raise GroupNotFoundError("this version of the store is empty: it has no root group") from None


def _check_resolution(root: zarr.Group, store: LevelStore) -> None:
    """Refuse a resolution that no raster has."""
    for _ in root.members(max_depth=None):
        if store.shown:
            return
    sizes = ", ".join(f"{size:g}" for size in sorted(set(store.sizes.values())))
    raise RequestError(
        f"no raster of the store can be seen at {store.resolution:g} m: its pixels are of {sizes or 'unknown'} m, and "
        "a view has 2, 4, 8 or 16 times that"
    )


def _groups(root: zarr.Group, base: str, **kwargs: Any) -> dict[str, xr.Dataset]:
    """Open the groups of one tree, by their paths in it; those of eras are not in the main one."""
    tree = _tree(root, base)
    out = {"/": xr.Dataset(attrs=tree.attrs.asdict())}
    store: Any = root.store
    for name in sorted(tree.group_keys()):
        if (base, name) != ("", _eras.ERAS):
            group = _eras.within(base, name)
            opened = xr.open_datatree(store, engine="zarr", consolidated=False, group=group, **kwargs)
            out |= {f"/{name}{node.path}".rstrip("/"): node.to_dataset(inherit=False) for node in opened.subtree}
    return out


def _joined(
    root: zarr.Group, trees: list[str], path: str, chunks: Any, kwargs: dict[str, Any]
) -> xr.DataTree | xr.Dataset:
    """Open a group, or everything, of several trees as one."""
    for option in ("decode_times", "decode_cf"):
        if kwargs.get(option) is False:
            raise ValueError(f'several eras are joined by decoded values: leave {option}=False out, or say eras="main"')
    dropped = kwargs.pop("drop_variables", None) or []
    dropped = [dropped] if isinstance(dropped, str) else list(dropped)
    indexes = kwargs.pop("create_default_indexes", True)
    # What tells where a product has data is needed here, whoever drops it; times come from the products.
    wanted = [_eras.TIME, *(name for name in dropped if name != _eras.PRESENT)]
    lazily: dict[str, Any] = {"drop_variables": wanted, "create_default_indexes": False, "chunks": None}
    bases = [_eras.base_of(tree) for tree in trees]
    times: dict[str, Any] = {name: kwargs[name] for name in ("decode_times", "use_cftime") if name in kwargs}
    axis = _eras.axis_of({tree: _products(root, base, times) for tree, base in zip(trees, bases, strict=True)})
    if path == "":
        groups = _eras.join_trees([_groups(root, base, **kwargs, **lazily) for base in bases], axis, indexes=indexes)
        return xr.DataTree.from_dict({at: _eras.finished(group, dropped, chunks) for at, group in groups.items()})
    path = _existing(root, bases, path)
    datasets = [
        xr.open_zarr(root.store, group=_eras.within(base, path), consolidated=False, **kwargs, **lazily)
        if isinstance(_tree(root, base).get(path), zarr.Group)
        else None
        for base in bases
    ]
    return _eras.finished(_eras.join_group(datasets, axis, indexes=indexes), dropped, chunks)


def _products(root: zarr.Group, base: str, times: dict[str, Any]) -> xr.Dataset:
    """Open what makes the time axis of a tree; other columns are not looked at."""
    path = _eras.within(base, _existing(root, [base], _eras.PRODUCTS))
    others = [name for name in _tree(root, path).array_keys() if name not in (_eras.TIME, _eras.PRODUCT)]
    options: dict[str, Any] = {"drop_variables": others, "create_default_indexes": False, **times}
    table: xr.Dataset = xr.open_zarr(root.store, group=path, consolidated=False, chunks=None, **options)
    return table


def _tree(root: zarr.Group, base: str) -> zarr.Group:
    tree = root.get(base) if base else root
    if not isinstance(tree, zarr.Group):
        raise S2iceError(f"the store names an era, but has no group {base}")
    return tree


def _repository(store: Any, access: Access, options: Options | None) -> icechunk.Repository:
    if isinstance(store, icechunk.Repository):
        _refuse("a repository", Access(), storage_options=options)
        return authorise(store, access) if access != Access() else store
    place = _located(store, options, access.anonymous)
    return authorise(_opened(place), access, own=place.own, local=place.local)


def _located(store: Any, options: Options | None, anonymous: bool | None) -> Place:
    if isinstance(store, icechunk.Storage):
        _refuse("an Icechunk storage", Access(), storage_options=options)
        return Place(store, str(store))
    return locate(store, options, anonymous)


def _opened(place: Place) -> icechunk.Repository:
    try:
        return icechunk.Repository.open(place.storage)
    except icechunk.RepositoryNotFoundError:
        raise StoreNotFoundError(f"there is no Icechunk store at {place.name}") from None
    except icechunk.IcechunkError as error:
        raise _unopened(place.name, error) from error


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
        raise RequestError("branch, tag and snapshot exclude each other")
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


def _existing(root: zarr.Group, bases: list[str], path: str) -> str:
    """Return the path of a group that holds arrays in one of the trees, or say which there are."""
    nodes = [root.get(_eras.within(base, path)) for base in bases]
    groups = [node for node in nodes if isinstance(node, zarr.Group)]
    if any(True for group in groups for _ in group.array_keys()):
        return path
    if any(isinstance(node, zarr.Array) for node in nodes):
        reason = f"{path} is an array; open its group"
    elif groups:
        reason = f"the group {path} holds no arrays itself"
    else:
        reason = f"there is no group {path}"
    leaves: set[str] = set()
    for base in bases:
        arrays = [name for name, node in _tree(root, base).members(max_depth=None) if isinstance(node, zarr.Array)]
        inside = {name.rpartition("/")[0] for name in arrays if base or not name.startswith(f"{_eras.ERAS}/")}
        leaves |= inside - {""}
    raise GroupNotFoundError(f"{reason}. The groups with arrays are: {', '.join(sorted(leaves)) or 'none'}")


def _refuse(what: str, access: Access, *refs: Any, storage_options: Options | None = None) -> None:
    if access != Access() or storage_options is not None or any(ref is not None for ref in refs):
        raise SourceError(f"{what} already has its storage, version and access; open it without these arguments")
