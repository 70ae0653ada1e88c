"""Finds the least reservation that still captures: kdumpd's image and the hand-made one, each by real crashes.

Each try wakes the frozen machine, unloads, hands the end of the reservation back to the system (a write of a smaller
size to kexec_crash_size leaves exactly what a smaller crashkernel= would have reserved), arms, and crashes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kdumpd.core.estimate import capture_of
from kdumpd.core.summary import Summary
from tests.vm import floor
from tests.vm.build import image, package_under_test
from tests.vm.channel import Gone, NoAnswer, Refused
from tests.vm.console import Line
from tests.vm.frozen import Frozen, freeze, idle_and_armed
from tests.vm.machine import Machine, Reboot
from tests.vm.requirements import Cannot

STEP_MIB = 4
LEAST_MIB, MOST_MIB = 72, 128
CAPTURE_SECONDS = (
    60  # a capture that works takes a third of it, and the console's patience counts three times that
)
_SHORT_OF_MEMORY = ("Out of memory", "oom-kill", "page allocation failure", "System is deadlocked on memory")
_SHRINK = """
for file in /sys/kernel/kexec/crash_size /sys/kernel/kexec_crash_size; do
    [ -e $file ] && { echo $1 >$file && cat $file; exit; }
done
exit 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """What came of one crash with `mib` reserved. `why` names what went wrong; KiB are as the capture saw them."""

    mib: int
    captured: bool
    why: str = ""
    seconds: float = 0.0  # from the panic to the saved dump
    total_kib: int = 0
    least_kib: int = 0
    used_kib: int = 0  # as kdumpd learns it from the summary

    def __str__(self) -> str:
        memory = f", {self.least_kib} of {self.total_kib} KiB left at the least" if self.total_kib else ""
        memory += f", {self.used_kib} KiB of the reservation in use" if self.used_kib else ""
        return f"{self.mib:4} MiB: " + (
            f"saved after {self.seconds:.1f} s{memory}" if self.captured else f"no dump: {self.why}{memory}"
        )


def by_kdumpd(machine: Machine, mib: int) -> Try:
    """The package's own image: armed by the daemon, which may refuse the size."""
    machine.sh("kdumpctl stop")
    _shrink(machine, mib)
    armed = machine.run("kdumpctl", "start", check=False, timeout=600)
    if armed.status != 0:
        return Try(mib=mib, captured=False, why=f"not armed: {armed.stderr.strip() or armed.stdout.strip()}")
    ended = _crash(machine, r"saved /.*/vmcore on ")
    if isinstance(ended, str):
        return Try(mib=mib, captured=False, why=ended)
    found = [name for name in machine.list_offline("/var/crash") if name.startswith("127.0.0.1-")]
    if not found:
        return Try(mib=mib, captured=False, why=_words_of(ended))
    summary = Summary.model_validate_json(machine.read_offline(f"/var/crash/{found[-1]}/summary.json"))
    is_saved = summary.result == "saved"
    learned = capture_of(summary)
    return Try(
        mib=mib,
        captured=is_saved,
        why="" if is_saved else f"{summary.failing_step}: {summary.reason}; {_words_of(ended)}",
        seconds=ended.seconds_to("saved /") if is_saved else 0.0,
        total_kib=summary.memory_total_kib,
        least_kib=summary.memory_least_kib,
        used_kib=learned.used_bytes >> 10 if learned is not None else 0,
    )


def by_hand(machine: Machine, mib: int) -> Try:
    """The hand-made image of tests.vm.floor, loaded with one kexec call."""
    machine.sh("kdumpctl stop")
    _shrink(machine, mib)
    floor.arm(machine, collects=True)
    ended = _crash(machine, "floor: saved")
    if isinstance(ended, str):
        return Try(mib=mib, captured=False, why=ended)
    if not any("floor: saved" in line.text for line in ended.console):
        return Try(mib=mib, captured=False, why=_words_of(ended))
    return Try(mib=mib, captured=True, seconds=ended.seconds_to("floor: saved"))


SYSTEMS: dict[str, Callable[[Machine, int], Try]] = {"kdumpd": by_kdumpd, "floor": by_hand}


def least(
    attempt: Callable[[int], Try], *, low: int = LEAST_MIB, high: int = MOST_MIB, step: int = STEP_MIB
) -> tuple[int | None, tuple[Try, ...]]:
    """The least size of low, low+step ... high that captures, by halving; None where not even `high` does.

    What captures with less captures with more. A size that failed by chance would make a wrong answer, so the one just
    below the answer is tried again, and so on down to one that fails once more.
    """
    sizes = range(low, high + 1, step)
    tries: list[Try] = []

    def captures(mib: int) -> bool:
        tries.append(attempt(mib))
        return tries[-1].captured

    below, at = -1, len(sizes)
    while at - below > 1:
        middle = (below + at) // 2
        if captures(sizes[middle]):
            at = middle
        else:
            below = middle
    while 0 < at < len(sizes) and captures(sizes[at - 1]):
        at -= 1
    return (sizes[at] if at < len(sizes) else None), tuple(tries)


def one(frozen: Frozen, system: str, mib: int) -> Try:
    """A machine of its own, woken, shrunk, armed, crashed."""
    with frozen.wake() as machine:
        return SYSTEMS[system](machine, mib)


def _shrink(machine: Machine, mib: int) -> None:
    left = int(machine.run("sh", "-c", _SHRINK, "sh", str(mib << 20)).stdout)
    if left != mib << 20:
        raise Cannot(f"{mib} MiB were to be left of the reservation, and {left} bytes are")


def _crash(machine: Machine, saved: str) -> Reboot | str:
    """Crashes, and waits for the end; in words what happened where none came."""
    machine.stop_at_reboot()
    crashed = machine.crash()
    try:
        machine.wait_for_exit(timeout=CAPTURE_SECONDS)
    except NoAnswer:
        lines = machine.console.lines[crashed.number :]
        machine.end()
        return f"no end; {_last_words(lines)}"
    machine.console.wait_for_end()
    lines = machine.console.lines[crashed.number :]
    return Reboot(crashed=crashed, back_after=time.monotonic() - crashed.at, console=lines)


def _words_of(reboot: Reboot) -> str:
    return _last_words(reboot.console)


def _last_words(lines: Iterable[Line]) -> str:
    """The line that says memory was short, else the last one there was."""
    texts = [line.text.strip() for line in lines if line.text.strip()]
    short = next((text for text in texts if any(words in text for words in _SHORT_OF_MEMORY)), "")
    return short or (texts[-1] if texts else "the console said nothing")


def main(argv: list[str] | None = None) -> int:
    """Prints each try and the least size of each system; 1 with one sentence where it cannot."""
    asking = argparse.ArgumentParser(prog="python -m tests.bench.least", description=__doc__)
    asking.add_argument("--system", choices=SYSTEMS, action="append", help="only this one")
    asking.add_argument("--mib", type=int, action="append", help="try just this size, instead of halving")
    asked = asking.parse_args(argv)
    try:
        frozen = _armed_machine()
        for system in asked.system or SYSTEMS:
            _measure(frozen, system, sizes=asked.mib or [])
    except (Cannot, Gone, NoAnswer, Refused, AssertionError) as problem:
        print(f"the least reservation cannot be found: {problem}", file=sys.stderr)
        return 1
    return 0


def _armed_machine() -> Frozen:
    package = package_under_test()
    if package is None:
        raise Cannot("KDUMPD_DEB does not name a package")
    return freeze(image(package=package), say=_say, ready=idle_and_armed, means="armed")


def _measure(frozen: Frozen, system: str, *, sizes: list[int]) -> None:
    def told(mib: int) -> Try:
        outcome = one(frozen, system, mib)
        _say(f"{system:>8} {outcome}")
        return outcome

    if sizes:
        for mib in sizes:
            told(mib)
        return
    found, _ = least(told)
    _say(f"{system}: the least that captures is {f'{found}M' if found else f'more than {MOST_MIB}M'}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
