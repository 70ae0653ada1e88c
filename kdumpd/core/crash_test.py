"""A test crash: what has to hold before it, what is written down for the next boot, and what that boot makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from kdumpd.core.dumps import Dump
from kdumpd.core.problems import Problem
from kdumpd.core.pstore import NEAR_US
from kdumpd.core.status import Activity, State, Status

TOKEN_SECONDS = 60.0
TOKENS_OF_ONE = 4
"""Of one uid that are good at a time; the oldest goes when there is one more."""
TOKENS_AT_MOST = 64
ADMISSION_SECONDS = 360.0
"""More than polkit is given to answer and somebody to type a password."""
SYNC_SECONDS = 30.0
"""For file systems to be written to their disks before the crash: one whose server is dead would never be."""
PATIENCE_SECONDS = 300.0
"""From the first look after the reboot: a target may be mounted late, and a raw dump has to be recovered."""
IN_THE_LOG = "kdumpd: test crash "
"""What the agent looks for in the crashed kernel's log; the id stands behind it (agent/collector.sh)."""
TAKEN_BACK = "kdumpd: no test crash"
"""What undoes it there: the kernel went on, and its next crash is not this test."""
_FORCED = re.compile(r"sysrq", re.IGNORECASE)
_NOTHING_FOUND = (
    "neither a dump of it nor a record of a failed capture was found; only the console of the machine "
    "showed why"
)


class CrashTest(StrEnum):
    """How the last test crash went: TestCrashState."""

    NONE = "none"
    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The right to crash this machine once. `until` is in seconds by a clock that nobody sets."""

    text: str
    sender: str
    uid: int
    boot_id: str
    load: str  # Armed.load of what was loaded when the caller was shown what would happen
    until: float


def fault_of(token: Token | None, *, sender: str, boot_id: str, load: str, now: float) -> Problem | None:
    """Why a token that somebody gives does not let them crash this machine; None: it does."""
    if token is None:
        why = "PrepareTestCrash did not give it, or it was used already"
    elif token.sender != sender:
        why = "PrepareTestCrash gave it to somebody else"
    elif now >= token.until:
        why = f"it is older than {TOKEN_SECONDS:g} seconds"
    elif token.boot_id != boot_id:
        why = "it is from before a reboot"
    elif token.load != load:
        why = "something else is loaded than when it was given"
    else:
        return None
    return Problem(
        code="token-invalid",
        message=f"the token is not good: {why}",
        hint="call PrepareTestCrash again, which tells what would happen now",
    )


def with_room_for(uid: int, tokens: Mapping[str, Token], *, now: float) -> dict[str, Token]:
    """Those of `tokens`, the oldest first, that are left where one more of `uid` is to come.

    What is too old goes, the oldest of `uid` where it has too many, and where all have too many the oldest that is not
    root's: whoever has many uids keeps nobody out.
    """
    good = {name: token for name, token in tokens.items() if now < token.until}
    of_one = [name for name, token in good.items() if token.uid == uid]
    for name in of_one[: max(0, len(of_one) - TOKENS_OF_ONE + 1)]:
        del good[name]
    of_others = [name for name, token in good.items() if token.uid != 0]
    for name in of_others[: max(0, len(good) - TOKENS_AT_MOST + 1)]:
        del good[name]
    return good


def obstacle(status: Status) -> Problem | None:
    """Why a crash now would be no test of what the configuration says; None: it would be one."""
    if status.state is State.UNSUPPORTED:
        return Problem(code="not-supported", message=status.message)
    if status.state is State.NO_MEMORY:
        code = "reboot-required" if status.reboot_required else "no-reserved-memory"
        return Problem(code=code, message=status.message)
    if status.state is not State.ARMED or not status.protected:
        return Problem(
            code="not-armed",
            message=f"a test crash needs an armed machine, and this one is {status.message}",
            hint="`kdumpctl why` says what is missing",
        )
    if status.activity not in {Activity.IDLE, Activity.WAITING}:
        return Problem(code="busy", message=f"kdumpd is {status.activity}; ask again when it is idle")
    return None


class Marker(BaseModel):
    """What is on the disk before the crash: what was to be captured, by whose wish, and where it was to go."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    """In the kernel's log of that crash and in no other."""
    boot_id: str
    time_us: int
    uid: int
    target: str = ""
    """For people."""
    image: str = ""
    load: str = ""
    """Armed.image and Armed.load: what is tested."""


class Outcome(BaseModel):
    """What became of it. `dump` is the id of the dump or record that says so, "" where there is none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    marker: Marker
    result: Literal["passed", "failed"]
    message: str
    dump: str = ""
    decided_us: int = 0


class Record(BaseModel):
    """The file: a test crash that nothing is known of yet, and the last one of which something is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pending: Marker | None = None
    last: Outcome | None = None

    @property
    def state(self) -> CrashTest:
        if self.pending is not None:
            return CrashTest.PENDING
        return CrashTest(self.last.result) if self.last is not None else CrashTest.NONE

    @property
    def marker(self) -> Marker | None:
        """Of the test crash that `state` is about."""
        return self.pending or (self.last.marker if self.last is not None else None)

    @property
    def message(self) -> str:
        if self.pending is not None:
            return "its outcome is not known yet"
        return self.last.message if self.last is not None else ""


def begun(record: Record, marker: Marker) -> Record:
    """On the disk before the crash. What the last one came to stays known until this one has come to something."""
    return Record(pending=marker, last=record.last)


def taken_back(record: Record) -> Record:
    """The machine did not crash: nothing was tested."""
    return Record(last=record.last)


def after_start(record: Record, *, boot_id: str) -> Record:
    """What a daemon that starts makes of the file: in the boot of the marker there was no crash."""
    is_of_this_boot = record.pending is not None and record.pending.boot_id == boot_id
    return taken_back(record) if is_of_this_boot else record


def to_be_judged(record: Record, *, boot_id: str) -> Marker | None:
    """The test crash that a dump may tell something new of: one of an earlier boot that has not passed so far.

    Also after it was called failed: a target that is mounted hours later may have the dump.
    """
    if record.pending is not None:
        return record.pending if record.pending.boot_id != boot_id else None
    return record.last.marker if record.last is not None and record.last.result != "passed" else None


def overrules(outcome: Outcome, record: Record) -> bool:
    """Whether `outcome` says more than what is known of the same test crash: nothing, no dump of it, or a lost one."""
    known = record.last
    return record.pending is not None or known is None or not known.dump or outcome.result == "passed"


def marked(dumps: Iterable[Dump], record: Record) -> tuple[Dump, ...]:
    """The same dumps, and as dumps of the test crash those too whose collector could not say so.

    An image without makedumpfile does not read the crashed kernel's log, and printk.devkmsg=off keeps our line out of it.
    """
    marker = record.marker
    return tuple(
        replace(dump, test_id=marker.id)
        if marker is not None and not dump.test_id and _may_be_of(dump, marker)
        else dump
        for dump in dumps
    )


def judged(marker: Marker, dumps: Sequence[Dump], *, is_over: bool, now_us: int = 0) -> Outcome | None:
    """What became of a test crash of an earlier boot, by the dumps that were found; None: it is not known yet.

    It passed where a complete dump of that very crash is there that nobody but root could have written, and failed
    where an incomplete one or a record is. `is_over`: nothing more will be found.
    """
    of_it = [dump for dump in marked(dumps, Record(pending=marker)) if dump.test_id == marker.id]
    saved = [dump for dump in of_it if dump.is_complete and _is_roots(dump)]
    lost = [dump for dump in of_it if not dump.is_complete and _is_roots(dump)]
    if saved:
        failure = next((dump.failure for dump in (*saved, *lost) if dump.failure), "")
        tail = f", though something went wrong before: {failure}" if failure else ""
        return Outcome(
            marker=marker,
            result="passed",
            message=f"the crash was captured and saved to {saved[-1].path}{tail}",
            dump=saved[-1].id,
            decided_us=now_us,
        )
    if lost:
        why = next((dump.failure for dump in lost if dump.failure), "") or "the dump is not complete"
        return Outcome(
            marker=marker,
            result="failed",
            message=f"the crash was not captured completely: {why}; see {lost[-1].path}",
            dump=lost[-1].id,
            decided_us=now_us,
        )
    if not is_over:
        return None
    forged = next((dump for dump in sorted(of_it, key=lambda dump: not dump.is_complete)), None)
    what = "" if forged is None or forged.is_complete else "no complete dump was found, and "
    why = f"{what}{forged.path} may have been written by others than root" if forged else _NOTHING_FOUND
    return Outcome(marker=marker, result="failed", message=why, decided_us=now_us)


def _is_roots(dump: Dump) -> bool:
    """A record lies where only root writes."""
    return dump.is_ours or dump.is_record


def _may_be_of(dump: Dump, marker: Marker) -> bool:
    """By time alone, where the log does not say that it was another crash; the sync may take its time."""
    is_near = -NEAR_US <= dump.time_us - marker.time_us <= NEAR_US + 2 * SYNC_SECONDS * 1e6
    return is_near and (not dump.panic or _FORCED.search(dump.panic) is not None)
