"""A store as a DataTree whose ``repr`` fits a screen."""

from __future__ import annotations

import xarray as xr


class StoreTree(xr.DataTree):  # type: ignore[no-untyped-call]
    """A `xarray.DataTree` that tells each group in a line; as one of its nodes alone it is told as ever."""

    __slots__ = ()

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:  # type: ignore[override]
        if self.parent is not None:
            return str(super().__repr__())
        told = self.attrs
        head = " ".join(str(told[key]) for key in ("s2ice:tile", "s2ice:level") if key in told)
        lines = [f"<xarray.DataTree> {head}".rstrip()]
        if "s2ice:eras" in told:
            lines.append(f"Eras: {told['s2ice:eras']}")
        if "s2ice:eras_left_out" in told:
            lines.append(f"Eras left out: {told['s2ice:eras_left_out']}")
        groups = sorted((node for node in self.subtree if node.variables), key=lambda node: node.path)
        width = max((len(node.path) for node in groups), default=0)
        for node in groups:
            sizes = ", ".join(f"{name}: {size}" for name, size in node.sizes.items())
            lines.append(f"{node.path:{width}}  ({sizes})  {' '.join(map(str, node.data_vars))}".rstrip())
        return "\n".join(lines)
