"""A small interface of every shape, and a bus full of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.bus import (
    BusError,
    Caller,
    Client,
    Connection,
    ErrorName,
    Exports,
    Interface,
    Value,
    describe,
)
from kdumpd.service.permissions import ROOT
from tests.service.private_bus import Open, PrivateBus

ECHO = "org.kdumpd.Echo"
PATH = f"{ROOT}/echo/1"

_XML = """
<node>
  <interface name="org.kdumpd.Echo">
    <method name="Repeat"><arg name="text" type="s" direction="in"/><arg name="again" type="s" direction="out"/></method>
    <method name="Options"><arg name="options" type="a{sv}" direction="in"/><arg name="n" type="u" direction="out"/></method>
    <method name="Everything">
      <arg name="a" type="a{sv}" direction="in"/><arg name="b" type="a(us)" direction="in"/>
      <arg name="a" type="a{sv}" direction="out"/><arg name="b" type="a(us)" direction="out"/>
    </method>
    <method name="Fail"><arg name="how" type="s" direction="in"/></method>
    <method name="Wait"/>
    <method name="WhoAmI"><arg name="uid" type="u" direction="out"/><arg name="asks" type="b" direction="out"/></method>
    <method name="Long"><arg name="octets" type="u" direction="in"/><arg name="text" type="s" direction="out"/></method>
    <method name="Wrong"><arg name="number" type="u" direction="out"/></method>
    <signal name="Said"><arg name="number" type="u"/><arg name="text" type="s"/></signal>
    <property name="Name" type="s" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
    </property>
    <property name="Count" type="u" access="read"/>
    <property name="Log" type="as" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="invalidates"/>
    </property>
    <property name="Clock" type="t" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
  </interface>
</node>
"""


class Echo(Interface):
    def __init__(self) -> None:
        super().__init__(describe(_XML))
        self.values: dict[str, Value] = {"Name": "echo", "Count": 1, "Log": (), "Clock": 0}
        self.go_on = asyncio.Event()
        self.waiting = 0
        self.all_wait = asyncio.Event()

    def properties(self) -> Mapping[str, Value]:
        return self.values

    def repeat(self, _caller: Caller, text: str) -> str:
        return text

    def options(self, _caller: Caller, options: Mapping[str, Value]) -> int:
        return len(options)

    def everything(self, _caller: Caller, table: Value, rows: Value) -> tuple[Value, ...]:
        return table, rows

    async def fail(self, _caller: Caller, how: str) -> None:
        match how:
            case "conflict":
                raise Trouble(
                    Problem(code="conflict", message="The file has changed.", hint="Read it again.")
                )
            case "config":
                raise Trouble(
                    Problem(code="unknown-setting", message="No pth.", file="/etc/kdump.conf", line=3)
                )
            case "permission":
                raise PermissionError("Not today.")
            case "kernel":
                raise PermissionError(13, "Permission denied", "/secret/path")
            case "named":
                raise BusError(ErrorName.BUSY, "NUL \0 and \ud800 inside")
            case _:
                raise RuntimeError("the secret of /secret/path")

    async def wait(self, _caller: Caller) -> None:
        self.waiting += 1
        self.all_wait.set()
        await self.go_on.wait()

    async def who_am_i(self, caller: Caller) -> tuple[Value, ...]:
        return await caller.uid(), caller.is_interactive

    def long(self, _caller: Caller, octets: int) -> str:
        return "x" * octets

    def wrong(self, _caller: Caller) -> str:
        return "not a number"


@contextlib.asynccontextmanager
async def echoing(bus: PrivateBus) -> AsyncIterator[tuple[Echo, Connection, Exports]]:
    echo = Echo()
    async with bus.serving(ECHO, Open, {PATH: (echo,)}) as (connection, exports):
        yield echo, connection, exports


async def error_of(
    client: Client, member: str, signature: str = "", *arguments: Value, path: str = PATH
) -> BusError:
    """The error that a call of Echo ends with."""
    try:
        result = await client.call(path, ECHO, member, signature, *arguments)
    except BusError as fault:
        return fault
    raise AssertionError(f"{member} succeeded with {result}")
