"""The test crash: tokens for those who were shown what it does, the crash, and after the reboot what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from kdumpd.core.crash_test import (
    ADMISSION_SECONDS,
    PATIENCE_SECONDS,
    SYNC_SECONDS,
    TOKEN_SECONDS,
    Marker,
    Record,
    Token,
    after_start,
    begun,
    fault_of,
    judged,
    marked,
    obstacle,
    overrules,
    taken_back,
    to_be_judged,
    with_room_for,
)
from kdumpd.core.dumps import Dump
from kdumpd.core.history import Entry
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.status import Status
from kdumpd.core.target_test import TargetTest
from kdumpd.core.targets import where_to
from kdumpd.host.crash import CrashTestFile
from kdumpd.host.doors import Files, text
from kdumpd.host.finishing import finish_writing
from kdumpd.service.bus import BusError, Caller, ErrorName, Value, clean
from kdumpd.service.finds import Finds
from kdumpd.service.hands import Sight
from kdumpd.service.history import History
from kdumpd.service.jobs import Clock, boottime, nap_until
from kdumpd.service.journal import named, tell_crash, tell_crash_outcome

logger = logging.getLogger(__name__)

KIND = "test-crash"
"""Of entries of the history, and `job.kind` for rules of polkit."""
LOST = (
    "the machine goes down at once; what programs have not yet written to files is lost, services and sessions "
    "end, and the machine is back only when the dump is saved and it has booted again"
)
_LONGEST_CAPTURE = 1e6  # seconds


class CrashDoor(Protocol):
    """See host.crash."""

    async def sync(self) -> None: ...
    async def happen(self, identity: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the test crash asks of everyone else at the moment it is asked for."""

    status: Callable[[], Status]
    sight: Callable[[], Sight]
    require_uninhibited: Callable[[], None]
    """Raises Trouble."""
    target_test: Callable[[], TargetTest]
    is_recovering: Callable[[], bool]
    """Whether a dump is being taken off a raw device."""


class Crashing:
    def __init__(
        self,
        *,
        crash: CrashDoor,
        memory: CrashTestFile,
        files: Files,
        around: Surroundings,
        finds: Finds,
        history: History,
        clock: Clock,
        is_here: bool = True,
        now: Callable[[], float] = boottime,
    ) -> None:
        """`is_here`: the files are those of the machine that would crash, or none would."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after each change of `record`."""
        self.record = Record()
        self._crash = crash
        self._memory = memory
        self._around = around
        self._finds = finds
        self._history = history
        self._clock = clock
        self._is_here = is_here
        self._now = now
        self._boot_id = text(files, "/proc/sys/kernel/random/boot_id")
        self._given: dict[str, Token] = {}
        self._taken: dict[str, Token] = {}
        """Used by a call that is not served yet: polkit may ask for a password meanwhile, and may refuse it."""
        self._is_underway = False
        self._searched = asyncio.Event()
        self._unwritten = asyncio.Event()

    # before the crash

    async def prepare(self, caller: Caller) -> tuple[str, int, Mapping[str, Value]]:
        """A token, when it expires (microseconds since epoch), and what would happen. Raises Trouble where none may."""
        uid = await caller.uid()
        self._require_ready()
        token = Token(
            text=secrets.token_hex(16),
            sender=caller.sender,
            uid=uid,
            boot_id=self._boot_id,
            load=self._load(),
            until=self._now() + TOKEN_SECONDS,
        )
        self._given = {**with_room_for(uid, self._given, now=self._now()), token.text: token}
        return token.text, self._clock.now_us() + round(TOKEN_SECONDS * 1e6), self._plan()

    def take(self, sender: str, text: str) -> None:
        """Before anybody is asked for a password, whatever comes of that. Raises BusError (TokenInvalid)."""
        token = self._given.get(text)
        now = self._now()
        fault = fault_of(token, sender=sender, boot_id=self._boot_id, load=self._load(), now=now)
        if token is None or fault is not None:
            raise BusError(ErrorName.TOKEN_INVALID, f"{fault}.")
        del self._given[text]
        others = with_room_for(token.uid, self._taken, now=now)
        self._taken = {**others, text: replace(token, until=now + ADMISSION_SECONDS)}

    async def crash(self, caller: Caller, text: str) -> None:
        """Does not return where the machine crashes. Raises Trouble or BusError where it did not."""
        token = self._taken.pop(text, None)
        # It was good when it was taken: how long a password took to be typed is no fault of the caller's.
        fault = fault_of(token, sender=caller.sender, boot_id=self._boot_id, load=self._load(), now=0.0)
        if token is None or fault is not None:
            raise BusError(ErrorName.TOKEN_INVALID, f"{fault}.")
        self._require_ready()
        self._is_underway = True
        try:
            marker = self._marker(token)
            with self._taken_back_where_it_did_not_crash():
                await self._begin(marker)
                await self._crash.sync()
                self._require_same(token)
                await self._crash.happen(marker.id)
        finally:
            self._is_underway = False

    # after the reboot

    async def remember(self) -> None:
        """What the last start left behind. Before anything is told of dumps."""
        found = await asyncio.to_thread(self._memory.read)
        self.record = after_start(found, boot_id=self._boot_id)
        if self.record != found:
            logger.warning("a test crash was about to begin when kdumpd ended: the machine did not crash")
            self._unwritten.set()

    def marked(self, dumps: tuple[Dump, ...]) -> tuple[Dump, ...]:
        """With what only we know: which of them is of a test crash whose image could not say so."""
        return marked(dumps, self.record)

    def found(self, dumps: tuple[Dump, ...]) -> None:
        """Told of each search for dumps."""
        self._judge(dumps, is_over=False)
        self._searched.set()

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wait_for_dumps(), name="patience with a test crash")
            while True:
                await self._unwritten.wait()
                self._unwritten.clear()
                try:
                    await asyncio.to_thread(self._memory.write, self.record)
                except OSError as fault:  # the next start comes to the same result
                    logger.warning("what a test crash came to cannot be written down: %s", fault)

    async def _wait_for_dumps(self) -> None:
        if self.record.pending is None:
            return
        if not self._searched.is_set():
            await nap_until(self._searched, self._clock, seconds=PATIENCE_SECONDS)
        await self._clock.sleep(PATIENCE_SECONDS)
        while self._around.is_recovering():
            await self._clock.sleep(PATIENCE_SECONDS)
        if self.record.pending is not None:
            self._judge(self._finds.known, is_over=True)

    def _judge(self, dumps: tuple[Dump, ...], *, is_over: bool) -> None:
        marker = to_be_judged(self.record, boot_id=self._boot_id)
        if marker is None:
            return
        outcome = judged(marker, dumps, is_over=is_over, now_us=self._clock.now_us())
        if outcome is None or not overrules(outcome, self.record):
            return
        self.record = Record(last=outcome)
        self._unwritten.set()
        tell_crash_outcome(outcome)
        self._history.note(_entry(marker, outcome.result, outcome.message, time_us=outcome.decided_us))
        self.on_change()

    # ---

    async def _begin(self, marker: Marker) -> None:
        """On the disk, in the history and in the journal. Raises Trouble where the next boot would not know of it."""
        self.record = record = begun(self.record, marker)  # whoever is ended meanwhile has it to take back
        try:
            await finish_writing(lambda: self._memory.write(record))
        except OSError as fault:
            raise Trouble(named(fault, code="failed")) from fault
        self.on_change()
        tell_crash(marker)
        self._history.note(_entry(marker, "pending", f"the dump is to go to {marker.target}"))
        await self._history.write()

    @contextlib.contextmanager
    def _taken_back_where_it_did_not_crash(self) -> Iterator[None]:
        """Whoever leaves this has not crashed: no next boot is to look for a dump."""
        try:
            yield
        except BaseException as fault:
            self._take_back(str(fault) or "kdumpd ended")
            raise

    def _take_back(self, why: str) -> None:
        marker = self.record.pending
        if marker is None:
            return
        self.record = taken_back(self.record)
        try:
            self._memory.write(self.record)  # here and now: who ends us does not wait for a thread
        except OSError as fault:  # the next start of this boot knows that there was no crash
            logger.warning("that there was no test crash cannot be written down: %s", fault)
        self._history.note(_entry(marker, "not-crashed", why, time_us=self._clock.now_us()))
        self.on_change()

    def _require_same(self, token: Token) -> None:
        self._require_ready(is_mine=True)
        if self._load() != token.load:
            raise BusError(ErrorName.TOKEN_INVALID, "Something else was loaded meanwhile.")

    def _require_ready(self, *, is_mine: bool = False) -> None:
        """Raises Trouble where a test crash would be none, or not now."""
        if not self._is_here or not self._boot_id:
            told = "only the kdumpd that runs on a machine itself crashes it"
            raise Trouble(Problem(code="not-supported", message=told))
        if self._is_underway and not is_mine:
            raise Trouble(Problem(code="busy", message="a test crash is under way already"))
        self._around.require_uninhibited()
        problem = obstacle(self._around.status())
        if problem is not None:
            raise Trouble(problem)

    def _load(self) -> str:
        armed = self._around.sight().armed
        return armed.load if armed is not None else ""

    def _marker(self, token: Token) -> Marker:
        sight = self._around.sight()
        return Marker(
            id=secrets.token_hex(16),
            boot_id=self._boot_id,
            time_us=self._clock.now_us(),
            uid=token.uid,
            target=clean(where_to(sight.resolution.plan.target)) if sight.resolution.plan else "",
            image=sight.armed.image if sight.armed else "",
            load=token.load,
        )

    def _plan(self) -> Mapping[str, Value]:
        sight, tested = self._around.sight(), self._around.target_test()
        plan, config = sight.resolution.plan, sight.config.config
        target = dict(plan.target) if plan is not None else {}
        return {
            "state": str(self._around.status().state),
            "where": clean(where_to(target)),
            "target": {name: clean(value) for name, value in target.items()},
            "kernel": clean(plan.base.kernel_release) if plan is not None else "",
            "final-action": str(config.final_action) if config is not None else "",
            "failure-action": str(config.failure_action) if config is not None else "",
            "lost": LOST,
            "sync-seconds": SYNC_SECONDS,
            "capture-seconds": self._last_capture_seconds(),
            "forecast-bytes": tested.forecast_bytes,
            "free-bytes": tested.free_bytes,
            "target-test": str(tested.verdict),
            "target-test-message": clean(tested.message) if tested.tested_us else "",
        }

    def _last_capture_seconds(self) -> float:
        """Of the last good one that nobody but root can tell lies about; 0.0 where there is none."""
        took = [
            dump.seconds
            for dump in self._finds.known
            if dump.is_complete and (dump.is_ours or dump.is_record) and 0 < dump.seconds < _LONGEST_CAPTURE
        ]
        return took[-1] if took else 0.0


def _entry(marker: Marker, result: str, message: str, *, time_us: int = 0) -> Entry:
    return Entry(
        time_us=time_us or marker.time_us,
        kind=KIND,
        result=result,
        error="" if result != "failed" else "test-crash-failed",
        message=message,
        uid=marker.uid,
        image=marker.image,
        load=marker.load,
    )
