"""What a caller may take, with a time that a test sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.allowance import Allowance, Taken, is_exhausted, take, taken_by_now

TEN = Allowance(at_once=10, each_second=2)
SECOND = 1_000_000


def test_so_much_at_once_and_then_as_it_is_forgotten() -> None:
    taken = Taken()
    for _ in range(10):
        assert not is_exhausted(TEN, taken, now_us=SECOND)
        taken = take(TEN, taken, 1, now_us=SECOND)
    assert is_exhausted(TEN, taken, now_us=SECOND)
    assert is_exhausted(TEN, taken, now_us=SECOND - 5 * SECOND)  # a clock that was set back
    assert not is_exhausted(TEN, taken, now_us=2 * SECOND)
    assert taken_by_now(TEN, taken, now_us=2 * SECOND) == 8
    assert taken_by_now(TEN, taken, now_us=3600 * SECOND) == 0


def test_who_has_anything_left_is_served_and_waits_the_longer() -> None:
    taken = take(TEN, Taken(), 100, now_us=0)
    assert is_exhausted(TEN, taken, now_us=45 * SECOND)
    assert not is_exhausted(TEN, taken, now_us=46 * SECOND)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 30 * SECOND)), max_size=50))
def test_over_any_time_nobody_takes_more_than_the_allowance(calls: list[tuple[float, int]]) -> None:
    """But for the one call that goes beyond."""
    now_us, served, largest, taken = 0, 0.0, 0.0, Taken()
    for amount, pause_us in calls:
        now_us += pause_us
        largest = max(largest, amount)
        if not is_exhausted(TEN, taken, now_us=now_us):
            taken = take(TEN, taken, amount, now_us=now_us)
            served += amount
    assert served <= TEN.at_once + TEN.each_second * now_us / SECOND + largest + 1e-6
