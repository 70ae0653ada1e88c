"""When a raw device is looked at for a dump: at the start, and when the target is another one. Never in anyone's way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kdumpd.host.recover import Recovery
from kdumpd.service.finds import told_target
from kdumpd.service.hands import Sight

logger = logging.getLogger(__name__)


class Recovering:
    """Follows the reconciler's looks; `on_recovered` is called when there is something new to find."""

    def __init__(self, recovery: Recovery, *, on_recovered: Callable[[], None]) -> None:
        self._recovery = recovery
        self._on_recovered = on_recovered
        self._looked_at: tuple[str, str] | None = None
        self._wanted: tuple[str, str] | None = None
        self._again = asyncio.Event()
        self.is_at_work = False

    def follow(self, sight: Sight) -> None:
        target = told_target(sight)
        wanted = (target["node"], target["directory"]) if target.get("type") == "raw" else None
        if wanted != self._wanted:
            self._wanted = wanted
            self._again.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._again.wait()
            self._again.clear()
            if self._wanted is None or self._wanted == self._looked_at:
                continue
            self._looked_at = self._wanted
            node, path = self._wanted
            self.is_at_work = True
            try:
                found = await self._recovery.look(node, path=path)
            finally:
                self.is_at_work = False
            for problem in found.problems:
                level = logging.ERROR if problem.is_error else logging.WARNING
                logger.log(level, "%s: %s (%s)", node, problem, problem.code)
            if found.folder:
                logger.info("recovered from %s: %s", node, found.folder)
                self._on_recovered()
