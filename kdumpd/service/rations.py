"""What calls take of us, and who has had enough: nobody but root is served without bounds."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kdumpd.core.allowance import Allowance, Taken, is_exhausted, take, taken_by_now
from kdumpd.service.bus import BusError, Connection, ErrorName
from kdumpd.service.bus.standard import INTROSPECTABLE, OBJECT_MANAGER, PROPERTIES
from kdumpd.service.jobs import Clock
from kdumpd.service.permissions import CONFIG, MANAGER, RULES

logger = logging.getLogger(__name__)

# One unit is about a millisecond of a processor: ours, or polkit's for what we ask it.
OF_A_CONNECTION = Allowance(at_once=1000, each_second=125)
OF_A_USER = Allowance(at_once=2000, each_second=250)
OF_ALL_BUT_ROOT = Allowance(at_once=8000, each_second=500)
"""One user can have the uids of a whole range, /etc/subuid: together they leave half a processor to root."""

OF_A_CALL = 1.0
OF_A_KIB = 4.0
"""Of arguments, which are read in Python."""
OF_A_QUESTION = 5.0
"""To polkit, without a password."""
OF_MEMBERS: Mapping[tuple[str, str], float] = MappingProxyType(
    {
        (PROPERTIES, "GetAll"): 2,
        (INTROSPECTABLE, "Introspect"): 2,
        (OBJECT_MANAGER, "GetManagedObjects"): 50,
        (MANAGER, "Describe"): 20,
        (MANAGER, "GetHistory"): 10,
        (MANAGER, "GetPermissions"): 50,
        (MANAGER, "ListDumps"): 50,
        (CONFIG, "Get"): 5,
        (CONFIG, "Validate"): 5,
    }
)
"""What takes more than others, beside the question to polkit."""

_KNOWN_MOST = 512
"""Connections and users remembered; who comes back after so many others begins anew, but for what all have together."""
_LOOKUPS_MOST = 16
_TOLD_EVERY_US = 60_000_000


@dataclass(slots=True)
class _Sender:
    """A connection; `uid` is None until the bus has told it."""

    uid: int | None = None
    taken: Taken = field(default_factory=Taken)


class Rations:
    """Until the uid behind a new connection is known it is served by what connections may take."""

    def __init__(
        self, connection: Connection, clock: Clock, *, unbounded_uids: frozenset[int] = frozenset({0})
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._unbounded_uids = unbounded_uids
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        self._users: OrderedDict[int, Taken] = OrderedDict()
        self._all = Taken()
        self._lookups: dict[str, asyncio.Task[None]] = {}
        self._told_us = 0

    def charge(self, name: str, interface: str, member: str, *, octets: int) -> None:
        """A call by the connection `name` with so many bytes of arguments. Raises BusError (LimitsExceeded)."""
        sender = self._sender(name)
        if sender is None:
            return
        now_us = self._clock.now_us()
        for whose, allowance, taken in self._shares(sender):
            if is_exhausted(allowance, taken, now_us=now_us):
                self._tell(name, sender, now_us=now_us)
                beyond = taken_by_now(allowance, taken, now_us=now_us) - allowance.at_once
                seconds = max(beyond / allowance.each_second, 0.1)
                raise BusError(
                    ErrorName.LIMITS_EXCEEDED,
                    f"{whose} more than can be served; call again in {seconds:.1f} seconds.",
                )
        amount = effort(interface, member, octets=octets)
        sender.taken = take(OF_A_CONNECTION, sender.taken, amount, now_us=now_us)
        if sender.uid is not None:
            self._charge_user(sender.uid, amount, now_us=now_us)

    def has_had_enough(self, name: str) -> bool:
        """Whether a call by that connection would be refused now."""
        sender = self._sender(name)
        if sender is None:
            return False
        now_us = self._clock.now_us()
        return any(
            is_exhausted(allowance, taken, now_us=now_us) for _, allowance, taken in self._shares(sender)
        )

    def learned(self, name: str, uid: int) -> None:
        """Whose connection that is: what it took before we knew counts for the user."""
        sender = self._senders.setdefault(name, _Sender())
        if sender.uid is None:
            sender.uid = uid
            if uid not in self._unbounded_uids:
                self._charge_user(uid, sender.taken.amount, now_us=self._clock.now_us())

    async def close(self) -> None:
        """Nobody is looked up any more."""
        lookups = tuple(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    def _sender(self, name: str) -> _Sender | None:
        """None for the bus itself, and for those who are served without bounds."""
        if not name.startswith(":"):
            return None
        sender = self._senders.setdefault(name, _Sender())
        self._senders.move_to_end(name)
        if len(self._senders) > _KNOWN_MOST:
            self._senders.popitem(last=False)
        if sender.uid is None:
            self._look_up(name)
        return None if sender.uid in self._unbounded_uids else sender

    def _shares(self, sender: _Sender) -> tuple[tuple[str, Allowance, Taken], ...]:
        own = ("Your connection calls", OF_A_CONNECTION, sender.taken)
        if sender.uid is None:  # it may be root's
            return (own,)
        user = self._users.get(sender.uid, Taken())
        return own, ("You call", OF_A_USER, user), ("All users together call", OF_ALL_BUT_ROOT, self._all)

    def _charge_user(self, uid: int, amount: float, *, now_us: int) -> None:
        self._all = take(OF_ALL_BUT_ROOT, self._all, amount, now_us=now_us)
        self._users[uid] = take(OF_A_USER, self._users.get(uid, Taken()), amount, now_us=now_us)
        self._users.move_to_end(uid)
        if len(self._users) > _KNOWN_MOST:
            self._users.popitem(last=False)

    def _look_up(self, name: str) -> None:
        if name in self._lookups or len(self._lookups) >= _LOOKUPS_MOST:
            return
        lookup = asyncio.create_task(self._learn(name), name=f"uid of {name}")
        self._lookups[name] = lookup
        lookup.add_done_callback(lambda _: self._lookups.pop(name, None))

    async def _learn(self, name: str) -> None:
        try:
            uid = await self._connection.uid_of(name)
        except BusError:  # it has left, or the bus has: nobody is served by that name any more
            return
        self.learned(name, uid)

    def _tell(self, name: str, sender: _Sender, *, now_us: int) -> None:
        """Once in a minute, for whoever fills the bus need not fill the journal."""
        if not 0 <= now_us - self._told_us < _TOLD_EVERY_US:
            self._told_us = now_us
            who = f"uid {sender.uid}" if sender.uid is not None else name
            logger.warning("%s calls more than can be served, and is refused for the time being", who)


def effort(interface: str, member: str, *, octets: int) -> float:
    rule = RULES.get((interface, member))
    question = OF_A_QUESTION if rule is not None and rule.action is not None else 0.0
    return OF_A_CALL + OF_MEMBERS.get((interface, member), 0.0) + question + octets / 1024 * OF_A_KIB
