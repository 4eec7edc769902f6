#!/bin/sh
# Makes .venv with the readers and checkers that the demo and the tests use. Does nothing when it is up to date.
set -eu
cd "$(dirname "$0")/../.."
. tests/tools/tools.sh

wanted=tests/python/requirements.txt
stamp=.venv/s2ice-requirements
if [ -f "$stamp" ] && cmp -s "$wanted" "$stamp"; then
    exit 0
fi
echo "setting up .venv with $PYTHON"
"$PYTHON" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
.venv/bin/uv pip install --quiet --python .venv/bin/python --requirement "$wanted"
cp "$wanted" "$stamp"
