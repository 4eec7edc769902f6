"""``s2ice run``, ``gc`` and ``rollback`` with ``--scheduler ADDRESS``: the command starts this."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import NoReturn

from s2ice.errors import RequestError, S2iceError
from s2ice.fleet import _housekeep, _refresh

_WISHES = {
    "run": ("full", "prune", "dry_run", "resume", "deadline"),
    "gc": ("older_than", "keep_published", "dry_run"),
    "rollback": ("at", "dry_run"),
}
"""What may be asked of a command."""


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def main() -> int:
    """Exit codes are those of the command: 0 done, 1 failed, 2 a mistake in the request, 3 stale."""
    parser = argparse.ArgumentParser(prog="python -m s2ice.fleet", description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--command", choices=("run", "gc", "rollback"), default="run")
    parser.add_argument("--scheduler", required=True)
    parser.add_argument("--tile", action="append", default=[])
    for name in ("deadline", "older-than", "at"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--keep-published", type=int)
    for name in ("full", "prune", "dry-run", "resume", "json", "quiet"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()

    def tell(number: int, of: int, line: str) -> None:
        if not args.quiet:
            _say(f"{line} [{number}/{of}]")

    def terminate(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    wish = {name: getattr(args, name) for name in _WISHES[args.command]}
    is_stale = False
    try:
        if args.command == "run":
            report, (table, wrong, is_stale) = _refresh(args.config, args.scheduler, args.tile, wish, tell)
        else:
            work = {"work": args.command} | wish
            report, (table, wrong) = _housekeep(args.config, args.scheduler, args.tile, work, tell)
    except RequestError as error:
        _say(f"s2ice: {error}")
        return 2
    except S2iceError as error:
        _say(f"s2ice: {error}")
        return 1
    except KeyboardInterrupt:
        again = ", with --resume to leave out what is done" if args.command == "run" else ""
        _say(f"s2ice: interrupted; run it again{again}")
        return 1
    if args.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    elif not args.quiet:
        sys.stdout.write(table)
    if wrong is None:
        return 0
    _say(f"s2ice: {wrong}")
    return 3 if is_stale else 1


if __name__ == "__main__":
    sys.exit(main())
