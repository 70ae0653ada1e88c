"""Work that takes time, as those who wait for it see it: stage, progress, log, cancellation, result."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Protocol

from kdumpd.core.problems import Problem, Trouble

LINES_KEPT = 4000
LONGEST_LINE = 1000  # characters
TAIL_LINES = 10
FINISHED_KEPT = 16
KEPT_SECONDS = 60.0
QUEUED_MOST = 64


class Kind(StrEnum):
    REBUILD = "rebuild"
    RELOAD = "reload"
    UNLOAD = "unload"
    ENABLE = "enable"
    TARGET_TEST = "target-test"
    PROPAGATE = "propagate"
    PREBUILD = "prebuild"
    CRASHKERNEL = "crashkernel"


class JobState(StrEnum):
    QUEUED = "queued"
    AUTHORIZING = "authorizing"
    RUNNING = "running"
    DONE = "done"


class Result(StrEnum):
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    SUPERSEDED = "superseded"


class Clock(Protocol):
    """Time, so that a test can have its own."""

    def now_us(self) -> int:
        """Microseconds since epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...


async def first_of(*waiting: Awaitable[object]) -> None:
    """Wait for one of them and end the others: no task is left behind."""
    tasks = {asyncio.ensure_future(one) for one in waiting}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def nap_until(event: asyncio.Event, clock: Clock, *, seconds: float) -> None:
    """Until the event is set, or for so long at most."""
    await first_of(event.wait(), clock.sleep(seconds))


def boottime() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    import time

    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RealClock:
    """The time of this machine."""

    def now_us(self) -> int:
        import time

        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Lines of a log from `offset` on; `next_offset` asks for what follows."""

    lines: tuple[str, ...]
    next_offset: int
    is_end: bool


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One piece of work. Only `Jobs` changes it; times are microseconds since epoch, 0 = not yet or unknown."""

    number: int
    kind: Kind
    kernel: str
    reason: str
    uid: int
    queued_us: int
    state: JobState = JobState.QUEUED
    stage: str = ""
    cancelable: bool = True
    started_us: int = 0
    expected_end_us: int = 0
    end_us: int = 0
    progress: float = 0.0
    progress_valid: bool = False
    result: str = ""
    problems: tuple[Problem, ...] = ()
    message: str = ""
    undo: Callable[[], Awaitable[str]] | None = None
    """Takes back what the job was begun for when it fails; says what it did in one sentence, or nothing."""
    stop: Callable[[], None] | None = None
    """Ends work that is not the reconciler's."""
    is_withdrawn: bool = False
    """It waits no more, and what it was begun for is being taken back."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    _lines_seen: int = 0

    @property
    def tail(self) -> tuple[str, ...]:
        return tuple(islice(self._lines, max(0, len(self._lines) - TAIL_LINES), None))

    def say(self, line: str) -> None:
        self._lines.append(line[:LONGEST_LINE])
        self._lines_seen += 1

    def page(self, *, offset: int, most: int, fit: Callable[[tuple[str, ...], int], tuple[str, ...]]) -> Page:
        """Up to `most` lines from the `offset`th on, or from the oldest that is kept; `fit` bounds their size."""
        first = self._lines_seen - len(self._lines)
        start = min(max(offset, first), self._lines_seen)
        lines = fit(tuple(islice(self._lines, start - first, None)), most)
        after = start + len(lines)
        return Page(
            lines=lines,
            next_offset=after,
            is_end=after >= self._lines_seen and self.state is JobState.DONE,
        )


class Audience(Protocol):
    """Who is told of jobs, in this order: new, changed as often as it happens, ended, forgotten."""

    def job_new(self, job: Job) -> None: ...
    def job_changed(self, job: Job) -> None: ...
    def job_ended(self, job: Job) -> None: ...
    def job_forgotten(self, job: Job) -> None: ...


class Nobody:
    """An audience that does not listen."""

    def job_new(self, job: Job) -> None: ...
    def job_changed(self, job: Job) -> None: ...
    def job_ended(self, job: Job) -> None: ...
    def job_forgotten(self, job: Job) -> None: ...


class Jobs:
    """All jobs, the finished among them for a minute."""

    def __init__(self, clock: Clock) -> None:
        self.audience: Audience = Nobody()
        self.on_end: Callable[[], None] = lambda: None
        """Called after each job, whoever did it."""
        self.on_result: Callable[[Job], None] = lambda _job: None
        """Called with each job that ended, before that."""
        self._clock = clock
        self._next = 1
        self._live: dict[int, Job] = {}
        self._finished: deque[Job] = deque()
        self._last_seconds: dict[str, float] = {}

    @property
    def known(self) -> tuple[Job, ...]:
        """All that can still be read, oldest first."""
        return tuple(sorted((*self._live.values(), *self._finished), key=lambda job: job.number))

    @property
    def queued(self) -> tuple[Job, ...]:
        return tuple(
            job for job in self._live.values() if job.state is JobState.QUEUED and not job.is_withdrawn
        )

    @property
    def running(self) -> tuple[Job, ...]:
        return tuple(job for job in self._live.values() if job.state is JobState.RUNNING)

    def ask(
        self,
        kind: Kind,
        *,
        kernel: str = "",
        reason: str = "",
        uid: int = 0,
        undo: Callable[[], Awaitable[str]] | None = None,
    ) -> Job:
        """A queued job; the same request that still waits is that job again. Raises Trouble when too many wait."""
        if undo is None:
            for waiting in self.queued:
                if (waiting.kind, waiting.kernel, waiting.reason) == (kind, kernel, reason):
                    return waiting
        if len(self.queued) >= QUEUED_MOST:
            raise Trouble(Problem(code="busy", message=f"{QUEUED_MOST} jobs wait already"))
        job = Job(
            number=self._next,
            kind=kind,
            kernel=kernel,
            reason=reason,
            uid=uid,
            queued_us=self._clock.now_us(),
            undo=undo,
        )
        self._next += 1
        self._live[job.number] = job
        self.audience.job_new(job)
        return job

    def start(self, job: Job, *, stop: Callable[[], None] | None = None) -> None:
        """`stop` is how work that is not the reconciler's is ended early, where it can be."""
        job.state = JobState.RUNNING
        job.stop = stop
        job.started_us = self._clock.now_us()
        self.audience.job_changed(job)

    def withdraw(self, job: Job) -> None:
        """Nobody is to take up a queued job any more; it is ended when it is taken back."""
        job.is_withdrawn = True
        job.cancelable = False
        self.audience.job_changed(job)

    def enter(self, job: Job, stage: str, *, cancelable: bool, remaining: Iterable[str]) -> None:
        """A new stage. `remaining` names the steps from this one on: how long they took last time is the forecast."""
        job.stage = stage
        job.cancelable = cancelable
        seconds = [self._last_seconds.get(step) for step in remaining]
        known = [one for one in seconds if one is not None]
        job.progress_valid = bool(seconds) and len(known) == len(seconds)
        job.expected_end_us = self._clock.now_us() + int(sum(known) * 1e6) if job.progress_valid else 0
        self.advance(job)

    def advance(self, job: Job) -> None:
        """Say how far the job is by now; a job that takes longer than the last one stays just below the end."""
        if job.progress_valid and job.state is JobState.RUNNING:
            whole = max(job.expected_end_us - job.started_us, 1)
            spent = self._clock.now_us() - job.started_us
            job.progress = max(job.progress, min(round(spent / whole, 2), 0.99))
        self.audience.job_changed(job)

    def took(self, step: str, seconds: float) -> None:
        """Remember how long a step took when it went well."""
        self._last_seconds[step] = seconds

    def end(self, job: Job, result: Result, *, problems: tuple[Problem, ...] = (), message: str = "") -> None:
        """The job is over; it can be read for another minute."""
        if job.state is JobState.DONE:
            return
        job.state = JobState.DONE
        job.cancelable = False
        job.result = result
        job.problems = problems
        job.message = message or "; ".join(str(problem) for problem in problems)
        job.end_us = self._clock.now_us()
        if result is Result.DONE:
            job.progress, job.progress_valid = 1.0, True
        del self._live[job.number]
        self._finished.append(job)
        self.audience.job_ended(job)
        job.ended.set()
        self.on_result(job)
        self.on_end()
        while len(self._finished) > FINISHED_KEPT:
            self.audience.job_forgotten(self._finished.popleft())

    def forget_old(self) -> float | None:
        """Forget what ended a minute ago; gives the seconds until the next one, None where there is none.

        What ended later than now, by a clock that was set back since, is forgotten as well.
        """
        now = self._clock.now_us()
        while self._finished and not 0 <= now - self._finished[0].end_us < KEPT_SECONDS * 1e6:
            self.audience.job_forgotten(self._finished.popleft())
        return KEPT_SECONDS - (now - self._finished[0].end_us) / 1e6 if self._finished else None
