"""Which call comes next: every method and property of every object, and some that are not there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from xml.etree import ElementTree as ET

from kdumpd.core.settings import SETTINGS
from kdumpd.service.bus import BusError, Client
from kdumpd.service.bus.messages import Flag
from kdumpd.service.bus.standard import INTROSPECTABLE, PROPERTIES
from kdumpd.service.permissions import BUS_NAME, LOG_CONTROL, ROOT
from tests.fuzz import octets
from tests.fuzz.values import Values
from tests.service.private_bus import DATA

_QUOTED = re.compile(r'"([a-z][a-z._-]+)"')
_MIB = 1 << 20
HUGE = (257 * 1024, _MIB, 4 * _MIB, 31 * _MIB)
"""Bytes of an argument: more than the daemon reads, and up to what the bus passes on."""
_LAST_JOB = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What introspection shows: (path, interface, method) -> signature, and (path, interface, property) -> type."""

    methods: Mapping[tuple[str, str, str], str]
    properties: Mapping[tuple[str, str, str], str]

    @property
    def words(self) -> Sequence[str]:
        """Names that mean something to the service: of options, directives, members and objects."""
        documented = {
            word for file in DATA.glob("*.xml") for word in _QUOTED.findall(file.read_text("utf-8"))
        }
        named = {name for place in (*self.methods, *self.properties) for name in place}
        # What these say to LogLevel or LogTarget would hide what we look for.
        return sorted((documented | named | set(SETTINGS)) - {"null", "emerg", "alert", "crit"})


async def surface(client: Client, *paths: str) -> Surface:
    """Of the objects at and below these paths, as they are now."""
    methods: dict[tuple[str, str, str], str] = {}
    properties: dict[tuple[str, str, str], str] = {}
    to_see = list(paths)
    while to_see:
        path = to_see.pop()
        try:
            (xml,) = await client.call(path, INTROSPECTABLE, "Introspect")
        except BusError:  # a job that was forgotten meanwhile
            continue
        tree = ET.fromstring(str(xml).split("\n", 2)[2])  # noqa: S314 - of our own service
        for interface in tree.findall("interface"):
            name = interface.get("name", "")
            for method in interface.findall("method"):
                arguments = (each for each in method.findall("arg") if each.get("direction") == "in")
                methods[path, name, method.get("name", "")] = "".join(
                    each.get("type", "") for each in arguments
                )
            for found in interface.findall("property"):
                properties[path, name, found.get("name", "")] = found.get("type", "")
        to_see += [f"{path.rstrip('/')}/{child.get('name')}" for child in tree.findall("node")]
    return Surface(methods=methods, properties=properties)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One message but for its serial."""

    path: str
    interface: str
    member: str
    signature: str
    body: bytes
    flags: int = 0
    kind: int = octets.CALL

    @property
    def wants_answer(self) -> bool:
        return self.kind == octets.CALL and not self.flags & Flag.NO_REPLY_EXPECTED

    @property
    def label(self) -> str:
        return f"{self.interface.rpartition('.')[2]}.{self.member}({self.signature})"

    def octets(self, serial: int) -> bytes:
        return octets.message(
            kind=self.kind,
            serial=serial,
            flags=self.flags,
            destination=BUS_NAME,
            path=self.path,
            interface=self.interface,
            member=self.member,
            signature=self.signature,
            body=self.body,
        )


class Attack:
    """An endless row of shots, the same for the same seed and surface."""

    def __init__(self, random: Random, of: Surface) -> None:
        self._random = random
        self._methods = sorted(of.methods.items())
        self._properties = sorted(of.properties.items())
        self._values = Values(random, of.words)

    def shot(self) -> Shot:
        draw = self._random.random()
        if draw < 0.55:
            return self._call()
        if draw < 0.75:
            return self._property()
        if draw < 0.85:
            return self._wrong_signature()
        if draw < 0.93:
            return self._nothing_there()
        return self._forged_signal() if draw < 0.95 else self._deep()

    def huge(self) -> Shot:
        """A text or an array of bytes that is too long for us, or nearly for the bus."""
        length = self._random.choice(HUGE)
        writer = octets.Writer()
        if self._random.random() < 0.5:
            writer.text(b"x" * length)
            writer.array("{", lambda: None)
            return Shot(
                path=ROOT,
                interface=f"{BUS_NAME}.Config",
                member="Validate",
                signature="sa{sv}",
                body=bytes(writer.octets),
            )

        def entry() -> None:
            writer.align(8)
            writer.text(b"reason")
            writer.signature("ay")
            writer.array("y", lambda: writer.octets.extend(bytes(length)))

        writer.array("{", entry)
        return Shot(
            path=ROOT,
            interface=f"{BUS_NAME}.Manager",
            member="Reload",
            signature="a{sv}",
            body=bytes(writer.octets),
        )

    def noise(self) -> bytes:
        """No message at all: the bus ends the connection of whoever sends it."""
        good = bytearray(self._call().octets(7))
        for _ in range(self._random.randint(1, 8)):
            good[self._random.randrange(len(good))] = self._random.getrandbits(8)
        return bytes(good) if self._random.random() < 0.7 else self._random.randbytes(200)

    def _flags(self) -> int:
        return self._random.choice((0, 0, 4, 4, 4, 1, 2, 5, 6, 7, 0xF8, 0xFC))

    def _call(self) -> Shot:
        (path, interface, member), signature = self._random.choice(self._methods)
        return self._shot(self._moved(path), interface, member, signature)

    def _property(self) -> Shot:
        (path, interface, name), kind = self._random.choice(self._properties)
        writer = octets.Writer()
        writer.text(interface.encode())
        verb = self._random.choice(("Get", "GetAll", "Set"))
        if verb == "GetAll":
            return self._shot(self._moved(path), PROPERTIES, verb, "s", bytes(writer.octets))
        writer.text(name.encode())
        if verb == "Get":
            return self._shot(self._moved(path), PROPERTIES, verb, "ss", bytes(writer.octets))
        kind = kind if self._random.random() < 0.7 else self._values.signature()
        if interface == LOG_CONTROL:
            kind = "s"
        writer.signature(kind)
        self._values.write(writer, kind)
        return self._shot(path, PROPERTIES, verb, "ssv", bytes(writer.octets))

    def _wrong_signature(self) -> Shot:
        (path, interface, member), _ = self._random.choice(self._methods)
        signature = "".join(self._values.signature() for _ in range(self._random.randint(0, 6)))
        return self._shot(path, interface, member, signature)

    def _nothing_there(self) -> Shot:
        (path, interface, member), signature = self._random.choice(self._methods)
        match self._random.randrange(4):
            case 0:
                path = self._random.choice(("/", "/org", f"{ROOT}/jobs", f"{path}/x", "/a" * 300))
            case 1:
                member = self._random.choice(
                    (member.lower(), f"{member}2", "x" * 255, "__init__", "properties")
                )
            case 2:
                interface = self._random.choice((f"{BUS_NAME}.None", "a.b", f"{BUS_NAME}.Manager2"))
            case _:
                interface = ""
        return self._shot(path, interface, member, signature)

    def _forged_signal(self) -> Shot:
        member, signature = self._random.choice(
            (
                ("NameOwnerChanged", "sss"),
                ("NameLost", "s"),
                ("PropertiesChanged", "sa{sv}as"),
                ("PrepareForSleep", "b"),
            )
        )
        interface = self._random.choice(
            ("org.freedesktop.DBus", PROPERTIES, "org.freedesktop.login1.Manager")
        )
        shot = self._shot("/org/freedesktop/DBus", interface, member, signature)
        return Shot(
            path=shot.path,
            interface=interface,
            member=member,
            signature=signature,
            body=shot.body,
            kind=octets.SIGNAL,
        )

    def _deep(self) -> Shot:
        with_options = [place for place, signature in self._methods if signature == "a{sv}"]
        path, interface, member = self._random.choice(with_options)
        return self._shot(path, interface, member, "a{sv}", self._values.deepest())

    def _moved(self, path: str) -> str:
        """Jobs come and go; which of them are there now is not ours to choose by."""
        if path.startswith(f"{ROOT}/jobs/") and self._random.random() < 0.8:
            return f"{ROOT}/jobs/{self._random.randint(1, _LAST_JOB)}"
        return path

    def _shot(
        self, path: str, interface: str, member: str, signature: str, body: bytes | None = None
    ) -> Shot:
        return Shot(
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=self._values.body(signature) if body is None else body,
            flags=self._flags(),
        )
