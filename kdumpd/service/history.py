"""Notes what happens for whoever asks later, also after the next start."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from kdumpd.core.history import KEPT, LONGEST_TEXT, STATE, Entry, is_another_state, of_state
from kdumpd.core.status import Status
from kdumpd.host.history import HistoryFile
from kdumpd.service.hands import Sight
from kdumpd.service.jobs import Clock, Job, Kind, Result

logger = logging.getLogger(__name__)

_OF_THE_PLAN = frozenset({Kind.REBUILD, Kind.RELOAD, Kind.ENABLE})


class History:
    """`follow`, `job_ended` and `note` only note; `run` writes. What could not be written is written with the next entry."""

    def __init__(self, file: HistoryFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._unwritten: deque[Entry] = deque(maxlen=KEPT)
        self._last_state: Entry | None = None
        self._sight: Sight | None = None
        self._turn = asyncio.Lock()
        self._noted = asyncio.Event()
        self._is_failing = False

    async def remember(self) -> None:
        """What the last start left behind: the same state again is no news. Before anything is noted."""
        self._last_state = next((entry for entry in await self.latest() if entry.kind == STATE), None)

    def follow(self, status: Status, sight: Sight) -> None:
        self._sight = sight
        armed = sight.armed if status.crash_kernel_loaded else None
        entry = of_state(
            status,
            time_us=self._clock.now_us(),
            image=armed.image if armed is not None else "",
            load=armed.load if armed is not None else "",
        )
        if is_another_state(entry, self._last_state):
            self._last_state = entry
            self.note(entry)

    def job_ended(self, job: Job) -> None:
        plan = self._sight.resolution.plan if self._sight is not None else None
        if job.kind not in _OF_THE_PLAN:
            plan = None
        self.note(
            Entry(
                time_us=job.end_us,
                kind=str(job.kind),
                result=job.result,
                why=(job.reason or job.kernel)[:LONGEST_TEXT],
                error=job.problems[0].code if job.problems else "",
                message="" if job.result == Result.DONE else job.message[:LONGEST_TEXT],
                seconds=max(job.end_us - job.started_us, 0) / 1e6 if job.started_us else 0.0,
                uid=job.uid,
                image=plan.image_fingerprint if plan is not None else "",
                load=plan.load_fingerprint if plan is not None else "",
            )
        )

    def note(self, entry: Entry) -> None:
        """It is written soon, or by `write`."""
        self._unwritten.append(entry)
        self._noted.set()

    async def latest(self, most: int = KEPT) -> tuple[Entry, ...]:
        """The newest first. A file that cannot be read hides what is in it, and no more than that."""
        async with self._turn:
            try:
                known = await asyncio.to_thread(self._file.read)
            except OSError as fault:
                logger.warning("the history cannot be read: %s", fault)
                known = ()
            return (*known, *self._unwritten)[::-1][:most]

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._noted.wait()
            self._noted.clear()
            await self.write()

    async def write(self) -> None:
        """All that was noted so far."""
        async with self._turn:
            entries = tuple(self._unwritten)
            if not entries:
                return
            try:
                await asyncio.to_thread(self._file.append, entries)
            except OSError as fault:
                if not self._is_failing:
                    logger.warning("the history cannot be written: %s", fault)
                self._is_failing = True
                return
            self._is_failing = False
            written = set(map(id, entries))
            self._unwritten = deque((e for e in self._unwritten if id(e) not in written), maxlen=KEPT)
