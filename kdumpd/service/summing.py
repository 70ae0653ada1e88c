"""Which dumps get a SHA-256 noted beside them: those that are new, one after the other, in nobody's way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from kdumpd.core.dumps import Dump
from kdumpd.host.gentle import gently
from kdumpd.host.sums import Sums

logger = logging.getLogger(__name__)


class Summing:
    """The capture kernel does not: it would read the dump a second time, with the machine down and little memory."""

    def __init__(self, sums: Sums, *, on_summed: Callable[[], None]) -> None:
        self._sums = sums
        self._on_summed = on_summed
        self._waiting: dict[str, Dump] = {}
        self._wake = asyncio.Event()
        self._under_way: tuple[str, asyncio.Task[None]] | None = None
        self._has_begun = False

    def follow(self, known: Sequence[Dump], new: Sequence[Dump]) -> None:
        """At first also the newest of `known`: a daemon that was stopped meanwhile goes on with it."""
        wanted = [dump for dump in new if _is_wanted(dump)]
        if not self._has_begun:
            self._has_begun = True
            wanted += [dump for dump in known if dump.is_complete and dump.folder][-1:]
        for dump in filter(_is_wanted, wanted):
            self._waiting[dump.id] = dump
            self._wake.set()

    async def let_go(self, dump: Dump) -> None:
        """It is to be removed: what reads it is ended."""
        self._waiting.pop(dump.id, None)
        if self._under_way is not None and self._under_way[0] == dump.id:
            task = self._under_way[1]
            task.cancel()
            await asyncio.wait({task})

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._wake.wait()
            if not self._waiting:
                self._wake.clear()
                continue
            dump = self._waiting.pop(next(reversed(self._waiting)))  # the newest first
            task = asyncio.create_task(self._sum(dump), name=f"sum of {dump.id}")
            self._under_way = dump.id, task
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
                await asyncio.wait({task})
                self._under_way = None

    async def _sum(self, dump: Dump) -> None:
        try:
            await gently(lambda: self._sums.note(dump))
        except OSError as fault:
            logger.warning("no SHA-256 of %s: %s", dump.path, fault.strerror or fault)
        else:
            self._on_summed()


def _is_wanted(dump: Dump) -> bool:
    return dump.is_complete and dump.is_ours and bool(dump.folder) and not dump.sha256
