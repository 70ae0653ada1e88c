"""Which signals are wanted, and where they wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from kdumpd.service.bus.errors import BusError
from kdumpd.service.bus.messages import Message

_SIGNALS_KEPT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which signals are meant. Empty text matches anything; a well-known `sender` means its owner of that moment."""

    sender: str = ""
    path: str = ""
    path_namespace: str = ""
    interface: str = ""
    member: str = ""
    arg0: str = ""

    def rule(self) -> str:
        """The text for AddMatch."""
        names = ("sender", "path", "path_namespace", "interface", "member", "arg0")
        given = ((name, getattr(self, name)) for name in names)
        return ",".join(["type='signal'", *(f"{name}='{text}'" for name, text in given if text)])

    def __post_init__(self) -> None:
        if "'" in f"{self.sender}{self.path}{self.path_namespace}{self.interface}{self.member}{self.arg0}":
            raise ValueError("a match holds no quotation mark")

    def fits(self, head: Message) -> bool:
        """Whether all but the sender and the arguments fit."""
        within = self.path_namespace.rstrip("/")
        return (
            (not self.path or head.path == self.path)
            and (not within or head.path == within or head.path.startswith(f"{within}/"))
            and (not self.interface or head.interface == self.interface)
            and (not self.member or head.member == self.member)
        )


class Signals:
    """The signals of one subscription, oldest first; `async for` ends with BusError when the connection does.

    At most 4096 wait; beyond that the oldest go. A signal is a reason to look again, never the only copy of a fact.
    """

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque(maxlen=_SIGNALS_KEPT)
        self._arrived = asyncio.Event()
        self._end: BusError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._waiting:
            if self._end is not None:
                raise self._end
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    def drained(self) -> tuple[Message, ...]:
        """All that have arrived, without waiting for more."""
        found = tuple(self._waiting)
        self._waiting.clear()
        return found

    def put(self, signal: Message) -> None:
        self._waiting.append(signal)
        self._arrived.set()

    def end(self, fault: BusError) -> None:
        self._end = fault
        self._arrived.set()


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """Who is told of which signals, and of the end of the connection."""

    match: Match
    tell: Callable[[Message], None]
    end: Callable[[BusError], None]
