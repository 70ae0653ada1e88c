"""A machine that wakes from sleep, by the signal of a logind of our own."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from kdumpd.service.bus import Connection
from kdumpd.service.bus.messages import Kind, Message
from kdumpd.service.waking import SLEEP, hear_of_waking
from tests.service.private_bus import PrivateBus

SIGNAL = Message(
    kind=Kind.SIGNAL, path=SLEEP.path, interface=SLEEP.interface, member=SLEEP.member, signature="b"
)


async def test_waking_is_heard_and_falling_asleep_is_not(bus: PrivateBus) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    async with bus.connected() as ours, bus.connected() as logind, bus.connected() as somebody:
        hearing = asyncio.ensure_future(hear_of_waking(ours, said.put_nowait))
        await logind.own(SLEEP.sender)
        async with asyncio.timeout(30):
            while said.empty():  # until the subscription stands
                logind.send(replace(SIGNAL, body=(False,)))
                await _all_delivered(logind, ours)
        while not said.empty():
            assert said.get_nowait() == "the machine woke from sleep"
        somebody.send(replace(SIGNAL, body=(False,)))
        logind.send(replace(SIGNAL, body=(True,)))
        await _all_delivered(somebody, logind, ours)
        assert said.empty()
        logind.send(replace(SIGNAL, body=(False,)))
        await _all_delivered(logind, ours)
        assert said.qsize() == 1
        await ours.close()
        await hearing  # which ends without a fault


async def _all_delivered(*connections: Connection) -> None:
    """What one has sent is with the bus once it has answered it, and with another once that was answered afterwards."""
    for connection in connections:
        await connection.uid_of(connection.unique_name)
    await asyncio.sleep(0)
