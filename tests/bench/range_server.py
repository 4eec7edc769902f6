"""A small object store for the benchmark: serves a folder with ranges, ETags and preconditions, and counts requests.

Usage: range_server.py FOLDER [--port N] [--latency-ms N]

Prints its address. `GET /__stats` answers the counts since the last `GET /__reset` as JSON, `GET /__paths` requests and
bytes of each path. `GET /__network?50,25` waits 50 ms from then on, and sends 25 MB/s over one link that all share; 0
is without bound.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Counts:
    """Requests and bytes of bodies, since the last reset."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.values = {"requests": 0, "bytes": 0, "errors": 0, "most_at_once": 0}
        self.paths: dict[str, dict[str, int]] = {}
        self.now = 0

    def enter(self) -> None:
        with self.lock:
            self.now += 1
            self.values["most_at_once"] = max(self.values["most_at_once"], self.now)

    def leave(self, path: str, status: int, length: int) -> None:
        with self.lock:
            self.now -= 1
            self.values["requests"] += 1
            self.values["bytes"] += length
            self.values["errors"] += status >= 400
            own = self.paths.setdefault(unquote(urlsplit(path).path), {"requests": 0, "bytes": 0})
            own["requests"] += 1
            own["bytes"] += length


class Network:
    """What answers wait for: so long for the first byte, so many bytes per second of all."""

    def __init__(self, latency: float, per_second: float = 0.0) -> None:
        self.lock = threading.Lock()
        self.latency, self.per_second = latency, per_second
        self.free = 0.0

    def wait(self, came: float, length: int) -> None:
        ready = came + self.latency
        if self.per_second:
            with self.lock:
                ready = self.free = max(self.free, ready) + length / self.per_second
        if (left := ready - time.perf_counter()) > 0:
            time.sleep(left)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    counts: Counts
    network: Network
    root: Path

    def do_GET(self) -> None:
        if self.path == "/__stats":
            self.answer(200, {}, json.dumps(self.counts.values).encode())
        elif self.path == "/__paths":
            self.answer(200, {}, json.dumps(self.counts.paths).encode())
        elif self.path == "/__reset":
            self.counts.reset()
            self.answer(200, {}, b"{}")
        elif self.path.startswith("/__network?"):
            latency, megabytes = map(float, self.path.partition("?")[2].split(","))
            type(self).network = Network(latency / 1e3, megabytes * 1e6)
            self.answer(200, {}, b"{}")
        else:
            self.serve()

    def do_HEAD(self) -> None:
        self.serve()

    def serve(self) -> None:
        came = time.perf_counter()
        self.counts.enter()
        status, headers, body = self.look_up()
        self.network.wait(came, 0 if self.command == "HEAD" else len(body))
        # Counted before it is sent, so that who has the answer finds it counted.
        self.counts.leave(self.path, status, 0 if self.command == "HEAD" else len(body))
        self.answer(status, headers, body)

    def look_up(self) -> tuple[int, dict[str, str], bytes]:
        path = (self.root / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        if not path.is_relative_to(self.root) or not path.is_file():
            return 404, {}, b""
        state = path.stat()
        etag = f'"{state.st_mtime_ns:x}-{state.st_size:x}"'
        headers = {"ETag": etag, "Last-Modified": formatdate(state.st_mtime, usegmt=True), "Accept-Ranges": "bytes"}
        wanted = self.headers.get("If-Match")
        # As S3 does, ETags without their quotes are taken too: Icechunk sends them so.
        if wanted and wanted.strip() != "*" and etag.strip('"') not in [w.strip(' "') for w in wanted.split(",")]:
            return 412, headers, b""
        since = self.headers.get("If-Unmodified-Since")
        if since and int(state.st_mtime) > parsedate_to_datetime(since).timestamp():
            return 412, headers, b""
        begin, end, status = 0, state.st_size, 200
        if given := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            first, last = given.groups()
            begin = int(first) if first else max(0, state.st_size - int(last or 0))
            end = min(state.st_size, int(last) + 1) if first and last else state.st_size
            if begin >= end:
                return 416, {"Content-Range": f"bytes */{state.st_size}"}, b""
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{state.st_size}"
            status = 206
        with path.open("rb") as file:
            file.seek(begin)
            return status, headers, file.read(end - begin)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Takes many connections at once."""

    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before every answer")
    args = parser.parse_args()
    members = {"counts": Counts(), "root": args.folder.resolve(), "network": Network(args.latency_ms / 1000)}
    server = Server(("127.0.0.1", args.port), type("BoundHandler", (Handler,), members))
    print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
