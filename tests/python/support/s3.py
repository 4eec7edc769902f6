"""An S3 service in this process (moto) that keeps a record of every request and can be told to misbehave."""

from __future__ import annotations

import io
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import icechunk
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

import planted
import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

SECRET = planted.word("S3")
KEYS = {"access_key_id": "key", "secret_access_key": SECRET}
DENIED = ("403 Forbidden", "AccessDenied")
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET}


@dataclass(frozen=True)
class Request:
    """One request, as it reached the service."""

    method: str
    path: str
    range: tuple[int, int] | None
    key: str | None
    """The access key id it was signed with."""

    @property
    def signed(self) -> bool:
        return self.key is not None

    @property
    def bucket(self) -> str:
        return self.path.lstrip("/").partition("/")[0]


def _range(header: str | None) -> tuple[int, int] | None:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", header or "")
    return (int(found[1]), int(found[2])) if found else None


def _whole(environ: dict[str, Any]) -> bool:
    """Read the body of a request; false where it ends too early."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    if length:
        environ["wsgi.input"] = io.BytesIO(body)
    return len(body) == length


class Quiet(WSGIRequestHandler):
    """Keeps connections open and the terminal clean."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        ahead = getattr(self.server.app, "ahead", timedelta())
        return super().date_time_string((time.time() if timestamp is None else timestamp) + ahead.total_seconds())


@dataclass
class Service:
    """The server, its record, and what it shall refuse."""

    endpoint: str = ""
    ahead: timedelta = timedelta()
    """How far the clock of its answers is ahead."""
    requests: list[Request] = field(default_factory=list)
    buckets: list[str] = field(default_factory=list)
    deny: Callable[[Request], bool] = field(default=lambda _: False)
    refusal: tuple[str, str] = DENIED
    """Status and code of a refusal."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    writing: threading.Lock = field(default_factory=threading.Lock)
    application: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Record a request, then let moto answer it (WSGI)."""
        request = Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            _range(environ.get("HTTP_RANGE")),
            signed[1] if (signed := re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))) else None,
        )
        with self.lock:
            self.requests.append(request)
        if not _whole(environ):
            # The client is gone: what it sent of a file is none, at S3 too.
            start_response("400 Bad Request", [("Content-Length", "0")])
            return [b""]
        if self.deny(request):
            status, code = self.refusal
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Refused</Message></Error>".encode()
            start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        if request.method in ("GET", "HEAD"):
            return self.application(environ, start_response)
        # moto looks and writes in two steps, between which another thread may write: conditional writes would not hold.
        with self.writing:
            return list(self.application(environ, start_response))

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key=SECRET,
        )

    def storage(self, prefix: str, bucket: str = "stores") -> icechunk.Storage:
        """The place of a store, for icechunk-python."""
        return icechunk.s3_storage(
            bucket=bucket,
            prefix=prefix,
            endpoint_url=self.endpoint,
            region="us-east-1",
            allow_http=True,
            force_path_style=True,
            **KEYS,
        )

    def bucket(self, name: str) -> str:
        self.client.create_bucket(Bucket=name)
        self.buckets.append(name)
        return name

    def upload(self, folder: Path, bucket: str, prefix: str = "", **options: str) -> None:
        """Put every file of the product folders below a prefix."""
        client = self.client
        for file in sorted(folder.glob("*.SAFE/**/*")):
            if file.is_file():
                key = prefix + file.relative_to(folder).as_posix()
                client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes(), **options)

    @contextmanager
    def recorded(self) -> Iterator[list[Request]]:
        """Give the requests of this block, complete when it ends."""
        with self.lock:
            start = len(self.requests)
        record: list[Request] = []
        yield record
        with self.lock:
            record.extend(self.requests[start:])

    @contextmanager
    def denying(self, which: Callable[[Request], bool]) -> Iterator[None]:
        self.deny = which
        try:
            yield
        finally:
            self.deny = lambda _: False

    @contextmanager
    def holding(self, which: Callable[[Request], bool]) -> Iterator[None]:
        """Answer these requests only when the block has ended, or after a minute."""
        done = threading.Event()
        with self.denying(lambda request: which(request) and not done.wait(60)):
            try:
                yield
            finally:
                done.set()


@contextmanager
def serve() -> Iterator[Service]:
    service = Service()
    server = make_server("127.0.0.1", 0, service, threaded=True, request_handler=Quiet)
    with servers.running(server) as service.endpoint:
        yield service
    held = s3_backends["123456789012"]["aws"].buckets
    mine = [held.pop(name) for name in service.buckets if name in held]
    for name in service.buckets:
        s3_backends.bucket_accounts.pop(name, None)
    told = [f"{bucket.name}/{key}" for bucket in mine for key in bucket.keys if planted.found(bucket.keys[key].value)]
    assert told == [], "secrets stand in objects"
    assert [request.path for request in service.requests if planted.found(request.path)] == []
