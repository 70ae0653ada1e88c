"""What a crash left behind: the dump is looked into, on the machine itself or on another that is given its disks."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdumpd.core.summary import Summary
from tests.vm.hardware import Disk
from tests.vm.server import frozen_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.vm.machine import Machine

PANIC = "Kernel panic - not syncing: sysrq triggered crash"


@contextmanager
def another_machine_with(crashed: Machine, *serials: str, say: Callable[[str], None]) -> Iterator[Machine]:
    """Another machine with copies of those disks of one that has ended; sooner there than the next boot."""
    with frozen_server(say=say).wake() as other:
        for serial in serials:
            other.plug(Disk(serial=serial, made=crashed.directory / f"{serial}.qcow2"))
        yield other


def dump_directory(machine: Machine, parent: str) -> str:
    """The one dump directory under `parent`."""
    found = machine.sh(f"ls -d {parent}/127.0.0.1-*").split()
    assert len(found) == 1, found
    return found[0]


def whole_dump(machine: Machine, directory: str) -> Summary:
    """The dump in `directory` is complete and tells the panic of this crash."""
    assert set(machine.sh(f"ls {directory}").split()) == {
        "vmcore",
        "vmcore-dmesg.txt",
        "kexec-dmesg.log",
        "summary.json",
    }
    machine.sh(f"makedumpfile --dump-dmesg {directory}/vmcore /root/read-back")
    assert PANIC in machine.sh("cat /root/read-back")
    assert PANIC in machine.sh(f"cat {directory}/vmcore-dmesg.txt")
    assert "kdumpd" in machine.sh(f"cat {directory}/kexec-dmesg.log")
    return Summary.model_validate_json(machine.get(f"{directory}/summary.json"))
