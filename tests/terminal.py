"""A terminal of our own for a program: what it writes there, and what somebody types."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from tests.simulate import REPOSITORY

PATIENCE = 30.0  # seconds; a bound for a machine that is busy, never a measure
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """One program on a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, ours: int) -> None:
        self.process = process
        self._ours = ours
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._written = b""
        asyncio.get_running_loop().add_reader(ours, self._read)

    @property
    def written(self) -> str:
        """All of it, escapes included."""
        return self._written.decode(errors="replace").replace("\r\n", "\n")

    @property
    def shown(self) -> str:
        """Without what a terminal obeys."""
        return plain(self.written)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    async def until(self, text: str) -> None:
        """Until it stands there, in what is written from now on or was before."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.shown:
                chunk = await self._chunks.get()
                assert chunk, f"it ended without {text!r}:\n{self.shown}"

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            while await self._chunks.get():
                pass
            return await self.process.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)

    def _read(self) -> None:
        try:
            chunk = os.read(self._ours, 1 << 16)
        except OSError:  # EIO: nobody has the other side any more
            chunk = b""
            asyncio.get_running_loop().remove_reader(self._ours)
        self._written += chunk
        self._chunks.put_nowait(chunk)


def plain(text: str) -> str:
    return _ESCAPE.sub("", text)


@asynccontextmanager
async def on_terminal(
    argv: Sequence[str], environment: Mapping[str, str], *, columns: int = 100, lines: int = 40
) -> AsyncIterator[Terminal]:
    """The program with the terminal as its own, so that Ctrl-C reaches it; ended with the block."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *("setsid", "--ctty", *argv),
        cwd=REPOSITORY,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        terminal.close()


def kdumpctl(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "kdumpd.cli", *words)
