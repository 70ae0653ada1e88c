"""The history as text: what is read back, what is left out, and when the file is written anew."""

from __future__ import annotations

from kdumpd.core.history import (
    KEPT,
    LINES_AT_MOST,
    Entry,
    is_another_state,
    is_to_be_written_anew,
    lines,
    read,
)


def entry(number: int, *, kind: str = "rebuild", result: str = "done", why: str = "") -> Entry:
    return Entry(time_us=number, kind=kind, result=result, why=why)


def test_what_was_written_is_read_back_the_oldest_first() -> None:
    entries = tuple(entry(number, why="a \n line, \udcff") for number in range(3))
    text = lines(entries)
    assert text.count(b"\n") == 3
    assert [(each.time_us, each.why) for each in read(text)] == [(n, "a \n line, ?") for n in range(3)]


def test_half_a_line_costs_that_entry_alone() -> None:
    text = lines(entry(number) for number in range(5))
    for end in range(len(text)):
        whole = text[:end].count(b"\n")
        cut = read(text[:end])
        assert [each.time_us for each in cut][:whole] == list(range(whole))
        assert is_to_be_written_anew(text[:end]) is (end > 0 and text[end - 1] != ord("\n"))


def test_no_more_than_the_last_are_kept() -> None:
    text = lines(entry(number) for number in range(LINES_AT_MOST + 1))
    assert [each.time_us for each in read(text)] == list(range(LINES_AT_MOST + 1 - KEPT, LINES_AT_MOST + 1))
    assert is_to_be_written_anew(text)
    assert not is_to_be_written_anew(lines(entry(number) for number in range(LINES_AT_MOST)))


def test_what_an_older_or_newer_kdumpd_wrote_is_read_as_far_as_it_goes() -> None:
    text = b'{"time_us": 7, "kind": "state", "result": "armed", "mood": "good"}\n[]\n{"kind": "state"}\n'
    assert read(text) == (entry(7, kind="state", result="armed"),)


def test_the_same_state_again_is_no_news() -> None:
    now = entry(2, kind="state", result="stale", why="no-space")
    assert not is_another_state(now, entry(1, kind="state", result="stale", why="no-space"))
    assert is_another_state(now, entry(1, kind="state", result="stale", why="config-changed"))
    assert is_another_state(now, None)
