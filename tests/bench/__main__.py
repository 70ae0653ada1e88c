"""`make bench`: measures kdumpd beside kdump-tools and a hand-made image, and writes docs/BENCHMARKS.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import comparing, rearming
from tests.bench.figures import TITLES, Figure, not_measured
from tests.bench.page import page
from tests.bench.systems import Systems, prepare
from tests.bench.versions import versions
from tests.vm.build import package_under_test
from tests.vm.requirements import Cannot

_BEGUN = time.monotonic()
_PAGE = Path(__file__).parents[2] / "docs" / "BENCHMARKS.md"

Measure = Callable[[Systems, argparse.Namespace], tuple[Figure, ...]]

PARTS: dict[str, tuple[tuple[str, ...], Measure]] = {
    "rearm": (("rearm", "gap"), lambda both, asked: rearming.rearm(both, repeat=asked.repeat, say=_say)),
    "burst": (("burst",), lambda both, asked: rearming.burst(both, repeat=asked.repeat, say=_say)),
    "status": (("status",), lambda both, asked: rearming.status(both, repeat=asked.repeat, say=_say)),
    "build": (("build", "size"), lambda both, asked: comparing.build(both, repeat=asked.repeat, say=_say)),
    "crash": (
        ("collector", "synced", "floor"),
        lambda both, asked: comparing.crash(both, repeat=asked.repeat, say=_say),
    ),
    "least": (("least",), lambda both, _: comparing.reservation(both, say=_say)),
    "idle": (
        ("wakeups", "memory"),
        lambda both, asked: rearming.rest(both, seconds=60 if asked.quick else 600, say=_say),
    ),
}
"""What can be asked for by name: the rows it measures, and how."""

UNTIMED = ("least", "idle")
"""Counted or tried, not timed: these are done at once, when all that is timed is over."""

_OWN_LOAD = 4.0
"""What a machine of two processors and the one before it leave in the load average of the last minute, generously."""


def main(argv: list[str] | None = None) -> int:
    """0 when all that was asked for was measured, whether the targets are met or not; else 1."""
    asking = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    asking.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    asking.add_argument("--without", nargs="+", choices=PARTS, metavar="PART", default=[])
    asking.add_argument(
        "--repeat", type=int, default=3, help="how often each thing is done; fewer than 3 settle nothing"
    )
    asking.add_argument(
        "--quick", action="store_true", help="once, idle for a minute, without `least`: does it all work?"
    )
    asking.add_argument("--page", type=Path, default=_PAGE, help="where the results are written")
    asked = asking.parse_args(argv)
    asked.repeat = 1 if asked.quick else max(1, asked.repeat)
    try:
        both = prepare(_package(), say=_say)
        told = versions(both)
    except (Cannot, AssertionError) as problem:
        print(f"\nNothing can be measured: {problem}", file=sys.stderr)
        return 1
    left_out = {*asked.without, *(("least",) if asked.quick else ())}
    wanted = [part for part in asked.only or PARTS if part not in left_out]
    run = _Run(both, asked, told, wanted)
    for part in wanted:
        if part not in UNTIMED:
            run.measure(part)
    with ThreadPoolExecutor() as at_once:
        list(at_once.map(run.measure, [part for part in wanted if part in UNTIMED]))
    run.write()
    print(f"\n{asked.page.read_text()}")
    _say(f"written to {asked.page}")
    return 1 if run.failed else 0


class _Run:
    """What was measured so far, on the page from the first part on: a run that is interrupted leaves what it has."""

    def __init__(
        self, both: Systems, asked: argparse.Namespace, told: dict[str, str], wanted: list[str]
    ) -> None:
        self._both = both
        self._asked = asked
        self._told = told
        self._wanted = wanted
        self._found = {key: not_measured(key, "left out of this run") for key in TITLES}
        for part in wanted:
            self._found |= {row: not_measured(row, "the run did not come so far") for row in PARTS[part][0]}
        self._load = 0.0
        self.failed: list[str] = []

    def measure(self, part: str) -> None:
        rows, measure = PARTS[part]
        if part not in UNTIMED:
            self._load = max(self._load, os.getloadavg()[0])
        _say(f"== {part}: {'; '.join(TITLES[row][0] for row in rows)}")
        try:
            self._found |= {figure.key: figure for figure in measure(self._both, self._asked)}
        except (Cannot, AssertionError, OSError, ValueError, LookupError) as problem:
            print(f"{part} could not be measured: {problem}", file=sys.stderr)
            self._found |= {row: not_measured(row, f"{type(problem).__name__}: {problem}") for row in rows}
            self.failed.append(part)
        self.write()

    def write(self) -> None:
        text = page(
            self._found.values(),
            when=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            minutes=(time.monotonic() - _BEGUN) / 60,
            versions=self._told,
            notes=self._notes(),
        )
        self._asked.page.write_text(text)

    def _notes(self) -> list[str]:
        notes = []
        if set(self._wanted) != set(PARTS):
            notes.append(f"Only a part was run: {', '.join(self._wanted)}.")
        if self._asked.repeat < 3:
            notes.append(f"Each thing was done {self._asked.repeat} time(s), which settles nothing.")
        if self._load > _OWN_LOAD:
            notes.append(
                f"This host had other work besides: its load average was up to {self._load:.1f} when a part began, "
                "so that even ratios are to be taken with care."
            )
        return notes


def _package() -> Path:
    package = package_under_test()
    if package is None:
        raise Cannot("KDUMPD_DEB does not name a package: run `make bench`, which builds it")
    return package


def _say(text: str) -> None:
    minutes, seconds = divmod(int(time.monotonic() - _BEGUN), 60)
    print(f"[{minutes:2}:{seconds:02}] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
