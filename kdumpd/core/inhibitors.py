"""Who asked kdumpd to begin nothing for a while, such as a package manager at work, and how many of them there may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdumpd.core.problems import Problem

MOST = 16
MOST_OF_ONE = 4
"""Of one connection to the bus."""
LONGEST_TEXT = 200
"""Characters of `who` and of `why`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibitor:
    """`cookie` tells them apart; `who` and `why` are the words of whoever asked."""

    cookie: int
    who: str
    why: str


def refusal(inhibitors: Sequence[Inhibitor]) -> Problem:
    """Why nothing is begun. At least one of them is there."""
    first = inhibitors[0]
    more = f" (and {len(inhibitors) - 1} more)" if len(inhibitors) > 1 else ""
    return Problem(
        code="inhibited",
        message=f"{first.who} asked kdumpd to wait: {first.why}{more}",
        hint="it goes on by itself once that is over",
    )
