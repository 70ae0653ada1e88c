"""The other side of the bus: one service as its clients see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import cast

from kdumpd.service.bus.connection import CALL_TIMEOUT, Connection
from kdumpd.service.bus.errors import BusError, ErrorName
from kdumpd.service.bus.messages import BUS, BUS_PATH, Message, Value
from kdumpd.service.bus.standard import OBJECT_MANAGER, PROPERTIES
from kdumpd.service.bus.subscription import Match, Signals


class Client:
    """The service that owns `name`. All methods raise BusError, whose `name` and `text` are what the service said.

    async with Connection() as connection:
        kdumpd = Client(connection, "org.kdumpd.Kdump1")
        (job,) = await kdumpd.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {})
        state = await kdumpd.get(ROOT, MANAGER, "State")
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection

    async def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *arguments: Value,
        timeout: float = CALL_TIMEOUT,
        interactive: bool = True,
    ) -> tuple[Value, ...]:
        """The results of a method. `interactive` lets the service ask the user for a password."""
        return await self._connection.call(
            self.name,
            path,
            interface,
            member,
            signature,
            *arguments,
            timeout=timeout,
            interactive=interactive,
        )

    async def get(self, path: str, interface: str, member: str) -> Value:
        (value,) = await self.call(path, PROPERTIES, "Get", "ss", interface, member)
        return value

    async def get_all(self, path: str, interface: str) -> Mapping[str, Value]:
        (values,) = await self.call(path, PROPERTIES, "GetAll", "s", interface)
        return cast("Mapping[str, Value]", values)

    async def objects(self, root: str) -> Mapping[str, Mapping[str, Mapping[str, Value]]]:
        """Path to interface to properties, of everything below `root`."""
        (managed,) = await self.call(root, OBJECT_MANAGER, "GetManagedObjects")
        return cast("Mapping[str, Mapping[str, Mapping[str, Value]]]", managed)

    @asynccontextmanager
    async def signals(
        self, interface: str, member: str = "", *, path: str = "", below: str = ""
    ) -> AsyncIterator[Signals]:
        """Signals of this service and no other, for the time of the block."""
        match = Match(sender=self.name, interface=interface, member=member, path=path, path_namespace=below)
        async with self._connection.signals(match) as arrived:
            yield arrived

    async def is_running(self) -> bool:
        """Whether the service is there now. Starts nothing."""
        (owned,) = await self._connection.call(BUS, BUS_PATH, BUS, "NameHasOwner", "s", self.name)
        return bool(owned)

    async def wait_until(
        self,
        path: str,
        interface: str,
        holds: Callable[[Mapping[str, Value]], bool],
        *,
        seconds: float | None = None,
        told: Callable[[Mapping[str, Value]], None] | None = None,
    ) -> Mapping[str, Value]:
        """Subscribe, read, then wait until the properties are as wanted; `told` hears of each change on the way.

        Raises BusError: NoReply when the time is up, UnknownObject when the object is gone, NoReply or Disconnected when
        the service is.
        """
        try:
            async with (
                asyncio.timeout(seconds),
                self._connection.departure(self.name) as gone,
                self.signals(PROPERTIES, "PropertiesChanged", path=path) as changes,
            ):
                values = await self.get_all(path, interface)
                while not holds(values):
                    change = await self.next_change(changes, gone)
                    if change.body[0] == interface:
                        values = await self.get_all(path, interface)
                        if told is not None:
                            told(values)
                return values
        except TimeoutError:
            text = f"{path} did not come to the wanted state within {seconds:g} seconds."
            raise BusError(ErrorName.NO_REPLY, text) from None

    async def next_change(self, changes: Signals, gone: asyncio.Event) -> Message:
        """The next one; BusError (NoReply) once the service has left, of which `departure` tells."""
        change = asyncio.ensure_future(anext(changes))
        leaving = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait({change, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if change.done():
                return change.result()
            raise BusError(ErrorName.NO_REPLY, f"{self.name} left the bus.")
        finally:
            change.cancel()
            leaving.cancel()
            await asyncio.gather(change, leaving, return_exceptions=True)
