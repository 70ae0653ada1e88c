"""D-Bus messages written by hand, so that they may say what no library would send."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

LITTLE_ENDIAN, CALL, SIGNAL, VERSION = ord("l"), 1, 4, 1
_PATH, _INTERFACE, _MEMBER, _DESTINATION, _SENDER, _SIGNATURE = 1, 2, 3, 6, 7, 8
_NUMBERS = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "b": "I"}
_ALIGNMENTS = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}


class Writer:
    """The body of a message, or a part of its header, as it grows."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def align(self, to: int) -> None:
        self.octets += bytes(-len(self.octets) % to)

    def number(self, kind: str, value: float) -> None:
        self.align(alignment(kind))
        self.octets += struct.pack(f"<{_NUMBERS[kind]}", value)

    def text(self, octets: bytes) -> None:
        self.number("u", len(octets))
        self.octets += octets + b"\0"

    def signature(self, text: str) -> None:
        self.octets += bytes((len(text),)) + text.encode() + b"\0"

    def array(self, of: str, write: Callable[[], None]) -> None:
        """What `write` writes, as the members of an array whose members are of the kind `of`."""
        self.number("u", 0)
        place = len(self.octets) - 4
        self.align(alignment(of))
        first = len(self.octets)
        write()
        self.octets[place : place + 4] = struct.pack("<I", len(self.octets) - first)


def alignment(kind: str) -> int:
    return _ALIGNMENTS.get(kind[0], 4)


def complete_types(signature: str) -> Iterator[str]:
    """`a{sv}u(ss)` is `a{sv}`, `u`, `(ss)`."""
    depth, begun = 0, 0
    for place, token in enumerate(signature):
        depth += (token in "({") - (token in ")}")
        if depth == 0 and token != "a":
            yield signature[begun : place + 1]
            begun = place + 1


def message(
    *,
    kind: int = CALL,
    serial: int,
    flags: int = 0,
    destination: str,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    body: bytes = b"",
    sender: str = "",
) -> bytes:
    """`sender` is for the bus to write: it takes the place of what anybody else says."""
    head = Writer()
    head.octets += bytes((LITTLE_ENDIAN, kind, flags, VERSION))
    head.number("u", len(body))
    head.number("u", serial)

    def fields() -> None:
        for code, name, text in (
            (_PATH, "o", path),
            (_INTERFACE, "s", interface),
            (_MEMBER, "s", member),
            (_DESTINATION, "s", destination),
            (_SIGNATURE, "g", signature),
            (_SENDER, "s", sender),
        ):
            if not text:
                continue
            head.align(8)
            head.octets.append(code)
            head.signature(name)
            if name == "g":
                head.signature(text)
            else:
                head.text(text.encode())

    head.array("(", fields)
    head.align(8)
    return bytes(head.octets) + body
