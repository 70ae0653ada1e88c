"""The plans of unrest are foreseeable and varied, and what the kernel's two words mean for a dump is told apart."""

from __future__ import annotations

import pytest

from tests.vm.kexec_state import KexecState
from tests.vm.ordeal import Fate, without_capture
from tests.vm.unrest import LONGEST, Room, plan

LOADED = KexecState(is_locked=False, has_image=True)
BEGINNING = KexecState(is_locked=True, has_image=True)
INSIDE = KexecState(is_locked=True, has_image=False)
NOTHING = KexecState(is_locked=False, has_image=False)


def test_a_seed_and_a_number_give_one_plan() -> None:
    assert plan(4, 7) == plan(4, 7)
    assert plan(4, 7) != plan(4, 8)
    assert plan(4, 7) != plan(5, 7)


def test_thirty_plans_have_everything_in_them() -> None:
    plans = [plan(4, number) for number in range(1, 31)]
    assert {each.room for each in plans} == set(Room)
    steps = {str(step["do"]) for each in plans for step in each.steps}
    assert steps == {"write", "append", "remove", "chmod", "start", "fill", "free"}
    assert all(0 <= each.crash_after <= LONGEST for each in plans)
    assert min(each.crash_after for each in plans) < LONGEST / 4
    assert max(each.crash_after for each in plans) > LONGEST * 3 / 4
    # Enough for the longest, even if no step took any time.
    assert all(sum(float(str(step["pause"])) for step in each.steps) > LONGEST for each in plans)


@pytest.mark.parametrize("number", range(1, 31))
def test_a_disk_that_was_filled_is_freed_again(number: int) -> None:
    steps = plan(4, number).steps
    fills = [place for place, step in enumerate(steps) if step["do"] == "fill"]
    for place in fills:
        assert "free" in [step["do"] for step in steps[place + 1 : place + 20]]


@pytest.mark.parametrize("number", range(1, 31))
def test_where_the_root_file_system_gets_full_each_valid_text_has_the_other_disk(number: int) -> None:
    each = plan(4, number)
    if each.room is Room.ROOT:
        texts = [
            str(step["text"]) for step in each.steps if str(step.get("text", "")).startswith(("ext4", "path"))
        ]
        assert texts
        assert all("ext4 LABEL=dumps" in text for text in texts)
        assert {step["way"] for step in each.steps if step["do"] == "write"} == {"renamed"}


@pytest.mark.parametrize(
    ("before", "after", "fate"),
    [
        (LOADED, INSIDE, Fate.IN_LOAD),
        (INSIDE, INSIDE, Fate.IN_LOAD),
        (BEGINNING, INSIDE, Fate.IN_LOAD),
        (BEGINNING, BEGINNING, Fate.DOUBTFUL),
        (INSIDE, LOADED, Fate.DOUBTFUL),
        (LOADED, BEGINNING, Fate.DOUBTFUL),
        (INSIDE, NOTHING, Fate.DOUBTFUL),
        (LOADED, NOTHING, Fate.UNPROTECTED),
        (NOTHING, NOTHING, Fate.UNPROTECTED),
        (LOADED, LOADED, Fate.LOST),
    ],
)
def test_only_the_kernels_own_words_excuse_a_missing_dump(
    before: KexecState, after: KexecState, fate: Fate
) -> None:
    assert without_capture(before, after) is fate
