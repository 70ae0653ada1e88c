"""Jobs by themselves: their log, their number, how long they are remembered."""

from __future__ import annotations

import pytest

from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.bus import first_lines
from kdumpd.service.jobs import FINISHED_KEPT, LINES_KEPT, QUEUED_MOST, Job, Jobs, Kind, Page, Result


class StillClock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def now_us(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody sleeps {seconds} seconds here")


def page(job: Job, offset: int, most: int) -> Page:
    return job.page(offset=offset, most=most, fit=lambda lines, most: first_lines(lines, most=most))


def test_the_same_request_that_waits_is_the_same_job() -> None:
    jobs = Jobs(StillClock())
    one = jobs.ask(Kind.REBUILD, reason="r", uid=1)
    assert jobs.ask(Kind.REBUILD, reason="r", uid=2) is one
    assert jobs.ask(Kind.RELOAD, reason="r") is not one
    jobs.start(one)
    assert jobs.ask(Kind.REBUILD, reason="r") is not one


def test_not_every_request_can_wait() -> None:
    jobs = Jobs(StillClock())
    for number in range(QUEUED_MOST):
        jobs.ask(Kind.REBUILD, reason=str(number))
    with pytest.raises(Trouble) as refused:
        jobs.ask(Kind.REBUILD, reason="one more")
    assert refused.value.problems[0].code == "busy"


def test_the_log_is_read_page_by_page_and_bounded() -> None:
    jobs = Jobs(StillClock())
    job = jobs.ask(Kind.REBUILD)
    jobs.start(job)
    for number in range(LINES_KEPT + 5):
        job.say(f"line {number}")
    first = page(job, 0, 3)
    assert first.lines == ("line 5", "line 6", "line 7")
    assert not first.is_end
    last = page(job, LINES_KEPT + 3, 10)
    assert last.lines == (f"line {LINES_KEPT + 3}", f"line {LINES_KEPT + 4}")
    assert not last.is_end
    jobs.end(job, Result.DONE)
    assert page(job, last.next_offset, 10) == Page(lines=(), next_offset=LINES_KEPT + 5, is_end=True)
    assert job.tail[-1] == f"line {LINES_KEPT + 4}"


def test_a_page_holds_at_most_64_kib() -> None:
    jobs = Jobs(StillClock())
    job = jobs.ask(Kind.REBUILD)
    for _ in range(200):
        job.say("x" * 5000)
    lines = page(job, 0, 1_000_000).lines
    assert 0 < sum(len(line) for line in lines) <= 64 * 1024


def test_the_finished_are_remembered_for_a_minute_and_few_of_them() -> None:
    clock = StillClock()
    jobs = Jobs(clock)
    for number in range(FINISHED_KEPT + 3):
        job = jobs.ask(Kind.RELOAD, reason=str(number))
        jobs.start(job)
        jobs.end(job, Result.DONE)
    assert len(jobs.known) == FINISHED_KEPT
    clock.now += 59_000_000
    assert jobs.forget_old() == 1.0
    clock.now += 1_000_000
    assert jobs.forget_old() is None
    assert jobs.known == ()


def test_a_failed_job_says_why_and_ends_once() -> None:
    jobs = Jobs(StillClock())
    job = jobs.ask(Kind.REBUILD)
    jobs.start(job)
    jobs.end(job, Result.FAILED, problems=(Problem(code="no-space", message="the disk is full"),))
    jobs.end(job, Result.DONE)
    assert (job.result, job.message) == ("failed", "the disk is full")
    assert job.ended.is_set()


def test_progress_never_reaches_the_end_before_the_job_does() -> None:
    clock = StillClock()
    jobs = Jobs(clock)
    jobs.took("load", 2.0)
    job = jobs.ask(Kind.RELOAD)
    jobs.start(job)
    jobs.enter(job, "load", cancelable=False, remaining=("load",))
    clock.now += 1_000_000
    jobs.advance(job)
    assert (job.progress_valid, job.progress) == (True, 0.5)
    clock.now += 60_000_000
    jobs.advance(job)
    assert job.progress == 0.99
    jobs.end(job, Result.DONE)
    assert job.progress == 1.0
