"""What is watched, kept in step with what was read: files, and what the kernel tells by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from kdumpd.core.problems import Problem
from kdumpd.host.ears import Ear
from kdumpd.host.watch import Watch
from kdumpd.service.hands import Sight

logger = logging.getLogger(__name__)

NETWORK = "network"
"""The ear that is wanted only while a dump would go over the network."""
LIMITED_SECONDS = 300.0
"""How often to look where the kernel does not let us watch everything."""

Say = Callable[[str], None]


class Watcher:
    """Covers what the last look read, and opens the ears; says once what cannot be watched.

    An ear that this machine does not have is tried again after each look, and left to the polls meanwhile. One that fails
    asks for a look, after which it is opened again; once only if it fails over and over. `deaf_to`
    names ears and paths that are left out, for tests that what they tell of is missed then.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        poke: Say,
        doubt: Say = lambda _: None,
        ears: Mapping[str, Callable[[], Ear]] | None = None,
        deaf_to: Iterable[str] = (),
    ) -> None:
        self._watch = watch
        self._poke = poke
        self._doubt = doubt
        self._deaf_to = frozenset(deaf_to)
        self._ears = {name: ear for name, ear in (ears or {}).items() if name not in self._deaf_to}
        self._open: dict[str, Ear] = {}
        self._failed: set[str] = set()  # and have heard nothing since
        self._loop = asyncio.get_running_loop()
        self._sight: Sight | None = None
        self.problems: tuple[Problem, ...] = ()
        """What cannot be watched now: there the slow poll is all that notices a change."""
        self._next_look: asyncio.TimerHandle | None = None

    def follow(self, sight: Sight) -> None:
        if sight is self._sight:
            return
        is_covered = self._sight is not None and sight.watched is self._sight.watched  # it was no full look
        self._sight = sight
        self._open_ears(sight)
        if is_covered:
            return
        problems = self._watch.cover(sight.watched - self._deaf_to)
        for problem in problems:
            if problem not in self.problems:
                logger.warning("%s", problem)
        self.problems = problems
        self._forget_next_look()
        if problems:
            reason = "changes of files cannot all be heard"
            self._next_look = self._loop.call_later(LIMITED_SECONDS, self._poke, reason)

    def stop(self) -> None:
        """Nothing is said after this."""
        self._watch.stop()
        self._forget_next_look()
        for name in tuple(self._open):
            self._close(name)

    def _open_ears(self, sight: Sight) -> None:
        wanted = self._ears.keys() - ({NETWORK} if not sight.machine.network.hosts else set())
        for name in self._open.keys() - wanted:
            self._close(name)
        for name in sorted(wanted - self._open.keys()):
            try:
                ear = self._ears[name]()
            except OSError as fault:
                logger.debug("nothing is heard of %s: %s", name, fault)
                continue
            self._open[name] = ear
            self._loop.add_reader(ear, partial(self._hear, name, ear))
            self._doubt(f"what the kernel tells of {name} is heard from now on")

    def _hear(self, name: str, ear: Ear) -> None:
        try:
            ear.hear()
        except OSError as fault:
            logger.warning("nothing is heard of %s until the next look: %s", name, fault)
            self._close(name)
            if name not in self._failed:
                self._failed.add(name)
                self._poke(f"{name} could not be heard any more")
        else:
            self._failed.discard(name)

    def _close(self, name: str) -> None:
        ear = self._open.pop(name)
        self._loop.remove_reader(ear)
        ear.close()

    def _forget_next_look(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
