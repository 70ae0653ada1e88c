"""Armed early in boot with what was good before, and afterwards by the daemon with what is wanted now."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.private_bus import PrivateBus
from tests.simulate import REPOSITORY, Machine, make_machine, simulated

BOOT_ID = "proc/sys/kernel/random/boot_id"


async def armed_once(machine: Machine) -> None:
    """Armed by the daemon, which has then ended with the machine that goes down."""
    await machine.until_armed()
    assert await machine.stop() == 0


def reboot(machine: Machine) -> None:
    """What a boot leaves of a machine: its disks."""
    machine.loaded_file.write_text("0\n")
    (machine.root / BOOT_ID).write_text("another-boot\n")
    shutil.rmtree(machine.root / "run/kdumpd")
    machine.log.write_bytes(b"")


async def early(machine: Machine) -> str:
    """Run it; it never fails. Gives what it said."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kdumpd.early", "--root", str(machine.root), "--simulate"),
        cwd=REPOSITORY,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await program.communicate()
    assert program.returncode == 0, said.decode()
    assert said.decode().count("\n") == 1
    return said.decode()


def steps(machine: Machine) -> Counter[str]:
    """What the daemon has done since the boot, by its own log."""
    said = machine.log.read_text()
    return Counter(
        verb
        for verb in ("build base", "build image", "load", "restore")
        for line in said.splitlines()
        if f"INFO kdumpd.service.journal: {verb}: " in line
    )


async def test_the_daemon_finds_the_machine_armed_and_does_nothing(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await armed_once(machine)
        reboot(machine)
        assert "the last good image is loaded" in await early(machine)
        assert machine.loaded_file.read_text() == "1\n"
        assert machine.armed_with["boot_id"] == "another-boot"
        record = machine.armed_with
        assert "there is a crash kernel already" in await early(machine)
        await machine.start()
        state = await machine.until_armed()
        assert state["StateReason"] == "armed"
        assert steps(machine) == Counter()
        assert machine.armed_with == record


async def test_what_was_edited_before_the_boot_is_armed_by_the_daemon(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await armed_once(machine)
        reboot(machine)
        (machine.root / "var/edited").mkdir()
        machine.conf.write_text("path /var/edited\n")
        assert "the last good image is loaded" in await early(machine)
        assert machine.directory == "/var/crash"
        await machine.start()
        await machine.until_armed()
        assert str(machine.directory) == "/var/edited"
        assert steps(machine) == Counter({"build image": 1, "load": 1})


async def test_other_processors_than_before_the_boot_are_described_at_once(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await armed_once(machine)
        reboot(machine)
        present = machine.root / "sys/devices/system/cpu/present"
        present.parent.mkdir(parents=True, exist_ok=True)
        present.write_text("0-63\n")
        await early(machine)
        await machine.start()
        await machine.until_armed()
        assert steps(machine) == Counter()


async def test_a_store_that_was_moved_is_found(tmp_path: Path, bus: PrivateBus) -> None:
    root = make_machine(tmp_path)
    (root / "etc/kdumpd.toml").write_text('# the big disk\nstore = "/srv/images"\n')
    async with simulated(tmp_path, bus, root=root) as machine:
        await armed_once(machine)
        reboot(machine)
        await early(machine)
        assert str(machine.armed_with["initramfs"]).startswith("/srv/images/")
        assert machine.loaded_file.read_text() == "1\n"


def other_kernel(machine: Machine) -> None:
    (machine.root / "proc/sys/kernel/osrelease").write_text("6.1.0-99-amd64\n")


def kernel_replaced(machine: Machine) -> None:
    with (machine.root / str(machine.last_good["kernel_image"]).lstrip("/")).open("ab") as image:
        image.write(b"newer build")


def image_damaged(machine: Machine) -> None:
    image = machine.root / str(machine.last_good["initramfs"]).lstrip("/")
    image.write_bytes(b"X" + image.read_bytes()[1:])


def image_gone(machine: Machine) -> None:
    (machine.root / str(machine.last_good["initramfs"]).lstrip("/")).unlink()


def record_damaged(machine: Machine) -> None:
    (machine.root / "var/lib/kdumpd/last-good.json").write_bytes(b"{\xff")


def disabled(machine: Machine) -> None:
    (machine.root / "var/lib/kdumpd/disabled").write_text("")


def unreserved(machine: Machine) -> None:
    (machine.root / "sys/kernel/kexec_crash_size").write_text("0\n")
    iomem = machine.root / "proc/iomem"
    iomem.write_text(iomem.read_text().replace("Crash kernel", "something else"))


def locked(machine: Machine) -> None:
    (machine.root / "proc/sys/kernel/kexec_load_disabled").write_text("1\n")


def run_unwritable(machine: Machine) -> None:
    (machine.root / "run/kdumpd").write_text("a file where the folder should be")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (other_kernel, "is for kernel 6.1.0-56-amd64"),
        (kernel_replaced, "is another file than the last good image was loaded with"),
        (image_damaged, "the last good image is damaged"),
        (image_gone, "no stored image is whole"),
        (record_damaged, "no stored image is whole"),
        (disabled, "disabled"),
        (unreserved, "no memory is reserved"),
        (locked, "kexec_load_disabled"),
        (run_unwritable, "/run/kdumpd cannot be written"),
    ],
)
async def test_it_loads_nothing_that_might_not_capture(
    tmp_path: Path, bus: PrivateBus, change: Callable[[Machine], None], says: str
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await armed_once(machine)
        reboot(machine)
        change(machine)
        assert says in await early(machine)
        assert machine.loaded_file.read_text() == "0\n"
        assert not (machine.root / "run/kdumpd/armed").exists()


async def test_killed_in_the_load_it_leaves_the_doubt_to_the_daemon(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await armed_once(machine)
        reboot(machine)
        await early(machine)
        # As it is between the call and the record: an image is loaded, and only the intent says whose.
        run = machine.root / "run/kdumpd"
        (run / "armed").rename(run / "loading")
        await machine.start()
        await machine.until_armed()
        assert steps(machine) == Counter({"load": 1})
        assert not (run / "loading").exists()
