"""Servers of this process that run as long as a block lasts."""

from __future__ import annotations

import http.server
import re
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socketserver import BaseServer


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, whole or in part, for pages of any origin."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        if not path.is_file():
            self.send_error(404)
            return
        data, total = path.read_bytes(), path.stat().st_size
        first, last = 0, total - 1
        if found := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            start, end = found.groups()
            first = int(start) if start else total - int(end)
            last = min(int(end), total - 1) if start and end else total - 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        else:
            self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(data[first : last + 1])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def folder(root: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder, and give its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), partial(RangeHandler, directory=str(root)))
    with running(server) as url:
        yield url


@contextmanager
def running(server: BaseServer) -> Iterator[str]:
    """Let it answer, and give its address."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
