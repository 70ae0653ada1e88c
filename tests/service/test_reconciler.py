"""The loop in virtual time, with the real hands on a machine that is a folder."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from kdumpd.core.decide import Anew
from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.jobs import Job, Kind
from kdumpd.service.lookout import SYSFS_POLL
from tests.service.world import World, world


class Ears:
    """An audience that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def job_new(self, job: Job) -> None:
        self.heard.append(("new", job.number))

    def job_changed(self, job: Job) -> None:
        """Too often to be remembered."""

    def job_ended(self, job: Job) -> None:
        self.heard.append((job.result, job.number))

    def job_forgotten(self, job: Job) -> None:
        self.heard.append(("forgotten", job.number))


ANOTHER_BASE = "extra_modules fuse\n"


async def test_from_nothing_to_armed_says_what_it_does(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        said = [(status.state, status.activity) for status in w.statuses]
        assert [one for one, other in pairwise([*said, None]) if one != other] == [
            ("unarmed", "building"),
            ("unarmed", "verifying"),
            ("unarmed", "building"),
            ("unarmed", "verifying"),
            ("unarmed", "loading"),
            ("armed", "idle"),
        ]
        assert [(job.kind, job.result, job.reason) for job in w.jobs.known] == [
            ("rebuild", "done", "kdumpd started")
        ]
        assert w.is_loaded


async def test_at_rest_it_hardly_ever_wakes(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        await w.clock.until_idle()
        w.clock.advance(60.0)  # what was done is forgotten
        await w.clock.until_another_nap()
        looks, glimpses, naps = w.looks, w.glimpses, w.clock.naps
        for _ in range(5):  # ten minutes
            await w.clock.until_asleep(SYSFS_POLL)
            w.clock.advance(SYSFS_POLL)
        await w.clock.until_asleep(SYSFS_POLL)
        assert (w.looks - looks, w.glimpses - glimpses, w.clock.naps - naps) == (0, 5, 5)


async def test_without_any_sign_it_looks_once_an_hour(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks = w.looks
        w.clock.advance(3601.0)
        await w.clock.until_another_nap()
        await w.clock.until_idle()
        assert w.looks - looks == 1


async def test_a_burst_is_looked_at_when_it_begins_and_when_it_is_over(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks = w.looks
        for number in range(5):
            w.reconciler.poke(f"file {number} changed")
        for number in range(3):
            await w.clock.until_settling()
            w.reconciler.poke(f"file {number} changed again")
            w.clock.advance(0.3)
        await w.clock.until_settling()
        assert w.looks - looks == 1
        w.clock.advance(0.3)
        await w.clock.until_idle()
        assert w.looks - looks == 2


async def test_one_change_is_looked_at_once_and_acted_on_when_no_more_came(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks, loads = w.looks, w.programs.ran["kexec"]
        w.make_folder("/var/other")
        w.conf.write_text("path /var/other\n")
        w.reconciler.poke("kdump.conf changed")
        await w.clock.until_settling()
        assert w.looks - looks == 1
        assert {status.message for status in w.statuses[-1:]} == {w.statuses[-2].message}
        w.clock.advance(0.3)
        assert (await w.armed()).message.endswith("in /var/other")
        assert w.looks - looks == 1  # nor at all that was read before after each step of ours
        assert w.programs.ran["kexec"] - loads == 1


async def test_a_change_that_stays_alone_is_waited_with_for_a_third_of_the_time(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks = w.looks
        w.reconciler.poke("a file was saved")
        await w.clock.until_asleep(0.1)
        w.clock.advance(0.1)
        await w.clock.until_idle()
        w.reconciler.poke("the next of a row of files was")  # no long quiet lies before this one
        await w.clock.until_asleep(0.3)
        w.clock.advance(0.3)
        await w.clock.until_idle()
        w.clock.advance(1.0)
        w.reconciler.poke("a file was saved")
        await w.clock.until_asleep(0.1)
        w.reconciler.poke("and another one")
        w.clock.advance(0.1)
        await w.clock.until_asleep(0.3)
        w.clock.advance(0.3)
        await w.clock.until_idle()
        assert w.looks - looks == 4


async def test_where_not_all_can_be_watched_everything_is_looked_at_after_each_step(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.reconciler.unwatched = lambda: (Problem(code="watch-limit", message="there are no more watches"),)
        looks = w.looks
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        assert (await w.armed()).message.endswith("in /var/other")
        assert w.looks - looks == 3  # at the edit, after the build, and after the load


async def test_a_path_that_is_new_is_read_again_once_it_is_watched(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        hook = w.root / "etc/kdump/hook.sh"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
        looks = w.looks
        w.programs.hold("sh")
        await w.edit("kdump_pre /etc/kdump/hook.sh\n")
        await w.programs.reached("sh")
        hook.write_text("#!/bin/sh\n# changed before anybody watched it\n")
        w.programs.let_go("sh")
        await w.armed()
        assert w.looks - looks == 2  # and the image of the old hook was not loaded
        assert w.programs.ran["kexec"] == 2


async def test_what_is_heard_while_a_step_is_done_is_looked_at_in_full(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks = w.looks
        w.make_folder("/var/other")
        w.programs.hold("kexec")
        await w.edit("path /var/other\n")
        await w.programs.reached("kexec")
        w.make_folder("/var/third")
        w.conf.write_text("path /var/third\n")
        w.reconciler.poke("kdump.conf changed", urgent=True)
        w.programs.let_go("kexec")
        assert (await w.until(lambda now: now.message.endswith("in /var/third"))).state == "armed"
        assert w.looks - looks == 2


async def test_what_the_kernel_says_after_a_step_is_seen_whoever_did_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks = w.looks
        w.make_folder("/var/other")
        w.programs.hold("sh")
        await w.edit("path /var/other\n")
        await w.programs.reached("sh")
        w.loaded_file.write_text("0\n")  # somebody's kexec -u
        w.programs.let_go("sh")
        await w.until(lambda now: not now.protected)
        assert (await w.armed()).message.endswith("in /var/other")
        assert w.looks - looks == 3  # nothing loaded, and loaded again: each another word of the kernel


async def test_a_stream_of_changes_does_not_delay_for_ever(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks = w.looks
        w.reconciler.poke("first")
        for number in range(17):  # five seconds and a little
            await w.clock.until_settling()
            assert w.looks - looks == 1
            w.reconciler.poke(f"change {number}")
            w.clock.advance(0.3)
        await w.clock.until_idle()
        assert w.looks - looks == 2


async def test_an_edit_of_path_makes_only_the_overlay(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        bases, w.statuses[:] = w.store.bases(), []
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        status = await w.armed()
        assert status.message.endswith("in /var/other")
        assert w.store.bases() == bases
        assert all(status.protected for status in w.statuses)


async def test_a_new_edit_during_a_build_supersedes_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.programs.hold("zstd")
        w.make_folder("/var/one")
        await w.edit(f"path /var/one\n{ANOTHER_BASE}")
        await w.programs.reached("zstd")
        superseded = w.reconciler.active_job
        assert superseded is not None
        w.make_folder("/var/two")
        await w.edit("path /var/two\n")
        assert await w.ended(superseded) == "superseded"
        assert w.programs.ended_early["zstd"] == 1
        w.programs.let_go("zstd")
        status = await w.armed()
        assert status.message.endswith("in /var/two")
        assert w.is_loaded


async def test_a_change_that_leads_to_the_same_image_lets_the_build_go_on(tmp_path: Path) -> None:
    async with world(tmp_path, before=lambda w: w.programs.hold("zstd")) as w:
        await w.programs.reached("zstd")
        await w.edit(w.conf.read_text() + "# a remark\n")
        await w.clock.until_asleep(1.0)
        w.programs.let_go("zstd")
        await w.armed()
        assert not w.programs.ended_early
        assert [job.result for job in w.jobs.known] == ["done"]


async def test_a_broken_edit_during_a_build_ends_it_and_keeps_the_old_image(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.programs.hold("zstd")
        w.make_folder("/var/one")
        await w.edit(f"path /var/one\n{ANOTHER_BASE}")
        await w.programs.reached("zstd")
        await w.edit("foo bar\n")
        status = await w.until(lambda now: now.reason == "unknown-directive" and now.activity == "idle")
        assert (status.state, status.protected) == ("stale", True)
        assert w.programs.ended_early["zstd"] == 1


async def test_a_build_that_fails_is_tried_again_later_each_time(tmp_path: Path) -> None:
    def fails(w: World) -> None:
        w.programs.failing["zstd"] = 2

    async with world(tmp_path, before=fails) as w:
        for count, delay in ((1, 2.0), (2, 4.0)):
            status = await w.until(
                lambda now, count=count: (  # type: ignore[misc]  # mypy takes no defaults of a lambda
                    now.activity == "waiting" and now.past.consecutive_failures == count
                )
            )
            assert status.state == "failed"
            assert status.next_retry_us == w.clock.now + int(delay * 1e6)
            await w.clock.until_asleep(delay)
            w.clock.advance(delay)
        status = await w.armed()
        assert status.past.consecutive_failures == 0
        assert [job.result for job in w.jobs.known] == ["failed", "failed", "done"]


async def test_another_configuration_is_tried_at_once_after_a_failure(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.programs.failing["zstd"] = 1
        w.make_folder("/var/one")
        await w.edit(f"path /var/one\n{ANOTHER_BASE}")
        status = await w.until(lambda now: now.activity == "waiting")
        assert (status.state, status.protected) == ("stale", True)
        w.make_folder("/var/two")
        await w.edit("path /var/two\n")
        assert (await w.armed()).message.endswith("in /var/two")


async def test_a_failed_load_puts_the_last_good_image_back_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        good = w.kexec.armed()
        w.programs.failing["kexec"] = 1
        w.make_folder("/var/one")
        await w.edit("path /var/one\n")
        status = await w.until(lambda now: now.activity == "waiting")
        assert w.is_loaded
        assert (status.state, status.protected) == ("stale", True)
        assert (status.past.last_result, status.past.last_error) == ("failed", "kexec-failed")
        assert "made to fail" in status.message
        restored = w.kexec.armed()
        assert good is not None
        assert restored is not None
        assert restored.load == good.load
        await w.clock.until_asleep(2.0)
        w.clock.advance(2.0)
        assert (await w.armed()).message.endswith("in /var/one")


async def test_what_someone_unloads_is_found_by_the_poll(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.loaded_file.write_text("0\n")
        w.clock.advance(SYSFS_POLL)
        await w.clock.until_settling()
        w.clock.advance(0.3)
        await w.until(lambda now: not now.protected)
        await w.armed()
        assert w.is_loaded


async def test_a_doubt_is_a_glimpse_and_no_look_where_nothing_changed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks, glimpses = w.looks, w.glimpses
        for number in range(50):
            w.reconciler.doubt(f"use {number} of kexec")
        await w.clock.until_settling()
        w.clock.advance(0.3)
        await w.clock.until_idle()
        assert (w.looks - looks, w.glimpses - glimpses) == (0, 1)


async def test_a_doubt_about_what_did_change_is_a_look(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.loaded_file.write_text("0\n")
        w.reconciler.doubt("kexec was run")
        for _ in ("the glimpse", "the look"):
            await w.clock.until_settling()
            w.clock.advance(0.3)
        await w.until(lambda now: not now.protected)
        await w.armed()
        assert w.is_loaded
        assert w.jobs.known[-1].reason == "kexec was run"


async def test_a_burst_of_processors_that_come_is_one_load(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        present = w.root / "sys/devices/system/cpu/present"
        await w.armed()
        loads = w.programs.ran["kexec"]
        for last in range(8, 12):
            present.write_text(f"0-{last}\n")
            w.reconciler.doubt(f"the kernel says add of cpu{last}")
            await w.clock.until_settling()
            w.clock.advance(0.3)
        await w.until(lambda _now: w.programs.ran["kexec"] > loads)
        await w.armed()
        assert w.programs.ran["kexec"] == loads + 1
        armed = w.kexec.armed()
        assert armed is not None
        assert str(armed.layout).startswith("cpus 0-11;")


async def test_what_somebody_loads_over_ours_is_foreign_until_ours_is_there_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        loads, zstd, w.statuses[:] = w.programs.ran["kexec"], w.programs.ran["zstd"], []
        w.kexec.disown()
        w.reconciler.poke("somebody else ran kexec to load a crash kernel", urgent=True)
        await w.until(lambda now: now.state == "foreign")
        await w.armed()
        assert all(status.protected for status in w.statuses)
        assert (w.programs.ran["kexec"], w.programs.ran["zstd"]) == (loads + 1, zstd)


async def test_another_boot_is_armed_again_with_the_stored_image_in_one_load(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        zstd = w.programs.ran["zstd"]
        w.loaded_file.write_text("0\n")  # a kexec reboot: the crash image is gone, and /run with it
        shutil.rmtree(w.root / "run/kdumpd")
        (w.root / "proc/sys/kernel/random/boot_id").write_text("another-boot\n")
        w.reconciler.poke("as after a reboot", urgent=True)
        await w.until(lambda now: not now.protected)
        await w.armed()
        armed = w.kexec.armed()
        assert armed is not None
        assert armed.boot_id == "another-boot"
        assert w.programs.ran["zstd"] == zstd


async def test_a_clock_that_is_set_back_is_a_reason_to_look(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks = w.looks
        w.clock.set_back(86_400.0)
        await w.clock.until_another_nap()
        assert w.looks - looks == 1


async def test_what_someone_else_loaded_is_foreign_until_ours_is_there(tmp_path: Path) -> None:
    def loaded(w: World) -> None:
        w.loaded_file.write_text("1\n")

    async with world(tmp_path, before=loaded) as w:
        await w.armed()
        assert {status.state for status in w.statuses} == {"foreign", "armed"}
        assert all(status.protected for status in w.statuses)


async def test_a_cancelled_build_is_not_begun_again_by_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        job = w.jobs.ask(Kind.REBUILD, reason="test", uid=7)
        w.programs.hold("zstd")
        w.reconciler.work_for(job, anew=Anew.BASE)
        await w.programs.reached("zstd")
        await w.reconciler.cancel(job)
        assert await w.ended(job) == "cancelled"
        w.programs.let_go("zstd")
        assert (await w.armed()).protected
        with pytest.raises(Trouble, match="cannot be cancelled"):
            await w.reconciler.cancel(job)


async def test_a_rebuild_by_force_builds_everything_and_loads_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        before, zstd = w.kexec.armed(), w.programs.ran["zstd"]
        w.clock.advance(1.0)
        job = w.jobs.ask(Kind.REBUILD, uid=7)
        w.reconciler.work_for(job, anew=Anew.BASE)
        assert await w.ended(job) == "done"
        after = w.kexec.armed()
        assert before is not None
        assert after is not None
        assert after.loaded_us > before.loaded_us
        assert w.programs.ran["zstd"] - zstd >= 2  # the base packed, and unpacked to be proved
        assert job.progress == 1.0


async def test_a_rebuild_without_reload_leaves_what_is_loaded(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        before = w.kexec.armed()
        job = w.jobs.ask(Kind.REBUILD)
        w.reconciler.work_for(job, anew=Anew.BASE, loads_afterwards=False)
        assert await w.ended(job) == "done"
        assert w.kexec.armed() == before


@pytest.mark.shows("force_rebuild")
async def test_force_rebuild_builds_when_kdump_is_restarted_and_not_at_each_look(tmp_path: Path) -> None:
    def force(w: World) -> None:
        w.conf.write_text("force_rebuild 1\n")

    async with world(tmp_path, before=force) as w:
        await w.armed()
        first = w.programs.ran["zstd"]
        await w.edit("force_rebuild 1\n# a comment\n")
        await w.armed()
        assert w.programs.ran["zstd"] == first
        job = w.jobs.ask(Kind.RELOAD)
        w.reconciler.work_for(job, anew=Anew.LOAD, is_start=True)
        assert await w.ended(job) == "done"
        assert w.programs.ran["zstd"] >= 2 * first
        assert all(status.protected for status in w.statuses[-4:])


@pytest.mark.shows("force_no_rebuild")
async def test_force_no_rebuild_keeps_what_is_loaded_and_says_that_it_is_stale(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        zstd = w.programs.ran["zstd"]
        w.make_folder("/var/other")
        await w.edit("force_no_rebuild 1\npath /var/other\n")
        status = await w.until(lambda now: now.state == "stale" and now.activity == "idle")
        assert status.reason == "force_no_rebuild"
        assert status.stale[0] == "force_no_rebuild"
        assert "force_no_rebuild keeps the image" in status.message
        assert status.protected
        await w.clock.until_idle()
        job = w.jobs.ask(Kind.RELOAD)
        w.reconciler.work_for(job, anew=Anew.LOAD)
        assert await w.ended(job) == "done"
        assert w.programs.ran["zstd"] == zstd
        job = w.jobs.ask(Kind.REBUILD)
        w.reconciler.work_for(job, anew=Anew.BASE)
        assert await w.ended(job) == "done"
        assert (await w.armed()).protected


async def test_an_image_that_is_kept_is_loaded_again_for_each_change_of_processors(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.make_folder("/var/other")
        await w.edit("force_no_rebuild 1\npath /var/other\n")
        await w.until(lambda now: now.state == "stale" and now.activity == "idle")
        kept, loads, zstd = w.kexec.armed(), w.programs.ran["kexec"], w.programs.ran["zstd"]
        assert kept is not None
        present = w.root / "sys/devices/system/cpu/present"
        present.parent.mkdir(parents=True, exist_ok=True)
        present.write_text("0-63\n")
        w.reconciler.poke("a processor came", urgent=True)
        await w.until(lambda _now: w.programs.ran["kexec"] > loads)
        status = await w.until(lambda now: now.state == "stale" and now.activity == "idle")
        await w.clock.until_idle()
        armed = w.kexec.armed()
        assert armed is not None
        assert (armed.image, armed.initramfs) == (kept.image, kept.initramfs)
        assert armed.layout != kept.layout
        assert str(armed.layout).startswith("cpus 0-63;")
        assert "cpu-memory-changed" not in status.stale
        assert (w.programs.ran["kexec"], w.programs.ran["zstd"]) == (loads + 1, zstd)


async def test_progress_is_measured_by_the_build_before(tmp_path: Path) -> None:
    async with world(tmp_path, before=lambda w: w.programs.hold("zstd")) as w:
        await w.programs.reached("zstd")
        first = w.reconciler.active_job
        assert first is not None
        assert not first.progress_valid
        w.clock.advance(8.0)
        w.programs.let_go("zstd")
        await w.armed()
        w.programs.hold("zstd")
        again = w.jobs.ask(Kind.REBUILD)
        w.reconciler.work_for(again, anew=Anew.BASE)
        await w.programs.reached("zstd")
        assert again.progress_valid
        assert again.expected_end_us >= w.clock.now + 8_000_000
        for _ in range(3):
            await w.clock.until_asleep(1.0)
            w.clock.advance(1.0)
        await w.clock.until_asleep(1.0)
        assert 0.2 < again.progress < 0.9
        w.programs.let_go("zstd")
        assert await w.ended(again) == "done"


async def test_held_until_asked_for_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        await w.hands.hold(held=True)
        unload = w.jobs.ask(Kind.UNLOAD)
        w.reconciler.work_for(unload)
        assert await w.ended(unload) == "done"
        assert not w.is_loaded
        assert w.statuses[-1].state == "disabled"
        assert w.statuses[-1].enabled
        await w.hands.hold(held=False)
        load = w.jobs.ask(Kind.RELOAD)
        w.reconciler.work_for(load, anew=Anew.LOAD)
        assert await w.ended(load) == "done"
        assert w.is_loaded


async def test_a_machine_without_reservation_says_so_and_builds_nothing(tmp_path: Path) -> None:
    def unreserved(w: World) -> None:
        (w.root / "sys/kernel/kexec_crash_size").write_text("0\n")
        iomem = w.root / "proc/iomem"
        iomem.write_text(iomem.read_text().replace("Crash kernel", "something else"))

    async with world(tmp_path, before=unreserved) as w:
        status = await w.until(lambda _now: True)
        assert (status.state, status.reason) == ("no-memory", "no-reserved-memory")
        job = w.jobs.ask(Kind.RELOAD)
        w.reconciler.work_for(job, anew=Anew.LOAD)
        assert await w.ended(job) == "failed"
        assert [problem.code for problem in job.problems] == ["no-reserved-memory"]
        assert not w.store.bases()


async def test_jobs_are_told_of_in_order(tmp_path: Path) -> None:
    ears = Ears()

    def listen(w: World) -> None:
        w.jobs.audience = ears

    async with world(tmp_path, before=listen) as w:
        await w.armed()
        w.clock.advance(30.0)
        await w.clock.until_idle()
        w.clock.advance(30.0)
        await w.clock.until_idle()
        assert ears.heard == [("new", 1), ("done", 1), ("forgotten", 1)]
