"""`s2ice.rasterio_path`: one raster of a store as a file that rasterio, and all that reads with GDAL, opens."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import tempfile
import threading
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s2ice import _s2ice
from s2ice._address import Address, AddressError, in_bucket, on_azure, parse
from s2ice._build import _options
from s2ice._consent import Allow, allowed, check
from s2ice._storage import locate
from s2ice.errors import ConsentError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

type Time = str | datetime | np.datetime64 | Any

# Units of which a time is as long as one of them.
_COARSE = {"Y", "M", "W", "D", "h", "m", "s"}
# Two threads that ask for one raster would write the same files.
_WRITING = threading.Lock()


def rasterio_path(
    store: str | os.PathLike[str],
    array: str,
    time: Time,
    *,
    at: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    allow: Allow | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> str:
    """Return a path that `rasterio.open` takes for one array of a store at one time.

    The path is that of a small VRT with CRS, scale, offset and nodata. It reads the product's own file through a header
    with the places of its tiles (about 2 kB, written beside it), so that a window of a remote file takes about three
    requests. GDAL's JP2OpenJPEG driver decodes, so it must be there; the wheel of rasterio has it.

    Parameters
    ----------
    store
        A folder or URL.
    array
        Path of the array, such as ``"measurements/reflectance/r10m/b04"``. It is looked for in the main tree and in
        the eras; ``"eras/offset-0/measurements/..."`` names that of one era.
    time
        Of the time axis, in UTC: a string, a `datetime`, a `numpy.datetime64` or an element of an xarray coordinate. A
        date stands for the whole day, a time without milliseconds for the whole second.
    at
        The version to read: a tag, branch or snapshot; the branch ``main`` by default.
    storage_options
        For the *store*, as for `build`.
    allow
        As in `open`.
    folder
        Where the files are kept, for other processes or later: a new or empty folder, or one that was given before. By
        default they go to a temporary folder, which is removed when Python ends.

    Returns
    -------
    str

    Raises
    ------
    StoreNotFoundError
        There is no store at this place.
    RefNotFoundError
        There is no such tag, branch or snapshot.
    RequestError
        There is no such array, none or several products at that time, or the folder holds something else.
    ConsentError
        The file lies at a place that is not allowed. Nothing was asked there.
    S2iceError
        Anything else; its text says what.

    Notes
    -----
    What GDAL needs to reach a source with keys is set as for any file there, by `rasterio.Env` or the environment:
    ``AWS_S3_ENDPOINT``, ``AWS_ACCESS_KEY_ID``, ... ``GDAL_DISABLE_READDIR_ON_OPEN=EMPTY_DIR`` saves a listing.

    Examples
    --------
    >>> path = s2ice.rasterio_path("s3://bucket/33TVN", "measurements/reflectance/r10m/b04", "2025-07-01")
    ... # doctest: +SKIP
    >>> with rasterio.open(path) as file:  # doctest: +SKIP
    ...     window = file.read(1, window=((2000, 2200), (3000, 3200)))
    """
    span = _span(time)
    given = storage_options or {}
    place = locate(store, {name: given[name] for name in ("endpoint_url", "account") if name in given}, None)
    if folder is None:
        # One folder for each store: two of them may have a product of one name.
        folder = _kept() / hashlib.sha256(f"{place.name}\n{at}".encode()).hexdigest()[:16]
    options = json.dumps(_options(given))
    with _WRITING:
        answer = _s2ice.gdal_raster(os.fspath(store), options, array, span, os.fspath(folder), at)
    made: dict[str, Any] = json.loads(answer)
    if service := made["service"]:
        check(_address(service), service["name"], place.own, allowed(allow), local=place.local)
    path: str = made["vrt"]
    return path


@cache
def _kept() -> Path:
    """Return a folder that lives as long as Python."""
    folder = tempfile.TemporaryDirectory(prefix="s2ice-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _span(time: Time) -> tuple[int, int]:
    """Return the first and the last millisecond that a time stands for."""
    given = getattr(time, "values", time)
    try:
        if isinstance(given, datetime) and given.tzinfo is not None:
            given = given.astimezone(UTC).replace(tzinfo=None)
        if isinstance(given, str):
            given = given.removesuffix("Z")
            if given.count(":") > 2 or "+" in given:
                raise ValueError
        if given is None:
            raise ValueError
        when = np.datetime64(given)
    except (TypeError, ValueError):
        raise RequestError(f"time is a date or a time in UTC, such as 2025-07-01T10:07:53.024, not {time!r}") from None
    if np.isnat(when):
        raise RequestError(f"time is a date or a time in UTC, not {time!r}")
    first = int(when.astype("datetime64[ms]").astype(int))
    unit: Any = np.datetime_data(when)[0]
    if unit not in _COARSE:
        return first, first
    after = when.astype(f"datetime64[{unit}]") + np.timedelta64(1, unit)
    return first, int(after.astype("datetime64[ms]").astype(int)) - 1


def _address(service: dict[str, Any]) -> Address:
    """Return what is asked when the file is read."""
    prefix = service["prefix"]
    try:
        match prefix.partition("://")[0]:
            case "s3" | "tigris":
                style = service["path_style"]
                return in_bucket(parse(prefix), service["endpoint"], service["region"], path_style=style)
            case "az":
                return on_azure(prefix, service["account"] or "")
            case _:
                return parse(prefix)
    except AddressError as error:
        raise ConsentError(f"where the file lies, {prefix}, cannot be understood: {error}") from None
