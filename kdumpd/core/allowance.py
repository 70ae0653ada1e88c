"""How much of a service one caller may take: so much at once, and so much again with each second."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A caller is served as long as less than `at_once` was taken; `each_second` so much of it is forgotten."""

    at_once: float
    each_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken and not yet forgotten at `at`, seconds by a clock that nobody sets."""

    amount: float = 0.0
    at: float = 0.0


def taken_by_now(allowance: Allowance, taken: Taken, *, now: float) -> float:
    return max(taken.amount - (now - taken.at) * allowance.each_second, 0.0)


def is_exhausted(allowance: Allowance, taken: Taken, *, now: float) -> bool:
    return taken_by_now(allowance, taken, now=now) >= allowance.at_once


def take(allowance: Allowance, taken: Taken, amount: float, *, now: float) -> Taken:
    """Also more than is left: whoever has anything left is served once, however much it takes, and waits the longer."""
    return Taken(amount=taken_by_now(allowance, taken, now=now) + amount, at=now)
