"""Every verb that scripts know, as root and as anybody, at a terminal and in a pipe; the words of RHEL 6; nothing waits for a build."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.installed import Installed

if TYPE_CHECKING:
    from tests.vm.channel import Ran
    from tests.vm.machine import Machine

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LOADED = "cat /sys/kernel/kexec_crash_loaded"
MANUAL = Path(__file__).parents[2] / "docs/kdumpctl.8.md"
USUAL = "2G-64G:256M,64G-:512M"
NO_SSH = "No ssh config specified in /etc/kdump.conf.  Can't propagate"
NO_PPC = "Option --fadump only valid on PPC"
NO_KERNEL = "Invalid --kernel=/boot/none, please specify a valid kernel path, ALL or DEFAULT"
NO_MENU = "does not know how the kernel's command line is set here"
REFUSED = "polkit action"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What one line must end with and say, for root and for anybody else; both as in the contract of kdump-utils."""

    words: str
    status: int = 0
    says: str
    of_others: tuple[int, str] | None = None
    """None: the same for everybody."""


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


def _said(machine: Machine, words: str, *, is_root: bool, at_terminal: bool) -> Ran:
    line = f"kdumpctl {words}".strip()
    argv = ["script", "-qec", line, "/dev/null"] if at_terminal else shlex.split(line)
    if not is_root:
        argv = ["runuser", "-u", "nobody", "--", *argv]
    return machine.run(*argv, check=False, timeout=600)


def _on_one_line(text: str) -> str:
    """A terminal is never too narrow for a sentence, but it may have to break it."""
    return " ".join(text.split())


def _keeps_its_word(machine: Machine, verb: Verb, *, is_root: bool, at_terminal: bool) -> None:
    status, says = (verb.status, verb.says) if is_root or verb.of_others is None else verb.of_others
    ran = _said(machine, verb.words, is_root=is_root, at_terminal=at_terminal)
    where = f"kdumpctl {verb.words} as {'root' if is_root else 'nobody'} ({'terminal' if at_terminal else 'pipe'})"
    told = ran.stdout + ran.stderr
    assert _on_one_line(says) in _on_one_line(COLOURS.sub("", told)), f"{where}: {ran}"
    assert ran.status == status, f"{where}: {ran}"
    assert "Traceback" not in told, where
    assert at_terminal or "\x1b" not in told, where


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


def test_every_verb_as_root_and_as_anybody_at_a_terminal_and_in_a_pipe(machine: Machine) -> None:
    kdumpd = Installed(machine)
    kdumpd.wait_until_armed()
    for verb in ONCE:
        _keeps_its_word(machine, verb, is_root=True, at_terminal=False)
    for is_root, at_terminal in itertools.product((False, True), repeat=2):
        for verb in ASKED:
            _keeps_its_word(machine, verb, is_root=is_root, at_terminal=at_terminal)
    for at_terminal, verb, is_root in itertools.product((True, False), DONE, (False, True)):
        if verb.words == "rebuild" and is_root and not at_terminal:
            _is_answered_while_it_builds(kdumpd)
        else:
            _keeps_its_word(machine, verb, is_root=is_root, at_terminal=at_terminal)
    _understands_the_words_of_rhel_6(machine)
    _has_the_lines_that_the_manual_gives_for_chkconfig(machine)
    _lasts_as_a_front_end_wishes(kdumpd)
    assert "Traceback" not in machine.sh("journalctl -b --no-pager -o cat")
