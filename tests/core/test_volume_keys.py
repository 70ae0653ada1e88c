"""The text of crypttab with the volume keys kept: of each line no more is changed than what is meant."""

from __future__ import annotations

import pytest

from kdumpd.core.problems import Problem
from kdumpd.core.volume_keys import Volume, with_volume_keys

ONE = Volume(name="one", uuid="0d1e2f3a-4b5c-4d6e-8f70-8192a3b4c5d6")
KEEP = "link-volume-key=@u::%logon:kdump-cryptsetup:vk-0d1e2f3a-4b5c-4d6e-8f70-8192a3b4c5d6"
OTHER = "# one\nother UUID=1 none luks\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("one UUID=2 none discard\n", f"one UUID=2 none discard,{KEEP}\n"),
        ("one\t/dev/sda3   /etc/key luks\t# why\n", f"one\t/dev/sda3   /etc/key luks,{KEEP}\t# why\n"),
        ("one UUID=2 -\n", f"one UUID=2 - {KEEP}\n"),
        ("  one UUID=2  \r\n", f"  one UUID=2 none {KEEP}  \r\n"),
        ("one UUID=2", f"one UUID=2 none {KEEP}"),
        (f"one UUID=2 none {KEEP[:-36]}of-another,luks\n", f"one UUID=2 none luks,{KEEP}\n"),
        (f"one UUID=2 none luks,{KEEP}\n", f"one UUID=2 none luks,{KEEP}\n"),
    ],
)
def test_a_line_gets_the_option_and_is_otherwise_as_it_was(line: str, expected: str) -> None:
    assert with_volume_keys(OTHER + line, (ONE,)) == OTHER + expected
    assert with_volume_keys(expected, (ONE,)) == expected, "once is enough"


def test_nothing_to_keep_changes_nothing() -> None:
    assert with_volume_keys(OTHER, ()) == OTHER


@pytest.mark.parametrize("text", ["", OTHER, "# one UUID=2 none\n", "one\n"])
def test_a_device_that_crypttab_does_not_open_is_told(text: str) -> None:
    problem = with_volume_keys(text, (ONE,))
    assert isinstance(problem, Problem)
    assert problem.code == "not-in-crypttab"


def test_a_key_that_the_administrator_keeps_elsewhere_stays_there() -> None:
    problem = with_volume_keys(f"{OTHER}one UUID=2 none luks,link-volume-key=@u::%user:mine\n", (ONE,))
    assert isinstance(problem, Problem)
    assert (problem.code, problem.line) == ("kept-elsewhere", 3)
