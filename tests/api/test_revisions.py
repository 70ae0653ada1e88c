"""Nothing that a release promised is changed or taken away, and what is new has a new ApiRevision."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from kdumpd.service.interfaces import API_REVISION
from tests.api.reading import members
from tests.api.revisions import LIST, Revision, broken, read, released, with_members, written

CHANGES = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")


def version_released() -> str:
    """Of the topmost entry, or nothing while it says that it is not yet."""
    found = re.search(r"^## (\S+)( \(not yet released\))?$", CHANGES, flags=re.MULTILINE)
    assert found
    return "" if found[2] else found[1]


def test_the_files_keep_what_was_promised() -> None:
    present = [member.prototype for member in members().values()]
    kept = read(LIST.read_text(encoding="utf-8"))
    assert list(broken(kept, present, revision=API_REVISION, version=version_released())) == []


A, B, C = "I.A method (s x) -> ()", "I.B property t read true", "I.C signal (o which)"
FIRST = released([Revision(number=1, members=(A, B))], version="0.1.0")


def faults(
    kept: Sequence[Revision], present: Sequence[str], *, revision: int, version: str = ""
) -> list[str]:
    again = read(written(kept))
    assert list(again) == list(kept)
    return list(broken(again, present, revision=revision, version=version))


def test_what_is_as_it_was_is_right() -> None:
    assert faults(FIRST, [A, B], revision=1, version="0.1.0") == []


@pytest.mark.parametrize(
    "other", [A.replace("(s x)", "(u x)"), A.replace("-> ()", "-> (b ok)"), A.replace("A", "Z")]
)
def test_a_member_of_a_release_stays_as_it_is(other: str) -> None:
    assert f"changed or removed: {A}" in faults(FIRST, [other, B], revision=1)


def test_a_new_member_wants_a_new_revision() -> None:
    assert faults(FIRST, [A, B, C], revision=1) == [f"not listed in any revision: {C}"]
    with pytest.raises(ValueError, match="a new member needs ApiRevision 2"):
        with_members(FIRST, [A, B, C], revision=1)
    second = with_members(FIRST, [A, B, C], revision=2)
    assert [each.members for each in second] == [(A, B), (C,)]
    assert faults(second, [A, B, C], revision=2) == []
    assert faults(second, [A, B, C], revision=1) == ["ApiRevision is 1, and the last one listed is 2"]


def test_the_list_of_a_release_cannot_be_written_otherwise() -> None:
    slipped_in = (Revision(number=1, members=(A, B, C), version="0.1.0", seal=FIRST[0].seal),)
    assert faults(slipped_in, [A, B, C], revision=1) == [
        "revision 1 is released, and what it brought was changed"
    ]


def test_before_its_release_a_revision_may_change() -> None:
    second = with_members(FIRST, [A, B, C], revision=2)
    again = with_members(second, [A, B, C.replace("which", "it")], revision=2)
    assert faults(again, [A, B, C.replace("which", "it")], revision=2) == []


def test_a_release_seals_what_it_brings() -> None:
    second = with_members(FIRST, [A, B, C], revision=2)
    assert faults(second, [A, B, C], revision=2, version="0.2.0") == [
        "0.2.0 is released, and revision 2 is not sealed: --release 0.2.0"
    ]
    assert faults(released(second, version="0.2.0"), [A, B, C], revision=2, version="0.2.0") == []
