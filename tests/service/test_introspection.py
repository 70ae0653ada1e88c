"""What the service says of itself is what the packaged files say, to every client."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET

import pytest

from kdumpd.service.bus.standard import INTROSPECTABLE
from kdumpd.service.permissions import BUS_NAME, LOG_CONTROL, ROOT, file_of
from tests.service.private_bus import DATA, DESCRIPTIONS, PLACES, Open, PrivateBus, stand_ins

EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def canonical(interface: ET.Element) -> str:
    return ET.canonicalize(ET.tostring(interface, encoding="unicode"), strip_text=True)


def packaged(name: str) -> ET.Element:
    found = ET.parse(DATA / file_of(name)).getroot().find("interface")  # noqa: S314 - ours
    assert found is not None
    return found


def told(xml: str) -> dict[str, ET.Element]:
    return {element.get("name", ""): element for element in ET.fromstring(xml).findall("interface")}  # noqa: S314 - ours


async def output_of(*argv: str) -> str:
    program = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await program.communicate()
    assert program.returncode == 0, err.decode()
    return out.decode()


def require(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


@pytest.mark.parametrize("path", PLACES)
async def test_introspection_is_the_packaged_file(bus: PrivateBus, path: str) -> None:
    async with bus.serving(BUS_NAME, Open, stand_ins()), bus.client() as client:
        (xml,) = await client.call(path, INTROSPECTABLE, "Introspect")
    interfaces = told(str(xml))
    for name in PLACES[path]:
        assert canonical(interfaces[name]) == canonical(packaged(name))
    assert (INTROSPECTABLE in interfaces, "org.freedesktop.DBus.ObjectManager" in interfaces) == (
        True,
        path == ROOT,
    )


async def test_the_tree_can_be_walked_from_the_top(bus: PrivateBus) -> None:
    found: set[str] = set()
    async with bus.serving(BUS_NAME, Open, stand_ins()), bus.client() as client:
        to_visit = ["/"]
        while to_visit:
            path = to_visit.pop()
            (xml,) = await client.call(path, INTROSPECTABLE, "Introspect")
            found.add(path)
            nodes = ET.fromstring(str(xml)).findall("node")  # noqa: S314 - ours
            to_visit.extend(f"{path.rstrip('/')}/{node.get('name')}" for node in nodes)
    assert found > PLACES.keys()


async def test_busctl_understands_it(bus: PrivateBus) -> None:
    require("busctl")
    async with bus.serving(BUS_NAME, Open, stand_ins()):
        await busctl_agrees(bus, PLACES)


async def busctl_agrees(bus: PrivateBus, places: Mapping[str, Iterable[str]]) -> None:
    """Members, signatures and flags, as `busctl introspect` shows them, are those of the packaged files."""
    for path, names in places.items():
        for name in names:
            text = await output_of(
                "busctl", f"--address={bus.address}", "--no-pager", "introspect", BUS_NAME, path, name
            )
            rows = [line.split() for line in text.splitlines()[1:]]
            described = DESCRIPTIONS[name]
            members = {row[0].removeprefix("."): row for row in rows}
            assert members.keys() == {*described.methods, *described.signals, *described.properties}
            for prop in described.properties.values():
                flag = {"true": "emits-change", "invalidates": "emits-invalidation", "const": "const"}[
                    prop.emits
                ]
                flags = [flag, "writable"] if prop.is_writable else [flag]
                assert members[prop.name][-len(flags) :] == flags
                assert members[prop.name][2] == prop.signature
            for method in described.methods.values():
                assert members[method.name][2:4] == [method.signature_in or "-", method.signature_out or "-"]
            for signal in described.signals.values():
                assert members[signal.name][2] == signal.signature


async def test_gdbus_understands_it(bus: PrivateBus) -> None:
    require("gdbus")
    async with bus.serving(BUS_NAME, Open, stand_ins()):
        await gdbus_agrees(bus, PLACES)


async def gdbus_agrees(bus: PrivateBus, places: Mapping[str, Iterable[str]]) -> None:
    """Members with the names and types of their arguments, as `gdbus introspect` shows them, are those of the files."""
    argv = ("gdbus", "introspect", "--address", bus.address, "--dest", BUS_NAME, "--object-path")
    for path, names in places.items():
        text = await output_of(*argv, path)
        for name in names:
            described = DESCRIPTIONS[name]
            (block,) = re.findall(
                rf"^  interface {re.escape(name)} \{{\n(.*?)^  \}};$", text, flags=re.DOTALL | re.MULTILINE
            )
            assert _calls(block, "methods") == {
                method.name: [
                    *(f"in {each.signature} {each.name}" for each in method.takes),
                    *(f"out {each.signature} {each.name}" for each in method.returns),
                ]
                for method in described.methods.values()
            }
            assert _calls(block, "signals") == {
                signal.name: [f"{each.signature} {each.name}" for each in signal.carries]
                for signal in described.signals.values()
            }
            seen = re.findall(
                r'EmitsChangedSignal\("(\w+)"\)\s+(?:@\S+\s+)*(readonly|readwrite) (\S+) (\w+) = ', block
            )
            assert {(prop, kind, emits, access == "readwrite") for emits, access, kind, prop in seen} == {
                (prop.name, prop.signature, str(prop.emits), prop.is_writable)
                for prop in described.properties.values()
            }


def _calls(block: str, section: str) -> dict[str, list[str]]:
    """Name to arguments, each as "in s kernel"."""
    found = re.search(rf"^    {section}:\n(.*?)(?=^    \w+:\n|\Z)", block, flags=re.DOTALL | re.MULTILINE)
    calls = re.findall(r"^      (\w+)\((.*?)\);$", found[1] if found else "", flags=re.DOTALL | re.MULTILINE)
    return {
        name: [" ".join(each.split()) for each in inner.split(",") if each.strip()] for name, inner in calls
    }


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_file_says_everything(name: str) -> None:
    interface = packaged(name)
    for argument in interface.iter("arg"):
        assert argument.get("name"), f"{name}: an argument has no name"
    for prop in interface.findall("property"):
        annotations = [note.get("value") for note in prop.findall("annotation") if note.get("name") == EMITS]
        assert len(annotations) == 1, f"{name}.{prop.get('name')} does not say how it is announced"
        assert prop.get("access") == "read" or name == LOG_CONTROL, "what changes things is a method"
    for method in DESCRIPTIONS[name].methods.values():
        if method.name not in {"GetPermissions", "ReleaseInhibit"}:
            assert (method.takes[-1].name, method.takes[-1].signature) == ("options", "a{sv}")


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_every_member_is_explained(name: str) -> None:
    text = (DATA / file_of(name)).read_text(encoding="utf-8")
    described = DESCRIPTIONS[name]
    for member in (*described.methods, *described.signals, *described.properties):
        comment = re.search(rf"<!--\s+{member}:.*?-->", text, re.DOTALL)
        assert comment, f"{name}.{member} has no comment"
        for argument in packaged(name).findall(f"*[@name='{member}']/arg"):
            explained = f"@{argument.get('name')}:"
            assert explained in comment[0], f"{name}.{member} does not explain {explained}"
