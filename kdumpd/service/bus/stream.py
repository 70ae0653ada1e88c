"""Reaching a bus: its address, the EXTERNAL handshake, and cutting what comes into frames."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Container
from urllib.parse import unquote

from kdumpd.service.bus import wire
from kdumpd.service.bus.messages import Kind

LONGEST_BODY = 256 * 1024
"""Bytes a stranger may send in one call or signal; more is refused unread."""
LONGEST_REPLY = 16 * 1024 * 1024
"""Bytes we accept as the answer to a call of ours."""
_LONGEST_HEADER = 64 * 1024
_CHUNK = 64 * 1024


async def dial(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first of the addresses that answers. Raises OSError, or ValueError for an address that is none."""
    fault: OSError | None = None
    for one in filter(None, address.split(";")):
        try:
            return await asyncio.open_unix_connection(_socket_of(one))
        except OSError as refused:
            fault = refused
    raise fault or ValueError(f"{address!r} is no bus address")


async def authenticate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the kernel say who we are. No file descriptors are negotiated. Raises OSError or EOFError."""
    writer.write(b"\0AUTH EXTERNAL\r\nDATA\r\n")
    answer = await reader.readuntil(b"\r\n")
    if answer.startswith(b"DATA"):
        answer = await reader.readuntil(b"\r\n")
    if not answer.startswith(b"OK "):
        raise ConnectionRefusedError(f"it refuses uid {os.getuid()}")
    writer.write(b"BEGIN\r\n")


async def next_frame(
    reader: asyncio.StreamReader, *, expected: Container[int], is_unread: Callable[[str], bool]
) -> wire.Frame | None:
    """The next message; its body is left out when too long. Raises OSError, EOFError or wire.Garbled: it is over then.

    None for one that wants no answer, where what its sender sends `is_unread`: the bus bounds the calls that wait for
    an answer, and nothing else that anybody sends us. None as well for a message whose header is too long or
    unreadable. The bus passes on an object path of any length, so anybody could end the connection with one; where the
    message ends is known, and what follows is in step.
    `expected` holds the serials of our calls that wait for a reply: those may be longer than a stranger's message.
    """
    fixed = await reader.readexactly(wire.FIXED_HEADER)
    lengths = wire.measure(fixed)
    if lengths.header > _LONGEST_HEADER:
        await _skip(reader, lengths.header - wire.FIXED_HEADER + lengths.body)
        return None
    header = fixed + await reader.readexactly(lengths.header - wire.FIXED_HEADER)
    if wire.wants_no_answer(header) and is_unread(wire.sender_of(header)):
        await _skip(reader, lengths.body)
        return None
    try:
        head = wire.read_head(header)
    except wire.Garbled:
        await _skip(reader, lengths.body)
        return None
    is_awaited = head.kind in {Kind.RETURN, Kind.ERROR} and head.reply_serial in expected
    if lengths.body <= (LONGEST_REPLY if is_awaited else LONGEST_BODY):
        return wire.Frame(head=head, body=await reader.readexactly(lengths.body), endian=header[0])
    await _skip(reader, lengths.body)
    return wire.Frame(head=head, body=None, endian=header[0])


async def _skip(reader: asyncio.StreamReader, octets: int) -> None:
    while octets > 0:
        chunk = await reader.read(min(octets, _CHUNK))
        if not chunk:
            raise EOFError
        octets -= len(chunk)


def _socket_of(address: str) -> str:
    transport, _, rest = address.partition(":")
    options = dict(pair.partition("=")[::2] for pair in rest.split(","))
    if transport == "unix" and "path" in options:
        return unquote(options["path"])
    if transport == "unix" and "abstract" in options:
        return "\0" + unquote(options["abstract"])
    raise ValueError(f"{address!r} is no address of a unix socket")
