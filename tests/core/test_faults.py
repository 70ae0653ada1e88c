"""Trying again: later each time, up to ten minutes, and afresh for another cause."""

from __future__ import annotations

from kdumpd.core.faults import NO_FAULTS
from kdumpd.core.problems import Problem

FULL = Problem(code="no-space", message="the disk is full")


def test_waits_longer_each_time_up_to_ten_minutes() -> None:
    faults = NO_FAULTS
    delays = []
    for _ in range(40):
        faults = faults.failed("k", (FULL,), now_us=0)
        fault = faults.of("k")
        assert fault is not None
        delays.append(fault.not_before_us // 1_000_000)
    assert delays[:10] == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600]
    assert set(delays[10:]) == {600}


def test_each_key_counts_for_itself_and_is_forgotten_when_mended() -> None:
    faults = (
        NO_FAULTS.failed("a", (FULL,), now_us=0).failed("a", (FULL,), now_us=0).failed("b", (FULL,), now_us=0)
    )
    b = faults.of("b")
    assert b is not None
    assert b.count == 1
    assert faults.mended("a").of("a") is None
    assert faults.only({"a"}).of("b") is None
    assert NO_FAULTS.of("a") is None
