"""What kdumpctl writes on: whether it is a terminal, how wide, whether it has colours; and text made harmless for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO
from unicodedata import combining, east_asian_width

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
LEAST_COLUMNS = 20
"""A value gets at least so many, however narrow the terminal is."""


class Tone(StrEnum):
    """What a word means, as the digits of the escape sequence (ECMA-48, SGR) that shows it."""

    PLAIN = ""
    GOOD = "32"
    DOUBT = "33"
    BAD = "31"
    FAINT = "2"
    STRONG = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where output goes. Nothing is wrapped, cut or coloured where it is no terminal."""

    is_terminal: bool = False
    has_colours: bool = False
    columns: int = 80
    lines: int = 24

    @property
    def can_move(self) -> bool:
        """Whether the cursor can be sent back to write over what stands there."""
        return self.is_terminal and os.environ.get("TERM", "dumb") != "dumb"

    def painted(self, text: str, tone: Tone) -> str:
        """Legible, and in that tone where there are colours."""
        shown = legible(text)
        return f"\x1b[{tone}m{shown}\x1b[0m" if self.has_colours and tone and shown else shown

    def paragraph(self, text: str, tone: Tone) -> list[str]:
        """On a terminal broken at its width."""
        return [self.painted(line, tone) for line in wrapped(text, self.columns if self.is_terminal else 0)]

    def rows(self, pairs: Iterable[tuple[str, str, Tone]], *, indent: str = "") -> list[str]:
        """Label, value and its tone: the values below each other; on a terminal a long one goes on below itself."""
        told = list(pairs)
        width = max((columns(label) for label, _, _ in told), default=0)
        room = self.columns - len(indent) - width - 2 if self.is_terminal else 0
        lines: list[str] = []
        for label, value, tone in told:
            head = self.painted(_padded(label, width), Tone.FAINT)
            for line in wrapped(value, room):
                lines.append(f"{indent}{head}  {self.painted(line, tone)}".rstrip())
                head = " " * width
        return lines

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[tuple[str, Tone]]]) -> list[str]:
        """Columns below their headings; the last one takes what room is left, and goes on below itself.

        Where a terminal is too narrow for that, each row is one of `rows`, with the headings as labels.
        """
        if not rows:
            return []
        *widths, _ = (
            max(columns(text) for text in (heading, *(row[at][0] for row in rows)))
            for at, heading in enumerate(headings)
        )
        start = sum(widths) + 2 * len(widths)
        if self.is_terminal and self.columns - start < LEAST_COLUMNS:
            labelled = (
                self.rows((heading, *cell) for heading, cell in zip(headings, row, strict=True) if cell[0])
                for row in rows
            )
            return [line for each in labelled for line in (*each, "")][:-1]
        lines = ["  ".join(_padded(text, width) for text, width in zip(headings, (*widths, 0), strict=True))]
        lines = [self.painted(lines[0], Tone.FAINT)]
        for row in rows:
            cells = [
                self.painted(_padded(text, width), tone)
                for (text, tone), width in zip(row[:-1], widths, strict=True)
            ]
            last, tone = row[-1]
            head = "  ".join(cells)
            for line in wrapped(last, self.columns - start if self.is_terminal else 0):
                lines.append(f"{head}  {self.painted(line, tone)}".rstrip())
                head = " " * (start - 2)
        return lines


def screen(stream: TextIO | None = None) -> Screen:
    """Of standard output, or of that stream. NO_COLOR and TERM are as https://no-color.org and terminfo(5) have them."""
    where = stream if stream is not None else sys.stdout
    if not where.isatty():
        return Screen()
    try:
        size = os.get_terminal_size(where.fileno())
    except OSError:
        size = os.terminal_size((0, 0))
    is_dumb = os.environ.get("TERM", "dumb") == "dumb"
    return Screen(
        is_terminal=True,
        has_colours=not is_dumb and not os.environ.get("NO_COLOR"),
        columns=size.columns or 80,
        lines=size.lines or 24,
    )


def say(text: str) -> None:
    """To people: what a terminal would obey, of a directory's name or a crashed kernel's words, is not passed on."""
    print(legible(text))


def complain(text: str) -> None:
    print(f"kdump: {legible(text)}", file=sys.stderr)


def complain_of(fault: OSError) -> None:
    """In the words of the system, with the file that it names."""
    complain(f"{fault.filename}: {fault.strerror}" if fault.filename else fault.strerror or str(fault))


def legible(text: str) -> str:
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)


def columns(text: str) -> int:
    """How many a terminal needs for one line of text."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(each) else 2 if east_asian_width(each) in {"W", "F"} else 1 for each in text)


def cut(text: str, most: int) -> str:
    """The beginning of a line that fits into so many columns, with a mark where something is missing."""
    if columns(text) <= most:
        return text
    while text and columns(text) > most - 1:
        text = text[:-1]
    return f"{text}\N{HORIZONTAL ELLIPSIS}"


def wrapped(text: str, room: int) -> list[str]:
    """Lines of at most `room` columns, broken at blanks or else within a word; 0 breaks nothing. Never empty."""
    if room <= 0:
        return text.split("\n")
    room = max(room, LEAST_COLUMNS)
    return [line for each in text.split("\n") for line in _wrapped(each, room)]


def _wrapped(text: str, room: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        rest = word
        if lines[-1] and columns(lines[-1]) + 1 + columns(rest) <= room:
            lines[-1] += f" {rest}"
            continue
        if lines[-1]:
            lines.append("")
        while columns(rest) > room:
            head = rest
            while columns(head) > room:
                head = head[:-1]
            lines[-1], rest = head, rest[len(head) :]
            lines.append("")
        lines[-1] = rest
    return lines


def moment(time_us: int) -> str:
    """A time in microseconds since the epoch, here and now on this machine's clock; "never" for 0."""
    if not time_us:
        return "never"
    try:
        return f"{datetime.fromtimestamp(time_us / 1e6, tz=UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return "at no time that a clock can show"


def size(of_bytes: int) -> str:
    """`3.1 MiB`, `256 MiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if of_bytes >= unit:
            share = of_bytes / unit
            return f"{share:.0f} {name}" if share >= 100 or of_bytes % unit == 0 else f"{share:.1f} {name}"
    return f"{of_bytes} bytes"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))
