#!/bin/sh
# Licences, sources and banned crates with cargo-deny, which is installed under target/ on first use.
set -eu
cd "$(dirname "$0")/../.."
version=0.20.2
tool=cargo-deny
if ! command -v cargo-deny >/dev/null 2>&1; then
    tool=$PWD/target/tools/bin/cargo-deny
    if [ ! -x "$tool" ]; then
        echo "installing cargo-deny (once)"
        cargo install --quiet --locked --root target/tools --target-dir target/tools/build --version "$version" cargo-deny
    fi
fi
"$tool" --log-level error check licenses bans sources
