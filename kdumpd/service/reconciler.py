"""The loop that keeps the machine armed: settle, look, decide, do one step, look again, until there is nothing to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from kdumpd.core.decide import (
    Action,
    Anew,
    Blocked,
    BuildBase,
    BuildImage,
    Load,
    Nothing,
    Observed,
    Rest,
    Restore,
    Step,
    Unload,
    Wait,
    after,
    decide,
    fault_key,
    is_on_the_way,
    possible_steps,
    verb,
)
from kdumpd.core.faults import NO_FAULTS
from kdumpd.core.inhibitors import Inhibitor
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.status import Activity, Past, Status, tell
from kdumpd.service import journal
from kdumpd.service.errand import Errand, undo
from kdumpd.service.hands import Hands, Sight, Telling, take
from kdumpd.service.jobs import Clock, Job, Jobs, JobState, Result, first_of
from kdumpd.service.lookout import Lookout
from kdumpd.service.news import News
from kdumpd.service.pulse import Pulse, longest

logger = logging.getLogger(__name__)

LOOK_AGAIN: Final = 30.0  # seconds after a look that could not be taken
TICK: Final = 1.0  # seconds between two words about progress
_ANEW_ORDER = (None, Anew.LOAD, Anew.IMAGE, Anew.BASE)


class Reconciler:
    """One per daemon. `poke` says "look again, because ..."; everything else follows from what is seen."""

    def __init__(
        self,
        *,
        hands: Hands,
        jobs: Jobs,
        clock: Clock,
        on_status: Callable[[Status, Sight], None],
        pulse: Pulse,
    ) -> None:
        self.pulse = pulse
        self.inhibitors: Callable[[], tuple[Inhibitor, ...]] = tuple
        """Who is there now; after a change, `poke`. What somebody asked for goes on all the same."""
        self.looked = asyncio.Event()
        """Set once the first look is done: from then on there are `status` and `sight`."""
        self._hands = hands
        self._jobs = jobs
        self._clock = clock
        self._on_status = on_status
        self._errand = Errand(jobs)
        self._news = News()
        self._lookout = Lookout(
            hands=hands, news=self._news, clock=clock, pulse=pulse, before_look=self._errand.take_queued
        )
        self._cancel = asyncio.Event()
        self._faults = NO_FAULTS
        self._anew: Anew | None = None
        self._asked_of: dict[int, Anew | None] = {}
        """What is to be made anew for each job, by number."""
        self._is_start = True
        self._loads_afterwards = True
        self._activity = Activity.IDLE
        self._past = Past()
        self._told: tuple[Sight, Status] | None = None

    @property
    def sight(self) -> Sight:
        return self._known()[0]

    @property
    def status(self) -> Status:
        return self._known()[1]

    @property
    def unwatched(self) -> Callable[[], tuple[Problem, ...]]:
        """What cannot be watched now: while there is anything, each look is at everything."""
        return self._lookout.unwatched

    @unwatched.setter
    def unwatched(self, unwatched: Callable[[], tuple[Problem, ...]]) -> None:
        self._lookout.unwatched = unwatched

    @property
    def active_job(self) -> Job | None:
        return self._errand.first

    def poke(self, reason: str, *, urgent: bool = False) -> None:
        """Look again; what changed is found by looking. `urgent` does not wait for more of the kind."""
        self._news.poke(reason, urgent=urgent)

    def doubt(self, reason: str) -> None:
        """Glimpse, and look only where that shows something else than before: for news that is mostly about others.

        What comes together is one glimpse, a settling time later; during a step it is done after that.
        """
        self._news.doubt(reason)

    def work_for(
        self,
        job: Job,
        *,
        anew: Anew | None = None,
        loads_afterwards: bool = True,
        is_start: bool = False,
    ) -> None:
        """Take up a queued job; it ends when the machine has come to rest. Earlier faults are forgiven.

        `is_start`: somebody starts or restarts kdump, at which force_rebuild builds everything anew; not twice where
        that is being done already, as at boot.
        """
        self._is_start |= is_start and self._anew is None
        self._anew = max(self._anew, anew, key=_ANEW_ORDER.index)
        self._asked_of = {each.number: self._asked_of.get(each.number) for each in self._live()}
        self._asked_of[job.number] = max(self._asked_of.get(job.number), anew, key=_ANEW_ORDER.index)
        self._loads_afterwards = loads_afterwards
        self._faults = NO_FAULTS
        self.poke(job.reason or f"{job.kind} was asked for", urgent=True)

    async def cancel(self, job: Job) -> None:
        """End a job early. Raises Trouble when it is over, or past the point where it can be."""
        if not job.cancelable:
            raise Trouble(Problem(code="not-cancelable", message=f"job {job.number} cannot be cancelled now"))
        if job.state is JobState.QUEUED:
            self._jobs.withdraw(job)
            others = (self._asked_of.get(each.number) for each in self._live())
            self._anew = min(
                self._anew, max(others, key=_ANEW_ORDER.index, default=None), key=_ANEW_ORDER.index
            )
            said = "it was cancelled before it began"
            try:
                said = "; ".join(filter(None, (said, await undo(job))))
            finally:
                self._jobs.end(job, Result.CANCELLED, message=said)
        elif job.stop is not None:
            job.stop()
        else:
            self._cancel.set()

    def _live(self) -> tuple[Job, ...]:
        return (*self._jobs.queued, *self._jobs.running)

    async def run(self) -> None:
        """For ever. A fault that has no name ends it, and with it the daemon, which then begins again by looking."""
        self.poke("kdumpd started", urgent=True)
        while True:
            try:
                rest = await self._come_to_rest()
            except (Trouble, OSError, ValueError) as fault:
                rest = self._cannot_look(fault)
            await self._lookout.until_wanted(
                rest,
                known=self._told[0] if self._told is not None else None,
                faults=self._faults,
                forget_old=self._jobs.forget_old,
            )

    # --- a pass ---------------------------------------------------------------------------------------------------

    async def _come_to_rest(self) -> Rest:
        while True:
            sight = await self._settled()
            action = decide(sight.resolution, self._observed(sight))
            match action:
                case Nothing() | Wait() | Blocked():
                    self._activity = Activity.IDLE
                    self._publish(sight, action)
                    if not self._news.is_urgent:  # else the answer must be from a look after the asking
                        await self._end_errand(sight, action)
                    if not self._news.dirty.is_set():
                        return action
                case _:
                    await self._take(step=action, sight=sight)

    async def _settled(self) -> Sight:
        """A look on which something may be done: from after a burst of changes, where there is one."""
        if self._told is None or not self._news.dirty.is_set() or self._news.is_urgent:
            sight = await self._lookout.look()
        else:
            if self._activity is Activity.IDLE:
                self._activity = Activity.SETTLING
                self._publish(self.sight, decide(self.sight.resolution, self._observed(self.sight)))
            sight = await self._lookout.settled(self.sight)
        if self._is_start and sight.config.config is not None:
            self._is_start = False
            if sight.forces_rebuild:
                self._anew = Anew.BASE
                self._asked_of = dict.fromkeys(self._asked_of, Anew.BASE)
        possible = possible_steps(sight.resolution, self._observed(sight))
        self._faults = self._faults.only(fault_key(step) for step in possible)
        return sight

    def _observed(self, sight: Sight) -> Observed:
        return sight.observed(
            now_us=self._clock.now_us(),
            faults=self._faults,
            anew=self._anew,
            inhibitors=() if self._errand.is_asked_for else self.inhibitors(),
        )

    def _publish(self, sight: Sight, action: Action) -> None:
        status = tell(
            resolution=sight.resolution,
            observed=self._observed(sight),
            action=action,
            activity=self._activity,
            machine=sight.machine,
            stale=sight.stale,
            initramfs_built_us=sight.initramfs_built_us,
            past=self._past,
        )
        before = self._told[1] if self._told is not None else None
        self._told = (sight, status)
        self.looked.set()
        journal.tell_status(before, status)
        self._on_status(status, sight)
        self._lookout.covers(sight)

    def _known(self) -> tuple[Sight, Status]:
        if self._told is None:
            raise Trouble(Problem(code="busy", message="kdumpd has just started and not looked around yet"))
        return self._told

    def _cannot_look(self, fault: Trouble | OSError | ValueError) -> Wait:
        """The machine could not be read. What is loaded stays loaded, and what is known stays told."""
        problem = journal.named(fault, code="look-failed")
        logger.error("cannot look at the machine: %s", problem)
        return Wait(
            until_us=self._clock.now_us() + int(LOOK_AGAIN * 1e6), why=str(problem), problems=(problem,)
        )

    async def _end_errand(self, sight: Sight, rest: Rest) -> None:
        self._anew = None
        self._loads_afterwards = True
        self._cancel.clear()
        if await self._errand.end(rest, self._observed(sight)):
            self._publish(sight, rest)
            await self._hands.tidy()

    # --- one step -------------------------------------------------------------------------------------------------

    async def _take(self, *, step: Step, sight: Sight) -> None:
        job = self._errand.has_one_for(step, reason=self._lookout.reason or step.why)
        members = self._errand.members
        journal.tell_step(step, job)
        began = self.pulse.now()
        task = asyncio.create_task(self._do(step, sight), name=verb(step))
        allowed = longest(step, build_timeout_seconds=sight.build_timeout_seconds)
        with self.pulse.within(allowed, verb(step)):
            try:
                ended_early = await self._watch(task, step)
            finally:
                task.cancel()
                await asyncio.wait({task})
        fault = None if task.cancelled() else task.exception()
        if ended_early is not None and (task.cancelled() or fault is not None):
            await self._stopped(step, ended_early, members)
        elif fault is None:
            seconds = self.pulse.now() - began
            logger.debug("%s: done in %.2f s", verb(step), seconds)
            self._jobs.took(verb(step), seconds)
            self._lookout.stepped()
            self._faults = self._faults.mended(fault_key(step))
            self._anew = after(self._anew, step)
            if self._anew is Anew.LOAD and isinstance(step, BuildImage) and not self._loads_afterwards:
                self._anew = None
            now_us = self._clock.now_us()
            self._past = self._past.with_done(now_us=now_us, is_restore=isinstance(step, Restore))
        elif isinstance(fault, Trouble | OSError | ValueError):
            await self._failed(step, fault)
        else:
            raise fault

    async def _do(self, step: Step, sight: Sight) -> None:
        telling = Telling(stage=lambda stage: self._enter(step, sight, stage), line=self._errand.say)
        await take(self._hands, step, telling)

    def _enter(self, step: Step, sight: Sight, stage: str) -> None:
        match step:
            case BuildBase() | BuildImage():
                self._activity = Activity.VERIFYING if stage == "prove" else Activity.BUILDING
            case Load() | Restore() | Unload():
                self._activity = Activity.LOADING
        logger.debug("%s: %s", verb(step), stage)
        self._errand.enter(step, stage)
        self._publish(self._lookout.latest or sight, step)

    async def _watch(self, task: asyncio.Task[None], step: Step) -> Result | None:
        """Wait for a step. Gives why it is to be ended early, None when it ended by itself."""
        while True:
            early = (
                (self._cancel.wait(), self._news.dirty.wait())
                if isinstance(step, BuildBase | BuildImage)
                else ()
            )
            await first_of(asyncio.wait({task}), self._clock.sleep(TICK), *early)
            if task.done():
                return None
            self._errand.tick()
            if isinstance(step, BuildBase | BuildImage):
                if self._cancel.is_set():
                    return Result.CANCELLED
                if self._news.dirty.is_set() and not await self._is_still_wanted(step):
                    return Result.SUPERSEDED

    async def _is_still_wanted(self, step: BuildBase | BuildImage) -> bool:
        """Something changed while `step` is under way: is it still what is to be done?"""
        try:
            sight = await self._settled()
        except (Trouble, OSError, ValueError) as fault:
            logger.warning("cannot look at the machine: %s", fault)
            return True
        action = decide(sight.resolution, self._observed(sight))
        self._publish(sight, action)
        return is_on_the_way(step, action)

    async def _stopped(self, step: Step, result: Result, members: tuple[Job, ...]) -> None:
        logger.info("%s: %s", verb(step), result)
        self._cancel.clear()
        if result is Result.CANCELLED:
            # Not to be begun again at once; but whatever is asked for, and any change of plan, is heard.
            problem = Problem(code="cancelled", message=f"{verb(step)} was cancelled")
            self._faults = self._faults.put_off(fault_key(step), problem, now_us=self._clock.now_us())
            self._anew = None
        await self._errand.stop(result, only=members)
        self.poke(f"{verb(step)} was {result}", urgent=True)

    async def _failed(self, step: Step, fault: Trouble | OSError | ValueError) -> None:
        is_build = isinstance(step, BuildBase | BuildImage)
        code = "build-failed" if is_build else "load-failed"
        problems = fault.problems if isinstance(fault, Trouble) and fault.problems else ()
        problems = problems or (journal.named(fault, code=code),)
        now_us, room = self._clock.now_us(), await self._hands.room()
        self._faults = self._faults.failed(fault_key(step), problems, now_us=now_us, room=room)
        self._past = self._past.with_failed(problems[0])
        journal.tell_fault(step, problems, self._errand.first)
        if self._anew is not None:
            self._anew = None
            self._publish(
                self._lookout.latest or self.sight, step
            )  # who reads of the job's end reads the error as well
            await self._errand.fail(problems)
