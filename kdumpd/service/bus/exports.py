"""The objects we serve, and what becomes of each call to them."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping

from kdumpd.service.bus import standard, wire
from kdumpd.service.bus.connection import Connection, error_to
from kdumpd.service.bus.description import Method
from kdumpd.service.bus.errors import BusError, ErrorName, as_bus_error
from kdumpd.service.bus.interface import Caller, Gate, Interface, Request
from kdumpd.service.bus.messages import (
    BUS,
    BUS_PATH,
    Kind,
    Message,
    Value,
    is_object_path,
    signature_of,
)
from kdumpd.service.bus.rationing import Rationing
from kdumpd.service.bus.stream import LONGEST_BODY

CALLS_PER_SENDER = 32
"""Methods of one caller that may run at a time."""


class Exports:
    """Serves interfaces on a connection, with ObjectManager at `root`."""

    def __init__(
        self,
        connection: Connection,
        *,
        root: str,
        gate: Gate,
        rations: Rationing | None = None,
        confidants: frozenset[int] = frozenset({0}),
    ) -> None:
        """`confidants` are the uids from which no property is withheld."""
        self._confidants = confidants
        self._connection = connection
        if rations is not None:
            connection.rations = rations
        self._root = root
        self._gate = gate
        self._objects: dict[str, dict[str, Interface]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._calls_of: Counter[str] = Counter()
        connection.on_call = self._receive

    def add(self, path: str, *interfaces: Interface) -> None:
        """Serve an object, and tell those who follow `root`. Raises ValueError when the path is taken or is no path."""
        if not is_object_path(path) or path in self._objects or not interfaces:
            raise ValueError(f"nothing can be exported on {path!r}")
        for interface in interfaces:
            interface.placed(self._connection, path)
        self._objects[path] = {interface.description.name: interface for interface in interfaces}
        if self._is_managed(path):
            self._tell("InterfacesAdded", "oa{sa{sv}}", path, self._contents(path, a_confidant=False))

    def remove(self, path: str) -> None:
        """Serve an object no longer; nothing happens when it was not there."""
        interfaces = self._objects.pop(path, {})
        for interface in interfaces.values():
            interface.placed(None, "")
        if interfaces and self._is_managed(path):
            self._tell("InterfacesRemoved", "oas", path, tuple(interfaces))

    async def close(self) -> None:
        """Cancel the methods that still run and wait for them."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._connection.rations.close()

    def _is_managed(self, path: str) -> bool:
        return path.startswith(f"{self._root}/")

    def _tell(self, member: str, signature: str, *values: Value) -> None:
        if self._connection.connected:
            self._connection.send(
                Message(
                    kind=Kind.SIGNAL,
                    path=self._root,
                    interface=standard.OBJECT_MANAGER,
                    member=member,
                    signature=signature,
                    body=values,
                )
            )

    def _contents(self, path: str, *, a_confidant: bool) -> Mapping[str, Value]:
        return {name: served.read_by(a_confidant=a_confidant) for name, served in self._objects[path].items()}

    def _receive(self, frame: wire.Frame) -> None:
        head = frame.head
        try:
            self._begin(frame)
        except Exception as fault:  # noqa: BLE001 - the border: any fault becomes an error of D-Bus, or a log entry of ours
            self._refuse(head, fault)

    def _receive_again(self, frame: wire.Frame, until: asyncio.Task[bool]) -> None:
        """Unless its caller has left meanwhile, or we end."""
        if not until.cancelled() and until.result():
            self._receive(frame)

    def _begin(self, frame: wire.Frame) -> None:
        """Answer at once, or begin the method as a task of its own. Nothing of the body is read before it is expected."""
        head = frame.head
        interface = head.interface or self._interface_with(head.path, head.member)
        octets = LONGEST_BODY if frame.body is None else len(frame.body)
        until = self._connection.rations.charge(head.sender, interface, head.member, octets=octets)
        if until is not None:
            until.add_done_callback(lambda until: self._receive_again(frame, until))
            return
        if frame.body is None:
            raise BusError(ErrorName.LIMITS_EXCEEDED, "The message is too long.")
        if not interface:
            raise self._no_interface_with(head.path, head.member)
        if (known := standard.SIGNATURES.get((interface, head.member))) is not None:
            self._require_signature(head, known[0])
            self._answer_standard(interface, _read(frame))
            return
        if interface in standard.NAMES:
            raise BusError(ErrorName.UNKNOWN_METHOD, f"{interface} has no method {head.member}.")
        served = self._find(head.path, interface)
        method = served.description.methods.get(head.member)
        if method is None:
            raise BusError(ErrorName.UNKNOWN_METHOD, f"{interface} has no method {head.member}.")
        self._require_signature(head, method.signature_in)
        self._require_room_for(head.sender)
        call = _read(frame)
        self._run(call, self._serve(call, served, method))

    def _require_room_for(self, sender: str) -> None:
        if self._calls_of[sender] >= CALLS_PER_SENDER:
            raise BusError(
                ErrorName.LIMITS_EXCEEDED, f"{CALLS_PER_SENDER} of your calls are being served; await them."
            )

    def _run(self, call: Message, work: Coroutine[None, None, None]) -> None:
        """As a task of its own, which counts for the caller until it ends."""
        self._calls_of[call.sender] += 1
        task = asyncio.create_task(work, name=f"{call.interface}.{call.member}")
        self._running.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            self._calls_of[call.sender] -= 1
            if self._calls_of[call.sender] <= 0:
                del self._calls_of[call.sender]

        task.add_done_callback(ended)

    async def _serve(self, call: Message, served: Interface, method: Method) -> None:
        caller = Caller(self._connection, sender=call.sender, is_interactive=call.may_ask_the_user)
        try:
            await self._gate.admit(
                Request(
                    caller=caller, path=call.path, interface=served, member=method.name, arguments=call.body
                )
            )
            outcome = served.body_of(method.name)(caller, *call.body)
            result = await outcome if inspect.isawaitable(outcome) else outcome
            self._reply(call, method.signature_out, *_results(method, result))
        except Exception as fault:  # noqa: BLE001 - the border, as above
            self._refuse(call, fault)

    def _answer_standard(self, interface: str, call: Message) -> None:
        match interface, call.member:
            case standard.PEER, "Ping":
                self._reply(call, "")
            case standard.PEER, _:
                # Nobody has to wait for the answer, so nothing else would bound how many of these there are.
                self._require_room_for(call.sender)
                self._run(call, self._relay_machine_id(call))
            case standard.INTROSPECTABLE, _:
                self._reply(call, "s", self._introspection(call.path))
            case standard.OBJECT_MANAGER, _:
                if call.path != self._root:
                    raise self._unknown_interface(call.path, interface)
                self._read_out(call, [each for group in self._objects.values() for each in group.values()])
            case _:
                self._answer_properties(call)

    def _answer_properties(self, call: Message) -> None:
        served = self._find(call.path, str(call.body[0]))
        if call.member == "GetAll":
            self._read_out(call, [served])
            return
        name = str(call.body[1])
        described = served.description.properties.get(name)
        if described is None:
            raise BusError(ErrorName.UNKNOWN_PROPERTY, f"{served.description.name} has no property {name}.")
        if call.member == "Set":
            if not described.is_writable:
                raise BusError(ErrorName.PROPERTY_READ_ONLY, f"{name} is read-only; methods change things.")
            if signature_of(call.body[2]) != described.signature:
                raise BusError(ErrorName.INVALID_ARGS, f"{name} is of type {described.signature}.")
            self._require_room_for(call.sender)
            self._run(call, self._write(call, served, name))
            return
        self._read_out(call, [served] if name in served.withheld else [])

    def _read_out(self, call: Message, touched: Iterable[Interface]) -> None:
        """At once, but where any of what is touched withholds something: who asks is known a moment later."""
        if any(each.withheld for each in touched):
            self._require_room_for(call.sender)
            self._run(call, self._read_out_to_whom_it_may(call))
        else:
            self._reply_with_values(call, a_confidant=False)

    async def _read_out_to_whom_it_may(self, call: Message) -> None:
        try:
            is_confidant = await self._connection.uid_of(call.sender) in self._confidants
            self._reply_with_values(call, a_confidant=is_confidant)
        except Exception as fault:  # noqa: BLE001 - the border, as above
            self._refuse(call, fault)

    def _reply_with_values(self, call: Message, *, a_confidant: bool) -> None:
        if call.member == "GetManagedObjects":
            paths = [path for path in self._objects if self._is_managed(path)]
            managed = {path: self._contents(path, a_confidant=a_confidant) for path in paths}
            self._reply(call, "a{oa{sa{sv}}}", managed)
            return
        told = self._find(call.path, str(call.body[0])).read_by(a_confidant=a_confidant)
        if call.member == "GetAll":
            self._reply(call, "a{sv}", told)
        else:
            self._reply(call, "v", told[str(call.body[1])])

    async def _write(self, call: Message, served: Interface, name: str) -> None:
        caller = Caller(self._connection, sender=call.sender, is_interactive=call.may_ask_the_user)
        try:
            await self._gate.admit(
                Request(
                    caller=caller,
                    path=call.path,
                    interface=served,
                    member=name,
                    arguments=call.body[2:],
                )
            )
            served.write(name, call.body[2])
            self._reply(call, "")
        except Exception as fault:  # noqa: BLE001 - the border, as above
            self._refuse(call, fault)

    async def _relay_machine_id(self, call: Message) -> None:
        try:
            (machine_id,) = await self._connection.call(BUS, BUS_PATH, standard.PEER, "GetMachineId")
            self._reply(call, "s", machine_id)
        except BusError as fault:
            self._refuse(call, fault)

    def _introspection(self, path: str) -> str:
        served = self._objects.get(path)
        children = self._children(path)
        if served is None and not children:
            raise BusError(ErrorName.UNKNOWN_OBJECT, f"There is no object {path}.")
        parts = [standard.XML_HEAD, "<node>\n", standard.ON_ANY_PATH]
        if served is not None:
            parts.append(standard.ON_OBJECTS)
        if path == self._root:
            parts.append(standard.ON_ROOT)
        parts.extend(f"  {interface.description.xml}\n" for interface in (served or {}).values())
        parts.extend(f'  <node name="{child}"/>\n' for child in children)
        return "".join([*parts, "</node>\n"])

    def _children(self, path: str) -> list[str]:
        stem = path.rstrip("/") + "/"
        return sorted(
            {other[len(stem) :].split("/")[0] for other in self._objects if other.startswith(stem)} - {""}
        )

    def _find(self, path: str, interface: str) -> Interface:
        served = self._objects.get(path)
        if served is None:
            raise BusError(ErrorName.UNKNOWN_OBJECT, f"There is no object {path}.")
        if interface not in served:
            raise self._unknown_interface(path, interface)
        return served[interface]

    @staticmethod
    def _unknown_interface(path: str, interface: str) -> BusError:
        return BusError(ErrorName.UNKNOWN_INTERFACE, f"{path} has no interface {interface}.")

    def _interface_with(self, path: str, member: str) -> str:
        """The interface that a call which names none means; empty where there is none."""
        for name, served in self._objects.get(path, {}).items():
            if member in served.description.methods:
                return name
        for name, known in standard.SIGNATURES:
            if known == member:
                return name
        return ""

    def _no_interface_with(self, path: str, member: str) -> BusError:
        if path not in self._objects:
            return BusError(ErrorName.UNKNOWN_OBJECT, f"There is no object {path}.")
        return BusError(ErrorName.UNKNOWN_METHOD, f"{path} has no method {member}.")

    @staticmethod
    def _require_signature(head: Message, expected: str) -> None:
        if head.signature != expected:
            text = f"{head.member} takes arguments of the signature ({expected}), not ({head.signature})."
            raise BusError(ErrorName.INVALID_ARGS, text)

    def _reply(self, call: Message, signature: str, *values: Value) -> None:
        if call.wants_reply:
            self._connection.send(
                Message(
                    kind=Kind.RETURN,
                    destination=call.sender,
                    reply_serial=call.serial,
                    signature=signature,
                    body=values,
                )
            )

    def _refuse(self, call: Message, fault: Exception) -> None:
        if not self._connection.connected:
            return
        told = as_bus_error(fault, doing=call.member)
        if call.wants_reply:
            self._connection.send(error_to(call, told))


def _read(frame: wire.Frame) -> Message:
    try:
        return frame.read()
    except wire.Garbled as fault:
        raise BusError(ErrorName.INVALID_ARGS, f"The arguments cannot be read: {fault}.") from fault


def _results(method: Method, result: Value | None) -> tuple[Value, ...]:
    match len(method.returns):
        case 0 if result is None:
            return ()
        case 1 if result is not None:
            return (result,)
        case count if isinstance(result, tuple) and len(result) == count > 1:
            return result
        case count:
            raise TypeError(f"{method.attribute} must return {count} values, not {result!r}")
