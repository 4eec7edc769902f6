#!/bin/sh
# Schemas and generated tables must be those of the code: writes them anew elsewhere and compares. Runs the command that
# `make build` made: `cargo run -p s2ice` would build Icechunk and Parquet anew with other features.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/schemas" "$folder/docs/formats"
cp docs/formats/store.md "$folder/docs/formats/"
cp docs/configuration.md "$folder/docs/"
"${CARGO_TARGET_DIR:-target}/debug/s2ice" schemas "$folder/schemas" --docs "$folder/docs" --python "$folder/_settings.py"
differ=0
diff -ru schemas "$folder/schemas" || differ=1
diff -u docs/formats/store.md "$folder/docs/formats/store.md" || differ=1
diff -u docs/configuration.md "$folder/docs/configuration.md" || differ=1
diff -u crates/python/python/s2ice/_settings.py "$folder/_settings.py" || differ=1
if [ $differ -ne 0 ]; then
    echo "schemas or generated tables are out of step with the code: run 'make schemas' and commit" >&2
    exit 1
fi
echo "schemas and generated tables are in step"
