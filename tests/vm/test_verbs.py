"""Every verb of kdumpctl, as root and as anybody, at a terminal and in a pipe; the words of RHEL 6; nothing waits for a build."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.installed import Installed
from tests.vm.verbs import CALLERS, REFUSED, Caller, Verb, keeps_its_word

if TYPE_CHECKING:
    from tests.vm.machine import Machine

LOADED = "cat /sys/kernel/kexec_crash_loaded"
MANUAL = Path(__file__).parents[2] / "docs/kdumpctl.8.md"
USUAL = "2G-64G:256M,64G-:512M"
NO_SSH = "No ssh config specified in /etc/kdump.conf.  Can't propagate"
NO_PPC = "Option --fadump only valid on PPC"
NO_KERNEL = "Invalid --kernel=/boot/none, please specify a valid kernel path, ALL or DEFAULT"
NO_MENU = "does not know how the kernel's command line is set here"

ROOT_IN_A_PIPE = Caller(is_root=True, at_terminal=False)

ASKED = (
    Verb(words="status", says="Kdump is operational"),
    Verb(words="showmem", says="Reserved 256MB memory for crash kernel"),
    Verb(words="estimate", says="Recommended crashkernel"),
    Verb(words="get-default-crashkernel", says=USUAL),
    Verb(words="propagate", status=1, says=NO_SSH),
    Verb(words="setup-crypttab", says="No LUKS-encrypted device found"),
    Verb(words="reset-crashkernel", status=1, says=NO_MENU, of_others=(1, REFUSED)),
    Verb(words="", status=1, says="Usage: kdumpctl {"),
)
ONCE = (
    Verb(words="reserve get-default", says=USUAL),
    Verb(words="get-default-crashkernel fadump", says=USUAL),
    Verb(words="get-default-crashkernel sideways", status=1, says="Usage: kdumpctl"),
    Verb(words="reset-crashkernel --fadump=on", status=1, says=NO_PPC),
    Verb(words="reset-crashkernel --sideways", status=1, says="--sideways not recognized"),
    Verb(words="reset-crashkernel --kernel=/boot/none", status=1, says=NO_KERNEL),
    Verb(words="sideways", status=1, says="Usage: kdumpctl"),
)
FOUND = "127.0.0.1-2026-01-02-03:04:05"
OWN = (
    Verb(words="check", says="/etc/kdump.conf: valid"),
    Verb(words="history -n 1", says="202"),
    Verb(words="dumps list", says=FOUND),
    Verb(words=f"dumps show {FOUND}", says="Path"),
    Verb(words=f"dumps verify {FOUND}", status=1, says="there is no sum of /var/crash/"),
    Verb(words="dumps recover /etc/hostname /tmp/vmcore", status=1, says="this is not a flattened stream"),
    Verb(words="dumps prune --dry-run", says="", of_others=(1, REFUSED)),
    Verb(words="config get disk_timeout", says="180"),
    Verb(words="config text", says="path /var/crash", of_others=(1, REFUSED)),
    Verb(words="config export shell", says="#!/bin/sh", of_others=(1, REFUSED)),
    Verb(words="config edit", by="env EDITOR=true", says="nothing was changed", of_others=(1, REFUSED)),
    Verb(words="test-target", says="target test passed", of_others=(1, REFUSED)),
    # A job is kept for a minute: whether there is one for others to be refused depends on how quick the machine is.
    Verb(words="log", says="writing, syncing and renaming", of_others=(1, "kdump: ")),
    Verb(words="reserve estimate", says="Recommended crashkernel"),
    Verb(words="reserve set --dry-run", status=1, says=NO_MENU, of_others=(1, REFUSED)),
    Verb(words="test-crash --dry-run", says="The dump would be saved to /dev/vda"),
    Verb(words="test --dry-run", says="The dump would be saved to /dev/vda"),
    Verb(words="test-crash --outcome", status=3, says="no test crash was performed"),
    Verb(words="import /etc/default/kdump-tools", says="path /var/crash"),
    Verb(words="config set disk_timeout 177", says="", of_others=(1, REFUSED)),
    Verb(words="config unset disk_timeout", says="", of_others=(1, REFUSED)),
    Verb(words=f"dumps delete {FOUND}", says="", of_others=(1, REFUSED)),
)
"""Those that kdump-utils does not have."""
LONG = (
    Verb(words="plan", says="in /var/crash"),
    Verb(
        words="why",
        says="what is loaded is what the configuration says",
        of_others=(0, "no record of it can be read"),
    ),
    Verb(words="config diff /etc/kdump.conf", says="both say the same"),
    Verb(words="doctor", status=1, says="kernel.panic_on_oops is 0"),
    Verb(words="watch", by="timeout --preserve-status -s INT 15", says="armed: a crash would be saved"),
)
"""Each takes a machine under emulation as long as ten of the others: asked at a terminal and in a pipe, by two callers."""
BUILT = "Rebuilding the capture image: [OK]"
DONE = (
    Verb(words="start", says="Starting kdump: [OK]", of_others=(1, REFUSED)),
    Verb(words="restart", says="Starting kdump: [OK]", of_others=(1, REFUSED)),
    Verb(words="reload", says="Starting kdump: [OK]", of_others=(1, REFUSED)),
    Verb(words="rebuild", says=BUILT, of_others=(1, REFUSED)),
    Verb(words="stop", says="Stopping kdump: [OK]", of_others=(1, REFUSED)),
    Verb(words="status", status=3, says="Kdump is not operational"),
    Verb(words="reload", says="Kdump was not running: [WARNING]", of_others=(1, REFUSED)),
)

ASKED_IN_A_MACHINE = (*ASKED, *ONCE, *OWN, *LONG, *DONE)


def _is_answered_while_it_builds(kdumpd: Installed) -> None:
    """The rebuild of root in a pipe: what it says goes to the journal."""
    machine = kdumpd.machine
    machine.sh("systemd-run --quiet --unit=rebuilding kdumpctl rebuild")
    kdumpd.wait_for("Activity", "building")
    status = machine.run("kdumpctl", "status")
    memory = machine.run("kdumpctl", "showmem")
    assert machine.sh("systemctl is-active rebuilding", check=False) == "active", "both came before its end"
    assert "kdumpd is building" in status.stdout
    assert memory.stdout == "Reserved 256MB memory for crash kernel\n"
    machine.wait_until("! systemctl is-active rebuilding", timeout=600)
    assert BUILT in machine.sh("journalctl -u rebuilding -o cat --no-pager")


def _understands_the_words_of_rhel_6(machine: Machine) -> None:
    def said(line: str, status: int = 0) -> str:
        ran = machine.run("sh", "-c", line, check=False, timeout=600)
        assert ran.status == status, f"{line}: {ran}"
        return ran.stdout

    usage = "Usage: /etc/init.d/kdump {start|stop|status|restart|propagate}"
    for line in ("/etc/init.d/kdump", "service kdump", "service kdump sideways"):
        assert said(line, 1).strip().endswith(usage.partition(": ")[2].partition(" ")[2])
    said("service kdump start")
    assert "active" in said("service kdump status")
    said("service kdump stop")
    assert said(LOADED) == "0\n"
    said("service kdump status", 3)
    said("service kdump start")
    said("service kdump restart")
    assert said(LOADED) == "1\n"
    assert NO_SSH in said("service kdump propagate 2>&1", 1)

    script = "/etc/init.d/kdump"
    assert said(f"{script} start") == "Kdump already running: [  OK  ]\n"
    assert said(f"{script} stop") == "Stopping kdump: [  OK  ]\n"
    assert said(f"{script} status", 3).startswith("Kdump is not operational\n")
    said(f"{script} condrestart", 1)
    assert said(f"{script} start") == "Starting kdump: [  OK  ]\n"
    assert said(f"{script} status").startswith("Kdump is operational\n")
    assert said(f"{script} restart") == "Starting kdump: [  OK  ]\n"
    assert said("systemctl is-active kdump") == "active\n"
    # What was stopped behind the back of systemd, which takes the unit for active, is started all the same.
    said("kdumpctl stop")
    assert said(f"{script} start") == "Starting kdump: [  OK  ]\n"
    assert said(LOADED) == "1\n"

    units = "systemctl show --value -p FragmentPath kdump.service"
    assert said(units).strip() == "/usr/lib/systemd/system/kdump.service"
    said("test -e /run/systemd/generator.late/kdump.service", 1)


def _has_the_lines_that_the_manual_gives_for_chkconfig(machine: Machine) -> None:
    lines = dict(re.findall(r"^\*\*chkconfig (.+)\*\*\n: `(.+)`", MANUAL.read_text(), re.MULTILINE))
    assert set(lines) == {"kdump on", "kdump off", "--list kdump", "kdump"}
    for wish, status, told in (("off", 1, "disabled"), ("on", 0, "enabled")):
        machine.sh(lines[f"kdump {wish}"])
        listed = machine.run("sh", "-c", lines["--list kdump"], check=False)
        assert told in listed.stdout
        assert machine.run("sh", "-c", lines["kdump"], check=False).status == status
        links = machine.sh("ls /etc/rc3.d | grep kdump")
        assert links[0] == ("K" if wish == "off" else "S"), "what reads the links of init agrees"
    assert machine.sh(LOADED) == "1", "it is about the next boots"


def _lasts_as_a_front_end_wishes(kdumpd: Installed) -> None:
    for wish, told in (("false", "disabled"), ("true", "enabled")):
        kdumpd.call("SetEnabled", "ba{sv}", wish, "0")
        enabled = "systemctl is-enabled kdump.service"
        kdumpd.machine.wait_until(f'test "$({enabled})" = {told}', timeout=120)
    kdumpd.wait_until_armed()


def test_every_verb_of_scripts_as_root_and_as_anybody_at_a_terminal_and_in_a_pipe(machine: Machine) -> None:
    kdumpd = Installed(machine)
    kdumpd.wait_until_armed()
    for verb in ONCE:
        keeps_its_word(machine, verb, ROOT_IN_A_PIPE)
    for caller, verb in itertools.product(CALLERS, ASKED):
        keeps_its_word(machine, verb, caller)
    for at_terminal, verb, is_root in itertools.product((True, False), DONE, (False, True)):
        caller = Caller(is_root, at_terminal)
        if verb.words == "rebuild" and caller == ROOT_IN_A_PIPE:
            _is_answered_while_it_builds(kdumpd)
        else:
            keeps_its_word(machine, verb, caller)
    _understands_the_words_of_rhel_6(machine)
    _has_the_lines_that_the_manual_gives_for_chkconfig(machine)
    _lasts_as_a_front_end_wishes(kdumpd)
    assert "Traceback" not in machine.sh("journalctl -b --no-pager -o cat")


@pytest.mark.parametrize("caller", CALLERS, ids=str)
def test_the_verbs_that_kdumpd_adds(machine: Machine, caller: Caller) -> None:
    kdumpd = Installed(machine)
    kdumpd.wait_until_armed()
    machine.put("/etc/default/kdump-tools", b'USE_KDUMP=1\nKDUMP_COREDIR="/var/crash"\n')
    machine.sh(f"mkdir /var/crash/{FOUND} && head -c 1M /dev/zero > /var/crash/{FOUND}/vmcore")
    # It looks for dumps when it starts, and then once an hour.
    machine.sh("systemctl restart kdumpd")
    kdumpd.wait_until_armed()
    kdumpd.wait_for("LastDump", "/dumps/")
    for verb in (*OWN, *(LONG if caller.is_root == caller.at_terminal else ())):
        keeps_its_word(machine, verb, caller)
    assert "Traceback" not in machine.sh("journalctl -b --no-pager -o cat")
