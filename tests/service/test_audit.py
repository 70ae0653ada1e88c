"""The journal says of each call that changes something who made it, once, granted or not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from kdumpd.service.audit import REFUSALS_TOLD, Audited
from kdumpd.service.bus import BusError, Connection
from kdumpd.service.messages import Message
from kdumpd.service.permissions import BUS_NAME, MANAGER, ROOT, RULES, Action
from kdumpd.service.polkit import Polkit
from tests.service.private_bus import NOBODY, PrivateBus, stand_ins
from tests.service.test_polkit import CHALLENGE, authority, call_everything
from tests.service.world import VirtualClock

READING = {None, Action.READ_CONFIG, Action.READ_LOG}
CHANGES = Counter(
    f"{interface.rpartition('.')[2]}.{member}"
    for (interface, member), rule in RULES.items()
    if rule.action not in READING
)


@contextlib.asynccontextmanager
async def service(bus: PrivateBus, clock: VirtualClock | None = None) -> AsyncIterator[None]:
    def gate(connection: Connection) -> Audited:
        return Audited(Polkit(connection, (clock or VirtualClock()).boottime), clock or VirtualClock())

    async with bus.serving(BUS_NAME, gate, stand_ins()):
        yield


def entries(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [vars(record) for record in caplog.records if record.name == "kdumpd.service.audit"]


async def test_each_change_is_told_once_and_nothing_that_only_reads(
    bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with service(bus), bus.client() as client:
        await call_everything(client)
    told = entries(caplog)
    assert Counter(str(each["KDUMPD_METHOD"]) for each in told) == CHANGES
    assert {each["KDUMPD_RESULT"] for each in told} == {"granted"}
    assert {each["MESSAGE_ID"] for each in told} == {Message.AUDIT}
    assert {(each["KDUMPD_CALLER_UID"], each["KDUMPD_CALLER_PID"]) for each in told} == {
        (str(os.getuid()), str(os.getpid()))
    }


@pytest.mark.usefixtures("can_be_nobody")
async def test_a_refusal_is_told_with_its_name(bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with authority(bus, CHALLENGE), service(bus), bus.client(as_nobody=True) as nobody:
        with pytest.raises(BusError):
            await nobody.call(ROOT, MANAGER, "Unload", "a{sv}", {}, interactive=False)
    (told,) = entries(caplog)
    assert (told["KDUMPD_METHOD"], told["KDUMPD_CALLER_UID"]) == ("Manager.Unload", str(NOBODY))
    assert told["KDUMPD_RESULT"] == "InteractiveAuthorizationRequired"
    assert told["levelno"] == logging.WARNING


@pytest.mark.usefixtures("can_be_nobody")
async def test_one_who_is_refused_all_the_time_does_not_fill_the_journal(
    bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    caplog.set_level(logging.INFO)

    async with service(bus, clock), bus.client(as_nobody=True) as nobody, bus.client() as root:

        async def is_refused() -> None:
            with pytest.raises(BusError):
                await nobody.call(ROOT, MANAGER, "Reload", "a{sv}", {})

        for _ in range(5):
            await asyncio.gather(*(is_refused() for _ in range(10)))
        assert len(entries(caplog)) == REFUSALS_TOLD
        await root.call(ROOT, MANAGER, "Reload", "a{sv}", {})
        assert len(entries(caplog)) == REFUSALS_TOLD + 1, "what is granted is always told"
        clock.advance(60)
        await is_refused()
        said = [record.getMessage() for record in caplog.records if record.name == "kdumpd.service.audit"]
        assert said[-2:] == [
            f"uid {NOBODY} was refused {50 - REFUSALS_TOLD} times more",
            f"Manager.Reload by uid {NOBODY}, pid {os.getpid()}: AccessDenied",
        ]
