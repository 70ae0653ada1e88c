"""makedumpfile's flattened format: a dump as a stream of records, each of which says where in the file it belongs.

By the definitions in makedumpfile's sources (struct makedumpfile_header and makedumpfile_data_header): a block of
4,096 bytes that begins with the signature, type and version; then records of offset and size (8 bytes each, big
endian, signed) with that many bytes behind them, in any order, the same place maybe more than once; and at the end a
record of which both numbers are -1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from kdumpd.core.problems import Problem, Trouble

HEADER_BYTES = 4096
RECORD_BYTES = 16
BLOCK_BYTES = 4096
CHUNK_BYTES = 1 << 20
LARGEST_FILE = 1 << 50
"""Bytes. A stream that wants to write behind this is none: there is no such memory."""

_SIGNATURE = b"makedumpfile".ljust(16, b"\0")
_TYPE_AND_VERSION = struct.Struct(">qq")
_RECORD = struct.Struct(">qq")
_END = (-1, -1)
_ZEROS = bytes(BLOCK_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes that belong at `offset` of the file."""

    offset: int
    data: bytes


class Source(Protocol):
    """Where a stream is read from, as a file open for reading."""

    def read(self, size: int, /) -> bytes: ...


class Target(Protocol):
    """Where a file comes into being, as a new file open for writing."""

    def seek(self, offset: int, /) -> int: ...
    def write(self, data: bytes, /) -> int: ...
    def truncate(self, size: int, /) -> int: ...


def is_beginning(data: bytes) -> bool:
    """Whether a stream of the one version that there is begins with `data` (32 bytes tell)."""
    kind = data[len(_SIGNATURE) : len(_SIGNATURE) + _TYPE_AND_VERSION.size]
    return data.startswith(_SIGNATURE) and kind == _TYPE_AND_VERSION.pack(1, 1)


class Reader:
    """Takes a stream apart as it comes. What is kept between two calls is smaller than the header.

    `size_bytes` is that of the file so far, `stream_bytes` the length of the stream, end mark included.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self.stream_bytes = 0
        self.is_whole = False
        """The end mark has come; what comes behind it is not looked at."""
        self._is_begun = False
        self._held = b""  # the beginning of a header or of a record
        self._offset = 0
        self._left = 0  # bytes of the record at hand that have not come yet
        self._written_to = 0  # behind this the file is still one hole

    def feed(self, data: bytes) -> Iterator[Piece]:
        """What `data` adds to the file; zeros where the file is still empty are left out, so that it gets holes.

        To be exhausted before the next call. Raises Trouble for what is no flattened stream.
        """
        rest = memoryview(data)
        while rest and not self.is_whole:
            if self._left:
                part, rest = rest[: self._left], rest[self._left :]
                self.stream_bytes += len(part)
                yield from self._pieces(bytes(part))
                continue
            wanted = RECORD_BYTES if self._is_begun else HEADER_BYTES
            missing = wanted - len(self._held)
            self._held += bytes(rest[:missing])
            rest = rest[missing:]
            if len(self._held) == wanted:
                block, self._held = self._held, b""
                self.stream_bytes += wanted
                if self._is_begun:
                    self._open_record(block)
                else:
                    self._begin(block)

    def finish(self) -> None:
        """There is no more of the stream: raises Trouble unless the end mark has come."""
        if not self._is_begun:
            raise Trouble(_not_flattened())
        if not self.is_whole:
            raise Trouble(_truncated(self.stream_bytes + len(self._held), "ends"))

    def _begin(self, block: bytes) -> None:
        if not is_beginning(block):
            raise Trouble(_not_flattened())
        self._is_begun = True

    def _open_record(self, block: bytes) -> None:
        offset, size = _RECORD.unpack(block)
        at = self.stream_bytes - RECORD_BYTES
        if (offset, size) == _END:
            self.is_whole = True
        elif (offset, size) == (0, 0):
            # What a device holds where nothing was written.
            raise Trouble(_truncated(at, "turns into zeros"))
        elif offset < 0 or size <= 0 or offset + size > LARGEST_FILE:
            raise Trouble(
                Problem(
                    code="stream-damaged",
                    message=f"the dump's stream is damaged or was cut off: there is no record at byte {at}",
                )
            )
        else:
            self._offset, self._left = offset, size
            self.size_bytes = max(self.size_bytes, offset + size)

    def _pieces(self, data: bytes) -> Iterator[Piece]:
        start = self._offset
        self._offset += len(data)
        self._left -= len(data)
        fresh = max(start, self._written_to)
        self._written_to = max(self._written_to, self._offset)
        if _ZEROS not in data or fresh >= self._offset:
            yield Piece(offset=start, data=data)
            return
        kept = start
        at = -(-fresh // BLOCK_BYTES) * BLOCK_BYTES
        while at + BLOCK_BYTES <= self._offset:
            end = at + BLOCK_BYTES
            if data[at - start : end - start] == _ZEROS:
                if kept < at:
                    yield Piece(offset=kept, data=data[kept - start : at - start])
                kept = end
            at = end
        if kept < self._offset:
            yield Piece(offset=kept, data=data[kept - start :])


def lay_out(source: Source, target: Target, *, before_each: Callable[[], None] = lambda: None) -> Reader:
    """Write the whole file that the stream `source` holds to `target`; the reader at its end tells the sizes.

    `before_each` is called before each CHUNK_BYTES are written; what it raises ends the work. Raises Trouble for a
    stream that is none or is not whole. Flushing and syncing are the caller's.
    """
    reader = Reader()
    while not reader.is_whole and (chunk := source.read(CHUNK_BYTES)):
        before_each()
        for piece in reader.feed(chunk):
            target.seek(piece.offset)
            target.write(piece.data)
    reader.finish()
    target.truncate(reader.size_bytes)
    return reader


def _not_flattened() -> Problem:
    return Problem(code="not-flattened", message="this is not a flattened stream of makedumpfile")


def _truncated(at: int, how: str) -> Problem:
    return Problem(
        code="stream-truncated",
        message=f"the dump is not whole: its stream {how} after {at} bytes, before its end mark",
    )
