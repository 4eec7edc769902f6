"""A web server of a folder that can refuse, fail, be silent or be gone."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.utils import send_file

from support.s3 import Quiet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

How = Literal["denied", "failing", "silent", "gone"]
STATUS = {"denied": "403 Forbidden", "failing": "503 Service Unavailable", "busy": "429 Too Many Requests"}
"""Any other status is given as it is answered, `400 Bad Request`."""


@dataclass
class Traffic:
    """Requests: how many are under way, the most that were, and when each began."""

    now: int = 0
    peak: int = 0
    times: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def request(self) -> Iterator[None]:
        """One more for as long as the block lasts."""
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
            self.times.append(time.monotonic())
        try:
            yield
        finally:
            with self.lock:
                self.now -= 1


@dataclass
class Host:
    """The files of a folder, for as long as the host is well."""

    root: Path
    how: str = ""
    about: str = ""
    """What paths must have in them to be concerned."""
    port: int = 0
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    """Bytes of files that were sent."""
    done: threading.Event = field(default_factory=threading.Event)
    server: BaseWSGIServer | None = None
    delay: float = 0.0
    missing: str = "404 Not Found"
    """How a file that is not there is answered."""
    ranges: bool = True
    origins: str = ""
    """Whose pages may read files; nothing is said where it is empty."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.requests.append(path)
        self.done.wait(self.delay)
        how = self.how if self.about in path else ""
        if how == "silent":
            self.done.wait(60)
        if how in STATUS or how[:1].isdigit():
            start_response(STATUS.get(how, how), [("Content-Length", "0")])
            return [b""]
        file = self.root / path.lstrip("/")
        if not file.is_file():
            start_response(self.missing, [("Content-Length", "0")])
            return [b""]
        if not self.ranges:
            environ.pop("HTTP_RANGE", None)
        response = send_file(file, environ, conditional=True, etag=True)
        if self.origins:
            response.headers["Access-Control-Allow-Origin"] = self.origins
        # The file is closed here, and not when somebody has read the answer to its end.
        response.direct_passthrough = False
        data = response.get_data()
        response.close()
        self.sent += len(data)
        start_response(response.status, response.headers.to_wsgi_list())
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else data]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.done.clear()
        self.server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=Quiet)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.done.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @contextmanager
    def unwell(self, how: str, about: str = "") -> Iterator[None]:
        """Unwell for as long as the block lasts."""
        if how == "gone":
            self.stop()
        else:
            self.how, self.about = how, about
        try:
            yield
        finally:
            self.how = self.about = ""
            self.done.set()
            if how == "gone":
                self.start()
            self.done.clear()


@contextmanager
def serve(*roots: Path) -> Iterator[list[Host]]:
    """Hosts of these folders."""
    hosts = [Host(root) for root in roots]
    with ExitStack() as stack:
        for host in hosts:
            host.start()
            stack.callback(host.stop)
        yield hosts
