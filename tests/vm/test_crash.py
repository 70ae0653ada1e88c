"""A real crash: what the capture kernel saved, what it did when it could not, and what the daemon told afterwards."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from kdumpd.core.summary import Summary
from tests.vm.aftermath import PANIC, another_machine_with, dump_directory, whole_dump
from tests.vm.hardware import Disk
from tests.vm.installed import NAME, Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


def _is_announced(kdumpd: Installed, directory: str) -> None:
    machine = kdumpd.machine
    kdumpd.wait_for("LastDump", "/dumps/")
    dump = str(kdumpd.value("LastDump"))
    told = json.loads(
        machine.sh(
            f"busctl --json=short call {NAME} {dump} org.freedesktop.DBus.Properties GetAll s {NAME}.Dump"
        )
    )["data"][0]
    told = {name: value["data"] for name, value in told.items()}
    assert told["Path"] == directory
    assert told["Complete"] is True
    assert told["Kernel"] == machine.sh("uname -r")
    assert told["Reason"].startswith(PANIC)
    assert told["Size"] == int(machine.sh(f"stat -c %s {directory}/vmcore"))
    written = int(machine.sh(f"stat -c %Y {directory}/vmcore")) * 1_000_000
    assert abs(told["Time"] - written) < 900_000_000
    assert directory in machine.sh("journalctl -b -u kdumpd -o cat --no-pager")


@pytest.mark.shows(
    "no target: the device that holds path",
    "a partition or disk",
    "final_action",
    "final_action reboot",
    "path",
)
def test_the_default_target_on_ext4(kdumpd: Installed, say: Callable[[str], None]) -> None:
    kdumpd.wait_until_armed()
    image = str(kdumpd.value("InitramfsPath"))
    size = int(kdumpd.machine.sh(f"stat -c %s {shlex.quote(image)}"))
    reboot = kdumpd.machine.crash_and_come_back()
    bare = reboot.seconds_to("Linux version")
    say(
        f"image {size / 1e6:.2f} MB; after the crash: capture kernel's first line {bare:.1f} s, "
        f"agent {reboot.seconds_to('kdumpd['):.1f} s, collector starts {reboot.seconds_to('running makedumpfile'):.1f} s, "
        f"synced {reboot.seconds_to('saved /'):.1f} s, back {reboot.back_after:.1f} s"
    )
    assert size <= 3_500_000
    directory = dump_directory(kdumpd.machine, "/var/crash")
    summary = whole_dump(kdumpd.machine, directory)
    assert summary.result == "saved"
    kdumpd.wait_until_armed(timeout=300)
    _is_announced(kdumpd, directory)


@pytest.mark.shows("xfs", "LABEL=", "path", "a partition or disk")
def test_a_second_disk_by_label_with_xfs(kdumpd: Installed, say: Callable[[str], None]) -> None:
    machine = kdumpd.machine
    machine.plug(Disk(serial="second", filesystem="xfs", label="dumps"))
    kdumpd.configure_and_arm("xfs LABEL=dumps", "path /from/kdump", saying="/from/kdump")
    machine.crash_and_end()
    with another_machine_with(machine, "second", say=say) as other:
        other.sh("mkdir -p /mnt && mount LABEL=dumps /mnt")
        assert whole_dump(other, dump_directory(other, "/mnt/from/kdump")).result == "saved"


@pytest.mark.shows("final_action", "final_action poweroff", "path")
def test_a_crash_while_the_configuration_is_broken(kdumpd: Installed) -> None:
    kdumpd.configure_and_arm("path /var/crash/good", "final_action poweroff", saying="/var/crash/good")
    kdumpd.configure("path /var/crash/bad", "unheard_of 1")
    kdumpd.wait_for("State", "stale")
    crashed = kdumpd.machine.crash()
    saved = kdumpd.machine.console.wait_for(r"saved /.*/vmcore", timeout=300, since=crashed.number)
    assert "/var/crash/good/127.0.0.1-" in saved.text
    kdumpd.machine.wait_for_exit()


@pytest.mark.shows("kdump_pre", "failure_action", "failure_action poweroff")
def test_kdump_pre_that_fails_means_no_dump_and_the_failure_action(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    machine.put("/etc/kdump-no", "#!/bin/sh\necho the hook says no\nexit 7\n", mode=0o755)
    kdumpd.configure_and_arm(
        "kdump_pre /etc/kdump-no", "failure_action poweroff", "path /var/crash/pre", saying="/pre"
    )
    crashed = machine.crash()
    machine.console.wait_for("the hook says no", timeout=300, since=crashed.number)
    machine.wait_for_exit()
    assert not [
        line for line in machine.console.lines[crashed.number :] if "running makedumpfile" in line.text
    ]


@pytest.mark.shows(
    "kdump_post",
    "failure_action",
    "failure_action halt",
    "ext4",
    "core_collector",
    "core_collector makedumpfile",
)
def test_a_collector_that_fails_halts_after_kdump_post_has_heard(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    machine.put("/etc/kdump-post", '#!/bin/sh\necho "post heard status $1"\n', mode=0o755)
    machine.plug(Disk(serial="small", size="24M", filesystem="ext4", label="small"))
    kdumpd.configure_and_arm(
        "ext4 LABEL=small",
        "path /dumps",
        "core_collector makedumpfile -d 0 --message-level 1",
        "kdump_post /etc/kdump-post",
        "failure_action halt",
        saying="/dumps",
    )
    crashed = machine.crash()
    heard = machine.console.wait_for(r"post heard status \d+", timeout=300, since=crashed.number)
    assert not heard.text.endswith("status 0")
    machine.console.wait_for("System halted", timeout=120, since=crashed.number)


@pytest.mark.shows("failure_action shell", "disk_timeout", "final_action poweroff")
def test_a_target_that_vanished_opens_the_shell(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    machine.plug(Disk(serial="gone", filesystem="ext4", label="gone"))
    kdumpd.configure_and_arm(
        "ext4 LABEL=gone",
        "path /dumps",
        "disk_timeout 3",
        "failure_action shell",
        "final_action poweroff",
        saying="/dumps",
    )
    machine.unplug("gone")
    crashed = machine.crash()
    machine.console.wait_for("did not come in 3 s", timeout=300, since=crashed.number)
    machine.console.wait_for("exit", timeout=120, since=crashed.number)
    machine.console.type("echo answer-$((6 * 7))\n")
    machine.console.wait_for("answer-42", timeout=60, since=crashed.number)
    machine.console.type("exit\n")
    machine.wait_for_exit()


@pytest.mark.shows("failure_action dump_to_rootfs", "disk_timeout")
def test_dump_to_rootfs_saves_where_the_target_could_not(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    machine.plug(Disk(serial="gone", filesystem="ext4", label="gone"))
    kdumpd.configure_and_arm(
        "ext4 LABEL=gone", "path /dumps", "disk_timeout 3", "failure_action dump_to_rootfs", saying="/dumps"
    )
    machine.unplug("gone")
    machine.crash_and_end()
    (directory,) = machine.list_offline("/var/crash")
    summary = Summary.model_validate_json(machine.read_offline(f"/var/crash/{directory}/summary.json"))
    assert summary.result == "saved"
    assert machine.read_offline(f"/var/crash/{directory}/vmcore").startswith(b"KDUMP")


@pytest.mark.shows("failure_action reboot", "disk_timeout")
def test_the_default_failure_action_reboots_and_leaves_a_record(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    machine.plug(Disk(serial="gone", filesystem="ext4", label="gone"))
    kdumpd.configure_and_arm("ext4 LABEL=gone", "path /dumps", "disk_timeout 3", saying="/dumps")
    machine.unplug("gone")
    machine.crash_and_end()
    (record,) = machine.list_offline("/var/lib/kdumpd/failures")
    told = Summary.model_validate_json(machine.read_offline(f"/var/lib/kdumpd/failures/{record}"))
    assert told.result == "failed"
