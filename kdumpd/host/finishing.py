"""Work that is brought to its end, also where whoever waits for it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TypeVar

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


async def to_the_end(work: Coroutine[None, None, _T], *, doing: str) -> _T:
    """Cancelled meanwhile, we wait for it, so that nothing is left half done; what then went wrong is for the next look."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and (fault := task.exception()) is not None:
            logger.error("the last %s before the end failed: %s", doing, fault)
        raise


async def until_stopped(running: asyncio.Future[_T], stop: Callable[[], object]) -> _T:
    """What comes of it. Cancelled, we tell it to stop and wait until it has, so that it leaves nothing behind us."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # it ended as it was told to; whatever else it met is of no use now
        raise


async def finish_writing(work: Callable[[], _T]) -> _T:
    """A short piece of writing, in a thread."""
    return await to_the_end(asyncio.to_thread(work), doing="writing")


@contextlib.asynccontextmanager
async def writing_meanwhile(work: Callable[[], _T]) -> AsyncIterator[asyncio.Future[_T]]:
    """A short piece of writing, in a thread, while something else is done; it is over when that is, however it ends."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        yield task
    finally:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # whoever did not ask for its outcome has another fault to tell of
