"""kdumpd and kdump-tools side by side: what it costs to build their images, how large those are, and a crash of each."""

from __future__ import annotations

import shlex

from tests.bench import least
from tests.bench.figures import Claim, Figure, Samples, at_most, figure, ratio
from tests.bench.systems import (
    COLLECTOR,
    KDUMP_TOOLS_IMAGE,
    Crash,
    Say,
    Systems,
    build_of_kdump_tools,
    crash_kdump_tools,
    crash_kdumpd,
    probe,
)
from tests.vm import floor
from tests.vm.installed import Installed
from tests.vm.machine import Machine
from tests.vm.requirements import Cannot


def build(systems: Systems, *, repeat: int, say: Say) -> tuple[Figure, ...]:
    """The rows of building and of size; both machines are awake, and one at a time has something to do."""
    ours: list[float] = []
    theirs: list[float] = []
    with systems.kdumpd.wake() as kdumpd, systems.kdump_tools.wake() as kdump_tools:
        for number in range(repeat):
            theirs.append(build_of_kdump_tools(kdump_tools))
            ours.append(float(probe(kdumpd, "rebuild")["seconds"]))
            say(f"build {number + 1}: kdump-tools {theirs[-1]:.1f} s, kdumpd {ours[-1]:.1f} s")
        our_bytes = _bytes(kdumpd, str(Installed(kdumpd).value("InitramfsPath")))
        their_bytes = _bytes(kdump_tools, KDUMP_TOOLS_IMAGE)
    built = Samples(name="kdumpd, base and overlay", unit="s", values=tuple(ours))
    made = Samples(name="kdump-tools, the image", unit="s", values=tuple(theirs))
    our_size = Samples(name="kdumpd", unit="MB", values=(our_bytes / 1e6,), is_count=True)
    their_size = Samples(name="kdump-tools", unit="MB", values=(their_bytes / 1e6,), is_count=True)
    say(f"images: kdump-tools {their_size}, kdumpd {our_size}")
    return (
        figure("build", [ratio(built, made, at_most=0.10)], samples=(built, made)),
        figure(
            "size",
            [at_most(our_size, 3.2), ratio(our_size, their_size, at_most=0.23)],
            samples=(our_size, their_size),
        ),
    )


def crash(systems: Systems, *, repeat: int, say: Say) -> tuple[Figure, ...]:
    """The three rows of a crash: kdump-tools, kdumpd, the hand-made image, and again, each in a machine just woken."""
    theirs: list[Crash] = []
    ours: list[Crash] = []
    bare: list[Crash] = []
    for number in range(1, repeat + 1):
        with systems.kdump_tools.wake() as machine:
            theirs.append(crash_kdump_tools(machine))
        say(f"crash {number} of kdump-tools: {theirs[-1]}")
        with systems.kdumpd.wake() as machine:
            ours.append(crash_kdumpd(machine))
        say(f"crash {number} of kdumpd: {ours[-1]}")
        with systems.kdumpd.wake() as machine:
            bare.append(_crash_by_hand(machine))
        say(f"crash {number} of the hand-made image: {bare[-1]}")
    their_start, their_end = _of("kdump-tools", theirs)
    our_start, our_end = _of("kdumpd", ours)
    bare_start, bare_end = _of("by hand", bare)
    same = (f"collector: `{COLLECTOR}`",)
    return (
        figure(
            "collector",
            [ratio(our_start, their_start, at_most=0.20)],
            samples=(our_start, their_start, bare_start),
        ),
        figure(
            "synced", [ratio(our_end, their_end, at_most=0.22)], samples=(our_end, their_end), remarks=same
        ),
        figure("floor", [ratio(our_end, bare_end, at_most=1.3)], samples=(our_end, bare_end), remarks=same),
    )


def reservation(systems: Systems, *, say: Say) -> tuple[Figure, ...]:
    """The row of the least reservation: real crashes with ever less of it."""
    found: dict[str, int] = {}
    remarks = []
    for system in ("floor", "kdumpd"):

        def told(mib: int, system: str = system) -> least.Try:
            outcome = least.one(systems.kdumpd, system, mib)
            say(f"{system} {outcome}")
            return outcome

        mib, tries = least.least(told)
        if mib is None:
            raise Cannot(f"{system} captures not even with {least.MOST_MIB} MiB: {tries[-1]}")
        found[system] = mib
        remarks += [f"{system} {outcome}" for outcome in tries]
    ours = Samples(name="kdumpd", unit="MiB", values=(found["kdumpd"],), is_count=True)
    bare = Samples(name="the hand-made image", unit="MiB", values=(found["floor"],), is_count=True)
    claim = Claim(value=found["kdumpd"] - found["floor"], at_most=4, unit="MiB", of="above it:")
    return (figure("least", [claim], samples=(ours, bare), remarks=remarks),)


def _crash_by_hand(machine: Machine) -> Crash:
    # The daemon would rightly load its own image again.
    machine.sh("systemctl stop kdumpd")
    floor.arm(machine, collects=True)
    reboot = machine.crash_and_end()
    seen = floor.read_off(reboot)
    assert seen.to_collector is not None
    assert seen.to_saved is not None
    return Crash(to_collector=seen.to_collector, to_synced=seen.to_saved)


def _of(name: str, crashes: list[Crash]) -> tuple[Samples, Samples]:
    started = tuple(each.to_collector for each in crashes)
    synced = tuple(each.to_synced for each in crashes)
    return (
        Samples(name=f"{name}, crash -> collector", unit="s", values=started),
        Samples(name=f"{name}, crash -> synced", unit="s", values=synced),
    )


def _bytes(machine: Machine, path: str) -> int:
    return int(machine.sh(f"stat -L -c %s {shlex.quote(path)}"))
