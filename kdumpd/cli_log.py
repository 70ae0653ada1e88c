"""kdumpctl log: what a job said, and what it says while it runs."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import cast

from kdumpd.cli_bus import Properties, plain, text_of, with_daemon
from kdumpd.cli_screen import Tone, complain, say, screen
from kdumpd.cli_words import FAILED, OK
from kdumpd.service.bus import Client
from kdumpd.service.permissions import JOB, ROOT

LINES_AT_ONCE = 1000
AGAIN = 1.0
"""Seconds after which a job is asked for more: that it has another line is no change which the bus would tell of."""


def run(asked: argparse.Namespace) -> int:
    """0, or 1 where there is no such job."""
    return with_daemon(asked.bus, lambda client: _log(client, asked))


async def _log(client: Client, asked: argparse.Namespace) -> int:
    objects = await client.objects(ROOT)
    jobs = {cast("int", has[JOB]["Id"]): (path, has[JOB]) for path, has in objects.items() if JOB in has}
    number = asked.job or _of_interest({number: job for number, (_, job) in jobs.items()})
    if number not in jobs:
        which = f"there is no job {number}" if number else "no job runs"
        complain(
            f"{which}; jobs are kept for a minute after their end. `kdumpctl history` lists earlier ones, and "
            "`journalctl -u kdumpd` has their logs"
        )
        return FAILED
    path, job = jobs[number]
    on = screen()
    if on.is_terminal and not asked.json:
        print(on.painted(f"job {number}, {_called(job)}", Tone.STRONG))
    lines = await _lines(client, path, is_shown=not asked.json)
    job = await client.get_all(path, JOB)
    if not lines and not asked.json:
        complain(f"job {number} has logged nothing")
    if asked.json:
        print(json.dumps({**job, "Log": lines}, default=plain, indent=2, sort_keys=True))
    elif on.is_terminal:
        error = text_of(job["ErrorMessage"])
        told = f"job {number} is {text_of(job['Result'])}{': ' if error else ''}{error}"
        print(on.painted(told, Tone.PLAIN if job["Result"] == "done" else Tone.DOUBT))
    return OK


def _of_interest(jobs: dict[int, Properties]) -> int:
    """The newest that runs, or else the newest; 0 where there is none."""
    running = [number for number, job in jobs.items() if job["State"] != "done"]
    return max(running or jobs, default=0)


def _called(job: Properties) -> str:
    reason = text_of(job["Reason"])
    return f"{text_of(job['Kind'])}{': ' if reason else ''}{reason}"


async def _lines(client: Client, path: str, *, is_shown: bool) -> list[str]:
    """All of them, until the job is over."""
    found: list[str] = []
    offset, is_end = 0, False
    while True:
        answer = await client.call(path, JOB, "GetLog", "tua{sv}", offset, LINES_AT_ONCE, {})
        lines, offset, is_end = cast("tuple[tuple[str, ...], int, bool]", answer)
        found += lines
        for line in lines if is_shown else ():
            say(line)
        if is_end:
            return found
        if not lines:
            await asyncio.sleep(AGAIN)
