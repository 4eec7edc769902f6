#!/bin/sh
# Builds the decoder for WebAssembly: target/wasm/codec.wasm.
#
# With the toolchain at hand where it has wasm32's standard library (rustup target add wasm32-unknown-unknown). Else, on Debian, with
# the compiler that Debian has for its web browsers, unpacked below target/wasm, and the library from its source.
set -eu
cd "$(dirname "$0")/../.."
target=wasm32-unknown-unknown
out=$PWD/target/wasm
mkdir -p "$out"
sysroot=$(rustc --print sysroot)
set -- build --quiet --locked --package s2ice-javascript --target "$target" --target-dir "$out" --profile wasm
export RUSTFLAGS="-C target-feature=+simd128"
if [ ! -d "$sysroot/lib/rustlib/$target/lib" ] || [ -n "${S2ICE_WASM_DEBIAN:-}" ]; then
    debian=$out/debian
    if [ ! -e "$debian/done" ]; then
        command -v apt-get >/dev/null 2>&1 || {
            echo "wasm32's standard library is missing: rustup target add $target" >&2
            exit 1
        }
        apt-get update -q >/dev/null
        # What rustc-web needs of its own release; unpacked, not installed, since it conflicts with other compilers.
        version=$(apt-cache policy rustc-web | sed -n 's/^ *Candidate: //p')
        std=$(apt-cache show "libstd-rust-web-dev=$version" | sed -n 's/^Depends: *\([^ ]*\).*/\1/p')
        llvm=$(apt-cache show "$std=$version" | grep -o 'libllvm[0-9]*')
        rm -rf "$debian"
        mkdir -p "$debian"
        (
            cd "$debian"
            apt-get download -q "rustc-web=$version" "libstd-rust-web-dev=$version" "$std=$version" \
                "rust-web-src=$version" "$llvm" >/dev/null
            for package in *.deb; do dpkg -x "$package" .; done
            rm -f ./*.deb
            touch done
        )
    fi
    export RUSTC="$debian/usr/bin/rustc" RUSTC_BOOTSTRAP=1 LD_LIBRARY_PATH="$debian/usr/lib/$(uname -m)-linux-gnu"
    host=$(rustc --print host-tuple)
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$sysroot/lib/rustlib/$host/bin/rust-lld"
    set -- "$@" -Zbuild-std=std,panic_abort
fi
cargo "$@"
cp "$out/$target/wasm/s2ice_javascript.wasm" "$out/codec.wasm"
