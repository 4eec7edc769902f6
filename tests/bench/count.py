"""Count the references of a store's branch main as icechunk-python sees them. Usage: count.py STORE."""

from __future__ import annotations

import json
import sys

import icechunk


def main() -> None:
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(sys.argv[1]))
    session = repository.readonly_session("main")
    counts = {"virtual": 0, "inline": 0, "native": 0}
    for file in repository.list_manifest_files(session.snapshot_id):
        manifest = repository.inspect_manifest(file.id)
        for kind in counts:
            counts[kind] += manifest[f"total_{kind}"]
    json.dump(counts, sys.stdout)
    print()


if __name__ == "__main__":
    main()
