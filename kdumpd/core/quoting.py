"""Words of a shell line as data: split as a shell would, but a stray quote loses nothing and nothing is executed."""

from __future__ import annotations

import re

_BLANKS = " \t\n\r\v\f"
_ESCAPED_IN_DOUBLE_QUOTES = re.compile(r'\\([\\"$`])')


def split(text: str) -> tuple[str, ...]:
    """The words of `text`. A quote that is never closed, and a backslash at the end, stand for themselves."""
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(text):
        char = text[at]
        closing = _closing_quote(text, at) if char in "\"'" else -1
        if char in _BLANKS:
            if word is not None:
                words.append(word)
            word = None
        elif closing > at:
            quoted = text[at + 1 : closing]
            word = (word or "") + (_ESCAPED_IN_DOUBLE_QUOTES.sub(r"\1", quoted) if char == '"' else quoted)
            at = closing
        elif char == "\\" and at + 1 < len(text):
            at += 1
            word = (word or "") + text[at]
        else:
            word = (word or "") + char
        at += 1
    if word is not None:
        words.append(word)
    return tuple(words)


def _closing_quote(text: str, opening: int) -> int:
    """Where the quote at `opening` closes, or -1."""
    quote = text[opening]
    at = opening + 1
    while at < len(text):
        if text[at] == quote:
            return at
        at += 2 if quote == '"' and text[at] == "\\" else 1
    return -1
