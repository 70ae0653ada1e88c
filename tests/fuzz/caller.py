"""One connection of somebody who means no good, and what became of each of its calls."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter

from kdumpd.service.bus import wire
from kdumpd.service.bus.messages import BUS, BUS_PATH, Kind, Message
from tests.fuzz import octets
from tests.service.private_bus import effective_uid

_PATIENCE = 120.0
_PER_CONNECTION = 100
"""Calls that wait for an answer: the bus itself refuses the 129th."""
ANSWERED = "answered"


class Caller:
    def __init__(self, address: str, *, uid: int) -> None:
        self._address = address
        self.uid = uid
        self.outcomes: Counter[str] = Counter()
        """`answered`, or the name of the error, of each call that was answered."""
        self.waiting: dict[int, str] = {}
        """What has no answer yet, by serial."""
        self.is_cut_off = False
        self._serial = 1
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._fewer = asyncio.Event()

    async def connect(self, *, reads: bool = True) -> None:
        """One that does not read has a bus that keeps its answers for it."""
        with effective_uid(self.uid):
            plug = socket.socket(socket.AF_UNIX)
            plug.connect(self._address.removeprefix("unix:path="))
        self._reader, self._writer = await asyncio.open_unix_connection(sock=plug)
        self._writer.write(b"\0AUTH EXTERNAL\r\nDATA\r\n")
        for _ in range(2):
            await self._reader.readuntil(b"\r\n")
        self._writer.write(b"BEGIN\r\n")
        hello = octets.message(serial=1, destination=BUS, path=BUS_PATH, interface=BUS, member="Hello")
        self._writer.write(hello)
        self.waiting[1] = "Hello"
        if reads:
            self._reading = asyncio.create_task(self._read(), name="caller")
            await self.until_at_most(0)
            self.outcomes.clear()

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    async def send(self, message: bytes, *, label: str, serial: int = 0) -> None:
        """`serial` of a call that wants an answer; waits while too many do."""
        assert self._writer is not None
        if self.is_cut_off:
            return
        if serial:
            await self.until_at_most(_PER_CONNECTION - 1)
            self.waiting[serial] = label
        self._writer.write(message)
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def until_at_most(self, count: int) -> None:
        """So many wait for an answer. Raises TimeoutError, with what does, where nobody answers."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while len(self.waiting) > count and not self.is_cut_off:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            raise TimeoutError(f"unanswered: {Counter(self.waiting.values())}") from None

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read(self) -> None:
        assert self._reader is not None
        try:
            while True:
                fixed = await self._reader.readexactly(wire.FIXED_HEADER)
                lengths = wire.measure(fixed)
                header = fixed + await self._reader.readexactly(lengths.header - wire.FIXED_HEADER)
                await self._reader.readexactly(lengths.body)
                if Kind(header[1]) in {Kind.RETURN, Kind.ERROR}:
                    self._note(wire.read_head(header))
        except (OSError, EOFError):
            pass
        finally:
            self.is_cut_off = True
            self._fewer.set()

    def _note(self, head: Message) -> None:
        if (
            self.waiting.pop(head.reply_serial, None) is not None
        ):  # the bus refuses those that want no answer, too
            self.outcomes[head.error_name.rpartition(".")[2] or ANSWERED] += 1
            self._fewer.set()
