"""An edit, however it is made, re-arms the machine; a broken one leaves the last good image armed and says why."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.installed import CONF, CONFIG, NAME, ROOT, Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine


REFUSALS = Path(__file__).parent / "guest" / "refusals.py"
KILLS = 6  # twenty are dealt out in tests/daemon, where a start takes no quarter of a minute
LONGEST_REBUILD = 14.0  # seconds: a little more than a rebuild takes under emulation


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


def _is_shown(kdumpd: Installed, state: str) -> None:
    shown = {line.split()[0]: line for line in kdumpd.introspected().splitlines() if line.startswith(".")}
    assert f'"{state}"' in shown[".State"]
    assert "true" in shown[".Protected"].split()
    assert "true" in shown[".CrashKernelLoaded"].split()


def test_every_way_of_editing_rearms_without_a_command(kdumpd: Installed, say: Callable[[str], None]) -> None:
    machine = kdumpd.machine
    kdumpd.wait_until_armed()
    kdumpd.start_sampler()

    kdumpd.configure("path /var/crash/renamed")
    kdumpd.wait_until_armed(saying="/var/crash/renamed")
    _is_shown(kdumpd, "armed")

    machine.sh(f"sed -i 's,/var/crash/renamed,/var/crash/sedded,' {CONF}")
    kdumpd.wait_until_armed(saying="/var/crash/sedded")
    _is_shown(kdumpd, "armed")

    machine.sh(f"sed -i /^path/d {CONF}")
    kdumpd.wait_until_armed(saying='in /var/crash"')
    machine.sh(f"echo path /var/crash/appended >> {CONF}")
    kdumpd.wait_until_armed(saying="/var/crash/appended")
    _is_shown(kdumpd, "armed")

    etag = str(kdumpd.value("Etag", interface=CONFIG))
    changed = kdumpd.call(
        "Set", "a{sv}sa{sv}", "1", "path", "s", "/var/crash/over the bus", etag, "0", interface=CONFIG
    )
    assert changed[0] != etag
    kdumpd.wait_until_armed(saying="/var/crash/over the bus")
    _is_shown(kdumpd, "armed")
    assert machine.sh(f"grep ^path {CONF}") == "path /var/crash/over the bus"

    kdumpd.wait_for("Activity", "idle")
    watched = kdumpd.stop_sampler()
    say(
        f"{watched.samples} samples; nothing loaded only inside {len(watched.gaps)} load calls: {watched.gaps}"
    )
    assert watched.samples > 100
    assert watched.unprotected == ()
    assert len(watched.gaps) <= 5


def test_a_comment_does_nothing(kdumpd: Installed) -> None:
    kdumpd.wait_until_armed()
    armed_before = kdumpd.machine.get("/run/kdumpd/armed")
    before = str(kdumpd.value("Etag", interface=CONFIG))
    kdumpd.machine.sh(f"echo '# a comment' >> {CONF}")
    kdumpd.machine.wait_until(
        f"! busctl get-property {NAME} {ROOT} {CONFIG} Etag | grep -qF {before}", timeout=60
    )
    kdumpd.wait_for("Activity", "idle")
    assert kdumpd.value("State") == "armed"
    assert kdumpd.machine.get("/run/kdumpd/armed") == armed_before


_BROKEN = {
    "pathh /var/crash": "unknown-directive",
    "kdump_pre /etc/kdump/not-runnable": "hook-not-executable",
    "ext4 UUID=00000000-1111-2222-3333-444444444444": "target-not-found",
}


def test_broken_edits_leave_the_last_good_armed(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    kdumpd.wait_until_armed()
    machine.sh("mkdir -p /etc/kdump && echo '#!/bin/sh' > /etc/kdump/not-runnable")
    loaded = machine.get("/run/kdumpd/armed")
    for line, code in _BROKEN.items():
        kdumpd.configure("path /var/crash/broken", line)
        kdumpd.wait_for("StateReason", code)
        _is_shown(kdumpd, "stale")
        assert f"{CONF}:2: " in str(kdumpd.value("StateMessage"))
        assert machine.get("/run/kdumpd/armed") == loaded
        assert machine.run("kdumpctl", "status", check=False).status == 0
    kdumpd.configure("path /var/crash/repaired")
    kdumpd.wait_until_armed(saying="/var/crash/repaired")


def test_anybody_reads_and_nobody_but_root_changes(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    kdumpd.wait_until_armed()
    as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    assert "Kdump is operational" in machine.sh(f"{as_nobody} kdumpctl status 2>&1")
    assert json.loads(machine.sh(f"{as_nobody} kdumpctl status --json"))["State"] == "armed"
    machine.put("/tmp/refusals.py", REFUSALS.read_bytes(), mode=0o755)
    answers = json.loads(machine.sh(f"{as_nobody} python3 /tmp/refusals.py"))
    assert len(answers) == 8
    for method, (without_a_prompt, with_one) in answers.items():
        assert without_a_prompt == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", method
        assert with_one == "org.freedesktop.DBus.Error.AccessDenied", method
    assert kdumpd.value("State") == "armed"


def test_stopping_the_daemon_keeps_it_armed_and_stopping_kdump_does_not(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    kdumpd.wait_until_armed()
    machine.sh("systemctl stop kdumpd")
    assert machine.sh("cat /sys/kernel/kexec_crash_loaded") == "1"
    machine.sh("systemctl start kdumpd")
    kdumpd.wait_until_armed()
    machine.sh("systemctl restart kdump")
    kdumpd.wait_until_armed()
    machine.sh("systemctl stop kdump")
    assert machine.sh("cat /sys/kernel/kexec_crash_loaded") == "0"
    ran = machine.run("kdumpctl", "status", check=False)
    assert ran.status == 3
    assert "Kdump is not operational" in ran.stdout + ran.stderr
    machine.sh("systemctl start kdump")
    assert machine.sh("cat /sys/kernel/kexec_crash_loaded") == "1"
    assert machine.run("systemctl", "is-active", "kdump").stdout.strip() == "active"


def test_killed_at_any_moment_it_ends_armed_as_configured(
    kdumpd: Installed, say: Callable[[str], None]
) -> None:
    """Kills spread over a whole rebuild: the time from the daemon's start to its end grows with each."""
    machine = kdumpd.machine
    kdumpd.wait_until_armed()
    # A base that packs in seconds and a daemon that is back at once, so that the kills fall into the work.
    machine.put("/etc/kdumpd.toml", "compression_level = 1\n")
    drop_in = "/run/systemd/system/kdumpd.service.d/quick.conf"
    machine.sh(f"mkdir -p {drop_in.rpartition('/')[0]}")
    machine.put(drop_in, "[Service]\nRestartSec=100ms\n")
    machine.sh("systemctl daemon-reload")
    kdumpd.start_sampler()
    for kill in range(KILLS):
        path = f"/var/crash/kill-{kill}"
        kdumpd.configure(f"path {path}", f"extra_modules {'loop' if kill % 2 else 'dummy'}")
        machine.sh(
            f"sleep {kill * LONGEST_REBUILD / KILLS:.2f}; systemctl kill --kill-whom=all -s KILL kdumpd",
            timeout=60,
        )
        machine.wait_until("systemctl is-active kdumpd", timeout=120)
        if kill % 3 == 2:
            kdumpd.wait_until_armed(saying=path, timeout=240)
            record = json.loads(machine.get("/run/kdumpd/armed"))
            assert record["description"]["target"]["directory"] == path
            image = machine.get(record["initramfs"])
            beside = json.loads(machine.get(f"{record['initramfs'].rpartition('/')[0]}/description.json"))
            assert hashlib.blake2b(image, digest_size=16).hexdigest() == beside["digest"]
    watched = kdumpd.stop_sampler()
    say(f"{KILLS} kills: {watched.samples} samples, {len(watched.gaps)} load calls, nothing outside them")
    assert watched.unprotected == ()
    left = machine.sh("ls -d /var/lib/kdumpd/tmp-* 2>/dev/null || true")
    assert left == ""
