"""Every state has a next step that fits it, and what is most in the way comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core.next_step import CHECK, NOTHING, Situation, next_step
from kdumpd.core.status import Activity, State

WELL = Situation(state="armed", target_test="passed")


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("activity", Activity)
def test_whatever_the_state_there_is_a_step(state: State, activity: Activity) -> None:
    step = next_step(Situation(state=state, activity=activity))
    assert step
    assert step != NOTHING, "a target that was never tested is a thing to do"


@pytest.mark.parametrize("activity", sorted(set(Activity) - {Activity.IDLE, Activity.WAITING}))
def test_while_kdumpd_works_one_waits(activity: Activity) -> None:
    for state in State:
        assert next_step(Situation(state=state, activity=activity)).startswith("wait: ")


def test_where_all_is_well_there_is_nothing_to_do() -> None:
    assert next_step(WELL) == NOTHING


def test_a_word_that_nobody_knows_leads_to_no_advice() -> None:
    assert next_step(replace(WELL, state="of a later kdumpd")) == ""


@pytest.mark.parametrize("state", [State.ARMED, State.STALE, State.FOREIGN, State.FAILED, State.UNARMED])
def test_a_configuration_with_errors_comes_first(state: State) -> None:
    assert next_step(replace(WELL, state=state, is_config_valid=False, target_test="failed")) == CHECK


@pytest.mark.parametrize(
    ("situation", "word"),
    [
        (replace(WELL, target_test="failed"), "fix the target"),
        (replace(WELL, target_test="failed", is_reboot_required=True), "fix the target"),
        (replace(WELL, target_test="warned"), "make room"),
        (replace(WELL, target_test=""), "kdumpctl test-target"),
        (replace(WELL, is_last_dump_whole=False), "kdumpctl dumps show"),
        (replace(WELL, is_reboot_required=True), "reboot when convenient"),
        (Situation(state="no-memory"), "kdumpctl reserve set"),
        (Situation(state="no-memory", is_reboot_required=True), "reboot"),
        (
            Situation(state="failed", activity="waiting", next_retry="10:00:01"),
            "tries again by itself at 10:00:01",
        ),
        (Situation(state="failed", is_reboot_required=True), "reboot"),
        (
            Situation(state="stale", activity="waiting", inhibitors=("dpkg: packages",)),
            "wait until dpkg: packages",
        ),
        (Situation(state="stale"), "kdumpctl why"),
        (Situation(state="stale", is_hindered=True), "fix the problem above"),
        (Situation(state="foreign"), "kdumpctl restart"),
        (Situation(state="foreign", is_hindered=True), "fix the problem above"),
        (Situation(state="disabled", is_enabled=True), "kdumpctl start"),
        (Situation(state="disabled"), "systemctl enable --now kdump"),
    ],
)
def test_the_step_that_fits(situation: Situation, word: str) -> None:
    assert word in next_step(situation)
