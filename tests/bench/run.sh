#!/bin/sh
# `make bench`: builds everything optimised, compares s2ice with other ways to write the same references, and measures what
# it costs to change one product of a store. Arguments go to bench.py, such as --quick or --latency-ms 30.
set -eu
cd "$(dirname "$0")/../.."

PY=.venv/bin/python
[ -x "$PY" ] || PY=../venv/bin/python
if [ ! -x "$PY" ]; then
    echo "there is no .venv: run 'make setup' first" >&2
    exit 1
fi
if ! "$PY" -c 'import obstore, virtualizarr' 2>/dev/null; then
    echo "installing what to compare with (tests/bench/requirements.txt)"
    .venv/bin/uv pip install --quiet --python "$PY" --requirement tests/bench/requirements.txt
fi

# One build of the whole workspace: separate ones would compile Icechunk twice, with other features.
export CARGO_TARGET_DIR=target PYO3_BUILD_EXTENSION_MODULE=1 PYO3_NO_PYTHON=1
"$PY" crates/python/develop.py --release --locked --features s2ice-tests/bench

if [ "${1:-}" = readers ]; then
    # `tests/bench/run.sh readers`: s2ice.cube beside odc-stac.
    shift
    exec "$PY" tests/bench/readers.py --bin target/release --work target/bench/readers "$@"
fi
exec "$PY" tests/bench/bench.py --bin target/release --work target/bench "$@"
