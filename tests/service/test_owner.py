"""Whose signals a client hears, when the service comes at the very moment in which the client asks for its owner."""

from __future__ import annotations

import asyncio

from kdumpd.service.bus import Client, Connection
from kdumpd.service.bus.messages import Kind, Message
from kdumpd.service.permissions import BUS_NAME
from tests.service.private_bus import PrivateBus

TRIES = 300


async def test_a_service_that_comes_while_its_owner_is_asked_for_is_heard(bus: PrivateBus) -> None:
    for _ in range(TRIES):
        async with Connection(bus.address) as ours, Connection(bus.address) as theirs:
            client = Client(ours, BUS_NAME)

            async def come(service: Connection) -> None:
                await service.own(BUS_NAME)

            coming = asyncio.create_task(come(theirs))
            async with client.signals("org.kdumpd.Comer", "Came", path="/") as signals:
                await coming
                theirs.send(Message(kind=Kind.SIGNAL, path="/", interface="org.kdumpd.Comer", member="Came"))
                async with asyncio.timeout(10):
                    assert (await anext(signals)).member == "Came"
