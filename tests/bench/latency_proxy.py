"""An S3 service (moto) that answers no request earlier than a given time after it came, and keeps a record of all.

The delay stands in front of every answer, as the way to a remote service does, and requests that are made at once wait
at once. What moto itself takes counts as part of it, so that a request takes the given time, not more.

Usage: latency_proxy.py [--latency-ms 30]

Prints a line of JSON: the address with latency, and one without (for those who prepare and look). Each line on standard
input is answered with the requests since the line before. It ends with its standard input, and with whoever started it.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

type Answer = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Handler(WSGIRequestHandler):
    """Keeps connections open and the terminal clean, and never waits to fill a packet."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, *_: Any) -> None:
        pass


class Slow:
    """The latency in front of an application, and its record."""

    def __init__(self, application: Answer, latency: float) -> None:
        self.application, self.latency = application, latency
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        came = time.monotonic()
        status = []

        def start(line: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            status.append(int(line.split()[0]))
            return start_response(line, headers, *rest)

        body = list(self.application(environ, start))
        time.sleep(max(0.0, came + self.latency - time.monotonic()))
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        record = {
            "method": environ["REQUEST_METHOD"],
            "path": path,
            "query": query,
            "status": status[0] if status else 0,
            "copies": "HTTP_X_AMZ_COPY_SOURCE" in environ,
            "sent": sum(map(len, body)),
            "received": int(environ.get("CONTENT_LENGTH") or 0),
            "begin": came,
            "end": time.monotonic(),
        }
        with self.lock:
            self.requests.append(record)
        return body

    def take(self) -> list[dict[str, Any]]:
        """Give the requests since the last call, in the order in which they came."""
        with self.lock:
            taken, self.requests = self.requests, []
        return sorted(taken, key=lambda request: request["begin"])


def serve(application: Any) -> str:
    """Serve on a free port of this machine alone, for as long as the process lives; return the address."""
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, default=30.0)
    args = parser.parse_args()
    moto: Any = DomainDispatcherApplication(create_backend_app)
    slow = Slow(moto, args.latency_ms / 1000)
    print(json.dumps({"slow": serve(slow), "fast": serve(moto)}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(slow.take()), flush=True)


if __name__ == "__main__":
    main()
