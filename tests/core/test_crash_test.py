"""Test crashes as values: which tokens are good, when a crash is no test, and what the next boot makes of what it finds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core.crash_test import (
    TOKEN_SECONDS,
    CrashTest,
    Marker,
    Outcome,
    Record,
    Token,
    after_start,
    begun,
    fault_of,
    judged,
    marked,
    obstacle,
    overrules,
    taken_back,
    to_be_judged,
)
from kdumpd.core.dumps import Dump
from kdumpd.core.pstore import NEAR_US
from kdumpd.core.status import Activity, State, Status

CRASHED_US = 1_700_000_000_000_000
MARKER = Marker(
    id="00ff", boot_id="before", time_us=CRASHED_US, uid=0, target="/dev/vda1 in /var/crash", load="l"
)
FORCED = "Kernel panic - not syncing: sysrq triggered crash"
SAVED = Dump(
    id="d",
    path="/var/crash/d",
    time_us=CRASHED_US,
    size_bytes=9,
    is_complete=True,
    kernel_release="6.1",
    reason=FORCED,
    panic=FORCED,
    test_id="00ff",
    is_ours=True,
    core="vmcore",
)
OF_A_SERVER = replace(SAVED, path="crash@far:/dumps/d", is_ours=False, core="", is_record=True)
LOST = replace(
    SAVED,
    id="l",
    path="/failures/l",
    is_complete=False,
    failure="the server does not answer",
    is_ours=False,
    core="",
    is_record=True,
)
SILENT = replace(SAVED, test_id="", panic="")
TOKEN = Token(text="t", sender=":1.7", uid=0, boot_id="b", load="l", until=TOKEN_SECONDS)
ARMED = Status(
    state=State.ARMED,
    activity=Activity.IDLE,
    protected=True,
    reason="armed",
    message="armed: well",
    crash_kernel_loaded=True,
    enabled=True,
)


@pytest.mark.parametrize(
    ("sender", "boot_id", "load", "now", "why"),
    [
        (":1.8", "b", "l", 0.0, "somebody else"),
        (":1.7", "c", "l", 0.0, "before a reboot"),
        (":1.7", "b", "m", 0.0, "something else is loaded"),
        (":1.7", "b", "l", TOKEN_SECONDS, "older than 60 seconds"),
    ],
)
def test_a_token_is_good_for_its_caller_its_boot_its_image_and_a_minute(
    sender: str, boot_id: str, load: str, now: float, why: str
) -> None:
    fault = fault_of(TOKEN, sender=sender, boot_id=boot_id, load=load, now=now)
    assert fault is not None
    assert (fault.code, why in fault.message) == ("token-invalid", True)
    assert fault_of(TOKEN, sender=":1.7", boot_id="b", load="l", now=TOKEN_SECONDS - 0.1) is None
    unknown = fault_of(None, sender=":1.7", boot_id="b", load="l", now=0.0)
    assert unknown is not None
    assert unknown.code == "token-invalid"


@pytest.mark.parametrize(
    ("state", "activity", "reboot_required", "code"),
    [
        (State.UNSUPPORTED, Activity.IDLE, False, "not-supported"),
        (State.NO_MEMORY, Activity.IDLE, False, "no-reserved-memory"),
        (State.NO_MEMORY, Activity.IDLE, True, "reboot-required"),
        (State.DISABLED, Activity.IDLE, False, "not-armed"),
        (State.UNARMED, Activity.BUILDING, False, "not-armed"),
        (State.STALE, Activity.WAITING, False, "not-armed"),
        (State.FOREIGN, Activity.IDLE, False, "not-armed"),
        (State.FAILED, Activity.WAITING, False, "not-armed"),
        (State.ARMED, Activity.BUILDING, False, "busy"),
        (State.ARMED, Activity.LOADING, False, "busy"),
    ],
)
def test_only_a_crash_of_an_armed_machine_at_rest_is_a_test(
    state: State, activity: Activity, *, reboot_required: bool, code: str
) -> None:
    status = replace(ARMED, state=state, activity=activity, reboot_required=reboot_required)
    found = obstacle(status)
    assert found is not None
    assert found.code == code
    assert obstacle(ARMED) is None
    assert obstacle(replace(ARMED, protected=False)) is not None


@pytest.mark.parametrize(
    ("dumps", "result", "words"),
    [
        ((SAVED,), "passed", "saved to /var/crash/d"),
        ((OF_A_SERVER,), "passed", "saved to crash@far:/dumps/d"),
        ((SILENT,), "passed", "saved to /var/crash/d"),
        ((replace(SILENT, panic=FORCED),), "passed", "saved to /var/crash/d"),
        ((LOST, SAVED), "passed", "though something went wrong before: the server does not answer"),
        ((replace(SAVED, failure="the disk did not come"),), "passed", "the disk did not come"),
        ((LOST,), "failed", "the server does not answer; see /failures/l"),
        ((replace(LOST, test_id="", panic=""),), "failed", "the server does not answer"),
        ((replace(SAVED, is_complete=False),), "failed", "the dump is not complete; see /var/crash/d"),
    ],
)
def test_a_dump_or_a_record_of_that_crash_decides(dumps: tuple[Dump, ...], result: str, words: str) -> None:
    outcome = judged(MARKER, dumps, is_over=False, now_us=5)
    assert outcome is not None
    assert (outcome.result, outcome.marker, outcome.decided_us) == (result, MARKER, 5)
    assert words in outcome.message


@pytest.mark.parametrize(
    ("dumps", "words"),
    [
        ((), "neither a dump of it nor a record"),
        ((replace(SAVED, test_id="another"),), "neither"),
        ((replace(SILENT, panic="BUG: another crash"),), "neither"),
        ((replace(SILENT, time_us=CRASHED_US - NEAR_US - 1),), "neither"),
        ((replace(SILENT, time_us=CRASHED_US + 3 * NEAR_US),), "neither"),
        ((replace(SAVED, is_ours=False),), "/var/crash/d may have been written by others than root"),
        (
            (replace(SAVED, is_ours=False, core="", is_complete=False),),
            "no complete dump was found, and /var/",
        ),
        ((replace(SAVED, is_ours=False, is_complete=False),), "may have been written by others than root"),
    ],
)
def test_nothing_else_decides_before_it_is_over_and_then_it_has_failed(
    dumps: tuple[Dump, ...], words: str
) -> None:
    assert judged(MARKER, dumps, is_over=False) is None
    outcome = judged(MARKER, dumps, is_over=True)
    assert outcome is not None
    assert outcome.result == "failed"
    assert words in outcome.message


def test_dumps_of_the_last_test_crash_are_told_as_such_also_later() -> None:
    outcome = Outcome(marker=MARKER, result="passed", message="m", dump="d")
    for record in (Record(pending=MARKER), Record(last=outcome)):
        of_it, other = marked((SILENT, replace(SILENT, panic="BUG: x")), record)
        assert (of_it.is_test, other.is_test) == (True, False)
    assert marked((SILENT,), Record()) == (SILENT,)


def test_a_record_says_what_is_known_and_forgets_a_crash_that_did_not_come() -> None:
    last = Outcome(marker=MARKER, result="failed", message="the disk is dead")
    known = Record(last=last)
    assert (Record().state, Record().message, Record().marker) == (CrashTest.NONE, "", None)
    assert (known.state, known.message, known.marker) == (CrashTest.FAILED, "the disk is dead", MARKER)
    pending = begun(known, MARKER)
    assert (pending.state, pending.marker) == (CrashTest.PENDING, MARKER)
    assert Record.model_validate_json(pending.model_dump_json()) == pending
    assert taken_back(pending) == known
    assert after_start(pending, boot_id="before") == known, "in the boot of the marker nothing crashed"
    assert after_start(pending, boot_id="after") == pending


def test_it_is_judged_in_a_later_boot_and_until_it_has_passed() -> None:
    pending = Record(pending=MARKER)
    assert to_be_judged(pending, boot_id="after") == MARKER
    assert to_be_judged(pending, boot_id="before") is None, "the machine is about to crash"
    nothing_found = Record(last=judged(MARKER, (), is_over=True))
    assert to_be_judged(nothing_found, boot_id="after") == MARKER
    lost = judged(MARKER, (LOST,), is_over=False)
    assert lost is not None
    assert to_be_judged(Record(last=lost), boot_id="after") == MARKER
    assert not overrules(lost, Record(last=lost))
    for dumps in ((SAVED,), (LOST, SAVED)):
        saved = judged(MARKER, dumps, is_over=False)
        assert saved is not None
        assert overrules(saved, Record(last=lost)), "a whole dump of root's counts for more"
    assert overrules(lost, nothing_found)
    assert overrules(lost, Record(pending=MARKER, last=lost))
    assert to_be_judged(Record(last=judged(MARKER, (SAVED,), is_over=False)), boot_id="after") is None
    assert to_be_judged(Record(), boot_id="after") is None
