"""`s2ice.open`: from the place of a store to xarray."""

from __future__ import annotations

import warnings
from inspect import signature
from typing import TYPE_CHECKING, Any, overload

import icechunk
import xarray as xr
import zarr

from s2ice import (
    _chunks,
    _eras,
    _fork,
    _levels,
    _listed,
    _pipeline,
    _places,
    _reading,
    _scaled,
    _tidy,
    _words,
)
from s2ice._connect import TIMEOUT, StoreLike, connected, located, opened, root_of, version
from s2ice._source import Access, Credentials, Source
from s2ice.errors import (
    GroupNotFoundError,
    NotAnS2iceStoreWarning,
    RequestError,
    S2iceError,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from datetime import datetime

    from s2ice._consent import Allow
    from s2ice._storage import Options

ROOT_ATTRIBUTE = "s2ice"


@overload
def open(store: StoreLike, group: None = None, **kwargs: Any) -> xr.DataTree: ...
@overload
def open(store: StoreLike, group: str, **kwargs: Any) -> xr.Dataset: ...
@_pipeline.opens
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
    timeout: float = TIMEOUT,
    cache_bytes: int = _reading.CACHE_BYTES,
    on_error: _reading.OnError = "raise",
    chunks: Any = None,
    eras: str | None = None,
    dtype: Any = "float32",
    catalogue: str | os.PathLike[str] | None = None,
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
        `credentials`, `anonymous`, `source` or `allow` is given. A STAC collection or item as ``s2ice publish`` writes
        them may stand for a store: its address or path (``.json``), a dict, or an object of pystac.
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
        Most chunks to fetch from a host at a time, in this process. By default Zarr's setting ``async.concurrency``
        decides for each read, and a host that answers "too many requests" is asked for fewer. The Copernicus Data Space
        allows a user 4: all processes of this machine together never have more, or than this number.
    timeout
        Longest time for a chunk in all, seconds; each try gets two fifths of it. What may pass is tried again. Each of
        the answers that open a store takes as long at most.
    cache_bytes
        Size of the chunks read last that are kept in this process, as they came; 0 keeps none.
    on_error
        ``"raise"``: a chunk that cannot be read is a `ChunkError`. ``"nan"``: it is as nodata (NaN, or the class for no
        data), a warning says so, and `s2ice.missing` lists it. Arrays that have no value for nodata raise.
    chunks
        ``None`` reads lazily without dask. ``"auto"`` or ``{}`` makes dask arrays whose chunks are a tile of the files
        wide and as many dates long as 64 MiB of values hold; sizes such as ``{"time": 10}`` go first. Else as in
        `xarray.open_zarr`.
    eras
        Products before baseline 04.00 have another radiometric offset, and some rasters another main header, so they
        stand in trees of their own, the eras, which `eras` lists. Without, all of them are one cube, decoded to one
        scale; ``"main"`` opens the main tree alone and a name such as ``"offset-0"`` that era alone.
    dtype
        Of decoded values: ``"float32"``, which tells all digital numbers apart and is the value in double precision,
        rounded once; or ``"float64"``.
    catalogue
        URL or folder of a publication, whose tile ids may then stand for a store: ``"33TVN"``, ``"33TVN-L1C"``.
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
    ForkError
        This process is a fork of one that has opened a store.
    S2iceError
        Anything else that keeps the store from being opened.

    Examples
    --------
    >>> tree = s2ice.open("s3://bucket/29UNU.icechunk", credentials="env")  # doctest: +SKIP
    >>> r10m = tree["measurements/reflectance/r10m"]  # doctest: +SKIP
    >>> r10m.b04.sel(time="2025-07-01", method="nearest").load()  # doctest: +SKIP
    """
    _fork.guard()
    _chunks.check(chunks)
    _words.check(kwargs, signature(open).parameters)
    access = Access.told(credentials, anonymous, source, allow)
    store = _places.named(store, catalogue)
    _reading.check_timeout(timeout)
    session = connected(
        store, access, storage_options, branch=branch, tag=tag, snapshot=snapshot, as_of=as_of, timeout=timeout
    )
    levels = None if resolution is None else _levels.LevelStore(session.store, resolution, nearest=nearest)
    zarr_store: Any = _reading.wrapped(
        session,
        levels or session.store,
        timeout=timeout,
        max_connections=max_connections,
        cache_bytes=cache_bytes,
        on_error=on_error,
        masked=kwargs.get("mask_and_scale") is not False,
    )
    root = root_of(zarr_store)
    if ROOT_ATTRIBUTE not in root.attrs:
        warnings.warn(
            f"{session} was not written by s2ice: its root group has no attribute {ROOT_ATTRIBUTE}",
            NotAnS2iceStoreWarning,
            stacklevel=2,
        )
    path = (group or "").strip("/")
    trees = _eras.trees(root, eras)
    indexes = kwargs.pop("create_default_indexes", True)
    # What is read to make indexes is read with the other coordinates, side by side.
    kwargs |= {"create_default_indexes": False, "consolidated": False}
    version = session.snapshot_id if session.read_only else id(session)
    finish = _Finish(kwargs, dtype, chunks, (version, str(eras), resolution, nearest, str(source), on_error))
    # The path of a group in an era is taken as it stands.
    in_era = path.partition("/")[0] == _eras.ERAS
    try:
        if len(trees) > 1 and not in_era:
            groups = _joined(root, trees, path, finish, kwargs)
        else:
            groups = _single(root, _eras.base_of(trees[0]), path, finish, kwargs)
    except GroupNotFoundError:
        if levels is not None:
            _check_resolution(root, levels)
        raise
    if levels is not None and not path:
        _check_resolution(root, levels)
    _chunks.check_names(chunks, groups.values())
    stamp: Any = root.attrs.get(ROOT_ATTRIBUTE) or {}
    told = _tidy.Told(stamp, [path.split("/")[1]] if in_era else trees)
    groups = _tidy.tidied(groups, told, indexes=indexes)
    return groups[path] if path else _listed.StoreTree.from_dict(groups)


class _Finish:
    """What becomes of a group that xarray has opened: values, and dask arrays where they are asked for."""

    def __init__(self, kwargs: dict[str, Any], dtype: Any, chunks: Any, token: tuple[Any, ...]) -> None:
        self.dtype = _scaled.checked(dtype)
        self.chunks = chunks
        # What is given for single arrays is left to xarray.
        self.decodes = kwargs.get("mask_and_scale", True) is True and kwargs.get("decode_cf", True) is not False
        if self.decodes:
            kwargs["mask_and_scale"] = False
        self.token = (*token, str(self.dtype), sorted((key, str(value)) for key, value in kwargs.items()))

    def decoded(self, dataset: xr.Dataset) -> xr.Dataset:
        return _scaled.decoded(dataset, self.dtype) if self.decodes else dataset

    def chunked(self, dataset: xr.Dataset, path: str) -> xr.Dataset:
        return _chunks.chunked(dataset, self.chunks, (*self.token, path))


def eras(store: StoreLike, *, storage_options: Options | None = None, timeout: float = TIMEOUT) -> dict[str, list[str]]:
    """List the eras of a store: the trees beside the main one, and what each differs in.

    Parameters
    ----------
    store, storage_options, timeout
        As in `open`.

    Returns
    -------
    dict
        Sentences by name; `open` takes the name as `eras`.
    """
    if isinstance(store, icechunk.Session):
        return _eras.names(root_of(store.store))
    if not isinstance(store, icechunk.Repository):
        store = opened(located(store, storage_options, None), timeout)
    return _eras.names(root_of(version(store, timeout).store))


def _check_resolution(root: zarr.Group, store: _levels.LevelStore) -> None:
    """Refuse a resolution that no raster has; what was met already is not looked for again."""
    if store.shown or any(store.shown for _ in root.members(max_depth=None)):
        return
    sizes = ", ".join(f"{size:g}" for size in sorted(set(store.sizes.values())))
    raise RequestError(
        f"no raster of the store can be seen at {store.resolution:g} m: its pixels are of {sizes or 'unknown'} m, and "
        "a view has 2, 4, 8 or 16 times that"
    )


def _groups(root: zarr.Group, base: str, **kwargs: Any) -> dict[str, xr.Dataset]:
    """Open the groups of one tree, by their paths in it; those of eras are not in the main one."""
    tree = _tree(root, base)
    names = sorted(tree.group_keys())
    apart = base == "" and _eras.ERAS in names
    out = {"/": xr.Dataset(attrs=tree.attrs.asdict())} if apart else {}
    store: Any = root.store
    for name in [name for name in names if name != _eras.ERAS] if apart else [""]:
        group = _eras.within(base, name)
        opened = xr.open_datatree(store, engine="zarr", group=group or None, **kwargs)
        out |= {f"/{_eras.within(name, node.path)}": node.to_dataset(inherit=False) for node in opened.subtree}
    return out


def _single(root: zarr.Group, base: str, path: str, finish: _Finish, kwargs: dict[str, Any]) -> dict[str, xr.Dataset]:
    """Open a group, or everything, of one tree."""
    kwargs = {"chunks": None, **kwargs}
    if path:
        dataset = xr.open_zarr(root.store, group=_eras.within(base, _existing(root, [base], path)), **kwargs)
        return {path: finish.chunked(finish.decoded(dataset), path)}
    groups = _groups(root, base, **kwargs)
    return {at: finish.chunked(finish.decoded(group), at) for at, group in groups.items()}


def _joined(
    root: zarr.Group, trees: list[str], path: str, finish: _Finish, kwargs: dict[str, Any]
) -> dict[str, xr.Dataset]:
    """Open a group, or everything, of several trees as one."""
    for option in ("decode_times", "decode_cf"):
        if kwargs.get(option) is False:
            raise RequestError(
                f'several eras are joined by decoded values: leave {option}=False out, or say eras="main"'
            )
    dropped = kwargs.pop("drop_variables", None) or []
    dropped = [dropped] if isinstance(dropped, str) else list(dropped)
    # What tells where a product has data is needed here, whoever drops it; times come from the products.
    wanted = [_eras.TIME, *(name for name in dropped if name != _eras.PRESENT)]
    lazily: dict[str, Any] = {"chunks": None, **kwargs, "drop_variables": wanted}
    bases = [_eras.base_of(tree) for tree in trees]
    times: dict[str, Any] = {name: kwargs[name] for name in ("decode_times", "use_cftime") if name in kwargs}
    axis = _eras.axis_of({tree: _products(root, base, times) for tree, base in zip(trees, bases, strict=True)})
    if path == "":
        opened = [{at: finish.decoded(group) for at, group in _groups(root, base, **lazily).items()} for base in bases]
        groups = _eras.join_trees(opened, axis)
    else:
        _existing(root, bases, path)
        datasets = [
            finish.decoded(xr.open_zarr(root.store, group=_eras.within(base, path), **lazily))
            if isinstance(_tree(root, base).get(path), zarr.Group)
            else None
            for base in bases
        ]
        groups = {path: _eras.join_group(datasets, axis)}
    return {at: finish.chunked(group.drop_vars(dropped, errors="ignore"), at) for at, group in groups.items()}


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
