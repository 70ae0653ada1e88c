"""Somebody's session on a private bus: calls kdumpd when told to, and is the agent that polkit asks for a password.

    python3 -m tests.daemon.polkit_session ADDRESS UID

Reads a line of JSON for each thing to do, and writes one for each that happens:

    {"call": [path, interface, member, signature, [argument, ...]], "interactive": true}   ->  {"outcome": "" or an error's name, "results": [...]}
    {"typed": cookie}, once the password was taken                                        <-  {"prompt": action, "cookie": ...}
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from kdumpd.service.bus import (
    BusError,
    Caller,
    Client,
    Connection,
    Exports,
    Interface,
    Request,
    Typed,
    Value,
    describe,
)
from kdumpd.service.permissions import BUS_NAME
from kdumpd.service.polkit import AUTHORITY, AUTHORITY_PATH, POLKIT

_AGENT_PATH = "/agent"
_AGENT = describe("""
<node><interface name="org.freedesktop.PolicyKit1.AuthenticationAgent">
  <method name="BeginAuthentication">
    <arg name="action_id" type="s" direction="in"/><arg name="message" type="s" direction="in"/>
    <arg name="icon_name" type="s" direction="in"/><arg name="details" type="a{ss}" direction="in"/>
    <arg name="cookie" type="s" direction="in"/><arg name="identities" type="a(sa{sv})" direction="in"/>
  </method>
  <method name="CancelAuthentication"><arg name="cookie" type="s" direction="in"/></method>
</interface></node>
""")


class Anyone:
    async def admit(self, _request: Request) -> None:
        """The bus lets polkit alone call agents."""


class Agent(Interface):
    def __init__(self) -> None:
        super().__init__(_AGENT)
        self._typed: dict[str, asyncio.Event] = {}

    async def begin_authentication(self, _caller: Caller, *question: Value) -> None:
        action, message, _icon, _details, cookie, identities = question
        self._typed[str(cookie)] = asyncio.Event()
        assert isinstance(identities, tuple)
        assert isinstance(identities[0], tuple)
        kind, whose = identities[0]
        assert isinstance(whose, Mapping)
        _say(
            prompt=action,
            message=message,
            cookie=cookie,
            identity=[kind, dict(whose)],
        )
        await self._typed[str(cookie)].wait()

    def cancel_authentication(self, _caller: Caller, cookie: str) -> None:
        self._typed[cookie].set()

    def password_was_taken(self, cookie: str) -> None:
        self._typed[cookie].set()


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def _call(client: Client, asked: Mapping[str, list[str]]) -> None:
    path, interface, member, signature, arguments = asked["call"]
    try:
        results = await client.call(
            path,
            interface,
            member,
            signature,
            *arguments,
            timeout=60,
            interactive=bool(asked.get("interactive", True)),
        )
        _say(outcome="", results=[str(result) for result in results])
    except BusError as fault:
        _say(outcome=fault.name)


async def session(address: str) -> None:
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    async with Connection(address) as connection, asyncio.TaskGroup() as calls:
        agent = Agent()
        exports = Exports(connection, root="/", gate=Anyone())
        exports.add(_AGENT_PATH, agent)
        _say(name=connection.unique_name)
        await told.readline()  # polkit is there
        started = _started()
        subject = (
            "unix-process",
            {"pid": _u32(os.getpid()), "start-time": started, "uid": _i32(os.getuid())},
        )
        await connection.call(
            POLKIT,
            AUTHORITY_PATH,
            AUTHORITY,
            "RegisterAuthenticationAgent",
            "(sa{sv})ss",
            subject,
            "C",
            _AGENT_PATH,
        )
        _say(outcome="registered")
        client = Client(connection, BUS_NAME)
        async for line in told:
            asked = json.loads(line)
            if "typed" in asked:
                agent.password_was_taken(asked["typed"])
            else:
                calls.create_task(_call(client, asked))
        await exports.close()


def _started() -> int:
    """When this process began, as /proc tells it, by which polkit tells it from a later one of the same number."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def _u32(number: int) -> Value:
    return Typed(signature="u", value=number)


def _i32(number: int) -> Value:
    return Typed(signature="i", value=number)


def main() -> None:
    address, uid = sys.argv[1], int(sys.argv[2])
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    asyncio.run(session(address))


if __name__ == "__main__":
    main()
