"""How soon an edit is armed, what is unprotected meanwhile, and how the daemon bears a storm and a question."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from tests.bench.figures import Claim, Figure, Samples, at_most, figure, pairs, ratio
from tests.bench.systems import Say, Systems, probe

EDITS, SECONDS = 1000, 10.0
CALLS = 50
_COMMENT = "comment"
_MODULES = ("dummy", "loop", "nbd")  # each asks for a base that is not there yet


def rearm(systems: Systems, *, repeat: int, say: Say) -> tuple[Figure, ...]:
    """The rows of an edit and of the gap: edit, bare load, bare load, edit ...; then the other kinds of edit, each beside one."""
    seen: list[dict[str, Any]] = []
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with systems.kdumpd.wake() as machine:
        for number in range(max(repeat, 5) if repeat >= 3 else repeat):
            first = ("edit", "bare")[number % 2]
            seen.append(probe(machine, "rearm", f"/var/crash/edit-{number}", first, timeout=1200))
            say(
                f"edit {number + 1}: armed after {seen[-1]['said']:.2f} s, "
                f"a bare kexec -p takes {seen[-1]['bare']:.2f} s"
            )
        for number in range(repeat):
            module = _MODULES[number % len(_MODULES)]
            told = probe(machine, "reconfigure", f"kinds-{number}", module, timeout=2400)
            for kind, each in told.items():
                kinds[kind].append(each)
            say(f"kinds of edits, round {number + 1}: nothing loaded for {_told(told)}")
    kinds["path"] += seen
    said = _samples("edit -> armed", seen, "said")
    bare = _samples(f"bare kexec -p {' '.join(seen[0]['flags'])}", seen, "bare")
    in_pairs = pairs(said, bare, name="edit -> armed, against the bare load beside it")
    stages = (
        _samples(f"edit -> said to be {activity}", seen, activity)
        for activity in ("settling", "building", "verifying", "loading")
        if all(activity in each for each in seen)
    )
    samples = (in_pairs, said, bare, *stages, _samples("edit -> loaded", seen, "loaded"))
    of_medians = f"of the two medians, not of pairs: {said.median / bare.median:.2f} x"
    return (
        figure("rearm", [at_most(in_pairs, 1.5)], samples=samples, remarks=(of_medians,)),
        _gap(kinds),
    )


def _gap(kinds: dict[str, list[dict[str, Any]]]) -> Figure:
    """A reconfiguration's gap is the sum over its loads, of which there should be one.

    Against the very call that caused it, and against a bare load right beside it: the one shows that nothing but the call
    leaves the machine without a crash kernel, the other that kdumpd does not make the call longer.
    """
    comment = Samples(
        name="a comment", unit="s", values=tuple(sum(each["gaps"]) for each in kinds[_COMMENT]), is_count=True
    )
    samples: list[Samples] = []
    beside: list[Samples] = []
    of_own: list[float] = []
    for kind, each in sorted(kinds.items()):
        if kind == _COMMENT:
            continue
        gaps = Samples(name=f"{kind}: gap", unit="s", values=tuple(sum(one["gaps"]) for one in each))
        calls = Samples(
            name=f"{kind}: its load call", unit="s", values=tuple(max(one["calls"]) for one in each)
        )
        bare = _samples(f"{kind}: the bare load beside it", each, "bare")
        beside.append(pairs(gaps, bare, name=f"{kind}: gap, against the bare load beside it"))
        of_own += pairs(gaps, calls, name=kind).values
        samples += [beside[-1], gaps, calls, bare]
    worst = max(beside, key=lambda ratios: ratios.median)
    whole = Samples(
        name="all kinds", unit="x", values=tuple(value for ratios in beside for value in ratios.values)
    )
    claims = (
        Claim(
            value=max(of_own),
            at_most=1.1,
            unit="x",
            of="the longest, against its own load call:",
            is_settled=whole.is_enough,
        ),
        at_most(worst, 1.1, of=f"the median of pairs with a bare load ({worst.name.partition(':')[0]}):"),
        Claim(value=max(comment.values), at_most=0, unit="s", of="a comment"),
    )
    loads = "; ".join(
        f"{kind} {', '.join(str(len(one['gaps'])) for one in each)}" for kind, each in sorted(kinds.items())
    )
    remarks = (
        f"all pairs with a bare load: {whole}",
        f"loads in each: {loads}",
    )
    return figure("gap", claims, samples=(*samples, comment), remarks=remarks)


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


def _told(kinds: dict[str, dict[str, Any]]) -> str:
    return ", ".join(
        f"{sum(each['gaps']):.2f} s in {len(each['gaps'])} loads ({kind})" for kind, each in kinds.items()
    )
