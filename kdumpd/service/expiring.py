"""When dumps are deleted: by the rules of retention after a good dump was found, and when somebody asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kdumpd.core.dumps import Dump
from kdumpd.core.machine import Mount
from kdumpd.core.mounts import holding, may_wait
from kdumpd.core.problems import Trouble
from kdumpd.core.retention import NO_LIMITS, Kept, Limits, Removal, is_ours_to_remove, to_remove
from kdumpd.host.gentle import gently
from kdumpd.host.removal import Removals
from kdumpd.service.finds import Finds
from kdumpd.service.hands import Sight
from kdumpd.service.jobs import Clock
from kdumpd.service.journal import tell_removal
from kdumpd.service.summing import Summing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a dump that the rules let go; `error` says why it stays."""

    removal: Removal
    error: str = ""


class Expiring:
    """One removal at a time, out of everyone's way."""

    def __init__(
        self,
        *,
        removals: Removals,
        finds: Finds,
        summing: Summing,
        clock: Clock,
        sight: Callable[[], Sight],
    ) -> None:
        self._removals = removals
        self._finds = finds
        self._summing = summing
        self._clock = clock
        self._sight = sight
        self._due = asyncio.Event()
        self._new: frozenset[str] = frozenset()  # of the last look that found any
        self._one_at_a_time = asyncio.Lock()

    def follow(self, new: tuple[Dump, ...]) -> None:
        """Only a good dump that lies here makes others needless. What is new stays, whatever its time says."""
        if new:
            found = frozenset(dump.id for dump in new)
            self._new = found | self._new if self._due.is_set() else found
        if any(dump.is_complete and dump.folder for dump in new):
            self._due.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            if not self._sight().retention.are_set:
                continue
            for outcome in await self.prune(is_trial=False):
                if outcome.error:
                    logger.warning("%s", outcome.error)

    async def prune(self, *, is_trial: bool) -> tuple[Outcome, ...]:
        """Let go what the rules let go now; a trial only says what. What is sweepable is swept, but in a trial."""
        async with self._one_at_a_time, self._finds.while_none_looks():
            limits, mounts = self._sight().retention, self._sight().machine.mounts
            here = [
                dump
                for dump in self._finds.known
                if is_ours_to_remove(dump) and not may_wait(mounts, dump.folder)
            ]
            if not is_trial:
                await self._sweep(here)
            removals = await gently(lambda: asyncio.to_thread(self._decided, here, limits, mounts))
            if is_trial:
                return tuple(Outcome(removal=removal) for removal in removals)
            return tuple([await self._let_go(removal, mounts) for removal in removals])

    async def delete(self, dump: Dump) -> None:
        """By somebody's wish, whatever the rules say. Raises Trouble where it stays."""
        async with self._one_at_a_time, self._finds.while_none_looks():
            await self._remove(dump, self._sight().machine.mounts, why="somebody asked for it", is_wish=True)

    async def _let_go(self, removal: Removal, mounts: tuple[Mount, ...]) -> Outcome:
        try:
            await self._remove(removal.dump, mounts, why=removal.why)
        except Trouble as fault:
            return Outcome(removal=removal, error=str(fault))
        return Outcome(removal=removal)

    async def _remove(
        self, dump: Dump, mounts: tuple[Mount, ...], *, why: str, is_wish: bool = False
    ) -> None:
        await self._summing.let_go(dump)
        await gently(
            lambda: asyncio.to_thread(self._removals.remove, dump, mounts=mounts, must_be_ours=not is_wish)
        )
        tell_removal(dump, why=why)
        self._finds.forget(dump)

    async def _sweep(self, here: list[Dump]) -> None:
        for above in {_above(dump) for dump in here}:
            await gently(partial(asyncio.to_thread, self._removals.sweep, above))

    def _decided(self, here: list[Dump], limits: Limits, mounts: tuple[Mount, ...]) -> tuple[Removal, ...]:
        """Files are looked at only of what would go: it is decided once without, and again with who reads what."""
        if limits == NO_LIMITS:
            return ()
        numbers = {above: _number(above, mounts) for above in {_above(dump) for dump in here}}
        free: dict[str, int] = {}
        for above, number in numbers.items():
            try:
                free[number] = self._removals.free_bytes(above)
            except OSError as fault:
                logger.warning("what is free in %s is not known: %s", above, fault.strerror)
        now_us = self._clock.now_us()
        read: set[str] = set()
        while True:
            kept = (
                Kept(dump=dump, file_system=numbers[_above(dump)], is_read=dump.id in read) for dump in here
            )
            removals = to_remove(kept, limits, free_bytes=free, now_us=now_us, new=self._new)
            asked = [removal.dump for removal in removals if removal.dump.id not in read]
            found = {dump.id for dump in asked if self._removals.is_read(dump)}
            if not found:
                return removals
            read |= found


def _above(dump: Dump) -> str:
    return dump.folder.rpartition("/")[0]


def _number(folder: str, mounts: tuple[Mount, ...]) -> str:
    place = holding(mounts, folder)
    return place.mount.number or place.mount.source if place is not None else folder
