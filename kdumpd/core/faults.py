"""Steps that failed, and when each is to be tried again: later each time, and at once when its cause is another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kdumpd.core.problems import Problem
from kdumpd.core.storing import UNKNOWN_ROOM, Room, is_mended

FIRST_DELAY_US = 2_000_000
LONGEST_DELAY_US = 600_000_000
PAUSE_US = 30_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A step that failed `count` times in a row and is not to be tried before `not_before_us` (since epoch)."""

    count: int
    not_before_us: int
    problems: tuple[Problem, ...]
    failed_us: int = 0
    room: Room = UNKNOWN_ROOM  # of the store when the step had failed

    def is_over(self, *, room: Room, now_us: int) -> bool:
        """Its cause has gone: nobody needs to wait for the time of the next try.

        Not at once after the failure: some file systems give back what was removed only by and by.
        """
        return now_us >= self.failed_us + PAUSE_US and any(
            is_mended(problem.code, before=self.room, now=room) for problem in self.problems[:1]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Faults by the key of the step that failed."""

    known: Mapping[str, Fault]

    def of(self, key: str) -> Fault | None:
        return self.known.get(key)

    def are_over(self, *, room: Room, now_us: int) -> bool:
        """The cause of one of them has gone."""
        return any(fault.is_over(room=room, now_us=now_us) for fault in self.known.values())

    def failed(
        self, key: str, problems: tuple[Problem, ...], *, now_us: int, room: Room = UNKNOWN_ROOM
    ) -> Faults:
        """One more failure: 2 s, 4 s, 8 s ... up to 10 minutes until the next try."""
        before = self.known.get(key)
        count = before.count + 1 if before is not None else 1
        delay = min(FIRST_DELAY_US << min(count - 1, 20), LONGEST_DELAY_US)
        fault = Fault(
            count=count, not_before_us=now_us + delay, problems=problems, failed_us=now_us, room=room
        )
        return self._with(key, fault)

    def put_off(self, key: str, problem: Problem, *, now_us: int) -> Faults:
        """Not to be tried for the longest time, although it did not fail: somebody wished so."""
        fault = Fault(count=1, not_before_us=now_us + LONGEST_DELAY_US, problems=(problem,))
        return self._with(key, fault)

    def mended(self, key: str) -> Faults:
        return self.only(self.known.keys() - {key})

    def only(self, keys: Iterable[str]) -> Faults:
        kept = frozenset(keys)
        return Faults(
            known=MappingProxyType({key: fault for key, fault in self.known.items() if key in kept})
        )

    def _with(self, key: str, fault: Fault) -> Faults:
        return Faults(known=MappingProxyType({**self.known, key: fault}))


NO_FAULTS = Faults(known=MappingProxyType({}))
