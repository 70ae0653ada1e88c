"""decide comes to rest from every state, never disarms by its own hand, and says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from kdumpd.core import explain
from kdumpd.core.armed import Armed
from kdumpd.core.decide import (
    Action,
    Anew,
    Blocked,
    BuildBase,
    BuildImage,
    Load,
    Nothing,
    Observed,
    Restore,
    Step,
    Unload,
    Wait,
    after,
    decide,
    fault_key,
)
from kdumpd.core.faults import NO_FAULTS
from kdumpd.core.machine import CrashKernel, Lockdown
from kdumpd.core.plan import BasePlan, Engine, LoadPlan, OverlayPlan, Plan, Resolution, describe
from kdumpd.core.problems import Problem

NOW = 1_000_000_000
MiB = 1024 * 1024
READY = CrashKernel(layout="old", reserved_bytes=256 * MiB)
BROKEN = Problem(code="unknown-directive", message="unknown directive 'foo'", file="/etc/kdump.conf", line=7)


def a_plan(*, overlay: int = 1, flags: tuple[str, ...] = ("-a",)) -> Plan:
    return Plan(
        base=BasePlan(engine=Engine.DIRECT, recipe=1, kernel_release="6.12.0", compression_level=3),
        overlay=OverlayPlan(recipe=overlay),
        load=LoadPlan(
            kernel_image="/boot/vmlinuz-6.12.0",
            kernel_digest="k",
            command_line="irqpoll",
            kexec_flags=flags,
            layout="",
        ),
        engine_reason="a plain disk",
        target={"type": "ext4", "device": "/dev/vda1", "directory": "/var/crash"},
        working_set_bytes=0,
        capture_id="c",
    )


def record(plan: Plan) -> Armed:
    return Armed(
        boot_id="b",
        loaded_us=NOW,
        kernel_release=plan.base.kernel_release,
        kernel_image=plan.load.kernel_image,
        initramfs=f"/var/lib/kdumpd/images/{plan.image_fingerprint}/initramfs",
        command_line=plan.load.command_line,
        kexec_flags=plan.load.kexec_flags,
        base=plan.base_fingerprint,
        overlay=plan.overlay_fingerprint,
        image=plan.image_fingerprint,
        load=plan.load_fingerprint,
        load_but_layout=plan.load_fingerprint_but_layout,
        layout=plan.load.layout,
        description=cast("JsonValue", describe(plan)),
    )


TODAY = a_plan(overlay=2)
BEFORE = a_plan(overlay=1)
GOOD = Resolution(plan=TODAY)
BAD = Resolution(plan=None, problems=(BROKEN,))


TOO_BIG = Problem(code="image-too-big", message="the capture needs 300 MiB, and 256 MiB are reserved")


def ideal(step: Step, seen: Observed) -> Observed:
    """The machine after `step` went well."""
    seen = replace(seen, anew=after(seen.anew, step))
    spent = seen.crash.loads_left if seen.crash.loads_left < 0 else seen.crash.loads_left - 1
    loaded = replace(seen.crash, loaded=True, loads_left=spent)
    match step:
        case BuildBase(plan=plan):
            return replace(seen, bases=seen.bases | {plan.base_fingerprint})
        case BuildImage(plan=plan):
            return replace(seen, images=seen.images | {plan.image_fingerprint})
        case Load(plan=plan):
            return replace(seen, crash=loaded, armed=record(plan), last_good=record(plan), intent_left=False)
        case Restore(last_good=last_good):
            return replace(seen, crash=loaded, armed=last_good, intent_left=False)
        case Unload():
            return replace(seen, crash=replace(loaded, loaded=False), armed=None, intent_left=False)


def failed(step: Step, seen: Observed) -> Observed:
    """The machine after `step` failed as badly as it can: a failed load leaves nothing loaded."""
    faults = seen.faults.failed(fault_key(step), (BROKEN,), now_us=NOW)
    if isinstance(step, Load | Restore):
        crash = replace(seen.crash, loaded=False)
        return replace(seen, faults=faults, crash=crash, armed=None, intent_left=False)
    return replace(seen, faults=faults)


def run(
    resolution: Resolution, seen: Observed, *, goes_well: Callable[[Step], bool] = lambda _step: True
) -> tuple[list[Action], Observed]:
    actions: list[Action] = []
    for _ in range(12):
        action = decide(resolution, seen)
        actions.append(action)
        if isinstance(action, Nothing | Wait | Blocked):
            return actions, seen
        seen = ideal(action, seen) if goes_well(action) else failed(action, seen)
    raise AssertionError(f"no rest: {actions}")


def every_state() -> Iterator[tuple[Resolution, Observed]]:
    crashes = [
        CrashKernel(
            layout=layout, loaded=loaded, reserved_bytes=reserved, load_disabled=disabled, loads_left=left
        )
        for layout, loaded, reserved, disabled, left in product(
            ("", "new"), (False, True), (0, 256 * MiB), (False, True), (-1, 0, 5)
        )
    ]
    records = (None, record(BEFORE), record(TODAY))
    stores: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
        (frozenset(), frozenset()),
        (frozenset({TODAY.base_fingerprint}), frozenset()),
        (frozenset({TODAY.base_fingerprint}), frozenset({TODAY.image_fingerprint})),
        (frozenset(), frozenset({TODAY.image_fingerprint})),
    )
    for resolution, crash, enabled, armed, intent, last_good, store, anew, keeps in product(
        (GOOD, BAD),
        crashes,
        (True, False),
        records,
        (True, False),
        records,
        stores,
        (None, *Anew),
        (False, True),
    ):
        yield (
            resolution,
            Observed(
                crash=crash,
                now_us=NOW,
                enabled=enabled,
                armed=armed if crash.loaded else None,
                intent_left=intent,
                last_good=last_good,
                bases=store[0],
                images=store[1],
                anew=anew,
                keeps_image=keeps,
            ),
        )


def test_comes_to_rest_from_every_state_and_never_unloads_while_enabled() -> None:
    for resolution, seen in every_state():
        actions, end = run(resolution, seen)
        assert len(actions) <= 6, (seen, actions)
        assert actions[-1].why
        if end.enabled and resolution.plan is not None and isinstance(actions[-1], Nothing):
            assert end.matches(TODAY) or (end.keeps_image and end.armed == record(BEFORE))
        if seen.enabled and seen.crash.loaded:
            assert end.crash.loaded, "a machine that was protected still is"
        assert not (seen.enabled and any(isinstance(action, Unload) for action in actions)), seen


@given(
    state=st.sampled_from(list(every_state())[::97]),
    luck=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_comes_to_rest_whatever_fails(state: tuple[Resolution, Observed], luck: list[bool]) -> None:
    outcomes = iter(luck)
    resolution, seen = state
    actions, _end = run(resolution, seen, goes_well=lambda _step: next(outcomes))
    assert len(actions) <= 9


def test_from_nothing_builds_both_parts_then_loads() -> None:
    actions, _ = run(GOOD, Observed(crash=READY, now_us=NOW))
    assert [type(action) for action in actions] == [BuildBase, BuildImage, Load, Nothing]


def test_restores_last_good_before_a_long_build() -> None:
    actions, end = run(GOOD, Observed(crash=READY, now_us=NOW, last_good=record(BEFORE)))
    assert [type(action) for action in actions] == [Restore, BuildBase, BuildImage, Load, Nothing]
    assert end.matches(TODAY)


def test_restores_last_good_under_a_broken_configuration_and_rests_blocked() -> None:
    actions, end = run(BAD, Observed(crash=READY, now_us=NOW, last_good=record(BEFORE)))
    assert [type(action) for action in actions] == [Restore, Blocked]
    assert end.crash.loaded
    assert actions[-1].why == "/etc/kdump.conf:7: unknown directive 'foo'"


def test_broken_configuration_keeps_what_is_armed() -> None:
    seen = Observed(crash=replace(READY, loaded=True), now_us=NOW, armed=record(BEFORE))
    assert decide(BAD, seen) == Blocked(problems=(BROKEN,), why=str(BROKEN))


def test_foreign_is_answered_by_arming_ours() -> None:
    seen = Observed(crash=replace(READY, loaded=True), now_us=NOW)
    assert seen.is_foreign
    actions, end = run(GOOD, seen)
    assert [type(action) for action in actions] == [BuildBase, BuildImage, Load, Nothing]
    assert not end.is_foreign


def test_disabled_leaves_what_someone_else_loaded() -> None:
    seen = Observed(crash=replace(READY, loaded=True), now_us=NOW, enabled=False)
    assert decide(GOOD, seen) == Nothing(why="disabled")


def test_disabled_unloads_ours_also_after_a_load_cut_short() -> None:
    seen = Observed(crash=replace(READY, loaded=True), now_us=NOW, enabled=False, intent_left=True)
    actions, end = run(GOOD, seen)
    assert [type(action) for action in actions] == [Unload, Nothing]
    assert not end.crash.loaded


def test_held_is_let_go_of_like_disabled_and_says_for_how_long() -> None:
    seen = Observed(crash=replace(READY, loaded=True), now_us=NOW, held=True, armed=record(TODAY))
    actions, end = run(GOOD, seen)
    assert [type(action) for action in actions] == [Unload, Nothing]
    assert "reboot" in actions[-1].why
    assert not end.crash.loaded


def test_failed_load_restores_last_good_at_once_and_then_waits() -> None:
    seen = Observed(
        crash=replace(READY, loaded=True),
        now_us=NOW,
        armed=record(BEFORE),
        last_good=record(BEFORE),
        bases=frozenset({TODAY.base_fingerprint}),
        images=frozenset({TODAY.image_fingerprint}),
    )
    actions, end = run(GOOD, seen, goes_well=lambda step: not isinstance(step, Load))
    assert [type(action) for action in actions] == [Load, Restore, Wait]
    assert end.crash.loaded
    assert end.armed == record(BEFORE)


@pytest.mark.parametrize(("cpus", "memory", "action"), [(True, True, Nothing), (True, False, Load)])
def test_a_processor_more_is_a_load_except_where_the_kernel_keeps_its_headers(
    cpus: bool,  # noqa: FBT001  # a column of the table
    memory: bool,  # noqa: FBT001
    action: type,
) -> None:
    more = replace(TODAY, load=replace(TODAY.load, layout="cpus 0-7"))
    seen = Observed(
        crash=replace(READY, loaded=True, cpu_hotplug=cpus, memory_hotplug=memory),
        now_us=NOW,
        armed=record(TODAY),
        bases=frozenset({TODAY.base_fingerprint}),
        images=frozenset({TODAY.image_fingerprint}),
    )
    assert isinstance(decide(Resolution(plan=more), seen), action)


def test_a_fault_of_one_plan_does_not_delay_another() -> None:
    faults = NO_FAULTS.put_off(fault_key(BuildImage(plan=BEFORE, why="")), BROKEN, now_us=NOW)
    seen = Observed(crash=READY, now_us=NOW, bases=frozenset({TODAY.base_fingerprint}), faults=faults)
    assert isinstance(decide(GOOD, seen), BuildImage)
    assert isinstance(decide(Resolution(plan=BEFORE), seen), Wait)
    assert isinstance(decide(Resolution(plan=BEFORE), replace(seen, now_us=NOW + 600_000_001)), BuildImage)


def test_a_clock_that_is_set_back_delays_nothing() -> None:
    faults = NO_FAULTS.put_off(fault_key(BuildImage(plan=TODAY, why="")), BROKEN, now_us=NOW)
    seen = Observed(crash=READY, now_us=NOW, bases=frozenset({TODAY.base_fingerprint}), faults=faults)
    assert isinstance(decide(GOOD, seen), Wait)
    assert isinstance(decide(GOOD, replace(seen, now_us=NOW - 1)), BuildImage)


@pytest.mark.parametrize(
    ("crash", "code"),
    [
        (CrashKernel(layout=""), "not-supported"),
        (CrashKernel(layout="new"), "no-reserved-memory"),
        (replace(READY, fadump=True), "fadump"),
        (replace(READY, load_disabled=True), "load-disabled"),
        (replace(READY, loads_left=0), "load-limit"),
    ],
)
def test_names_what_is_in_the_way(crash: CrashKernel, code: str) -> None:
    action = decide(GOOD, Observed(crash=crash, now_us=NOW, last_good=record(BEFORE)))
    assert isinstance(action, Blocked)
    assert [problem.code for problem in action.problems] == [code]


def test_lockdown_refuses_only_the_old_call() -> None:
    crash = replace(READY, lockdown=Lockdown.INTEGRITY)
    old_call = decide(Resolution(plan=a_plan(flags=("-c",))), Observed(crash=crash, now_us=NOW))
    assert isinstance(old_call, Blocked)
    assert old_call.problems[0].code == "lockdown"
    assert isinstance(decide(GOOD, Observed(crash=crash, now_us=NOW)), BuildBase)


def test_armed_stays_armed_when_loading_is_disabled_afterwards() -> None:
    seen = Observed(crash=replace(READY, loaded=True, load_disabled=True), now_us=NOW, armed=record(TODAY))
    assert isinstance(decide(GOOD, seen), Nothing)


@pytest.mark.parametrize(
    ("anew", "steps"),
    [
        (Anew.BASE, [BuildBase, BuildImage, Load, Nothing]),
        (Anew.IMAGE, [BuildImage, Load, Nothing]),
        (Anew.LOAD, [Load, Nothing]),
    ],
)
def test_anew_is_done_once(anew: Anew, steps: list[type[Action]]) -> None:
    seen = Observed(
        crash=replace(READY, loaded=True),
        now_us=NOW,
        armed=record(TODAY),
        bases=frozenset({TODAY.base_fingerprint}),
        images=frozenset({TODAY.image_fingerprint}),
        anew=anew,
    )
    actions, end = run(GOOD, seen)
    assert [type(action) for action in actions] == steps
    assert end.anew is None


LOADED = replace(READY, loaded=True)
TODAYS_STORE = frozenset({TODAY.image_fingerprint})


@pytest.mark.parametrize(
    ("seen", "steps"),
    [
        pytest.param(
            Observed(crash=READY, now_us=NOW), [BuildBase, BuildImage, Load], id="there is none yet"
        ),
        pytest.param(Observed(crash=LOADED, now_us=NOW, armed=record(BEFORE)), [], id="another is loaded"),
        pytest.param(
            Observed(crash=READY, now_us=NOW, last_good=record(BEFORE)),
            [Restore],
            id="another is in the store",
        ),
        pytest.param(
            Observed(
                crash=LOADED, now_us=NOW, armed=record(BEFORE), last_good=record(BEFORE), anew=Anew.LOAD
            ),
            [Restore],
            id="asked to load again",
        ),
        pytest.param(
            Observed(crash=LOADED, now_us=NOW, armed=record(BEFORE), anew=Anew.BASE),
            [BuildBase, BuildImage, Load],
            id="asked to build",
        ),
        pytest.param(
            Observed(crash=LOADED, now_us=NOW, armed=record(BEFORE), images=TODAYS_STORE),
            [Load],
            id="today's is built already",
        ),
        pytest.param(
            Observed(crash=LOADED, now_us=NOW, last_good=record(BEFORE)),
            [Restore],
            id="someone else's is loaded",
        ),
        pytest.param(
            Observed(
                crash=LOADED, now_us=NOW, armed=record(BEFORE).model_copy(update={"kernel_release": "6.11.0"})
            ),
            [BuildBase, BuildImage, Load],
            id="it is of another kernel",
        ),
    ],
)
def test_force_no_rebuild_keeps_an_image_of_this_kernel(seen: Observed, steps: list[type[Action]]) -> None:
    actions, end = run(GOOD, replace(seen, keeps_image=True))
    assert [type(action) for action in actions] == [*steps, Nothing]
    assert end.crash.loaded
    assert end.anew is None


def under(plan: Plan, layout: str) -> Plan:
    return replace(plan, load=replace(plan.load, layout=layout))


FOUR, EIGHT = "cpus 0-3", "cpus 0-7"
KEEPING = replace(LOADED, cpu_hotplug=True, memory_hotplug=True)
MORE = Observed(crash=LOADED, now_us=NOW, armed=record(under(BEFORE, FOUR)), layout=EIGHT, keeps_image=True)
OLD_RECORD = Armed.model_validate(record(under(BEFORE, FOUR)).model_dump(exclude={"layout"}))


@pytest.mark.parametrize(
    ("seen", "steps"),
    [
        pytest.param(MORE, [Restore], id="it is kept and described fewer processors"),
        pytest.param(replace(MORE, armed=OLD_RECORD), [Restore], id="an older kdumpd loaded it"),
        pytest.param(replace(MORE, layout=FOUR), [], id="nothing changed"),
        pytest.param(
            replace(MORE, layout=FOUR, armed=OLD_RECORD), [], id="nothing changed since an older one"
        ),
        pytest.param(replace(MORE, crash=KEEPING), [], id="the kernel keeps its headers"),
        pytest.param(
            replace(MORE, crash=replace(LOADED, load_disabled=True)), [], id="nothing can be loaded any more"
        ),
        pytest.param(
            replace(MORE, crash=READY, armed=None, last_good=OLD_RECORD), [Restore], id="nothing is loaded"
        ),
    ],
)
def test_an_image_that_is_kept_describes_the_processors_that_there_are(
    seen: Observed, steps: list[type[Action]]
) -> None:
    actions, end = run(Resolution(plan=under(TODAY, EIGHT)), seen)
    assert [type(action) for action in actions[:-1]] == steps
    assert end.crash.loaded
    assert end.armed is not None
    assert end.armed.image == BEFORE.image_fingerprint
    if steps:
        assert end.armed.described_layout == EIGHT
        assert explain.reasons(end.armed.description, describe(under(BEFORE, EIGHT))) == ()


def test_under_a_broken_configuration_as_well() -> None:
    actions, end = run(BAD, replace(MORE, keeps_image=False))
    assert [type(action) for action in actions] == [Restore, Blocked]
    assert end.armed is not None
    assert end.armed.layout == EIGHT


def test_what_was_loaded_again_is_what_the_plan_says_under_that_layout_and_no_other() -> None:
    armed = record(under(TODAY, FOUR)).under(EIGHT)
    seen = Observed(crash=LOADED, now_us=NOW, armed=armed)
    assert seen.matches(under(TODAY, EIGHT))
    assert not seen.matches(under(TODAY, FOUR))
    assert replace(seen, crash=KEEPING).matches(under(TODAY, FOUR))


def test_one_that_cannot_be_loaded_again_is_built_after_all() -> None:
    def goes_well(step: Step) -> bool:
        return not isinstance(step, Restore)

    actions, end = run(Resolution(plan=under(TODAY, EIGHT)), MORE, goes_well=goes_well)
    assert [type(action) for action in actions] == [Restore, BuildBase, BuildImage, Load, Nothing]
    assert end.matches(under(TODAY, EIGHT))


def test_an_image_that_is_kept_but_cannot_be_loaded_is_built_anew_after_all() -> None:
    seen = Observed(crash=READY, now_us=NOW, last_good=record(BEFORE), keeps_image=True)
    actions, end = run(GOOD, seen, goes_well=lambda step: not isinstance(step, Restore))
    assert [type(action) for action in actions] == [Restore, BuildBase, BuildImage, Load, Nothing]
    assert end.matches(TODAY)


@pytest.mark.parametrize("images", [frozenset(), frozenset({TODAY.image_fingerprint})])
@pytest.mark.parametrize("anew", [None, *Anew])
def test_what_cannot_fit_is_neither_built_nor_loaded_and_what_is_armed_stays(
    images: frozenset[str], anew: Anew | None
) -> None:
    seen = Observed(crash=READY, now_us=NOW, images=images, anew=anew, too_big=TOO_BIG)
    nothing_loaded = decide(GOOD, seen)
    assert isinstance(nothing_loaded, Blocked)
    assert nothing_loaded.problems == (TOO_BIG,)

    armed = replace(seen, crash=replace(READY, loaded=True), armed=record(BEFORE), last_good=record(BEFORE))
    assert decide(GOOD, armed) == nothing_loaded, "and so nothing is unloaded"

    restored = decide(GOOD, replace(seen, last_good=record(BEFORE)))
    assert isinstance(restored, Restore), "what fitted once is better than nothing"


def test_what_is_armed_is_not_judged_again() -> None:
    armed = Observed(
        crash=replace(READY, loaded=True), now_us=NOW, armed=record(TODAY), too_big=TOO_BIG, last_good=None
    )
    assert isinstance(decide(GOOD, armed), Nothing)


def test_an_image_that_does_not_fit_is_not_restored_in_its_own_place() -> None:
    seen = Observed(
        crash=READY,
        now_us=NOW,
        images=frozenset({TODAY.image_fingerprint}),
        last_good=record(TODAY),
        too_big=TOO_BIG,
    )
    assert isinstance(decide(GOOD, seen), Blocked)
