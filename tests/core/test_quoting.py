"""Words are split as a shell splits them, and a stray quote loses nothing."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.quoting import split


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  a\tb  ", ("a", "b")),
        ("a 'b c' d", ("a", "b c", "d")),
        ('--mount "dev mnt fs opts"', ("--mount", "dev mnt fs opts")),
        ("a'b'\"c\"d", ("abcd",)),
        ("''", ("",)),
        ('"a \\" b"', ('a " b',)),
        ('"a\\nb"', ("a\\nb",)),
        ("a\\ b", ("a b",)),
        ("it's here", ("it's", "here")),
        ('a="b c', ('a="b', "c")),
        ("a\\", ("a\\",)),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert split(text) == words


@given(st.lists(st.text()))
def test_what_is_quoted_for_a_shell_is_read_back(words: list[str]) -> None:
    assert split(shlex.join(words)) == tuple(words)


@given(st.text(alphabet="ab '\"\\"))
def test_no_letter_is_lost(text: str) -> None:
    joined = "".join(split(text))
    assert [joined.count(letter) for letter in "ab"] == [text.count(letter) for letter in "ab"]
