"""A program while it runs: what it has said, when it has ended, and how it is made to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine

from kdumpd.host.doors import Output

TAIL_BYTES = 1 << 20  # kept of each output
LINE_CHARACTERS = 4096  # of one line; the rest of it is dropped
GRACE_SECONDS = 5.0  # between TERM and KILL
LINGER_SECONDS = 1.0  # for a pipe that a left-over child still holds after the program has ended


class Running(asyncio.SubprocessProtocol):
    """What a running program has said so far, and whether it has ended."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self.status: int | None = None
        self.exited = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipes_closed = asyncio.Event()
        self._open_pipes = {1, 2}
        self._tails = {1: _Tail(), 2: _Tail()}
        self._lines = {fd: _Lines(on_line) for fd in (1, 2)} if on_line else {}
        self._fault: BaseException | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101  # narrows for the checker
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._tails[fd].add(data)
        if fd in self._lines and self._fault is None:
            self._tell(lambda: self._lines[fd].add(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc  # a program may close its input or its outputs as it pleases; its status tells
        if fd in self._lines and self._fault is None:
            self._tell(self._lines[fd].close)
        self._open_pipes.discard(fd)
        if not self._open_pipes:
            self._pipes_closed.set()

    def process_exited(self) -> None:
        if self._transport is not None:
            self.status = self._transport.get_returncode()
        self.exited.set()

    def feed(self, transport: asyncio.SubprocessTransport, data: bytes) -> None:
        pipe = transport.get_pipe_transport(0)
        if isinstance(pipe, asyncio.WriteTransport):
            pipe.write(data)
            pipe.close()  # after what is buffered

    async def ended(self) -> None:
        """Wait for the end, and for the outputs; a left-over child that holds them is not waited for long."""
        await self.exited.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._pipes_closed.wait()
        if self._fault is not None:
            raise self._fault

    def output(self, argv: tuple[str, ...]) -> Output:
        status = self.status if self.status is not None else -int(signal.SIGKILL)
        return Output(argv=argv, status=status, stdout=self._tails[1].bytes(), stderr=self._tails[2].bytes())

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as fault:  # noqa: BLE001  # the listener's fault ends the run and is raised there
            self._fault = fault
            if self._transport is not None:
                _signal_group(self._transport.get_pid(), signal.SIGTERM)


class _Tail:
    """The last TAIL_BYTES of a stream."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        while self._size - len(self._chunks[0]) >= TAIL_BYTES:
            self._size -= len(self._chunks.popleft())

    def bytes(self) -> bytes:
        return b"".join(self._chunks)[-TAIL_BYTES:]


class _Lines:
    """A stream cut into lines of bounded length."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def add(self, data: bytes) -> None:
        *lines, rest = data.replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            whole, self._rest = self._rest + line, b""
            self._say(whole)
        self._rest = (self._rest + rest)[:LINE_CHARACTERS]

    def close(self) -> None:
        whole, self._rest = self._rest, b""
        self._say(whole)

    def _say(self, line: bytes) -> None:
        if line:
            self._on_line(line[:LINE_CHARACTERS].decode("utf-8", "replace"))


async def begun(
    starting: Coroutine[None, None, tuple[asyncio.SubprocessTransport, Running]],
) -> tuple[asyncio.SubprocessTransport, Running]:
    """Start a program to the end, also when cancelled meanwhile: then its group is ended like any other.

    Cancelled half way, asyncio itself would kill the program alone and wait for whoever else holds its pipes.
    """
    task = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if task.exception() is None:
            transport, running = task.result()
            await end(transport, running)
            transport.close()
        raise


async def end(transport: asyncio.SubprocessTransport, running: Running) -> None:
    """TERM to the whole group, five seconds, then KILL; returns when the program has been waited for."""
    group = transport.get_pid()
    try:
        _signal_group(group, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await running.exited.wait()
                # Its children have their five seconds as well; nothing tells when the last of a group is gone.
                while _signal_group(group, 0):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    finally:
        _signal_group(group, signal.SIGKILL)
        await running.exited.wait()


def _signal_group(group: int, number: int) -> bool:
    """Whether there was anyone to signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # the latter: only zombies, or nobody of ours, is left
        return False
    return True
