"""No user takes more of the service than their share, whatever they call and from however many connections; root does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest

from kdumpd.service.bus import BusError, Client, ErrorName, Exports
from kdumpd.service.bus.messages import Flag, Kind, Message
from kdumpd.service.bus.standard import PEER
from kdumpd.service.permissions import BUS_NAME, CONFIG, MANAGER, ROOT
from kdumpd.service.rations import OF_A_CONNECTION, OF_A_USER, OF_STRANGERS, Rations, effort
from tests.service.private_bus import NOBODY, Open, PrivateBus, StandIn, stand_ins
from tests.service.world import VirtualClock

pytestmark = pytest.mark.usefixtures("can_be_nobody")
VALIDATE = effort(CONFIG, "Validate", octets=0)


@contextlib.asynccontextmanager
async def rationed(
    bus: PrivateBus,
    clock: VirtualClock,
    objects: Mapping[str, tuple[StandIn, ...]] | None = None,
) -> AsyncIterator[None]:
    async with bus.connected() as connection:
        exports = Exports(
            connection, root=ROOT, gate=Open(connection), rations=Rations(connection, clock.boottime)
        )
        for path, interfaces in (objects or stand_ins()).items():
            exports.add(path, *interfaces)
        await connection.own(BUS_NAME)
        try:
            yield
        finally:
            await exports.close()


async def outcome(client: Client, text: str = "path /\n") -> str:
    try:
        await client.call(ROOT, CONFIG, "Validate", "sa{sv}", text, {})
    except BusError as fault:
        return fault.name
    return ""


def a_validation(text: str, *, kind: Kind = Kind.CALL) -> Message:
    """Whose answer nobody wants."""
    return Message(
        kind=kind,
        flags=Flag.NO_REPLY_EXPECTED,
        destination=BUS_NAME,
        path=ROOT,
        interface=CONFIG,
        member="Validate",
        signature="sa{sv}",
        body=(text, {}),
    )


async def served_before_refusal(client: Client, most: float) -> int:
    """How many calls one after the other are served before the first that is not."""
    for count in range(int(most)):
        if (name := await outcome(client)) != "":
            assert name == ErrorName.LIMITS_EXCEEDED
            return count
    raise AssertionError(f"{most} calls were served")


async def test_a_connection_that_calls_too_much_waits_and_root_does_not(bus: PrivateBus) -> None:
    clock = VirtualClock()
    async with rationed(bus, clock), bus.client(as_nobody=True) as nobody, bus.client() as root:
        served = await served_before_refusal(nobody, OF_A_CONNECTION.at_once)
        assert served >= OF_A_CONNECTION.at_once / (VALIDATE + 1)
        assert [await outcome(root) for _ in range(2 * served)] == [""] * 2 * served
        with pytest.raises(BusError) as caught:  # of any kind
            await nobody.call(ROOT, PEER, "Ping")
        assert caught.value.name == ErrorName.LIMITS_EXCEEDED
        clock.advance(1)
        assert await outcome(nobody) == ""
        clock.advance(3600)
        assert await served_before_refusal(nobody, OF_A_CONNECTION.at_once) == served


async def test_more_connections_give_a_user_no_more(bus: PrivateBus) -> None:
    clock = VirtualClock()
    most = OF_A_USER.at_once / VALIDATE + 10
    async with rationed(bus, clock), contextlib.AsyncExitStack() as stack:
        served = 0
        for _ in range(8):
            client = await stack.enter_async_context(bus.client(as_nobody=True))
            served += await served_before_refusal(client, most)
        assert served <= most


async def test_a_new_connection_of_root_does_not_wait_for_others(bus: PrivateBus) -> None:
    """Not even until the bus has told whose it is, which takes its time when the bus is flooded."""
    clock = VirtualClock()
    async with bus.connected() as connection:
        rations = Rations(connection, clock.boottime)
        for number in range(100):
            rations.learned(f":2.{number}", NOBODY + number)
            if rations.has_had_enough(f":2.{number}"):
                break
            rations.charge(f":2.{number}", CONFIG, "Validate", octets=250_000)
        with pytest.raises(BusError, match="All users together"):
            rations.charge(f":2.{number}", CONFIG, "Validate", octets=10)
        rations.charge(":3.1", CONFIG, "Validate", octets=10)
        rations.learned(":3.1", 0)
        rations.charge(":3.1", CONFIG, "Validate", octets=10)
        await rations.close()


@pytest.mark.parametrize("stays", [True, False])
async def test_connecting_anew_gives_a_user_no_more(bus: PrivateBus, *, stays: bool) -> None:
    """Whether or not each connection is still there when the bus tells whose it was."""
    text = "x" * 20_000
    message = a_validation(text)
    objects = stand_ins()
    async with rationed(bus, VirtualClock(), objects), bus.client() as root:
        for _ in range(20):
            async with bus.connected(as_nobody=True) as connection:
                for _ in range(30):
                    connection.send(message)
                if stays:
                    with contextlib.suppress(BusError):
                        await Client(connection, BUS_NAME).call(ROOT, PEER, "Ping")
        async with bus.client() as new:  # root's, and a stranger
            assert await outcome(new) == ""
        assert await outcome(root) == ""
    amount = effort(CONFIG, "Validate", octets=len(text))
    served = objects[ROOT][1].ran.count("Validate") - 2  # which were root's
    # The last call that an allowance lets through may take it beyond its end.
    assert served * amount <= OF_A_USER.at_once + OF_STRANGERS.at_once + 2 * amount


async def test_a_call_that_waits_for_whose_it_is_is_served_in_its_turn(bus: PrivateBus) -> None:
    clock = VirtualClock()
    async with rationed(bus, clock), bus.connected(as_nobody=True) as connection:
        client = Client(connection, BUS_NAME)
        calls = [asyncio.create_task(outcome(client, "x" * 40_000)) for _ in range(3)]
        ended: list[int] = []
        for number, call in enumerate(calls):
            call.add_done_callback(lambda _, number=number: ended.append(number))  # type: ignore[misc]
        assert await asyncio.gather(*calls) == [""] * 3
        assert ended == [0, 1, 2]


async def test_a_clock_that_is_set_back_keeps_nobody_waiting(bus: PrivateBus) -> None:
    clock = VirtualClock()
    async with rationed(bus, clock), bus.client(as_nobody=True) as nobody:
        await served_before_refusal(nobody, OF_A_CONNECTION.at_once)
        clock.set_back(3600)
        clock.advance(1)
        assert await outcome(nobody) == ""


async def test_what_is_long_takes_more(bus: PrivateBus) -> None:
    async with rationed(bus, VirtualClock()), bus.client(as_nobody=True) as nobody:
        outcomes = [await outcome(nobody, "x" * 200_000) for _ in range(4)]
        assert outcomes == ["", "", ErrorName.LIMITS_EXCEEDED, ErrorName.LIMITS_EXCEEDED]


async def test_one_refusal_in_a_minute_is_told(bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    async with rationed(bus, clock), bus.client(as_nobody=True) as nobody:
        for _ in range(2):
            await served_before_refusal(nobody, OF_A_CONNECTION.at_once)
            assert await outcome(nobody) == ErrorName.LIMITS_EXCEEDED
            clock.advance(61)
    told = [
        record.getMessage() for record in caplog.records if "more than can be served" in record.getMessage()
    ]
    assert told == ["uid 65534 calls more than can be served, and is refused for the time being"] * 2


async def test_who_leaves_at_once_leaves_nothing_behind(bus: PrivateBus) -> None:
    async with rationed(bus, VirtualClock()):
        for _ in range(20):
            async with bus.connected(as_nobody=True) as connection:
                connection.tell(BUS_NAME, ROOT, MANAGER, "Describe", "a{sv}", {})
        async with bus.client() as root:
            assert await outcome(root) == ""
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", [Kind.CALL, Kind.SIGNAL])
async def test_what_wants_no_answer_is_dropped_unread_once_it_is_too_much(
    bus: PrivateBus, kind: Kind
) -> None:
    """Else an unprivileged user queues minutes of work before root's next call: the bus bounds only what is answered."""
    message = a_validation("x" * 20_000, kind=kind)
    objects = stand_ins()
    async with (
        rationed(bus, VirtualClock(), objects),
        bus.connected(as_nobody=True) as connection,
        bus.client() as root,
    ):
        for _ in range(200):
            connection.send(message)
        with pytest.raises(BusError) as caught:
            await Client(connection, BUS_NAME).call(ROOT, PEER, "Ping")
        assert caught.value.name == ErrorName.LIMITS_EXCEEDED
        assert await outcome(root) == ""
        assert objects[ROOT][1].ran.count("Validate") < 20
