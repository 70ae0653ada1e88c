"""What an introspection file says about an interface: members, signatures, annotations, and its own text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from xml.etree import ElementTree as ET

_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Emits(StrEnum):
    """How a change of a property is announced."""

    VALUE = "true"
    INVALIDATES = "invalidates"
    CONST = "const"
    NOTHING = "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    name: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    name: str
    takes: tuple[Argument, ...]
    returns: tuple[Argument, ...]

    @property
    def signature_in(self) -> str:
        return "".join(argument.signature for argument in self.takes)

    @property
    def signature_out(self) -> str:
        return "".join(argument.signature for argument in self.returns)

    @property
    def attribute(self) -> str:
        """The name of the Python method that serves it: `GetLog` is `get_log`."""
        return _HUMP.sub("_", self.name).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    name: str
    carries: tuple[Argument, ...]

    @property
    def signature(self) -> str:
        return "".join(argument.signature for argument in self.carries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    name: str
    signature: str
    access: str
    emits: Emits

    @property
    def is_writable(self) -> bool:
        return "write" in self.access


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One `<interface>` element; `xml` is that element again, without comments."""

    name: str
    methods: Mapping[str, Method]
    signals: Mapping[str, Signal]
    properties: Mapping[str, Property]
    xml: str


def describe(text: str) -> Description:
    """Read a packaged introspection file, a `<node>` with one `<interface>`. Raises ValueError when it is not that."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - our own packaged file, never a stranger's
    except ET.ParseError as fault:
        raise ValueError(f"not XML: {fault}") from fault
    found = root.findall("interface")
    if root.tag != "node" or len(found) != 1:
        raise ValueError("an introspection file holds one <interface> inside one <node>")
    interface = found[0]
    methods = (
        Method(
            name=method.get("name", ""),
            takes=_arguments(method, outgoing=False),
            returns=_arguments(method, outgoing=True),
        )
        for method in interface.findall("method")
    )
    signals = (
        Signal(name=signal.get("name", ""), carries=_all_arguments(signal))
        for signal in interface.findall("signal")
    )
    properties = (
        Property(
            name=prop.get("name", ""),
            signature=prop.get("type", ""),
            access=prop.get("access", ""),
            emits=_emits(prop),
        )
        for prop in interface.findall("property")
    )
    return Description(
        name=interface.get("name", ""),
        methods=MappingProxyType({method.name: method for method in methods}),
        signals=MappingProxyType({signal.name: signal for signal in signals}),
        properties=MappingProxyType({prop.name: prop for prop in properties}),
        xml=_text_of(interface),
    )


def _arguments(method: ET.Element, *, outgoing: bool) -> tuple[Argument, ...]:
    return tuple(
        Argument(name=argument.get("name", ""), signature=argument.get("type", ""))
        for argument in method.findall("arg")
        if (argument.get("direction", "in") == "out") is outgoing
    )


def _all_arguments(signal: ET.Element) -> tuple[Argument, ...]:
    return tuple(
        Argument(name=argument.get("name", ""), signature=argument.get("type", ""))
        for argument in signal.findall("arg")
    )


def _emits(prop: ET.Element) -> Emits:
    for annotation in prop.findall("annotation"):
        if annotation.get("name") == _EMITS:
            return Emits(annotation.get("value", ""))
    return Emits.VALUE


def _text_of(interface: ET.Element) -> str:
    ET.indent(interface, space="  ", level=1)
    return ET.tostring(interface, encoding="unicode").rstrip()
