"""A machine that GRUB boots: what kdumpctl writes into its menu is what the next boot reserves, and status says until when not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vm.hardware import Shape
from tests.vm.installed import Installed
from tests.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.vm.build import Image
    from tests.vm.frozen import Frozen

REBOOT = "WARNING: Please reboot the system for the change to take effect."
RESERVED = "cat /sys/kernel/kexec_crash_size"
MIB = 1 << 20


def _install_grub(machine: Machine, image: Image) -> None:
    """GRUB on the root disk, which has no partitions: it finds its own core by the blocks of the file."""
    options = Shape(crashkernel="").command_line(image).partition(" ro ")[2]
    machine.put(
        "/etc/default/grub",
        "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_TERMINAL=serial\nGRUB_DISABLE_OS_PROBER=true\n"
        f'GRUB_CMDLINE_LINUX_DEFAULT="{options} crashkernel=192M"\n',
    )
    machine.sh("grub-install --target=i386-pc --force /dev/vda", timeout=300)
    machine.sh("update-grub", timeout=300)


def _says_reboot(machine: Machine) -> bool:
    return "reboot is required" in machine.sh("kdumpctl status")


def test_reset_crashkernel_changes_what_the_next_boot_reserves(
    frozen: Frozen, built: Image, console_log: Path, say: Callable[[str], None]
) -> None:
    with frozen.wake(log=console_log) as first:
        _install_grub(first, built)
        first.power_off()
        with Machine.boot(built, by_loader_of=first.disk, log=console_log) as machine:
            kdumpd = Installed(machine)
            kdumpd.wait_until_armed(timeout=600)
            assert "BOOT_IMAGE=" in machine.sh("cat /proc/cmdline"), "GRUB booted it"
            assert machine.sh(RESERVED) == str(192 * MIB)
            assert not _says_reboot(machine)

            default = machine.run("kdumpctl", "get-default-crashkernel").stdout
            menu = machine.get("/boot/grub/grub.cfg")
            shown = machine.run("kdumpctl", "reserve", "set", "--dry-run").stdout
            assert f"crashkernel={default}" in shown
            assert machine.get("/boot/grub/grub.cfg") == menu
            assert not _says_reboot(machine)

            said = machine.run("kdumpctl", "reset-crashkernel", timeout=600)
            assert shown in said.stdout
            assert f"Updated crashkernel={default} for kernel=/boot/vmlinuz-" in said.stdout
            assert REBOOT in said.stderr
            assert _says_reboot(machine)
            assert kdumpd.value("State") == "armed"

            machine.reboot()
            kdumpd.wait_until_armed(timeout=600)
            assert f"crashkernel={default}" in machine.sh("cat /proc/cmdline").split()
            assert machine.sh(RESERVED) == str(256 * MIB)
            assert not _says_reboot(machine)
            again = machine.run("kdumpctl", "reset-crashkernel", timeout=600)
            assert "No need to update crashkernel value for kernel=/boot/vmlinuz-" in again.stdout
            assert again.stderr == ""
            say(f"the next boot was armed with crashkernel={default}, as reset-crashkernel wrote it")
