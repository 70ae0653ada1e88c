"""Nobody ends the service from outside: floods, odd signatures, oversize, forgery; and when the bus ends, it is noticed."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import selectors
import socket
import struct
from dataclasses import dataclass, field

import pytest

from kdumpd.service.bus import BusError, Client, ErrorName, Typed, Value, wire
from kdumpd.service.bus.exports import CALLS_PER_SENDER
from kdumpd.service.bus.messages import BUS, BUS_PATH, Kind, Message
from kdumpd.service.bus.standard import PEER, PROPERTIES
from kdumpd.service.permissions import ROOT
from tests.service.echo import ECHO, PATH, Echo, echoing, error_of
from tests.service.private_bus import NOBODY, PrivateBus, resident_bytes

MIB = 1024 * 1024
# Together forty times what a socket holds, in no more signals than that takes.
BURST, TEXT = 2_000, "a text of more than the usual length; " * 120


async def test_a_burst_of_signals_is_a_wait_and_no_end(bus: PrivateBus) -> None:
    async with echoing(bus) as (echo, connection, _), bus.client(ECHO) as client:
        async with client.signals(PROPERTIES, "PropertiesChanged") as changes:
            for number in range(BURST):
                echo.emit("Said", number, TEXT)
            echo.values["Count"] = BURST
            echo.announce()
            assert (await anext(changes)).body == (ECHO, {"Count": BURST}, ())
        assert connection.connected
        assert await client.call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)


async def test_signals_that_wait_too_long_make_room(bus: PrivateBus) -> None:
    async with echoing(bus) as (echo, _, _), bus.client(ECHO) as client, client.signals(ECHO, "Said") as said:
        for number in range(6000):
            echo.emit("Said", number, "")
        await client.wait_until(PATH, ECHO, lambda now: now["Count"] == 1)
        arrived = [(await anext(said)).body[0] for _ in range(4096)]
        assert arrived == list(range(6000 - 4096, 6000))


@dataclass(slots=True)
class _Flooder:
    """A connection that sends all it has without waiting for an answer to any of it, and counts the answers."""

    socket: socket.socket
    to_send: bytes
    received: bytearray = field(default_factory=bytearray)
    answers: int = 0
    successes: int = 0

    def count(self) -> None:
        while len(self.received) >= wire.FIXED_HEADER:
            lengths = wire.measure(bytes(self.received[: wire.FIXED_HEADER]))
            if len(self.received) < lengths.header + lengths.body:
                return
            kind = Kind(self.received[1])
            self.answers += kind in {Kind.RETURN, Kind.ERROR}
            self.successes += kind is Kind.RETURN
            del self.received[: lengths.header + lengths.body]


def _as_nobody(address: str) -> socket.socket:
    os.seteuid(NOBODY)
    try:
        client = socket.socket(socket.AF_UNIX)
        client.connect(address.removeprefix("unix:path="))
    finally:
        os.seteuid(0)
    return client


def _pings(count: int, *, destination: str, path: str) -> bytes:
    hello = Message(kind=Kind.CALL, serial=1, destination=BUS, path=BUS_PATH, interface=BUS, member="Hello")
    ping = Message(
        kind=Kind.CALL, serial=2, destination=destination, path=path, interface=PEER, member="Ping"
    )
    start, rest = wire.encode(ping)[:8], wire.encode(ping)[12:]
    pings = b"".join(start + struct.pack("<I", serial) + rest for serial in range(2, count + 2))
    return wire.encode(hello) + pings


def flood(
    address: str, *, connections: int, pings: int, destination: str = ECHO, path: str = PATH
) -> list[_Flooder]:
    """Every call is answered by somebody: by the service, or by the bus, which limits what may be outstanding."""
    flooders = [_Flooder(_as_nobody(address), b"") for _ in range(connections)]
    with selectors.DefaultSelector() as selector:
        for flooder in flooders:
            flooder.socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\n")
            greeting = b""
            while greeting.count(b"\r\n") < 2:
                greeting += flooder.socket.recv(4096)
            flooder.socket.sendall(b"BEGIN\r\n")
            flooder.to_send = _pings(pings, destination=destination, path=path)
            flooder.socket.setblocking(False)  # noqa: FBT003 - as it is called
            selector.register(flooder.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, flooder)
        while any(flooder.answers < pings + 1 for flooder in flooders):
            for key, events in selector.select():
                flooder = key.data
                if events & selectors.EVENT_WRITE:
                    flooder.to_send = flooder.to_send[flooder.socket.send(flooder.to_send[: 256 * 1024]) :]
                if events & selectors.EVENT_READ:
                    octets = flooder.socket.recv(256 * 1024)
                    if not octets:
                        raise EOFError("the bus ended the connection")
                    flooder.received += octets
                    flooder.count()
                if not flooder.to_send:
                    selector.modify(flooder.socket, selectors.EVENT_READ, flooder)
    for flooder in flooders:
        flooder.socket.close()
    return flooders


@pytest.mark.usefixtures("can_be_nobody")
async def test_a_flood_of_pings_by_nobody_is_survived(bus: PrivateBus) -> None:
    async with echoing(bus) as (_, connection, _), bus.client(ECHO) as client:
        flooding = asyncio.create_task(asyncio.to_thread(flood, bus.address, connections=8, pings=500))
        while not flooding.done():
            assert await client.call(PATH, ECHO, "Repeat", "s", "meanwhile") == ("meanwhile",)
        flooders = await flooding
        assert connection.connected
        assert await client.call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)
    assert all(flooder.answers == 501 for flooder in flooders)
    assert sum(flooder.successes for flooder in flooders) > 500


def odd_signatures(count: int) -> list[str]:
    """Long signatures, each another; an empty array is a value of all of them."""
    choose = random.Random(20)  # noqa: S311 - the same ones each time
    return ["a(" + "".join(choose.choices("ybnqiuxtdsog", k=236)) + ")" for _ in range(count)]


async def test_signatures_are_not_remembered(bus: PrivateBus) -> None:
    async with echoing(bus), bus.client(ECHO) as client:

        async def send(signatures: list[str]) -> None:
            for in_variant, in_header in zip(signatures[::2], signatures[1::2], strict=True):
                options: Value = {"odd": Typed(signature=in_variant, value=())}
                assert await client.call(PATH, ECHO, "Options", "a{sv}", options) == (1,)
                assert (await error_of(client, "Options", in_header, ())).name == ErrorName.INVALID_ARGS

        signatures = odd_signatures(1200)  # the daemon itself gets 3,000 of them in tests/daemon
        await send(signatures[:200])
        gc.collect()
        before = resident_bytes()
        await send(signatures[200:])
        gc.collect()
        assert resident_bytes() - before < 10 * MIB


async def test_what_is_too_long_is_refused_unread(bus: PrivateBus) -> None:
    async with echoing(bus), bus.client(ECHO) as client:
        assert (await error_of(client, "Repeat", "s", "x" * 300_000)).name == ErrorName.LIMITS_EXCEEDED
        assert (await error_of(client, "Repeat", "s", "x" * 3_000_000)).name == ErrorName.LIMITS_EXCEEDED
        assert await client.call(PATH, ECHO, "Repeat", "s", "x" * 200_000) == ("x" * 200_000,)


async def test_an_object_path_without_end_ends_nothing(bus: PrivateBus) -> None:
    """The bus passes on a path of any length: as a call, as a signal, from anybody."""
    endless = "/" + "a" * 70_000
    async with echoing(bus), bus.client(ECHO) as client, bus.connected() as other:
        for destination in (ECHO, client.name):
            other.tell(destination, endless, PEER, "Ping")
        other.tell(ECHO, endless * 20, ECHO, "Repeat", "s", "x" * 100_000)
        other.send(
            Message(kind=Kind.SIGNAL, path=endless, interface=PROPERTIES, member="M", destination=ECHO)
        )
        assert await Client(other, ECHO).call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)
        assert await client.call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)


async def test_an_answer_that_would_end_the_connection_is_not_sent(bus: PrivateBus) -> None:
    async with echoing(bus) as (_, connection, _), bus.client(ECHO) as client:
        assert (await error_of(client, "Long", "u", 40 * MIB)).name == ErrorName.LIMITS_EXCEEDED
        assert len(str((await client.call(PATH, ECHO, "Long", "u", MIB))[0])) == MIB
        assert connection.connected


async def test_nul_and_surrogates_never_reach_the_bus(bus: PrivateBus) -> None:
    async with echoing(bus) as (echo, connection, _), bus.client(ECHO) as client:
        async with client.signals(ECHO, "Said") as said:
            echo.emit("Said", 1, "a\0b\udcffc")
            assert (await anext(said)).body == (1, "a\ufffdb\ufffdc")
        echo.values["Log"] = ("\0",)
        assert await client.get(PATH, ECHO, "Log") == ("\ufffd",)
        assert connection.connected


async def test_a_malformed_name_is_refused_before_it_is_sent(bus: PrivateBus) -> None:
    async with echoing(bus), bus.connected() as connection:
        for path, interface, member in (
            ("/a\n", ECHO, "M"),
            ("/a", "x", "M"),
            ("/a", ECHO, "M-1"),
            ("/a", ECHO, "M\n"),
        ):
            with pytest.raises(wire.Garbled):
                await connection.call(ECHO, path, interface, member)
        assert await Client(connection, ECHO).call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)


async def test_one_caller_has_so_many_calls_at_a_time(bus: PrivateBus) -> None:
    async with echoing(bus) as (echo, _, _), bus.client(ECHO) as greedy, bus.client(ECHO) as other:
        calls = [asyncio.create_task(greedy.call(PATH, ECHO, "Wait")) for _ in range(CALLS_PER_SENDER)]
        while echo.waiting < CALLS_PER_SENDER:
            echo.all_wait.clear()
            await echo.all_wait.wait()
        assert (await error_of(greedy, "Wait")).name == ErrorName.LIMITS_EXCEEDED
        assert await other.call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)
        echo.go_on.set()
        await asyncio.gather(*calls)
        assert await greedy.call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)


async def test_methods_that_run_end_with_the_exports(bus: PrivateBus) -> None:
    async with bus.client(ECHO) as client:
        async with echoing(bus) as (echo, _, _):
            call = asyncio.create_task(client.call(PATH, ECHO, "Wait"))
            await echo.all_wait.wait()
        with pytest.raises(BusError):
            await call


async def test_a_call_is_not_waited_for_for_ever(bus: PrivateBus) -> None:
    async with echoing(bus) as (echo, _, _), bus.client(ECHO) as client:
        with pytest.raises(BusError) as caught:
            await client.call(PATH, ECHO, "Wait", timeout=0.05)
        echo.go_on.set()
        assert caught.value.name == ErrorName.NO_REPLY
        assert await client.call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)


@pytest.mark.parametrize(
    ("member", "body"), [("NameLost", (ECHO,)), ("NameOwnerChanged", (":1.0", ":1.0", ""))]
)
async def test_a_forged_signal_of_the_bus_moves_nothing(
    bus: PrivateBus, member: str, body: tuple[str, ...]
) -> None:
    async with echoing(bus) as (_, connection, _), bus.connected() as forger:
        async with connection.departure(":1.0") as gone:
            forger.send(
                Message(
                    kind=Kind.SIGNAL,
                    destination=connection.unique_name,
                    path=BUS_PATH,
                    interface=BUS,
                    member=member,
                    signature="s" * len(body),
                    body=body,
                )
            )
            assert await Client(forger, ECHO).call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)
            assert not gone.is_set()
        assert connection.connected


async def test_a_departure_is_noticed(bus: PrivateBus) -> None:
    async with echoing(bus) as (_, connection, _):
        async with bus.connected() as other:
            watching = connection.departure(other.unique_name)
            gone = await watching.__aenter__()
        await gone.wait()
        await watching.__aexit__(None, None, None)


async def test_the_loss_of_the_name_is_noticed(bus: PrivateBus) -> None:
    async with echoing(bus) as (_, connection, _):
        connection.tell(BUS, BUS_PATH, BUS, "ReleaseName", "s", ECHO)
        assert await connection.lost() == "name-lost"


async def test_the_end_of_the_bus_is_noticed(bus: PrivateBus) -> None:
    async with echoing(bus) as (echo, connection, exports), bus.client(ECHO) as client:
        call = asyncio.create_task(client.call(PATH, ECHO, "Wait"))
        await echo.all_wait.wait()
        async with client.signals(ECHO) as said:
            await bus.kill()
            assert await connection.lost() == "disconnected"
            with pytest.raises(BusError):
                await anext(said)
        with pytest.raises(BusError) as caught:
            await call
        assert caught.value.name == ErrorName.DISCONNECTED
        assert not connection.connected
        echo.emit("Said", 1, "to nobody")
        echo.values["Count"] = 5
        echo.announce()
        exports.add(f"{ROOT}/echo/2", Echo())
        exports.remove(f"{ROOT}/echo/2")
        with pytest.raises(BusError):
            await connection.call(BUS, BUS_PATH, BUS, "GetId")
