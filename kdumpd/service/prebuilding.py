"""Builds the images of kernels that can be booted next, while the machine is at rest, and gives way to everything else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kdumpd.core.plan import Plan
from kdumpd.core.problems import Problem, Severity, Trouble, errors
from kdumpd.core.status import Activity, State, Status
from kdumpd.host.gentle import gently
from kdumpd.service import journal
from kdumpd.service.ahead import Ahead
from kdumpd.service.hands import Hands, Sight, Telling
from kdumpd.service.jobs import Clock, Job, Jobs, Kind, Result, nap_until

logger = logging.getLogger(__name__)

QUIET_SECONDS: Final = 3.0  # at rest: a package that is being installed is seldom complete in one go
LEAST_SECONDS: Final = 60.0  # between two attempts
AGAIN_SECONDS: Final = 3600.0  # until a build that failed is tried again though nothing changed


ENDINGS: Final = {
    Result.CANCELLED: "it was cancelled",
    Result.SUPERSEDED: "something else comes first; it is begun again afterwards",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    """The machine has nothing to do, and this is what its other kernels want."""

    kernels: tuple[str, ...]
    inputs: str


class Prebuilding:
    """One kernel at a time, the newest first. Whatever fails here is a warning: it keeps nobody from being armed."""

    def __init__(self, *, hands: Hands, ahead: Ahead, jobs: Jobs, clock: Clock) -> None:
        self.is_done = asyncio.Event()
        """Set while nothing is to be built or removed, as far as the last look tells."""
        self.is_inhibited: Callable[[], bool] = lambda: False
        """Whether nothing is to be begun now; after a change, `follow`."""
        self.on_prepared: Callable[[], None] = lambda: None
        """Called when a kernel may have an image that it had not, or have one no longer."""
        self._hands = hands
        self._ahead = ahead
        self._jobs = jobs
        self._clock = clock
        self._rest: _Rest | None = None
        self._done: _Rest | None = None
        self._under_way: _Rest | None = None
        self._wake = asyncio.Event()
        self._interrupted = asyncio.Event()
        self._ending = Result.CANCELLED  # what becomes of the job under way when the work is cancelled
        self._put_off: dict[str, int] = {}  # image fingerprint -> until when, microseconds since epoch
        self._told: set[tuple[str, str, str]] = set()

    def follow(self, status: Status, sight: Sight) -> None:
        """A step for the running kernel ends what is under way; at rest, what changed since is a reason to begin."""
        if self.is_inhibited():
            self._rest = None
            self._interrupt(Result.SUPERSEDED)
            return
        match status.activity:
            case Activity.BUILDING | Activity.VERIFYING | Activity.LOADING:
                self._rest = None
                self._interrupt(Result.SUPERSEDED)
            case Activity.IDLE:
                # At rest and stale is what force_no_rebuild asks for, or there is no plan.
                is_armed = status.state in {State.ARMED, State.STALE} and sight.resolution.plan is not None
                self._rest = _Rest(kernels=sight.ahead if is_armed else (), inputs=sight.ahead_inputs)
                if self._rest != (self._under_way or self._done):
                    self.is_done.clear()
                    self._wake.set()
                elif self._under_way is None:
                    self.is_done.set()
            case Activity.SETTLING | Activity.WAITING:
                self._rest = None

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._until_wanted()
            self._wake.clear()
            self._interrupted = asyncio.Event()
            await nap_until(self._interrupted, self._clock, seconds=QUIET_SECONDS)
            if self._rest is None or self._interrupted.is_set():
                continue  # the next rest wakes us again
            self._wake.clear()  # whatever was told during the quiet is taken up now
            rest = self._under_way = self._rest
            if await self._all(rest):
                self._done = rest
                if not self._wake.is_set():
                    self.is_done.set()
            elif self._rest is not None:  # the machine has come to rest again while the work was ended
                self._wake.set()
            self._under_way = None

    async def _until_wanted(self) -> None:
        """Until something changed, or a build that failed has its time again."""
        if not self._put_off:
            await self._wake.wait()
            return
        left = (min(self._put_off.values()) - self._clock.now_us()) / 1e6
        await nap_until(self._wake, self._clock, seconds=min(max(left, LEAST_SECONDS), AGAIN_SECONDS))

    async def _all(self, rest: _Rest) -> bool:
        """Whether all of it was done: the running kernel, or somebody who does not want it now, may come between."""
        self._ending = Result.CANCELLED
        work = asyncio.create_task(self._work(rest), name="prebuild")
        interrupted = asyncio.create_task(self._interrupted.wait())
        try:
            await asyncio.wait({work, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            interrupted.cancel()
            await asyncio.wait({work, interrupted})
        if work.cancelled():
            return False
        work.result()
        return True

    async def _work(self, rest: _Rest) -> None:
        self._forget_old()
        for release in rest.kernels:
            await self._prepare(release)
        await self._hands.tidy()
        self.on_prepared()

    def _forget_old(self) -> None:
        now_us = self._clock.now_us()
        self._put_off = {
            fingerprint: until_us
            for fingerprint, until_us in self._put_off.items()
            if now_us < until_us <= now_us + AGAIN_SECONDS * 1e6  # else the clock was set back
        }

    async def _prepare(self, release: str) -> None:
        try:
            resolution = await gently(lambda: self._ahead.look(release))
            plan = resolution.plan
            if plan is None:
                self._warn(release, errors(resolution.problems))
                return
            if plan.image_fingerprint in self._put_off:
                return
            lacks_base, lacks_image = await gently(lambda: self._ahead.lacks(plan))
            if lacks_base or lacks_image:
                await self._build(release, plan, lacks_base=lacks_base)
            await gently(lambda: asyncio.to_thread(self._ahead.take_stock))
            self.on_prepared()
        except (Trouble, OSError, ValueError) as fault:
            self._warn(release, (journal.named(fault, code="look-failed"),))

    async def _build(self, release: str, plan: Plan, *, lacks_base: bool) -> None:
        job = self._jobs.ask(Kind.PREBUILD, kernel=release, reason=f"kernel {release} can be booted next")
        self._jobs.start(job, stop=lambda: self._stop(plan))
        logger.info("building the image of kernel %s ahead of its boot", release)
        telling = self._telling(job)
        try:
            if lacks_base:
                await gently(lambda: self._hands.build_base(plan, telling))
            await gently(lambda: self._hands.build_image(plan, telling))
        except asyncio.CancelledError:
            self._jobs.end(job, self._ending, message=ENDINGS[self._ending])
            raise
        except (Trouble, OSError, ValueError) as fault:
            problems = fault.problems if isinstance(fault, Trouble) and fault.problems else ()
            problems = problems or (journal.named(fault, code="build-failed"),)
            self._put_off[plan.image_fingerprint] = self._clock.now_us() + int(AGAIN_SECONDS * 1e6)
            self._jobs.end(job, Result.FAILED, problems=problems)
            self._warn(release, problems, of=plan.image_fingerprint)
        else:
            self._jobs.end(job, Result.DONE)
            logger.info("the image of kernel %s is ready for its first boot", release)

    def _telling(self, job: Job) -> Telling:
        """The work says in its own thread how it gets on; jobs are this loop's."""
        here = asyncio.get_running_loop()

        def enter(stage: str) -> None:
            self._jobs.enter(job, stage, cancelable=True, remaining=())

        enter("")
        return Telling(
            stage=lambda stage: _in(here, lambda: enter(stage)),
            line=lambda line: _in(here, lambda: job.say(line)),
        )

    def _stop(self, plan: Plan) -> None:
        """Somebody does not want this one now; the others may go on."""
        self._put_off[plan.image_fingerprint] = self._clock.now_us() + int(AGAIN_SECONDS * 1e6)
        self._wake.set()
        self._interrupt(Result.CANCELLED)

    def _interrupt(self, ending: Result) -> None:
        self._ending = ending
        self._interrupted.set()

    def _warn(self, release: str, problems: tuple[Problem, ...], *, of: str = "") -> None:
        """Once for each kind of fault of one plan, `of` its image's fingerprint: the next attempt meets the same."""
        for problem in problems:
            key = (release, of, problem.code)
            if key not in self._told:
                self._told.add(key)
                told = Problem(
                    code="prebuild-failed",
                    message=f"the image of kernel {release} cannot be built ahead of its boot: {problem.message}",
                    hint=problem.hint,
                    severity=Severity.WARNING,
                )
                logger.warning("%s", told)


def _in(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(tell)
