"""What a forked process cannot do: read.

Icechunk reads with threads that a fork does not copy, so that whoever waits for them in the child waits for ever.
"""

from __future__ import annotations

import os

from s2ice.errors import ForkError

_used = False
_forked = False


def _in_child() -> None:
    global _forked
    _forked = _used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def guard() -> None:
    """Note that this process reads, or refuse if it is the fork of one that did.

    Raises
    ------
    ForkError
        Says what to start processes with instead.
    """
    global _used
    if _forked:
        raise ForkError(
            "this process is a fork of one that had opened a store, and cannot read: start processes with spawn or "
            "forkserver, as by multiprocessing.get_context('spawn'), ProcessPoolExecutor(mp_context=...) or "
            "DataLoader(multiprocessing_context='spawn')"
        )
    _used = True
