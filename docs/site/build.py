"""Build the documentation site and check it: `build.py OUT --bin s2ice [--rustdoc target/doc]`."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sphinx.cmd.build import build_main

import check
import stage


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the site")
    parser.add_argument("--bin", type=Path, required=True, help="the command s2ice")
    parser.add_argument("--rustdoc", type=Path, help="what `cargo doc` made; without it the crates are only named")
    arguments = parser.parse_args()
    if arguments.out.exists():
        # What an earlier build left would keep a link alive whose page is gone.
        if not (arguments.out / ".doctrees").exists():
            raise SystemExit(f"{arguments.out} holds something else than a site: choose another folder")
        shutil.rmtree(arguments.out)
    source = arguments.out.with_name(arguments.out.name + "-source")
    with tempfile.TemporaryDirectory() as manual:
        subprocess.run([arguments.bin, "man", manual, "--quiet"], check=True)
        stage.stage(source, Path(manual), arguments.rustdoc)
    settings = ["-c", str(Path(__file__).parent), "-D", f"html_extra_path={(source / 'extra').resolve()}"]
    # Every warning is a failure, all of them are told. Built anew each time: a stale page would hide a broken link.
    failed = build_main(["-qWE", "--keep-going", *settings, str(source), str(arguments.out)])
    return failed or check.main(arguments.out)


if __name__ == "__main__":
    sys.exit(main())
