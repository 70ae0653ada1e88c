"""One connection to a message bus: framing, calls with a time limit, signals that were not forged, names, its end.

Everything is written through an asyncio stream, so a full socket means waiting, never a lost connection; and the reader
stops while our own output is not being taken, so a flood of calls slows down its senders and nobody else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.bus import stream, wire
from kdumpd.service.bus.errors import BusError, ErrorName
from kdumpd.service.bus.messages import BUS, BUS_PATH, Flag, Kind, Message, Value
from kdumpd.service.bus.rationing import Boundless, Rationing
from kdumpd.service.bus.subscription import Match, Signals, Subscription

logger = logging.getLogger(__name__)

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
CALL_TIMEOUT = 25.0
"""Seconds a call waits for its reply unless told otherwise."""

LONGEST_SENT = 4 * 1024 * 1024
"""Bytes of a message of ours. The system bus ends the connection of whoever sends more than 32 MiB."""

_MESSAGES_PER_TURN = 32
_DO_NOT_QUEUE = 4
_PRIMARY_OWNER, _ALREADY_OWNER = 1, 4


class Connection:
    """Use `async with Connection(address) as connection`, or `open` and `close`."""

    def __init__(self, address: str = "") -> None:
        """`address` as in DBUS_SYSTEM_BUS_ADDRESS, whose value, or the system bus, is meant when it is empty."""
        self.address = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
        self.unique_name = ""
        self.on_call: Callable[[wire.Frame], None] = self._know_no_object
        self.rations: Rationing = Boundless()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._serial = 0
        self._outgoing = bytearray()
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._subscriptions: list[Subscription] = []
        self._owners: dict[str, str] = {}
        self._owner_changes: Counter[str] = Counter()
        self._reason = ""
        self._lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, authenticate as our uid and say Hello. Raises Trouble."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                self._reader, self._writer = await stream.dial(self.address)
                await stream.authenticate(self._reader, self._writer)
        except (
            OSError,
            ValueError,
            EOFError,
            asyncio.LimitOverrunError,
        ) as fault:  # a TimeoutError is an OSError
            await self.close()
            raise Trouble(
                Problem(
                    code="bus-unreachable",
                    message=f"The message bus at {self.address} cannot be reached: {str(fault) or 'it does not answer'}.",
                    hint="Is dbus-daemon or dbus-broker running?",
                )
            ) from fault
        self._reading = asyncio.create_task(self._read(self._reader, self._writer), name="bus reader")
        try:
            (name,) = await self.call(BUS, BUS_PATH, BUS, "Hello")
        except BaseException:
            await self.close()
            raise
        self.unique_name = str(name)

    async def close(self) -> None:
        """End the connection; what waits for it is told. Safe to repeat."""
        self._end("closed")
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._writer is not None:
            self._flush()
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None

    @property
    def connected(self) -> bool:
        return self._writer is not None and not self._lost.is_set()

    async def lost(self) -> str:
        """Wait for the end and say why: `disconnected`, `name-lost` (someone took our name) or `closed` (by us)."""
        await self._lost.wait()
        return self._reason

    async def own(self, name: str) -> None:
        """Own a well-known name, now or not at all. Raises Trouble when another has it, BusError when it is forbidden."""
        (outcome,) = await self.call(BUS, BUS_PATH, BUS, "RequestName", "su", name, _DO_NOT_QUEUE)
        if outcome not in {_PRIMARY_OWNER, _ALREADY_OWNER}:
            raise Trouble(
                Problem(
                    code="busy", message=f"The bus name {name} is taken.", hint="Another kdumpd is running."
                )
            )

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *arguments: Value,
        timeout: float = CALL_TIMEOUT,
        interactive: bool = False,
    ) -> tuple[Value, ...]:
        """Call and give the values of the reply. Raises BusError: what the other side said, NoReply or Disconnected.

        `interactive` lets the other side ask the user for a password.
        """
        serial = self._next_serial()
        message = Message(
            kind=Kind.CALL,
            flags=Flag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else 0,
            serial=serial,
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=arguments,
        )
        reply = asyncio.get_running_loop().create_future()
        self._pending[serial] = reply
        try:
            self._send(message)
            async with asyncio.timeout(timeout):
                answer: Message = await reply
        except TimeoutError:
            raise BusError(
                ErrorName.NO_REPLY, f"{destination} did not answer {member} within {timeout:g} seconds."
            ) from None
        finally:
            del self._pending[serial]
        if answer.kind is Kind.ERROR:
            text = answer.body[0] if answer.body else answer.error_name
            raise BusError(answer.error_name, str(text))
        return answer.body

    def tell(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *arguments: Value
    ) -> None:
        """Call without wanting to know the outcome. Raises BusError when disconnected."""
        self.send(
            Message(
                kind=Kind.CALL,
                flags=Flag.NO_REPLY_EXPECTED,
                destination=destination,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=arguments,
            )
        )

    def send(self, message: Message) -> None:
        """Send what expects no reply. Raises BusError when disconnected, wire.Garbled when it cannot be encoded."""
        self._send(replace(message, serial=self._next_serial()))

    async def uid_of(self, sender: str) -> int:
        """The uid behind a unique name. Raises BusError (NameHasNoOwner) when it is gone."""
        (uid,) = await self.call(BUS, BUS_PATH, BUS, "GetConnectionUnixUser", "s", sender)
        if not isinstance(uid, int):
            raise BusError(ErrorName.FAILED, "The bus did not answer with a uid.")
        return uid

    async def pid_of(self, sender: str) -> int:
        """The process behind a unique name. Raises BusError when it is gone."""
        (pid,) = await self.call(BUS, BUS_PATH, BUS, "GetConnectionUnixProcessID", "s", sender)
        if not isinstance(pid, int):
            raise BusError(ErrorName.FAILED, "The bus did not answer with a pid.")
        return pid

    @asynccontextmanager
    async def signals(self, match: Match) -> AsyncIterator[Signals]:
        """Subscribe for the time of the block. Signals from then on, and none but those of `match.sender`, arrive."""
        arrived = Signals()
        async with self._subscribed(match, arrived.put, arrived.end):
            yield arrived

    @asynccontextmanager
    async def departure(self, name: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the owner of a name leaves, or our connection ends.

        One who left before the block was entered is not noticed: ask the bus for its uid inside the block.
        """
        gone = asyncio.Event()

        def tell(signal: Message) -> None:
            if signal.body[0] == name and signal.body[2] == "":
                gone.set()

        match = Match(sender=BUS, path=BUS_PATH, interface=BUS, member="NameOwnerChanged", arg0=name)
        async with self._subscribed(match, tell, lambda _: gone.set()):
            yield gone

    @asynccontextmanager
    async def _subscribed(
        self, match: Match, tell: Callable[[Message], None], end: Callable[[BusError], None]
    ) -> AsyncIterator[None]:
        if match.sender and match.sender != BUS and not match.sender.startswith(":"):
            follow = Match(
                sender=BUS, path=BUS_PATH, interface=BUS, member="NameOwnerChanged", arg0=match.sender
            )
            async with self._registered(follow, self._follow_owner, lambda _: None):
                await self._learn_owner(match.sender)
                async with self._registered(match, tell, end):
                    yield
        else:
            async with self._registered(match, tell, end):
                yield

    @asynccontextmanager
    async def _registered(
        self, match: Match, tell: Callable[[Message], None], end: Callable[[BusError], None]
    ) -> AsyncIterator[None]:
        subscription = Subscription(match, tell, end)
        self._subscriptions.append(subscription)
        try:
            await self.call(BUS, BUS_PATH, BUS, "AddMatch", "s", match.rule())
            yield
        finally:
            self._subscriptions.remove(subscription)
            if self.connected:
                # Without waiting, so that it also happens when the task is being cancelled.
                self.tell(BUS, BUS_PATH, BUS, "RemoveMatch", "s", match.rule())

    async def _owner_of(self, name: str) -> str:
        try:
            (owner,) = await self.call(BUS, BUS_PATH, BUS, "GetNameOwner", "s", name)
        except BusError as fault:
            if fault.name == ErrorName.NAME_HAS_NO_OWNER:
                return ""
            raise
        return str(owner)

    async def _learn_owner(self, name: str) -> None:
        """What is heard after the question is newer than the answer, also when this task comes to read it later."""
        heard = self._owner_changes[name]
        owner = await self._owner_of(name)
        if self._owner_changes[name] == heard:
            self._owners[name] = owner

    def _follow_owner(self, signal: Message) -> None:
        name = str(signal.body[0])
        self._owner_changes[name] += 1
        self._owners[name] = str(signal.body[2])

    def _next_serial(self) -> int:
        self._serial = self._serial % 0xFFFF_FFFF + 1
        return self._serial

    def _send(self, message: Message) -> None:
        if self._writer is None or self._lost.is_set() or self._writer.is_closing():
            raise BusError(ErrorName.DISCONNECTED, "There is no connection to the message bus.")
        octets = wire.encode(message)
        if len(octets) > LONGEST_SENT:
            raise BusError(ErrorName.LIMITS_EXCEEDED, "The answer is too long; ask for less.")
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing += octets

    def _flush(self) -> None:
        """All that was sent in one turn of the loop, as one write: asyncio sums what waits at each write."""
        outgoing, self._outgoing = bytes(self._outgoing), bytearray()
        if outgoing and self._writer is not None and not self._writer.is_closing():
            self._writer.write(outgoing)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for turn in itertools.cycle(range(_MESSAGES_PER_TURN)):
                if turn == 0:
                    await asyncio.sleep(
                        0
                    )  # buffered messages are read without waiting; others have their turn too
                await writer.drain()
                unread = self.rations.has_had_enough
                frame = await stream.next_frame(reader, expected=self._pending, is_unread=unread)
                if frame is not None:
                    self._receive(frame)
        except (OSError, EOFError, wire.Garbled) as fault:
            logger.debug("the connection to the bus ended: %r", fault)
        finally:
            self._end("disconnected")

    def _receive(self, frame: wire.Frame) -> None:
        match frame.head.kind:
            case Kind.CALL:
                try:
                    self.on_call(frame)
                except BusError as fault:
                    logger.debug("call by %s left unanswered: %s", frame.head.sender, fault)
            case Kind.RETURN | Kind.ERROR:
                reply = self._pending.get(frame.head.reply_serial)
                if reply is not None and not reply.done():
                    try:
                        reply.set_result(frame.read())
                    except wire.Garbled as fault:
                        reply.set_exception(
                            BusError(ErrorName.LIMITS_EXCEEDED, f"The reply is unusable: {fault}.")
                        )
            case Kind.SIGNAL:
                self._receive_signal(frame)

    def _receive_signal(self, frame: wire.Frame) -> None:
        head = frame.head
        if head.sender == BUS and head.interface == BUS and head.member == "NameLost":
            # Our unique name is never "lost" but with the connection; any other one is a name we lived by.
            logger.error("the bus took our name away")
            self._end("name-lost")
            return
        wanted = [
            subscription
            for subscription in self._subscriptions
            if subscription.match.fits(head) and self._is_from(subscription.match.sender, head.sender)
        ]
        if not wanted:
            with suppress(BusError):
                self.rations.charge(head.sender, "", "", octets=len(frame.body or b""))
            return
        try:
            signal = frame.read()
        except wire.Garbled as fault:
            logger.debug("signal %s.%s of %s dropped: %s", head.interface, head.member, head.sender, fault)
            return
        for subscription in wanted:
            arg0 = subscription.match.arg0
            if not arg0 or (signal.body and signal.body[0] == arg0):
                subscription.tell(signal)

    def _is_from(self, wanted: str, sender: str) -> bool:
        """Anyone may send us any signal directly; only the sender's name, which the bus writes, tells them apart."""
        return not wanted or sender == wanted or (sender != "" and sender == self._owners.get(wanted))

    def _know_no_object(self, frame: wire.Frame) -> None:
        if frame.head.wants_reply:
            text = "Nothing is served here."
            self.send(error_to(frame.head, BusError(ErrorName.UNKNOWN_OBJECT, text)))

    def _end(self, reason: str) -> None:
        if self._lost.is_set():
            return
        self._reason = reason
        self._lost.set()
        fault = BusError(ErrorName.DISCONNECTED, "The connection to the message bus ended.")
        for reply in self._pending.values():
            if not reply.done():
                reply.set_exception(fault)
        for subscription in self._subscriptions:
            subscription.end(fault)


def error_to(call: Message, fault: BusError) -> Message:
    """The error message that answers a call."""
    return Message(
        kind=Kind.ERROR,
        destination=call.sender,
        reply_serial=call.serial,
        error_name=fault.name,
        signature="s",
        body=(fault.text,),
    )
