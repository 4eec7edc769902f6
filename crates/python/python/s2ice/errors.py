"""The exceptions and warnings of s2ice."""

from __future__ import annotations

from s2ice._s2ice import CodecError

__all__ = [
    "CodecError",
    "ConsentError",
    "CredentialsError",
    "GridError",
    "GroupNotFoundError",
    "NotAnS2iceStoreWarning",
    "RefNotFoundError",
    "RequestError",
    "S2iceError",
    "SourceError",
    "StoreNotFoundError",
]


class S2iceError(Exception):
    """Base of the errors that `s2ice.open`, `s2ice.info` and `s2ice.build` raise."""

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


class NotAnS2iceStoreWarning(UserWarning):
    """The store opens, but was not written by s2ice."""
