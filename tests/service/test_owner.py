"""Whose signals a client hears, when the service comes at the very moment in which the client asks for its owner."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

from kdumpd.service.bus import Client, Connection
from kdumpd.service.bus.messages import Kind, Message
from kdumpd.service.permissions import BUS_NAME
from tests.service.private_bus import PrivateBus

TRIES = 60
CAME = Message(kind=Kind.SIGNAL, path="/", interface="org.kdumpd.Comer", member="Came")


@contextmanager
def loop_of_its_own() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_a_service_that_comes_while_its_owner_is_asked_for_is_heard(bus: PrivateBus) -> None:
    """The answer "nobody" and the news that somebody came are read together: the client is busy, as under load."""
    chance = random.Random(7)  # noqa: S311  # moments, not secrets
    with loop_of_its_own() as elsewhere:

        async def come(service: Connection, after: float) -> None:
            await asyncio.sleep(after)
            await service.own(BUS_NAME)

        async def there(work: Coroutine[None, None, None]) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, elsewhere))

        async with Connection(bus.address) as ours:
            client = Client(ours, BUS_NAME)
            for _ in range(TRIES):
                service = Connection(bus.address)
                await there(service.open())
                busy = asyncio.create_task(_be_busy())
                coming = asyncio.create_task(there(come(service, chance.uniform(0, 0.03))))
                async with client.signals("org.kdumpd.Comer", "Came", path="/") as signals:
                    await coming
                    busy.cancel()
                    elsewhere.call_soon_threadsafe(service.send, CAME)
                    async with asyncio.timeout(10):
                        assert (await anext(signals)).member == "Came"
                await there(service.close())


async def _be_busy() -> None:
    """Keeps the loop from reading for longer than the bus takes to answer."""
    while True:
        time.sleep(0.004)  # noqa: ASYNC251  # a loop that is blocked is the point
        await asyncio.sleep(0)
