"""When the target is tested by itself: once it is armed, when it is another one, and at a slow interval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core.status import State
from kdumpd.core.target_test import Reached, SshTrial, Verdict
from kdumpd.host.target_test import TargetTests
from kdumpd.service.jobs import KEPT_SECONDS, QUEUED_MOST, Kind, Result
from kdumpd.service.lookout import SYSFS_POLL
from kdumpd.service.proving import BUSY_SECONDS, NAP_SECONDS, Proving
from tests.service.world import PATIENCE, World, meanwhile, world

DAY = 86_400.0


class Counted(TargetTests):
    """Targets that are all reached at once."""

    def __init__(self, w: World) -> None:
        super().__init__(w.files, w.programs)
        self.tested: list[str] = []

    async def reach(
        self,
        target: Mapping[str, str],
        *,
        say: Callable[[str], None],
        trial: SshTrial | None = None,
    ) -> Reached:
        del trial
        say("reached at once")
        self.tested.append(target["directory"])
        return Reached(free_bytes=1 << 40, words="it took a file")


class Held(Counted):
    """The first is a server that does not answer."""

    def __init__(self, w: World) -> None:
        super().__init__(w)
        self.hangs = asyncio.Event()
        self.undone = 0

    async def reach(
        self,
        target: Mapping[str, str],
        *,
        say: Callable[[str], None],
        trial: SshTrial | None = None,
    ) -> Reached:
        if not self.hangs.is_set():
            self.hangs.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.undone += 1
        return await super().reach(target, say=say, trial=trial)


def proving_in(w: World, tests: TargetTests) -> Proving:
    return Proving(tests=tests, jobs=w.jobs, clock=w.clock, saved=lambda: ())


async def test_it_is_tested_after_arming_after_a_change_and_once_a_day(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        tests = Counted(w)
        proving = proving_in(w, tests)
        told = asyncio.Event()
        proving.on_change = told.set

        async def until_tested(times: int) -> None:
            async with asyncio.timeout(PATIENCE):
                while len(tests.tested) < times:
                    await told.wait()
                    told.clear()
            await w.clock.until_asleep(NAP_SECONDS)

        w.listeners.append(lambda: proving.follow(w.reconciler.status, w.reconciler.sight))
        await w.armed()
        async with meanwhile(proving.run(lambda: w.reconciler.sight)):
            await until_tested(1)
            assert proving.last.verdict is Verdict.PASSED
            await w.edit("path /var/crash/elsewhere\n")
            await until_tested(2)
            assert tests.tested[1].endswith("/elsewhere")
            assert w.reconciler.status.state is State.ARMED
            w.clock.advance(DAY)
            await until_tested(3)
            assert len(tests.tested) == 3


async def test_where_too_many_jobs_wait_it_is_tested_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path) as w:
        tests = Counted(w)
        proving = proving_in(w, tests)
        await w.armed()
        w.clock.advance(
            KEPT_SECONDS
        )  # the reconciler naps until a job is forgotten, as long as the test is put off
        await w.clock.until_asleep(SYSFS_POLL)
        waiting = [w.jobs.ask(Kind.UNLOAD, reason=f"{number}") for number in range(QUEUED_MOST)]
        proving.follow(w.reconciler.status, w.reconciler.sight)
        async with meanwhile(proving.run(lambda: w.reconciler.sight)):
            await w.clock.until_asleep(BUSY_SECONDS)
            assert tests.tested == []
            assert caplog.text.count("the target is tested later") == 1
            w.jobs.end(waiting[0], Result.CANCELLED)
            w.clock.advance(BUSY_SECONDS)
            await w.clock.until_asleep(NAP_SECONDS)
            assert len(tests.tested) == 1


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("PARTUUID=4f0e1b2c-01", "there is no such device"),
        ("PARTUUID=", "there is no such device"),
        ("/dev/watchdog", "/dev/watchdog is not a block device"),
        ("LABEL=twice", "it means /dev/vd"),
    ],
)
async def test_a_device_that_somebody_made_up_is_told_as_such(
    tmp_path: Path, device: str, words: str
) -> None:
    async with world(tmp_path) as w:
        proving = proving_in(w, TargetTests(w.files, w.programs))
        await w.armed()
        sight = w.reconciler.sight
        disk = sight.machine.devices[0]
        twins = tuple(replace(disk, name=name, label="twice", slaves=()) for name in ("vdx", "vdy"))
        sight = replace(sight, machine=replace(sight.machine, devices=(*sight.machine.devices, *twins)))
        async with meanwhile(proving.run(lambda: sight)):
            job = proving.ask({"type": "raw", "device": device})
            assert await w.ended(job) == "failed"
            assert words in job.message


async def test_where_the_target_is_gone_it_is_told_what_is_wrong_with_the_configuration(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        proving = proving_in(w, TargetTests(w.files, w.programs))
        await w.armed()
        await w.edit("ext4 LABEL=gone\n")
        await w.until(lambda status: status.state is State.STALE)
        async with meanwhile(proving.run(lambda: w.reconciler.sight)):
            job = proving.ask({})
            assert await w.ended(job) == "failed"
            assert job.message.startswith("the target failed the test: /etc/kdump.conf:1: "), job.message
            assert proving.last.verdict is Verdict.FAILED


async def test_a_test_can_be_cancelled_and_the_next_one_begins(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        tests = Held(w)
        proving = proving_in(w, tests)
        await w.armed()
        async with meanwhile(proving.run(lambda: w.reconciler.sight)):
            hanging = proving.ask({})
            await tests.hangs.wait()
            waiting = proving.ask({})
            assert proving.ask({}) is waiting
            assert hanging.cancelable
            for job in (waiting, hanging):  # one that has not begun, and the one that is under way
                await w.reconciler.cancel(job)
                assert await w.ended(job) == "cancelled"
            assert await w.ended(proving.ask({})) == "done"
            assert tests.undone == 1
            assert w.reconciler.status.state is State.ARMED


async def test_a_test_that_nobody_asked_for_and_somebody_cancelled_has_its_time_again_later(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        tests = Held(w)
        proving = proving_in(w, tests)
        w.listeners.append(lambda: proving.follow(w.reconciler.status, w.reconciler.sight))
        await w.armed()
        proving.follow(w.reconciler.status, w.reconciler.sight)
        async with meanwhile(proving.run(lambda: w.reconciler.sight)):
            await tests.hangs.wait()
            [job] = [job for job in w.jobs.known if job.kind is Kind.TARGET_TEST]
            await w.reconciler.cancel(job)
            await w.clock.until_asleep(NAP_SECONDS)
            w.clock.advance(NAP_SECONDS)
            await w.clock.until_asleep(NAP_SECONDS)
            assert tests.tested == []
            w.clock.advance(DAY - NAP_SECONDS)
            await w.clock.until_asleep(NAP_SECONDS)
            assert len(tests.tested) == 1


async def test_where_kdumpd_ends_the_test_ends_as_well(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        tests = Held(w)
        proving = proving_in(w, tests)
        await w.armed()
        running = asyncio.create_task(proving.run(lambda: w.reconciler.sight))
        job = proving.ask({})
        await tests.hangs.wait()
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        assert (job.result, job.message, tests.undone) == ("cancelled", "kdumpd ends", 1)
