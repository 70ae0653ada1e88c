#!/usr/bin/env python3
"""Sends dumps to a server over ssh, crashes the machine to see whether one arrives, and asks what became of it after the reboot.

    test-crash.py configure USER@SERVER DIRECTORY    exit status 0 once the machine is armed with that
    test-crash.py crash                              does not return
    test-crash.py outcome                            exit status 0 passed, 1 failed, 3 there was none

Written from docs/api alone; needs python3-dbus-next and a user who may do this, such as root.
"""

import asyncio
import sys

from dbus_next import BusType, DBusError, Variant
from dbus_next.aio import MessageBus

NAME = "org.kdumpd.Kdump1"
ROOT = "/org/kdumpd/Kdump1"
PROPERTIES = "org.freedesktop.DBus.Properties"
ERROR = f"{NAME}.Error."


class Object:
    """One object of kdumpd, with its interfaces as its introspection data names them."""

    def __init__(self, bus, path):
        self.bus, self.path = bus, path

    async def interface(self, name):
        found = await self.bus.introspect(NAME, self.path)
        return self.bus.get_proxy_object(NAME, self.path, found).get_interface(name)

    async def until(self, interface, holds, told=lambda _now: None):
        """The properties once they are as wanted: subscribe, read, then wait, so that nothing is missed between."""
        properties = await self.interface(PROPERTIES)
        changes = asyncio.Queue()

        def changed(of, values, invalidated):
            if of == interface:
                changes.put_nowait((values, invalidated))

        properties.on_properties_changed(changed)
        now = plain(await properties.call_get_all(interface))
        told(now)
        while not holds(now):
            values, invalidated = await changes.get()
            now |= plain(values)
            for name in invalidated:
                now[name] = (await properties.call_get(interface, name)).value
            told(now)
        properties.off_properties_changed(changed)
        return now


def plain(values):
    return {name: variant.value for name, variant in values.items()}


async def configure(bus, destination, directory):
    config = await Object(bus, ROOT).interface(f"{NAME}.Config")
    wanted = {"ssh": Variant("s", destination), "path": Variant("s", directory)}
    while True:
        settings, etag = await config.call_get({})
        # Whatever other target the file names goes: a machine has one.
        others = {"raw", "nfs", "ext2", "ext3", "ext4", "xfs", "btrfs", "minix", "virtiofs"}
        unset = {name: Variant("s", "") for name in others & settings.keys() if settings[name].value}
        try:
            _etag, job = await config.call_set(wanted | unset, etag, {})
            break
        except DBusError as fault:
            if fault.type != f"{ERROR}Conflict":  # else somebody has edited it since: look again
                raise
    if job == "/":
        print("the configuration says so already")
        return 0
    ended = await Object(bus, job).until(f"{NAME}.Job", lambda now: now["State"] == "done", show_progress)
    print(f"the job is {ended['Result']}: {ended['ErrorMessage'] or 'the new configuration is armed'}")
    state = await Object(bus, ROOT).until(
        f"{NAME}.Manager", lambda now: now["Activity"] in {"idle", "waiting"}
    )
    print(state["StateMessage"])
    return 0 if ended["Result"] == "done" and state["State"] == "armed" else 1


def show_progress(now):
    share = f"{now['Progress']:4.0%} " if now["ProgressValid"] else ""
    print(f"{now['State']}: {share}{now['Stage']}")


async def crash(bus):
    manager = await Object(bus, ROOT).interface(f"{NAME}.Manager")
    token, _expires, plan = await manager.call_prepare_test_crash({})
    plan = plain(plan)
    print(f"to be saved to {plan['where']}; afterwards: {plan['final-action']}; {plan['lost']}", flush=True)
    await manager.call_test_crash(token, {})  # there is no reply
    return 1


async def outcome(bus):
    known = await Object(bus, ROOT).until(f"{NAME}.Manager", lambda now: now["TestCrashState"] != "pending")
    print(f"{known['TestCrashState']}: {known['TestCrashMessage']}")
    return {"passed": 0, "failed": 1}.get(known["TestCrashState"], 3)


async def main(words):
    verbs = {("configure", 2): configure, ("crash", 0): crash, ("outcome", 0): outcome}
    verb = verbs.get((words[0] if words else "", len(words) - 1))
    if verb is None:
        print(__doc__, file=sys.stderr)
        return 2
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    try:
        return await verb(bus, *words[1:])
    except DBusError as fault:  # its text is a whole sentence
        print(fault.text, file=sys.stderr)
        return 1
    finally:
        bus.disconnect()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
