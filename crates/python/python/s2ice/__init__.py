"""Sentinel-2 archives as Icechunk stores, without copying a pixel.

`cube` makes one Dataset on one grid of a store or several, `open` opens a store with xarray, `rasterio_path` one raster
of it with rasterio; `build` and `info` do what the commands of the same names do. The codec ``s2ice.jpeg2000`` is found
by zarr-python and numcodecs on its own once the package is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from s2ice import errors
from s2ice._s2ice import __version__
from s2ice.errors import CodecError

if TYPE_CHECKING:
    from s2ice import plot
    from s2ice._build import build, info
    from s2ice._catalogue import Fleet, open_fleet
    from s2ice._cube import cube
    from s2ice._estimate import estimate
    from s2ice._missing import MissingChunk, missing
    from s2ice._open import eras, open
    from s2ice._progress import progress
    from s2ice._rasterio import rasterio_path
    from s2ice.codec import Jpeg2000Codec

__all__ = [
    "CodecError",
    "Fleet",
    "Jpeg2000Codec",
    "MissingChunk",
    "__version__",
    "build",
    "cube",
    "eras",
    "errors",
    "estimate",
    "info",
    "missing",
    "open",
    "open_fleet",
    "plot",
    "progress",
    "rasterio_path",
]

# zarr-python imports this package to find the codec; xarray and icechunk are only imported by those who use them.
_LAZY = {
    "Fleet": "s2ice._catalogue",
    "Jpeg2000Codec": "s2ice.codec",
    "MissingChunk": "s2ice._missing",
    "build": "s2ice._build",
    "cube": "s2ice._cube",
    "eras": "s2ice._open",
    "estimate": "s2ice._estimate",
    "info": "s2ice._build",
    "missing": "s2ice._missing",
    "open": "s2ice._open",
    "open_fleet": "s2ice._catalogue",
    "progress": "s2ice._progress",
    "rasterio_path": "s2ice._rasterio",
}


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module("s2ice.plot")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 's2ice' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "plot"})
