"""Every reason why a capture could fail on this machine, the gravest first, each with what clears it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from kdumpd.core import doctor_config, doctor_load, doctor_panic, doctor_reserve, doctor_target
from kdumpd.core.finding import Finding, Gravity
from kdumpd.core.symptoms import Symptoms


class Outcome(IntEnum):
    """Exit statuses of kdumpctl doctor."""

    WELL = 0
    COULD_FAIL = 1
    NOT_ALL_SEEN = 2


def findings(of: Symptoms) -> tuple[Finding, ...]:
    """Each once. What follows from something graver that is told is left out."""
    found = [
        *doctor_reserve.findings(of),
        *doctor_load.findings(of),
        *doctor_config.findings(of),
        *doctor_target.findings(of),
        *doctor_panic.findings(of),
    ]
    if not any(each.gravity is Gravity.FAILURE for each in found):
        found += doctor_load.unexplained(of)
    order = list(Gravity)
    return tuple(sorted(dict.fromkeys(found), key=lambda each: order.index(each.gravity)))


def outcome(found: Iterable[Finding]) -> Outcome:
    """What is only worth knowing is nothing wrong; what could not be seen is told where nothing else is."""
    gravities = {each.gravity for each in found}
    if gravities & {Gravity.FAILURE, Gravity.RISK}:
        return Outcome.COULD_FAIL
    return Outcome.NOT_ALL_SEEN if Gravity.UNKNOWN in gravities else Outcome.WELL
