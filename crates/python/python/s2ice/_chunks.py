"""Dask chunks: whole tiles of the files, and as many dates as a task can hold."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from math import prod
from typing import TYPE_CHECKING, Any

from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    import xarray as xr

GOAL = 64 << 20
"""Most bytes of decoded values in a chunk, unless one tile of one date has more: see `tests/bench/readers.py`."""


def check(chunks: Any) -> None:
    """Refuse chunks where dask is not installed, and words that are none."""
    if chunks is None:
        return
    if find_spec("dask") is None:
        raise RequestError("chunks needs dask: pip install 's2ice[dask]', or leave chunks out (chunks=None)")
    if isinstance(chunks, str) and chunks != "auto":
        raise RequestError(f'chunks is "auto", sizes such as {{"time": 10}}, or None for no dask, not {chunks!r}')


def check_names(chunks: Any, datasets: Iterable[xr.Dataset]) -> None:
    """Refuse sizes along dimensions that nothing has."""
    if isinstance(chunks, Mapping):
        dims = sorted({str(name) for dataset in datasets for name in dataset.dims})
        if unknown := sorted(str(name) for name in chunks if name not in dims):
            raise RequestError(f"chunks names {', '.join(unknown)}; the dimensions are {', '.join(dims)}")


def is_default(chunks: Any) -> bool:
    """Tell whether it is left to s2ice how large chunks are."""
    return (isinstance(chunks, str) and chunks == "auto") or (isinstance(chunks, Mapping) and not chunks)


def along_time(steps: int, each: int) -> int:
    """Return how many steps of so many bytes make a chunk: about equal ones, so that the last is no rest."""
    most = max(1, min(steps, GOAL // max(each, 1)))
    return -(-steps // -(-steps // most)) if steps else 1


def chunked(dataset: xr.Dataset, chunks: Any, token: Sequence[Any]) -> xr.Dataset:
    """Return dask arrays where they are asked for; all arrays of a Dataset get the same chunks.

    Parameters
    ----------
    chunks
        ``None`` for none; ``"auto"`` or ``{}`` for the default; sizes by dimension, the stored ones for those left out;
        or what `xarray.Dataset.chunk` takes.
    token
        What the arrays are of: equal tokens make equal names, so that dask sees that it has them already.
    """
    if chunks is None:
        return dataset
    sizes = chunks if not isinstance(chunks, str | Mapping) else _sizes(dataset, chunks)
    return dataset.assign({name: lazily(array, sizes, (*token, name)) for name, array in dataset.data_vars.items()})


def _sizes(dataset: xr.Dataset, chunks: Any) -> Any:
    stored: dict[Hashable, int] = {}
    for array in dataset.data_vars.values():
        for name, size in zip(array.dims, array.encoding.get("chunks") or array.shape, strict=True):
            stored[name] = max(stored.get(name, 1), size)
    if not is_default(chunks):
        return stored | dict(chunks)
    if "time" in stored:
        each = [
            prod(min(stored[name], size) for name, size in array.sizes.items() if name != "time") * array.dtype.itemsize
            for array in dataset.data_vars.values()
        ]
        stored["time"] = along_time(dataset.sizes["time"], max(each))
    return stored


def lazily(array: xr.DataArray, chunks: Any, token: Sequence[Any]) -> xr.DataArray:
    """Return a dask array of one layer, whose tasks hold what they read."""
    from dask.base import tokenize

    if isinstance(chunks, Mapping):
        chunks = {name: size for name, size in chunks.items() if name in array.dims}
    name = f"s2ice-{array.name}-{tokenize(*token, chunks)}"
    return array.copy(data=array.variable.chunk(chunks, name=name, inline_array=True).data)
