"""A walk over every member of the API, on a whole daemon: each is called, read or heard, refused to strangers, and described."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kdumpd.service.bus import BusError, Client, ErrorName, Value
from kdumpd.service.bus.standard import PROPERTIES
from kdumpd.service.permissions import (
    BUS_NAME,
    CONFIG,
    DUMP,
    JOB,
    KERNEL,
    LOG_CONTROL,
    LOG_CONTROL_PATH,
    MANAGER,
    ROOT,
    RULES,
    Action,
)
from tests.api.reading import Kind, faces, members
from tests.api.test_examples import DUMPS, with_dumps
from tests.daemon.test_secrets import SERVER, give_a_server
from tests.service.private_bus import DESCRIPTIONS, PrivateBus, arguments_for
from tests.service.test_introspection import busctl_agrees, gdbus_agrees, require
from tests.service.test_polkit import NO, authority
from tests.service.test_reserving import Grub
from tests.service.world import meanwhile
from tests.simulate import PATIENCE, Machine, make_machine, simulated


@asynccontextmanager
async def walkable(folder: Path, bus: PrivateBus, *, heavy_bytes: int = 0) -> AsyncIterator[Machine]:
    """A machine that has one of everything: two dumps, another place with one more, a boot menu, and a server with a key."""
    root = make_machine(folder, heavy_bytes=heavy_bytes)
    with_dumps(root, *DUMPS)
    (root / "var/other").mkdir()
    Grub(folder).lay()
    async with simulated(folder, bus, root=root) as machine:
        await machine.until_armed()
        await machine.until(lambda now: now["LastDump"] != "/")
        yield machine


async def has_a_job(machine: Machine) -> None:
    """One that is over, and the machine at rest."""
    (job,) = await machine.client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {})
    await machine.client.wait_until(str(job), JOB, lambda now: now["State"] == "done", seconds=PATIENCE)
    await machine.until_armed()


async def everywhere(client: Client) -> Mapping[str, tuple[str, ...]]:
    """Every object that the daemon serves now, with its interfaces of ours."""
    found = {path: tuple(each) for path, each in (await client.objects(ROOT)).items()}
    return {ROOT: (MANAGER, CONFIG), LOG_CONTROL_PATH: (LOG_CONTROL,), **found}


class Walk:
    """Goes over the API and takes note of each member that did what it is for."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.client = machine.client
        self.met: set[tuple[str, str]] = set()

    async def call(self, path: str, interface: str, member: str, *arguments: Value) -> tuple[Value, ...]:
        method = DESCRIPTIONS[interface].methods[member]
        found = await self.client.call(path, interface, member, method.signature_in, *arguments)
        assert len(found) == len(method.returns)
        self.met.add((interface, member))
        return found

    async def job(self, path: Value) -> Mapping[str, Value]:
        """The job when it is done."""
        return await self.client.wait_until(
            str(path), JOB, lambda now: now["State"] == "done", seconds=PATIENCE
        )

    async def read_everything(self) -> None:
        for path, names in (await everywhere(self.client)).items():
            for name in names:
                all_of_it = await self.client.get_all(path, name)
                assert all_of_it.keys() == DESCRIPTIONS[name].properties.keys()
                for prop in all_of_it:
                    await self.client.get(path, name, prop)
                    self.met.add((name, prop))

    async def listen(self) -> None:
        """For ever: what is heard is met, with the arguments that it should have."""
        async with self.client.signals("", below=ROOT) as heard:
            async for signal in heard:
                described = DESCRIPTIONS.get(signal.interface)
                if described is not None:
                    assert len(signal.body) == len(described.signals[signal.member].carries)
                    self.met.add((signal.interface, signal.member))


async def walk_the_manager(walk: Walk) -> None:
    async def ask(member: str, *arguments: Value) -> Value:
        found = await walk.call(ROOT, MANAGER, member, *arguments)
        return found[0] if found else ()

    job = await ask("Rebuild", "", {"force": True})
    await walk.call(str(job), JOB, "Cancel", {})
    assert (await walk.job(job))["Result"] == "cancelled"
    await walk.call(str(job), JOB, "GetLog", 0, 100, {})
    assert (await walk.job(await ask("Unload", {})))["Result"] == "done"
    assert await walk.client.get(ROOT, MANAGER, "Protected") is False
    assert (await walk.job(await ask("Reload", {})))["Result"] == "done"
    assert (await walk.job(await ask("SetEnabled", True, {"runtime": True})))["Result"] == "done"  # noqa: FBT003 - an argument of D-Bus
    assert await walk.client.get(ROOT, MANAGER, "Protected") is True
    reserve = await walk.job(await ask("SetCrashkernel", "512M", {"dry-run": True}))
    assert reserve["Result"] == "done", reserve["ErrorMessage"]
    await ask("Refresh", {})
    cookie = await ask("Inhibit", "a walk", "to see that it is told", {})
    assert await walk.client.get(ROOT, MANAGER, "Inhibitors") == (
        (cookie, "a walk", "to see that it is told"),
    )
    await ask("ReleaseInhibit", cookie)
    assert await ask("GetPermissions") == {str(action): "yes" for action in Action}
    assert isinstance(estimate := await ask("Estimate", {}), Mapping)
    assert estimate["fits"] is True
    assert await ask("GetHistory", 5, {})
    assert str(await ask("Describe", {})).startswith("{")
    assert isinstance(dumps := await ask("ListDumps", 0, 0, {}), tuple)
    assert len(dumps) == len(DUMPS)
    assert await ask("PruneDumps", {"dry-run": True}) == ()
    await walk.call(str(await walk.client.get(ROOT, MANAGER, "LastDump")), DUMP, "Delete", {})


async def walk_the_configuration(walk: Walk) -> None:
    async def ask(member: str, *arguments: Value) -> tuple[Value, ...]:
        return await walk.call(ROOT, CONFIG, member, *arguments)

    settings, etag = await ask("Get", {})
    assert isinstance(settings, Mapping)
    assert settings["path"] == "/var/crash"
    text, same = await ask("GetText", {})
    assert same == etag
    assert (await ask("Validate", "pth /x\n", {}))[0] is False
    assert (await ask("Export", "shell", {}))[0]
    (job,) = await ask("TestTarget", {}, {})
    assert (await walk.job(job))["ErrorMessage"]  # nothing is mounted in a simulation
    with_dumps(walk.machine.root, "../other/127.0.0.1-2026-01-03-03:04:05")
    etag, job = await ask("Set", {"path": "/var/other"}, etag, {})
    assert (await walk.job(job))["Result"] == "done"
    give_a_server(walk.machine.root)
    etag, job = await ask("SetText", f"ssh kdump@{SERVER}\npath /dumps\n", etag, {})
    ended = await walk.job(job)
    assert ended["Result"] == "done", ended["ErrorMessage"]
    (job,) = await ask("Propagate", {})
    assert (await walk.job(job))["Result"] == "failed"  # nobody is connected to in a simulation
    assert text


async def walk_into_a_crash(walk: Walk) -> None:
    """The last of it: in a simulation the daemon goes on, and the one who asked waits for a reply that never comes."""
    await walk.machine.until_armed()
    token, _expires, plan = await walk.call(ROOT, MANAGER, "PrepareTestCrash", {})
    assert isinstance(plan, Mapping)
    assert plan["state"] == "armed"
    async with meanwhile(walk.call(ROOT, MANAGER, "TestCrash", token, {})):
        await walk.machine.until(lambda now: now["TestCrashState"] == "pending")
        walk.met.add((MANAGER, "TestCrash"))


async def walk_the_log(walk: Walk) -> None:
    for name, word in (("LogLevel", "debug"), ("LogTarget", "console")):
        await walk.client.call(LOG_CONTROL_PATH, PROPERTIES, "Set", "ssv", LOG_CONTROL, name, word)


async def test_every_member_does_what_it_is_for(tmp_path: Path, bus: PrivateBus) -> None:
    async with walkable(tmp_path, bus, heavy_bytes=3_000_000) as machine:
        walk = Walk(machine)
        async with meanwhile(walk.listen()):
            await walk.read_everything()
            await walk_the_log(walk)
            await walk_the_manager(walk)
            await walk_the_configuration(walk)
            await walk.read_everything()
            await walk_into_a_crash(walk)
            assert members().keys() - walk.met == set()


@pytest.mark.usefixtures("can_be_nobody")
async def test_a_stranger_is_asked_for_what_the_pages_say(tmp_path: Path, bus: PrivateBus) -> None:
    details = {face.name: set(face.details) for face in faces()}
    async with walkable(tmp_path, bus) as machine, authority(bus, NO) as polkit:
        await has_a_job(machine)
        before = machine.conf.read_text()
        async with bus.client(as_nobody=True) as stranger:
            met = set()
            for path, names in (await everywhere(stranger)).items():
                for interface in names:
                    for member, rule in rules_of(interface).items():
                        polkit.asked.clear()
                        refused = await refusal(stranger, path, interface, member)
                        assert (refused == ErrorName.ACCESS_DENIED) == (rule is not None), (
                            f"{member}: {refused}"
                        )
                        asked = [(question[1], _keys(question[2])) for question in polkit.asked]
                        if member == "GetPermissions":  # asks of each action, and shows nothing to anyone
                            assert [action for action, _ in asked] == [str(action) for action in Action]
                        else:
                            assert asked == ([] if rule is None else [(str(rule), details[interface])]), (
                                member
                            )
                        met.add((interface, member))
            assert met == RULES.keys()
            where = {"export": "/dumps", "directory": "/crash"}
            other = {"type": "nfs", "server": "nfs.example.com", **where}
            with pytest.raises(BusError):
                await stranger.call(ROOT, CONFIG, "TestTarget", "a{sv}a{sv}", other, {})
            assert polkit.asked[-1][2] == {"target.type": "nfs", "target.host": "nfs.example.com"}
        assert machine.conf.read_text() == before


def rules_of(interface: str) -> Mapping[str, Action | None]:
    return {member: rule.action for (name, member), rule in RULES.items() if name == interface}


def _keys(details: Value) -> set[str]:
    """Those for rules; what begins with polkit. is for the question that the user is shown."""
    assert isinstance(details, Mapping)
    return {key for key in details if not key.startswith("polkit.")}


async def refusal(client: Client, path: str, interface: str, member: str) -> str:
    """The name of the error that a call, or else a write, ends with; or nothing."""
    method = DESCRIPTIONS[interface].methods.get(member)
    try:
        if method is None:
            await client.call(path, PROPERTIES, "Set", "ssv", interface, member, "info")
        else:
            arguments = await arguments_of(client, interface, member)
            await client.call(path, interface, member, method.signature_in, *arguments)
    except BusError as fault:
        return fault.name
    return ""


async def test_the_options_are_those_that_are_described(tmp_path: Path, bus: PrivateBus) -> None:
    """What a method does not know it refuses, and then says what it does know."""
    async with walkable(tmp_path, bus) as machine:
        await has_a_job(machine)
        for path, names in (await everywhere(machine.client)).items():
            for interface in names:
                for member in (each for each in members().values() if each.interface == interface):
                    described = {each.name: each.text for each in member.arguments}
                    if member.kind is not Kind.METHOD or "options" not in described:
                        continue
                    known = dict(re.findall(r'"([a-z-]+)" \((\w+)\)', described["options"]))
                    if described["options"] == "As for Set.":
                        known = {"dry-run": "b", "rebuild": "b", "rollback-on-failure": "b"}
                    refused = await with_option(
                        machine.client, path, interface, member.name, "no-such-option"
                    )
                    offered = re.search(r"there are: (.*)\.$", refused)
                    assert offered, f"{member.name}: {refused}"
                    assert set(offered[1].split(", ")) == {*known, "auth.no_user_interaction"}, member.name
                    for option, kind in known.items():
                        refused = await with_option(machine.client, path, interface, member.name, option)
                        assert refused.endswith(f"is of type {kind}."), f"{member.name}: {refused}"


async def arguments_of(client: Client, interface: str, member: str) -> tuple[Value, ...]:
    """Values that nothing is wrong with but, perhaps, who sends them. The token of a test crash is looked at first."""
    arguments = arguments_for(DESCRIPTIONS[interface].methods[member])
    if member == "TestCrash":
        token, _, _ = await client.call(ROOT, MANAGER, "PrepareTestCrash", "a{sv}", {})
        return token, *arguments[1:]
    return arguments


async def with_option(client: Client, path: str, interface: str, member: str, option: str) -> str:
    """What is said to an option whose value is of a type that no option has."""
    method = DESCRIPTIONS[interface].methods[member]
    arguments = (*(await arguments_of(client, interface, member))[:-1], {option: ("one", "two")})
    with pytest.raises(BusError) as caught:
        await client.call(path, interface, member, method.signature_in, *arguments)
    assert caught.value.name == ErrorName.INVALID_ARGS
    return caught.value.text


REFUSED: tuple[tuple[str, str, tuple[Value, ...], str], ...] = (
    (MANAGER, "Rebuild", ("5.4.0", {}), "KernelNotFound"),
    (MANAGER, "SetCrashkernel", ("256M", {"kernel": "/boot/none"}), "KernelNotFound"),
    (MANAGER, "SetCrashkernel", ("256M", {}), "NotSupported"),
    (MANAGER, "ReleaseInhibit", (99,), "NoSuchInhibitor"),
    (MANAGER, "TestCrash", ("of another", {}), "TokenInvalid"),
    (CONFIG, "Set", ({"path": "/x"}, "of another text", {}), "Conflict"),
    (CONFIG, "SetText", ("path /x\n", "of another text", {}), "Conflict"),
    (CONFIG, "Set", ({"pth": "/x"}, "ETAG", {}), "InvalidConfig"),
    (CONFIG, "SetText", ("pth /x\n", "ETAG", {}), "InvalidConfig"),
    (CONFIG, "Propagate", ({},), "NotSupported"),
)
WHILE_INHIBITED: tuple[tuple[str, str, tuple[Value, ...], str], ...] = (
    (MANAGER, "Rebuild", ("", {}), "Inhibited"),
    (MANAGER, "Reload", ({},), "Inhibited"),
    (MANAGER, "PrepareTestCrash", ({},), "Inhibited"),
    (MANAGER, "SetCrashkernel", ("256M", {}), "Inhibited"),
    (CONFIG, "Set", ({"path": "/x"}, "ETAG", {}), "Inhibited"),
    (CONFIG, "SetText", ("path /x\n", "ETAG", {}), "Inhibited"),
)
WHILE_DISABLED: tuple[tuple[str, str, tuple[Value, ...], str], ...] = (
    (MANAGER, "Rebuild", ("", {}), "Failed"),
    (MANAGER, "Reload", ({},), "Failed"),
    (MANAGER, "PrepareTestCrash", ({},), "NotArmed"),
)


async def test_what_is_refused_has_an_error_that_is_described(tmp_path: Path, bus: PrivateBus) -> None:
    async with walkable(tmp_path, bus) as machine:
        await refuses(machine.client, REFUSED)
        (cookie,) = await machine.client.call(ROOT, MANAGER, "Inhibit", "ssa{sv}", "a test", "of errors", {})
        await refuses(machine.client, WHILE_INHIBITED)
        await machine.client.call(ROOT, MANAGER, "ReleaseInhibit", "u", cookie)
        (job,) = await machine.client.call(ROOT, MANAGER, "SetEnabled", "ba{sv}", False, {})  # noqa: FBT003 - an argument of D-Bus
        await machine.client.wait_until(str(job), JOB, lambda now: now["State"] == "done", seconds=PATIENCE)
        await refuses(machine.client, WHILE_DISABLED)
        await refuses(machine.client, ((JOB, "Cancel", ({},), "NotCancelable"),), path=str(job))


async def refuses(
    client: Client, rows: tuple[tuple[str, str, tuple[Value, ...], str], ...], *, path: str = ROOT
) -> None:
    etag = await client.get(ROOT, CONFIG, "Etag")
    for interface, member, given, error in rows:
        signature = DESCRIPTIONS[interface].methods[member].signature_in
        arguments = (etag if each == "ETAG" else each for each in given)
        with pytest.raises(BusError) as caught:
            await client.call(path, interface, member, signature, *arguments)
        assert caught.value.name == f"{BUS_NAME}.Error.{error}", f"{member}: {caught.value}"
        assert caught.value.name in (members()[interface, member].errors or ()), f"{member} does not say so"


async def test_busctl_and_gdbus_see_what_is_packaged(tmp_path: Path, bus: PrivateBus) -> None:
    require("busctl")
    require("gdbus")
    async with walkable(tmp_path, bus) as machine:
        await has_a_job(machine)
        places = await everywhere(machine.client)
        assert {name for names in places.values() for name in names} == DESCRIPTIONS.keys()
        assert {KERNEL, JOB, DUMP} <= {name for names in places.values() for name in names}
        await busctl_agrees(bus, places)
        await gdbus_agrees(bus, places)
