"""Each reason why a capture could fail: what it is called, how grave it is, and the line that clears it."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from kdumpd.core import config, document, symptoms
from kdumpd.core.doctor import Outcome, findings, outcome
from kdumpd.core.estimate import Basis, Estimate
from kdumpd.core.finding import Finding, Gravity
from kdumpd.core.inventory import Kind
from kdumpd.core.machine import FstabEntry, Lockdown, Machine, Mount
from kdumpd.core.packages import missing, package_of
from kdumpd.core.plan import Resolution
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.storing import Room
from kdumpd.core.symptoms import (
    Daemon,
    DumpFolder,
    DumpsPlace,
    Mode,
    Symptoms,
    Sysctl,
    Unit,
    Watchdog,
    Wish,
)
from kdumpd.core.sysconfig import Sysconfig
from kdumpd.core.tuning import Tuning
from tests.machines.expect import look
from tests.machines.roots import unpack

MIB = 1 << 20
RUNNING = Daemon(is_running=True, state="armed", message="armed: well", activity="idle", was_tested=True)
ALL_IS_SAID = {
    "kernel.panic_on_oops": "1",
    "kernel.panic": "10",
    "kernel.softlockup_panic": "1",
    "kernel.hardlockup_panic": "1",
    "kernel.hung_task_panic": "1",
    "kernel.unknown_nmi_panic": "1",
    "kernel.panic_on_unrecovered_nmi": "1",
    "kernel.nmi_watchdog": "1",
    "kernel.sysrq": "1",
    "kernel.ftrace_dump_on_oops": "0",
}
OURS = {name: Unit(name=name, is_there=True, is_enabled=True) for name in ("kdump.service", "kdumpd.service")}


def _of_a_well_machine() -> Symptoms:
    with tempfile.TemporaryDirectory() as folder:
        unpack("virtio", Path(folder))
        looked = asyncio.run(look(Path(folder)))
    crash = replace(looked.machine.crash, layout="new", loaded=True, reserved_bytes=256 * MIB)
    return Symptoms(
        machine=replace(looked.machine, crash=crash),
        resolution=looked.resolve(),
        config=looked.config,
        daemon=RUNNING,
        is_recorded=True,
        sysctls=MappingProxyType(ALL_IS_SAID),
        units=MappingProxyType(OURS),
        now_us=2_000_000_000_000_000,
    )


WELL = _of_a_well_machine()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A machine on which one thing is wrong: `code` is found, and `command` is what clears it."""

    code: str
    gravity: Gravity = Gravity.RISK
    command: str = ""
    of: Mapping[str, Any] = field(default_factory=dict)
    crash: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None

    def symptoms(self) -> Symptoms:
        crash = replace(WELL.machine.crash, **self.crash)
        machine = replace(WELL.machine, crash=crash, **self.machine)
        resolution = WELL.resolution
        if self.problem is not None:
            resolution = replace(resolution, problems=(self.problem,))
        return replace(
            WELL,
            machine=machine,
            resolution=resolution,
            sysctls=MappingProxyType({**WELL.sysctls, **self.sysctls}),
            **self.of,
        )


def unit(name: str, **how: bool) -> dict[str, Any]:
    whole: dict[str, Any] = {"is_there": True, "is_enabled": True, **how}
    return {"units": MappingProxyType({**OURS, name: Unit(name=name, **whole)})}


def sysctl_file(name: str, file: str, value: str = "0") -> dict[str, Any]:
    return {"sysctl_files": MappingProxyType({name: Sysctl(value=value, file=file, line=3)})}


LOCKED_TWICE = symptoms.sysctl_lines(
    (
        ("/etc/sysctl.d/a.conf", "kernel.kexec_load_disabled = 1\n"),
        ("/etc/sysctl.d/b.conf", "kernel.kexec_load_disabled = 0\nkernel.kexec_load_disabled = 1\n"),
    )
)
NOTHING = {"loaded": False, "reserved_bytes": 0}
DOG = Watchdog(name="watchdog0", identity="iTCO_wdt", module="iTCO_wdt", is_running=True, timeout_seconds=30)
PLACE = DumpsPlace(
    folder="/var/crash",
    room=Room(free_bytes=20 * MIB, is_read_only=False),
    capacity_bytes=1000 * MIB,
    forecast_bytes=100 * MIB,
    dumps=(
        DumpFolder(name="h-2024-01-01-00:00:00", size_bytes=60 * MIB),
        DumpFolder(name="h-2024-01-02-00:00:00", size_bytes=60 * MIB),
        DumpFolder(name="h-2024-01-03-00:00:00", size_bytes=60 * MIB),
    ),
)
KERNEL = "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro"
SET = "kdumpctl reserve set && systemctl reboot"

ROWS = (
    # the reservation
    Row(code="not-supported", gravity=Gravity.FAILURE, crash={"layout": "", "loaded": False}),
    Row(code="fadump", crash={"fadump": True}),
    Row(
        code="no-reserved-memory",
        gravity=Gravity.FAILURE,
        command=SET,
        crash=NOTHING,
        machine={"command_line": KERNEL},
    ),
    Row(
        code="reboot-required",
        gravity=Gravity.FAILURE,
        command="systemctl reboot",
        crash=NOTHING,
        machine={"command_line": KERNEL, "next_command_line": f"{KERNEL} crashkernel=192M"},
    ),
    Row(
        code="bad-crashkernel",
        gravity=Gravity.FAILURE,
        command=SET,
        crash=NOTHING,
        machine={"command_line": f"{KERNEL} crashkernel=auto"},
    ),
    Row(
        code="crashkernel-asks-for-none",
        gravity=Gravity.FAILURE,
        command=SET,
        crash=NOTHING,
        machine={"command_line": f"{KERNEL} crashkernel=512G-:256M"},
    ),
    Row(
        code="crashkernel-not-made",
        gravity=Gravity.FAILURE,
        command=SET,
        crash=NOTHING,
        machine={"command_line": f"{KERNEL} crashkernel=256M@16M"},
    ),
    Row(
        code="crashkernel-not-made",
        gravity=Gravity.FAILURE,
        crash=NOTHING,
        machine={"command_line": f"{KERNEL} crashkernel=2G-64G:256M,64G-:512M", "memory_bytes": 4096 * MIB},
    ),
    Row(
        code="crashkernel-asks-for-none",
        gravity=Gravity.FAILURE,
        crash=NOTHING,
        machine={"command_line": f"{KERNEL} crashkernel=2G-:256M", "memory_bytes": 1024 * MIB},
    ),
    Row(code="reservation-shrunk", gravity=Gravity.NOTE, crash={"reserved_bytes": 128 * MIB}),
    Row(
        code="next-boot-reserves-nothing",
        command="kdumpctl reserve set",
        machine={"command_line": f"{KERNEL} crashkernel=256M", "next_command_line": KERNEL},
    ),
    Row(
        code="reboot-required",
        gravity=Gravity.NOTE,
        command="systemctl reboot",
        machine={
            "command_line": f"{KERNEL} crashkernel=256M",
            "next_command_line": f"{KERNEL} crashkernel=512M",
        },
    ),
    Row(
        code="crashkernel-low-alone",
        gravity=Gravity.NOTE,
        machine={"command_line": f"{KERNEL} crashkernel=128M,low"},
    ),
    Row(
        code="crashkernel-low-none",
        command="kdumpctl reserve set 256M,high && systemctl reboot",
        machine={"command_line": f"{KERNEL} crashkernel=256M,high crashkernel=0,low"},
    ),
    Row(
        code="crashkernel-high-hidden",
        gravity=Gravity.NOTE,
        machine={"command_line": f"{KERNEL} crashkernel=256M crashkernel=1G,high"},
    ),
    Row(
        code="crashkernel-cma",
        gravity=Gravity.NOTE,
        machine={"command_line": f"{KERNEL} crashkernel=256M crashkernel=1G,cma"},
    ),
    # loading
    Row(code="load-disabled", command="systemctl reboot", crash={"load_disabled": True}),
    Row(
        code="load-disabled",
        gravity=Gravity.FAILURE,
        command="sed -i '3d' /etc/sysctl.d/hard.conf && systemctl reboot",
        crash={"load_disabled": True, "loaded": False},
        of=sysctl_file("kernel.kexec_load_disabled", "/etc/sysctl.d/hard.conf", "1"),
    ),
    Row(
        code="load-disabled",
        command="sed -i '3d' '/etc/sysctl.d/9 x;reboot.conf' && systemctl reboot",
        crash={"load_disabled": True},
        of=sysctl_file("kernel.kexec_load_disabled", "/etc/sysctl.d/9 x;reboot.conf", "1"),
    ),
    Row(
        code="load-disabled",
        command="sed '3d' '/usr/lib/sysctl.d/9 x.conf' >'/etc/sysctl.d/9 x.conf' && systemctl reboot",
        crash={"load_disabled": True},
        of=sysctl_file("kernel.kexec_load_disabled", "/usr/lib/sysctl.d/9 x.conf", "1"),
    ),
    Row(
        code="load-disabled",
        crash={"load_disabled": True},
        of={"sysctl_files": LOCKED_TWICE},
    ),
    Row(code="load-limit", command="systemctl reboot", crash={"loads_left": 0}),
    Row(code="few-loads-left", crash={"loads_left": 2}),
    Row(code="kernel-unsigned", crash={"secure_boot": True}, of={"is_kernel_signed": False}),
    Row(
        code="kernel-unsigned",
        gravity=Gravity.FAILURE,
        crash={"lockdown": Lockdown.INTEGRITY, "loaded": False},
        of={"is_kernel_signed": False},
    ),
    Row(
        code="lockdown-confidentiality",
        gravity=Gravity.NOTE,
        crash={"lockdown": Lockdown.CONFIDENTIALITY},
        of={"is_kernel_signed": True},
    ),
    Row(
        code="kdump-disabled",
        command="systemctl enable kdump.service && kdumpctl start",
        of={"wish": Wish(lasts=False)},
    ),
    Row(
        code="kdump-masked",
        command="systemctl unmask kdump.service && systemctl enable kdump.service && kdumpctl start",
        of=unit("kdump.service", is_masked=True, mentions_kdumpd=False),
    ),
    Row(code="unit-of-another", of=unit("kdump.service", mentions_kdumpd=False)),
    Row(
        code="kdump-stopped",
        gravity=Gravity.FAILURE,
        command="kdumpctl start",
        crash={"loaded": False},
        of={"wish": Wish(is_held=True)},
    ),
    Row(
        code="daemon-not-running",
        command="systemctl start kdumpd.service",
        of={"daemon": Daemon(is_running=False)},
    ),
    Row(
        code="daemon-masked",
        command="systemctl unmask kdumpd.service && systemctl enable --now kdumpd.service",
        of={"daemon": Daemon(is_running=False), **unit("kdumpd.service", is_masked=True)},
    ),
    Row(
        code="daemon-disabled",
        gravity=Gravity.NOTE,
        command="systemctl enable kdumpd.service",
        of=unit("kdumpd.service", is_enabled=False),
    ),
    Row(
        code="no-space",
        command="kdumpctl restart",
        of={"daemon": replace(RUNNING, state="stale", error="no-space", error_text="there is no room")},
    ),
    Row(
        code="stale",
        command="kdumpctl restart",
        of={"daemon": replace(RUNNING, state="stale", message="stale: kept")},
    ),
    Row(
        code="foreign",
        command="systemctl start kdumpd.service && kdumpctl restart",
        of={"daemon": replace(RUNNING, state="foreign")},
    ),
    Row(
        code="foreign",
        command="systemctl start kdumpd.service && kdumpctl restart",
        of={"daemon": None, "is_recorded": False},
    ),
    Row(code="unseen", gravity=Gravity.UNKNOWN, of={"daemon": None, "is_recorded": None}),
    Row(
        code="not-loaded",
        gravity=Gravity.FAILURE,
        command="systemctl start kdumpd.service && kdumpctl restart",
        crash={"loaded": False},
        of={"daemon": replace(RUNNING, state="failed")},
    ),
    Row(
        code="at-work",
        gravity=Gravity.FAILURE,
        crash={"loaded": False},
        of={"daemon": replace(RUNNING, state="unarmed", activity="building")},
    ),
    Row(
        code="another-service",
        command="systemctl disable kdump-tools.service",
        of=unit("kdump-tools.service"),
    ),
    Row(code="kexec-too-old", of={"kexec_version": (2, 0, 16)}),
    # whether a fault is a crash
    Row(
        code="oops-does-not-panic",
        command="printf '%s = 1\\n' kernel.panic_on_oops >>/etc/sysctl.d/90-kdump.conf && "
        "echo 1 | tee /proc/sys/kernel/panic_on_oops",
        sysctls={"kernel.panic_on_oops": "0"},
    ),
    Row(
        code="oops-does-not-panic",
        command="sed -i '3s/=.*/= 1/' '/etc/sysctl.d/our own.conf' && echo 1 | tee /proc/sys/kernel/panic_on_oops",
        sysctls={"kernel.panic_on_oops": "0"},
        of=sysctl_file("kernel.panic_on_oops", "/etc/sysctl.d/our own.conf"),
    ),
    Row(
        code="oops-does-not-panic",
        command="echo 'kernel.panic_on_oops = 1' >>/etc/sysctl.d/zz-kdump.conf && "
        "echo 1 | tee /proc/sys/kernel/panic_on_oops",
        sysctls={"kernel.panic_on_oops": "0"},
        of=sysctl_file("kernel.panic_on_oops", "/usr/lib/sysctl.d/50-vendor.conf"),
    ),
    Row(
        code="hangs-do-not-panic",
        gravity=Gravity.NOTE,
        command="printf '%s = 1\\n' kernel.softlockup_panic kernel.hung_task_panic >>/etc/sysctl.d/90-kdump.conf && "
        "echo 1 | tee /proc/sys/kernel/softlockup_panic /proc/sys/kernel/hung_task_panic",
        sysctls={"kernel.softlockup_panic": "0", "kernel.hung_task_panic": "0"},
    ),
    Row(
        code="nmi-does-not-panic",
        gravity=Gravity.NOTE,
        command="printf '%s = 1\\n' kernel.unknown_nmi_panic >>/etc/sysctl.d/90-kdump.conf && "
        "echo 1 | tee /proc/sys/kernel/unknown_nmi_panic",
        sysctls={"kernel.unknown_nmi_panic": "0"},
    ),
    Row(
        code="hard-lockups-unseen",
        gravity=Gravity.NOTE,
        command="sed -i '3s/=.*/= 1/' /etc/sysctl.d/a.conf && echo 1 | tee /proc/sys/kernel/nmi_watchdog",
        sysctls={"kernel.nmi_watchdog": "0"},
        of=sysctl_file("kernel.nmi_watchdog", "/etc/sysctl.d/a.conf"),
    ),
    Row(
        code="sysrq-cannot-crash",
        gravity=Gravity.NOTE,
        command="printf '%s = 184\\n' kernel.sysrq >>/etc/sysctl.d/90-kdump.conf && echo 184 | tee /proc/sys/kernel/sysrq",
        sysctls={"kernel.sysrq": "176"},
    ),
    Row(
        code="panic-waits-for-ever",
        gravity=Gravity.NOTE,
        command="printf '%s = 10\\n' kernel.panic >>/etc/sysctl.d/90-kdump.conf && echo 10 | tee /proc/sys/kernel/panic",
        sysctls={"kernel.panic": "0"},
    ),
    Row(
        code="notifiers-before-capture",
        command="echo N >/sys/module/kernel/parameters/crash_kexec_post_notifiers",
        of={"has_post_notifiers": True},
    ),
    Row(
        code="notifiers-before-capture",
        gravity=Gravity.NOTE,
        of={"has_post_notifiers": True, "is_on_hyperv": True},
    ),
    Row(
        code="ftrace-before-capture",
        gravity=Gravity.NOTE,
        command="printf '%s = 0\\n' kernel.ftrace_dump_on_oops >>/etc/sysctl.d/90-kdump.conf && "
        "echo 0 | tee /proc/sys/kernel/ftrace_dump_on_oops",
        sysctls={"kernel.ftrace_dump_on_oops": "1"},
    ),
    Row(
        code="watchdog-bites",
        command="kdumpctl config set extra_modules iTCO_wdt",
        of={"watchdogs": (DOG,), "runtime_watchdog": "20s"},
    ),
    Row(
        code="capture-takes-all-processors", of={"sysconfig": Sysconfig(command_line_append="reset_devices")}
    ),
    Row(
        code="capture-many-processors",
        gravity=Gravity.NOTE,
        of={"sysconfig": Sysconfig(command_line_append="nr_cpus=4")},
    ),
    Row(
        code="capture-waits-for-ever",
        gravity=Gravity.NOTE,
        of={"sysconfig": Sysconfig(command_line_append="nr_cpus=1 panic=0")},
    ),
    Row(code="memory-encryption", of={"encryption": "SEV-SNP"}),
    Row(code="memory-encryption", gravity=Gravity.NOTE, of={"encryption": "SME"}),
    Row(code="iommu-translates", gravity=Gravity.NOTE, of={"has_iommu": True}),
    # the configuration and what goes into the image
    Row(
        code="unknown-directive",
        problem=Problem(
            code="unknown-directive", message="`pth` is not a directive", hint="did you mean path?", line=2
        ),
    ),
    Row(
        code="target-not-found",
        gravity=Gravity.FAILURE,
        crash={"loaded": False},
        problem=Problem(code="target-not-found", message="there is no device LABEL=x"),
    ),
    Row(
        code="program-missing",
        command="apt-get install -y openssh-client",
        problem=missing("ssh", why="the target needs it"),
        of={"package_tool": "apt-get"},
    ),
    Row(
        code="program-missing",
        command="dnf install -y openssh-clients",
        problem=missing("ssh", why="the target needs it"),
        of={"package_tool": "dnf"},
    ),
    Row(code="program-missing", problem=missing("ssh", why="the target needs it"), of={"package_tool": ""}),
    Row(
        code="target-not-mounted",
        command="mount /var/crash",
        problem=Problem(code="target-not-mounted", message="x", severity=Severity.WARNING),
        machine={"fstab": (FstabEntry(source="/dev/vdb", target="/var/crash", fstype="ext4"),)},
    ),
    Row(
        code="ssh-key-missing",
        command="kdumpctl propagate",
        problem=Problem(code="ssh-key-missing", message="there is no key"),
    ),
    Row(
        code="deprecated-default",
        gravity=Gravity.NOTE,
        command=r"sed -i '4s/[^#]*\bdefault\b[^#]*[^#[:space:]]/failure_action shell/' /etc/kdump.conf",
        problem=Problem(
            code="deprecated-default",
            message="old",
            hint="write failure_action shell",
            key="default",
            line=4,
            severity=Severity.WARNING,
        ),
    ),
    Row(
        code="kernel-newer-than-makedumpfile",
        problem=Problem(code="kernel-newer-than-makedumpfile", message="x", severity=Severity.WARNING),
    ),
    Row(
        code="unknown-module",
        gravity=Gravity.NOTE,
        problem=Problem(code="unknown-module", message="x", severity=Severity.WARNING),
    ),
    Row(
        code="kernel-image-unreadable",
        gravity=Gravity.UNKNOWN,
        problem=Problem(
            code="kernel-image-unreadable", message="/boot/vmlinuz cannot be read: Permission denied"
        ),
        of={"is_root": False},
    ),
    Row(
        code="unseen",
        gravity=Gravity.UNKNOWN,
        of={"unread": (Problem(code="unseen", message="/x could not be looked at: Permission denied"),)},
    ),
    Row(
        code="hook-not-executable",
        command="chmod +x '/etc/kdump/pre.d/our own'",
        of={"hooks": (Mode(path="/etc/kdump/pre.d/our own", kind=Kind.FILE, bits=0o644, owner=0),)},
    ),
    Row(
        code="writable-by-others",
        command="chown root:root /etc/kdump.conf && chmod go-w /etc/kdump.conf",
        of={"modes": (Mode(path="/etc/kdump.conf", kind=Kind.FILE, bits=0o664, owner=0),)},
    ),
    Row(
        code="writable-by-others",
        command="chown root:root /etc/kdump.conf && chmod go-w /etc/kdump.conf",
        of={"modes": (Mode(path="/etc/kdump.conf", kind=Kind.FILE, bits=0o644, owner=1000),)},
    ),
    Row(
        code="key-readable-by-others",
        command="chown root:root /root/.ssh/key && chmod 600 /root/.ssh/key",
        of={"keys": (Mode(path="/root/.ssh/key", kind=Kind.FILE, bits=0o640, owner=0),)},
    ),
    # where the dumps go
    Row(
        code="target-space",
        command="kdumpctl dumps delete h-2024-01-01-00:00:00 h-2024-01-02-00:00:00",
        of={"place": PLACE},
    ),
    Row(code="target-space", of={"place": replace(PLACE, forecast_bytes=500 * MIB)}),
    Row(
        code="target-read-only",
        command="mount -o remount,rw '/srv/our dumps'",
        of={
            "place": replace(
                PLACE,
                folder="/srv/our dumps/crash",
                forecast_bytes=0,
                room=Room(free_bytes=MIB, is_read_only=True),
            )
        },
        machine={
            "mounts": (
                *WELL.machine.mounts,
                Mount(target="/srv/our dumps", source="/dev/vdb", fstype="ext4", options=("ro", "relatime")),
            )
        },
    ),
    Row(
        code="dumps-fill-the-target",
        gravity=Gravity.NOTE,
        command="test -s /etc/kdumpd.toml || echo >/etc/kdumpd.toml && sed -i '1i keep_count = 5' /etc/kdumpd.toml",
        of={"place": replace(PLACE, forecast_bytes=0, capacity_bytes=300 * MIB)},
    ),
    Row(
        code="target-test-failed",
        command="kdumpctl test-target",
        of={"daemon": replace(RUNNING, test="failed", test_message="no answer")},
    ),
    Row(
        code="target-untested",
        gravity=Gravity.NOTE,
        command="kdumpctl test-target",
        of={"daemon": replace(RUNNING, was_tested=False)},
    ),
    Row(code="store-unwritable", of={"store_room": Room(free_bytes=MIB, is_read_only=True)}),
    Row(code="store-full", of={"store_room": Room(free_bytes=MIB, is_read_only=False)}),
    Row(
        code="clock-wrong",
        gravity=Gravity.NOTE,
        command="timedatectl set-ntp true",
        of={"now_us": 1_000_000_000_000_000, "newest_us": 1_700_000_000_000_000},
    ),
)


def found_in(row: Row) -> Finding:
    (finding,) = (each for each in findings(row.symptoms()) if each.code == row.code)
    return finding


def test_a_machine_that_is_well_has_nothing() -> None:
    assert WELL.resolution.plan is not None
    assert findings(WELL) == ()
    assert outcome(()) is Outcome.WELL


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_what_is_wrong_is_named_and_nothing_else(row: Row) -> None:
    found = findings(row.symptoms())
    assert [each.code for each in found] == [row.code]
    assert (found[0].gravity, found[0].command) == (row.gravity, row.command)
    assert found[0].message
    expected = {Gravity.NOTE: Outcome.WELL, Gravity.UNKNOWN: Outcome.NOT_ALL_SEEN}
    assert outcome(found) is expected.get(row.gravity, Outcome.COULD_FAIL)


@pytest.mark.parametrize("row", [row for row in ROWS if row.command], ids=lambda row: row.code)
def test_each_command_is_one_line_that_a_shell_can_read(row: Row) -> None:
    assert "\n" not in row.command
    subprocess.run(["sh", "-n", "-c", row.command], check=True)


def test_the_gravest_comes_first() -> None:
    found = findings(
        replace(
            WELL,
            sysctls=MappingProxyType({**ALL_IS_SAID, "kernel.panic": "0", "kernel.panic_on_oops": "0"}),
            machine=replace(WELL.machine, crash=replace(WELL.machine.crash, loaded=False)),
            wish=Wish(is_held=True),
        )
    )
    assert [each.code for each in found] == ["kdump-stopped", "oops-does-not-panic", "panic-waits-for-ever"]


@pytest.mark.parametrize(
    "harmless",
    [
        replace(DOG, identity="Software Watchdog"),
        replace(DOG, is_running=False),
        replace(DOG, module=""),
    ],
)
def test_a_watchdog_that_cannot_bite_is_not_told_of(harmless: Watchdog) -> None:
    assert findings(replace(WELL, watchdogs=(harmless,))) == ()


def test_a_watchdog_whose_driver_comes_along_is_not_told_of() -> None:
    said = WELL.config
    assert said is not None
    of = replace(
        WELL, watchdogs=(DOG,), config=said.model_copy(update={"extra_modules": ("loop", "iTCO_wdt")})
    )
    assert findings(of) == ()
    (finding,) = findings(replace(of, config=said.model_copy(update={"extra_modules": ("loop",)})))
    assert finding.command == "kdumpctl config set extra_modules loop iTCO_wdt"


def test_watchdogs_are_told_with_one_line_for_all_of_them() -> None:
    other = replace(DOG, name="watchdog1", module="hpwdt")
    found = findings(replace(WELL, watchdogs=(DOG, other)))
    assert [each.command for each in found] == ["kdumpctl config set extra_modules iTCO_wdt hpwdt"] * 2


def test_encrypted_memory_is_no_reason_to_crash_a_machine_as_it_stands() -> None:
    (finding,) = findings(replace(WELL, encryption="SME"))
    assert "sysrq" not in finding.remedy
    assert "`kdumpctl test-crash`" in finding.remedy


def test_all_lines_that_keep_a_kernel_from_loading_are_named() -> None:
    crash = replace(WELL.machine.crash, load_disabled=True)
    of = replace(WELL, machine=replace(WELL.machine, crash=crash), sysctl_files=LOCKED_TWICE)
    (finding,) = findings(of)
    assert finding.remedy.endswith(": /etc/sysctl.d/a.conf:1, /etc/sysctl.d/b.conf:2")


@pytest.mark.parametrize("before", [None, "", "store_budget_mib = 300", "[collector]\n", "# ours\n"])
def test_the_line_for_retention_leaves_the_file_whole(tmp_path: Path, before: str | None) -> None:
    file = tmp_path / "kdumpd.toml"
    if before is not None:
        file.write_text(before)
    place = replace(PLACE, forecast_bytes=0, capacity_bytes=300 * MIB)
    (finding,) = findings(replace(WELL, place=place))
    subprocess.run(["sh", "-c", finding.command.replace("/etc/kdumpd.toml", str(file))], check=True)
    assert tomllib.loads(file.read_text()) == {"keep_count": 5, **tomllib.loads(before or "")}
    assert "deletes" in finding.remedy


LONG = "it's/$HOME/`x`/a/é/%s/" + "&\\1/" * 700
"""Longer than any sentence shows."""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("default poweroff\n", "failure_action poweroff\nfinal_action poweroff\n"),
        ("path /a\n  default halt # of old", "path /a\nfailure_action halt\nfinal_action halt # of old"),
        ("default halt\nfinal_action reboot\n", "failure_action halt\nfinal_action reboot\n"),
        ("default\tmount_root_run_init #x\n", "failure_action dump_to_rootfs #x\n"),
        ("net h:/e&f/\\1 # of old\r\n", "nfs h:/e&f/\\1 # of old\r\n"),
        (f"net h:/{LONG}\n", f"nfs h:/{LONG}\n"),
        (
            f'\ufeff \tnet\t"u@{".".join(["net"] * 50)}" #net\n',
            f'\ufeff \tssh\t"u@{".".join(["net"] * 50)}" #net\n',
        ),
    ],
)
def test_the_line_for_an_old_word_says_the_same_in_todays_words(
    tmp_path: Path, before: str, after: str
) -> None:
    file = tmp_path / "kdump.conf"
    file.write_bytes(before.encode())
    reading = config.read(document.parse(before), file="/etc/kdump.conf")
    assert reading.config is not None
    of = replace(WELL, resolution=replace(WELL.resolution, problems=reading.problems))
    for finding in findings(of):
        subprocess.run(["sh", "-c", finding.command.replace("/etc/kdump.conf", str(file))], check=True)
    text = file.read_bytes().decode()
    assert text == after
    now = config.read(document.parse(text), file="")
    assert now.problems == ()
    assert now.config is not None
    assert now.config.model_dump() == reading.config.model_dump()


def test_a_rule_of_retention_is_enough_where_dumps_take_much() -> None:
    place = replace(PLACE, forecast_bytes=0, capacity_bytes=300 * MIB)
    assert findings(replace(WELL, place=place, tuning=Tuning(keep_count=3))) == ()


def estimated(*, needed: int, least: int) -> Estimate:
    return Estimate(
        reserved=256 * MIB,
        kernel=60 * MIB,
        image=9 * MIB,
        unpacked=20 * MIB,
        working_set=needed - 80 * MIB,
        needed=needed,
        least=least,
        recommended=512 * MIB,
        crashkernel="512M",
        basis=Basis.GUESSED,
        captures=0,
        is_built=True,
    )


@pytest.mark.parametrize(
    ("needed", "least", "code", "gravity"),
    [
        (200 * MIB, 100 * MIB, "", Gravity.NOTE),
        (300 * MIB, 100 * MIB, "reservation-tight", Gravity.RISK),
        (400 * MIB, 300 * MIB, "image-too-big", Gravity.FAILURE),
    ],
)
def test_a_small_reservation_is_told_with_what_to_write(
    needed: int, least: int, code: str, gravity: Gravity
) -> None:
    found = findings(replace(WELL, estimate=estimated(needed=needed, least=least)))
    assert [(each.code, each.gravity) for each in found] == ([(code, gravity)] if code else [])
    assert all(each.command == "kdumpctl reserve set 512M && systemctl reboot" for each in found)


def test_the_package_of_what_is_missing_is_known() -> None:
    assert package_of(Problem(code="x", message="x")) == ("", "")
    assert package_of(missing("umount", why="x")) == ("mount", "util-linux-core")


def test_what_a_file_of_sysctl_says_last_counts() -> None:
    lines = symptoms.sysctl_lines(
        (
            ("/usr/lib/sysctl.d/a.conf", "# kernel.panic=1\nkernel/panic = 5\n-kernel.sysrq=1\n"),
            ("/etc/sysctl.d/b.conf", ";x\n\nkernel.panic=7"),
        )
    )
    earlier = Sysctl(value="5", file="/usr/lib/sysctl.d/a.conf", line=2)
    assert lines["kernel.panic"] == Sysctl(value="7", file="/etc/sysctl.d/b.conf", line=3, earlier=(earlier,))
    assert lines["kernel.sysrq"] == Sysctl(value="1", file="/usr/lib/sysctl.d/a.conf", line=3)
    assert len(lines) == 2


def test_what_programs_and_files_say_of_themselves() -> None:
    assert symptoms.kexec_version("kexec-tools 2.0.29\n") == (2, 0, 29)
    assert symptoms.kexec_version("what?") == ()
    assert (
        symptoms.manager_setting(
            ("RuntimeWatchdogSec=1min\n", "#RuntimeWatchdogSec=9\n"), "RuntimeWatchdogSec"
        )
        == "1min"
    )
    image = bytearray(1024)
    image[:2], image[0x3C] = b"MZ", 0x80
    image[0x80:0x84], image[0x98:0x9A] = b"PE\0\0", b"\x0b\x02"
    assert symptoms.is_signed(bytes(image)) is False
    image[0x98 + 112 + 36] = 8
    assert symptoms.is_signed(bytes(image)) is True
    assert symptoms.is_signed(b"\x7fELF" + bytes(60)) is None
    assert symptoms.is_signed(b"") is None


def test_what_is_found_on_a_machine_of_which_nothing_is_known() -> None:
    nobody = Machine(
        architecture="",
        kernel_release="",
        host_name="",
        machine_id="",
        boot_id="",
        command_line="",
        memory_bytes=0,
        cpus=0,
        layout="",
        crash=replace(WELL.machine.crash, layout=""),
    )
    of = Symptoms(machine=nobody, resolution=Resolution(plan=None), config=None)
    assert outcome(findings(of)) is Outcome.COULD_FAIL
