"""Where the stores of a benchmark lie: a folder, or a prefix of an S3 service behind a latency."""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import boto3
import icechunk

HERE = Path(__file__).resolve().parent
BUCKET = "stores"
REGION = "us-east-1"
# What s2ice finds its credentials in.
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": REGION}

# Size of each object, and something that is another one when its bytes are.
type Listing = dict[str, tuple[int, str]]


class Place(Protocol):
    """Where a store lies."""

    name: str

    def arguments(self, prepare: bool) -> list[Any]: ...
    def storage(self) -> icechunk.Storage: ...
    def listing(self) -> Listing: ...
    def read(self, key: str) -> bytes: ...
    def write(self, key: str, content: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def requests(self) -> list[dict[str, Any]]: ...


class Local:
    """A folder."""

    name = "local disk"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    def arguments(self, prepare: bool) -> list[Any]:
        del prepare
        return ["--store", self.folder]

    def storage(self) -> icechunk.Storage:
        return icechunk.local_filesystem_storage(str(self.folder))

    def listing(self) -> Listing:
        files = (file for file in self.folder.rglob("*") if file.is_file())
        found = ((file.relative_to(self.folder).as_posix(), file.stat()) for file in files)
        return {key: (status.st_size, str(status.st_mtime_ns)) for key, status in found}

    def read(self, key: str) -> bytes:
        return (self.folder / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        (self.folder / key).write_bytes(content)

    def delete(self, key: str) -> None:
        (self.folder / key).unlink()

    def requests(self) -> list[dict[str, Any]]:
        return []


class Service:
    """The S3 service behind its latency."""

    def __init__(self, latency_ms: float) -> None:
        command = [sys.executable, str(HERE / "latency_proxy.py"), "--latency-ms", str(latency_ms)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        addresses = self.line()
        self.slow, self.fast = addresses["slow"], addresses["fast"]
        self.client = boto3.client(
            "s3",
            endpoint_url=self.fast,
            region_name=REGION,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self.client.create_bucket(Bucket=BUCKET)

    def line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def take(self) -> list[dict[str, Any]]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        taken: list[dict[str, Any]] = self.line()
        return taken

    def latency_ms(self) -> list[float]:
        """What requests take as a client sees them, made one after the other: median and longest."""
        address = urlsplit(self.slow)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        took = []
        for _ in range(20):
            begin = time.perf_counter()
            connection.request("GET", f"/{BUCKET}/nothing")
            connection.getresponse().read()
            took.append((time.perf_counter() - begin) * 1000)
        connection.close()
        self.take()
        return [statistics.median(took), max(took)]


class Remote:
    """A prefix of the service."""

    name = "S3"

    def __init__(self, service: Service, prefix: str) -> None:
        self.service, self.client, self.prefix = service, service.client, prefix

    def arguments(self, prepare: bool) -> list[Any]:
        endpoint = self.service.fast if prepare else self.service.slow
        address = ["--store", f"s3://{BUCKET}/{self.prefix}", "--store-endpoint", endpoint]
        return [*address, "--store-region", REGION]

    def storage(self) -> icechunk.Storage:
        return icechunk.s3_storage(
            bucket=BUCKET,
            prefix=self.prefix,
            endpoint_url=self.service.fast,
            region=REGION,
            allow_http=True,
            force_path_style=True,
            access_key_id="key",
            secret_access_key="secret",
        )

    def listing(self) -> Listing:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/")
        found = (entry for page in pages for entry in page.get("Contents", []))
        return {entry["Key"].removeprefix(f"{self.prefix}/"): (entry["Size"], entry["ETag"]) for entry in found}

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}")["Body"].read()
        return content

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}", Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}")

    def requests(self) -> list[dict[str, Any]]:
        taken = self.service.take()
        for request in taken:
            request["key"] = request["path"].removeprefix(f"/{BUCKET}").removeprefix(f"/{self.prefix}").lstrip("/")
        return taken
