"""What was heard since the last look: reasons to look, and doubts for which a glimpse will do."""

from __future__ import annotations

import asyncio


class News:
    def __init__(self) -> None:
        self.dirty = asyncio.Event()
        """There is a reason to look."""
        self.doubted = asyncio.Event()
        self.is_urgent = False
        """Somebody waits for the look: it does not wait for more of the kind."""
        self.count = 0
        """Of all that was ever heard."""
        self._reasons: dict[str, None] = {}
        self._doubts: dict[str, None] = {}

    def poke(self, reason: str, *, urgent: bool) -> None:
        self._reasons.setdefault(reason)
        self.count += 1
        self.is_urgent |= urgent
        self.dirty.set()

    def doubt(self, reason: str) -> None:
        self._doubts.setdefault(reason)
        self.count += 1
        self.doubted.set()

    def taken(self) -> tuple[str, ...]:
        """The reasons, each once in the order in which they came; from now on there are none."""
        reasons = tuple(self._reasons)
        self._reasons.clear()
        self.dirty.clear()
        self.is_urgent = False
        return reasons

    def doubts_taken(self) -> tuple[str, ...]:
        doubts = tuple(self._doubts)
        self._doubts.clear()
        self.doubted.clear()
        return doubts
