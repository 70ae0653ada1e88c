"""A client that reads once and then only listens knows everything: each property is announced as its page says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from kdumpd.service.bus import Client, Value
from kdumpd.service.bus.description import Emits
from kdumpd.service.bus.messages import Message
from kdumpd.service.bus.subscription import Signals
from kdumpd.service.permissions import CONFIG, DUMP, JOB, MANAGER, ROOT
from tests.api.test_walk import walkable
from tests.kernels import install_kernel
from tests.service.private_bus import DESCRIPTIONS, PrivateBus
from tests.simulate import PATIENCE

Known = dict[tuple[str, str], dict[str, Value]]
"""(path, interface) -> its properties, but those that are told without their value."""


async def read(client: Client) -> Known:
    known = {
        (ROOT, interface): dict(await client.get_all(ROOT, interface)) for interface in (MANAGER, CONFIG)
    }
    for path, faces in (await client.objects(ROOT)).items():
        for interface, values in faces.items():
            known[path, interface] = dict(values)
    return {place: told_of(place[1], values) for place, values in known.items()}


def told_of(interface: str, values: Mapping[str, Value]) -> dict[str, Value]:
    described = DESCRIPTIONS[interface].properties
    return {name: value for name, value in values.items() if described[name].emits is not Emits.INVALIDATES}


class Mirror:
    """What is known by what was heard."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.changed: set[tuple[str, str]] = set()

    def hear(self, signal: Message) -> None:
        match signal.interface, signal.member, signal.body:
            case _, "PropertiesChanged", (str(interface), Mapping() as values, tuple(gone)):
                for name in values:
                    assert DESCRIPTIONS[interface].properties[name].emits is Emits.VALUE, (
                        f"{name} has changed"
                    )
                for name in map(str, gone):
                    assert DESCRIPTIONS[interface].properties[name].emits is Emits.INVALIDATES, name
                self.known[signal.path, interface] |= values
                self.changed |= {(interface, name) for name in (*values, *map(str, gone))}
            case _, "InterfacesAdded", (str(path), Mapping() as faces):
                for interface, values in faces.items():
                    assert isinstance(values, Mapping)
                    self.known[path, interface] = told_of(interface, values)
            case _, "InterfacesRemoved", (str(path), tuple(names)):
                for interface in map(str, names):
                    del self.known[path, interface]
            case _:
                pass

    async def until_it_is_so(self, client: Client, heard: Signals) -> None:
        """What is heard and what is read come to the same. Where something changes in silence, they never do."""
        async with asyncio.timeout(PATIENCE):
            while (now := await read(client)) != self.known:
                different = {place: now.get(place) for place in now if now[place] != self.known.get(place)}
                print(f"not the same yet: {different}")  # pytest shows it where this ends in a timeout
                self.hear(await anext(heard))


async def test_what_changes_is_told(tmp_path: Path, bus: PrivateBus) -> None:
    async with (
        walkable(tmp_path, bus, heavy_bytes=1_000_000) as machine,
        machine.client.signals("", below=ROOT) as heard,
    ):
        client = machine.client
        mirror = Mirror(await read(client))

        async def does(interface: str, member: str, *arguments: Value) -> None:
            signature = DESCRIPTIONS[interface].methods[member].signature_in
            found = await client.call(ROOT, interface, member, signature, *arguments)
            job = str(found[-1]) if found else ""
            if "/jobs/" in job:
                await client.wait_until(job, JOB, lambda now: now["State"] == "done", seconds=PATIENCE)
            await mirror.until_it_is_so(client, heard)

        await does(MANAGER, "Rebuild", "", {"force": True})
        await does(MANAGER, "Inhibit", "a test", "to see that it is told", {})
        await does(MANAGER, "ReleaseInhibit", 1)
        await does(MANAGER, "Unload", {})
        await does(MANAGER, "SetEnabled", True, {"runtime": True})  # noqa: FBT003 - an argument of D-Bus
        (machine.root / "var/other/dumps").mkdir()
        await does(CONFIG, "Set", {"path": "/var/other/dumps"}, await client.get(ROOT, CONFIG, "Etag"), {})
        await does(CONFIG, "Set", {"path": "/var/crash"}, await client.get(ROOT, CONFIG, "Etag"), {})
        machine.conf.write_text("pth /var/crash\n")
        await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
        await mirror.until_it_is_so(client, heard)
        machine.conf.write_text("path /var/crash\n")
        await machine.until_armed()
        install_kernel(machine.root)
        path = str(await client.get(ROOT, MANAGER, "LastDump"))
        await client.call(path, DUMP, "Delete", "a{sv}", {})
        await mirror.until_it_is_so(client, heard)
        assert {
            (MANAGER, "State"),
            (MANAGER, "Inhibitors"),
            (CONFIG, "Valid"),
            (JOB, "LogTail"),
        } <= mirror.changed
