"""How soon an edit is armed, what is unprotected meanwhile, and how the daemon bears a storm and a question."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from tests.bench.figures import Claim, Figure, Samples, at_most, figure, ratio
from tests.bench.systems import Say, Systems, probe

EDITS, SECONDS = 1000, 10.0
CALLS = 50
_COMMENT = "comment"
_MODULES = ("dummy", "loop", "nbd")  # each asks for a base that is not there yet


def rearm(systems: Systems, *, repeat: int, say: Say) -> tuple[Figure, ...]:
    """The rows of an edit and of the gap: edit, bare load, edit, bare load; then the other kinds of edit."""
    seen: list[dict[str, Any]] = []
    gaps: dict[str, list[list[float]]] = defaultdict(list)
    with systems.kdumpd.wake() as machine:
        for number in range(max(repeat, 5) if repeat >= 3 else repeat):
            seen.append(probe(machine, "rearm", f"/var/crash/edit-{number}"))
            say(
                f"edit {number + 1}: armed after {seen[-1]['said']:.2f} s, "
                f"a bare kexec -p takes {seen[-1]['bare']:.2f} s"
            )
        for number in range(repeat):
            for kind, each in probe(
                machine, "reconfigure", f"kinds-{number}", _MODULES[number % len(_MODULES)]
            ).items():
                gaps[kind].append(each)
            say(f"kinds of edits, round {number + 1}: nothing loaded for {_told(gaps)}")
    gaps["path"] += [each["gaps"] for each in seen]
    said = _samples("edit -> armed", seen, "said")
    bare = _samples(f"bare kexec -p {' '.join(seen[0]['flags'])}", seen, "bare")
    edits = (
        said,
        bare,
        *(
            _samples(f"edit -> said to be {activity}", seen, activity)
            for activity in ("building", "loading")
            if all(activity in each for each in seen)
        ),
        _samples("edit -> loaded", seen, "loaded"),
        _samples("bare kexec -p -s", seen, "bare_s"),
    )
    return (
        figure("rearm", [ratio(said, bare, at_most=1.5)], samples=edits),
        _gap(gaps, bare, Samples(name="gap of the bare load", unit="s", values=_values(seen, "bare_gap"))),
    )


def _gap(gaps: dict[str, list[list[float]]], bare: Samples, bare_gap: Samples) -> Figure:
    """A reconfiguration's gap is the sum over its loads, of which there should be one."""
    kinds = [
        Samples(name=kind, unit="s", values=tuple(map(sum, each)), is_count=kind == _COMMENT)
        for kind, each in sorted(gaps.items())
    ]
    longest = max(value for kind in kinds for value in kind.values if kind.name != _COMMENT)
    comment = next(kind for kind in kinds if kind.name == _COMMENT)
    claims = (
        Claim(
            value=longest / bare.median,
            at_most=1.1,
            unit="x",
            of="the longest of all",
            is_settled=bare.is_enough,
        ),
        Claim(value=max(comment.values), at_most=0, unit="s", of="a comment"),
    )
    loads = "; ".join(
        f"{kind} {', '.join(str(len(each)) for each in seen)}" for kind, seen in sorted(gaps.items())
    )
    return figure("gap", claims, samples=(*kinds, bare, bare_gap), remarks=(f"loads in each: {loads}",))


def burst(systems: Systems, *, repeat: int, say: Say) -> tuple[Figure, ...]:
    """The row of the thousand edits; counts of kernel-side loads, so that once is enough, but it is done `repeat` times."""
    seen: list[dict[str, Any]] = []
    for number in range(repeat):
        with systems.kdumpd.wake() as machine:
            seen.append(probe(machine, "burst", EDITS, SECONDS))
        say(
            f"storm {number + 1}: {seen[-1]['loads']} loads, the last edit armed {seen[-1]['armed_after']:.1f} s later"
        )
    loads = Samples(name="loads", unit="loads", values=_values(seen, "loads"), is_count=True)
    most = Claim(value=max(loads.values), at_most=20, unit="loads", of="at the most")
    wrong = Claim(
        value=sum(not each["last"] for each in seen),
        at_most=0,
        unit="times",
        of="another than the last edit armed:",
    )
    samples = (
        loads,
        _samples(f"time that {EDITS} edits took", seen, "took"),
        _samples("last edit -> armed", seen, "armed_after"),
    )
    return (figure("burst", [most, wrong], samples=samples),)


def status(systems: Systems, *, repeat: int, say: Say) -> tuple[Figure, ...]:
    """The row of a question while a build runs."""
    idle: list[Samples] = []
    building: list[Samples] = []
    with systems.kdumpd.wake() as machine:
        for number in range(repeat):
            seen = probe(machine, "status", CALLS)
            for kept, name in ((idle, "idle"), (building, "building")):
                milliseconds = tuple(1000 * seconds for seconds in seen[name])
                kept.append(Samples(name=f"{name}, round {number + 1}", unit="ms", values=milliseconds))
            say(
                f"GetAll, round {number + 1}: idle {idle[-1].median:.1f} ms, building {building[-1].median:.1f} ms"
            )
    at_rest, at_work = (
        Samples(name=f"medians of the rounds, {name}", unit="ms", values=tuple(each.median for each in kept))
        for name, kept in (("idle", idle), ("building", building))
    )
    calls = ", ".join(str(len(each.values)) for each in building)
    slowest = max(value for each in building for value in each.values)
    return (
        figure(
            "status",
            [ratio(at_work, at_rest, at_most=2)],
            samples=(at_rest, at_work),
            remarks=(f"calls in each build: {calls} (idle: {CALLS}); the slowest took {slowest:.0f} ms",),
        ),
    )


def rest(systems: Systems, *, seconds: float, say: Say) -> tuple[Figure, ...]:
    """The rows of the daemon at rest, one minute after its machine woke."""
    with systems.kdumpd.wake() as machine:
        machine.sh("sleep 60", timeout=120)
        seen = probe(machine, "idle", seconds, timeout=seconds + 120)
    woken, mib = seen["woken"], seen["kib"] / 1024
    say(f"{sum(woken.values())} wake-ups in {seconds:.0f} s, {mib:.1f} MiB")
    wakeups = Samples(name="context switches", unit="", values=(sum(woken.values()),), is_count=True)
    memory = Samples(name="VmRSS", unit="MiB", values=(mib,), is_count=True)
    tasks = ", ".join(f"{task.rpartition(' ')[0]} {count}" for task, count in woken.items())
    claims = [at_most(wakeups, 30)]
    resting = figure(
        "wakeups", claims, samples=(wakeups,), remarks=(f"by task: {tasks}", f"in {seconds:.0f} s")
    )
    if seconds < 600:
        resting = replace(resting, claims=(), missing=f"counted for {seconds:.0f} s only")
    return resting, figure("memory", [at_most(memory, 40)], samples=(memory,))


def _samples(name: str, seen: list[dict[str, Any]], key: str) -> Samples:
    return Samples(name=name, unit="s", values=_values(seen, key))


def _values(seen: list[dict[str, Any]], key: str) -> tuple[float, ...]:
    return tuple(float(each[key]) for each in seen)


def _told(gaps: dict[str, list[list[float]]]) -> str:
    return ", ".join(
        f"{sum(each[-1]):.2f} s in {len(each[-1])} loads ({kind})" for kind, each in gaps.items()
    )
