"""Work in a thread and a loop of its own: it gives way, and ends when nobody waits for it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from kdumpd.host.gentle import gently
from kdumpd.host.real import RealPrograms


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


async def test_the_work_its_threads_and_its_programs_are_nice_and_we_stay_as_we_were() -> None:
    before = niceness()

    async def work() -> tuple[int, int, str]:
        said = await RealPrograms().run(["nice"], timeout=30.0)
        return niceness(), await asyncio.to_thread(niceness), said.stdout.decode().strip()

    assert await gently(work) == (19, 19, "19")
    assert niceness() == before
    assert await asyncio.to_thread(niceness) == before


async def test_what_it_raises_is_raised_here() -> None:
    async def work() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await gently(work)


async def test_cancelled_it_ends_what_it_runs_and_is_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "begun"
    os.mkfifo(pipe)
    ended = threading.Event()

    async def work() -> None:
        try:
            await RealPrograms().run(["sh", "-c", f"echo >{pipe}; exec sleep 1000"], timeout=2000.0)
        finally:
            ended.set()

    waiting = asyncio.ensure_future(gently(work))
    await asyncio.to_thread(pipe.read_text)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_cancelled_before_it_began_it_does_nothing() -> None:
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    waiting = asyncio.ensure_future(gently(work))
    await asyncio.sleep(0)  # the thread is started, and we are cancelled wherever it is by now
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_no_thread_is_left() -> None:
    async def work() -> int:
        return await asyncio.to_thread(threading.get_native_id)

    await gently(work)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gentle files")]
