"""What inotify(7) writes: which watch an event is of, what happened, and to which name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

NO_WATCH = -1
"""The watch of an event that is of none: the kernel had more to tell than its queue takes (IN_Q_OVERFLOW)."""
_HEAD = struct.Struct("iIII")  # wd, mask, cookie, length of the name with its padding


@dataclass(frozen=True, slots=True)
class Event:
    watch: int
    mask: int
    name: str  # "" where it is of the watched folder or file itself


def events(data: bytes) -> Iterator[Event]:
    """All events of one read, in their order."""
    at = 0
    while at + _HEAD.size <= len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name = data[at : at + length].rstrip(b"\0").decode("utf-8", "surrogateescape")
        at += length
        yield Event(watch, mask, name)
