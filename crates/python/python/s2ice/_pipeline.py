"""How Zarr reads the chunks of an array from our store: as many at a time as the store asks for, and each on its own.

Zarr's own limit holds for the whole process, and its errors name no chunk.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import zarr
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from s2ice import _failure
from s2ice._failure import Failure, Kind
from s2ice._reading import ReadingStore
from s2ice.errors import ChunkError, ForkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zarr.core.buffer import NDBuffer

    from s2ice._missing import MissingChunk


@dataclass(frozen=True)
class ReadingPipeline(BatchedCodecPipeline):
    """Zarr's pipeline, on the terms of a `ReadingStore`; it goes along when an array is pickled."""

    async def read(self, batch_info: Iterable[Any], out: NDBuffer, drop_axes: tuple[int, ...] = ()) -> Any:
        """Read chunks into an array."""
        chunks = list(batch_info)
        store = getattr(chunks[0][0], "store", None) if chunks else None
        if not isinstance(store, ReadingStore):
            return await super().read(chunks, out, drop_axes)
        slots = asyncio.Semaphore(store.concurrency)
        lost: list[MissingChunk] = []

        async def one(chunk: Any) -> tuple[Any, ...]:
            getter, spec, _, target, *_ = chunk
            async with slots:
                try:
                    return tuple(await self.read_batch([chunk], out, drop_axes) or ())
                except ChunkError as failed:
                    error = failed
                except ForkError:
                    raise
                except Exception as failed:
                    error = await store.failed(getter.path, _undecoded(failed))
                    error.__cause__ = failed
                if not await store.fills(error, spec.fill_value):
                    raise error
            out[target] = spec.fill_value
            if error.chunk is not None:
                lost.append(error.chunk)
            return ({"status": "missing"},)

        tasks = [asyncio.ensure_future(one(chunk)) for chunk in chunks]
        try:
            results = await asyncio.gather(*tasks)
        except BaseException:
            # Nobody waits for the others.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        if lost:
            store.record(lost)
        return tuple(result for part in results for result in part)


def _undecoded(error: Exception) -> Failure:
    remedy = "the bytes are not those that were referenced, or are damaged: read a copy with source=, or report it"
    return Failure(Kind.FINAL, _failure.sentence(str(error)) or type(error).__name__, remedy)


register_pipeline(ReadingPipeline)
_NAME = f"{ReadingPipeline.__module__}.{ReadingPipeline.__qualname__}"
_lock = threading.Lock()
_users = 0
_setting = ExitStack()


def opens[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Let the arrays that a function opens be read by this pipeline.

    Zarr asks a setting of the process for it. Arrays of others that are opened at the same time behave as ever.
    """

    @wraps(function)
    def opening(*args: P.args, **kwargs: P.kwargs) -> R:
        global _users
        with _lock:
            if _users == 0:
                _setting.enter_context(zarr.config.set({"codec_pipeline.path": _NAME}))
            _users += 1
        try:
            return function(*args, **kwargs)
        finally:
            with _lock:
                _users -= 1
                if _users == 0:
                    _setting.close()

    return opening
