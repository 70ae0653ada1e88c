"""Knows what is measured: samples, their medians, the claims made of them, and whether a claim is met."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

FEWEST = 3
"""A median of fewer repetitions decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What was seen, in the order in which it was seen; never empty."""

    name: str
    unit: str  # "s", "MB", "MiB", "ms" or "" for counts
    values: tuple[float, ...]
    is_count: bool = False
    """Counted and not timed: one is enough."""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.name}: nothing was seen")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def is_enough(self) -> bool:
        return self.is_count or len(self.values) >= FEWEST

    def __str__(self) -> str:
        if len(self.values) == 1:
            return self._told(self.values[0])
        return f"{self._told(self.median)} ({self._told(min(self.values))} to {self._told(max(self.values))})"

    def _told(self, value: float) -> str:
        return f"{number(value)} {self.unit}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That `value` is `at_most` so much; `unit` is "x" for a ratio."""

    value: float
    at_most: float
    unit: str
    of: str = ""  # what the value is, where a row claims more than one thing
    is_settled: bool = True  # seen often enough to say so

    @property
    def is_met(self) -> bool:
        return self.value <= self.at_most

    @property
    def found(self) -> str:
        return f"{self.of} {number(self.value)} {self.unit}".strip()

    @property
    def verdict(self) -> str:
        if not self.is_settled:
            return f"open: fewer than {FEWEST} repetitions"
        if self.is_met:
            return "met"
        over = f", by {100 * (self.value / self.at_most - 1):.0f} %" if self.at_most else ""
        return f"missed{over}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table. Without claims it was not measured, and `missing` says why."""

    key: str
    title: str
    target: str
    claims: tuple[Claim, ...] = ()
    samples: tuple[Samples, ...] = ()
    remarks: tuple[str, ...] = ()
    missing: str = ""

    @property
    def is_met(self) -> bool:
        return bool(self.claims) and all(claim.is_met and claim.is_settled for claim in self.claims)


def ratio(ours: Samples, theirs: Samples, *, at_most: float, of: str = "") -> Claim:
    """Of the medians."""
    return Claim(
        value=ours.median / theirs.median,
        at_most=at_most,
        unit="x",
        of=of,
        is_settled=ours.is_enough and theirs.is_enough,
    )


def pairs(ours: Samples, theirs: Samples, *, name: str) -> Samples:
    """How many times as long each took as what was done right beside it: whatever else a host did, both met it."""
    ratios = tuple(mine / other for mine, other in zip(ours.values, theirs.values, strict=True))
    return Samples(name=name, unit="x", values=ratios)


def at_most(ours: Samples, limit: float, *, of: str = "") -> Claim:
    return Claim(value=ours.median, at_most=limit, unit=ours.unit, of=of, is_settled=ours.is_enough)


def number(value: float) -> str:
    """Three digits that count, and no exponent."""
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    whole = len(str(int(abs(value))))
    return f"{value:.{max(0, 3 - whole)}f}"


TITLES: dict[str, tuple[str, str]] = {
    "rearm": ("edit of `path` -> armed, against one bare `kexec -p` of the same image", "1.5 x"),
    "gap": (
        "time with nothing loaded during any reconfiguration, against that same load call",
        "1.1 x; 0 for a comment",
    ),
    "build": ("base build, against kdump-tools' image build", "0.10 x"),
    "size": ("capture image, plain ext4, against kdump-tools", "3.2 MB; 0.23 x"),
    "collector": ("crash -> collector starts, against kdump-tools", "0.20 x"),
    "synced": ("crash -> vmcore synced, against kdump-tools, same collector options", "0.22 x"),
    "floor": ("the same, against bare kernel boot + makedumpfile", "1.3 x"),
    "least": ("least crashkernel= that captures, above the hand-made image's", "4 MiB"),
    "wakeups": ("idle daemon: wake-ups in 10 minutes", "30"),
    "memory": ("idle daemon: resident memory", "40 MiB"),
    "burst": ("1,000 edits in 10 s", "20 loads, the last edit armed"),
    "status": ("status over D-Bus while a build runs, against idle", "2 x"),
}
"""Every row, in the order of the table."""


def figure(
    key: str,
    claims: Iterable[Claim],
    *,
    samples: Iterable[Samples] = (),
    remarks: Iterable[str] = (),
) -> Figure:
    title, target = TITLES[key]
    return Figure(
        key=key,
        title=title,
        target=target,
        claims=tuple(claims),
        samples=tuple(samples),
        remarks=tuple(remarks),
    )


def not_measured(key: str, why: str) -> Figure:
    title, target = TITLES[key]
    return Figure(key=key, title=title, target=target, missing=why)
