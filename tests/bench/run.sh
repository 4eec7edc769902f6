#!/bin/sh
# `make bench`: builds everything optimised and measures, in one run, all of the tables of docs/benchmarks.md, or the one
# that is named: tests/bench/run.sh [writers|decode|fields|fleet|opening|overviews|readers|windows|publication [ARGUMENTS]]
set -eu
cd "$(dirname "$0")/../.."

PY=.venv/bin/python
[ -x "$PY" ] || PY=../venv/bin/python
if [ ! -x "$PY" ]; then
    echo "there is no .venv: run 'make setup' first" >&2
    exit 1
fi
if ! "$PY" -c 'import imagecodecs, obstore, virtualizarr' 2>/dev/null; then
    echo "installing what to compare with (tests/bench/requirements.txt)"
    .venv/bin/uv pip install --quiet --python "$PY" --requirement tests/bench/requirements.txt
fi

# One build of the whole workspace: separate ones would compile Icechunk twice, with other features.
export CARGO_TARGET_DIR=target PYO3_BUILD_EXTENSION_MODULE=1 PYO3_NO_PYTHON=1
"$PY" crates/python/develop.py --release --locked --features s2ice-tests/bench

measure() {
    case $1 in
    # Other ways to write the same references, requests per raster, the notebook's case, what one product more costs.
    writers) script=bench work=. ;;
    *) script=$1 work=$1 ;;
    esac
    shift
    "$PY" "tests/bench/$script.py" --bin target/release --work "target/bench/$work" "$@"
}

if [ $# -gt 0 ]; then
    measure "$@"
else
    for table in writers decode fields fleet opening overviews readers windows publication; do
        echo "== $table"
        measure "$table"
    done
fi
