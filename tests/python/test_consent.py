"""The command follows no container: what a store of somebody else names as its source is never asked."""

from __future__ import annotations

import http.server
import shutil
from typing import TYPE_CHECKING, Any

import icechunk
import pytest

import s2ice as package
import servers
from s2ice.errors import ChunkError, ConsentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Samples
    from support.command import Command


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server, and what was asked of it."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 (the names are http.server's)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with servers.running(server) as url:
        yield url, requests


def test_no_command_asks_what_a_store_names(
    s2ice: Command, samples: Samples, sample_store: Path, asked: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, requests = asked
    store = tmp_path / "foreign"
    shutil.copytree(sample_store, store)
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(store)))
    config = repository.config
    (container,) = (config.virtual_chunk_containers or {}).values()
    web = icechunk.ObjectStoreConfig.Http({"allow_http": "true"}, None)
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(f"{url}/", web, name=container.name))
    repository.reopen(config=config).save_config()
    report = s2ice("info", store, "--json").json
    assert [found["url"] for found in report["containers"]] == [f"{url}/"]
    s2ice("diff", store, sample_store, "--json", code=1)
    s2ice("diff", store, sample_store, "--ignore-sources", "--ignore-checksums")
    s2ice("gc", store, "--dry-run")
    s2ice("rollback", store, "--list")
    build = ("build", "--tile", "33TVN", "--index", samples.index, "--source", samples.root, "--stac", samples.stac)
    s2ice(*build, "--store", store)
    picture = ("preview", store, "--bands", "b01", "--resolution", 240, "-o", tmp_path / "a.png")
    assert s2ice(*picture, code=2).sentence.endswith(f"pass --source {url}/")
    package.info(str(store))
    assert requests == []
    with pytest.raises(ConsentError, match=url):
        package.open(store)
    assert requests == []
    # The server is there, and is asked by those who allow it.
    tree = package.open(store, allow=url, timeout=1)
    with pytest.raises(ChunkError):
        tree["measurements/reflectance/r60m"].b01[0, 0, 0].load()
    assert len(requests) > 0
    requests.clear()
    s2ice(*picture, "--source", url, code=1)
    assert len(requests) > 0
