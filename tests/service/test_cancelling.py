"""A job is cancelled at each stage that it has, and the machine is armed with what it was armed with before."""

from __future__ import annotations

from pathlib import Path

from kdumpd.core.decide import Anew
from kdumpd.service.jobs import Job, Kind
from tests.service.world import World, world


def begun(w: World) -> Job:
    job = w.jobs.ask(Kind.REBUILD, reason="test")
    w.reconciler.work_for(job, anew=Anew.BASE)
    return job


async def test_a_job_that_waits_is_cancelled_and_nothing_is_built(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.programs.hold("kexec")
        loading = w.jobs.ask(Kind.RELOAD)
        w.reconciler.work_for(loading, anew=Anew.LOAD)
        await w.programs.reached("kexec")
        built = w.programs.ran["zstd"]
        waiting = begun(w)
        await w.reconciler.cancel(waiting)
        assert await w.ended(waiting) == "cancelled"
        w.programs.let_go("kexec")
        assert await w.ended(loading) == "done"
        await w.armed()
        assert w.programs.ran["zstd"] == built


async def test_whatever_a_build_is_at_it_can_be_cancelled(tmp_path: Path) -> None:
    """Held in turn in each program that a build runs."""
    async with world(tmp_path) as w:
        await w.armed()
        already = dict(w.programs.ran)
        assert await w.ended(begun(w)) == "done"
        before = w.kexec.armed()
        ran = {name for name, times in w.programs.ran.items() if times > already.get(name, 0)}
        stages: set[str] = set()
        for name in sorted(ran - {"kexec"}):
            await w.armed()
            w.programs.hold(name)
            job = begun(w)
            await w.programs.reached(name)
            stages.add(job.stage)
            await w.reconciler.cancel(job)
            assert await w.ended(job) == "cancelled", name
            w.programs.let_go(name)
            assert w.is_loaded
            assert w.kexec.armed() == before, name
        assert {"compress", "prove"} <= stages
