#!/bin/sh
# Makes the npm package @s2ice/codec: javascript.sh FOLDER MODULES. MODULES is the node_modules of tests/page.
set -eu
mkdir -p "$1"
out=$(cd "$1" && pwd) modules=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
"$root/tests/tools/wasm.sh"
rm -rf "$out"
mkdir -p "$out"
cd "$root/crates/javascript"
# Links become files.
cp -RL js package.json README.md LICENSE-MIT LICENSE-APACHE tsconfig.json "$out"
cp "$root/target/wasm/codec.wasm" "$out/js/codec.wasm"
# Types come from the comments, which must hold.
ln -s "$modules" "$out/node_modules"
"$modules/.bin/tsc" --project "$out/tsconfig.json"
rm "$out/node_modules" "$out/tsconfig.json"
