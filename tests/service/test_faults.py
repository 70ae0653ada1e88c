"""Each fault in virtual time: a named state, the last good image still loaded, and armed again when the cause is gone."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kdumpd.core.faults import LONGEST_DELAY_US
from kdumpd.core.status import Status
from kdumpd.host.kexec import BACK_OFF_SECONDS
from kdumpd.host.target_test import TargetTests
from kdumpd.service.lookout import FAULTY_POLL
from kdumpd.service.proving import NAP_SECONDS, Proving
from kdumpd.service.pulse import LOAD_SECONDS, LOOK_SECONDS, PUBLISH_SECONDS
from tests.service.world import Refusal, World, meanwhile, world

STORE = "/var/lib/kdumpd"
MIB = 1 << 20
YEAR = 365 * 86_400.0


async def waiting(w: World) -> Status:
    """At rest after a failure, until it is time for another try."""
    status = await w.until(lambda now: now.activity == "waiting")
    await w.clock.until_another_nap()
    return status


async def change_everything(w: World) -> None:
    """Base and overlay are to be built, and loaded."""
    w.make_folder("/var/other")
    (w.root / "etc/kdumpd.toml").write_text("compression_level = 1\n")
    await w.edit("path /var/other\n")


async def fail_to_store(w: World, number: int) -> Status:
    """Armed, and then a change that cannot be stored."""
    w.statuses[:] = [await w.armed()]
    w.files.failing = STORE, number
    w.make_folder("/var/other")
    w.conf.write_text("path /var/other\n")
    w.reconciler.poke("kdump.conf changed", urgent=True)
    return await waiting(w)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "no-space"),
        (errno.EDQUOT, "no-space"),
        (errno.EROFS, "store-unwritable"),
        (errno.EACCES, "store-unwritable"),
        (errno.EIO, "store-failing"),
    ],
)
async def test_a_store_that_fails_leaves_the_last_good_armed_until_it_is_mended(
    tmp_path: Path, number: int, code: str
) -> None:
    async with world(tmp_path) as w:
        status = await fail_to_store(w, number)
        assert (status.state, status.reason, status.protected) == ("stale", code, True)
        assert status.past.last_error == code
        assert status.past.consecutive_failures == 1
        assert status.next_retry_us == w.clock.now + 2_000_000
        w.files.failing = None
        w.clock.advance(2.0)
        status = await w.armed()
        assert status.message.endswith("in /var/other")
        assert status.past.last_error == ""
        assert all(status.protected for status in w.statuses)


async def fail_until_the_waits_are_long(w: World, number: int) -> None:
    """Some failures in a row, until the next try is minutes away."""
    status = await fail_to_store(w, number)
    while status.next_retry_us - w.clock.now < 240_000_000:
        w.clock.advance((status.next_retry_us - w.clock.now) / 1e6)
        failures = status.past.consecutive_failures
        status = await w.until(
            lambda now, before=failures: (  # type: ignore[misc]  # mypy takes no defaults of a lambda
                now.activity == "waiting" and now.past.consecutive_failures > before
            )
        )
    await w.clock.until_asleep(FAULTY_POLL)


@pytest.mark.parametrize(
    ("number", "ill", "well"),
    [
        (errno.ENOSPC, (3 * MIB, False), (4 * MIB, False)),
        (errno.EROFS, (900 * MIB, True), (900 * MIB, False)),
    ],
)
async def test_a_store_that_is_mended_is_noticed_within_half_a_minute(
    tmp_path: Path, number: int, ill: tuple[int, bool], well: tuple[int, bool]
) -> None:
    async with world(tmp_path) as w:
        w.files.room = ill
        await fail_until_the_waits_are_long(w, number)
        w.files.failing, w.files.room = None, well
        w.clock.advance(FAULTY_POLL)
        await w.clock.until_settling()
        w.clock.advance(0.3)
        assert (await w.armed()).message.endswith("in /var/other")


@pytest.mark.parametrize(
    ("number", "ill", "now"),
    [
        (errno.ENOSPC, (3 * MIB, False), (4 * MIB - 1, False)),
        (errno.EROFS, (900 * MIB, True), (950 * MIB, True)),
        (errno.EIO, (3 * MIB, False), (900 * MIB, False)),
        (errno.EACCES, (3 * MIB, False), (900 * MIB, False)),
    ],
)
async def test_a_store_that_may_still_fail_is_not_tried_before_its_time(
    tmp_path: Path, number: int, ill: tuple[int, bool], now: tuple[int, bool]
) -> None:
    async with world(tmp_path) as w:
        w.files.room = ill
        await fail_until_the_waits_are_long(w, number)
        looks, w.files.room = w.looks, now
        for _ in range(4):
            w.clock.advance(FAULTY_POLL)
            await w.clock.until_asleep(FAULTY_POLL)
        assert w.looks == looks
        w.files.failing = None
        w.clock.advance(LONGEST_DELAY_US / 1e6)  # the bound where nothing but a try can tell
        assert (await w.armed()).message.endswith("in /var/other")


async def test_a_store_that_seems_mended_and_is_not_is_tried_once_in_half_a_minute(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.files.room = 3 * MIB, False
        await fail_until_the_waits_are_long(w, errno.ENOSPC)
        failures = w.statuses[-1].past.consecutive_failures
        for number in range(1, 4):
            w.files.room = 3 * MIB + number * 2 * MIB, False
            w.clock.advance(FAULTY_POLL)
            await w.clock.until_settling()
            w.clock.advance(0.3)
            await w.until(
                lambda now, wanted=failures + number: (  # type: ignore[misc]  # mypy takes no defaults of a lambda
                    now.activity == "waiting" and now.past.consecutive_failures == wanted
                )
            )
            await w.clock.until_idle()


async def test_without_room_for_the_record_nothing_is_loaded_that_nobody_could_vouch_for(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        loads = w.programs.ran["kexec"]
        w.files.failing = "/run/kdumpd", errno.ENOSPC
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        status = await waiting(w)
        assert (status.state, status.reason, status.protected) == ("stale", "run-unwritable", True)
        assert w.programs.ran["kexec"] == loads
        w.files.failing = None
        w.clock.advance(2.0)
        assert (await w.armed()).message.endswith("in /var/other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load that fails: how, by which name, and what the kernel says of itself meanwhile."""

    refusal: Refusal
    code: str
    kernel_says: Mapping[str, str] = field(default_factory=dict)


def freed(words: str, code: str, *, status: int = 255, **kernel_says: str) -> Load:
    refusal = Refusal(said=words, keeps_the_old=False, status=status)
    return Load(refusal=refusal, code=code, kernel_says=kernel_says)


def kept(words: str, code: str) -> Load:
    return Load(refusal=Refusal(said=words, keeps_the_old=True), code=code)


LOADS = {
    "ENOEXEC": freed("kexec_file_load failed: Exec format error", "kexec-image"),
    "ENOEXEC with -s": freed("syscall kexec_file_load not available.", "kexec-image", status=253),
    "EADDRNOTAVAIL": freed("kexec_load failed: Cannot assign requested address", "image-too-big"),
    "ENOMEM": freed("kexec_file_load failed: Cannot allocate memory", "image-too-big"),
    "ENOKEY": freed("kexec_file_load failed: Required key not available", "kexec-signature"),
    "EPERM of lockdown": freed(
        "kexec_file_load failed: Operation not permitted", "lockdown", lockdown="none [integrity]"
    ),
    "killed": freed("", "kexec-failed", status=-9),
    "EPERM": kept("kexec_file_load failed: Operation not permitted", "not-permitted"),
    "EACCES": kept("kexec_file_load failed: Permission denied", "not-permitted"),
    "EIO": kept("kexec_file_load failed: Input/output error", "kexec-failed"),
}


def say(w: World, load: Load) -> None:
    for name, value in load.kernel_says.items():
        path = w.root / "sys/kernel/security" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS.keys())
async def test_a_load_that_fails_has_a_name_and_the_last_good_is_loaded(tmp_path: Path, load: Load) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        good = w.kexec.armed()
        assert good is not None
        w.programs.refuse = lambda argv: None if good.initramfs in " ".join(argv) else load.refusal
        say(w, load)
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        status = await waiting(w)
        assert (status.state, status.reason, status.protected) == ("stale", load.code, True)
        assert status.past.last_error == load.code
        assert status.past.consecutive_failures == 1
        assert w.is_loaded
        now = w.kexec.armed()
        assert now is not None
        assert (now.image, now.load) == (good.image, good.load)
        assert w.kexec.intent() is None
        w.programs.refuse = lambda _argv: None
        w.clock.advance(2.0)
        status = await w.armed()
        assert status.message.endswith("in /var/other")
        assert status.past.last_error == ""


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS.keys())
async def test_where_not_even_the_last_good_is_taken_the_state_says_failed(
    tmp_path: Path, load: Load
) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.loaded_file.write_text("0\n")  # whatever the load that failed keeps: there is nothing to be kept
        w.programs.refuse = lambda _argv: load.refusal
        say(w, load)
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        status = await waiting(w)
        assert (status.state, status.reason, status.protected) == ("failed", load.code, False)
        w.programs.refuse = lambda _argv: None
        w.clock.advance(2.0)
        assert (await w.armed()).message.endswith("in /var/other")


BUSY = Refusal(said="kexec_file_load failed: Device or resource busy", keeps_the_old=True)


async def busy_for(w: World, times: int) -> None:
    """The kernel is busy so often, and each wait for it passes."""
    left = times

    def refuse(_argv: tuple[str, ...]) -> Refusal | None:
        nonlocal left
        left -= 1
        return BUSY if left >= 0 else None

    w.programs.refuse = refuse
    w.make_folder("/var/other")
    await w.edit("path /var/other\n")
    for wait in BACK_OFF_SECONDS[:times]:
        await w.clock.until_asleep(wait)
        w.clock.advance(wait)


async def test_a_kernel_that_is_busy_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        place = len(w.statuses)
        await busy_for(w, 2)
        status = await w.armed()
        assert status.message.endswith("in /var/other")
        assert {status.past.last_error for status in w.statuses[place:]} == {""}
        assert all(status.protected for status in w.statuses[place:])


async def test_a_kernel_that_stays_busy_is_told_and_tried_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        await busy_for(w, 6)
        status = await waiting(w)
        assert (status.state, status.reason, status.protected) == ("stale", "kexec-busy", True)
        w.clock.advance(2.0)
        assert (await w.armed()).message.endswith("in /var/other")


@pytest.mark.parametrize("code", ["load-disabled", "load-limit"])
async def test_what_only_a_reboot_mends_is_not_even_tried(tmp_path: Path, code: str) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        loads = w.programs.ran["kexec"]
        name, value = {"load-disabled": ("load_disabled", "1"), "load-limit": ("load_limit_panic", "0")}[code]
        (w.root / f"proc/sys/kernel/kexec_{name}").write_text(f"{value}\n")
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        status = await w.until(lambda now: now.reason == code and now.activity == "idle")
        assert (status.state, status.protected, status.reboot_required) == ("stale", True, True)
        assert w.programs.ran["kexec"] == loads


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("years", [-10, 10])
async def test_at_rest_a_jump_of_the_clock_is_one_look_and_nothing_more(tmp_path: Path, years: int) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        looks, ran = w.looks, w.programs.ran.total()
        jump(w, years)
        await w.clock.until_another_nap()
        await w.clock.until_idle()
        assert w.looks - looks == 1
        assert w.programs.ran.total() == ran
        assert w.statuses[-1].state == "armed"
        assert w.jobs.known == ()  # what was over long ago, or is to be over in years


def jump(w: World, years: int) -> None:
    if years > 0:
        w.clock.advance(years * YEAR)
    else:
        w.clock.set_back(-years * YEAR)


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_back_off_does_not_outlive_a_jump_of_the_clock(tmp_path: Path, years: int) -> None:
    async with world(tmp_path) as w:
        await fail_until_the_waits_are_long(w, errno.EIO)
        w.files.failing = None
        jump(w, years)
        assert (await w.armed()).message.endswith("in /var/other")


async def test_a_burst_that_meets_a_clock_set_back_still_ends_in_a_look(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.reconciler.poke("first")
        await w.clock.until_settling()
        looks = w.looks
        w.reconciler.poke("second")
        w.clock.set_back(10 * YEAR)
        for number in range(17):  # five seconds and a little, as ever
            assert w.looks == looks
            await w.clock.until_settling()
            w.reconciler.poke(f"change {number}")
            w.clock.advance(0.3)
        await w.clock.until_idle()
        assert w.looks > looks


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_job_that_meets_a_jump_of_the_clock_ends_like_any_other(tmp_path: Path, years: int) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.programs.hold("zstd")
        await change_everything(w)
        await w.programs.reached("zstd")
        job = w.reconciler.active_job
        assert job is not None
        jump(w, years)
        await w.clock.until_asleep(1.0)
        assert 0.0 <= job.progress < 1.0
        w.programs.let_go("zstd")
        assert await w.ended(job) == "done"
        assert (await w.armed()).past.last_success_us == w.clock.now


@pytest.mark.parametrize("years", [-10, 10])
async def test_the_target_is_tested_on_though_the_clock_jumps(tmp_path: Path, years: int) -> None:
    async with world(tmp_path) as w:
        proving = Proving(
            tests=TargetTests(w.files, w.programs), jobs=w.jobs, clock=w.clock, saved=lambda: ()
        )
        w.listeners.append(lambda: proving.follow(w.reconciler.status, w.reconciler.sight))
        await w.armed()
        async with meanwhile(proving.run(lambda: w.reconciler.sight)):
            await w.clock.until_asleep(NAP_SECONDS)
            assert proving.last.tested_us == w.clock.now
            jump(w, years)
            await w.clock.until_asleep(NAP_SECONDS)
            assert proving.last.tested_us == w.clock.now


# --- what does not come back ------------------------------------------------------------------------------------------


async def test_a_look_that_never_ends_is_late(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.files.hold("/etc/kdump.conf")
        try:
            w.reconciler.poke("something changed", urgent=True)
            await w.files.reached()
            w.clock.advance(LOOK_SECONDS - 1.0)
            assert w.pulse.late == ""
            w.clock.advance(2.0)
            assert w.pulse.late == "a look at the machine"
        finally:
            w.files.let_go()
        await w.armed()
        assert w.pulse.late == ""


async def test_at_rest_nothing_is_ever_late(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        for _ in range(20):
            w.clock.advance(600.0)
            assert w.pulse.late == ""
            await w.clock.until_another_nap()


@pytest.mark.parametrize(
    ("program", "seconds", "doing"),
    [("zstd", 2 * 600.0 + PUBLISH_SECONDS, "build base"), ("kexec", LOAD_SECONDS, "load")],
)
async def test_a_step_past_all_its_bounds_is_late(
    tmp_path: Path, program: str, seconds: float, doing: str
) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.programs.hold(program)
        await change_everything(w)
        await w.programs.reached(program)
        w.clock.advance(seconds - 10.0)
        assert w.pulse.late == ""
        w.clock.advance(11.0)
        assert w.pulse.late == doing
        w.programs.let_go(program)
        await w.armed()
        assert w.pulse.late == ""
