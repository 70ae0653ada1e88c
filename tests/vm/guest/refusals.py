#!/usr/bin/python3
"""Calls every method that changes something, as whoever runs it, and prints the error that each was answered, as JSON."""

from __future__ import annotations

import asyncio
import json

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageFlag, MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

NAME, ROOT = "org.kdumpd.Kdump1", "/org/kdumpd/Kdump1"
CALLS: tuple[tuple[str, str, str, list[object]], ...] = (
    ("Manager", "Rebuild", "sa{sv}", ["", {}]),
    ("Manager", "Reload", "a{sv}", [{}]),
    ("Manager", "Unload", "a{sv}", [{}]),
    ("Manager", "SetEnabled", "ba{sv}", [False, {}]),
    ("Manager", "Refresh", "a{sv}", [{}]),
    ("Config", "Set", "a{sv}sa{sv}", [{"path": Variant("s", "/tmp")}, "", {}]),  # refused
    ("Config", "SetText", "ssa{sv}", ["path /tmp\n", "", {}]),
    ("Config", "GetText", "a{sv}", [{}]),
)


async def main() -> None:
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    answers: dict[str, list[str]] = {}
    for interface, member, signature, body in CALLS:
        for flags in (MessageFlag.NONE, MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION):
            answer = await bus.call(
                Message(
                    destination=NAME,
                    path=ROOT,
                    interface=f"{NAME}.{interface}",
                    member=member,
                    signature=signature,
                    body=body,
                    flags=flags,
                )
            )
            assert answer is not None
            refused = answer.message_type is MessageType.ERROR
            answers.setdefault(member, []).append(answer.error_name if refused else "allowed")
    print(json.dumps(answers))  # its result


asyncio.run(main())
