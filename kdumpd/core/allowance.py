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
    """What was taken and not yet forgotten at `at_us`, microseconds since epoch."""

    amount: float = 0.0
    at_us: int = 0


def taken_by_now(allowance: Allowance, taken: Taken, *, now_us: int) -> float:
    """A clock that was set back gives nothing back meanwhile."""
    seconds = max(now_us - taken.at_us, 0) / 1e6
    return max(taken.amount - seconds * allowance.each_second, 0.0)


def is_exhausted(allowance: Allowance, taken: Taken, *, now_us: int) -> bool:
    return taken_by_now(allowance, taken, now_us=now_us) >= allowance.at_once


def take(allowance: Allowance, taken: Taken, amount: float, *, now_us: int) -> Taken:
    """Also more than is left: whoever has anything left is served once, however much it takes, and waits the longer."""
    return Taken(amount=taken_by_now(allowance, taken, now_us=now_us) + amount, at_us=now_us)
