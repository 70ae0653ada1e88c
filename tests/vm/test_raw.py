"""A crash onto a device without a file system: the next system makes a dump of it by itself and clears the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm.aftermath import dump_directory, whole_dump
from tests.vm.hardware import Disk
from tests.vm.installed import Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine

_IS_CLEARED = "head -c 4096 {node} | tr -d '\\000' | wc -c"


@pytest.mark.shows("raw", "a node in /dev", "path", "core_collector makedumpfile -F")
def test_a_raw_device_is_recovered_into_path_after_the_reboot(
    machine: Machine, say: Callable[[str], None]
) -> None:
    kdumpd = Installed(machine)
    # An old file system: the plan warns of what the next crash destroys.
    node = machine.plug(Disk(serial="raw", filesystem="ext4", label="doomed"))
    kdumpd.configure_and_arm(
        f"raw {node}",
        "path /var/crash/recovered",
        "core_collector makedumpfile -l --message-level 7 -d 31",
        saying=node,
    )
    assert f"{node} holds ext4 (doomed), which the next crash destroys" in machine.sh("kdumpctl plan 2>&1")
    reboot = machine.crash_and_come_back()
    kdumpd.wait_for("LastDump", "/dumps/", timeout=400)
    directory = dump_directory(machine, "/var/crash/recovered")
    assert whole_dump(machine, directory).result == "saved"
    size, blocks = map(int, machine.sh(f"stat -c '%s %b' {directory}/vmcore").split())
    assert size > 0
    assert directory in machine.sh("journalctl -b -u kdumpd -o cat --no-pager")
    assert machine.sh(_IS_CLEARED.format(node=node)) == "0", "the same dump would be recovered again"
    kdumpd.wait_until_armed(saying=node, timeout=300)
    say(
        f"saved {reboot.seconds_to(' bytes on /dev/'):.1f} s after the crash; recovered {size >> 20} MiB "
        f"in {blocks >> 11} MiB of disk"
    )
