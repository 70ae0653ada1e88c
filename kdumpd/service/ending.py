"""How the daemon ends: when it is told to, when its work is over, and when a callback of the loop has a fault without a name."""

from __future__ import annotations

import asyncio
from typing import Any


async def until_over(serving: asyncio.Future[None]) -> None:
    """Until `serving` is done or was cancelled. Raises what it raised, or what a callback raised.

    The loop only logs the fault of a callback and goes on. A descriptor that was not read to its end would be readable
    for ever then, and heard of by nobody; so `serving` is cancelled, and whoever starts us again begins by looking.
    Faults that the loop tells without a callback, such as those of a task that nobody asks, are logged as ever.
    """
    faults: list[BaseException] = []

    def told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        fault = context.get("exception")
        if isinstance(fault, BaseException) and "handle" in context:
            faults.append(fault)
            serving.cancel()

    asyncio.get_running_loop().set_exception_handler(told)
    await asyncio.wait({serving})
    if faults:
        raise faults[0]
    if not serving.cancelled():
        serving.result()
