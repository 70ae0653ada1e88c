"""/etc/kdumpd.toml: defaults, limits, and problems that name their line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kdumpd.core.tuning import EngineChoice, Tuning, read

FILE = "/etc/kdumpd.toml"


def codes(text: str) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.code, problem.key) for problem in read(text, file=FILE).problems]


def test_an_empty_file_is_all_defaults() -> None:
    reading = read("", file=FILE)
    assert reading.tuning == Tuning()
    assert reading.problems == ()
    assert Tuning().store == "/var/lib/kdumpd"
    assert Tuning().settle_seconds == 0.3
    assert Tuning().slow_poll_seconds == 3600
    assert Tuning().build_timeout_seconds == 600


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ('engine = "dracut"', "engine", EngineChoice.DRACUT),
        ('store = "/srv/kdumpd"', "store", "/srv/kdumpd"),
        ('sysconfig_file = "/etc/default/kdump"', "sysconfig_file", "/etc/default/kdump"),
        ("compression_level = 1", "compression_level", 1),
        ("settle_seconds = 0", "settle_seconds", 0.0),
        ("settle_seconds = 1.5", "settle_seconds", 1.5),
        ("keep_count = 3", "keep_count", 3),
        ("keep_free_bytes = 21474836480", "keep_free_bytes", 20 * 2**30),
        ("stall_seconds = 30", "stall_seconds", 30.0),
    ],
)
def test_values(text: str, field: str, value: object) -> None:
    tuning = read(text, file=FILE).tuning
    assert tuning is not None
    assert getattr(tuning, field) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("engine = 'rust'", [(1, "bad-value", "engine")]),
        ("\n\ncompression_level = 20", [(3, "bad-value", "compression_level")]),
        ("compression_level = '3'", [(1, "bad-value", "compression_level")]),
        ("compression_level = true", [(1, "bad-value", "compression_level")]),
        ("settle_seconds = nan", [(1, "bad-value", "settle_seconds")]),
        ("settle_seconds = -1", [(1, "bad-value", "settle_seconds")]),
        ("slow_poll_seconds = inf", [(1, "bad-value", "slow_poll_seconds")]),
        ("store = 'var'", [(1, "bad-value", "store")]),
        ("store = '/var/../etc'", [(1, "bad-value", "store")]),
        ("sysconfig_file = 'x'", [(1, "bad-value", "sysconfig_file")]),
        ("keep_count = -1", [(1, "bad-value", "keep_count")]),
        ("x = 1\nkeep_cout = 2\nengine = 1", [(1, "unknown-key", "x"), (2, "unknown-key", "keep_cout"), (3, "bad-value", "engine")]),
        ("# a\n[engine]\nx = 1", [(2, "bad-value", "engine")]),
        ("engine = ", [(1, "bad-toml", "")]),
        ("x = 1\ny = = 2", [(2, "bad-toml", "")]),
        ("x = 1\nx = 2", [(2, "bad-toml", "")]),
        ("x = '''\nabc\n", [(2, "bad-toml", "")]),
        ("x = " + "9" * 5000, [(1, "bad-toml", "")]),
        ("x = " + "[" * 5000, [(1, "bad-toml", "")]),
    ],
)  # fmt: skip
def test_problems(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert codes(text) == expected
    assert read(text, file=FILE).tuning is None


def test_a_misspelt_key_is_recognised() -> None:
    (problem,) = read("keep_cout = 2", file=FILE).problems
    assert problem.hint == "did you mean keep_count?"
    assert str(problem).startswith("/etc/kdumpd.toml:1: `keep_cout` is not a setting of kdumpd")


def test_tuning_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Tuning().keep_count = 3  # type: ignore[misc]


@given(st.text(alphabet=st.sampled_from("abkeep_count=\"'[]{}.,#\n\r 0123456789\x00\udcff")))
def test_no_text_is_too_odd(text: str) -> None:
    assert all(problem.line >= 1 and problem.file == FILE for problem in read(text, file=FILE).problems)
