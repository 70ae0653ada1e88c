"""Crashes machines at random moments of continuous reconfiguration, and tells of each what became of its dump.

A crash inside the load call cannot be captured: there the kernel has freed the old image and not yet taken the new one.
Which ones these are is read from the kernel's own memory, the machine standing still (tests.vm.kexec_state).
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.vm.build import image, package_under_test
from tests.vm.channel import Gone, NoAnswer, Refused
from tests.vm.frozen import freeze, idle_and_armed
from tests.vm.ordeal import FAULTS, Fate, Outcome, await_nmi, endure, ready
from tests.vm.requirements import Cannot
from tests.vm.store import cache
from tests.vm.unrest import LONGEST, Plan, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.vm.frozen import Frozen
    from tests.vm.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    plan: Plan
    outcome: Outcome | None  # None where it did not come to a crash, or not to its end
    trouble: str = ""
    seconds: float

    @property
    def is_bad(self) -> bool:
        return self.outcome is None or self.outcome.fate in FAULTS


def main() -> int:
    """0 where each dump was saved whole or could not be; 1 where one is missing or a machine was of no use."""
    asked = _arguments()
    package = package_under_test()
    if package is None:
        print("KDUMPD_DEB does not name a package: run `make chaos`, which builds it", file=sys.stderr)
        return 1
    print(f"seed {asked.seed}", flush=True)
    try:
        frozen = freeze(image(package=package, say=_say), say=_say, ready=_awaiting, means="awaiting an NMI")
    except (Cannot, AssertionError) as problem:
        print(problem, file=sys.stderr)
        return 1
    plans = [plan(asked.seed, number, longest=asked.longest) for number in _numbers(asked)]
    rows = []
    began = time.monotonic()
    for each in plans:
        if asked.minutes and time.monotonic() - began > asked.minutes * 60:
            print(f"the time is over: {each.number} and those after it are not crashed", flush=True)
            break
        rows.append(_crash(frozen, each))
        print(_told(rows[-1]), flush=True)
    _tell(rows)
    return 1 if any(row.is_bad for row in rows) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="what all is made of")
    parser.add_argument("--crashes", type=int, default=30)
    parser.add_argument("--only", metavar="K[-L]", default="", help="these of them again")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin none later than that; 0: any time")
    parser.add_argument("--longest", type=float, default=LONGEST, help="seconds until the last crash")
    return parser.parse_args()


def _numbers(asked: argparse.Namespace) -> Sequence[int]:
    if not asked.only:
        return range(1, asked.crashes + 1)
    first, _, last = asked.only.partition("-")
    return range(int(first), int(last or first) + 1)


def _awaiting(machine: Machine) -> None:
    idle_and_armed(machine)
    await_nmi(machine)


def _crash(frozen: Frozen, each: Plan) -> Row:
    began = time.monotonic()
    logs = cache() / "logs"
    logs.mkdir(exist_ok=True)
    outcome, trouble = None, ""
    log = logs / f"chaos-{each.seed}-{each.number}.log"
    try:
        with frozen.wake(log=log) as machine:
            ready(machine, each)
            outcome = endure(machine, each)
    except (Cannot, Gone, NoAnswer, Refused, AssertionError) as problem:
        trouble = str(problem)
    if outcome is not None and outcome.console:
        print("\n".join(("", *outcome.console, f"the whole of it: {log}")), flush=True)
    return Row(plan=each, outcome=outcome, trouble=trouble, seconds=time.monotonic() - began)


def _told(row: Row) -> str:
    each, outcome = row.plan, row.outcome
    head = f"{each.number:3}  {each.crash_after:5.2f} s  full: {each.room:6}"
    if outcome is None:
        return f"{head}  NOT CRASHED  {row.trouble}"
    state = str(outcome.before) if outcome.after is None else f"{outcome.before} -> {outcome.after}"
    return "\n".join(
        (
            f"{head}  {outcome.fate.upper()}  [{state}]  {outcome.found or '-'}  ({row.seconds:.0f} s)",
            *((f"     why:  {outcome.why}",) if outcome.why else ()),
            f"     step: {outcome.last_step[:140]}",
            f"     said: {outcome.last_word[:140]}",
        )
    )


def _tell(rows: Sequence[Row]) -> None:
    print(f"\n seed {rows[0].plan.seed}, {len(rows)} crashes")
    for row in rows:
        print(_told(row))
    fates = Counter(row.outcome.fate if row.outcome is not None else None for row in rows)
    print()
    for fate in (*Fate, None):
        if fates[fate]:
            print(f"{fates[fate]:4}  {fate or 'not crashed'}")


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
