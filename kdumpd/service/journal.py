"""What goes into the journal of what happens, with the fields by which others find it."""

from __future__ import annotations

import errno
import logging

from kdumpd.core.crash_test import Marker, Outcome
from kdumpd.core.decide import BuildBase, BuildImage, Step, load_of, verb
from kdumpd.core.dumps import Dump
from kdumpd.core.problems import Problem, Trouble, errors
from kdumpd.core.status import State, Status
from kdumpd.service.jobs import Job
from kdumpd.service.messages import DUMP, JOB, PLAN, RESULT, WHY, Message

logger = logging.getLogger(__name__)

MESSAGE_ID = "MESSAGE_ID"


def tell_status(before: Status | None, now: Status) -> None:
    """One line where the state, or the reason for it, is another than it was."""
    if before is not None and (before.state, before.reason, before.protected) == (
        now.state,
        now.reason,
        now.protected,
    ):
        return
    fields = {WHY: now.message}
    message = _message_of(before, now)
    if message is not None:
        fields[MESSAGE_ID] = message
    is_bad = not now.protected and now.state is not State.DISABLED and bool(now.problems)
    logger.log(logging.WARNING if is_bad else logging.INFO, "%s", now.message, extra=fields)


def tell_step(step: Step, job: Job) -> None:
    fields = {JOB: str(job.number), PLAN: load_of(step), WHY: step.why}
    logger.info("%s: %s", verb(step), step.why, extra=fields)


def tell_fault(step: Step, problems: tuple[Problem, ...], job: Job | None) -> None:
    is_build = isinstance(step, BuildBase | BuildImage)
    fields = {
        MESSAGE_ID: Message.BUILD_FAILED if is_build else Message.LOAD_FAILED,
        PLAN: load_of(step),
        WHY: str(problems[0]),
        JOB: str(job.number) if job is not None else "",
    }
    logger.error("%s failed: %s", verb(step), "; ".join(map(str, problems)), extra=fields)


def tell_dump(dump: Dump) -> None:
    what = dump.reason or "nothing is known of the reason"
    if dump.is_complete:
        logger.warning(
            "a crash was captured: %s; saved to %s", what, dump.path, extra=_of_dump(dump, Message.DUMP_FOUND)
        )
    else:
        logger.error(
            "a crash was not captured completely: %s; see %s",
            what,
            dump.path,
            extra=_of_dump(dump, Message.CAPTURE_FAILED),
        )


def tell_crash(marker: Marker) -> None:
    """Critical, for journald writes such an entry to the disk at once."""
    why = f"asked for by uid {marker.uid}; the dump is to go to {marker.target}"
    fields = {MESSAGE_ID: str(Message.TEST_CRASH), WHY: f"It was {why}.", PLAN: marker.load}
    logger.critical("the machine is crashed for a test, %s", why, extra=fields)


def tell_crash_outcome(outcome: Outcome) -> None:
    fields = {
        MESSAGE_ID: str(Message.TEST_CRASH_OUTCOME),
        RESULT: outcome.result,
        WHY: outcome.message,
        PLAN: outcome.marker.load,
    }
    level = logging.WARNING if outcome.result == "passed" else logging.ERROR
    logger.log(level, "the test crash %s: %s", outcome.result, outcome.message, extra=fields)


def tell_removal(dump: Dump, *, why: str) -> None:
    fields = {MESSAGE_ID: str(Message.DUMP_REMOVED), DUMP: dump.path, WHY: why}
    logger.info("the dump %s was deleted: %s", dump.path, why, extra=fields)


def named(fault: Trouble | OSError | ValueError, *, code: str) -> Problem:
    """The problem behind a fault; `code` is for one that has no name of its own.

    A ValueError is a text that something below could not take: no such text may end the daemon.
    """
    if isinstance(fault, Trouble) and fault.problems:
        return fault.problems[0]
    is_full = isinstance(fault, OSError) and fault.errno in {errno.ENOSPC, errno.EDQUOT}
    return Problem(code="no-space" if is_full else code, message=str(fault))


def _of_dump(dump: Dump, message: Message) -> dict[str, str]:
    return {MESSAGE_ID: message, DUMP: dump.path, WHY: dump.reason}


def _message_of(before: Status | None, now: Status) -> Message | None:
    if before is not None and before.protected and not now.protected:
        return Message.DISARMED
    if now.state is State.ARMED:
        return Message.ARMED
    if now.state is State.STALE:
        return Message.CONFIG_INVALID if any(p.line for p in errors(now.problems)) else Message.STALE
    return None
