"""A server in front of another that fails as sources on the Internet do."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOP = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
PAGE = b"<html><body>Please sign in</body></html>"


@dataclass
class Faults:
    """What goes wrong, and what was asked.

    Attributes
    ----------
    upstream
        Address of the server that knows the answers.
    about
        What the paths have in them that are concerned; others pass untouched.
    plan
        Gives the fault of the n-th request for a path, from 0: ``"cut"``, ``"stalled"``, ``"html"``, ``"reset"``,
        a status such as ``"503"``, or nothing.
    connections
        Most requests at a time; one more is answered by 429.
    """

    upstream: str
    about: str = ""
    plan: Callable[[int], str] = lambda _: ""
    connections: int = 10**6
    delay: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: threading.Event = field(default_factory=threading.Event)

    def forget(self) -> None:
        self.asked.clear()
        self.answered.clear()
        self.most = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def faults(self) -> Faults:
        return self.server.faults  # type: ignore[attr-defined]

    def handle_any(self) -> None:
        faults = self.faults
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        if faults.about not in self.path:
            self.forward(body, "")
            return
        which = f"{self.path} {self.headers.get('Range')}"
        with faults.lock:
            fault = faults.plan(faults.asked[which])
            faults.asked[which] += 1
            faults.now += 1
            faults.most = max(faults.most, faults.now)
            if faults.now > faults.connections:
                fault = "429"
        if not fault:
            time.sleep(faults.delay)
        with faults.lock:
            # A client that has its answer may ask again before this thread goes on.
            faults.now -= 1
            faults.answered[fault] += 1
        self.forward(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = handle_any  # noqa: N815

    def forward(self, body: bytes | None, fault: str) -> None:
        if fault == "reset":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "stalled":
            self.faults.done.wait(60)
            self.close_connection = True
            return
        if fault.isdigit():
            self.answer(int(fault), {"Retry-After": "1"} if fault in ("429", "503") else {}, b"")
            return
        if fault == "html":
            self.answer(200, {"Content-Type": "text/html"}, PAGE)
            return
        upstream = http.client.HTTPConnection(urlsplit(self.faults.upstream).netloc)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers))
            response = upstream.getresponse()
            data = response.read()
            headers = {name: value for name, value in response.getheaders() if name.lower() not in HOP}
            if self.command == "HEAD":
                headers["Content-Length"] = response.getheader("Content-Length") or "0"
            self.answer(response.status, headers, data, cut=fault == "cut")
        finally:
            upstream.close()

    def answer(self, status: int, headers: dict[str, str], data: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that gave up."""


@contextmanager
def before(upstream: str, **what: Any) -> Iterator[tuple[str, Faults]]:
    """Stand before a server; gives the address to ask, and the faults to set."""
    server = Server(("127.0.0.1", 0), Handler)
    server.faults = Faults(upstream, **what)  # type: ignore[attr-defined]
    with servers.running(server) as url:
        try:
            yield url, server.faults  # type: ignore[attr-defined]
        finally:
            server.faults.done.set()  # type: ignore[attr-defined]
