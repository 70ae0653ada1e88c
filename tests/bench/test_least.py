"""The search for the least reservation: few crashes, and one that failed by chance does not spoil the answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench.least import LEAST_MIB, MOST_MIB, STEP_MIB, Try, least


def captures_from(threshold: int, *, fails_once: int = 0) -> Callable[[int], Try]:
    unlucky = [fails_once]

    def attempt(mib: int) -> Try:
        if mib in unlucky:
            unlucky.remove(mib)
            return Try(mib=mib, captured=False, why="by chance")
        return Try(mib=mib, captured=mib >= threshold)

    return attempt


@pytest.mark.parametrize("threshold", [*range(LEAST_MIB, MOST_MIB + 1, STEP_MIB), 1, 90])
def test_the_least_size_is_found_in_a_handful_of_crashes(threshold: int) -> None:
    found, tries = least(captures_from(threshold))
    assert found == min(size for size in range(LEAST_MIB, MOST_MIB + 1, STEP_MIB) if size >= threshold)
    assert len(tries) <= 5


def test_none_where_not_even_the_largest_captures() -> None:
    found, tries = least(captures_from(500))
    assert found is None
    assert all(not each.captured for each in tries)


@pytest.mark.parametrize("unlucky", [88, 92, 100])
def test_a_size_that_failed_by_chance_is_tried_again(unlucky: int) -> None:
    assert least(captures_from(88, fails_once=unlucky))[0] == 88
