"""What a client sees of the objects: values, errors, introspection, announcements."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kdumpd.core.problems import Trouble
from kdumpd.service.bus import BusError, Client, Interface, Typed, Value, describe, escaped, first_lines
from kdumpd.service.bus.messages import Kind, Message
from kdumpd.service.bus.standard import INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES
from kdumpd.service.permissions import ROOT
from tests.service.echo import ECHO, PATH, Echo, echoing, error_of
from tests.service.private_bus import PrivateBus

STANDARD = "org.freedesktop.DBus.Error."
OURS = "org.kdumpd.Kdump1.Error."


async def test_values_of_every_shape_come_back(bus: PrivateBus) -> None:
    table: dict[str, Value] = {
        "text": "käse",
        "yes": True,
        "count": 2**53,
        "below": -5,
        "part": 0.25,
        "octets": b"\0\xff",
        "words": ("a", "b"),
        "none": (),
        "inner": {"deep": ("x",)},
        "typed": Typed(signature="(uo)", value=(7, "/a/b")),
    }
    async with echoing(bus), bus.client(ECHO) as client:
        given, rows = await client.call(PATH, ECHO, "Everything", "a{sv}a(us)", table, ((1, "one"),))
    assert given == {**table, "typed": (7, "/a/b")}
    assert rows == ((1, "one"),)


@pytest.mark.usefixtures("can_be_nobody")
async def test_the_caller_is_known(bus: PrivateBus) -> None:
    async with echoing(bus), bus.client(ECHO, as_nobody=True) as client:
        assert await client.call(PATH, ECHO, "WhoAmI", interactive=False) == (65534, False)
        assert await client.call(PATH, ECHO, "WhoAmI", interactive=True) == (65534, True)


@pytest.mark.parametrize(
    ("how", "name", "text"),
    [
        ("conflict", OURS + "Conflict", "The file has changed. (Read it again.)"),
        ("config", OURS + "InvalidConfig", "/etc/kdump.conf:3: No pth."),
        ("permission", STANDARD + "AccessDenied", "Not today."),
        ("named", OURS + "Busy", "NUL \ufffd and \ufffd inside"),
    ],
)
async def test_expected_faults_have_their_names(bus: PrivateBus, how: str, name: str, text: str) -> None:
    async with echoing(bus), bus.client(ECHO) as client:
        fault = await error_of(client, "Fail", "s", how)
    assert (fault.name, fault.text) == (name, text)


@pytest.mark.parametrize("how", ["unexpected", "kernel"])
async def test_an_unexpected_fault_is_told_to_the_log_only(
    bus: PrivateBus, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with echoing(bus), bus.client(ECHO) as client:
            fault = await error_of(client, "Fail", "s", how)
    assert fault.name == OURS + "Failed"
    assert "secret" not in fault.text
    assert "Traceback" not in fault.text
    assert "/secret/path" in caplog.text


async def test_a_result_of_the_wrong_type_is_our_fault(bus: PrivateBus) -> None:
    async with echoing(bus), bus.client(ECHO) as client:
        assert (await error_of(client, "Wrong")).name == OURS + "Failed"
        assert await client.call(PATH, ECHO, "Repeat", "s", "alive") == ("alive",)


@pytest.mark.parametrize(
    ("path", "interface", "member", "signature", "name"),
    [
        (f"{ROOT}/nothing", ECHO, "Repeat", "s", "UnknownObject"),
        (f"{ROOT}/nothing", PROPERTIES, "GetAll", "s", "UnknownObject"),
        (f"{ROOT}/nothing", INTROSPECTABLE, "Introspect", "", "UnknownObject"),
        (PATH, "org.kdumpd.Other", "Repeat", "s", "UnknownInterface"),
        (PATH, ECHO, "Other", "s", "UnknownMethod"),
        (PATH, PEER, "Other", "", "UnknownMethod"),
        (PATH, "", "Other", "", "UnknownMethod"),
        (PATH, ECHO, "Repeat", "ss", "InvalidArgs"),
        (PATH, ECHO, "Repeat", "", "InvalidArgs"),
        (PATH, PROPERTIES, "GetAll", "ss", "InvalidArgs"),
        (PATH, PROPERTIES, "GetAll", "s", "UnknownInterface"),
        (PATH, OBJECT_MANAGER, "GetManagedObjects", "", "UnknownInterface"),
    ],
)
async def test_what_is_not_there_has_a_name(
    bus: PrivateBus, path: str, interface: str, member: str, signature: str, name: str
) -> None:
    async with echoing(bus), bus.client(ECHO) as client:
        with pytest.raises(BusError) as caught:
            await client.call(path, interface, member, signature, *("x" for _ in signature))
    assert caught.value.name == STANDARD + name


async def test_the_interface_may_be_left_out(bus: PrivateBus) -> None:
    async with echoing(bus), bus.client(ECHO) as client:
        assert await client.call(PATH, "", "Repeat", "s", "text") == ("text",)
        assert await client.call(PATH, "", "Ping") == ()


async def test_properties_are_read_and_never_set(bus: PrivateBus) -> None:
    async with echoing(bus), bus.client(ECHO) as client:
        assert await client.get(PATH, ECHO, "Name") == "echo"
        assert await client.get_all(PATH, ECHO) == {"Name": "echo", "Count": 1, "Log": (), "Clock": 0}
        for name, expected in (("Count", "PropertyReadOnly"), ("Other", "UnknownProperty")):
            with pytest.raises(BusError) as caught:
                await client.call(PATH, PROPERTIES, "Set", "ssv", ECHO, name, 5)
            assert caught.value.name == STANDARD + expected


async def test_one_announcement_tells_what_changed(bus: PrivateBus) -> None:
    async with (
        echoing(bus) as (echo, _, _),
        bus.client(ECHO) as client,
        client.signals(PROPERTIES, "PropertiesChanged") as changes,
    ):
        echo.announce()
        echo.values |= {"Count": 2, "Log": ("line",), "Clock": 99}
        echo.announce()
        echo.announce()
        echo.values |= {"Count": 3}
        echo.announce()
        assert (await anext(changes)).body == (ECHO, {"Count": 2}, ("Log",))
        assert (await anext(changes)).body == (ECHO, {"Count": 3}, ())


async def test_objects_are_told_from_the_root_before_the_reply(bus: PrivateBus) -> None:
    async with (
        echoing(bus) as (_, _, exports),
        bus.client(ECHO) as client,
        client.signals(OBJECT_MANAGER) as told,
    ):
        assert set(await client.objects(ROOT)) == {PATH}
        second = f"{ROOT}/echo/2"
        exports.add(second, Echo())
        added = await anext(told)
        assert (added.path, added.member, added.body[0]) == (ROOT, "InterfacesAdded", second)
        assert added.body[1] == {ECHO: {"Name": "echo", "Count": 1, "Log": (), "Clock": 0}}
        assert set(await client.objects(ROOT)) == {PATH, second}
        exports.remove(second)
        removed = await anext(told)
        assert (removed.path, removed.member, removed.body) == (ROOT, "InterfacesRemoved", (second, (ECHO,)))
        assert set(await client.objects(ROOT)) == {PATH}


async def test_a_class_that_lacks_a_method_is_refused() -> None:
    description = Echo().description
    with pytest.raises(TypeError, match="repeat, options"):
        Interface(description)


async def test_properties_and_file_must_agree(bus: PrivateBus) -> None:
    async with echoing(bus) as (_, _, exports):
        odd = Echo()
        odd.values["Extra"] = 1
        with pytest.raises(ValueError, match="Extra"):
            exports.add(f"{ROOT}/odd", odd)
        with pytest.raises(ValueError, match="exported"):
            exports.add(PATH, Echo())


async def test_a_name_is_owned_once(bus: PrivateBus) -> None:
    async with echoing(bus), bus.connected() as other:
        with pytest.raises(Trouble, match="taken"):
            await other.own(ECHO)


async def test_waiting_ends_when_the_properties_are_as_wanted(bus: PrivateBus) -> None:
    async with echoing(bus) as (echo, _, _), bus.client(ECHO) as client:
        waiting = asyncio.create_task(client.wait_until(PATH, ECHO, lambda now: now["Count"] == 3))
        for count in (2, 3):
            echo.values["Count"] = count
            echo.announce()
            await client.get(PATH, ECHO, "Count")
        assert (await waiting)["Count"] == 3


async def test_waiting_ends_when_the_service_leaves(bus: PrivateBus) -> None:
    async with bus.client(ECHO) as client:
        async with echoing(bus):
            waiting = asyncio.create_task(client.wait_until(PATH, ECHO, lambda _: False))
            await client.wait_until(PATH, ECHO, lambda _: True)
        with pytest.raises(BusError):
            await waiting


async def test_a_signal_of_a_stranger_is_not_taken_for_the_services(bus: PrivateBus) -> None:
    async with (
        echoing(bus) as (echo, _, _),
        bus.connected() as listener,
        bus.connected() as stranger,
        Client(listener, ECHO).signals(ECHO, "Said") as said,
    ):
        stranger.send(
            Message(
                kind=Kind.SIGNAL,
                destination=listener.unique_name,
                path=PATH,
                interface=ECHO,
                member="Said",
                signature="us",
                body=(1, "forged"),
            )
        )
        await stranger.uid_of(listener.unique_name)
        echo.emit("Said", 2, "true")
        assert (await anext(said)).body == (2, "true")


def test_introspection_files_are_read_strictly() -> None:
    with pytest.raises(ValueError, match="not XML"):
        describe("<node>")
    with pytest.raises(ValueError, match="one <interface>"):
        describe("<node/>")


def test_labels_become_path_elements() -> None:
    assert escaped("6.12.0-1.x86_64") == "_36_2e12_2e0_2d1_2ex86_5f64"
    assert escaped("") == "_"
    assert escaped("ä\udcff") == "_c3_a4_ff"


def test_log_lines_fit_the_reply() -> None:
    assert first_lines(("a", "b", "c"), most=2) == ("a", "b")
    many = tuple("x" * 1000 for _ in range(1000))
    assert 0 < sum(len(line) + 8 for line in first_lines(many, most=1000)) <= 64 * 1024
    (cut,) = first_lines(("ä" * 100_000,), most=5)
    assert len(cut.encode()) <= 64 * 1024
