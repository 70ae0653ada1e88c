"""The jobs that one pass of the reconciler works for: they share its stages, its log lines and its end."""

from __future__ import annotations

from collections.abc import Collection

from kdumpd.core.decide import (
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
    verb,
)
from kdumpd.core.obstacles import obstacles
from kdumpd.core.problems import Problem
from kdumpd.service.jobs import QUEUED_MOST, Job, Jobs, Kind, Result

_SUPERSEDED = "something newer took its place"


class Errand:
    """Jobs that were asked for, or one of our own where nobody asked.

    They end newest first: a change of the configuration can be taken back only after those made on top of it.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._mine: list[Job] = []
        self._in_our_name: Job | None = None
        self._superseded: set[Job] = set()
        """Those of them whose first try made way for something newer; what they may have to take back is not decided."""

    @property
    def first(self) -> Job | None:
        """The one that is shown as active."""
        return self._mine[0] if self._mine else None

    @property
    def members(self) -> tuple[Job, ...]:
        return tuple(self._mine)

    @property
    def is_asked_for(self) -> bool:
        """Whether somebody asked for any of it."""
        return any(job is not self._in_our_name for job in self._mine)

    def take_queued(self) -> None:
        for job in self._jobs.queued:
            self._mine.append(job)
            self._jobs.start(job)

    def has_one_for(self, step: Step, *, reason: str) -> Job:
        """The job that is shown for a step; begun in our own name where there is none."""
        if not self._mine:
            self._in_our_name = self._jobs.ask(_kind_of(step), reason=reason)
            self.take_queued()
        return self._mine[0]

    def enter(self, step: Step, stage: str) -> None:
        """A step is at a new stage. Only building can be ended early: a load is one call."""
        for job in self._mine:
            self._jobs.enter(
                job,
                stage or verb(step),
                cancelable=isinstance(step, BuildBase | BuildImage),
                remaining=_steps_from(step),
            )

    def tick(self) -> None:
        for job in self._mine:
            self._jobs.advance(job)

    def say(self, line: str) -> None:
        for job in self._mine:
            job.say(line)

    async def stop(self, result: Result, *, only: Collection[Job]) -> None:
        """Those of `only` are over before the machine is at rest; who came later waits for what comes next.

        What is superseded and can be taken back stays until the rest all the same: what took its place may fail, and
        then it is taken back after that.
        """
        stays: list[Job] = []
        if result is Result.SUPERSEDED:
            stays = [job for job in self._mine if job in only and job.undo is not None][-QUEUED_MOST:]
            self._superseded.update(stays)
        ended = [job for job in reversed(self._mine) if job in only and job not in stays]
        self._mine = [job for job in self._mine if job not in ended]
        self._superseded.difference_update(ended)
        for job in ended:
            said = _SUPERSEDED
            if result is Result.CANCELLED:
                said = "; ".join(filter(None, ("it was cancelled", await undo(job))))
            self._jobs.end(job, result, message=said)

    async def fail(self, problems: tuple[Problem, ...]) -> None:
        """What was asked for expressly failed: no later rest of the machine can make that good."""
        jobs, _superseded = self._all()
        for job in jobs:
            said = "; ".join(filter(None, (*map(str, problems), await undo(job))))
            self._jobs.end(job, Result.FAILED, problems=problems, message=said)

    async def end(self, rest: Rest, observed: Observed) -> bool:
        """The machine is at rest. Gives whether there was any job."""
        jobs, superseded = self._all()
        for job in jobs:
            match rest:
                case Nothing() if job in superseded:
                    self._jobs.end(job, Result.SUPERSEDED, message=_SUPERSEDED)
                case Nothing():
                    self._jobs.end(job, Result.DONE)
                case Wait(problems=problems) | Blocked(problems=problems):
                    # A fault of the machine itself is no reason to take a configuration back.
                    is_machine = isinstance(rest, Blocked) and bool(obstacles(observed.crash))
                    undone = "" if is_machine else await undo(job)
                    said = "; ".join(filter(None, (*map(str, problems), undone))) or rest.why
                    self._jobs.end(job, Result.FAILED, problems=problems, message=said)
        return bool(jobs)

    def _all(self) -> tuple[list[Job], set[Job]]:
        """The newest first, and which of them were superseded; none of them is ours any more."""
        jobs, superseded = self._mine[::-1], self._superseded
        self._mine, self._superseded = [], set()
        return jobs, superseded


async def undo(job: Job) -> str:
    """Take back what `job` was begun for; what became of that, in one sentence or none."""
    if job.undo is None:
        return ""
    try:
        return await job.undo()
    except OSError as fault:
        problem = Problem(
            code="not-put-back", message=f"the previous configuration could not be put back: {fault}"
        )
        return str(problem)


def _kind_of(step: Step) -> Kind:
    match step:
        case BuildBase() | BuildImage():
            return Kind.REBUILD
        case Load() | Restore():
            return Kind.RELOAD
        case Unload():
            return Kind.UNLOAD


def _steps_from(step: Step) -> tuple[str, ...]:
    match step:
        case BuildBase():
            return ("build base", "build image", "load")
        case BuildImage():
            return ("build image", "load")
        case _:
            return (verb(step),)
