"""What two texts of kdump.conf say differently, whatever words they say it with."""

from __future__ import annotations

import pytest

from kdumpd.core.comparing import changes
from kdumpd.core.document import parse


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            "default poweroff",
            "failure_action poweroff",
            [
                ("default", ("poweroff",), ()),
                ("final_action", ("poweroff",), ("reboot",)),
            ],
        ),
        (
            "default poweroff",
            "failure_action poweroff\nfinal_action poweroff",
            [("default", ("poweroff",), ())],
        ),
        ("", "default shell", [("default", (), ("shell",)), ("failure_action", ("reboot",), ("shell",))]),
        (
            "default halt\nfinal_action poweroff",
            "default halt",
            [("final_action", ("poweroff",), ("halt",))],
        ),
        ("default nonsense", "default nonsense\npath /a", [("path", ("/var/crash",), ("/a",))]),
    ],
)
def test_what_default_says_is_compared_in_the_words_of_today(
    before: str, after: str, expected: list[tuple[str, tuple[str, ...], tuple[str, ...]]]
) -> None:
    found = changes(parse(before), parse(after))
    assert [(each.name, each.before, each.after) for each in found] == expected
