"""What is wrong with the memory that is reserved for the crash kernel: none, too little, or another at the next boot."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from kdumpd.core import reserve, usual
from kdumpd.core.boot_entries import crashkernel_of, is_reboot_due
from kdumpd.core.finding import Finding, Gravity, of_problem
from kdumpd.core.problems import Problem
from kdumpd.core.reserve import Place, Reserved, Suffixed
from kdumpd.core.symptoms import Symptoms

MIB = 1 << 20
SET_AND_REBOOT = "kdumpctl reserve set && systemctl reboot"
_SET = "reserve memory in the boot entries and reboot"
_SET_BY_HAND = (
    "choose a size that this machine can spare, set it with `kdumpctl reserve set SIZE`, and reboot"
)
_SLACK_BYTES = MIB
"""The kernel rounds what it reserves."""


def findings(of: Symptoms) -> Iterator[Finding]:
    crash = of.machine.crash
    if not crash.layout or crash.fadump:
        return
    if crash.reserved_bytes == 0:
        yield _none(of)
    else:
        yield from _size(of)
        yield from _spelling(of)
        yield from _next_boot(of)


def _none(of: Symptoms) -> Finding:
    values = crashkernel_of(of.machine.command_line)
    coming = _wanted(of.machine.next_command_line, of)
    if isinstance(coming, Reserved) and coming.base and not values:
        return _failure(
            "reboot-required",
            f"no memory is reserved for a crash kernel until a reboot, which reserves {coming.base // MIB} MiB",
            remedy="reboot",
            command="systemctl reboot",
        )
    command = _setting(of)
    if not values:
        return _failure(
            "no-reserved-memory",
            "no memory is reserved for a crash kernel: the kernel was booted without crashkernel=",
            remedy=_SET if command else _SET_BY_HAND,
            command=command,
        )
    said = " ".join(f"crashkernel={value}" for value in values)
    asked = _wanted(of.machine.command_line, of)
    if isinstance(asked, Problem):
        return of_problem(asked, Gravity.FAILURE, remedy=_SET if command else _SET_BY_HAND, command=command)
    if asked.base == 0:
        return _failure(
            "crashkernel-asks-for-none",
            f"{said} reserves nothing on a machine with {of.machine.memory_bytes // MIB} MiB",
            remedy=_SET if command else _SET_BY_HAND,
            command=command,
        )
    return _failure(
        "crashkernel-not-made",
        f"{said} asks for {asked.base // MIB} MiB, and the kernel reserved nothing: it found no free block of that "
        "size, or somebody gave the memory back later",
        remedy="`journalctl -k -b --grep crashkernel` says why; a smaller size, ,high, or no @OFFSET makes it "
        f"easier{'' if command else ': `kdumpctl reserve set SIZE,high`, and reboot'}",
        command=command,
    )


def _setting(of: Symptoms) -> str:
    """Has what is recommended reserved; "" where that would be nothing, or is what this boot asked for in vain."""
    by_plan = of.estimate.crashkernel if of.estimate is not None else ""
    recommended = by_plan or reserve.render(usual.of_machine(of.machine))
    coming = _wanted(f"crashkernel={recommended}", of)
    has_place = any("@" in value for value in crashkernel_of(of.machine.command_line))
    is_the_same = coming == _wanted(of.machine.command_line, of) and not has_place
    is_none = isinstance(coming, Reserved) and coming.base == 0
    return "" if is_none or is_the_same else SET_AND_REBOOT


def _size(of: Symptoms) -> Iterator[Finding]:
    estimate, asked = of.estimate, _wanted(of.machine.command_line, of)
    reserved = of.machine.crash.reserved_bytes
    if isinstance(asked, Reserved) and reserved + _SLACK_BYTES < asked.base:
        yield Finding(
            code="reservation-shrunk",
            gravity=Gravity.NOTE,
            message=f"only {reserved // MIB} of the {asked.base // MIB} MiB that crashkernel= reserved are left: "
            "somebody gave the rest back",
            remedy="see who writes to /sys/kernel/kexec_crash_size; a reboot reserves all of it again",
        )
    if estimate is None:
        return
    for problem, gravity in ((estimate.refusal, Gravity.FAILURE), (estimate.warning, Gravity.RISK)):
        if problem is not None:
            command = f"kdumpctl reserve set {shlex.quote(estimate.crashkernel)} && systemctl reboot"
            yield of_problem(problem, gravity, command=command)


def _spelling(of: Symptoms) -> Iterator[Finding]:
    """What stands there and counts for nothing, or has a price."""
    parsed = [reserve.parse(value) for value in crashkernel_of(of.machine.command_line)]
    places = {one.place: one.size for one in parsed if isinstance(one, Suffixed)}
    plain = [one for one in parsed if not isinstance(one, Suffixed | Problem)]
    if plain and Place.HIGH in places:
        yield _note(
            "crashkernel-high-hidden",
            "a plain crashkernel= hides the one with ,high",
            "keep only one of them",
        )
    if Place.LOW in places and Place.HIGH not in places:
        yield _note(
            "crashkernel-low-alone", "crashkernel= with ,low has no effect without one with ,high", ""
        )
    if Place.HIGH in places and places.get(Place.LOW) == 0:
        yield Finding(
            code="crashkernel-low-none",
            gravity=Gravity.RISK,
            message="crashkernel=0,low leaves the crash kernel no memory below 4 GiB, which devices with 32-bit DMA need",
            remedy="leave ,low out, so that the kernel chooses the size itself",
            command=f"kdumpctl reserve set {reserve.size_text(places[Place.HIGH])},high && systemctl reboot",
        )
    if Place.CMA in places:
        yield _note(
            "crashkernel-cma",
            "memory reserved with ,cma is used by programs until the crash: what they had in it is not in the "
            "dump, and a device that still writes there could damage the capture",
            "",
        )


def _next_boot(of: Symptoms) -> Iterator[Finding]:
    machine = of.machine
    if not is_reboot_due(
        running=machine.command_line,
        following=machine.next_command_line,
        memory_bytes=machine.memory_bytes,
        architecture=machine.architecture,
    ):
        return
    coming = _wanted(machine.next_command_line, of)
    if isinstance(coming, Problem) or coming.base == 0:
        why = (
            coming.message
            if isinstance(coming, Problem)
            else "its boot entry has no crashkernel= that reserves any"
        )
        yield Finding(
            code="next-boot-reserves-nothing",
            gravity=Gravity.RISK,
            message=f"the next boot will reserve no memory: {why}",
            remedy="write crashkernel= into the boot entries",
            command="kdumpctl reserve set",
        )
        return
    yield Finding(
        code="reboot-required",
        gravity=Gravity.NOTE,
        message=f"the next boot will reserve {coming.base // MIB} MiB, this one has reserved "
        f"{machine.crash.reserved_bytes // MIB}",
        remedy="reboot when convenient",
        command="systemctl reboot",
    )


def _wanted(command_line: str, of: Symptoms) -> Reserved | Problem:
    machine = of.machine
    return reserve.reserved(command_line, machine.memory_bytes, architecture=machine.architecture)


def _failure(code: str, message: str, *, remedy: str, command: str) -> Finding:
    return Finding(code=code, gravity=Gravity.FAILURE, message=message, remedy=remedy, command=command)


def _note(code: str, message: str, remedy: str) -> Finding:
    return Finding(code=code, gravity=Gravity.NOTE, message=message, remedy=remedy)
