"""Writes into the journal who wanted to change something, and whether they were let: once for each call, here and nowhere else."""

from __future__ import annotations

import logging
from collections import Counter

from kdumpd.service.bus import BusError, Caller, Gate, Request
from kdumpd.service.jobs import Clock
from kdumpd.service.journal import MESSAGE_ID
from kdumpd.service.messages import CALLER_PID, CALLER_UID, METHOD, RESULT, Message
from kdumpd.service.permissions import is_a_change

logger = logging.getLogger(__name__)

REFUSALS_TOLD = 20
"""Of one uid in a minute: whoever is refused may call as often as they like, and the journal is everybody's."""
_MINUTE_US = 60_000_000
GRANTED = "granted"


class Audited:
    """The gate `inner`, with a witness."""

    def __init__(self, inner: Gate, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._since_us = 0
        self._refusals: Counter[str] = Counter()

    async def admit(self, request: Request) -> None:
        if not is_a_change(request.interface.description.name, request.member):
            await self._inner.admit(request)
            return
        try:
            await self._inner.admit(request)
        except BusError as fault:
            await self._tell(request, fault.name.rpartition(".")[2])
            raise
        await self._tell(request, GRANTED)

    async def _tell(self, request: Request, result: str) -> None:
        uid, pid = await _who(request.caller)
        if result != GRANTED and not self._is_to_be_told(uid):
            return
        method = f"{request.interface.description.name.rpartition('.')[2]}.{request.member}"
        logger.log(
            logging.INFO if result == GRANTED else logging.WARNING,
            "%s by uid %s, pid %s: %s",
            method,
            uid,
            pid,
            result,
            extra={
                MESSAGE_ID: Message.AUDIT,
                CALLER_UID: uid,
                CALLER_PID: pid,
                METHOD: method,
                RESULT: result,
            },
        )

    def _is_to_be_told(self, uid: str) -> bool:
        now_us = self._clock.now_us()
        if not 0 <= now_us - self._since_us < _MINUTE_US:
            for other, count in self._refusals.items():
                if count > REFUSALS_TOLD:
                    logger.warning("uid %s was refused %d times more", other, count - REFUSALS_TOLD)
            self._since_us, self._refusals = now_us, Counter()
        self._refusals[uid] += 1
        return self._refusals[uid] <= REFUSALS_TOLD


async def _who(caller: Caller) -> tuple[str, str]:
    """Uid and pid; `unknown` for one who has left already."""
    try:
        uid = str(await caller.uid())
    except BusError:
        uid = "unknown"
    try:
        return uid, str(await caller.pid())
    except BusError:
        return uid, "unknown"
