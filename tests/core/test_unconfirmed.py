"""What a start takes back of the writes that an earlier one did not come to arm."""

from __future__ import annotations

import pytest

from kdumpd.core.unconfirmed import Unconfirmed, left_behind, written


def write(before: str, after: str) -> Unconfirmed:
    """Texts are their own etags here."""
    return written(
        etag=after, before=before, before_etag=before, was_absent=before == "-", uid=5, boot_id="this"
    )


@pytest.mark.parametrize(
    ("known", "present", "taken_back_to"),
    [
        ((), "a", None),
        ((write("a", "b"),), "b", "a"),
        ((write("a", "b"),), "a", None),  # never written, or put back
        ((write("a", "b"),), "c", None),  # somebody's own text wins
        ((write("a", "b"), write("b", "c")), "c", "a"),
        ((write("a", "b"), write("b", "c")), "b", "a"),  # the second never came to be written
        ((write("a", "b"), write("x", "c")), "c", "x"),
        ((write("a", "b"), write("b", "a")), "a", None),  # back to what it was: nothing is to be taken back
        ((write("-", "b"),), "b", "-"),
    ],
)
def test_what_stood_before_all_that_was_not_armed(
    known: tuple[Unconfirmed, ...], present: str, taken_back_to: str | None
) -> None:
    found = left_behind(known, present=present, boot_id="this")
    assert (found.text_before if found is not None else None) == taken_back_to
    if found is not None:
        assert (found.etag, found.uid, found.was_absent) == (present, 5, taken_back_to == "-")


def test_after_a_reboot_nothing_is_taken_back() -> None:
    """What is missing then, a network or a disk, may only not be up yet."""
    assert left_behind((write("a", "b"),), present="b", boot_id="another") is None


def test_any_bytes_come_back() -> None:
    text = "path /\udcff\udcfe\n\x00"
    record = written(etag="e", before=text, before_etag="b", was_absent=False, uid=0, boot_id="this")
    assert Unconfirmed.model_validate_json(record.model_dump_json()).text_before == text
