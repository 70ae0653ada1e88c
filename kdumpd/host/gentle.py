"""Work that gives way to everyone else: in a thread and a loop of its own, at nice 19, with all that it starts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from kdumpd.host.finishing import until_stopped

_T = TypeVar("_T")

NICEST = 19


def in_own_thread(work: Callable[[], _T]) -> asyncio.Future[_T]:
    """What `work` gives, or raises. The thread is not of the usual pool: those have to stay free and keep their priority.

    It goes on when the future is cancelled, and keeps nobody from ending who does not wait for it.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[_T] = loop.create_future()

    def hand_over(give: Callable[[], object]) -> None:
        if not ended.done():
            give()

    def run() -> None:
        give: Callable[[], object]
        try:
            os.setpriority(
                os.PRIO_PROCESS, threading.get_native_id(), NICEST
            )  # of this thread alone, on Linux
            give = partial(ended.set_result, work())
        except asyncio.CancelledError:
            give = ended.cancel
        except BaseException as fault:  # noqa: BLE001  # whatever it is, it is raised where the work is waited for
            give = partial(ended.set_exception, fault)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(hand_over, give)

    threading.Thread(target=run, name="gentle", daemon=True).start()
    return ended


async def gently(work: Callable[[], Coroutine[None, None, _T]]) -> _T:
    """What `work` gives, or raises. Cancelled, the work is cancelled there, and its end is waited for.

    On Linux a thread has a priority of its own, and what it starts inherits it: further threads, programs, and by the
    rule of ioprio_set(2) the place in the queue of the disk. It cannot be raised again, so the thread ends with the work.
    """
    there = _There()
    return await until_stopped(in_own_thread(lambda: there.run(work)), there.cancel)


class _There:
    """The loop in the other thread, and the one task in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._stop: Callable[[], object] = bool

    def run(self, work: Callable[[], Coroutine[None, None, _T]]) -> _T:
        with asyncio.Runner() as runner:
            # A thread for each processor, as usual, would be many at once that give way to nobody but others.
            runner.get_loop().set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="gentle files"))
            return runner.run(self._unless_cancelled(work))

    def cancel(self) -> None:
        with self._lock:
            self._is_cancelled = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the work has ended
                self._stop()

    async def _unless_cancelled(self, work: Callable[[], Coroutine[None, None, _T]]) -> _T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101  # narrows for the checker
        with self._lock:
            self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
            if self._is_cancelled:
                raise asyncio.CancelledError
        return await work()
