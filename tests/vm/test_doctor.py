"""What could keep a crash from being captured is named, each with a line that, run as it stands, clears it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.vm.hardware import Disk
from tests.vm.installed import CONF, Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine

OLD_DUMP = "127.0.0.1-2024-01-02-03:04:05"
NEW_DUMP = "127.0.0.1-2024-02-03-04:05:06"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a script does to the machine, and the code that the finding has to have."""

    code: str
    seeding: str
    also: tuple[str, ...] = ()
    """Codes that come with it and that the same remedy clears."""


FAULTS = (
    Fault(
        code="target-not-mounted",
        seeding="mkdir -p /srv/dumps && echo 'LABEL=dumps /srv/dumps ext4 noauto 0 0' >>/etc/fstab && "
        "kdumpctl config set path /srv/dumps",
    ),
    Fault(code="target-read-only", seeding="mount -o remount,ro /srv/dumps"),
    Fault(
        code="target-space",
        seeding=f"for each in {OLD_DUMP} {NEW_DUMP}; do mkdir -p /srv/dumps/$each && "
        "fallocate -l 150M /srv/dumps/$each/vmcore-incomplete && chmod -R go= /srv/dumps/$each; done; "
        "fallocate -l $(($(df --output=avail -B1 /srv/dumps | tail -1) - 1048576)) /srv/dumps/full; "
        "systemctl restart kdumpd.service",
    ),
    Fault(code="oops-does-not-panic", seeding="echo 0 >/proc/sys/kernel/panic_on_oops"),
    Fault(
        code="notifiers-before-capture",
        seeding="echo Y >/sys/module/kernel/parameters/crash_kexec_post_notifiers",
    ),
    Fault(code="writable-by-others", seeding=f"chmod 666 {CONF}"),
    Fault(
        code="hook-not-executable",
        seeding="mkdir -p /etc/kdump/pre.d && echo '#!/bin/sh' >/etc/kdump/pre.d/10-ours && "
        "chmod 644 /etc/kdump/pre.d/10-ours",
    ),
    Fault(
        code="another-service",
        seeding="printf '[Service]\\nExecStart=true\\n[Install]\\nWantedBy=multi-user.target\\n' "
        ">/etc/systemd/system/kdump-tools.service && systemctl enable kdump-tools.service",
    ),
    Fault(code="daemon-not-running", seeding="systemctl stop kdumpd.service"),
    Fault(code="kdump-masked", seeding="systemctl mask kdump.service"),
    Fault(code="kdump-stopped", seeding="kdumpctl stop"),
    Fault(
        code="foreign",
        seeding="systemctl stop kdumpd.service && rm /run/kdumpd/armed && "
        "kexec -p /boot/vmlinuz-$(uname -r) --command-line=quiet",
        also=("daemon-not-running",),
    ),
)


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


def _found(machine: Machine) -> dict[str, dict[str, str]]:
    ran = machine.run("kdumpctl", "doctor", "--json", check=False, timeout=400)
    told = json.loads(ran.stdout)
    found = {each["code"]: each for each in told["findings"]}
    is_wrong = any(each["severity"] in {"failure", "risk"} for each in found.values())
    assert (ran.status, told["outcome"]) == ((1, "could-fail") if is_wrong else (0, "well")), ran
    return found


def test_each_fault_is_named_with_a_line_that_clears_it(
    kdumpd: Installed, say: Callable[[str], None]
) -> None:
    machine = kdumpd.machine
    kdumpd.wait_until_armed()
    machine.plug(Disk(serial="dumps", size="600M", filesystem="ext4", label="dumps"))
    machine.sh("echo 1 >/proc/sys/kernel/panic_on_oops")  # Debian has 0 of its own
    machine.run("kdumpctl", "test-target", timeout=400)  # it counts the pages that a dump would have
    cleared: set[str] = set()
    found = _found(machine)
    for fault in FAULTS:
        assert fault.code not in found
        machine.sh(fault.seeding, timeout=300)
        if fault.code == "target-space":
            machine.wait_until(f"kdumpctl dumps | grep -q {OLD_DUMP}", timeout=180)
        found = _found(machine)
        assert not found.keys() & cleared, (cleared, found)
        assert {fault.code, *fault.also} <= found.keys(), (fault.code, sorted(found))
        finding = found[fault.code]
        assert finding["command"], finding
        machine.sh(finding["command"], timeout=300)
        cleared = {fault.code, *fault.also}
        say(f"{fault.code}: {finding['command']}")
    assert not _found(machine).keys() & {fault.code for fault in FAULTS}
    assert machine.sh("ls /srv/dumps").split() == [NEW_DUMP, "full", "lost+found"]
    kdumpd.wait_until_armed()

    machine.put("/root/kdump-tools", 'KDUMP_COREDIR="/var/imported"\nKDUMP_NUM_DUMPS=3\n')
    machine.sh("kdumpctl import --write /root/kdump-tools")
    kdumpd.wait_until_armed(saying="/var/imported")
    assert machine.sh("cat /etc/kdumpd.toml").startswith("keep_count = 3\n")

    machine.sh(f"chmod 600 {CONF}")
    said = _as_a_user(machine)
    assert f"Not known:\n  - {CONF}: it cannot be read: Permission denied\n" in said


def _as_a_user(machine: Machine) -> str:
    ran = machine.run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "kdumpctl", "doctor", check=False
    )
    assert ran.status in {1, 2}, ran
    assert "Traceback" not in ran.stderr
    return ran.stdout
