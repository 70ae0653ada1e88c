"""When a burst of changes is over: once it was quiet for a while, and at the latest after a bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from kdumpd.service.jobs import Clock

ALONE: Final = 1 / 3
"""Of the quiet time, what a change is waited with that came out of a long quiet and stays alone: a file that was saved."""


@dataclass(slots=True, kw_only=True)
class Bursts:
    """One after the other. `counted` is how many changes there ever were at the moment at which one began."""

    clock: Clock
    now: Callable[[], float]
    """In seconds, by a clock that nobody sets: the time of day may go back by years meanwhile."""
    _ended: float = field(default=-math.inf, init=False)

    async def is_over(
        self,
        *,
        began: float,
        counted: int,
        quiet_seconds: float,
        cap_seconds: float,
        count: Callable[[], int],
        is_urgent: Callable[[], bool],
    ) -> bool:
        """Wait for that; at once where it `is_urgent`. Whether more changes came than the first ones."""
        first = counted
        quiet_from = began
        quiet = quiet_seconds * (ALONE if began > self._ended + quiet_seconds else 1)
        while not is_urgent() and self.now() < began + cap_seconds:
            await self.clock.sleep(max(quiet_from + quiet - self.now(), 0))
            if count() == counted:
                break
            counted, quiet_from, quiet = count(), self.now(), quiet_seconds
        self._ended = self.now()
        return count() != first
