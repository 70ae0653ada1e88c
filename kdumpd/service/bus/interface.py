"""What stands behind an exported object: a class whose members are those of its introspection file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from kdumpd.service.bus.connection import Connection
from kdumpd.service.bus.description import Description, Emits
from kdumpd.service.bus.errors import BusError, ErrorName
from kdumpd.service.bus.messages import Kind, Message, Typed, Value
from kdumpd.service.bus.standard import PROPERTIES


class Caller:
    """Who calls: a unique name, whether the user may be asked for a password, and, on demand, the uid."""

    def __init__(self, connection: Connection, *, sender: str, is_interactive: bool) -> None:
        self.sender = sender
        self.is_interactive = is_interactive
        self._connection = connection
        self._uid: int | None = None

    async def uid(self) -> int:
        """Asked of the bus once. Raises BusError (NameHasNoOwner) when the caller is gone."""
        if self._uid is None:
            self._uid = await self._connection.uid_of(self.sender)
        return self._uid

    async def pid(self) -> int:
        """Of the process that opened the connection. Raises BusError when the caller is gone."""
        return await self._connection.pid_of(self.sender)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a method of ours, or a write of a property, as the gate sees it, before the body runs."""

    caller: Caller
    path: str
    interface: Interface
    member: str
    arguments: tuple[Value, ...]


class Gate(Protocol):
    async def admit(self, request: Request) -> None:
        """Return to let the call through; raise BusError to refuse it."""


class Interface:
    """Base of the served interfaces. One instance serves one path.

    For each method of the description the subclass has a function or coroutine function of the same name in snake_case
    (`GetLog` is `get_log`), called as `get_log(caller, *arguments)`. It returns nothing, one value, or a tuple when the
    file names several results. It may raise Trouble, BusError or PermissionError("sentence").
    """

    withheld: Mapping[str, Value] = MappingProxyType({})
    """Properties that are for the exports' confidants alone, with what everybody else reads, and hears, in their place."""

    def __init__(self, description: Description) -> None:
        """Raises TypeError when a method of the description has no function, or what is withheld would be told by a signal."""
        self.description = description
        self._connection: Connection | None = None
        self._path = ""
        self._announced: dict[str, Value] = {}
        missing = [
            method.attribute
            for method in description.methods.values()
            if not callable(getattr(self, method.attribute, None))
        ]
        if missing:
            raise TypeError(f"{type(self).__name__} serves {description.name} without {', '.join(missing)}")
        if any(self._emits(name) is Emits.VALUE for name in self.withheld):
            raise TypeError(f"{description.name} tells everyone what {type(self).__name__} withholds")

    def properties(self) -> Mapping[str, Value]:
        """All properties of the description, by pure reads of attributes: it may never fail, wait or touch anything."""
        return {}

    def write(self, name: str, _value: Value) -> None:
        """Change a property that the description says can be written; the value is of its type. May raise BusError."""
        raise BusError(ErrorName.PROPERTY_READ_ONLY, f"{name} is read-only; methods change things.")

    def owner_uid(self) -> int | None:
        """Whose object this is, where some calls are free to the owner."""
        return None

    def require_admissible(self, _caller: Caller, _member: str, _arguments: tuple[Value, ...]) -> None:
        """Before anybody is asked whether the caller may: raise BusError or Trouble for a call that would be refused in any case.

        What is not ours of `authorisation_details` is looked at here: the question for a password shows it.
        """

    def authorisation_details(self, _member: str, _arguments: tuple[Value, ...]) -> Mapping[str, str]:
        """What rules of polkit may look at, and its message may show: `kernel`, `job.kind`, `target.type`, `target.host`."""
        return {}

    def emit(self, signal: str, *values: Value) -> None:
        """Send a signal of the description to everyone; nothing while not exported or disconnected."""
        described = self.description.signals[signal]
        self._send(self.description.name, signal, described.signature, *values)

    def announce(self) -> None:
        """Tell, in one PropertiesChanged, what differs from what was last told. Call after each change of state."""
        if self._connection is None:
            return
        now = self.checked_properties()
        differing = [name for name, value in now.items() if self._announced.get(name) != value]
        self._announced = now
        changed = {name: now[name] for name in differing if self._emits(name) is Emits.VALUE}
        invalidated = tuple(name for name in differing if self._emits(name) is Emits.INVALIDATES)
        if changed or invalidated:
            values = self.typed(changed)
            self._send(
                PROPERTIES, "PropertiesChanged", "sa{sv}as", self.description.name, values, invalidated
            )

    def checked_properties(self) -> dict[str, Value]:
        """`properties()`, proved to be exactly those of the description. Raises ValueError."""
        values = dict(self.properties())
        if values.keys() != self.description.properties.keys():
            odd = ", ".join(sorted(values.keys() ^ self.description.properties.keys()))
            raise ValueError(f"{type(self).__name__} and {self.description.name} do not agree about: {odd}")
        return values

    def read_by(self, *, a_confidant: bool) -> Mapping[str, Value]:
        """All properties with their types, as they are for one who calls."""
        now = self.checked_properties()
        return self.typed(now if a_confidant else {**now, **self.withheld})

    def typed(self, values: Mapping[str, Value]) -> Mapping[str, Value]:
        """Property values with the types that the description gives them."""
        types = self.description.properties
        return {name: Typed(signature=types[name].signature, value=value) for name, value in values.items()}

    def body_of(self, member: str) -> Callable[..., Value | Awaitable[Value | None] | None]:
        """The function that serves a method."""
        function: Callable[..., Value | Awaitable[Value | None] | None] = getattr(
            self, self.description.methods[member].attribute
        )
        return function

    def placed(self, connection: Connection | None, path: str) -> None:
        """Told by the exports: where the object stands now, or that it no longer does."""
        if connection is not None and self._connection is not None:
            raise ValueError(f"{self.description.name} already stands on {self._path}")
        self._connection, self._path = connection, path
        self._announced = {**self.checked_properties(), **self.withheld} if connection is not None else {}

    def _emits(self, name: str) -> Emits:
        return self.description.properties[name].emits

    def _send(self, interface: str, member: str, signature: str, *values: Value) -> None:
        if self._connection is not None and self._connection.connected:
            self._connection.send(
                Message(
                    kind=Kind.SIGNAL,
                    path=self._path,
                    interface=interface,
                    member=member,
                    signature=signature,
                    body=values,
                )
            )
