#!/bin/sh
# Makes .venv: `setup.sh demo` with what the demo uses, `setup.sh` with the readers and checkers of the tests as well. Does
# nothing when that is up to date.
set -eu
cd "$(dirname "$0")/../.."
. tests/tools/tools.sh

demo=tests/demo/requirements.txt
tests=tests/python/requirements.txt
have=.venv/s2ice-requirements
current() { [ -f "$have" ] && cat "$@" | cmp -s - "$have"; }
if current "$demo" "$tests"; then
    exit 0
fi
if [ "${1:-}" = demo ]; then
    set -- "$demo"
    if current "$@"; then
        exit 0
    fi
else
    set -- "$demo" "$tests"
fi
echo "setting up .venv with $PYTHON"
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
# The last file names the others.
for wanted; do :; done
.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --requirement "$wanted"
cat "$@" > "$have"
