"""Knows what the machine printed on its serial console, line by line, with the host's time of each."""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>c]|[\r\x00]")


PATIENCE = 3
"""Every bound is for a host that has nothing else to do; a busy one gets so many times as long."""


class NotSeen(AssertionError):
    """A line that was waited for did not come; the text holds the console's last lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, with `at` the host's monotonic clock in seconds when its first byte arrived."""

    number: int
    at: float
    text: str


class Console:
    """Reads in a thread of its own until the machine is gone; the log file has a host timestamp on each line."""

    def __init__(self, stream: IO[bytes], keyboard: IO[bytes], log: Path) -> None:
        self._stream = stream
        self._keyboard = keyboard
        self._log = log.open("w", encoding="utf-8")
        self._lines: list[Line] = []
        self._pending = ""
        self._pending_at = 0.0
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="console", daemon=True)
        self._thread.start()

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines so far; one that is not ended yet (a prompt) is the last."""
        with self._news:
            return self._seen()

    def here(self) -> int:
        """The number of the next whole line: give it to wait_for as `since` to ignore what was printed before."""
        with self._news:
            return len(self._lines)

    def wait_for(self, pattern: str, *, timeout: float, since: int = 0) -> Line:
        """The first line from number `since` on in which the regular expression is found; raises NotSeen."""
        sought = re.compile(pattern)
        deadline = time.monotonic() + timeout * PATIENCE
        looked_at = since
        with self._news:
            while True:
                for line in self._seen()[looked_at:]:
                    if sought.search(line.text):
                        return line
                looked_at = max(since, len(self._lines))
                remaining = deadline - time.monotonic()
                if self._ended or remaining <= 0:
                    why = "the machine ended" if self._ended else f"{timeout * PATIENCE:.0f} s passed"
                    raise NotSeen(f"{why} without {pattern!r} on the console; it said last:\n{self.tail()}")
                self._news.wait(remaining)

    def wait_for_end(self, *, timeout: float = 10) -> None:
        """Waits until everything that an ended machine printed has been read."""
        self._thread.join(timeout)

    def type(self, text: str) -> None:
        """Types on the serial console, for a shell in the capture kernel."""
        self._keyboard.write(text.encode())
        self._keyboard.flush()

    def tail(self, count: int = 30) -> str:
        with self._news:
            return "\n".join(line.text for line in self._seen()[-count:])

    def close(self) -> None:
        """Call when the machine is gone, so that the stream has ended."""
        self._thread.join(timeout=10)
        self._keyboard.close()
        self._stream.close()
        self._log.close()

    def _seen(self) -> tuple[Line, ...]:
        if not self._pending:
            return tuple(self._lines)
        return (*self._lines, Line(number=len(self._lines), at=self._pending_at, text=self._pending))

    def _read(self) -> None:
        while chunk := os.read(self._stream.fileno(), 1 << 16):
            now = time.monotonic()
            with self._news:
                self._take(_ESCAPES.sub("", chunk.decode("utf-8", "replace")), now)
                self._news.notify_all()
        with self._news:
            if self._pending:
                self._take("\n", time.monotonic())
            self._ended = True
            self._news.notify_all()

    def _take(self, text: str, now: float) -> None:
        *ended, rest = text.split("\n")
        for piece in ended:
            at = self._pending_at if self._pending else now
            line = Line(number=len(self._lines), at=at, text=self._pending + piece)
            self._lines.append(line)
            self._log.write(f"{at:12.3f}  {line.text}\n")
            self._pending = ""
        if rest:
            self._pending_at = self._pending_at if self._pending else now
            self._pending += rest
        self._log.flush()
