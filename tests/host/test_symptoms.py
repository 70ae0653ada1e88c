"""What a doctor reads of a machine's files, and that one which cannot be read is told and keeps nothing else from being read."""

from __future__ import annotations

from pathlib import Path

from kdumpd.core.config import Config
from kdumpd.core.inventory import Kind
from kdumpd.core.machine import Machine
from kdumpd.core.storing import UNKNOWN_ROOM
from kdumpd.core.symptoms import DumpFolder, Watchdog
from kdumpd.host import observe
from kdumpd.host.real import RealFiles
from kdumpd.host.symptoms import Look, kexec_version, package_tool
from tests.host.scripted import Answer
from tests.host.test_observe import FoundPrograms, write

DUMP = "127.0.0.1-2026-01-02-03:04:05"


def look(root: Path) -> Look:
    return Look(RealFiles(str(root)))


def machine(root: Path) -> Machine:
    return observe.look(RealFiles(str(root)))


def test_of_files_of_sysctl_the_administrators_hides_the_vendors(tmp_path: Path) -> None:
    write(tmp_path, "/usr/lib/sysctl.d/50-a.conf", "kernel.panic = 1\n")
    write(tmp_path, "/etc/sysctl.d/50-a.conf", "kernel.panic = 2\n")
    write(tmp_path, "/etc/sysctl.d/60-b.conf", "kernel.sysrq = 3\n")
    write(tmp_path, "/usr/lib/sysctl.d/99-z.conf", "kernel.sysrq = 4\n")
    write(tmp_path, "/etc/sysctl.d/readme", "kernel.sysrq = 5\n")
    found = look(tmp_path).sysctl_files()
    assert (found["kernel.panic"].file, found["kernel.panic"].value) == ("/etc/sysctl.d/50-a.conf", "2")
    assert (found["kernel.sysrq"].file, found["kernel.sysrq"].value) == ("/usr/lib/sysctl.d/99-z.conf", "4")


def test_sysctl_conf_counts_only_where_a_link_leads_to_it(tmp_path: Path) -> None:
    write(tmp_path, "/etc/sysctl.conf", "kernel.panic = 1\n")
    write(tmp_path, "/etc/sysctl.d/50-a.conf", "kernel.sysrq = 3\n")
    assert look(tmp_path).sysctl_files().keys() == {"kernel.sysrq"}
    (tmp_path / "etc/sysctl.d/10-sysctl.conf").symlink_to("../sysctl.conf")
    (tmp_path / "etc/sysctl.d/60-gone.conf").symlink_to("/nowhere")
    (tmp_path / "etc/sysctl.d/70-off.conf").symlink_to("/dev/null")
    write(tmp_path, "/etc/sysctl.d/20-b.conf", "kernel.panic = 2\n")
    seen = look(tmp_path)
    last = seen.sysctl_files()["kernel.panic"]
    assert (last.file, last.value) == ("/etc/sysctl.d/20-b.conf", "2")
    assert [(each.file, each.value) for each in last.earlier] == [("/etc/sysctl.conf", "1")]
    assert seen.unread == ()


def test_sysctls_that_the_kernel_does_not_have_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "/proc/sys/kernel/panic_on_oops", "0\n")
    assert look(tmp_path).sysctls() == {"kernel.panic_on_oops": "0"}


def test_a_watchdog_with_its_driver(tmp_path: Path) -> None:
    module, driver = tmp_path / "sys/module/hpwdt", tmp_path / "sys/bus/pci/drivers/hpwdt"
    folder = tmp_path / "sys/class/watchdog/watchdog0"
    for each in (module, driver, folder / "device"):
        each.mkdir(parents=True)
    (driver / "module").symlink_to("../../../../module/hpwdt")
    (folder / "device/driver").symlink_to("../../../../bus/pci/drivers/hpwdt")
    for name, text in (("identity", "HPE iLO2+ HW Watchdog Timer"), ("state", "active"), ("timeout", "30")):
        write(tmp_path, f"/sys/class/watchdog/watchdog0/{name}", f"{text}\n")
    write(tmp_path, "/sys/class/watchdog/watchdog1/state", "inactive\n")
    assert look(tmp_path).watchdogs() == (
        Watchdog(
            name="watchdog0",
            identity="HPE iLO2+ HW Watchdog Timer",
            module="hpwdt",
            is_running=True,
            timeout_seconds=30,
        ),
        Watchdog(name="watchdog1"),
    )


def test_systemds_watchdog_by_its_file_and_the_drop_ins(tmp_path: Path) -> None:
    assert look(tmp_path).runtime_watchdog() == ""
    write(tmp_path, "/etc/systemd/system.conf", "[Manager]\n#RuntimeWatchdogSec=off\nRuntimeWatchdogSec=30\n")
    assert look(tmp_path).runtime_watchdog() == "30"
    write(tmp_path, "/usr/lib/systemd/system.conf.d/b.conf", "RuntimeWatchdogSec=40\n")
    assert look(tmp_path).runtime_watchdog() == "40"
    write(tmp_path, "/usr/local/lib/systemd/system.conf.d/b.conf", "RuntimeWatchdogSec=50\n")
    assert look(tmp_path).runtime_watchdog() == "50"
    write(tmp_path, "/etc/systemd/system.conf.d/b.conf", "RuntimeWatchdogSec=off\n")
    assert look(tmp_path).runtime_watchdog() == ""


def test_units_by_their_files(tmp_path: Path) -> None:
    write(tmp_path, "/usr/lib/systemd/system/one.service", "ExecStart=/usr/bin/kdumpd\n")
    write(tmp_path, "/usr/lib/systemd/system/two.service", "ExecStart=/bin/other\n")
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "one.service").symlink_to("/usr/lib/systemd/system/one.service")
    (tmp_path / "etc/systemd/system/two.service").symlink_to("/dev/null")
    found = look(tmp_path).units(("one.service", "two.service", "three.service"))
    one, two, three = found.values()
    assert (one.is_there, one.is_enabled, one.is_masked, one.mentions_kdumpd) == (True, True, False, True)
    assert (two.is_there, two.is_enabled, two.is_masked, two.mentions_kdumpd) == (True, False, True, False)
    assert (three.is_there, three.is_enabled, three.is_masked) == (False, False, False)


def test_of_what_encrypts_the_memory_a_guests_host_comes_first(tmp_path: Path) -> None:
    write(tmp_path, "/proc/cmdline", "ro mem_encrypt=on\n")
    assert look(tmp_path).encryption(machine(tmp_path)) == "SME"
    write(tmp_path, "/dev/sev-guest", "")
    assert look(tmp_path).encryption(machine(tmp_path)) == "SEV-SNP"
    write(tmp_path, "/dev/tdx_guest", "")
    assert look(tmp_path).encryption(machine(tmp_path)) == "TDX"


def test_hooks_with_their_modes(tmp_path: Path) -> None:
    write(tmp_path, "/usr/local/bin/pre", "#!/bin/sh\n", mode=0o755)
    write(tmp_path, "/etc/kdump/post.d/10-ours", "#!/bin/sh\n", mode=0o644)
    write(tmp_path, "/etc/kdump/post.d/10-ours~", "#!/bin/sh\n")
    found = look(tmp_path).hooks(Config(kdump_pre="/usr/local/bin/pre", kdump_post="/gone"))
    assert [(mode.path, mode.kind, f"{mode.bits:o}") for mode in found] == [
        ("/usr/local/bin/pre", Kind.FILE, "755"),
        ("/etc/kdump/post.d/10-ours", Kind.FILE, "644"),
    ]


def test_dumps_the_oldest_first_and_room_above_what_is_not_there_yet(tmp_path: Path) -> None:
    write(tmp_path, f"/var/crash/{DUMP}/vmcore", "x" * 100)
    write(tmp_path, f"/var/crash/{DUMP}/vmcore-dmesg.txt", "y" * 10)
    write(tmp_path, "/var/crash/zz-2025-12-31-00:00:00/vmcore", "z")
    write(tmp_path, "/var/crash/not-a-dump/vmcore", "z")
    seen = look(tmp_path)
    assert seen.dumps("/var/crash") == (
        DumpFolder(name="zz-2025-12-31-00:00:00", size_bytes=1),
        DumpFolder(name=DUMP, size_bytes=110),
    )
    assert seen.dumps("/none") == ()
    assert seen.room("/var/crash/not/yet").free_bytes > 0
    assert seen.capacity("/var/crash/not/yet") >= seen.room("/var/crash").free_bytes
    assert seen.unread == ()


def test_what_cannot_be_looked_at_is_told_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path, "/etc/sysctl.d/a.conf", "kernel.panic = 2\n")
    seen = look(tmp_path)

    def refused() -> int:
        raise PermissionError(13, "Permission denied")

    assert seen.attempt("/run/kdumpd/armed", refused, 7) == 7
    assert seen.attempt("/run/kdumpd/armed", refused, 7) == 7
    (told,) = seen.unread
    assert told.message == "/run/kdumpd/armed could not be looked at: Permission denied"
    assert seen.sysctl_files()["kernel.panic"].value == "2"
    assert seen.attempt("/none", lambda: RealFiles(str(tmp_path)).read_text("/none"), "") == ""
    assert len(seen.unread) == 1


async def test_versions_and_tools_are_asked_of_this_machine_alone(tmp_path: Path) -> None:
    programs = FoundPrograms({"kexec": "/usr/sbin/kexec", "dnf": "/usr/bin/dnf"})
    assert await kexec_version(RealFiles(str(tmp_path)), programs) == ()
    programs.expect("/usr/sbin/kexec", "-v", answer=Answer(stdout="kexec-tools 2.0.29\n"))
    assert await kexec_version(RealFiles("/"), programs) == (2, 0, 29)
    programs.expect("/usr/sbin/kexec", "-v", answer=Answer(status=1))
    assert await kexec_version(RealFiles("/"), programs) == ()
    assert package_tool(programs) == "dnf"
    assert package_tool(FoundPrograms({})) == ""


def test_nothing_is_known_of_an_empty_machine(tmp_path: Path) -> None:
    seen = look(tmp_path)
    assert (seen.watchdogs(), seen.has_post_notifiers(), seen.is_signed("/boot/none")) == ((), False, None)
    assert seen.encryption(machine(tmp_path)) == ""
    assert seen.room("/") != UNKNOWN_ROOM
    assert seen.unread == ()
