"""Who holds kdumpd up, for as long as they want it and are on the bus, and no longer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kdumpd.core.inhibitors import LONGEST_TEXT, MOST, MOST_OF_ONE, Inhibitor, refusal
from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.bus import BusError, Caller, Connection, ErrorName

logger = logging.getLogger(__name__)


class Inhibiting:
    """`on_change` is called after each change of `known`."""

    def __init__(self, connection: Connection, on_change: Callable[[str], None]) -> None:
        self._connection = connection
        self._on_change = on_change
        self._next = 1
        self._known: dict[int, Inhibitor] = {}
        self._senders: dict[int, str] = {}
        """Of those as well that are not yet told of, for they count."""
        self._watches: dict[int, asyncio.Task[None]] = {}

    def known(self) -> tuple[Inhibitor, ...]:
        """The oldest first."""
        return tuple(self._known.values())

    def require_none(self) -> None:
        """Raises Trouble (Inhibited) while somebody holds us up."""
        if self._known:
            raise Trouble(refusal(self.known()))

    async def hold(self, caller: Caller, *, who: str, why: str) -> int:
        """The cookie. From here on nothing is begun until it is released, or the caller leaves the bus. Raises BusError."""
        for name, text in (("who", who), ("why", why)):
            if not text.strip() or len(text) > LONGEST_TEXT or not text.isprintable():
                raise BusError(
                    ErrorName.INVALID_ARGS,
                    f"{name} is to be a line of text, of {LONGEST_TEXT} characters at most.",
                )
        of_caller = sum(sender == caller.sender for sender in self._senders.values())
        if of_caller >= MOST_OF_ONE or len(self._senders) >= MOST:
            raise BusError(
                ErrorName.LIMITS_EXCEEDED, f"There are {MOST_OF_ONE} of yours, or {MOST} altogether."
            )
        cookie, self._next = self._next, self._next + 1
        self._senders[cookie] = caller.sender
        is_watched: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watches[cookie] = asyncio.create_task(
            self._watch(Inhibitor(cookie=cookie, who=who, why=why), caller.sender, is_watched),
            name=f"inhibitor {cookie}",
        )
        await is_watched
        return cookie

    async def release(self, cookie: int) -> None:
        """Raises Trouble (NoSuchInhibitor)."""
        if cookie not in self._known:
            raise Trouble(Problem(code="no-such-inhibitor", message=f"there is no inhibitor {cookie}"))
        watch = self._watches[cookie]
        watch.cancel()
        await asyncio.wait({watch})

    async def close(self) -> None:
        """Nobody is watched any more."""
        watches = tuple(self._watches.values())
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    async def _watch(self, inhibitor: Inhibitor, sender: str, is_watched: asyncio.Future[None]) -> None:
        try:
            async with self._connection.departure(sender) as gone:
                await self._connection.uid_of(
                    sender
                )  # one who left before the watch began is not noticed by it
                self._known[inhibitor.cookie] = inhibitor
                self._tell("asked kdumpd to wait", inhibitor)
                if not is_watched.done():
                    is_watched.set_result(None)
                await gone.wait()
        except BusError as fault:
            if not is_watched.done():
                is_watched.set_exception(fault)
        finally:
            del self._senders[inhibitor.cookie], self._watches[inhibitor.cookie]
            if self._known.pop(inhibitor.cookie, None) is not None:
                self._tell("no longer asks kdumpd to wait", inhibitor)

    def _tell(self, what: str, inhibitor: Inhibitor) -> None:
        logger.info("%s %s: %s", inhibitor.who, what, inhibitor.why)
        self._on_change(f"{inhibitor.who} {what}")
