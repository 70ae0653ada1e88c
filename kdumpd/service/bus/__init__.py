"""The message bus in our own words: the only package that knows dbus-next (in `wire`, and there only its marshalling).

An interface is its introspection file and a class. The file gives names, signatures and annotations; the class gives a
function for each method and the values of all properties:

    class Job(Interface):
        def properties(self) -> Mapping[str, Value]:
            return {"Id": self._job.number, "State": self._job.state, ...}      # all of them, pure reads

        async def cancel(self, caller: Caller, options: Mapping[str, Value]) -> None:
            await self._job.cancel()                                             # may raise Trouble or BusError

        def get_log(self, caller: Caller, offset: int, most: int, options: Mapping[str, Value]) -> tuple[Value, ...]:
            lines = first_lines(self._job.log[offset:], most=most)
            return lines, offset + len(lines), self._job.is_over               # several results: a tuple

    async with Connection(address) as connection:
        exports = Exports(connection, root="/org/kdumpd/Kdump1", gate=polkit_gate)
        job = Job(describe(job_xml))                   # TypeError when a method of the file has no function
        exports.add("/org/kdumpd/Kdump1/jobs/7", job)  # InterfacesAdded, from the root, at once
        await connection.own("org.kdumpd.Kdump1")
        job.announce()                                 # one PropertiesChanged with what differs since the last
        job.emit("Completed", "done", "", "")          # a signal of the file
        exports.remove("/org/kdumpd/Kdump1/jobs/7")
        reason = await connection.lost()
        await exports.close()

Arguments and results are plain values: tuples for arrays and structs, mappings for dictionaries, and inside `a{sv}` the
bare value (text, bool, int as `t` or `x`, float, a tuple of text, a mapping), or `Typed(signature="u", value=7)`.
"""

from kdumpd.service.bus.client import Client
from kdumpd.service.bus.connection import CALL_TIMEOUT, SYSTEM_BUS, Connection
from kdumpd.service.bus.description import Description, describe
from kdumpd.service.bus.errors import BusError, ErrorName, as_bus_error
from kdumpd.service.bus.exports import Exports
from kdumpd.service.bus.interface import Caller, Gate, Interface, Request
from kdumpd.service.bus.messages import NO_OBJECT, Typed, Value, clean, escaped, first_lines, is_object_path
from kdumpd.service.bus.rationing import Rationing
from kdumpd.service.bus.subscription import Match, Signals

__all__ = [
    "CALL_TIMEOUT",
    "NO_OBJECT",
    "SYSTEM_BUS",
    "BusError",
    "Caller",
    "Client",
    "Connection",
    "Description",
    "ErrorName",
    "Exports",
    "Gate",
    "Interface",
    "Match",
    "Rationing",
    "Request",
    "Signals",
    "Typed",
    "Value",
    "as_bus_error",
    "clean",
    "describe",
    "escaped",
    "first_lines",
    "is_object_path",
]
