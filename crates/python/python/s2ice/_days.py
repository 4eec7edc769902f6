"""From products to dates: which products are laid over each other."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Product(NamedTuple):
    """A product of a cube."""

    time: np.datetime64
    store: int
    step: int
    cloud_cover: float


def products(tables: Sequence[xr.Dataset], time: Any, max_cloud_cover: float | None) -> list[Product]:
    """Return the products of all stores that are asked for, by time.

    Parameters
    ----------
    tables
        Of each store a group with ``time`` and ``cloud_cover``.
    time, max_cloud_cover
        As in `s2ice.cube`. A product whose cloud cover is not known is not below any limit.
    """
    if max_cloud_cover is not None and not 0 <= max_cloud_cover <= 100:
        raise RequestError(f"max_cloud_cover is a percentage from 0 to 100, not {max_cloud_cover}")
    found = []
    for store, table in enumerate(tables):
        times = table["time"].values
        clouds = table["cloud_cover"].values if "cloud_cover" in table.variables else np.full(len(times), np.nan)
        chosen = np.arange(len(times))[_when(table, time)] if len(times) else []
        found += [
            Product(times[step], store, int(step), float(clouds[step]))
            for step in chosen
            if max_cloud_cover is None or clouds[step] <= max_cloud_cover
        ]
    if not found:
        every = np.concatenate([table["time"].values for table in tables])
        there = f"it has {len(every)} from {str(every.min())[:10]} to {str(every.max())[:10]}" if len(every) else "none"
        clear = "" if max_cloud_cover is None else f" and at most {max_cloud_cover} % of clouds"
        raise RequestError(f"the store has no product with time {time!r}{clear}; {there}")
    return sorted(found, key=lambda product: (product.time, product.store, product.step))


def _when(table: xr.Dataset, time: Any) -> Any:
    if time is None:
        return slice(None)
    first, last = _ends(time)
    try:
        reversed_ = _reversed(first, last)
        chosen = table.indexes["time"].slice_indexer(first, last)
    except (TypeError, ValueError, KeyError):
        raise RequestError(
            f"time is a date such as '2024-05', '2024-05-01/2024-09-30', or two of them, not {time!r}"
        ) from None
    if reversed_:
        raise RequestError(f"time {time!r} ends before it begins")
    return chosen


def interval(time: Any) -> tuple[Any, Any]:
    """Return both ends of a time as timestamps, the last moment included; ``None`` for an open one."""
    import pandas as pd

    first, last = _ends(time)
    try:
        begin = None if first is None else pd.Timestamp(first)
        end = pd.Period(last).end_time if isinstance(last, str) else None if last is None else pd.Timestamp(last)
    except (TypeError, ValueError):
        raise RequestError(
            f"time is a date such as '2024-05', '2024-05-01/2024-09-30', or two of them, not {time!r}"
        ) from None
    if begin is not None and end is not None and begin > end:
        raise RequestError(f"time {time!r} ends before it begins")
    return begin, end


def _reversed(first: Any, last: Any) -> bool:
    import pandas as pd

    if first is None or last is None:
        return False
    # The end is all of the month or day that it names.
    return bool(pd.Timestamp(first) > (pd.Period(last).end_time if isinstance(last, str) else pd.Timestamp(last)))


def _ends(time: Any) -> tuple[Any, Any]:
    if isinstance(time, slice):
        if time.step is not None:
            raise RequestError(f"time {time!r} has a step; give both ends, and take every n-th date of the cube")
        return _plain(time.start), _plain(_day(time.stop))
    if isinstance(time, str):
        first, slash, last = time.partition("/")
        ends: tuple[Any, ...] = (first, last if slash else first)
    elif isinstance(time, tuple | list) and len(time) == 2:
        ends = tuple(time)
    else:
        ends = (_day(time), time)
    return _plain(ends[0]), _plain(_day(ends[1]))


def _day(time: Any) -> Any:
    """Return the day of a time at midnight: alone or as an end it is all of the day."""
    if isinstance(time, datetime | np.datetime64) and time != time:
        raise RequestError(f"{time!r} is no time")
    if isinstance(time, datetime) and time.tzinfo is None and time.time() == datetime.min.time():
        return time.date()
    return time


def _plain(end: Any) -> Any:
    """Return an end as pandas takes it: open for nothing and ``..``, in UTC without saying so."""
    if end is None or (isinstance(end, str) and end in ("", "..")):
        return None
    if isinstance(end, date) and not isinstance(end, datetime):
        # All of the day: as an object it would be its midnight.
        return end.isoformat()
    if isinstance(end, np.datetime64) and np.datetime_data(end)[0] in ("Y", "M", "D"):
        return str(end)
    offset = isinstance(end, str) and re.search(r"[Tt ].*[+-]\d\d:?\d\d$", end)
    if offset or getattr(end, "tzinfo", None) is not None:
        import pandas as pd

        try:
            return pd.Timestamp(end).tz_convert("UTC").tz_localize(None)
        except ValueError:
            raise RequestError(f"{end!r} is no time") from None
    return end.removesuffix("Z") if isinstance(end, str) else end


def grouped(found: Sequence[Product], groupby: str | None, longitude: float) -> list[list[Product]]:
    """Return the products of each date: those of one solar day, or each alone.

    The solar day is that of the sun above the middle of the grid: halves of a datatake and neighbouring tiles fall into
    one, also where midnight in UTC lies between them.
    """
    if groupby not in (None, "time", "solar_day"):
        raise RequestError(f"groupby is 'solar_day', or 'time' for each product alone, not {groupby!r}")
    if groupby != "solar_day":
        return [[product] for product in found]
    shift = np.timedelta64(round(longitude / 15 * 3600), "s")
    days: dict[np.datetime64, list[Product]] = {}
    for product in found:
        days.setdefault((product.time + shift).astype("datetime64[D]"), []).append(product)
    return list(days.values())


def coordinates(days: Sequence[Sequence[Product]]) -> dict[str, xr.Variable]:
    """Return the time of each date's first product, and the mean cloud cover of its products."""
    clouds = [np.array([product.cloud_cover for product in day], dtype=np.float32) for day in days]
    means = [float(known.mean()) if (known := one[~np.isnan(one)]).size else np.nan for one in clouds]
    return {
        "time": xr.Variable("time", np.array([day[0].time for day in days])),
        "cloud_cover": xr.Variable("time", np.array(means, dtype=np.float32)),
    }
