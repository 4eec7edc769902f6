#!/bin/sh
# The main job on generated products, from nothing to a picture: products, index, store, xarray.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-demo-out}
bin=${CARGO_TARGET_DIR:-target}/debug
products=$out/products
store=$out/store/33TVN-L2A

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

mkdir -p "$out"
rm -rf "$products" "$out/store"
say "1. Three sample products of MGRS tile 33TVN (real geometry, made-up land)"
run "$bin/s2ice-samples" "$products" --tile 33TVN --dates 3 --tlm some

say "2. Index them: where each JPEG 2000 tile lies"
run "$bin/s2ice" index --source "$products" --output "$out/index.parquet"

say "3. Build the store: one Icechunk repository, every chunk a reference into those files"
run "$bin/s2ice" build --tile 33TVN --level L2A --index "$out/index.parquet" --stac "$products/stac/items.json" \
    --source "$products" --store "$store"

say "4. What is in it"
run "$bin/s2ice" info "$store"

say "5. Open it with xarray"
# Icechunk warns at every local repository, also when it is only read.
export ICECHUNK_LOG=error
run .venv/bin/python tests/demo/demo.py "$store" "$out/true_colour.png"

say "6. Publish it: a catalogue, and a copy of the store that others open by its address"
run .venv/bin/python tests/demo/publish.py "$out" --bin "$bin"
printf '\nTo look at it in a browser: .venv/bin/python tests/demo/publish.py %s --bin %s --serve\n' "$out" "$bin"
