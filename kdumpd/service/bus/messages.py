"""What a bus message and the values in it are, in our own words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TypeAlias

BUS = "org.freedesktop.DBus"
BUS_PATH = "/org/freedesktop/DBus"
NO_OBJECT = "/"
"""The object path that means "none"."""

_UNSPEAKABLE = re.compile("[\x00\ud800-\udfff]")
_PATH = re.compile(r"/|(?:/[A-Za-z0-9_]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A value for a variant whose D-Bus type is said rather than inferred: `Typed(signature="u", value=7)`."""

    signature: str
    value: Value


Value: TypeAlias = bool | int | float | str | bytes | tuple["Value", ...] | Mapping[str, "Value"] | Typed
"""What travels: structs and arrays are tuples, dictionaries are mappings, variants are the bare value.

A received variant is never a `Typed`; a sent one may be.
"""


class Kind(IntEnum):
    CALL = 1
    RETURN = 2
    ERROR = 3
    SIGNAL = 4


class Flag(IntFlag):
    NO_REPLY_EXPECTED = 1
    NO_AUTOSTART = 2
    ALLOW_INTERACTIVE_AUTHORIZATION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. Text that does not apply to its kind is empty, numbers are 0."""

    kind: Kind
    flags: int = 0
    serial: int = 0
    reply_serial: int = 0
    sender: str = ""
    destination: str = ""
    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    signature: str = ""
    body: tuple[Value, ...] = ()

    @property
    def wants_reply(self) -> bool:
        return self.kind is Kind.CALL and not self.flags & Flag.NO_REPLY_EXPECTED

    @property
    def may_ask_the_user(self) -> bool:
        return bool(self.flags & Flag.ALLOW_INTERACTIVE_AUTHORIZATION)


def clean(text: str) -> str:
    """Text as the bus takes it. The bus drops a connection that sends NUL, and a lone surrogate has no UTF-8."""
    return _UNSPEAKABLE.sub("\ufffd", text)


def is_object_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None


def escaped(label: str) -> str:
    """Any text as one element of an object path: bytes other than ASCII letters and digits become `_xx`.

    A leading digit is escaped too and the empty text is `_`, as systemd does.
    """
    if not label:
        return "_"
    octets = label.encode("utf-8", "surrogateescape")
    return "".join(
        chr(octet)
        if chr(octet).isascii() and (chr(octet).isalpha() or (chr(octet).isdigit() and place > 0))
        else f"_{octet:02x}"
        for place, octet in enumerate(octets)
    )


def signature_of(value: Value) -> str:
    """The D-Bus type a bare value takes inside a variant: text `s`, counts `t`, negative numbers `x`, tables `a{sv}`."""
    match value:
        case Typed():
            return "v"
        case bool():
            return "b"
        case int():
            return "t" if value >= 0 else "x"
        case float():
            return "d"
        case str():
            return "s"
        case bytes():
            return "ay"
        case tuple():
            kinds = {signature_of(member) for member in value} or {"s"}
            return f"a{kinds.pop()}" if len(kinds) == 1 else "av"
        case _:
            return "a{sv}"


def first_lines(lines: tuple[str, ...], *, most: int, octets: int = 64 * 1024) -> tuple[str, ...]:
    """As many leading lines as fit: at most `most`, and at most `octets` bytes with their D-Bus overhead.

    A first line that alone is too long is cut, so that a reader always advances.
    """
    taken: list[str] = []
    room = octets
    for line in lines[:most]:
        text = clean(line)
        need = len(text.encode()) + 8
        if need > room:
            if not taken:
                taken.append(text.encode()[: octets - 8].decode(errors="ignore"))
            break
        room -= need
        taken.append(text)
    return tuple(taken)
