"""Stores of many tiles, refreshed by a cluster: what ``s2ice run`` does, over `dask.distributed`_.

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

    from distributed import Client

__all__ = ["refresh"]


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


def _refresh(
    config: str | os.PathLike[str],
    client: Client | str,
    tiles: Sequence[str],
    wish: dict[str, Any],
    progress: Callable[[int, int, str], object] | None,
) -> tuple[dict[str, Any], tuple[str, str | None, bool]]:
    """Return the report, and for people: a table, what is wrong, and whether it is merely stale."""
    try:
        from s2ice.fleet._drive import Drive
    except ModuleNotFoundError as error:
        if error.name != "distributed":
            raise
        raise RequestError("a cluster needs dask.distributed: pip install 's2ice[fleet]'") from None
    path = Path(config)
    name = f"{time.time_ns() // 1_000_000}-{os.getpid()}"
    run = _s2ice.FleetRun(str(path), name, list(tiles), json.dumps(wish))
    if run.secrets:
        raise RequestError(
            f"{path}: {run.secrets[0]} stands in it and would travel to the workers: give ${{NAME}}, or a "
            "credentials-file, which each of them looks up for itself"
        )
    with Drive(client, run, str(path.absolute()), name, json.dumps(wish), progress) as drive:
        try:
            drive.all()
        except KeyboardInterrupt:
            run.end()
            raise
        told = run.end()
    return json.loads(told[0]), told[1:]
