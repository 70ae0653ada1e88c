"""May this caller do this? Asked of polkit without blocking anyone else; the answer is no unless it is yes."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from kdumpd.core.allowance import Allowance, Taken, is_exhausted, take
from kdumpd.core.problems import Trouble
from kdumpd.service.bus import BusError, Caller, Connection, ErrorName, Request, Value, as_bus_error
from kdumpd.service.jobs import boottime
from kdumpd.service.options import forbids_interaction
from kdumpd.service.permissions import RULES, Action

logger = logging.getLogger(__name__)

POLKIT = "org.freedesktop.PolicyKit1"
AUTHORITY_PATH = "/org/freedesktop/PolicyKit1/Authority"
AUTHORITY = "org.freedesktop.PolicyKit1.Authority"

CHECKS_AT_ONCE = 64
"""The bus lets a connection wait for 128 replies; the 129th call fails, whosever it is."""
CHECKS_PER_UID = 16
PROMPTS_AT_ONCE = 48
"""Of everyone, beside the checks: who is asked for a password may take minutes, and holds up nobody."""
PROMPTS_PER_UID = 4
PROMPTS = Allowance(at_once=10, each_second=1 / 6)
"""Of one uid."""
_USERS_KNOWN = 512
_SECONDS_TO_ANSWER = 25.0
_SECONDS_TO_TYPE_A_PASSWORD = 300.0
_ALLOW_USER_INTERACTION = 1
_DENIED = "You are not authorised to do this; it needs the polkit action {action}."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    is_authorised: bool
    is_challenge: bool
    is_dismissed: bool


class Polkit:
    """The gate of `Exports`: `admit` raises to refuse.

    `trusted_uids` need not be asked about: polkit authorises uid 0 for everything, whatever its rules say. Where there is
    no polkit, they are the only ones admitted.
    """

    def __init__(
        self,
        connection: Connection,
        now: Callable[[], float] = boottime,
        *,
        trusted_uids: frozenset[int] = frozenset({0}),
    ) -> None:
        """`now`: seconds, by a clock that nobody sets."""
        self._connection = connection
        self._now = now
        self._trusted_uids = trusted_uids
        self._turn = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._checks_of: Counter[int] = Counter()
        self._prompts_of: Counter[int] = Counter()
        self._prompted: OrderedDict[int, Taken] = OrderedDict()
        self._numbers = itertools.count(1)

    async def admit(self, request: Request) -> None:
        """Return when the method may run. Raises BusError: AccessDenied, InteractiveAuthorizationRequired, AuthDismissed."""
        rule = RULES.get((request.interface.description.name, request.member))
        if rule is None:
            raise BusError(ErrorName.ACCESS_DENIED, f"{request.member} is not for anyone.")
        if rule.action is None:
            return
        try:
            request.interface.require_admissible(request.caller, request.member, request.arguments)
        except Trouble as trouble:
            raise as_bus_error(trouble, doing=request.member) from trouble
        uid = await request.caller.uid()
        if uid in self._trusted_uids or (rule.is_free_to_owner and uid == request.interface.owner_uid()):
            return
        is_interactive = request.caller.is_interactive and not forbids_interaction(request.arguments)
        details = request.interface.authorisation_details(request.member, request.arguments)
        verdict = await self._ask(request.caller, uid=uid, action=rule.action, details=details)
        if verdict.is_challenge and is_interactive:
            with self._prompting(uid):
                verdict = await self._prompt(request.caller, rule.action, details)
        if verdict.is_authorised:
            return
        if verdict.is_dismissed:
            raise BusError(ErrorName.AUTH_DISMISSED, "The question for a password was dismissed.")
        if verdict.is_challenge and not is_interactive:
            raise BusError(
                ErrorName.INTERACTIVE_AUTHORIZATION_REQUIRED,
                f"This needs a password, for the polkit action {rule.action}, and asking was not allowed.",
            )
        raise BusError(ErrorName.ACCESS_DENIED, _DENIED.format(action=rule.action))

    async def permissions(self, caller: Caller) -> Mapping[str, str]:
        """Each action with `yes`, `auth` (after a password) or `no`. Asks nobody for a password."""
        uid = await caller.uid()
        return MappingProxyType(
            {action.value: await self._permission(caller, uid, action) for action in Action}
        )

    async def _permission(self, caller: Caller, uid: int, action: Action) -> str:
        if uid in self._trusted_uids:
            return "yes"
        try:
            verdict = await self._ask(caller, uid=uid, action=action, details={})
        except BusError as fault:
            if fault.name != ErrorName.ACCESS_DENIED:
                raise
            return "no"
        return "yes" if verdict.is_authorised else "auth" if verdict.is_challenge else "no"

    async def _ask(self, caller: Caller, *, uid: int, action: Action, details: Mapping[str, str]) -> _Verdict:
        """Without asking the user."""
        if self._checks_of[uid] >= CHECKS_PER_UID:
            raise BusError(
                ErrorName.LIMITS_EXCEEDED, f"{CHECKS_PER_UID} of your requests wait for authorisation."
            )
        with _counted(self._checks_of, uid):
            async with self._turn, self._connection.departure(caller.sender) as gone:
                return await self._check(caller, gone, action, details, is_interactive=False)

    async def _prompt(self, caller: Caller, action: Action, details: Mapping[str, str]) -> _Verdict:
        async with self._connection.departure(caller.sender) as gone:
            return await self._check(caller, gone, action, details, is_interactive=True)

    @contextmanager
    def _prompting(self, uid: int) -> Iterator[None]:
        """Once it is known that a password would be asked for: what was given a while ago and kept counts for nothing."""
        now = self._now()
        taken = self._prompted.get(uid, Taken())
        if (
            self._prompts_of[uid] >= PROMPTS_PER_UID
            or self._prompts_of.total() >= PROMPTS_AT_ONCE
            or is_exhausted(PROMPTS, taken, now=now)
        ):
            raise BusError(
                ErrorName.LIMITS_EXCEEDED,
                "You were asked for a password too often; wait a minute, or answer.",
            )
        self._prompted[uid] = take(PROMPTS, taken, 1, now=now)
        self._prompted.move_to_end(uid)
        if len(self._prompted) > _USERS_KNOWN:
            self._prompted.popitem(last=False)
        with _counted(self._prompts_of, uid):
            yield

    async def _check(
        self,
        caller: Caller,
        gone: asyncio.Event,
        action: Action,
        details: Mapping[str, str],
        *,
        is_interactive: bool,
    ) -> _Verdict:
        """One CheckAuthorization; withdrawn, so that no question stays on a screen, when it is no longer wanted.

        A caller who left before it could be watched is polkit's to notice: the subject then has no owner.
        """
        cancellation = f"kdumpd-{next(self._numbers)}"
        checking = asyncio.create_task(
            self._connection.call(
                POLKIT,
                AUTHORITY_PATH,
                AUTHORITY,
                "CheckAuthorization",
                "(sa{sv})sa{ss}us",
                ("system-bus-name", {"name": caller.sender}),
                action.value,
                dict(details),
                _ALLOW_USER_INTERACTION if is_interactive else 0,
                cancellation,
                timeout=_SECONDS_TO_TYPE_A_PASSWORD if is_interactive else _SECONDS_TO_ANSWER,
            ),
            name=f"polkit {cancellation}",
        )
        leaving = asyncio.create_task(gone.wait(), name=f"departure of {caller.sender}")
        has_answered = False
        try:
            verdict = _verdict(await _unless(gone_first=leaving, checking=checking))
            has_answered = True
        except BusError as fault:
            has_answered = checking.done() and fault.name != ErrorName.NO_REPLY
            logger.debug("polkit gave no verdict about %s: %s", action, fault)
            raise BusError(ErrorName.ACCESS_DENIED, _DENIED.format(action=action)) from fault
        finally:
            checking.cancel()
            leaving.cancel()
            await asyncio.gather(checking, leaving, return_exceptions=True)
            if not has_answered and self._connection.connected:
                self._connection.tell(
                    POLKIT, AUTHORITY_PATH, AUTHORITY, "CancelCheckAuthorization", "s", cancellation
                )
        return verdict


@contextmanager
def _counted(counter: Counter[int], uid: int) -> Iterator[None]:
    counter[uid] += 1
    try:
        yield
    finally:
        counter[uid] -= 1
        if counter[uid] == 0:
            del counter[uid]


async def _unless(
    *, gone_first: asyncio.Task[Literal[True]], checking: asyncio.Task[tuple[Value, ...]]
) -> tuple[Value, ...]:
    await asyncio.wait({checking, gone_first}, return_when=asyncio.FIRST_COMPLETED)
    if gone_first.done():
        raise BusError(ErrorName.NAME_HAS_NO_OWNER, "The caller left before it was authorised.")
    return checking.result()


def _verdict(reply: tuple[Value, ...]) -> _Verdict:
    match reply:
        case ((bool(is_authorised), bool(is_challenge), Mapping() as details),):
            return _Verdict(
                is_authorised=is_authorised,
                is_challenge=is_challenge,
                is_dismissed=bool(details.get("polkit.dismissed")),
            )
        case _:
            raise BusError(ErrorName.FAILED, "polkit answered something else than a verdict.")
