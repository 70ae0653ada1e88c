"""Tests the target before a crash has to: after each change of it, now and then, and when somebody asks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence

from kdumpd.core.forecast import Pages, forecast
from kdumpd.core.problems import Problem, Trouble, errors
from kdumpd.core.status import Activity, State, Status
from kdumpd.core.target_test import (
    NEVER,
    Reached,
    TargetTest,
    Verdict,
    at_node,
    judged,
    required,
    ssh_trial,
    unreachable,
)
from kdumpd.host.target_test import TargetTests
from kdumpd.service.hands import Sight
from kdumpd.service.jobs import Clock, Job, Jobs, Kind, Result, nap_until

logger = logging.getLogger(__name__)

HOUR = 3600.0
NAP_SECONDS = 6 * HOUR  # a machine may sleep, and its interval may be changed
BUSY_SECONDS = 60.0  # until a test is tried again for which there was no room


class Proving:
    """One test at a time. It stands in nobody's way: what is armed stays armed, whatever a test finds."""

    def __init__(
        self, *, tests: TargetTests, jobs: Jobs, clock: Clock, saved: Callable[[], Sequence[int]]
    ) -> None:
        self.last: TargetTest = NEVER
        """Of the configured target."""
        self.on_change: Callable[[], None] = lambda: None
        self._tests = tests
        self._jobs = jobs
        self._clock = clock
        self._saved = saved
        self._settled = "", 0
        """The configured target that was last tested, or whose test was cancelled, and when: microseconds since epoch."""
        self._wanted = ""
        self._asked: list[tuple[Job, Mapping[str, str]]] = []
        self._working: tuple[Job, asyncio.Task[None]] | None = None
        self._again = asyncio.Event()
        self._pages: tuple[int, Pages | None] = 0, None

    def ask(self, target: Mapping[str, str], *, uid: int = 0) -> Job:
        """A job that tests `target`, or the configured one where it is empty; the same that waits is that job.

        Raises Trouble for a target that is none.
        """
        checked = required(target) if target else {}
        for waiting, its_target in self._asked:
            if its_target == checked:
                return waiting
        if len(self._asked) >= 4:
            raise Trouble(Problem(code="busy", message="other targets are being tested; ask again"))
        job = self._jobs.ask(Kind.TARGET_TEST, reason="a test of the target was asked for", uid=uid)
        self._begin(job)
        self._asked.append((job, checked))
        self._again.set()
        return job

    def follow(self, status: Status, sight: Sight) -> None:
        """Test what is armed, where it is another target than was tested; once the machine is at rest."""
        plan = sight.resolution.plan
        if plan is None or status.state is not State.ARMED or status.activity is not Activity.IDLE:
            return
        self._wanted = _identity(plan.target)
        if self._wanted != self._settled[0] and sight.target_test_hours:
            self._again.set()

    async def run(self, sight: Callable[[], Sight]) -> None:
        """For ever."""
        while True:
            self._again.clear()
            while self._asked:
                await self._carry_out(*self._asked.pop(0), sight())
            is_put_off = False
            if self._wanted and self._is_due(sight()):
                is_put_off = not await self._work_by_itself(sight())
            if not self._again.is_set():
                nap = BUSY_SECONDS if is_put_off else self._seconds_left(sight())
                await nap_until(self._again, self._clock, seconds=nap)

    async def _work_by_itself(self, sight: Sight) -> bool:
        """A test that nobody asked for; False where there is no room for it now."""
        try:
            job = self._jobs.ask(Kind.TARGET_TEST, reason="the target is tested from time to time")
        except Trouble as trouble:
            logger.warning("the target is tested later: %s", trouble)
            return False
        self._begin(job)
        wanted = self._wanted
        await self._carry_out(job, {}, sight)
        if job.result == Result.CANCELLED:  # somebody does not want it, and would not a second later
            self._settled = wanted, self._clock.now_us()
        return True

    def _is_due(self, sight: Sight) -> bool:
        if not sight.target_test_hours:
            return False
        target, counted_us = self._settled
        since = (self._clock.now_us() - counted_us) / 1e6
        return self._wanted != target or not 0 <= since < sight.target_test_hours * HOUR

    def _seconds_left(self, sight: Sight) -> float:
        hours = sight.target_test_hours
        target, counted_us = self._settled
        left = counted_us / 1e6 + hours * HOUR - self._clock.now_us() / 1e6
        return min(max(left, 1.0), NAP_SECONDS) if hours and target else NAP_SECONDS

    def _begin(self, job: Job) -> None:
        """Running from the start: what is queued is the reconciler's."""
        self._jobs.start(job, stop=lambda: self._stop(job))
        self._jobs.enter(job, "test target", cancelable=True, remaining=())

    def _stop(self, job: Job) -> None:
        """Somebody cancels it. What it mounted is unmounted, and what it wrote is removed, before the next begins."""
        if self._working is not None and self._working[0] is job:
            self._working[1].cancel()
        else:
            self._asked = [(other, target) for other, target in self._asked if other is not job]
        self._jobs.end(job, Result.CANCELLED, message="it was cancelled")

    async def _carry_out(self, job: Job, asked: Mapping[str, str], sight: Sight) -> None:
        work = asyncio.create_task(self._work(job, asked, sight), name=f"target test {job.number}")
        self._working = job, work
        try:
            await work
        except asyncio.CancelledError:
            here = asyncio.current_task()
            if here is not None and here.cancelling():  # it is we who end, and not the job alone
                raise
        finally:
            self._working = None

    async def _work(self, job: Job, asked: Mapping[str, str], sight: Sight) -> None:
        plan, read = sight.resolution.plan, sight.config.config
        configured = plan.target if plan is not None else {}
        target = asked or configured
        try:
            reached, problems = await self._reach(target, sight, job.say)
            pages = await self._counted() if reached is not None else None
        except asyncio.CancelledError:
            self._jobs.end(job, Result.CANCELLED, message="kdumpd ends")
            raise
        expected = (
            forecast(
                read.core_collector,
                memory_bytes=sight.machine.memory_bytes,
                pages=pages,
                saved_bytes=self._saved(),
            )
            if read is not None
            else None
        )
        found = judged(reached, problems, forecast=expected, now_us=self._clock.now_us())
        job.say(found.message)
        if target == configured:
            self._tell(found, _identity(configured))
        result = Result.FAILED if errors(found.problems) else Result.DONE
        self._jobs.end(job, result, problems=errors(found.problems), message=found.message)

    async def _counted(self) -> Pages | None:
        """Counting takes makedumpfile seconds to a minute, so it is done once an hour at most."""
        now_us = self._clock.now_us()
        counted_us, pages = self._pages
        if pages is None or not 0 <= now_us - counted_us < HOUR * 1e6:
            pages = await self._tests.pages()
            self._pages = now_us, pages
        return pages

    async def _reach(
        self, target: Mapping[str, str], sight: Sight, say: Callable[[str], None]
    ) -> tuple[Reached | None, tuple[Problem, ...]]:
        if not target:
            wrong = errors(sight.resolution.problems)
            why = str(wrong[0]) if wrong else "the configuration says none"
            return None, (unreachable("the target", why),)
        try:
            plan = sight.resolution.plan
            trial = ssh_trial(plan) if plan is not None and target == plan.target else None
            found = at_node(required(target, trial=trial), sight.machine)
            return await self._tests.reach(found, say=say, trial=trial), ()
        except Trouble as trouble:
            return None, trouble.problems

    def _tell(self, found: TargetTest, identity: str) -> None:
        level = logging.INFO if found.verdict is Verdict.PASSED else logging.WARNING
        logger.log(level, "test of the target: %s", found.message)
        self.last, self._settled = found, (identity, found.tested_us)
        self.on_change()


def _identity(target: Mapping[str, str]) -> str:
    return json.dumps(dict(target), sort_keys=True)
