"""The two systems side by side: the same plain Debian in the same machine, once with kdumpd and once with kdump-tools."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.build import image
from tests.vm.contents import PLAIN
from tests.vm.frozen import Frozen, freeze, idle_and_armed
from tests.vm.installed import Installed
from tests.vm.machine import Machine, Reboot

COLLECTOR = "makedumpfile -l -d 31"
"""What both are told, and the hand-made image runs: kdumpd's own default but for the words that it prints."""

_PROBE = Path(__file__).parent / "guest" / "probe.py"
_IN_GUEST = "/root/probe.py"
_RECIPE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
"""A machine that another edition of this module set up is another machine."""
_POSTINST = "/etc/kernel/postinst.d/kdump-tools"
KDUMP_TOOLS_IMAGE = "/var/lib/kdump/initrd.img"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Systems:
    kdumpd: Frozen
    kdump_tools: Frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """Seconds after the panic, by the clock of this host."""

    to_collector: float
    to_synced: float

    def __str__(self) -> str:
        return f"collector after {self.to_collector:.1f} s, synced after {self.to_synced:.1f} s"


def prepare(package: Path, *, say: Say) -> Systems:
    """Both, built, booted once, set up and asleep; what an earlier run made of the same is taken again.

    At once, for nothing is measured yet."""
    with ThreadPoolExecutor() as at_once:
        ours = at_once.submit(_kdumpd, package, lambda text: say(f"kdumpd: {text}"))
        theirs = at_once.submit(_kdump_tools, lambda text: say(f"kdump-tools: {text}"))
        return Systems(kdumpd=ours.result(), kdump_tools=theirs.result())


def _kdumpd(package: Path, say: Say) -> Frozen:
    built = image(package=package, base=PLAIN, say=say)
    return freeze(built, ready=_set_up_kdumpd, means=f"armed, {_RECIPE}", say=say)


def _kdump_tools(say: Say) -> Frozen:
    built = image(base=PLAIN, from_archive="kdump-tools", say=say)
    return freeze(built, ready=_set_up_kdump_tools, means=f"kdump-tools armed, {_RECIPE}", say=say)


def _set_up_kdumpd(machine: Machine) -> None:
    idle_and_armed(machine)
    kdumpd = Installed(machine)
    kdumpd.configure_and_arm(f"core_collector {COLLECTOR}", "path /var/crash")
    machine.wait_until(f"grep -qF '{COLLECTOR}' /run/kdumpd/armed", timeout=180)


def _set_up_kdump_tools(machine: Machine) -> None:
    # It is about to make an image as it found the machine: with the list of modules that is there to boot it quickly.
    # What Debian ships shall decide instead.
    machine.sh("systemctl stop kdump-tools")
    machine.sh("rm /etc/initramfs-tools/conf.d/test-machine; : > /etc/initramfs-tools/modules")
    machine.sh("rm -rf /var/lib/kdump/initrd.img* /tmp/mkinitramfs*")
    machine.sh(f"echo 'MAKEDUMP_ARGS=\"{COLLECTOR.partition(' ')[2]}\"' >> /etc/default/kdump-tools")
    machine.sh("systemctl start kdump-tools", timeout=900)
    machine.wait_until_idle(timeout=900)
    assert machine.sh("cat /sys/kernel/kexec_crash_loaded") == "1", machine.sh("journalctl -b -u kdump-tools")


def probe(machine: Machine, *arguments: object, timeout: float = 600) -> Any:
    """One of the measurements that are made within the machine; what it printed."""
    machine.put(_IN_GUEST, _PROBE.read_bytes())
    return json.loads(machine.run("python3", _IN_GUEST, *map(str, arguments), timeout=timeout).stdout)


def build_of_kdump_tools(machine: Machine) -> float:
    """Seconds of the guest's clock for the command that makes its image, as after a new kernel."""
    clock = "cut -d' ' -f1 /proc/uptime"
    told = machine.sh(f"{clock}; {_POSTINST} $(uname -r) >/dev/null 2>&1 || exit; {clock}", timeout=900)
    begun, ended = map(float, told.split())
    return ended - begun


def crash_kdumpd(machine: Machine) -> Crash:
    reboot = machine.crash_and_end()
    return Crash(
        to_collector=reboot.seconds_to("running makedumpfile"),
        to_synced=reboot.seconds_to("saved /"),
    )


def crash_kdump_tools(machine: Machine) -> Crash:
    """It says that the dump is saved before its sync, and the date after it."""
    reboot = machine.crash_and_end()
    saved = _matching(reboot, r"saved vmcore in", after=0.0)
    return Crash(
        to_collector=_matching(reboot, r"running makedumpfile -[^-].*/proc/vmcore", after=0.0),
        to_synced=_matching(reboot, r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d", after=saved),
    )


def _matching(reboot: Reboot, pattern: str, *, after: float) -> float:
    for line in reboot.console:
        if line.at - reboot.crashed.at >= after and re.search(pattern, line.text):
            return line.at - reboot.crashed.at
    said = "\n".join(line.text for line in reboot.console[-30:])
    raise AssertionError(f"the console never said {pattern!r} after the crash; its last lines:\n{said}")
