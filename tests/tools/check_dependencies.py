"""Proves that the crates depend on each other in one direction only, and that the pure ones cannot do IO.

s2ice-jpeg2000 <- s2ice-manifest <- s2ice-store <- s2ice-fleet <- { s2ice, s2ice-python }
s2ice-jpeg2000 <- s2ice-javascript
"""

import subprocess
import sys

ALLOWED = {
    "s2ice-jpeg2000": set(),
    "s2ice-manifest": {"s2ice-jpeg2000"},
    "s2ice-store": {"s2ice-jpeg2000", "s2ice-manifest"},
    "s2ice-fleet": {"s2ice-jpeg2000", "s2ice-manifest", "s2ice-store"},
    "s2ice": {"s2ice-jpeg2000", "s2ice-manifest", "s2ice-store", "s2ice-fleet"},
    "s2ice-javascript": {"s2ice-jpeg2000"},
    "s2ice-python": {"s2ice-jpeg2000", "s2ice-manifest", "s2ice-store", "s2ice-fleet"},
}
RUNTIMES = {"tokio", "async-std", "smol", "futures", "reqwest", "hyper", "object_store", "parquet", "arrow-array"}
# crate, arguments of cargo tree, what must not appear
PURE = [
    ("s2ice-jpeg2000", ["--all-features"], RUNTIMES | {"icechunk", "zarrs", "stac"}),
    # WebAssembly has no C.
    ("s2ice-javascript", [], RUNTIMES | {"openjpeg-sys", "cc", "tracing"}),
    ("s2ice-manifest", ["--no-default-features"], RUNTIMES | {"icechunk", "zarrs", "stac", "stac-io", "openjpeg-sys"}),
]


def tree(crate: str, *arguments: str) -> set[str]:
    """Names of all crates that the crate needs in a normal build."""
    command = [
        "cargo",
        "tree",
        "-p",
        crate,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
        *arguments,
    ]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {line.split()[0] for line in out.splitlines() if line.strip()}


def main() -> int:
    problems = []
    for crate, allowed in ALLOWED.items():
        ours = {name for name in tree(crate, "--all-features") if name in ALLOWED} - {crate}
        for name in sorted(ours - allowed):
            problems.append(f"{crate} depends on {name}, which the architecture forbids")
    for crate, arguments, forbidden in PURE:
        for name in sorted(tree(crate, *arguments) & forbidden):
            problems.append(f"{crate} ({' '.join(arguments)}) depends on {name}: it must stay free of IO")
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"dependency directions hold: {len(ALLOWED)} crates, {len(PURE)} of them pure")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
