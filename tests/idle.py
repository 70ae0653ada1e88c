"""How often a process woke and how much memory it has, by what the kernel counts of it: for tests and benchmarks.

    python3 -m tests.idle PID [SECONDS]

A wake-up is one voluntary context switch of any of its threads: each stands for one time that it had gone to sleep. Those
that were not voluntary are told too; they say how busy the machine was, not how often the process had something to do.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    voluntary: int
    other: int
    threads: int

    def since(self, before: Switches) -> Switches:
        return Switches(
            voluntary=self.voluntary - before.voluntary,
            other=self.other - before.other,
            threads=self.threads,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """In KiB. `proportional` counts each page that others have as well by its share."""

    resident: int
    proportional: int


def switches(pid: int) -> Switches:
    """Of all threads that it has now: one that has ended took its count with it."""
    counted = [_fields(task / "status") for task in (PROC / str(pid) / "task").iterdir()]
    return Switches(
        voluntary=sum(int(each["voluntary_ctxt_switches"]) for each in counted),
        other=sum(int(each["nonvoluntary_ctxt_switches"]) for each in counted),
        threads=len(counted),
    )


def memory(pid: int) -> Memory:
    rolled = _fields(PROC / str(pid) / "smaps_rollup")
    return Memory(resident=_kib(rolled["Rss"]), proportional=_kib(rolled["Pss"]))


def _fields(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _kib(value: str) -> int:
    return int(value.removesuffix(" kB"))


def main() -> None:
    pid, seconds = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 600.0
    before = switches(pid)
    time.sleep(seconds)
    print(f"{switches(pid).since(before)} in {seconds:g} s; {memory(pid)}")


if __name__ == "__main__":
    main()
