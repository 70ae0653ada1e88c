"""Puts one machine through a plan of unrest, crashes it at the planned moment, and tells what became of the dump."""

from __future__ import annotations

import json
import re
import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpd.core.summary import CaptureResult, Summary
from tests.vm.channel import NoAnswer
from tests.vm.console import NotSeen
from tests.vm.hardware import Disk
from tests.vm.installed import Installed
from tests.vm.kexec_state import KexecState, KexecWords, standing_still
from tests.vm.unrest import Plan, Room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.vm.console import Line
    from tests.vm.machine import Machine

PANIC = "Kernel panic - not syncing: NMI: Not continuing"
_GUEST = Path(__file__).parent / "guest"
_CAPTURE = 150.0  # seconds for a capture kernel to come to its end
_FILES = {"vmcore", "vmcore-dmesg.txt", "kexec-dmesg.log", "summary.json"}

# What the journal gets goes to the kernel's log too, and that at once to the console: it is there when the panic comes.
_TALKATIVE = """
sysctl -qw kernel.printk='7 4 1 7' kernel.printk_devkmsg=on kernel.unknown_nmi_panic=1
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\\nForwardToKMsg=yes\\nMaxLevelKMsg=info\\n' >/run/systemd/journald.conf.d/unrest.conf
systemctl restart systemd-journald
"""
_QUICK = """
mkdir -p /run/systemd/system/kdumpd.service.d
printf '[Service]\\nRestartSec=100ms\\n' >/run/systemd/system/kdumpd.service.d/quick.conf
systemctl daemon-reload
"""
_STORE = """
systemctl stop kdumpd
mount LABEL=store /mnt && cp -a /var/lib/kdumpd/. /mnt && umount /mnt
mount LABEL=store /var/lib/kdumpd
systemctl start kdumpd
"""


class Fate(StrEnum):
    SAVED = "saved"
    IN_LOAD = "in the load call"
    """No capture could be: the kernel's own words say that a load had freed the old image and not placed the new one."""
    DOUBTFUL = "doubtful"
    """No capture, and a kexec call was at its very beginning or end."""
    UNPROTECTED = "nothing loaded"
    LOST = "lost"
    MISPLACED = "misplaced"
    """Whole, but in no directory that was armed or being loaded at that moment."""


FAULTS = frozenset({Fate.UNPROTECTED, Fate.LOST, Fate.MISPLACED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    fate: Fate
    before: KexecState
    """While the machine stood still, the NMI being the next that it would hear."""
    after: KexecState | None
    """When the panic went on without a capture kernel, all other processors being stopped; None where there is one."""
    last_step: str
    last_word: str
    """What kdumpd said last in its journal."""
    expected: frozenset[str]
    """The directories of what was armed and of what was being loaded."""
    found: str
    why: str = ""
    console: tuple[str, ...] = ()
    """Its end, where something is wrong."""


def await_nmi(machine: Machine) -> None:
    """Makes an armed machine panic when it is sent an NMI, and say on its console whatever goes into the journal."""
    machine.sh(_TALKATIVE)


def ready(machine: Machine, plan: Plan) -> None:
    """Makes a machine that awaits its NMI what the plan wants, armed with what that begins with."""
    if plan.is_quick:
        machine.sh(_QUICK)
    match plan.room:
        case Room.STORE:
            machine.plug(Disk(serial="store", size="48M", filesystem="ext4", label="store"))
            machine.sh(_STORE)
        case Room.ROOT:
            machine.plug(Disk(serial="dumps", filesystem="ext4", label="dumps"))
        case Room.ENOUGH:
            pass
    if plan.start:
        Installed(machine).configure_and_arm(*plan.start)


def endure(machine: Machine, plan: Plan) -> Outcome:
    """From unrest to the end of the machine; it has to be `ready`."""
    words = KexecWords.of(machine)
    machine.put("/run/unrest.py", (_GUEST / "unrest.py").read_bytes())
    machine.put("/run/unrest.json", json.dumps(plan.steps))
    machine.stop_at_reboot()
    with standing_still(machine):
        assert words.read().would_capture
    since = machine.console.here()
    machine.sh("systemd-run --quiet --unit=unrest --nice=-10 python3 /run/unrest.py /run/unrest.json")
    begins = machine.console.wait_for("unrest: begins", timeout=60, since=since)
    time.sleep(max(0.0, begins.at + plan.crash_after - time.monotonic()))
    with standing_still(machine):
        before = words.read()
        machine.qmp.ask("inject-nmi")
    return aftermath(
        machine, words, before=before, since=since, disk="dumps" if plan.room is Room.ROOT else "root"
    )


def aftermath(machine: Machine, words: KexecWords, *, before: KexecState, since: int, disk: str) -> Outcome:
    """Waits for the end of a machine that was sent an NMI and says what came of it."""
    console = machine.console
    after = None
    found = why = ""
    said = console.lines[since:]
    try:
        # A panic in an NMI is printed only where it goes on without a capture kernel. This line is of those whom it
        # tells then: the other processors have been stopped, and in a few seconds (panic=) the machine is reset.
        answer = console.wait_for("Kernel Offset: |Linux version", timeout=60, since=since)
    except NotSeen:
        fate, why = Fate.LOST, "the panic neither went on nor started the capture kernel"
    else:
        said = console.lines[since : answer.number]
        if "Kernel Offset" in answer.text:
            with standing_still(machine):
                after = words.read()
            fate = without_capture(before, after)
        else:
            fate, found, why = _capture(machine, disk=disk, since=answer.number)
    expected = _in_use(said)
    if fate is Fate.SAVED and found.rpartition("/")[0] not in expected:
        fate, why = Fate.MISPLACED, f"not in {sorted(expected)}"
    return Outcome(
        fate=fate,
        before=before,
        after=after,
        last_step=_last(said, r"unrest: (step .*)"),
        last_word=_last(said, r"kdumpd\[\d+\]: (.*)"),
        expected=expected,
        found=found,
        why=why,
        console=tuple(line.text for line in console.lines[-120:]) if fate in FAULTS else (),
    )


def without_capture(before: KexecState, after: KexecState) -> Fate:
    """Why a panic started no capture kernel: as `Outcome` has the two states."""
    if after.is_inside_a_call:
        return Fate.IN_LOAD
    # The panic took its look a moment before the other processors were stopped.
    if after.is_locked or before.is_locked:
        return Fate.DOUBTFUL
    return Fate.LOST if after.has_image else Fate.UNPROTECTED


def _capture(machine: Machine, *, disk: str, since: int) -> tuple[Fate, str, str]:
    """The fate, the dump's directory and what is wrong with it, once the capture kernel has ended."""
    try:
        machine.wait_for_exit(timeout=_CAPTURE)
    except NoAnswer:
        return Fate.LOST, "", "the capture kernel did not come to its end"
    machine.console.wait_for_end()
    saved = _last(machine.console.lines[since:], r"saved (/.*)/vmcore on ")
    if not saved:
        return Fate.LOST, "", "the capture kernel saved nothing"
    why = _what_is_wrong(machine, saved, disk=disk)
    return (Fate.LOST if why else Fate.SAVED), saved, why


def _what_is_wrong(machine: Machine, directory: str, *, disk: str) -> str:
    """ "" where the dump is whole and of this crash."""
    names = set(machine.list_offline(directory, disk=disk))
    if names != _FILES:
        return f"in the directory are {sorted(names)}"
    summary = Summary.model_validate_json(machine.read_offline(f"{directory}/summary.json", disk=disk))
    vmcore = machine.directory / "vmcore"
    vmcore.write_bytes(machine.read_offline(f"{directory}/vmcore", disk=disk))
    if summary.result is not CaptureResult.SAVED or summary.vmcore_bytes != vmcore.stat().st_size:
        return f"{summary.result}: {summary.reason or 'another size'}"
    log = machine.directory / "dmesg"
    ran = subprocess.run(
        ["makedumpfile", "--dump-dmesg", str(vmcore), str(log)], capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        return f"makedumpfile cannot read the vmcore: {ran.stdout.strip()[-200:]}"
    text = log.read_text(errors="replace")
    return "" if PANIC in text and "unrest: begins" in text else "the log in the vmcore is not of this crash"


def _in_use(said: Sequence[Line]) -> frozenset[str]:
    """What the records last said: the image of the one is loaded, or that of the other, in which a load may be."""
    told = (_last(said, rf"unrest: {record}\b ?(.*)") for record in ("armed", "loading"))
    return frozenset(str(json.loads(text)) for text in told if text)


def _last(lines: Sequence[Line], pattern: str) -> str:
    """The group of the last line in which the pattern is found; "" where it is in none."""
    for line in reversed(lines):
        if found := re.search(pattern, line.text):
            return found.group(1).strip()
    return ""
