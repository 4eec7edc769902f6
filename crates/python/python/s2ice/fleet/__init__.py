"""Stores of many tiles over a cluster: what ``s2ice run``, ``gc`` and ``rollback`` do, over `dask.distributed`_.

.. _dask.distributed: https://distributed.dask.org
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2ice import _s2ice
from s2ice.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from types import ModuleType

    from distributed import Client

    from s2ice.fleet._drive import Drive

__all__ = ["gc", "refresh", "rollback"]


def refresh(
    config: str | os.PathLike[str],
    client: Client | str,
    *,
    tiles: Sequence[str] = (),
    full: bool = False,
    prune: bool = False,
    dry_run: bool = False,
    resume: bool = False,
    deadline: str | None = None,
    progress: Callable[[int, int, str], object] | None = None,
) -> dict[str, Any]:
    """Bring the stores of a configuration file up to date, each tile as a task of a cluster.

    Tiles come in the order of need: those without a store first, then those that were not seen for longest. The engine
    repeats a tile whose worker is lost; report, metrics and publication are written here, as results come. Limits of a
    host (connections, requests per second, bytes per day) hold for the whole cluster. Ctrl-C stops the tiles under way,
    whose stores stay as they were.

    Parameters
    ----------
    config
        The file of ``s2ice run``, which is read here. Workers get its text: keys stand in it as ``${NAME}`` or as names
        of files, which each worker looks up for itself. Paths are those of the workers, but for ``report`` and
        ``metrics``, which are written here.
    client
        A client of any dask cluster, or the address of a scheduler. Its workers need this version of s2ice.
    tiles
        Only these tiles of the file.
    full
        Ask every catalogue for everything, not only for what changed.
    prune
        Remove from the stores what the inputs no longer have.
    dry_run
        Work everything out, write nothing.
    resume
        Leave out the tiles that the run before has done, if that was killed or told to stop.
    deadline
        Begin no tile after this time, such as ``"6h"``; those in least need are left to the next run.
    progress
        Called after each tile with how many ended, how many there are, and what became of this one.

    Returns
    -------
    dict
        The report, as ``s2ice run --json`` prints it.

    Raises
    ------
    RequestError
        A mistake in the file or the arguments; keys that stand in the file itself.
    S2iceError
        The workers have no s2ice, or another version; no scheduler answers.
    """
    wish = {"full": full, "prune": prune, "dry_run": dry_run, "resume": resume, "deadline": deadline}
    report, _ = _refresh(config, client, tiles, wish, progress)
    return report


def gc(
    config: str | os.PathLike[str],
    client: Client | str,
    *,
    older_than: str = "30d",
    keep_published: int = 1,
    tiles: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Remove from the stores of a configuration file what nobody needs any more, each store as a task of a cluster.

    What is removed, and what never is, is that of ``s2ice gc``. A store that fails takes nothing from the others; the
    engine repeats one whose worker is lost.

    Parameters
    ----------
    config, client, tiles
        As for `refresh`.
    older_than
        Leave everything younger than this, and what ``main`` left within it: a number with m, h, d or w; at least a
        day.
    keep_published
        Published states that stay however old they are: the newest, and the one that ``main`` points to.
    dry_run
        Tell what would be removed, change nothing.

    Returns
    -------
    dict
        The report, as ``s2ice gc CONFIG --json`` prints it; stores where it failed are in ``failed``.

    Raises
    ------
    RequestError, S2iceError
        As for `refresh`.
    """
    work = {"work": "gc", "older_than": older_than, "keep_published": keep_published, "dry_run": dry_run}
    report, _ = _housekeep(config, client, tiles, work, None)
    return report


def rollback(
    config: str | os.PathLike[str],
    client: Client | str,
    *,
    at: str | datetime,
    tiles: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Take the stores of a configuration file back to what was published at a time, each store as a task of a cluster.

    Parameters
    ----------
    config, client, tiles
        As for `refresh`.
    at
        The time with its offset from UTC, such as ``"2026-11-20T18:00:00Z"``.
    dry_run
        Check the states and tell what would happen, move nothing.

    Returns
    -------
    dict
        The report, as ``s2ice rollback CONFIG --at TIME --json`` prints it; stores where it failed are in ``failed``.

    Raises
    ------
    RequestError, S2iceError
        As for `refresh`.
    """
    work = {"work": "rollback", "at": at if isinstance(at, str) else at.isoformat(), "dry_run": dry_run}
    report, _ = _housekeep(config, client, tiles, work, None)
    return report


def _refresh(
    config: str | os.PathLike[str],
    client: Client | str,
    tiles: Sequence[str],
    wish: dict[str, Any],
    progress: Callable[[int, int, str], object] | None,
) -> tuple[dict[str, Any], tuple[str, str | None, bool]]:
    """Return the report, and for people: a table, what is wrong, and whether it is merely stale."""
    drive, task = _engine()
    path, name, asked = Path(config), _name(), json.dumps(wish)
    run = _s2ice.FleetRun(str(path), name, list(tiles), asked)
    _keep(path, run.secrets)

    def given(number: int) -> tuple[object, ...]:
        return run.deadline, run.heard(number)

    with drive(client, run, (str(path.absolute()), name, asked), task.tile, given, progress) as driven:
        try:
            driven.all()
        except KeyboardInterrupt:
            run.end()
            raise
        told = run.end()
    return json.loads(told[0]), told[1:]


def _housekeep(
    config: str | os.PathLike[str],
    client: Client | str,
    tiles: Sequence[str],
    work: dict[str, Any],
    progress: Callable[[int, int, str], object] | None,
) -> tuple[dict[str, Any], tuple[str, str | None]]:
    """Return the report, and for people: a table, and what is wrong."""
    drive, task = _engine()
    path, name, asked = Path(config), _name(), json.dumps(work)
    run = _s2ice.FleetHousekeeping(str(path), name, list(tiles), asked)
    _keep(path, run.secrets)
    with drive(client, run, (str(path.absolute()), name, "{}"), task.store, lambda _: (asked,), progress) as driven:
        driven.all()
    report, table, wrong = run.end()
    return json.loads(report) | {"run": name}, (table, wrong)


def _engine() -> tuple[type[Drive], ModuleType]:
    """Return what drives a cluster, and what its workers do."""
    try:
        from s2ice.fleet import _task
        from s2ice.fleet._drive import Drive
    except ModuleNotFoundError as error:
        if error.name != "distributed":
            raise
        raise RequestError("a cluster needs dask.distributed: pip install 's2ice[fleet]'") from None
    return Drive, _task


def _name() -> str:
    return f"{time.time_ns() // 1_000_000}-{os.getpid()}"


def _keep(path: Path, secrets: list[str]) -> None:
    """Let no key travel."""
    if secrets:
        raise RequestError(
            f"{path}: {secrets[0]} stands in it and would travel to the workers: give ${{NAME}}, or a "
            "credentials-file, which each of them looks up for itself"
        )
