"""What a person or a program may change, and what is refused before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from kdumpd.core.document import parse
from kdumpd.core.edits import edited

FILE = "/etc/kdump.conf"


def after(text: str, changes: Mapping[str, Sequence[str]]) -> str:
    edit = edited(parse(text), changes, file=FILE)
    assert edit.document is not None, edit.problems
    return edit.document.render()


def refused(text: str, changes: Mapping[str, Sequence[str]]) -> list[str]:
    edit = edited(parse(text), changes, file=FILE)
    assert edit.document is None
    return [problem.code for problem in edit.problems]


@pytest.mark.parametrize(
    ("text", "changes", "result"),
    [
        ("path /a # why\n", {"path": ["/b"]}, "path /b # why\n"),
        ("path /a\n", {"path": []}, ""),
        ("path /a\n", {"path": ["/b"], "link_delay": ["3"]}, "path /b\nlink_delay 3\n"),
        ("path /a\n", {"extra_bins": ["/bin/a", "/bin/b"]}, "path /a\nextra_bins /bin/a /bin/b\n"),
        ("", {"options": ["a x=1", "b y"]}, "options a x=1\noptions b y\n"),
        ("path /a\npath /b\n", {"path": ["/b"]}, "path /b\n"),
        ("unknown x\n", {"unknown": []}, ""),
        ("unknown x\n", {"path": ["/a"]}, "unknown x\npath /a\n"),
        ("default halt\n", {"default": [], "failure_action": ["halt"]}, "failure_action halt\n"),
    ],
)
def test_changes(text: str, changes: Mapping[str, Sequence[str]], result: str) -> None:
    assert after(text, changes) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("path /a\next4  /dev/sda # why\nlink_delay 1\n", "path /a\nssh  u@h # why\nlink_delay 1\n"),
        ("path /a\n#ssh x@y\n", "path /a\n#ssh x@y\nssh u@h\n"),
        ("ext4 /dev/sda\nssh v@h\n", "ssh u@h\n"),
        ("ext4 /dev/sda\nnfs h:/e\n", "ssh u@h\n"),
        ("net v@h\n", "ssh u@h\n"),
    ],
)
def test_a_target_takes_the_place_of_the_one_that_was_there(text: str, result: str) -> None:
    assert after(text, {"ssh": ["u@h"]}) == result


@pytest.mark.parametrize(
    ("text", "changes", "codes"),
    [
        ("", {"pth": ["/a"]}, ["unknown-directive"]),
        ("", {"path": ["/a#b"]}, ["value-cannot-be-written"]),
        ("", {"path": [""]}, ["value-cannot-be-written"]),
        ("", {"disk_timeout": ["soon"]}, ["bad-number"]),
        ("", {"disk_timeout": ["1", "2"]}, ["bad-number"]),
        ("force_rebuild 1\n", {"force_no_rebuild": ["1"]}, ["contradictory-rebuilds"]),
        ("default halt\n", {"failure_action": ["halt"]}, ["contradictory-failure-actions"]),
        ("core_collector cp\n", {"ssh": ["u@h"]}, ["unfit-collector"]),
        ("", {"pth": ["/a"], "path": ["/a\n"]}, ["unknown-directive", "value-cannot-be-written"]),
    ],
)
def test_refusals(text: str, changes: Mapping[str, Sequence[str]], codes: list[str]) -> None:
    assert refused(text, changes) == codes


def test_an_error_that_was_there_already_is_no_reason_to_refuse() -> None:
    assert after("disk_timeout soon\npath /a\n", {"path": ["/b"]}) == "disk_timeout soon\npath /b\n"


def test_a_warning_about_the_new_value_is_told() -> None:
    edit = edited(parse(""), {"net": ["u@h"]}, file=FILE)
    assert edit.document is not None
    assert [(problem.code, problem.file) for problem in edit.problems] == [("deprecated-net", FILE)]
