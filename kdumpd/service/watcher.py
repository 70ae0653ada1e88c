"""What is watched, kept in step with what was read."""

from __future__ import annotations

import logging

from kdumpd.core.problems import Problem
from kdumpd.host.watch import Watch
from kdumpd.service.hands import Sight

logger = logging.getLogger(__name__)


class Watcher:
    """Covers what the last look read; says once what cannot be watched."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._sight: Sight | None = None
        self._told: tuple[Problem, ...] = ()

    def follow(self, sight: Sight) -> None:
        if sight is self._sight:
            return
        self._sight = sight
        problems = self._watch.cover(sight.watched)
        for problem in problems:
            if problem not in self._told:
                logger.warning("%s", problem)
        self._told = problems

    def stop(self) -> None:
        self._watch.stop()
