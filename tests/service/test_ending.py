"""A fault without a name in a callback of the loop ends the daemon, instead of being logged for ever."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest

from kdumpd.service.ending import until_over


@pytest.fixture
def readable() -> Iterator[int]:
    """A descriptor that nobody reads to its end."""
    reads, writes = os.pipe()
    os.write(writes, b"x")
    yield reads
    os.close(reads)
    os.close(writes)


async def for_ever() -> None:
    await asyncio.Event().wait()


def failing(calls: list[str]) -> Callable[[], None]:
    def hear() -> None:
        calls.append("heard")
        raise ValueError("nobody thought of this")

    return hear


async def test_an_ear_with_a_fault_that_has_no_name_ends_it(readable: int) -> None:
    calls: list[str] = []
    serving = asyncio.ensure_future(for_ever())
    asyncio.get_running_loop().add_reader(readable, failing(calls))
    try:
        async with asyncio.timeout(10):
            with pytest.raises(ValueError, match="nobody thought"):
                await until_over(serving)
    finally:
        asyncio.get_running_loop().remove_reader(readable)
    assert serving.cancelled()
    assert len(calls) < 5  # turns of the loop until it is over


async def test_a_fault_that_the_loop_tells_of_no_callback_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    over = asyncio.Event()

    async def serve() -> None:
        await over.wait()

    waiting = asyncio.ensure_future(until_over(asyncio.ensure_future(serve())))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_exception_handler(
        {"message": "a task had a fault", "exception": OSError("later")}
    )
    over.set()
    await waiting
    assert "a task had a fault" in caplog.text


async def test_cancelled_and_failed_as_ever() -> None:
    async def fail() -> None:
        raise OSError("it is broken")

    serving = asyncio.ensure_future(for_ever())
    asyncio.get_running_loop().call_soon(serving.cancel)
    await until_over(serving)
    assert serving.cancelled()
    with pytest.raises(OSError, match="it is broken"):
        await until_over(asyncio.ensure_future(fail()))
