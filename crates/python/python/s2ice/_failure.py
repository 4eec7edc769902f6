"""What a failed request means: whether to ask again, when, and what the reader can do.

Icechunk hides status and headers, Retry-After among them, and tells a sentence; on S3 it is often only that something
was wrong. What is not known to be final is therefore asked again.
"""

from __future__ import annotations

import random
import re
import time
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from icechunk import IcechunkError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES = 7
"""For one chunk, in all."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds; each pause is twice the one before."""
BUSY_PAUSE = 2.0
"""Least pause after "too many requests", seconds: more than most servers write into Retry-After."""
FAILING = 3
"""After so many chunks of a host that failed in a row, each further one is asked for once only."""


class Kind(Enum):
    """Of failures."""

    FINAL = "final"
    PASSING = "passing"
    BUSY = "busy"
    """The host has, or may have, too many requests."""


class Failure(NamedTuple):
    """A failed request."""

    kind: Kind
    reason: str
    remedy: str


_CHECK = "check the connection, and raise timeout= where it is slow"
_AGAIN = "the source is at fault: try again later, or read a copy with source="
_RULES: tuple[tuple[str, Kind, str], ...] = (
    (
        "unauthorized-virtual-chunk|authorize the virtual chunk",
        Kind.FINAL,
        "open the store with s2ice.open, or authorise its containers",
    ),
    (
        "checksum of the object owning the virtual chunk has changed",
        Kind.FINAL,
        "the file is not the one that was referenced: the store must be built again",
    ),
    (
        r"status code: 40[13]|Forbidden|Unauthorized|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken"
        "|necessary privileges|credentials",
        Kind.FINAL,
        "give credentials=, or renew them",
    ),
    (
        "status code: 404|NoSuchKey|NoSuchBucket|NotFound|No such file",
        Kind.FINAL,
        "the file is gone from there: read a copy with source=, or have the store built again",
    ),
    (
        "Requested range was invalid",
        Kind.FINAL,
        "the file is shorter than the one that was referenced: read a copy with source=, or have the store built again",
    ),
    ("status code: 429|SlowDown|Too Many Requests|Throttl|TooManyRequests", Kind.BUSY, "lower max_connections="),
    ("status code: 503|Service Unavailable|ServerBusy", Kind.BUSY, _AGAIN),
    ("unhandled error: Error", Kind.BUSY, _AGAIN),
    ("status code: 4(00|16)|Bad Request|InvalidRange", Kind.FINAL, "check endpoint, region and address of the source"),
    (
        "Range request not supported|not enough data",
        Kind.PASSING,
        "something else than the file was answered, such as a page to sign in, or the file was cut: look at it",
    ),
    ("dns error|ConnectError|tcp connect|Connection refused", Kind.PASSING, _CHECK),
)


def of(error: Exception) -> Failure:
    """Understand an error of a read."""
    if isinstance(error, TimeoutError):
        return Failure(Kind.PASSING, "no answer in time", _CHECK)
    if not isinstance(error, IcechunkError):
        return Failure(Kind.FINAL, sentence(str(error)) or type(error).__name__, "see the cause")
    # Addresses have words and numbers of their own.
    text = re.sub(r"[a-z0-9]+://\S+", "", f"{error.kind}: {error.message}")
    for signs, kind, remedy in _RULES:
        if re.search(signs, text):
            return Failure(kind, sentence(error.message), remedy)
    if not isinstance(error, StorageError):
        return Failure(Kind.FINAL, sentence(error.message), "see the cause")
    return Failure(Kind.PASSING, sentence(error.message), _AGAIN)


def pause(kind: Kind, tries: int) -> float:
    """Return the seconds to wait after so many tries; readers that failed together come back one by one."""
    seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tries - 1))
    if kind is Kind.BUSY:
        seconds = max(seconds, BUSY_PAUSE)
        return seconds * random.uniform(1.0, 1.5)
    return seconds * random.uniform(0.5, 1.0)


def again[R](ask: Callable[[], R]) -> R:
    """Ask, and again where the failure may pass; for the few requests that open a store."""
    for tries in range(1, TRIES):
        try:
            return ask()
        except IcechunkError as error:
            kind = of(error).kind
            if kind is Kind.FINAL:
                raise
            time.sleep(pause(kind, tries))
    return ask()


def sentence(text: str) -> str:
    """Return what Icechunk says without its context, and without the name it hides the source behind."""
    short = text.partition("\n\ncontext:")[0].strip().rstrip(":").removeprefix("error fetching virtual reference: ")
    status = re.search(r"Server returned non-2xx status code: (.+)", short)
    return plain(re.sub(r"\s+", " ", status[1] if status else short))


def plain(address: str) -> str:
    """Return an address without the user name that `s2ice._source` puts in."""
    return re.sub(r"(?<=://)s2ice-[0-9a-f]{16}@", "", address)
