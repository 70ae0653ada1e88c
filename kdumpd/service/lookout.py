"""When to look at the machine, and at how much of it: after a burst of changes, after a step, or for what a glimpse shows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from kdumpd.core.decide import Rest, Wait
from kdumpd.core.faults import Faults
from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.bursts import Bursts
from kdumpd.service.hands import Hands, Sight
from kdumpd.service.jobs import Clock, first_of
from kdumpd.service.news import News
from kdumpd.service.pulse import LOOK_SECONDS, Pulse

logger = logging.getLogger(__name__)

SYSFS_POLL: Final = 120.0  # seconds between glimpses without a reason: sysfs tells nobody of its changes
FAULTY_POLL: Final = 30.0  # while a step waits to be tried again
SOON: Final = 1.0  # seconds; nothing is waited for shorter than that, but for the quiet after a doubt


class Lookout:
    """Takes the looks, one at a time. Each look may raise Trouble, OSError or ValueError."""

    def __init__(
        self, *, hands: Hands, news: News, clock: Clock, pulse: Pulse, before_look: Callable[[], None]
    ) -> None:
        """`before_look` is called once the reasons of a look are taken: what is asked for later has another one."""
        self.unwatched: Callable[[], tuple[Problem, ...]] = tuple
        """What cannot be watched now: while there is anything, each look is at everything."""
        self.latest: Sight | None = None
        self.reason = ""
        """Of the last look, the first; "" where nothing was heard before it."""
        self._hands = hands
        self._news = news
        self._clock = clock
        self._pulse = pulse
        self._before_look = before_look
        self._bursts = Bursts(clock=clock, now=pulse.now)
        self._seen = ""  # in the glimpse that belongs to the last look
        self._covered: frozenset[str] = frozenset()
        self._is_all_watched = False
        self._stepped = False

    def covers(self, sight: Sight) -> None:
        """What `sight` hangs on is watched from now on."""
        self._covered = sight.watched

    def stepped(self) -> None:
        """The last thing that happened is a step of ours that succeeded."""
        self._stepped = True

    async def settled(self, known: Sight) -> Sight:
        """A look from after the last of a burst of changes; nothing is to be done on an earlier one.

        The first change is looked at while more may come: after a single edit nobody waits for both. How long is
        waited is what is `known` of the configuration.
        """
        began, counted = self._pulse.now(), self._news.count
        sight = await self.look()
        more = await self._bursts.is_over(
            began=began,
            counted=counted,
            quiet_seconds=known.settle_seconds,
            cap_seconds=known.settle_cap_seconds,
            count=lambda: self._news.count,
            is_urgent=lambda: self._news.is_urgent,
        )
        return await self.look() if more else sight

    async def look(self) -> Sight:
        """At everything; after a step of ours with nothing heard meanwhile, at what that step can have moved.

        What moves otherwise is heard of (every path that was read is watched) or seen in a glimpse, and then there is
        another full look: the same as for a change that comes right after one.
        """
        is_heard = self._news.dirty.is_set()
        reasons = self._news.taken()
        self.reason = reasons[0] if reasons else ""
        self._before_look()
        with self._pulse.within(LOOK_SECONDS, "a look at the machine"):
            seen = await self._hands.glimpse()  # before the look: what changes during it is seen again
            if (
                self._stepped
                and not is_heard
                and self.latest is not None
                and seen == self._seen
                and self._is_all_watched
                and not self.unwatched()
            ):
                logger.debug("looking at what the step before has done")
                sight = await self._hands.look_again()
            else:
                logger.debug("looking, because %s", "; ".join(reasons) or "a step was done")
                sight = await self._hands.look()
                self._is_all_watched = sight.watched <= self._covered  # what is not yet may change unheard
        self.latest, self._seen, self._stepped = sight, seen, False
        return sight

    async def until_wanted(
        self, rest: Rest, *, known: Sight | None, faults: Faults, forget_old: Callable[[], float | None]
    ) -> None:
        """Until somebody pokes, until it is time to try again, or until a poll finds a change.

        `forget_old` says in how many seconds it wants to be called again.
        """
        slow_poll = known.slow_poll_seconds if known is not None else SYSFS_POLL
        quiet = known.settle_seconds if known is not None else SOON
        began_us = self._clock.now_us()
        until_us = began_us + int(slow_poll * 1e6)
        reason = "nothing was heard for a while"
        if isinstance(rest, Wait) and 0 < rest.until_us < until_us:
            until_us, reason = rest.until_us, "it is time to try again"
        while not self._news.dirty.is_set():
            now_us = self._clock.now_us()
            left = (until_us - now_us) / 1e6
            if left <= 0 or now_us < began_us:
                self._news.poke(reason if left <= 0 else "the clock was set back", urgent=True)
                return
            forget = forget_old()
            poll = FAULTY_POLL if faults.known else SYSFS_POLL
            nap = min(left, poll, poll if forget is None else max(forget, SOON))
            await first_of(self._news.dirty.wait(), self._news.doubted.wait(), self._clock.sleep(nap))
            if self._news.doubted.is_set() and not self._news.dirty.is_set():
                await first_of(self._news.dirty.wait(), self._clock.sleep(quiet))
            doubts = self._news.doubts_taken()
            moved = "" if self._news.dirty.is_set() else await self._moved(faults)
            if moved:
                self._news.poke(doubts[0] if doubts else moved, urgent=False)

    async def _moved(self, faults: Faults) -> str:
        """Why there is to be a look although nobody poked, "" where there is no reason."""
        try:
            with self._pulse.within(LOOK_SECONDS, "a glimpse at the machine"):
                if await self._hands.glimpse() != self._seen:
                    return "what the kernel says of its crash kernel changed"
                if faults.known and faults.are_over(
                    room=await self._hands.room(), now_us=self._clock.now_us()
                ):
                    return "the store takes files again"
        except (OSError, Trouble) as fault:
            return f"it cannot be glimpsed at: {fault}"  # a look will say what is wrong
        return ""
