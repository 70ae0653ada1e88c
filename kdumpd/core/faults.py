"""Steps that failed, and when each is to be tried again: later each time, and at once when its cause is another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kdumpd.core.problems import Problem

FIRST_DELAY_US = 2_000_000
LONGEST_DELAY_US = 600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A step that failed `count` times in a row and is not to be tried before `not_before_us` (since epoch)."""

    count: int
    not_before_us: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Faults by the key of the step that failed."""

    known: Mapping[str, Fault]

    def of(self, key: str) -> Fault | None:
        return self.known.get(key)

    def failed(self, key: str, problems: tuple[Problem, ...], *, now_us: int) -> Faults:
        """One more failure: 2 s, 4 s, 8 s ... up to 10 minutes until the next try."""
        before = self.known.get(key)
        count = before.count + 1 if before is not None else 1
        delay = min(FIRST_DELAY_US << min(count - 1, 20), LONGEST_DELAY_US)
        return self._with(key, Fault(count=count, not_before_us=now_us + delay, problems=problems))

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
