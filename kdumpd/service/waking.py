"""Hears of the machine waking from sleep, by logind's signal."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kdumpd.service.bus import BusError, Connection, Match

logger = logging.getLogger(__name__)

SLEEP = Match(
    sender="org.freedesktop.login1",
    path="/org/freedesktop/login1",
    interface="org.freedesktop.login1.Manager",
    member="PrepareForSleep",
)
"""org.freedesktop.login1(5): true before the machine sleeps, false once it is awake."""


async def hear_of_waking(connection: Connection, poke: Callable[[str], None]) -> None:
    """As long as there is a bus; a logind that comes later is heard as well."""
    try:
        async with connection.signals(SLEEP) as signals:
            async for signal in signals:
                if signal.body[:1] == (False,):
                    poke("the machine woke from sleep")
    except BusError as fault:
        logger.debug("nothing is heard of sleep: %s", fault)
