"""Proves that the demo and the tests build every foreign crate alike, so that nothing is compiled twice.

Cargo chooses features for the packages of one call. A feature that only a test's dependency asks for would compile
Arrow, Parquet and Icechunk once more; tests/Cargo.toml asks for such features too. Arguments: those of the demo's
`cargo build`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any


def units(*arguments: str) -> dict[int, dict[str, Any]]:
    """Compilations of a `cargo build`, each by all it depends on."""
    command = ["cargo", "build", "-Z", "unstable-options", "--unit-graph", *arguments]
    # The plan of a build is not stable; nothing is built with this.
    environment = os.environ | {"RUSTC_BOOTSTRAP": "1"}
    plan = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    listed = plan["units"]

    @cache
    def identity(number: int) -> int:
        unit = listed[number]
        own = json.dumps({k: v for k, v in unit.items() if k != "dependencies"}, sort_keys=True)
        return hash((own, *sorted(identity(needed["index"]) for needed in unit["dependencies"])))

    return {identity(number): unit for number, unit in enumerate(listed)}


def main(arguments: list[str]) -> int:
    tests = units("--workspace", "--all-targets", "--all-features", "--locked")
    demo = units(*arguments)
    twice = [unit for key, unit in demo.items() if key not in tests and "path+" not in unit["pkg_id"]]
    known = {(unit["pkg_id"], *unit["features"]) for unit in tests.values()}
    causes = {unit["pkg_id"].rsplit("#")[-1] for unit in twice if (unit["pkg_id"], *unit["features"]) not in known}
    if twice:
        print(f"the demo compiles {len(twice)} crates otherwise than the tests do", file=sys.stderr)
        print(f"ask for the same features in tests/Cargo.toml, of: {', '.join(sorted(causes))}", file=sys.stderr)
        return 1
    print(f"one build: the demo's {len(demo)} compilations are of the tests' {len(tests)}, but for our own crates")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
