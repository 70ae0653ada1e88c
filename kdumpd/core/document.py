"""kdump.conf as lines, byte for byte: what each line sets, and how one value changes while all else stays.

The grammar is that of kdump-utils: an option, blanks, a value; `#` anywhere begins a comment, also inside quotes;
one pair of double quotes around the value is removed; only a line feed ends a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import NamedTuple

from kdumpd.core.problems import Problem, Trouble


class Span(NamedTuple):
    """From `start` up to, not including, `end`, in characters of the line."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line with its exact text, line end included. The spans lie in order and touch: key, separator, value."""

    number: int
    text: str
    key_span: Span
    separator_span: Span
    value_span: Span
    content_end: int
    """Where a comment or the trailing blanks begin."""

    @property
    def is_setting(self) -> bool:
        return self.key_span.end > self.key_span.start

    @property
    def key(self) -> str:
        return self.text[self.key_span.start : self.key_span.end]

    @property
    def written_value(self) -> str:
        """The value as it stands there, quotes included."""
        return self.text[self.value_span.start : self.value_span.end]

    @property
    def is_quoted(self) -> bool:
        return _is_quoted(self.written_value)

    @property
    def value(self) -> str:
        return self.written_value[1:-1] if self.is_quoted else self.written_value

    @property
    def ending(self) -> str:
        """LF, CRLF, or nothing where the last line lacks it."""
        return next((ending for ending in ("\r\n", "\n") if self.text.endswith(ending)), "")

    @property
    def is_cut_by_comment(self) -> bool:
        """A `#` that touches the value, or stands inside its open quotes, was perhaps meant to be part of it."""
        written = self.written_value
        if not written or self.text[self.content_end : self.content_end + 1] != "#":
            return False
        touches = self.value_span.end == self.content_end
        return touches or written.count('"') % 2 == 1 or written.count("'") % 2 == 1

    def with_value(self, value: str) -> Line:
        """The same line with only the bytes of its value changed; quotes around it stay."""
        if self.value == value and self.written_value:
            return self
        written = f'"{value}"' if self.is_quoted or _is_quoted(value) else value
        separator = "" if self.separator_span.end > self.separator_span.start else " "
        before, after = self.text[: self.value_span.start], self.text[self.value_span.end :]
        return _line(f"{before}{separator}{written}{after}", number=self.number)

    def with_key(self, key: str) -> Line:
        before, after = self.text[: self.key_span.start], self.text[self.key_span.end :]
        return _line(f"{before}{key}{after}", number=self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The lines of one text. Every change is a new Document."""

    lines: tuple[Line, ...]

    def render(self) -> str:
        return "".join(line.text for line in self.lines)

    @property
    def settings(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.is_setting)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is set, once, in order of first appearance."""
        return tuple(dict.fromkeys(line.key for line in self.settings))

    def values(self, key: str) -> tuple[str, ...]:
        return tuple(line.value for line in self.settings if line.key == key)

    def get(self, key: str) -> str | None:
        """The first value of `key`, or None where it is not set."""
        return next(iter(self.values(key)), None)

    def set(self, key: str, *values: str) -> Document:
        """Let `key` stand with exactly these values, one line each; lines that say so already are not touched.

        Raises Trouble where the key or a value cannot be written in this grammar.
        """
        refused = tuple(
            replace(problem, key=key)
            for problem in (key_problem(key), *(value_problem(value) for value in values))
            if problem is not None
        )
        if refused:
            raise Trouble(*refused)
        if not values:
            return self.unset(key)
        places = [place for place, line in enumerate(self.lines) if line.key == key]
        if not places:
            return self._with_new(key, values)
        return self._with_changed(key, values, places)

    def unset(self, key: str) -> Document:
        """Without the lines that set `key`; comments stay."""
        return self._assembled([line.text for line in self.lines if not line.is_setting or line.key != key])

    def rename(self, old: str, new: str, value: str) -> Document:
        """The first line of `old` says `new` and `value` instead, in its place.

        Raises Trouble where either cannot be written, and KeyError where `old` is not set.
        """
        refused = tuple(
            problem for problem in (key_problem(new), value_problem(value)) if problem is not None
        )
        if refused:
            raise Trouble(*(replace(problem, key=new) for problem in refused))
        for place, line in enumerate(self.lines):
            if line.is_setting and line.key == old:
                changed = line.with_key(new).with_value(value)
                return Document(lines=(*self.lines[:place], changed, *self.lines[place + 1 :]))
        raise KeyError(old)

    def _with_changed(self, key: str, values: Sequence[str], places: Sequence[int]) -> Document:
        pieces = [[line.text] for line in self.lines]
        present = [self.lines[place].value if self.lines[place].written_value else None for place in places]
        for tag, old, old_end, new, new_end in SequenceMatcher(
            None, present, values, autojunk=False
        ).get_opcodes():
            if tag == "equal":
                continue
            paired = min(old_end - old, new_end - new)
            for step in range(paired):
                pieces[places[old + step]] = [
                    self.lines[places[old + step]].with_value(values[new + step]).text
                ]
            for place in places[old + paired : old_end]:
                pieces[place] = []
            added = [f"{key} {_written(value)}" for value in values[new + paired : new_end]]
            if old + paired:
                pieces[places[old + paired - 1]] += added
            else:
                pieces[places[0]] = [*added, *pieces[places[0]]]
        return self._assembled([text for piece in pieces for text in piece])

    def _with_new(self, key: str, values: Sequence[str]) -> Document:
        examples = [place for place, line in enumerate(self.lines) if _is_example(line, key, spaced=False)]
        examples = examples or [
            place for place, line in enumerate(self.lines) if _is_example(line, key, spaced=True)
        ]
        place = examples[-1] + 1 if examples else len(self.lines)
        texts = [line.text for line in self.lines]
        added = [f"{key} {_written(value)}{self._ending_near(place)}" for value in values]
        return self._assembled([*texts[:place], *added, *texts[place:]])

    def _assembled(self, texts: Sequence[str]) -> Document:
        """Lines with every ending in its place: none is missing but the last one's, if that was missing before."""
        lacks_last = bool(self.lines) and not self.lines[-1].ending
        lines = [_line(text, number=number) for number, text in enumerate(texts, start=1)]
        for place, line in enumerate(lines):
            is_last = place == len(lines) - 1
            if is_last and lacks_last and line.text != line.ending:  # an empty line is nothing but its ending
                lines[place] = _line(line.text.removesuffix(line.ending), number=line.number)
            elif not line.ending:
                lines[place] = _line(line.text + self._ending_near(place), number=line.number)
        return Document(lines=tuple(lines))

    def _ending_near(self, place: int) -> str:
        """The line end in use before `place`, else after it, else LF."""
        near = reversed(self.lines[:place])
        return next((line.ending for line in (*near, *self.lines[place:]) if line.ending), "\n")


def parse(text: str) -> Document:
    """Never refuses: whatever is no setting is a line all the same. `parse(text).render() == text`."""
    lines = enumerate(_LINES.findall(text), start=1)
    return Document(lines=tuple(_line(line, number=number) for number, line in lines))


def key_problem(key: str) -> Problem | None:
    """Why `key` cannot be written, or None."""
    if key and not _UNWRITABLE_IN_KEY.search(key):
        return None
    return Problem(code="bad-key", message=f"`{key}` cannot be the name of a directive", key=key)


def value_problem(value: str) -> Problem | None:
    """Why `value` cannot be written so that it is read back, or None. There is no escape in this grammar."""
    why = ""
    if not value:
        why = "an empty value cannot be written; unset the directive instead"
    elif "#" in value:
        why = "a `#` would begin a comment there, also inside quotes"
    elif value != value.strip(_BLANKS):
        why = "blanks at its beginning or end would be lost"
    elif _STRAY_BYTES.search(value):
        why = "it is not valid UTF-8"
    elif not_printable := _UNPRINTABLE.search(value):
        why = f"it holds the character U+{ord(not_printable[0]):04X}"
    return (
        Problem(code="value-cannot-be-written", message=f"the value cannot be written: {why}")
        if why
        else None
    )


_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_BLANKS = " \t\r\n\v\f\ufeff"
_SETTING = re.compile(r"([^ \t]+)([ \t]*)(.*)", re.DOTALL)
_UNWRITABLE_IN_KEY = re.compile(r"[\s#\x00-\x1f\x7f\ud800-\udfff\ufeff]")
_STRAY_BYTES = re.compile("[\ud800-\udfff]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _line(text: str, *, number: int) -> Line:
    start = len(text) - len(text.lstrip(" \t\ufeff"))
    comment = text.find("#")
    content = text[: comment if comment >= 0 else len(text)]
    value_end = max(len(content.rstrip(" \t\r\n")), start)
    found = _SETTING.match(text[start:value_end])
    key_end = start + (found.end(1) if found else 0)
    value_start = start + (found.end(2) if found else 0)
    return Line(
        number=number,
        text=text,
        key_span=Span(start, key_end),
        separator_span=Span(key_end, value_start),
        value_span=Span(value_start, value_end),
        content_end=comment if comment >= 0 else value_end,
    )


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] == '"'


def _written(value: str) -> str:
    return f'"{value}"' if _is_quoted(value) else value


def _is_example(line: Line, key: str, *, spaced: bool) -> bool:
    """Whether this is `#key value`; with `spaced`, `# key value` that is not the beginning of an explanation."""
    blanks = "[ \\t]+" if spaced else ""
    found = re.match(rf"[ \t]*#{blanks}{re.escape(key)}(?:[ \t]+(?P<value>.*))?$", line.text.rstrip())
    if found is None:
        return False
    value = found["value"] or ""
    prose = value[:1] in "<[-" or (" " in value and " -" not in value and "=" not in value)
    return not spaced or not prose
