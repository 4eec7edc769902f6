"""xarray's engine ``s2ice``: catalogues name it, so that their assets open in one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from xarray.backends import BackendEntrypoint

from s2ice import _eras, _open
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr


class Backend(BackendEntrypoint):
    """Opens a group of a store, or with ``xarray.open_datatree`` all of it; the options are those of `s2ice.open`."""

    description = "Sentinel-2 stores of s2ice"
    url = "https://github.com/s2ice/s2ice"
    supports_groups = True
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "group", "eras", "storage_options")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell nothing of a place by its name: the engine has to be named."""
        return False

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """Open a group: ``group`` of a store, whose path may stand at the end of the address as well."""
        path = (group or "").strip("/")
        if not path:
            raise RequestError(
                "the root of a store holds no arrays: name a group, such as group='measurements/reflectance/r10m', or "
                "use xarray.open_datatree"
            )
        store = _store(filename_or_obj, path, options.get("eras"))
        return _open.open(store, path, drop_variables=drop_variables, **options)

    def open_datatree(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, **options: Any
    ) -> xr.DataTree:
        """Open a store as a tree; the path of an era may stand at the end of the address."""
        if options.pop("group", None):
            raise RequestError("open_datatree opens a whole store: use xarray.open_dataset for a group")
        store = _store(filename_or_obj, None, options.get("eras"))
        tree: xr.DataTree = _open.open(store, None, drop_variables=drop_variables, **options)
        return tree


def _store(place: Any, group: str | None, eras: str | None) -> Any:
    """Return the store that a group or era is of: assets of a catalogue lead to these."""
    if not isinstance(place, str | os.PathLike):
        return place
    url = os.fspath(place).rstrip("/")
    for path in (group, eras and _eras.base_of(eras)):
        if path and url.endswith(f"/{path}"):
            return url.removesuffix(f"/{path}")
    return url
