"""The dumps that there are, and which of them nobody was told of yet."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from kdumpd.core.dumps import ON_ROOTFS, Dump, DumpPlace, dump_place
from kdumpd.core.problems import Problem
from kdumpd.core.pstore import joined
from kdumpd.host.captures import Captures
from kdumpd.host.doors import Files
from kdumpd.host.dumps import Dumps
from kdumpd.host.pstore import Pstore
from kdumpd.service.hands import Sight
from kdumpd.service.jobs import Clock, nap_until
from kdumpd.service.journal import tell_dump

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""What a look may take of the time of who wants a dump removed: on a disk that stalls it has no end."""

NAP_SECONDS = 3600.0
"""Until dumps are looked for again: somebody may have removed one. Each search wakes some threads thirty times."""

JOINED_AT_MOST = 256
"""Dumps, the newest, that records of the firmware's store are looked for: it does not keep them for long."""


class Finds:
    """Looks at the start, when the target is another one, when it is poked, and now and then.

    What was told of is remembered in `memory`. Where there is no such file yet, nothing that is already there is new.
    """

    def __init__(
        self,
        *,
        dumps: Dumps,
        files: Files,
        memory: str,
        clock: Clock,
        captures: Captures,
        pstore: Pstore,
    ) -> None:
        self.known: tuple[Dump, ...] = ()
        self.on_change: Callable[[tuple[Dump, ...]], None] = lambda _new: None
        """Called after each look with those that are new."""
        self.marked: Callable[[tuple[Dump, ...]], tuple[Dump, ...]] = lambda dumps: dumps
        """Given all that were found, tells more of those of which somebody else knows more."""
        self._dumps = dumps
        self._files = files
        self._memory = memory
        self._clock = clock
        self._captures = captures
        self._pstore = pstore
        self.on_measured: Callable[[], None] = lambda: None
        """Called when a capture was found that says how much memory it took."""
        self._searched: _Search | None = None
        self._problems: tuple[Problem, ...] = ()  # of the last look, told by then
        self._again = asyncio.Event()
        self._looking = asyncio.Lock()

    @property
    def latest(self) -> str:
        """The id of the newest, "" where there is none."""
        return self.known[-1].id if self.known else ""

    @asynccontextmanager
    async def while_none_looks(self) -> AsyncIterator[None]:
        """For who asks whether anybody has a file of a dump open: a look has. One that takes long keeps nobody waiting."""
        is_ours = False
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                is_ours = await self._looking.acquire()
        try:
            yield
        finally:
            if is_ours:
                self._looking.release()

    def poke(self) -> None:
        self._again.set()

    def forget(self, dump: Dump) -> None:
        """It was removed: say so at once, and look whether it is so."""
        self.known = tuple(each for each in self.known if each.id != dump.id)
        self.on_change(())
        self.poke()

    def follow(self, sight: Sight) -> None:
        """Look again where the target is another one than was searched."""
        search = _search(sight)
        if (search.place is not None or search.recovered) and search != self._searched:
            self.poke()

    async def run(self, sight: Callable[[], Sight]) -> None:
        """For ever."""
        while True:
            self._again.clear()
            try:
                await self.look(sight())
            except OSError as fault:
                logger.warning("dumps cannot be looked for: %s", fault)
            nap = min(sight().slow_poll_seconds, NAP_SECONDS)
            await nap_until(self._again, self._clock, seconds=nap)

    async def look(self, sight: Sight) -> None:
        """Look once, and tell of what is new."""
        search = _search(sight)
        async with self._looking:
            found = await self._dumps.look(
                search.place,
                mounts=sight.machine.mounts,
                on_rootfs=search.on_rootfs,
                recovered=search.recovered,
                may_mount=search != self._searched,
            )
        for problem in found.problems:
            if problem not in self._problems:
                logger.warning("%s", problem)
        self._problems = found.problems
        self._searched = search
        self.known = self.marked(await asyncio.to_thread(self._with_pstore, found.dumps))
        measured = [dump.capture for dump in found.dumps if dump.capture is not None]
        if await asyncio.to_thread(self._captures.learn, measured):
            self.on_measured()
        told = await asyncio.to_thread(self._told)
        present = [dump.id for dump in found.dumps]
        new = tuple(dump for dump in self.known if told is not None and dump.id not in told)
        if told is None or new:
            # Those that are gone are kept: a target that is not mounted just now makes nothing new.
            await asyncio.to_thread(self._remember, tuple(dict.fromkeys((*(told or ()), *present))))
        for dump in new:
            tell_dump(dump)
        self.on_change(new)

    def _with_pstore(self, dumps: tuple[Dump, ...]) -> tuple[Dump, ...]:
        of_crash = joined(dumps[-JOINED_AT_MOST:], self._pstore.records()) if dumps else {}
        return tuple(
            replace(dump, pstore_files=of_crash[dump.id]) if dump.id in of_crash else dump for dump in dumps
        )

    def _told(self) -> tuple[str, ...] | None:
        try:
            read = json.loads(self._files.read_bytes(self._memory))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as fault:
            logger.warning("%s cannot be read, so known dumps may be told of again: %s", self._memory, fault)
            return ()
        return tuple(str(each) for each in read) if isinstance(read, list) else ()

    def _remember(self, identities: tuple[str, ...]) -> None:
        try:
            self._files.make_folder(self._memory.rpartition("/")[0])
            self._files.write(self._memory, json.dumps(identities).encode())
        except OSError as fault:
            logger.warning(
                "%s cannot be written, so these dumps may be told of again: %s", self._memory, fault
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """Where dumps go: the target, and the directory of the root file system where failure_action may save them."""

    place: DumpPlace | None = None
    on_rootfs: str = ""
    recovered: str = ""  # the directory into which dumps on a raw device are recovered


def told_target(sight: Sight) -> Mapping[str, str]:
    """What the plan says of its target; under a broken configuration, what is loaded does. Empty: neither."""
    plan = sight.resolution.plan
    if plan is not None:
        return plan.target
    for record in (sight.armed, sight.last_good):
        description = record.description if record is not None else None
        target = description.get("target") if isinstance(description, Mapping) else None
        if isinstance(target, Mapping):
            return {key: str(value) for key, value in target.items()}
    return {}


def _search(sight: Sight) -> _Search:
    target = told_target(sight)
    return _Search(
        place=dump_place(target),
        on_rootfs=target.get(ON_ROOTFS, ""),
        recovered=target.get("directory", "") if target.get("type") == "raw" else "",
    )
