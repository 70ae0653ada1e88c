"""What calls take of us, and who has had enough: nobody but root is served without bounds."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kdumpd.core.allowance import Allowance, Taken, is_exhausted, take, taken_by_now
from kdumpd.service.bus import BusError, Connection, ErrorName
from kdumpd.service.bus.standard import INTROSPECTABLE, OBJECT_MANAGER, PROPERTIES
from kdumpd.service.jobs import boottime
from kdumpd.service.permissions import CONFIG, MANAGER, RULES

logger = logging.getLogger(__name__)

# One unit is about a millisecond of a processor: ours, or polkit's for what we ask it.
OF_A_CONNECTION = Allowance(at_once=1000, each_second=125)
OF_A_USER = Allowance(at_once=2000, each_second=250)
OF_ALL_BUT_ROOT = Allowance(at_once=8000, each_second=500)
"""One user can have the uids of a whole range, /etc/subuid: together they leave half a processor to root."""
OF_STRANGERS = Allowance(at_once=100, each_second=50)
"""All connections together of which the bus has not told yet whose they are: beyond that their calls wait until it has."""

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
_LOOKUPS_AT_ONCE = 16
_STRANGERS_MOST = 512
"""Of whom it is asked, or waits to be asked, whose they are."""
_SHORT = 1024
_FIRST = 32
_WAITING_OCTETS_MOST = 8 << 20
"""Of all calls of strangers that wait, each with what it takes beside its arguments; the first short ones of a connection,
which may be root's, wait whatever others have sent."""
_OCTETS_OF_A_CALL = 2048
_TOLD_EVERY = 60.0


@dataclass(slots=True)
class _Sender:
    """A connection; `uid` is None until the bus has told it."""

    uid: int | None = None
    taken: Taken = field(default_factory=Taken)


class Rations:
    """Until the uid behind a new connection is known it is a stranger's, perhaps root's: served, or kept waiting.

    Connecting anew gives nobody more, for strangers have one allowance together.
    """

    def __init__(
        self,
        connection: Connection,
        now: Callable[[], float] = boottime,
        *,
        unbounded_uids: frozenset[int] = frozenset({0}),
    ) -> None:
        """`now`: seconds, by a clock that nobody sets."""
        self._connection = connection
        self._now = now
        self._unbounded_uids = unbounded_uids
        self._senders: OrderedDict[str, _Sender] = OrderedDict()
        self._users: OrderedDict[int, Taken] = OrderedDict()
        self._all = Taken()
        self._strangers = Taken()
        self._lookups: dict[str, asyncio.Task[bool]] = {}
        self._turn = asyncio.Semaphore(_LOOKUPS_AT_ONCE)
        self._waiting: dict[str, tuple[int, int]] = {}
        """Strangers with calls that wait: how many these are, and how many bytes they take."""
        self._waiting_octets = 0
        self._told_at: float | None = None

    def charge(self, name: str, interface: str, member: str, *, octets: int) -> asyncio.Task[bool] | None:
        """A call by the connection `name` with so many bytes of arguments. Raises BusError (LimitsExceeded)."""
        sender = self._sender(name)
        if sender is None:
            return None
        now = self._now()
        if self._is_to_wait(name, sender, now=now):
            return self._wait(name, octets=octets)
        for whose, allowance, taken in self._shares(sender):
            if is_exhausted(allowance, taken, now=now):
                self._tell(name, sender, now=now)
                beyond = taken_by_now(allowance, taken, now=now) - allowance.at_once
                seconds = max(beyond / allowance.each_second, 0.1)
                raise BusError(
                    ErrorName.LIMITS_EXCEEDED,
                    f"{whose} more than can be served; call again in {seconds:.1f} seconds.",
                )
        amount = effort(interface, member, octets=octets)
        sender.taken = take(OF_A_CONNECTION, sender.taken, amount, now=now)
        if sender.uid is not None:
            self._charge_user(sender.uid, amount, now=now)
        else:
            self._strangers = take(OF_STRANGERS, self._strangers, amount, now=now)
        return None

    def has_had_enough(self, name: str) -> bool:
        """Whether a call by that connection would be refused now."""
        sender = self._sender(name)
        if sender is None:
            return False
        now = self._now()
        return self._is_to_wait(name, sender, now=now) or any(
            is_exhausted(allowance, taken, now=now) for _, allowance, taken in self._shares(sender)
        )

    def learned(self, name: str, uid: int) -> None:
        """Whose connection that is: what it took before we knew counts for the user."""
        sender = self._senders.setdefault(name, _Sender())
        if sender.uid is None:
            sender.uid = uid
            if uid not in self._unbounded_uids:
                self._charge_user(uid, sender.taken.amount, now=self._now())

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

    def _charge_user(self, uid: int, amount: float, *, now: float) -> None:
        self._all = take(OF_ALL_BUT_ROOT, self._all, amount, now=now)
        self._users[uid] = take(OF_A_USER, self._users.get(uid, Taken()), amount, now=now)
        self._users.move_to_end(uid)
        if len(self._users) > _KNOWN_MOST:
            self._users.popitem(last=False)

    def _look_up(self, name: str) -> None:
        if name in self._lookups or len(self._lookups) >= _STRANGERS_MOST:
            return
        lookup = asyncio.create_task(self._learn(name), name=f"uid of {name}")
        self._lookups[name] = lookup
        lookup.add_done_callback(lambda _: self._looked_up(name))

    def _looked_up(self, name: str) -> None:
        del self._lookups[name]
        _, octets = self._waiting.pop(name, (0, 0))
        self._waiting_octets -= octets

    async def _learn(self, name: str) -> bool:
        """Whether it is known now. Who has left before that has taken it from all."""
        try:
            async with self._turn:
                uid = await self._connection.uid_of(name)
        except BusError:  # it has left, or the bus has: nobody is served by that name any more
            taken = self._senders.pop(name, _Sender()).taken
            self._all = take(OF_ALL_BUT_ROOT, self._all, taken.amount, now=self._now())
            return False
        self.learned(name, uid)
        return True

    def _is_to_wait(self, name: str, sender: _Sender, *, now: float) -> bool:
        """A stranger's calls keep their order: behind one that waits the next waits as well."""
        return sender.uid is None and (
            name in self._waiting or is_exhausted(OF_STRANGERS, self._strangers, now=now)
        )

    def _wait(self, name: str, *, octets: int) -> asyncio.Task[bool]:
        lookup = self._lookups.get(name)
        calls, already = self._waiting.get(name, (0, 0))
        more = octets + _OCTETS_OF_A_CALL
        is_first = octets <= _SHORT and calls < _FIRST
        if lookup is None or (not is_first and self._waiting_octets + more > _WAITING_OCTETS_MOST):
            raise BusError(ErrorName.LIMITS_EXCEEDED, "Too many new connections call; call again.")
        self._waiting[name] = (calls + 1, already + more)
        self._waiting_octets += more
        return lookup

    def _tell(self, name: str, sender: _Sender, *, now: float) -> None:
        """Once in a minute, for whoever fills the bus need not fill the journal."""
        if self._told_at is None or now - self._told_at >= _TOLD_EVERY:
            self._told_at = now
            who = f"uid {sender.uid}" if sender.uid is not None else name
            logger.warning("%s calls more than can be served, and is refused for the time being", who)


def effort(interface: str, member: str, *, octets: int) -> float:
    rule = RULES.get((interface, member))
    question = OF_A_QUESTION if rule is not None and rule.action is not None else 0.0
    return OF_A_CALL + OF_MEMBERS.get((interface, member), 0.0) + question + octets / 1024 * OF_A_KIB
