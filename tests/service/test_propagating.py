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
from kdumpd.service.jobs import Job, JobState, Kind, Result
from kdumpd.service.propagating import WAITING_MOST, Propagating
from tests.service.world import World, world

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


def _of_ssh(sight: Sight) -> Sight:
    read = config.read(parse("ssh dump@vault\npath /srv/dumps\n"), file=sight.config.path).config
    return replace(
        sight,
        config=replace(sight.config, config=read),
        machine=replace(sight.machine, ssh=SERVER),
    )


async def _asked(w: World, given: Given) -> Job:
    propagating = Propagating(propagations=given, jobs=w.jobs)
    running = asyncio.create_task(propagating.run())
    try:
        sight = _of_ssh(w.reconciler.sight)
        job = propagating.ask(sight, password="word", host_key="", uid=1000)
        assert (job.kind, job.state) == (Kind.PROPAGATE, JobState.RUNNING)
        async with asyncio.timeout(10):
            await job.ended.wait()
    finally:
        running.cancel()
        await asyncio.wait({running})
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
