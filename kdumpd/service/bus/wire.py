"""How a message looks on the socket: the only module that knows dbus-next, and of it only the marshalling.

Framing, sending and dispatch are ours (`connection`, `exports`), because there dbus-next 0.2.3 ends the connection
on a full socket, remembers every signature it has met, and unmarshals whatever anybody sends before asking who did.
Here the header is read first; a body is read only when its signature is the expected one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import cast

from dbus_next._private.constants import LITTLE_ENDIAN, PROTOCOL_VERSION, HeaderField
from dbus_next._private.marshaller import Marshaller
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.signature import SignatureTree, SignatureType, Variant

from kdumpd.service.bus.messages import Flag, Kind, Message, Typed, Value, clean, is_object_path, signature_of

FIXED_HEADER = 16
VALUES_IN_A_CALL = 4096
"""A value is each text, number, array, member of one, and so on. What a reply has in it is ours to ask for."""
_SIGNATURES_KEPT = 64
_LONGEST_MESSAGE = 128 * 1024 * 1024
_LONGEST_NAME = 255
_SENDER = HeaderField.SENDER.value
_TEXTUAL = (b"\x01s\0", b"\x01o\0")
"""How the kind of a header field is written: a signature of one letter."""
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_INTERFACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")

_TEXT_FIELDS = (
    (HeaderField.PATH, "o", "path"),
    (HeaderField.INTERFACE, "s", "interface"),
    (HeaderField.MEMBER, "s", "member"),
    (HeaderField.ERROR_NAME, "s", "error_name"),
    (HeaderField.REPLY_SERIAL, "u", "reply_serial"),
    (HeaderField.DESTINATION, "s", "destination"),
    (HeaderField.SIGNATURE, "g", "signature"),
)


class Garbled(ValueError):
    """Bytes or values that are no message."""


class _FewSignatures(dict[str, SignatureTree]):
    """dbus-next keeps the parsed form (41 kB at worst) of each signature for ever; anybody may send any number."""

    def __setitem__(self, signature: str, tree: SignatureTree) -> None:
        if len(self) >= _SIGNATURES_KEPT:
            self.clear()
        super().__setitem__(signature, tree)


SignatureTree._cache = _FewSignatures()  # noqa: SLF001 - the library offers no other way to bound it


def _tree(signature: str) -> SignatureTree:
    tree: SignatureTree = SignatureTree._get(signature)  # noqa: SLF001 - the constructor parses anew each time
    return tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What the fixed header says about the rest, in bytes."""

    header: int
    body: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A received message with its body still in bytes; None when it was too long to be kept."""

    head: Message
    body: bytes | None
    endian: int

    def read(self) -> Message:
        """The message with its body. Raises Garbled."""
        if self.body is None:
            raise Garbled("the body is too long")
        if not self.head.signature:
            return self.head
        most = VALUES_IN_A_CALL if self.head.kind is Kind.CALL else None
        try:
            reader = _reader(self.body, endian=self.endian, values_at_most=most)
            body = tuple(_incoming(reader.read_argument(kind)) for kind in _tree(self.head.signature).types)
        except Garbled:
            raise
        except Exception as fault:
            raise Garbled(f"unreadable body of signature {self.head.signature!r}") from fault
        return replace(self.head, body=body)


def measure(fixed: bytes) -> Lengths:
    """How much follows the first 16 bytes of a message. Raises Garbled when they begin none."""
    order = {ord("l"): "<", ord("B"): ">"}.get(fixed[0])
    if order is None or fixed[3] != PROTOCOL_VERSION:
        raise Garbled("no D-Bus message begins like this")
    body, _serial, fields = struct.unpack_from(f"{order}III", fixed, 4)
    lengths = Lengths(header=FIXED_HEADER + fields + -fields % 8, body=body)
    if lengths.header + lengths.body > _LONGEST_MESSAGE:
        raise Garbled("longer than any message may be")
    return lengths


def read_head(header: bytes) -> Message:
    """A message without its body, from its whole header. Raises Garbled."""
    try:
        reader = _reader(header, endian=header[0])
        reader.offset = 8
        serial = int(reader.read_uint32())
        fields = {code: variant.value for code, variant in reader.read_argument(_tree("a(yv)").types[0])}
        return Message(
            kind=Kind(header[1]),
            flags=header[2],
            serial=serial,
            reply_serial=int(fields.get(HeaderField.REPLY_SERIAL.value, 0)),
            sender=str(fields.get(HeaderField.SENDER.value, "")),
            destination=str(fields.get(HeaderField.DESTINATION.value, "")),
            path=str(fields.get(HeaderField.PATH.value, "")),
            interface=str(fields.get(HeaderField.INTERFACE.value, "")),
            member=str(fields.get(HeaderField.MEMBER.value, "")),
            error_name=str(fields.get(HeaderField.ERROR_NAME.value, "")),
            signature=str(fields.get(HeaderField.SIGNATURE.value, "")),
        )
    except Exception as fault:
        raise Garbled("unreadable header") from fault


def wants_no_answer(header: bytes) -> bool:
    """A signal, or a call whose caller does not care: the beginning of a header is enough to tell."""
    kind, flags = header[1], header[2]
    return kind == Kind.SIGNAL or (kind == Kind.CALL and bool(flags & Flag.NO_REPLY_EXPECTED))


def sender_of(header: bytes) -> str:
    """Who sent a message, from its whole header, in a tenth of the time of `read_head`; empty where it cannot be told.

    The fields are walked, for what a sender puts into one may look like another.
    """
    u32 = struct.Struct("<I" if header[0] == LITTLE_ENDIAN else ">I").unpack_from
    try:
        at, end = FIXED_HEADER, FIXED_HEADER + u32(header, 12)[0]
        while at < end:
            at += -at % 8
            code, kind = header[at], header[at + 1 : at + 4]
            at += 4
            if kind in _TEXTUAL:
                length = u32(header, at)[0]
                if code == _SENDER:
                    return header[at + 4 : at + 4 + length].decode("ascii")
                at += length + 5
            elif kind == b"\x01g\0":
                at += header[at] + 2
            elif kind == b"\x01u\0":
                at += 4
            else:
                return ""
    except (struct.error, IndexError, UnicodeDecodeError):
        return ""
    return ""


def encode(message: Message) -> bytes:
    """The bytes of a message; every text in its body is cleaned. Raises Garbled when values do not fit the signature."""
    _require_names(message)
    try:
        kinds = _tree(message.signature).types
        values = [_outgoing(kind, value) for kind, value in zip(kinds, message.body, strict=True)]
        body = Marshaller(message.signature, values).marshall()
        fields = [
            [field.value, Variant(kind, getattr(message, name))]
            for field, kind, name in _TEXT_FIELDS
            if getattr(message, name)
        ]
        fixed = [
            LITTLE_ENDIAN,
            int(message.kind),
            int(message.flags),
            PROTOCOL_VERSION,
            len(body),
            message.serial,
        ]
        header = Marshaller("yyyyuua(yv)", [*fixed, fields])
        header.marshall()
        header.align(8)
    except Exception as fault:
        what = message.member or message.error_name or message.kind.name
        raise Garbled(f"{what}: values do not fit the signature {message.signature!r}: {fault}") from fault
    return bytes(header.buffer) + bytes(body)


def _require_names(message: Message) -> None:
    """The bus ends the connection of whoever sends a malformed name; dbus-next lets some pass."""
    if message.path and not is_object_path(message.path):
        raise Garbled(f"{message.path!r} is no object path")
    if message.member and not _MEMBER.fullmatch(message.member):
        raise Garbled(f"{message.member!r} is no member name")
    for name in filter(None, (message.interface, message.error_name)):
        if not _INTERFACE.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise Garbled(f"{name!r} is no interface or error name")


class _Reader(Unmarshaller):
    """Takes milliseconds for a thousand values, which may be of two bytes each: who reads a stranger's says how many."""

    def __init__(self, *, values_at_most: int | None) -> None:
        super().__init__(None)  # type: ignore[no-untyped-call]  # dbus-next has no types
        self._values_at_most = values_at_most
        self._values = 0

    def read_argument(self, kind: SignatureType) -> object:
        self._values += 1
        if self._values_at_most is not None and self._values > self._values_at_most:
            raise Garbled(f"there are more than {self._values_at_most} values in it")
        value: object = super().read_argument(kind)  # type: ignore[no-untyped-call]  # dbus-next has no types
        return value


def _reader(octets: bytes, *, endian: int, values_at_most: int | None = None) -> Unmarshaller:
    reader = _Reader(values_at_most=values_at_most)
    reader.buf = bytearray(octets)
    reader.endian = endian
    return reader


def _incoming(value: object) -> Value:
    match value:
        case Variant():
            return _incoming(value.value)
        case list():
            return tuple(_incoming(member) for member in value)
        case dict():
            return MappingProxyType({key: _incoming(member) for key, member in value.items()})
        case _:
            return cast("Value", value)


def _outgoing(kind: SignatureType, value: Value) -> object:
    element = next((child.token for child in kind.children), "")
    match kind.token:
        case "s" if isinstance(value, str):
            return clean(value)
        case "o" if not (isinstance(value, str) and is_object_path(value)):
            raise Garbled(f"{value!r} is no object path")
        case "v":
            typed = value if isinstance(value, Typed) else Typed(signature=signature_of(value), value=value)
            inner = _tree(typed.signature)
            return Variant(inner, _outgoing(inner.types[0], typed.value))
        case "a" if element == "{" and isinstance(value, Mapping):
            of_key, of_value = kind.children[0].children
            return {_outgoing(of_key, key): _outgoing(of_value, member) for key, member in value.items()}
        case "a" if element != "y" and isinstance(value, tuple):
            return [_outgoing(kind.children[0], member) for member in value]
        case "(" if isinstance(value, tuple):
            if len(value) != len(kind.children):
                raise Garbled(f"{len(value)} members for the struct {kind.signature!r}")
            return [_outgoing(child, member) for child, member in zip(kind.children, value, strict=True)]
        case _:
            return value
