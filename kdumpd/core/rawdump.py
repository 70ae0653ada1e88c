"""What the agent leaves on a raw device beside a dump: a summary in its first block, or in a block behind the stream."""

from __future__ import annotations

import re
from enum import Enum, auto

from kdumpd.core.flattened import BLOCK_BYTES, is_beginning

RECORD_AT_MOST = 1 << 18
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


def behind(stream_bytes: int) -> int:
    """Where the record of a stream of that length begins."""
    return -(-stream_bytes // BLOCK_BYTES) * BLOCK_BYTES
