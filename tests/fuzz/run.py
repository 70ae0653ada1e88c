"""One run: so many calls, from root and from nobody, steadily, all at once, by callers that leave, and by deaf ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from kdumpd.service.bus import Client
from kdumpd.service.permissions import LOG_CONTROL_PATH, MANAGER, ROOT
from tests.fuzz.attack import Attack, Shot, surface
from tests.fuzz.caller import ANSWERED, Caller
from tests.service.private_bus import NOBODY

AT_ONCE = 10_000
"""Calls that are sent together; fewer in a run of fewer than twenty times so many."""
_EACH = 100
_DEAF_MOST = 8
_PROBED_EVERY = 0.2  # seconds
_HUGE_MOST = 6


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of the calls."""

    seed: int
    sent: int = 0
    """Messages, of which some want no answer."""
    outcomes: Mapping[int, Counter[str]] = field(default_factory=lambda: {0: Counter(), NOBODY: Counter()})
    """By uid: `answered`, or the last word of the error's name."""
    abandoned: int = 0
    """Calls whose caller left before the answer."""
    unread: int = 0
    """Calls whose caller never read its answers."""
    cut_off: int = 0
    """Connections that the bus ended."""
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    """Seconds that root waited for the state meanwhile."""

    def __str__(self) -> str:
        lost = f"{self.abandoned} abandoned, {self.unread} never read, {self.cut_off} connections cut off by the bus"
        lines = [f"seed {self.seed}: {self.sent} messages in {self.seconds:.0f} s, {lost}"]
        for uid, counted in self.outcomes.items():
            told = ", ".join(f"{count} {name}" for name, count in counted.most_common())
            lines.append(f"uid {uid}: {told}")
        waits = sorted(self.waits)
        lines.append(
            f"root asked {len(waits)} times for the state meanwhile: "
            f"median {1000 * waits[len(waits) // 2]:.0f} ms, longest {1000 * waits[-1]:.0f} ms"
        )
        return "\n".join(lines)

    @property
    def answered(self) -> int:
        return sum(counted[ANSWERED] for counted in self.outcomes.values())


class Run:
    def __init__(self, address: str, client: Client, *, seed: int, calls: int) -> None:
        self._address = address
        self._client = client
        self._random = Random(seed)  # noqa: S311 - the same each time
        self._calls = calls
        self._deaf: list[Caller] = []
        self._huge = 0
        self.report = Report(seed=seed)

    async def __call__(self) -> Report:
        """Raises TimeoutError where a call that is waited for stays without an answer."""
        attack = Attack(self._random, await surface(self._client, ROOT, LOG_CONTROL_PATH))
        begun = time.monotonic()
        probing = asyncio.create_task(self._probe(), name="probe")
        try:
            await self._all_at_once(attack, min(AT_ONCE, self._calls // 20 // _EACH * _EACH))
            episodes = self._episodes()
            while self.report.sent < self._calls:
                assert not probing.done(), "the daemon stopped answering root"
                await next(episodes)(attack)
        finally:
            probing.cancel()
            await asyncio.wait({probing})
            for caller in self._deaf:
                self.report.unread += len(caller.waiting)
                await caller.close()
        if not probing.cancelled() and (fault := probing.exception()) is not None:
            raise fault
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _episodes(self) -> Iterator[Callable[[Attack], Awaitable[None]]]:
        """Each once, and then by chance for ever."""
        episodes = {
            self._steadily: 55,
            self._some_at_once: 5,
            self._and_gone: 10,
            self._deaf_to_answers: 10,
            self._with_noise: 10,
            self._huge_ones: 10,
        }
        yield from episodes
        while True:
            yield self._random.choices(tuple(episodes), weights=tuple(episodes.values()))[0]

    async def _probe(self) -> None:
        while True:
            asked = time.monotonic()
            await self._client.get(ROOT, MANAGER, "State")
            self.report.waits.append(time.monotonic() - asked)
            await asyncio.sleep(_PROBED_EVERY)

    def _uid(self) -> int:
        """Root more often: nobody is refused for the mere number of calls after a while, and root never is."""
        return self._random.choice((os.getuid(), os.getuid(), NOBODY))

    @contextlib.asynccontextmanager
    async def _caller(self, uid: int) -> AsyncIterator[Caller]:
        caller = Caller(self._address, uid=uid)
        await caller.connect()
        try:
            yield caller
        finally:
            self._note(caller)
            await caller.close()

    def _note(self, caller: Caller) -> None:
        self.report.outcomes[caller.uid].update(caller.outcomes)
        self.report.abandoned += len(caller.waiting)
        self.report.cut_off += caller.is_cut_off

    async def _shoot(self, caller: Caller, shot: Shot) -> None:
        serial = caller.next_serial()
        self.report.sent += 1
        await caller.send(shot.octets(serial), label=shot.label, serial=serial if shot.wants_answer else 0)

    async def _steadily(self, attack: Attack) -> None:
        async with self._caller(self._uid()) as caller:
            for _ in range(_EACH):
                await self._shoot(caller, attack.shot())
            await caller.until_at_most(0)

    async def _some_at_once(self, attack: Attack) -> None:
        await self._all_at_once(attack, 20 * _EACH)

    async def _all_at_once(self, attack: Attack, count: int) -> None:
        """Each of many callers has as many calls out as the bus lets it have."""
        shots = [attack.shot() for _ in range(count)]
        async with contextlib.AsyncExitStack() as stack:
            callers = [
                await stack.enter_async_context(self._caller(self._uid())) for _ in range(0, count, _EACH)
            ]

            async def all_of(place: int, caller: Caller) -> None:
                for shot in shots[place * _EACH : (place + 1) * _EACH]:
                    await self._shoot(caller, shot)
                await caller.until_at_most(0)

            await asyncio.gather(*(all_of(place, caller) for place, caller in enumerate(callers)))

    async def _and_gone(self, attack: Attack) -> None:
        async with self._caller(self._uid()) as caller:
            for _ in range(self._random.randint(1, _EACH - 1)):
                await self._shoot(caller, attack.shot())

    async def _deaf_to_answers(self, attack: Attack) -> None:
        if len(self._deaf) >= _DEAF_MOST:
            return
        caller = Caller(self._address, uid=self._uid())
        await caller.connect(reads=False)
        self._deaf.append(caller)
        for _ in range(_EACH - 2):
            await self._shoot(caller, attack.shot())

    async def _with_noise(self, attack: Attack) -> None:
        async with self._caller(self._uid()) as caller:
            await self._shoot(caller, attack.shot())
            await caller.send(attack.noise(), label="noise")
            self.report.sent += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):  # to be cut off; some noise is a message after all
                    await caller.until_at_most(-1)

    async def _huge_ones(self, attack: Attack) -> None:
        if self._huge >= _HUGE_MOST:
            return
        self._huge += 1
        async with self._caller(self._uid()) as caller:
            await self._shoot(caller, attack.huge())
            await caller.until_at_most(0)
