"""What the agent leaves on a raw device beside a dump: a summary in its first block, or one with a log behind the stream."""

from __future__ import annotations

import re
from enum import Enum, auto

from kdumpd.core.flattened import BLOCK_BYTES, is_beginning

RECORD_AT_MOST = 1 << 18
_LOG_LINE = re.compile(rb"kdumpd-log ([0-9]{1,6})\n")
_LINE = re.compile(rb"kdumpd-record 1 ([0-9]{1,6})\n")


class FirstBlock(Enum):
    """What the first block of a device says is on it."""

    DUMP = auto()
    RECORD = auto()  # of a capture that failed
    NOTHING = auto()


def first_block(data: bytes) -> FirstBlock:
    if is_beginning(data):
        return FirstBlock.DUMP
    return FirstBlock.RECORD if _LINE.match(data) else FirstBlock.NOTHING


def record_in(data: bytes) -> bytes:
    """The summary that a record holds as JSON; empty where it is none, or was too long for its block."""
    found = _LINE.match(data)
    if found is None:
        return b""
    said = data[found.end() :][: int(found[1])]
    return said if len(said) == int(found[1]) else b""


def log_in(data: bytes) -> bytes:
    """The capture kernel's log that stands behind the summary; empty where there is none, or not all of it."""
    found = _LINE.match(data)
    begun = _LOG_LINE.match(data, found.end() + int(found[1])) if found else None
    if begun is None:
        return b""
    said = data[begun.end() :][: int(begun[1])]
    return said if len(said) == int(begun[1]) else b""


def behind(stream_bytes: int) -> int:
    """Where the record of a stream of that length begins."""
    return -(-stream_bytes // BLOCK_BYTES) * BLOCK_BYTES
