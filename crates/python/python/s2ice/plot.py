"""Pictures of cubes and stores, with matplotlib (``pip install 's2ice[plot]'``)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from s2ice import _bands
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["calendar", "true_colour"]

_COLOURS = ("b04", "b03", "b02")
_MOST = 36
_DAYS = (1, 32, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335)
_MONTHS = "JFMAMJJASOND"


def true_colour(dataset: xr.Dataset, *, brightest: float = 0.35, gamma: float = 1.3, **options: Any) -> Any:
    """Draw red, green and blue as the eye sees them: one picture, or one for each date.

    Parameters
    ----------
    dataset
        Reflectance on (y, x) or (time, y, x) under the names ``b04``, ``b03``, ``b02`` or ``red``, ``green``, ``blue``,
        as from `s2ice.cube`. Where one of them is nodata nothing is drawn.
    brightest
        The reflectance that is drawn as white.
    gamma
        More than 1 lightens what is dark.
    **options
        For `xarray.DataArray.plot.imshow`, such as ``col_wrap=3``, ``ax=axes``, ``size=4``.

    Returns
    -------
    matplotlib.image.AxesImage or xarray.plot.FacetGrid

    Raises
    ------
    RequestError
        A colour is missing, there are too many dates, or matplotlib is not installed.
    """
    _check()
    named = {_bands.common(str(name)): name for name in dataset.data_vars}
    lacking = [band for band in _COLOURS if band not in named]
    if lacking:
        raise RequestError(f"true colour needs b04, b03 and b02 (red, green, blue); there is no {', '.join(lacking)}")
    bands = [dataset[named[band]] for band in _COLOURS]
    dates = bands[0].sizes.get("time", 1)
    if dates > _MOST:
        raise RequestError(
            f"there are {dates} dates to draw, {_MOST} at most: select some, such as ds.isel(time=slice(9))"
        )
    rgb = xr.concat([band.reset_coords(drop=True) for band in bands], dim="colour", coords="minimal", compat="override")
    there = rgb.notnull().all("colour")
    picture = (rgb.clip(0, brightest) / brightest).fillna(0) ** (1 / gamma)
    picture = xr.concat([picture, there.astype(picture.dtype)], dim="colour", coords="minimal", compat="override")
    picture = picture.assign_attrs(long_name="true colour")
    if "time" in picture.dims and dates == 1:
        picture = picture.isel(time=0)
    if "time" in picture.dims:
        days = picture["time"].dt.strftime("%Y-%m-%d").values
        if len(set(days)) < dates:
            days = picture["time"].dt.strftime("%Y-%m-%d %H:%M").values
        picture = picture.assign_coords(time=days)
        options = {"col": "time", "col_wrap": min(4, dates)} | options
    elif "ax" not in options and not {"size", "figsize"} & set(options):
        options["size"] = 5
    drawn = picture.transpose(..., "y", "x", "colour").plot.imshow(rgb="colour", **options)
    if hasattr(drawn, "set_titles"):
        drawn.set_titles("{value}")
    elif dates == 1 and "time" in dataset.coords:
        drawn.axes.set_title(str(dataset["time"].dt.strftime("%Y-%m-%d").values.item()))
    for axes in np.ravel(drawn.axs if hasattr(drawn, "axs") else drawn.axes):
        axes.set_aspect("equal")
        # Coordinates are long numbers, of which few fit side by side.
        axes.ticklabel_format(style="plain", useOffset=False)
        axes.locator_params(nbins=4)
    return drawn


def calendar(store: Any, *, ax: Axes | None = None, **words: Any) -> Axes:
    """Draw when a store has products and how cloudy they are: a row for each year, gaps left blank.

    Parameters
    ----------
    store
        What `s2ice.open` takes, or a Dataset with ``time`` and ``cloud_cover``, such as a cube.
    ax
        Where to draw; a new figure by default.
    **words
        For `s2ice.open`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    RequestError
        There are no products, or matplotlib is not installed.
    """
    _check()
    import matplotlib.pyplot as plt

    from s2ice._open import open as opened

    table = store if isinstance(store, xr.Dataset) else opened(store, "products", **words)
    times, clouds = table["time"], np.asarray(table["cloud_cover"].values, dtype=float)
    if not times.size:
        raise RequestError("there is nothing to draw: the store has no products")
    years, days = times.dt.year.values, times.dt.dayofyear.values
    every = np.arange(years.min(), years.max() + 1)
    if ax is None:
        _, ax = plt.subplots(figsize=(10, 0.8 + 0.4 * len(every)), layout="constrained")
    known = ~np.isnan(clouds)
    style: dict[str, Any] = {"marker": "|", "s": 160, "linewidths": 2}
    ax.scatter(days[~known], years[~known], color="tab:red", label="cloud cover not known", **style)
    drawn = ax.scatter(days[known], years[known], c=clouds[known], cmap="viridis_r", vmin=0, vmax=100, **style)
    ax.set_yticks(every, [str(year) for year in every])
    ax.set_ylim(every[-1] + 0.6, every[0] - 0.6)
    ax.set_xlim(0, 367)
    ax.set_xticks(_DAYS, list(_MONTHS))
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    span = np.diff(np.sort(times.values.astype("datetime64[D]")).astype(int))
    longest = f", longest gap {span.max()} days" if span.size else ""
    ax.set_title(f"{times.size:,} products{longest}", loc="left")
    if (~known).any():
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    ax.figure.colorbar(drawn, ax=ax, label="clouds, %", pad=0.01)
    return ax


def _check() -> None:
    if find_spec("matplotlib") is None:
        raise RequestError("s2ice.plot needs matplotlib: pip install 's2ice[plot]'")
