"""When the daemon rests: something is done once, a while after the last piece of work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

REST_SECONDS: Final = 8.0
"""Longer than what begins only at rest, such as building ahead, waits for."""


class Resting:
    def __init__(self, once: Callable[[], None]) -> None:
        self._once = once
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Something is over; what was to be done after an earlier one is done later."""
        self.put_off()
        self._timer = self._loop.call_later(REST_SECONDS, self._once)

    def put_off(self) -> None:
        """Something has begun that is not to be held up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
