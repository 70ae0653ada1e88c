"""The rows of the table of missed triggers that no file tells of: what is loaded already, another kdumpd, a lost kernel.

The others are elsewhere. A restart with a bad kdump.conf (10) and every other wrong edit: test_simulate. A disk that is
full (12): tests/service/test_keeping. A new kernel (13): tests/service/test_prebuilding. What was rebuilt and is not loaded
(14): tests/service/test_reconciler. There is neither a key that is used again (17) nor a lock that one waits for (18).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from kdumpd.service.permissions import JOB, MANAGER, ROOT
from tests.daemon.armed_machine import STEPS, ArmedMachine
from tests.daemon.rows_of_configuration import CONF, RELEASE
from tests.daemon.triggers import Work, has, looker, plan_of, work_between
from tests.machines.expect import CASES
from tests.service.private_bus import PrivateBus
from tests.simulate import REPOSITORY, Sampler, make_machine, simulated

UNEQUAL = {"__init__.py": (r'__version__ = "[^"]*"', '__version__ = "0.0.1"')}
OLDER_RECIPE = {"core/resolve.py": (r"BASE_RECIPE = \d+", "BASE_RECIPE = 0")}


def another_kdumpd(folder: Path, changed: dict[str, tuple[str, str]]) -> Path:
    """The package as it was before an upgrade."""
    shutil.copytree(REPOSITORY / "kdumpd", folder / "kdumpd", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in changed.items():
        file = folder / "kdumpd" / name
        text, count = re.subn(old, new, file.read_text())
        assert count == 1
        file.write_text(text)
    return folder


async def test_what_somebody_loaded_before_is_no_reason_not_to_look(tmp_path: Path, bus: PrivateBus) -> None:
    """Row 2: early kdump, or a hand, has loaded something by the time that the service starts."""
    root = make_machine(tmp_path)
    has("/sys/kernel/kexec_crash_loaded", "1\n")(root)
    async with simulated(tmp_path, bus, root=root) as machine:
        await machine.until_armed()
        assert machine.directory == "/var/crash"
        assert ArmedMachine(machine).did().steps == [*STEPS[Work.BASE]]


@pytest.mark.parametrize(("changed", "work"), [(UNEQUAL, Work.IMAGE), (OLDER_RECIPE, Work.BASE)])
async def test_an_upgrade_of_kdumpd_itself_is_armed(
    tmp_path: Path, bus: PrivateBus, changed: dict[str, tuple[str, str]], work: Work
) -> None:
    """Row 8: another agent is another overlay; another way to build the base is another base."""
    older = another_kdumpd(tmp_path / "older", changed)
    async with simulated(tmp_path, bus, code=older) as machine:
        await machine.until_armed()
        before = machine.armed_with
        await machine.stop()
        armed = ArmedMachine(machine)
        armed.did()
        with Sampler(machine.loaded_file) as sampler:
            await machine.start()
            await machine.until_armed()
        assert armed.did().steps == [*STEPS[work]]
        assert machine.armed_with["image"] != before["image"]
        assert not sampler.unloaded


async def test_a_reload_without_a_kernel_unloads_nothing(tmp_path: Path, bus: PrivateBus) -> None:
    """Row 11: what is to be loaded is looked at before anything is let go."""
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        kernel = machine.root / f"boot/vmlinuz-{RELEASE}"
        with Sampler(machine.loaded_file) as sampler:
            kernel.rename(kernel.with_suffix(".away"))
            await machine.until(lambda now: now["StateReason"] == "kernel-image-missing")
            (job,) = await machine.client.call(ROOT, MANAGER, "Reload", "a{sv}", {})
            ended = await machine.client.wait_until(str(job), JOB, lambda now: now["State"] == "done")
            assert ended["Result"] == "failed"
            kernel.with_suffix(".away").rename(kernel)
            await machine.until_armed()
        assert sampler.samples
        assert not sampler.unloaded


async def test_a_machine_without_a_reservation_says_so(tmp_path: Path, bus: PrivateBus) -> None:
    """Row 15: enabled, and dead in silence."""
    root = make_machine(tmp_path)
    has("/sys/kernel/kexec_crash_size", "0\n")(root)
    has("/proc/iomem", "00001000-7ffdbfff : System RAM\n")(root)
    async with simulated(tmp_path, bus, root=root) as machine:
        state = await machine.until(lambda now: now["State"] == "no-memory")
        assert state["StateReason"] == "no-reserved-memory"
        assert "crashkernel=" in str(state["StateMessage"])


async def test_where_path_lies_now_is_nothing_to_a_target_that_is_named(tmp_path: Path) -> None:
    """Row 19: /var/crash is on NFS, and kdump.conf names a disk."""
    named = has(CONF, "ext4 UUID=1c1e2ad6-2f35-4a2f-8b5b-70d1b9e7b1f4\npath /var/crash\n")
    async with looker(tmp_path, "nfs-path", [named]) as machine:
        sight = await machine.looks()
        plan = plan_of(sight)
        assert plan.target["type"] == "filesystem"
        assert plan.target["directory"] == "/var/crash"
        assert sight.machine.network.hosts == ()


@pytest.mark.parametrize("case", CASES)
async def test_a_second_look_finds_the_same(tmp_path: Path, case: str) -> None:
    """Row 9: what is read when an image is built and what is read when it is judged are one and the same."""
    async with looker(tmp_path, case, []) as machine:
        first, second = await machine.looks(), await machine.looks()
        assert first.resolution.problems == second.resolution.problems
        assert first.watched == second.watched
        if first.resolution.plan is not None:
            assert work_between(first.resolution.plan, plan_of(second)) is Work.NOTHING


@pytest.mark.parametrize(
    ("file", "text", "code"),
    [("kexec_load_disabled", "1\n", "load-disabled"), ("kexec_load_limit_panic", "0\n", "load-limit")],
)
async def test_a_sysctl_that_forbids_loading_is_heard_of(
    tmp_path: Path, bus: PrivateBus, file: str, text: str, code: str
) -> None:
    """Row 8: what is loaded stays loaded, and an edit that cannot be armed any more says why."""
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        has(f"/proc/sys/kernel/{file}", text)(machine.root)
        has(CONF, "path /var/elsewhere\n")(machine.root)
        state = await machine.until(lambda now: now["StateReason"] == code)
        assert (state["State"], state["Protected"]) == ("stale", True)
        assert machine.directory == "/var/crash"
        assert f"/proc/sys/kernel/{file} changed" in ArmedMachine(machine).did().looks
