"""kdumpctl doctor: what could keep a crash from being captured, grouped by how grave it is, each with what clears it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence

from kdumpd.checkup import Told, look
from kdumpd.cli_bus import QUICKLY, count, text_of
from kdumpd.cli_screen import Screen, Tone, complain, screen, wrapped
from kdumpd.cli_words import FAILED
from kdumpd.core.doctor import Outcome, findings, outcome
from kdumpd.core.finding import Finding, Gravity
from kdumpd.core.problems import Trouble
from kdumpd.core.symptoms import Daemon, Symptoms
from kdumpd.service.bus import BusError, Client, Connection
from kdumpd.service.permissions import BUS_NAME, MANAGER, ROOT

HEADINGS = {
    Gravity.FAILURE: ("A crash now would not be captured", Tone.BAD),
    Gravity.RISK: ("A crash could be missed, or its capture could fail", Tone.DOUBT),
    Gravity.UNKNOWN: ("Not known", Tone.DOUBT),
    Gravity.NOTE: ("Worth knowing", Tone.PLAIN),
}
WELL = {
    Outcome.WELL: "nothing was found that could keep a crash from being captured",
    Outcome.NOT_ALL_SEEN: "nothing wrong was found, but not everything could be looked at",
}


def run(asked: argparse.Namespace) -> int:
    """0 where nothing is wrong, 2 where nothing was found but not all could be seen.

    1 where a capture could fail, and without a finding on the standard output where nothing could be looked at.
    """
    is_here = os.path.realpath(asked.root) == "/"
    try:
        seen = asyncio.run(_look(asked, is_here=is_here))
    except OSError as fault:
        complain(f"the machine cannot be looked at: {fault}")
        return FAILED
    found = findings(seen)
    status = outcome(found)
    if asked.json:
        told = {
            "outcome": status.name.lower().replace("_", "-"),
            "findings": [_as_json(each) for each in found],
        }
        print(json.dumps(told, indent=2, sort_keys=True))
    else:
        print("\n".join(screenful(found, screen())))
    return status


def screenful(found: Sequence[Finding], on: Screen) -> list[str]:
    """The lines: under each heading its findings, each with its remedy and the command below it."""
    lines: list[str] = []
    for gravity, (heading, tone) in HEADINGS.items():
        group = [each for each in found if each.gravity is gravity]
        if not group:
            continue
        lines += ["", on.painted(f"{heading}:", tone)]
        for each in group:
            lines += _told(each, on)
    result = WELL.get(outcome(found))
    if result is not None:
        lines += ["", on.painted(result, Tone.GOOD if outcome(found) is Outcome.WELL else Tone.DOUBT)]
    return lines[1:]


def _told(finding: Finding, on: Screen) -> list[str]:
    line = f":{finding.line}" if finding.line else ""
    place = f"{finding.file}{line}: " if finding.file else ""
    room = on.columns - 4 if on.is_terminal else 0
    message, remedy = wrapped(f"{place}{finding.message}", room), wrapped(finding.remedy, room)
    return [
        *(
            f"{'  - ' if at == 0 else '    '}{on.painted(line, Tone.PLAIN)}"
            for at, line in enumerate(message)
        ),
        *(f"    {on.painted(line, Tone.FAINT)}" for line in remedy if line),
        *([f"        {on.painted(finding.command, Tone.STRONG)}"] if finding.command else []),
    ]


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "severity": finding.gravity.value,
        "message": finding.message,
        "remedy": finding.remedy,
        "command": finding.command,
        "file": finding.file,
        "line": finding.line,
    }


async def _look(asked: argparse.Namespace, *, is_here: bool) -> Symptoms:
    told = await _told_by_daemon(asked.bus) if is_here or asked.bus else Told(daemon=None)
    return await look(root=asked.root, told=told)


async def _told_by_daemon(address: str) -> Told:
    """Starts nothing; a daemon that cannot be asked is as good as none."""
    try:
        async with asyncio.timeout(QUICKLY), Connection(address) as connection:
            client = Client(connection, BUS_NAME)
            if not await client.is_running():
                return Told(daemon=Daemon(is_running=False))
            now = await client.get_all(ROOT, MANAGER)
    except (BusError, Trouble, TimeoutError):
        return Told(daemon=Daemon(is_running=False))
    error = now.get("LastError")
    name, text = error if isinstance(error, tuple) and len(error) == 2 else ("", "")
    return Told(
        daemon=Daemon(
            is_running=True,
            state=text_of(now["State"]),
            message=text_of(now["StateMessage"]),
            activity=text_of(now["Activity"]),
            error=text_of(name).rpartition(".")[2],
            error_text=text_of(text),
            test=text_of(now["TargetTestResult"]),
            test_message=text_of(now["TargetTestMessage"]),
            was_tested=bool(now["TargetTestTime"]),
        ),
        forecast_bytes=count(now, "DumpForecastBytes"),
    )
