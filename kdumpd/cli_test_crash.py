"""kdumpctl test-crash: what a test crash would do, the question whether it is meant, and what became of the last one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from kdumpd.cli_bus import plain, test_crash_told, text_of, with_daemon
from kdumpd.cli_screen import MIB, complain, legible, say
from kdumpd.cli_words import FAILED, NOT_OPERATIONAL, OK
from kdumpd.service.bus import BusError, Client, ErrorName, Value
from kdumpd.service.permissions import MANAGER, ROOT

WORD = "crash"
"""What is to be typed. A single letter is typed too soon."""
LONGEST_CRASH = 600.0
"""Seconds: a password is typed, and file systems are synced."""
_STATUS = {"passed": OK, "failed": FAILED}
_NAMES = ("TestCrashState", "TestCrashTime", "TestCrashMessage")
_GONE = frozenset({ErrorName.DISCONNECTED, ErrorName.NO_REPLY})
AFTERWARDS = "after the reboot `kdumpctl test-crash --outcome` says what became of it"


def run(asked: argparse.Namespace) -> int:
    """1 where nothing was crashed that should have been. It does not return from a machine that crashes.

    Whoever says no to `test` has 0, as scripts know it of kdump-utils.
    """
    if asked.outcome:
        return with_daemon(asked.bus, lambda client: _outcome(client, asked))
    plans: list[Mapping[str, Value]] = []

    async def show(client: Client) -> int:
        plans.append((await _prepared(client))[1])
        print(
            json.dumps(plans[0], default=plain, indent=2, sort_keys=True)
            if asked.json
            else legible(told(plans[0]))
        )
        return OK

    status = with_daemon(asked.bus, show)
    if status != OK or asked.dry_run or (asked.json and not asked.yes):
        return status
    # Between two connections, so that whoever thinks it over does not hold a token that grows old.
    if not asked.yes and not sys.stdin.isatty():
        complain("nothing was crashed: there is no terminal to ask on; --yes crashes without asking")
        return FAILED
    if not asked.yes and not _is_meant():
        return OK if asked.verb == "test" else FAILED
    return with_daemon(asked.bus, lambda client: _crash(client, asked, shown=plans[0]))


def told(plan: Mapping[str, Value]) -> str:
    """What would happen, for whoever has to decide."""
    took, forecast, free = (
        _number(plan, name) for name in ("capture-seconds", "forecast-bytes", "free-bytes")
    )
    lines = [
        f"This machine would crash now, with these effects: {text_of(plan['lost'])}.",
        f"The dump would be saved to {text_of(plan['where'])}"
        + (f", about {forecast / MIB:.0f} MiB" if forecast else "")
        + (f" where {free / MIB:.0f} MiB are free" if free else "")
        + ".",
        f"The last capture took {took:.0f} s, and the boot comes on top."
        if took
        else "How long a capture takes is not known yet; until it is over this machine does not answer.",
        f"Afterwards: {text_of(plan['final-action'])}; if nothing can be saved: {text_of(plan['failure-action'])}.",
    ]
    if plan["target-test"] not in {"", "passed"}:
        lines.append(
            f"The target's last test: {text_of(plan['target-test'])}, {text_of(plan['target-test-message'])}."
        )
    return "\n".join(lines)


def _number(plan: Mapping[str, Value], name: str) -> float:
    value = plan[name]
    return float(value) if isinstance(value, int | float) else 0.0


def _is_meant() -> bool:
    print(f'Type "{WORD}" to crash this machine now: ', end="", flush=True)
    if sys.stdin.readline().strip() == WORD:
        return True
    complain("nothing was crashed")
    return False


async def _prepared(client: Client) -> tuple[str, Mapping[str, Value]]:
    token, _expires, plan = await client.call(ROOT, MANAGER, "PrepareTestCrash", "a{sv}", {})
    return text_of(token), dict(plan) if isinstance(plan, Mapping) else {}


async def _crash(client: Client, asked: argparse.Namespace, *, shown: Mapping[str, Value]) -> int:
    token, plan = await _prepared(client)
    if (plan["where"], plan["kernel"]) != (shown["where"], shown["kernel"]):
        complain("nothing was crashed: the target or the kernel has changed since the plan was shown")
        return FAILED
    if not asked.json:
        say(f"crashing; {AFTERWARDS}")
    sys.stdout.flush()
    try:
        await client.call(ROOT, MANAGER, "TestCrash", "sa{sv}", token, {}, timeout=LONGEST_CRASH)
    except BusError as fault:
        if fault.name in _GONE:  # only where somebody pretends to crash is there anybody to be told
            return OK
        raise
    return FAILED


async def _outcome(client: Client, asked: argparse.Namespace) -> int:
    state = (
        await client.wait_until(ROOT, MANAGER, lambda now: now["TestCrashState"] != "pending")
        if asked.wait
        else await client.get_all(ROOT, MANAGER)
    )
    if asked.json:
        print(json.dumps({name: state[name] for name in _NAMES}, indent=2, sort_keys=True))
    elif state["TestCrashState"] == "none":
        print("no test crash was performed")
    else:
        say(f"test crash {test_crash_told(state)}")
    return _STATUS.get(text_of(state["TestCrashState"]), NOT_OPERATIONAL)
