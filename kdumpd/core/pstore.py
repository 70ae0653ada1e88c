"""Which records of the firmware's store (pstore) tell of the same crash as a dump: by its words, and by the time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kdumpd.core.dumps import Dump

NEAR_US = 120_000_000
"""Two clocks that tell of one crash differ by less; and so do the parts of one record."""
LATER_US = 86_400_000_000
"""A record may bear the time at which the next boot copied it, which comes after the capture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PstoreRecord:
    """A file of pstore, or the copy that systemd-pstore made; `reason` and `call_trace` as they are told of a dump."""

    path: str
    modified_us: int
    reason: str
    call_trace: str

    @property
    def has_words(self) -> bool:
        return bool(self.reason or self.call_trace)


def joined(dumps: Iterable[Dump], records: Sequence[PstoreRecord]) -> Mapping[str, tuple[str, ...]]:
    """Paths of the records, by the id of the dump that tells of the same crash; one record belongs to one dump at most.

    First those that name the same crash with the same words or the same call trace; then what lies beside such a record
    and is as old, for a long record has parts; then what was written when the machine crashed.
    """
    in_time = sorted(dumps, key=lambda dump: (dump.time_us, dump.id))
    owner: dict[str, Dump] = {}
    silent: list[PstoreRecord] = []
    for record in records:
        same = [dump for dump in in_time if _is_same(dump, record)]
        if same:
            owner[record.path] = same[-1]
        else:
            silent.append(record)
    told = {record.path: record for record in records if record.path in owner}
    for record in silent:
        beside = [
            path
            for path, other in told.items()
            if _folder(path) == _folder(record.path)
            and not record.has_words
            and abs(other.modified_us - record.modified_us) <= NEAR_US
        ]
        near = [dump for dump in in_time if abs(dump.time_us - record.modified_us) <= NEAR_US]
        if beside:
            owner[record.path] = owner[beside[0]]
        elif near:
            owner[record.path] = min(near, key=lambda dump: abs(dump.time_us - record.modified_us))
    found: dict[str, list[str]] = defaultdict(list)
    for path, dump in owner.items():
        found[dump.id].append(path)
    return {identity: tuple(sorted(paths)) for identity, paths in found.items()}


def _is_same(dump: Dump, record: PstoreRecord) -> bool:
    """A record of an oops knows nothing of the panic that came after it, but has the call trace of both."""
    has_same_words = bool(record.reason) and record.reason == dump.reason
    has_same_trace = bool(record.call_trace) and record.call_trace == dump.call_trace
    return (has_same_words or has_same_trace) and -NEAR_US <= record.modified_us - dump.time_us <= LATER_US


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
