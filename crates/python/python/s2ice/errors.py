"""The exceptions and warnings of s2ice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from s2ice._missing import MissingChunk

__all__ = [
    "ChunkError",
    "CodecError",
    "ConsentError",
    "CredentialsError",
    "ForkError",
    "GridError",
    "GroupNotFoundError",
    "MissingChunksWarning",
    "NotAnS2iceStoreWarning",
    "RefNotFoundError",
    "RequestError",
    "S2iceError",
    "SourceError",
    "StoreNotFoundError",
]


class S2iceError(Exception):
    """Base of all errors of this package."""

    def __str__(self) -> str:
        # KeyError would print the repr of its text.
        return str(self.args[0]) if self.args else ""


class StoreNotFoundError(S2iceError, FileNotFoundError):
    """There is no Icechunk repository where the store should be."""


class RefNotFoundError(S2iceError, KeyError):
    """The store has no such branch, tag or snapshot."""


class GroupNotFoundError(S2iceError, KeyError):
    """The store has no such group with arrays."""


class CredentialsError(S2iceError, PermissionError):
    """The store, or the archive its chunks lie in, asks for credentials that were not given."""


class ConsentError(S2iceError, PermissionError):
    """The store's chunks lie where nobody allowed s2ice to ask; the text says where, and how to allow it."""


class GridError(S2iceError, ValueError):
    """Arrays of other grids were to be calculated with one another; the text says how to bring them to one."""


class RequestError(S2iceError, ValueError):
    """An argument is missing, unknown or out of range."""


class SourceError(S2iceError, ValueError):
    """The archive that the chunks lie in cannot be used as asked."""


class CodecError(S2iceError, ValueError):
    """A codec configuration or a chunk that cannot be decoded right; the text says where and why."""


class ChunkError(S2iceError, OSError):
    """A chunk could not be read; the text names array, product, time and file, and says what to do.

    Attributes
    ----------
    chunk
        The same as an `s2ice.MissingChunk`.
    """

    def __init__(self, message: str, chunk: MissingChunk | None = None) -> None:
        super().__init__(message)
        self.chunk = chunk

    def __reduce__(self) -> tuple[type[Self], tuple[str, MissingChunk | None]]:
        return type(self), (str(self), self.chunk)


class ForkError(S2iceError, RuntimeError):
    """A forked process reads from a store: its copy of Icechunk has no threads, and would wait for ever."""


class MissingChunksWarning(UserWarning):
    """Chunks could not be read, and ``on_error="nan"`` put NaN in their place; `s2ice.missing` lists them."""


class NotAnS2iceStoreWarning(UserWarning):
    """The store opens, but was not written by s2ice."""
