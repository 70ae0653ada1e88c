"""Which dumps the rules of retention let go, and why; never the newest that tells of a crash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core.dumps import Dump

DAY_US = 86_400_000_000
EARLIEST_US = 1_262_304_000_000_000
"""2010: no kernel crashed before with us about, but a clock without a battery says so."""
MOST_AT_ONCE = 1000
"""Dumps that one pass lets go at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be kept; 0 is no limit."""

    count: int = 0
    days: int = 0
    free_bytes: int = 0
    total_bytes: int = 0

    @property
    def are_set(self) -> bool:
        return bool(self.count or self.days or self.free_bytes or self.total_bytes)


NO_LIMITS = Limits()


class Rule(StrEnum):
    """Which setting of kdumpd.toml lets a dump go."""

    COUNT = "keep_count"
    DAYS = "keep_days"
    TOTAL = "keep_total_bytes"
    FREE = "keep_free_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A dump that lies here, on which file system ("major:minor"), and whether somebody reads it now."""

    dump: Dump
    file_system: str
    is_read: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    dump: Dump
    rule: Rule
    why: str


def is_ours_to_remove(dump: Dump) -> bool:
    """A directory of this machine that a capture of ours wrote: it has a summary.json that can be read."""
    return bool(dump.folder) and dump.is_ours


def has_known_time(dump: Dump, *, now_us: int) -> bool:
    """Whether its time can be what it says: not from before there was kdumpd, nor from the future."""
    return EARLIEST_US <= dump.time_us <= now_us


def to_remove(
    kept: Iterable[Kept],
    limits: Limits,
    *,
    free_bytes: Mapping[str, int],
    now_us: int,
    new: AbstractSet[str] = frozenset(),
) -> tuple[Removal, ...]:
    """The oldest first. What counts is what a capture of ours wrote; what else lies there is as if it were not.

    Kept whatever the limits say: the newest good dump, the newest of all where that one is not good, what is being
    read, and `new`, the ids of those that were found just now. A dump whose time cannot be takes the place of no newest
    one, and is never too old: it may be a clock that is wrong, the present one too. `free_bytes` is what each file system has free now; one that is not told
    of has enough.
    """
    ours = sorted(
        (each for each in kept if is_ours_to_remove(each.dump)),
        key=lambda each: (each.dump.time_us, each.dump.id),
    )
    believed = [each for each in ours if has_known_time(each.dump, now_us=now_us)]
    spared = {*new, *_spared(ours), *_spared(believed)}
    count, total = len(ours), sum(each.dump.files_bytes for each in ours)
    gained: dict[str, int] = defaultdict(int)
    removals: list[Removal] = []
    for each in ours:
        if each.dump.id in spared or each.is_read:
            continue
        dump, size = each.dump, each.dump.files_bytes
        age_us = now_us - dump.time_us
        free = free_bytes.get(each.file_system)
        rule: Rule | None = None
        if limits.count and count > limits.count:
            rule, why = Rule.COUNT, f"there are {count} dumps, and {limits.count} are to be kept"
        elif limits.days and age_us > limits.days * DAY_US and has_known_time(dump, now_us=now_us):
            rule = Rule.DAYS
            why = f"it is {age_us // DAY_US} days old, and dumps are to be kept for {limits.days}"
        elif limits.total_bytes and total > limits.total_bytes:
            rule = Rule.TOTAL
            why = f"all dumps take {total} bytes, and are to take {limits.total_bytes} at most"
        elif limits.free_bytes and free is not None and free + gained[each.file_system] < limits.free_bytes:
            rule = Rule.FREE
            why = f"{free + gained[each.file_system]} bytes are free, and {limits.free_bytes} are to be kept free"
        else:
            continue
        count, total = count - 1, total - size
        gained[each.file_system] += size
        removals.append(Removal(dump=dump, rule=rule, why=why))
        if len(removals) == MOST_AT_ONCE:
            break
    return tuple(removals)


def _spared(ours: list[Kept]) -> Iterator[str]:
    """Of those that lie in order: the newest good one, and the newest."""
    if ours:
        yield ours[-1].dump.id
    good = [each.dump.id for each in ours if each.dump.is_complete]
    if good:
        yield good[-1]
