"""A kernel that was installed gets its image before it is booted: at rest, out of everybody's way, and only once."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kdumpd.core.decide import Anew
from kdumpd.service.jobs import Job, Kind
from kdumpd.service.prebuilding import AGAIN_SECONDS, QUIET_SECONDS
from tests.kernels import (
    NEXT,
    install_kernel,
    modules_of,
    reboot_into,
    remove_kernel,
    run_depmod,
    unpack_kernel,
)
from tests.service.world import PATIENCE, World, alive, meanwhile
from tests.simulate import RELEASE, make_machine


@contextlib.asynccontextmanager
async def alive_with_others(w: World) -> AsyncIterator[None]:
    """A daemon that looks after the other kernels as well; armed."""
    w.followers.append(w.prebuilding.follow)
    async with alive(w), meanwhile(w.prebuilding.run()):
        await w.armed()
        yield


@contextlib.asynccontextmanager
async def ahead(folder: Path, *, before: Callable[[Path], None] = lambda _: None) -> AsyncIterator[World]:
    w = World(make_machine(folder))
    before(w.root)
    async with alive_with_others(w):
        yield w


async def look(w: World) -> None:
    """Somebody says that a file changed."""
    w.reconciler.poke("something changed")
    await w.clock.until_settling()
    w.clock.advance(0.3)


async def rest(w: World) -> None:
    await w.clock.until_asleep(QUIET_SECONDS)
    w.clock.advance(QUIET_SECONDS)


def prebuilds(w: World) -> list[Job]:
    return [job for job in w.jobs.known if job.kind == "prebuild"]


def kernels_in(w: World) -> list[str]:
    return sorted(f"{each.part} {each.kernel_release}" for each in w.store.entries())


async def done(w: World) -> None:
    async with asyncio.timeout(PATIENCE):
        await w.prebuilding.is_done.wait()


async def half_done(w: World) -> Job:
    """It compresses, until the test lets zstd go."""
    w.programs.hold("zstd")
    await rest(w)
    await w.programs.reached("zstd")
    [job] = prebuilds(w)
    return job


async def test_an_installed_kernel_is_built_for_at_rest_and_its_first_boot_builds_nothing(
    tmp_path: Path,
) -> None:
    async with ahead(tmp_path) as w:
        await rest(w)
        await done(w)
        assert prebuilds(w) == []
        before, ran = w.kexec.armed(), w.programs.ran.copy()
        install_kernel(w.root)
        await look(w)
        await rest(w)
        await done(w)
        [job] = prebuilds(w)
        assert (job.kernel, job.result, job.uid) == (NEXT, "done", 0)
        assert kernels_in(w) == [
            f"{part} {release}" for part in ("bases", "images") for release in (RELEASE, NEXT)
        ]
        assert w.kexec.armed() == before
        assert w.programs.ran["kexec"] == ran["kexec"]
    ran = w.programs.ran.copy()
    reboot_into(w.root, NEXT, boot_id="another")
    after = World(w.root)
    async with alive_with_others(after):
        [job] = after.jobs.known
        assert (job.kind, job.result) == ("reload", "done")
        armed = after.kexec.armed()
        assert armed is not None
        assert armed.kernel_release == NEXT
        assert after.programs.ran["kexec"] == 1
        assert after.programs.ran["zstd"] == 0


async def test_what_is_told_again_during_the_quiet_before_it_is_not_worked_on_twice(tmp_path: Path) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        await w.clock.until_asleep(QUIET_SECONDS)
        w.prebuilding.follow(w.reconciler.status, w.reconciler.sight)
        w.clock.advance(QUIET_SECONDS)
        await done(w)
        assert [job.result for job in prebuilds(w)] == ["done"]


async def test_all_of_it_runs_at_the_lowest_priority(tmp_path: Path) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        assert w.programs.niceness["zstd"] == {os.getpriority(os.PRIO_PROCESS, 0)}
        w.programs.niceness.clear()
        await rest(w)
        await done(w)
        assert prebuilds(w)[0].result == "done"
        assert set().union(*w.programs.niceness.values()) == {19}


async def test_a_half_installed_kernel_is_waited_for(tmp_path: Path) -> None:
    async with ahead(tmp_path) as w:
        await rest(w)
        await done(w)
        unpack_kernel(w.root)
        await look(w)
        await rest(w)
        await done(w)
        assert prebuilds(w) == []
        assert f"/lib/modules/{NEXT}/modules.dep" in w.reconciler.sight.watched
        run_depmod(w.root)
        await look(w)
        await rest(w)
        await done(w)
        assert [job.result for job in prebuilds(w)] == ["done"]


async def test_an_edit_ends_it_and_it_begins_again_when_the_edit_is_armed(tmp_path: Path) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        first = await half_done(w)
        assert (first.state, first.stage) == ("running", "compress")
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        assert await w.ended(first) == "superseded"
        w.programs.let_go("zstd")
        await w.armed()
        assert w.programs.ended_early["zstd"] == 1
        await rest(w)
        await done(w)
        assert [job.result for job in prebuilds(w)] == ["superseded", "done"]
        built = [each for each in w.store.entries() if (each.part, each.kernel_release) == ("images", NEXT)]
        [target] = [w.store.description(each.fingerprint) for each in built]
        assert isinstance(target, dict)
        assert "/var/other" in str(target["target"])


async def test_a_load_that_is_asked_for_does_not_wait_for_it(tmp_path: Path) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        prebuild = await half_done(w)
        job = w.jobs.ask(Kind.RELOAD, reason="somebody asks")
        w.reconciler.work_for(job, anew=Anew.LOAD)
        assert await w.ended(job) == "done"
        assert await w.ended(prebuild) == "superseded"
        w.programs.let_go("zstd")
        await rest(w)
        await done(w)
        assert [each.result for each in prebuilds(w)] == ["superseded", "done"]


async def test_a_comment_ends_nothing(tmp_path: Path) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        await half_done(w)
        await w.edit("# a remark\npath /var/crash\n")
        await w.armed()
        w.programs.let_go("zstd")
        await done(w)
        assert [job.result for job in prebuilds(w)] == ["done"]


async def test_it_can_be_cancelled_and_is_not_begun_again_at_once(tmp_path: Path) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        job = await half_done(w)
        await w.reconciler.cancel(job)
        assert await w.ended(job) == "cancelled"
        w.programs.let_go("zstd")
        await rest(w)
        await done(w)
        assert len(prebuilds(w)) == 1
        assert w.reconciler.status.state == "armed"


async def test_a_failure_is_one_warning_and_is_tried_again_after_an_hour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> int:
        return sum("ahead of its boot" in record.message for record in caplog.records)

    async with ahead(tmp_path, before=install_kernel) as w:
        w.programs.failing["zstd"] = 1
        await rest(w)
        await done(w)
        [failed] = prebuilds(w)
        assert (failed.result, failed.problems[0].code) == ("failed", "packing-failed")
        assert (w.reconciler.status.state, w.reconciler.status.problems) == ("armed", ())
        assert warnings() == 1
        run_depmod(w.root)  # other files, and the same plan
        await look(w)
        await rest(w)
        await done(w)
        assert prebuilds(w) == [failed]
        await w.clock.until_asleep(AGAIN_SECONDS - 0.3 - QUIET_SECONDS)
        w.clock.advance(AGAIN_SECONDS)
        w.programs.failing["zstd"] = 1
        await rest(w)
        await w.clock.until_asleep(AGAIN_SECONDS)
        assert w.programs.failing["zstd"] == 0
        assert warnings() == 1


async def test_a_failure_is_forgotten_when_the_plan_is_another(tmp_path: Path) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        w.programs.failing["zstd"] = 1
        await rest(w)
        await done(w)
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        await w.armed()
        await rest(w)
        await done(w)
        assert [job.result for job in prebuilds(w)] == ["failed", "done"]


async def test_what_is_for_a_removed_kernel_goes(tmp_path: Path) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        await rest(w)
        await done(w)
        assert f"images {NEXT}" in kernels_in(w)
        remove_kernel(w.root, NEXT)
        await look(w)
        await rest(w)
        await done(w)
        assert kernels_in(w) == [f"bases {RELEASE}", f"images {RELEASE}"]


async def test_what_was_built_ahead_is_kept_whatever_the_budget_says_and_after_a_restart(
    tmp_path: Path,
) -> None:
    def before(root: Path) -> None:
        install_kernel(root)
        (root / "etc/kdumpd.toml").write_text("store_budget_mib = 0\n")

    async with ahead(tmp_path, before=before) as w:
        await rest(w)
        await done(w)
        whole = kernels_in(w)
        assert f"images {NEXT}" in whole
        w.make_folder("/var/other")
    after = World(w.root)
    async with alive_with_others(after):
        # The machine is re-armed, and tidied up, before the other kernel is looked at for the first time.
        await after.edit("path /var/other\n")
        await after.armed()
        assert f"images {NEXT}" in kernels_in(after)
        await rest(after)
        await done(after)
        assert kernels_in(after) == whole


async def test_with_the_setting_at_0_nothing_is_built_ahead(tmp_path: Path) -> None:
    def before(root: Path) -> None:
        install_kernel(root)
        (root / "etc/kdumpd.toml").write_text("prebuild_kernels = 0\n")

    async with ahead(tmp_path, before=before) as w:
        await rest(w)
        await done(w)
        assert prebuilds(w) == []


async def test_force_no_rebuild_is_content_with_any_image_of_the_other_kernel_and_builds_one_where_there_is_none(
    tmp_path: Path,
) -> None:
    async with ahead(tmp_path, before=install_kernel) as w:
        await rest(w)
        await done(w)
        w.make_folder("/var/other")
        await w.edit("path /var/other\nforce_no_rebuild 1\n")
        await w.until(lambda now: now.state == "stale" and now.activity == "idle")
        await rest(w)
        await done(w)
        assert [job.result for job in prebuilds(w)] == ["done"]
        later = "6.1.0-58-amd64"
        install_kernel(w.root, later)
        await look(w)
        await rest(w)
        await done(w)
        assert [job.kernel for job in prebuilds(w)] == [NEXT, later]
        assert w.reconciler.status.state == "stale"


async def test_with_a_configuration_that_is_wrong_nothing_is_built_or_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ahead(tmp_path) as w:
        await rest(w)
        await done(w)
        await w.edit("pth /var/crash\n")
        install_kernel(w.root)
        await rest(w)
        await done(w)
        assert w.reconciler.status.state == "stale"
        assert prebuilds(w) == []
        assert "ahead of its boot" not in caplog.text


async def test_a_kernel_that_lacks_what_the_target_needs_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def before(root: Path) -> None:
        install_kernel(root)
        dep = modules_of(root, NEXT) / "modules.dep"
        dep.write_text(
            "".join(line for line in dep.read_text().splitlines(keepends=True) if "ext4" not in line)
        )

    async with ahead(tmp_path, before=before) as w:
        await rest(w)
        await done(w)
        assert prebuilds(w) == []
        assert w.reconciler.status.state == "armed"
        [said] = [record.message for record in caplog.records if "ahead of its boot" in record.message]
        assert NEXT in said
        assert "ext4" in said


async def test_while_kdumpd_is_inhibited_nothing_is_built_ahead(tmp_path: Path) -> None:
    async with ahead(tmp_path) as w:
        await rest(w)
        await done(w)
        is_inhibited = True
        w.prebuilding.is_inhibited = lambda: is_inhibited
        install_kernel(w.root)
        await look(w)
        await w.armed()
        assert w.prebuilding.is_done.is_set()
        is_inhibited = False
        await look(w)
        await rest(w)
        await done(w)
        assert [job.result for job in prebuilds(w)] == ["done"]
