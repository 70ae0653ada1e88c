#!/usr/bin/python3
"""kdumpd from Python, with dbus-next: for programs that have an asyncio loop.

kdumpd_dbus_next.py status                    one line: is the machine protected?
kdumpd_dbus_next.py watch [COUNT]             that line whenever it changes, COUNT times or for ever
kdumpd_dbus_next.py configure KEY=VALUE ...   change kdump.conf and wait until the change is armed; KEY= takes it out
kdumpd_dbus_next.py dumps                     what was saved, the newest first
kdumpd_dbus_next.py delete ID                 delete a dump, after asking
kdumpd_dbus_next.py history [COUNT]           the last jobs and changes of the state
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from dbus_next import BusType, DBusError, Variant
from dbus_next.aio import MessageBus
from dbus_next.constants import MessageFlag

NAME = "org.kdumpd.Kdump1"
ROOT = "/org/kdumpd/Kdump1"
# Without it a call that needs a password fails, rather than have the user asked for one.
MAY_ASK = MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION


async def interface(bus: MessageBus, path: str, name: str) -> Any:
    """dbus-next makes its methods of what the object says of itself: call_get_history for GetHistory, and so on."""
    described = await bus.introspect(NAME, path)
    return bus.get_proxy_object(NAME, path, described).get_interface(name)


async def property_changes(bus: MessageBus, path: str) -> AsyncIterator[None]:
    """Once when it is listening, and again after properties of the object have changed: reasons to read them."""
    changed = asyncio.Event()

    def on_change(_interface: str, _changed: dict[str, Variant], _invalidated: list[str]) -> None:
        changed.set()

    properties = await interface(bus, path, "org.freedesktop.DBus.Properties")
    properties.on_properties_changed(on_change)
    try:
        yield
        while True:
            await changed.wait()
            changed.clear()
            yield
    finally:
        properties.off_properties_changed(on_change)


async def status_line(bus: MessageBus) -> str:
    """Of a machine that is protected: "armed: a crash would be saved to /dev/vda1 (ext4) in /var/crash"."""
    manager = await interface(bus, ROOT, f"{NAME}.Manager")
    return str(await manager.get_state_message())


async def watch(bus: MessageBus, count: int) -> None:
    before = ""
    async for _ in property_changes(bus, ROOT):
        now = await status_line(bus)
        if now != before:
            print(now, flush=True)
            before = now
            count -= 1
            if count == 0:
                return


async def wait_for_job(bus: MessageBus, path: str) -> None:
    """Until it is done, telling its stages. Raises DBusError where it fails."""
    job = await interface(bus, path, f"{NAME}.Job")
    told = ""
    async for _ in property_changes(bus, path):
        stage = await job.get_stage()
        if stage not in {"", told}:
            print(f"{stage} ...", flush=True)
            told = stage
        if await job.get_state() == "done":
            break
    if await job.get_result() != "done":
        raise DBusError(await job.get_error_name(), await job.get_error_message())


async def configure(bus: MessageBus, pairs: list[str]) -> None:
    """Against the text that was seen: had somebody else changed it meanwhile, this would fail with Conflict."""
    config = await interface(bus, ROOT, f"{NAME}.Config")
    _settings, etag = await config.call_get({})
    changes = {key: Variant("s", value) for key, _, value in (pair.partition("=") for pair in pairs)}
    _etag, job = await config.call_set(changes, etag, {}, flags=MAY_ASK)
    if job != "/":
        await wait_for_job(bus, job)
    print(await status_line(bus))


async def all_dumps(bus: MessageBus) -> AsyncIterator[dict[str, Any]]:
    """Page after page: the time and the id of the last one are where the next page begins."""
    manager = await interface(bus, ROOT, f"{NAME}.Manager")
    before, identity = 0, ""
    while page := await manager.call_list_dumps(before, 100, {"before-id": Variant("s", identity)}):
        for row in page:
            yield {key: value.value for key, value in row.items()}
        before, identity = page[-1]["time"].value, page[-1]["id"].value


async def list_dumps(bus: MessageBus) -> None:
    async for dump in all_dumps(bus):
        ended = "complete" if dump["complete"] else "incomplete"
        print(f"{dump['id']}  {dump['size']} bytes  {ended}  {dump['reason']}")


async def delete(bus: MessageBus, identity: str) -> None:
    found = [dump async for dump in all_dumps(bus) if dump["id"] == identity]
    if not found:
        raise SystemExit(f"there is no dump {identity}")
    if found[0]["object"] == "/":
        raise SystemExit(f"{identity} is not among the newest dumps, which alone can be deleted")
    print(f"Delete {found[0]['path']}? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip() != "y":
        print("it stays")
        return
    dump = await interface(bus, found[0]["object"], f"{NAME}.Dump")
    await dump.call_delete({}, flags=MAY_ASK)
    print("deleted")


async def history(bus: MessageBus, count: int) -> None:
    manager = await interface(bus, ROOT, f"{NAME}.Manager")
    for entry in await manager.call_get_history(count, {}):
        seen = {key: value.value for key, value in entry.items()}
        when = datetime.fromtimestamp(seen["time"] // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        print(f"{when}  {seen['kind']}  {seen['result']}  {seen['message']}")


async def main(words: list[str]) -> None:
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    try:
        match words:
            case ["status"]:
                print(await status_line(bus))
            case ["watch", *rest]:
                await watch(bus, int(rest[0]) if rest else -1)
            case ["configure", *pairs]:
                await configure(bus, pairs)
            case ["dumps"]:
                await list_dumps(bus)
            case ["delete", identity]:
                await delete(bus, identity)
            case ["history", *rest]:
                await history(bus, int(rest[0]) if rest else 10)
            case _:
                raise SystemExit(__doc__)
    finally:
        bus.disconnect()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except DBusError as fault:
        raise SystemExit(fault.text) from None
