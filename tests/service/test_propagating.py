"""A key for the ssh target, asked for by a front end: a job that ends well or says why not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core import config
from kdumpd.core.document import parse
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.ssh import SshServer
from kdumpd.host.propagate import Propagation, Propagations
from kdumpd.service.hands import Sight
from kdumpd.service.in_turn import WAITING_MOST
from kdumpd.service.jobs import Job, JobState, Kind, Result
from kdumpd.service.propagating import Propagating
from tests.service.world import World, meanwhile, world

SERVER = SshServer(options={"hostname": "192.0.2.1", "port": "22", "user": "dump"})


class Given(Propagations):
    def __init__(self, w: World, problem: Problem | None = None) -> None:
        super().__init__(w.files, w.programs)
        self.wishes: list[Propagation] = []
        self._problem = problem

    async def give(self, wish: Propagation, *, say: Callable[[str], None]) -> None:
        self.wishes.append(wish)
        say("giving it")
        if self._problem is not None:
            raise Trouble(self._problem)


class Silent(Given):
    """A server that has not answered yet when somebody asks for its key; the second one does."""

    def __init__(self, w: World) -> None:
        super().__init__(w)
        self.reached = asyncio.Event()
        self.was_left = False

    async def give(self, wish: Propagation, *, say: Callable[[str], None]) -> None:
        await super().give(wish, say=say)
        if len(self.wishes) > 1:
            return
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_left = True


def _of_ssh(sight: Sight) -> Sight:
    read = config.read(parse("ssh dump@vault\npath /srv/dumps\n"), file=sight.config.path).config
    return replace(
        sight,
        config=replace(sight.config, config=read),
        machine=replace(sight.machine, ssh=SERVER),
    )


async def _asked(w: World, given: Given) -> Job:
    propagating = Propagating(propagations=given, jobs=w.jobs)
    async with meanwhile(propagating.run()):
        sight = _of_ssh(w.reconciler.sight)
        job = propagating.ask(sight, password="word", host_key="", uid=1000)
        assert (job.kind, job.state) == (Kind.PROPAGATE, JobState.RUNNING)
        async with asyncio.timeout(10):
            await job.ended.wait()
    return job


async def test_the_configured_target_gets_the_key_that_a_capture_uses(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        given = Given(w)
        job = await _asked(w, given)
        assert job.result is Result.DONE
        (wish,) = given.wishes
        assert (wish.destination, wish.directory, wish.host) == ("dump@vault", "/srv/dumps", "192.0.2.1")
        assert (wish.password, wish.is_known) == ("word", False)
        assert "word" not in f"{job.tail}{job.message}{job.reason}"


async def test_a_server_that_refuses_fails_the_job_with_the_reason(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        job = await _asked(w, Given(w, Problem(code="target-unreachable", message="it says no")))
        assert (job.result, job.message) == (Result.FAILED, "it says no")


async def test_without_an_ssh_target_nobody_gets_a_key(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        propagating = Propagating(propagations=Given(w), jobs=w.jobs)
        with pytest.raises(Trouble) as trouble:
            propagating.ask(w.reconciler.sight, password="", host_key="", uid=0)
        assert trouble.value.problems[0].code == "not-supported"


async def test_not_more_than_a_few_wait(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        propagating = Propagating(propagations=Given(w), jobs=w.jobs)
        sight = _of_ssh(w.reconciler.sight)
        for number in range(WAITING_MOST):
            propagating.ask(sight, password=str(number), host_key="", uid=0)
        with pytest.raises(Trouble) as trouble:
            propagating.ask(sight, password="", host_key="", uid=0)
        assert trouble.value.problems[0].code == "busy"


async def test_who_waits_and_who_is_at_work_can_be_cancelled_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        silent = Silent(w)
        propagating = Propagating(propagations=silent, jobs=w.jobs)
        running = asyncio.create_task(propagating.run())
        try:
            sight = _of_ssh(w.reconciler.sight)
            jobs = [propagating.ask(sight, password=word, host_key="", uid=0) for word in "abc"]
            assert all(job.cancelable for job in jobs)
            async with asyncio.timeout(10):
                await silent.reached.wait()
                await w.reconciler.cancel(jobs[1])
                assert not silent.was_left
                await w.reconciler.cancel(jobs[0])
                await jobs[2].ended.wait()
            assert silent.was_left
            assert [job.result for job in jobs] == [Result.CANCELLED, Result.CANCELLED, Result.DONE]
            assert jobs[0].message == "it was cancelled; the server may have the key already"
            assert jobs[1].message == "it was cancelled before it began"
            assert [wish.password for wish in silent.wishes] == ["a", "c"]
            with pytest.raises(Trouble, match="cannot be cancelled"):
                await w.reconciler.cancel(jobs[0])
        finally:
            running.cancel()
            await asyncio.wait({running})


class Stumbling(Given):
    """What it does when it is cancelled goes wrong as well."""

    def __init__(self, w: World, fault: Exception) -> None:
        super().__init__(w)
        self.reached = asyncio.Event()
        self._fault = fault

    async def give(self, wish: Propagation, *, say: Callable[[str], None]) -> None:
        await super().give(wish, say=say)
        self.reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise self._fault from None


@pytest.mark.parametrize(
    "fault",
    [Trouble(Problem(code="target-unreachable", message="it says no")), OSError("it says no")],
    ids=type,
)
async def test_kdumpd_ends_also_where_what_it_cancels_goes_wrong(tmp_path: Path, fault: Exception) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        stumbling = Stumbling(w, fault)
        propagating = Propagating(propagations=stumbling, jobs=w.jobs)
        running = asyncio.create_task(propagating.run())
        job = propagating.ask(_of_ssh(w.reconciler.sight), password="", host_key="", uid=0)
        async with asyncio.timeout(10):
            await stumbling.reached.wait()
        running.cancel()
        _, still_running = await asyncio.wait({running}, timeout=10)
        assert not still_running
        assert running.cancelled()
        assert job.ended.is_set()


async def test_the_end_of_kdumpd_is_told_to_who_waits_for_a_key(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        silent = Silent(w)
        propagating = Propagating(propagations=silent, jobs=w.jobs)
        running = asyncio.create_task(propagating.run())
        job = propagating.ask(_of_ssh(w.reconciler.sight), password="", host_key="", uid=0)
        async with asyncio.timeout(10):
            await silent.reached.wait()
        running.cancel()
        await asyncio.wait({running})
        assert (job.result, job.message, silent.was_left) == (Result.CANCELLED, "kdumpd ends", True)
