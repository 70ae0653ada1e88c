"""When a burst of changes is over: once it was quiet for a while, and at the latest after a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdumpd.service.jobs import Clock


@dataclass(slots=True, kw_only=True)
class Burst:
    """From its first change, at `began`, on; `counted` is how many changes there were at that moment."""

    clock: Clock
    now: Callable[[], float]
    """In seconds, by a clock that nobody sets: the time of day may go back by years meanwhile."""
    quiet_seconds: float
    cap_seconds: float
    began: float
    counted: int

    async def is_over(self, count: Callable[[], int], *, is_urgent: Callable[[], bool]) -> bool:
        """Wait for that; at once where it `is_urgent`. Whether more changes came than the first ones."""
        first = self.counted
        quiet_from = self.began
        while not is_urgent() and self.now() < self.began + self.cap_seconds:
            await self.clock.sleep(max(quiet_from + self.quiet_seconds - self.now(), 0))
            if count() == self.counted:
                break
            self.counted, quiet_from = count(), self.now()
        return count() != first
