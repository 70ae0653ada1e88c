"""The package on a running machine: an upgrade keeps it armed, a purge leaves nothing but the dumps, no reservation is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.vm.hardware import Disk, Shape
from tests.vm.installed import Installed
from tests.vm.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vm.build import Image

LOADED = "cat /sys/kernel/kexec_crash_loaded"


def test_an_upgrade_keeps_it_armed_and_a_purge_keeps_the_dumps(machine: Machine, built: Image) -> None:
    kdumpd = Installed(machine)
    kdumpd.wait_until_armed()
    assert built.package is not None
    machine.put("/root/kdumpd.deb", built.package.read_bytes())
    before = machine.sh("systemctl show -p MainPID --value kdumpd")
    kdumpd.start_sampler()
    machine.sh("DEBIAN_FRONTEND=noninteractive dpkg -i /root/kdumpd.deb", timeout=300)
    assert machine.sh("systemctl show -p MainPID --value kdumpd") != before
    kdumpd.wait_until_armed()
    watched = kdumpd.stop_sampler()
    assert watched.gaps == ()
    assert watched.unprotected == ()

    dump = "/var/crash/127.0.0.1-2026-01-01-00:00:00/vmcore"
    machine.sh(f"mkdir -p {dump.rpartition('/')[0]} && echo kept > {dump}")
    machine.sh("DEBIAN_FRONTEND=noninteractive dpkg --purge kdumpd", timeout=300)
    assert machine.sh(LOADED) == "0"
    left = machine.sh(
        "ls -d /var/lib/kdumpd /run/kdumpd /etc/kdump.conf /etc/kdumpd.toml /etc/kdump "
        "/etc/systemd/system/*/kdump.service /etc/systemd/system/*/kdumpd.service "
        "/etc/systemd/system/dbus-org.kdumpd* 2>/dev/null || true"
    )
    assert left == ""
    assert machine.sh(f"cat {dump}") == "kept"
    assert machine.sh("systemctl list-units --all --no-legend kdump.service kdumpd.service") == ""


def test_enabled_without_a_reservation_it_says_so_and_nothing_fails_twice(
    built: Image, console_log: Path
) -> None:
    rust = Disk(serial="rust", bus="sata", filesystem="ext4")
    with Machine.boot(built, shape=Shape(crashkernel=""), disks=(rust,), log=console_log) as machine:
        # What a machine that starts cold has to show for the harness: its SATA disk.
        machine.wait_until_idle()
        machine.wait_until("lsblk -dno TRAN,SERIAL | grep -q '^sata *rust'", timeout=60)
        assert machine.sh("systemctl is-active kdumpd") == "active"
        ran = machine.run("kdumpctl", "status", check=False)
        assert ran.status == 3
        assert "Kdump is not operational" in ran.stdout
        assert "no memory is reserved" in ran.stdout
        told = json.loads(machine.run("kdumpctl", "status", "--json", check=False).stdout)
        assert (told["State"], told["Protected"]) == ("no-memory", False)
        assert machine.run("systemctl", "is-failed", "kdump", check=False).stdout.strip() == "failed"
        assert "no memory is reserved" in machine.sh("journalctl -b -u kdump -o cat --no-pager")
        assert "Traceback" not in machine.sh("journalctl -b --no-pager -o cat")
