"""What a caller may take, with a time that a test sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.allowance import Allowance, Taken, is_exhausted, take, taken_by_now

TEN = Allowance(at_once=10, each_second=2)


def test_so_much_at_once_and_then_as_it_is_forgotten() -> None:
    taken = Taken()
    for _ in range(10):
        assert not is_exhausted(TEN, taken, now=1)
        taken = take(TEN, taken, 1, now=1)
    assert is_exhausted(TEN, taken, now=1)
    assert not is_exhausted(TEN, taken, now=2)
    assert taken_by_now(TEN, taken, now=2) == 8
    assert taken_by_now(TEN, taken, now=3600) == 0


def test_who_has_anything_left_is_served_and_waits_the_longer() -> None:
    taken = take(TEN, Taken(), 100, now=0)
    assert is_exhausted(TEN, taken, now=45)
    assert not is_exhausted(TEN, taken, now=46)


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 30)), max_size=50))
def test_over_any_time_nobody_takes_more_than_the_allowance(calls: list[tuple[float, float]]) -> None:
    """But for the one call that goes beyond."""
    now, served, largest, taken = 0.0, 0.0, 0.0, Taken()
    for amount, pause in calls:
        now += pause
        largest = max(largest, amount)
        if not is_exhausted(TEN, taken, now=now):
            taken = take(TEN, taken, amount, now=now)
            served += amount
    assert served <= TEN.at_once + TEN.each_second * now + largest + 1e-6
