"""The story on a terminal: a machine is armed, edited, re-armed, crashes, and tells what was saved."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from tests.vm.build import image, package_under_test
from tests.vm.channel import Gone, NoAnswer, Refused
from tests.vm.frozen import freeze, idle_and_armed
from tests.vm.installed import CONF, Installed
from tests.vm.requirements import Cannot

if TYPE_CHECKING:
    from tests.vm.machine import Machine

PATH = "/var/crash/demo"
_BACK = 600  # seconds in which a crashed machine has to be back, under emulation too


def main() -> int:
    """0 when a vmcore of a real panic was read back; 1 with one sentence when something is missing or went wrong."""
    try:
        _tell()
    except (Cannot, Gone, NoAnswer, Refused, AssertionError) as problem:
        print(f"\nThe demo cannot go on: {problem}", file=sys.stderr)
        return 1
    return 0


def _tell() -> None:
    package = package_under_test()
    if package is None:
        raise Cannot("KDUMPD_DEB does not name a package: run `make demo`, which builds it")
    _chapter(f"A Debian 13 machine is made, with {package.name} installed in it")
    frozen = freeze(image(package=package, say=_say), say=_say, ready=idle_and_armed, means="armed")
    with frozen.wake() as machine:
        kdumpd = Installed(machine)
        _chapter("Armed: the daemon did this by itself when the machine booted")
        _run(machine, "kdumpctl status")

        _chapter(f"One line of {CONF} is edited, and nothing else is done")
        _run(machine, f"sed -i '/^path/d' {CONF}; echo 'path {PATH}' >> {CONF}; grep -v '^#' {CONF} | grep .")
        edited = time.monotonic()
        kdumpd.wait_until_armed(saying=PATH)
        _say(f"armed again with the new path {time.monotonic() - edited:.1f} s after the edit, because:")
        _run(machine, "journalctl -u kdumpd -o cat --no-pager | tail -4")
        _run(machine, "kdumpctl status")

        _chapter("The kernel panics: echo c > /proc/sysrq-trigger")
        directory = _crash(machine)

        _chapter("The machine is back, and kdumpd tells what it found")
        kdumpd.wait_for("LastDump", "/dumps/", timeout=_BACK)
        kdumpd.wait_until_armed(timeout=_BACK)
        _run(machine, "kdumpctl dumps list")
        _run(machine, f"ls -l {directory}")
        _run(
            machine,
            f"makedumpfile --dump-dmesg {directory}/vmcore /tmp/dmesg >/dev/null && grep 'Kernel panic' /tmp/dmesg",
        )
        _say("that line was read back from the vmcore of the kernel that crashed")


def _crash(machine: Machine) -> str:
    """Crashes, repeats the capture kernel's own lines as they come, and waits for the machine to be back."""
    before = machine.agent.boot
    crashed = machine.crash()
    saved = machine.console.wait_for(
        rf"saved {PATH}/\S+/vmcore on |kdumpd.*failed", timeout=_BACK, since=crashed.number
    )
    for line in machine.console.lines[crashed.number : saved.number + 1]:
        if "kdumpd[" in line.text or "Linux version" in line.text:
            print(f"    +{line.at - crashed.at:5.1f} s  {line.text[:150]}", flush=True)
    if "failed" in saved.text:
        raise AssertionError(saved.text)
    _say("waiting for the machine to boot again")
    machine.wait_until_up(timeout=_BACK, other_than=before)
    return saved.text.partition("saved ")[2].rpartition("/vmcore on ")[0]


def _run(machine: Machine, command: str) -> None:
    print(f"  # {command}", flush=True)
    ran = machine.run("sh", "-c", command, check=False)
    for line in (ran.stdout + ran.stderr).splitlines():
        print(f"    {line}", flush=True)


def _chapter(title: str) -> None:
    print(f"\n== {title}", flush=True)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
