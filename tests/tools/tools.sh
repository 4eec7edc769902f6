# Finds the three things s2ice needs and says clearly which is missing. Sourced by the Makefile's recipes.
# Sets PYTHON (an interpreter >= 3.12 that can make virtual environments; Debian packs that part separately).
set -eu

missing() {
    echo "s2ice needs $1, which was not found." >&2
    echo "  $2" >&2
    exit 1
}

command -v cargo >/dev/null 2>&1 || missing "Rust (cargo)" "Install it from https://rustup.rs, then open a new shell."
command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 ||
    missing "a C compiler (cc)" "Debian and Ubuntu: apt-get install build-essential; macOS: xcode-select --install."

PYTHON=${S2ICE_PYTHON:-}
if [ -z "$PYTHON" ]; then
    for candidate in python3.13 python3.12 python3.14 python3; do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
            PYTHON=$candidate
            break
        fi
    done
fi
[ -n "$PYTHON" ] || missing "Python 3.12 or newer with its module venv" \
    "Install it (Debian and Ubuntu: apt-get install python3 python3-venv), or name one in S2ICE_PYTHON."
