"""Which dumps go: laws that hold for any dumps and limits, and the sentence that says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.dumps import Dump
from kdumpd.core.retention import (
    DAY_US,
    EARLIEST_US,
    MOST_AT_ONCE,
    NO_LIMITS,
    Kept,
    Limits,
    Rule,
    has_known_time,
    is_ours_to_remove,
    to_remove,
)

NOW = 1_800_000_000_000_000
NOW_DAYS = NOW // DAY_US
"""As many days ago a clock without a battery starts."""


def kept(
    number: int,
    *,
    days_old: float = 0,
    size: int = 1,
    good: bool = True,
    read: bool = False,
    ours: bool = True,
    on: str = "8:1",
    folder: str = "/var/crash",
) -> Kept:
    name = f"127.0.0.1-{number}"
    dump = Dump(
        id=name,
        path=f"/var/crash/{name}",
        time_us=NOW - round(days_old * DAY_US),
        size_bytes=size,
        is_complete=good,
        kernel_release="6.1",
        reason="",
        folder=f"{folder}/{name}" if folder else "",
        is_ours=ours,
        files_bytes=size,
    )
    return Kept(dump=dump, file_system=on, is_read=read)


@st.composite
def any_kept(draw: st.DrawFn) -> tuple[Kept, ...]:
    return tuple(
        kept(
            number,
            days_old=draw(st.one_of(st.integers(-3, 60), st.sampled_from((NOW_DAYS, NOW_DAYS - 1)))),
            size=draw(st.integers(0, 100)),
            good=draw(st.booleans()),
            read=draw(st.booleans()),
            ours=draw(st.integers(0, 4)) > 0,
            on=draw(st.sampled_from(("8:1", "8:2"))),
            folder=draw(st.sampled_from(("/var/crash", "/var/crash", ""))),
        )
        for number in range(draw(st.integers(0, 12)))
    )


any_limits = st.builds(
    Limits,
    count=st.integers(0, 6),
    days=st.integers(0, 40),
    free_bytes=st.integers(0, 300),
    total_bytes=st.integers(0, 300),
)
any_free = st.dictionaries(st.sampled_from(("8:1", "8:2")), st.integers(0, 300))


def in_order(all_kept: tuple[Kept, ...]) -> list[Kept]:
    return sorted(
        (each for each in all_kept if is_ours_to_remove(each.dump)),
        key=lambda each: (each.dump.time_us, each.dump.id),
    )


@given(any_kept(), any_limits, any_free)
def test_what_may_never_go_never_goes(
    all_kept: tuple[Kept, ...], limits: Limits, free: dict[str, int]
) -> None:
    gone = {removal.dump.id for removal in to_remove(all_kept, limits, free_bytes=free, now_us=NOW)}
    ours = in_order(all_kept)
    good = [each for each in ours if each.dump.is_complete]
    assert not gone & {each.dump.id for each in good[-1:]}, "the newest good one"
    assert not gone & {each.dump.id for each in ours[-1:]}, "the newest, good or not"
    assert not gone & {each.dump.id for each in all_kept if each.is_read}, "one being read"
    assert gone <= {each.dump.id for each in ours}, "what is not ours, or is not here"


@given(any_kept(), any_limits, any_free)
def test_the_oldest_go_first(all_kept: tuple[Kept, ...], limits: Limits, free: dict[str, int]) -> None:
    removals = to_remove(all_kept, limits, free_bytes=free, now_us=NOW)
    gone = {removal.dump.id for removal in removals}
    ours = in_order(all_kept)
    believed = [each for each in ours if has_known_time(each.dump, now_us=NOW)]
    spared = {
        each.dump.id
        for some in (ours, believed)
        for each in (*some[-1:], *[each for each in some if each.dump.is_complete][-1:])
    }
    for file_system in ("8:1", "8:2"):
        may_go = [
            each.dump.id in gone
            for each in ours
            if each.file_system == file_system and not each.is_read and each.dump.id not in spared
        ]
        assert may_go == sorted(may_go, reverse=True), "no older one stays where a younger one goes"
    assert [removal.dump.time_us for removal in removals] == sorted(
        removal.dump.time_us for removal in removals
    )


@given(any_kept(), any_limits, any_free)
def test_nothing_goes_that_need_not(all_kept: tuple[Kept, ...], limits: Limits, free: dict[str, int]) -> None:
    removals = to_remove(all_kept, limits, free_bytes=free, now_us=NOW)
    for last in removals[-1:]:
        others = {removal.dump.id for removal in removals[:-1]}
        left = [each for each in in_order(all_kept) if each.dump.id not in others]
        match last.rule:
            case Rule.COUNT:
                assert len(left) > limits.count
            case Rule.TOTAL:
                assert sum(each.dump.files_bytes for each in left) > limits.total_bytes
            case Rule.DAYS:
                assert NOW - last.dump.time_us > limits.days * DAY_US
                assert last.dump.time_us >= EARLIEST_US, "nobody knows how old it is"
            case Rule.FREE:
                on = next(each.file_system for each in left if each.dump.id == last.dump.id)
                gained = sum(
                    each.dump.files_bytes
                    for each in in_order(all_kept)
                    if each.dump.id in others and each.file_system == on
                )
                assert free[on] + gained < limits.free_bytes


@given(any_kept(), any_limits, any_free)
def test_a_second_pass_finds_nothing_to_do(
    all_kept: tuple[Kept, ...], limits: Limits, free: dict[str, int]
) -> None:
    gone = {removal.dump.id: removal for removal in to_remove(all_kept, limits, free_bytes=free, now_us=NOW)}
    left = [each for each in all_kept if each.dump.id not in gone]
    for each in all_kept:
        if each.dump.id in gone and each.file_system in free:
            free = {**free, each.file_system: free[each.file_system] + each.dump.files_bytes}
    assert to_remove(left, limits, free_bytes=free, now_us=NOW) == ()


@given(any_kept(), any_limits, any_free, st.sets(st.integers(0, 11)))
def test_what_is_new_stays_and_a_time_that_cannot_be_makes_nothing_else_go(
    all_kept: tuple[Kept, ...], limits: Limits, free: dict[str, int], numbers: set[int]
) -> None:
    new = {f"127.0.0.1-{number}" for number in numbers}
    gone = {removal.dump.id for removal in to_remove(all_kept, limits, free_bytes=free, now_us=NOW, new=new)}
    assert not gone & new
    believed = [each for each in in_order(all_kept) if EARLIEST_US <= each.dump.time_us <= NOW]
    for newest in (believed[-1:], [each for each in believed if each.dump.is_complete][-1:]):
        assert not gone & {each.dump.id for each in newest}, "the newest of those whose time is believed"


@given(any_kept(), any_free)
def test_without_a_limit_nothing_goes(all_kept: tuple[Kept, ...], free: dict[str, int]) -> None:
    assert to_remove(all_kept, NO_LIMITS, free_bytes=free, now_us=NOW) == ()


@pytest.mark.parametrize(
    ("limits", "gone", "rule", "why"),
    [
        (Limits(count=3), [0], Rule.COUNT, "there are 4 dumps, and 3 are to be kept"),
        (Limits(days=25), [0], Rule.DAYS, "it is 30 days old, and dumps are to be kept for 25"),
        (Limits(total_bytes=25), [0, 1], Rule.TOTAL, "all dumps take 40 bytes, and are to take 25 at most"),
        (Limits(free_bytes=20), [0, 1], Rule.FREE, "5 bytes are free, and 20 are to be kept free"),
        (Limits(count=1), [0, 1, 2], Rule.COUNT, "there are 4 dumps, and 1 are to be kept"),
    ],
)
def test_each_rule_and_its_reason(limits: Limits, gone: list[int], rule: Rule, why: str) -> None:
    dumps = [kept(number, days_old=30 - 10 * number, size=10) for number in range(4)]
    removals = to_remove(dumps, limits, free_bytes={"8:1": 5}, now_us=NOW)
    assert [removal.dump.id for removal in removals] == [f"127.0.0.1-{number}" for number in gone]
    assert (removals[0].rule, removals[0].why) == (rule, why)


def test_a_crash_loop_that_captures_nothing_takes_no_good_dump_away() -> None:
    good = kept(0, days_old=50)
    broken = [kept(number, days_old=50 - number, good=False) for number in range(1, 10)]
    removals = to_remove([good, *broken], Limits(count=1, days=1), free_bytes={}, now_us=NOW)
    assert {removal.dump.id for removal in removals} == {f"127.0.0.1-{number}" for number in range(1, 9)}


def test_a_fresh_dump_of_a_machine_without_a_clock_is_not_the_oldest() -> None:
    dumps = [kept(0, days_old=NOW_DAYS), *(kept(number, days_old=40 - number) for number in range(1, 4))]
    fresh = dumps[0].dump.id
    assert has_known_time(dumps[1].dump, now_us=NOW)
    assert not has_known_time(dumps[0].dump, now_us=NOW)
    removals = to_remove(dumps, Limits(count=2, days=5), free_bytes={}, now_us=NOW, new={fresh})
    assert [removal.dump.id for removal in removals] == ["127.0.0.1-1", "127.0.0.1-2"]
    assert to_remove(dumps[:1] + dumps[3:], Limits(days=5), free_bytes={}, now_us=NOW) == (), "nor too old"
    ahead = kept(9, days_old=-400)
    some = [*dumps[1:], ahead]
    removals = to_remove(some, Limits(count=1), free_bytes={}, now_us=NOW)
    assert [removal.dump.id for removal in removals] == ["127.0.0.1-1", "127.0.0.1-2"], (
        "what comes from the future takes the place of no newest one"
    )


def test_one_pass_is_bounded() -> None:
    dumps = [kept(number, days_old=(9_000 - number) / 10) for number in range(MOST_AT_ONCE + 50)]
    assert len(to_remove(dumps, Limits(count=1), free_bytes={}, now_us=NOW)) == MOST_AT_ONCE
