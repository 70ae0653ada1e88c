"""A program while it runs: what it has said, when it has ended, and how it is made to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine

from kdumpd.host.doors import KEPT_BYTES, Output, ProgramFailed

logger = logging.getLogger(__name__)

LINE_CHARACTERS = 4096  # of one line; the rest of it is dropped
GRACE_SECONDS = 5.0  # between TERM and KILL, and after KILL
LINGER_SECONDS = 1.0  # for a pipe that a left-over child still holds after the program has ended


class Running(asyncio.SubprocessProtocol):
    """What a running program has said so far, and whether it has ended."""

    def __init__(self, on_line: Callable[[str], None] | None, *, keep_bytes: int = KEPT_BYTES) -> None:
        self.status: int | None = None
        self.exited = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipes_closed = asyncio.Event()
        self._open_pipes = {1, 2}
        self._tails = {1: _Tail(keep_bytes), 2: _Tail(keep_bytes)}
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
    """The last bytes of a stream."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        while self._size - len(self._chunks[0]) >= self._most:
            self._size -= len(self._chunks.popleft())

    def bytes(self) -> bytes:
        return b"".join(self._chunks)[-self._most :]


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


async def until_ended(
    transport: asyncio.SubprocessTransport,
    running: Running,
    *,
    argv: tuple[str, ...],
    stdin: bytes = b"",
    timeout: float,  # the program is to be ended when it is over, before anybody is told
    grace: float = GRACE_SECONDS,
) -> None:
    """Give it its input and wait for the end, which is made when the time is over or the wait is cancelled.

    Raises ProgramFailed past `timeout`, and what a listener raised.
    """
    try:
        async with asyncio.timeout(timeout):
            running.feed(transport, stdin)
            await running.ended()
    except TimeoutError as fault:
        has_ended = await end(transport, running, grace=grace)
        stays = (
            "" if has_ended else " and cannot be ended, not even by KILL: its disk or server does not answer"
        )
        raise ProgramFailed(running.output(argv), f"took longer than {timeout:g} s{stays}") from fault
    except BaseException:
        await end(transport, running, grace=grace)
        raise


async def end(
    transport: asyncio.SubprocessTransport, running: Running, *, grace: float = GRACE_SECONDS
) -> bool:
    """TERM to the whole group, `grace` seconds, then KILL, and as long again; whether the program has ended.

    One in uninterruptible sleep takes no signal, and nobody is to wait for it: it is reaped when it wakes.
    """
    group = transport.get_pid()
    try:
        _signal_group(group, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await running.exited.wait()
                # Its children have their five seconds as well; nothing tells when the last of a group is gone.
                while _signal_group(group, 0):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    finally:
        _signal_group(group, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await running.exited.wait()
        if not running.exited.is_set():
            logger.warning("process %d does not end by KILL; it is waited for in the background", group)
            task = asyncio.create_task(_reap(running, group), name=f"reap {group}")
            _reapers.add(task)
            task.add_done_callback(_reapers.discard)
    return running.exited.is_set()


_reapers: set[asyncio.Task[None]] = set()
"""The loop itself holds tasks only weakly."""


async def _reap(running: Running, pid: int) -> None:
    await running.exited.wait()
    logger.info("process %d has ended at last", pid)


def _signal_group(group: int, number: int) -> bool:
    """Whether there was anyone to signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # the latter: only zombies, or nobody of ours, is left
        return False
    return True
