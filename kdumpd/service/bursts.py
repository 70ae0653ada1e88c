"""When a burst of changes is over: once it was quiet for a while, and at the latest after a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdumpd.service.jobs import Clock


@dataclass(slots=True, kw_only=True)
class Burst:
    """From its first change, at `began_us`, on; `counted` is how many changes there were at that moment."""

    clock: Clock
    quiet_seconds: float
    cap_seconds: float
    began_us: int
    counted: int

    async def is_over(self, count: Callable[[], int], *, is_urgent: Callable[[], bool]) -> bool:
        """Wait for that; at once where it `is_urgent`. Whether more changes came than the first ones."""
        first = self.counted
        quiet_from_us = self.began_us
        end_us = self.began_us + int(self.cap_seconds * 1e6)
        while not is_urgent() and self.clock.now_us() < end_us:
            until_us = quiet_from_us + int(self.quiet_seconds * 1e6)
            await self.clock.sleep(max(until_us - self.clock.now_us(), 0) / 1e6)
            if count() == self.counted:
                break
            self.counted, quiet_from_us = count(), self.clock.now_us()
        return count() != first
