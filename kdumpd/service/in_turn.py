"""Jobs beside the reconciler's, one after the other in nobody's way: who waits, and who is at work and says so, can be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.jobs import Job, Jobs, Result

WAITING_MOST = 4

Work = Callable[[Job], Awaitable[None]]
"""It ends its job itself, but where it is cancelled."""


class InTurn:
    """`half_done` is what is to be said of a job that is cancelled while it is worked on."""

    def __init__(self, jobs: Jobs, *, half_done: str) -> None:
        self._jobs = jobs
        self._half_done = half_done
        self._waiting: deque[tuple[Job, Work]] = deque()
        self._working: tuple[Job, asyncio.Task[None]] | None = None
        self._again = asyncio.Event()

    def require_room(self, told: str) -> None:
        """Raises Trouble (`busy`) where too many wait."""
        if len(self._waiting) >= WAITING_MOST:
            raise Trouble(Problem(code="busy", message=told))

    def add(self, job: Job, work: Work, *, stage: str) -> None:
        """Running from the start, for what is queued is the reconciler's; cancelable until the work says otherwise."""
        self._jobs.start(job, stop=lambda: self._stop(job))
        self._jobs.enter(job, stage, cancelable=True, remaining=())
        self._waiting.append((job, work))
        self._again.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._again.clear()
            while self._waiting:
                await self._carry_out(*self._waiting.popleft())
            await self._again.wait()

    def _stop(self, job: Job) -> None:
        """Somebody cancels it. What it was at is over before the next begins."""
        said = "it was cancelled before it began"
        if self._working is not None and self._working[0] is job:
            self._working[1].cancel()
            said = f"it was cancelled; {self._half_done}"
        self._waiting = deque(each for each in self._waiting if each[0] is not job)
        self._jobs.end(job, Result.CANCELLED, message=said)

    async def _carry_out(self, job: Job, work: Work) -> None:
        async def carried_out() -> None:
            await work(job)

        task = asyncio.create_task(carried_out(), name=f"{job.kind} {job.number}")
        self._working = job, task
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        finally:
            self._working = None
        here = asyncio.current_task()
        # It is we who end, and not the job alone; also where the work met it with a fault of its own.
        if here is not None and here.cancelling():
            self._jobs.end(job, Result.CANCELLED, message="kdumpd ends")
            raise asyncio.CancelledError
