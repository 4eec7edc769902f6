"""Proves that the decoder of the pages was built from the present sources, whose fingerprint is `vendor/codec.sources`.

Compilers differ, so its bytes are not compared. `make page` builds it again and, by `--record`, notes of what.
"""

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "crates/store/src/publish/page/vendor"
RECORD = VENDOR / "codec.sources"
CRATES = ("crates/jpeg2000", "crates/javascript")


def fingerprint() -> str:
    """SHA-256 over names and contents of what is compiled, tests in files of their own left out."""
    digest = hashlib.sha256()
    files = [ROOT / crate / "Cargo.toml" for crate in CRATES]
    for crate in CRATES:
        files += (path for path in (ROOT / crate / "src").rglob("*.rs") if path.stem not in ("tests", "samples"))
    for path in sorted(files):
        for part in (path.relative_to(ROOT).as_posix().encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    told = f"sources {fingerprint()}\ncodec.wasm {hashlib.sha256((VENDOR / 'codec.wasm').read_bytes()).hexdigest()}\n"
    if arguments == ["--record"]:
        RECORD.write_text(told)
        return 0
    if RECORD.read_text() != told:
        print(f"{VENDOR / 'codec.wasm'} is not of the present sources of the decoder: run `make page`", file=sys.stderr)
        return 1
    print("the decoder of the pages is of the present sources")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
