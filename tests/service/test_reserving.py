"""crashkernel= set over the bus and by kdumpctl, with an update-grub that is played: shown first, done whole, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from kdumpd.core.bootloader import DROP_IN
from kdumpd.host.doors import Output, ProgramFailed
from kdumpd.service.bus import BusError, Value
from kdumpd.service.permissions import JOB, MANAGER, ROOT
from tests.host.scripted import Asked, StandIns
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import OURS, STANDARD, Served, served
from tests.service.world import meanwhile

MENU = "menuentry 'Debian' {{\n\tlinux /boot/vmlinuz-6.1.0 root=/dev/vda1 ro {}\n}}\n"


class Grub(StandIns):
    """A machine of Debian, and an update-grub that does what the drop-in says."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        super().__init__(str(self.root))
        self.runs = 0
        self.fails = False
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    def lay(self, *, crashkernel: str = "crashkernel=256M") -> None:
        for path, said in (
            ("usr/sbin/update-grub", "#!/bin/sh\n"),
            ("etc/default/grub", "GRUB_DEFAULT=0\n"),
            ("boot/grub/grub.cfg", MENU.format(crashkernel)),
        ):
            file = self.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(said)
        (self.root / "usr/sbin/update-grub").chmod(0o755)

    @property
    def menu(self) -> str:
        return (self.root / "boot/grub/grub.cfg").read_text()

    @property
    def drop_in(self) -> Path:
        return self.root / DROP_IN.lstrip("/")

    async def answer(self, asked: Asked) -> Output:
        assert asked.argv == ("/usr/sbin/update-grub",)
        self.runs += 1
        self.reached.set()
        await self.goes_on.wait()
        output = Output(argv=asked.argv, status=1, stdout=b"", stderr=b"")
        if self.fails:
            raise ProgramFailed(output, "exit status 1: no space left")
        words = re.findall(r" (crashkernel=[^\s\"$\[]+)", self.drop_in.read_text().splitlines()[-1])
        (self.root / "boot/grub/grub.cfg").write_text(MENU.format(" ".join(words)))
        return output


@contextlib.asynccontextmanager
async def on_debian(folder: Path, bus: PrivateBus) -> AsyncIterator[tuple[Served, Grub]]:
    grub = Grub(folder)
    async with served(folder, bus, boot_tools=grub) as s:
        grub.lay()
        async with meanwhile(s.reserving.run()):
            yield s, grub


async def done(s: Served, value: str, options: Mapping[str, Value]) -> tuple[Mapping[str, Value], list[str]]:
    (path,) = await s.client.call(ROOT, MANAGER, "SetCrashkernel", "sa{sv}", value, options)
    job = await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
    lines, _, _ = await s.client.call(str(path), JOB, "GetLog", "tua{sv}", 0, 1000, {})
    assert isinstance(lines, tuple)
    return job, [str(line) for line in lines]


async def test_a_dry_run_shows_all_and_changes_nothing(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (s, grub):
        before = grub.menu
        job, lines = await done(s, "512M", {"dry-run": True})
        assert (job["Kind"], job["Result"]) == ("crashkernel", "done")
        assert lines[0] == f"would write {DROP_IN}:"
        assert any("crashkernel=512M" in line for line in lines)
        assert lines[-1] == "would run /usr/sbin/update-grub"
        assert (grub.runs, grub.menu, grub.drop_in.exists()) == (0, before, False)


async def test_the_next_boot_has_it_and_a_reboot_is_required(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (s, grub):
        assert await s.client.get(ROOT, MANAGER, "RebootRequired") is False
        job, lines = await done(s, "512M", {})
        assert (job["Result"], job["ErrorMessage"]) == ("done", "")
        assert lines[-1] == "Updated crashkernel=512M for kernel=/boot/vmlinuz-6.1.0, grub entry index=0."
        assert grub.menu == MENU.format("crashkernel=512M")
        assert await s.client.get(ROOT, MANAGER, "RebootRequired") is True, "once the job is over it is known"
        _, again = await done(s, "512M", {})
        assert again == [
            "No need to update crashkernel value for kernel=/boot/vmlinuz-6.1.0, grub entry index=0"
        ]
        assert grub.runs == 1
        await done(s, "256M", {})
        assert await s.client.get(ROOT, MANAGER, "RebootRequired") is False


async def test_without_a_value_it_is_what_is_recommended(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (s, grub):
        (estimate,) = await s.client.call(ROOT, MANAGER, "Estimate", "a{sv}", {})
        assert isinstance(estimate, Mapping)
        await done(s, "", {})
        assert grub.menu == MENU.format(f"crashkernel={estimate['crashkernel']!s}")


async def test_an_update_grub_that_fails_leaves_all_as_it_was(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (s, grub):
        grub.fails = True
        before = grub.menu
        job, lines = await done(s, "512M", {})
        assert job["Result"] == "failed"
        assert "no space left" in str(job["ErrorMessage"])
        assert lines[-1] == "everything was put back as it was"
        assert (grub.menu, grub.drop_in.exists()) == (before, False)


@pytest.mark.parametrize(
    ("value", "options", "name"),
    [
        ("nonsense", {}, f"{STANDARD}InvalidArgs"),
        ("256M; reboot", {}, f"{STANDARD}InvalidArgs"),
        ("256M", {"kernel": "/boot/none"}, f"{OURS}KernelNotFound"),
        ("256M", {"kernel": "--help"}, f"{OURS}KernelNotFound"),
        ("256M", {"sideways": True}, f"{STANDARD}InvalidArgs"),
    ],
)
async def test_what_is_refused_begins_no_job(
    tmp_path: Path, bus: PrivateBus, value: str, options: Mapping[str, Value], name: str
) -> None:
    async with on_debian(tmp_path, bus) as (s, grub):
        with pytest.raises(BusError) as fault:
            await done(s, value, options)
        assert fault.value.name == name
        assert grub.runs == 0


async def test_a_machine_of_an_unknown_kind_is_not_guessed_at(tmp_path: Path, bus: PrivateBus) -> None:
    async with on_debian(tmp_path, bus) as (s, grub):
        (grub.root / "usr/sbin/update-grub").unlink()
        with pytest.raises(BusError) as fault:
            await done(s, "256M", {})
        assert fault.value.name == f"{OURS}NotSupported"


async def test_nobody_changes_the_menu_while_a_package_manager_holds_us_back(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with on_debian(tmp_path, bus) as (s, grub):
        await s.client.call(ROOT, MANAGER, "Inhibit", "ssa{sv}", "apt", "installs a kernel", {})
        with pytest.raises(BusError) as fault:
            await done(s, "512M", {})
        assert fault.value.name == f"{OURS}Inhibited"
        await done(s, "512M", {"dry-run": True})
        assert grub.runs == 0


async def test_what_waits_can_be_cancelled_and_what_is_being_written_cannot(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with on_debian(tmp_path, bus) as (s, grub):
        grub.goes_on.clear()
        (first,) = await s.client.call(ROOT, MANAGER, "SetCrashkernel", "sa{sv}", "512M", {})
        (second,) = await s.client.call(ROOT, MANAGER, "SetCrashkernel", "sa{sv}", "1G", {})
        async with asyncio.timeout(10):
            await grub.reached.wait()
        assert await s.client.get(str(first), JOB, "Cancelable") is False
        with pytest.raises(BusError) as refusal:
            await s.client.call(str(first), JOB, "Cancel", "a{sv}", {})
        assert refusal.value.name == f"{OURS}NotCancelable"
        assert await s.client.get(str(second), JOB, "Cancelable") is True
        await s.client.call(str(second), JOB, "Cancel", "a{sv}", {})
        assert await s.client.get(str(second), JOB, "Result") == "cancelled"
        grub.goes_on.set()
        job = await s.client.wait_until(str(first), JOB, lambda now: now["State"] == "done")
        assert job["Result"] == "done"
        _, again = await done(s, "512M", {})
        assert again[0].startswith("No need to update")
        assert (grub.runs, grub.menu) == (1, MENU.format("crashkernel=512M"))
