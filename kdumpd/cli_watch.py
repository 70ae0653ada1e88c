"""kdumpctl watch: what kdumpd does, as it does it, until Ctrl-C: one screen that is written over, or a line for each change."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn, Protocol

from kdumpd.cli_bus import Properties, bar, plain, progress, said_of, text_of
from kdumpd.cli_screen import Screen, Tone, columns, complain, cut, legible, moment, screen
from kdumpd.cli_status import Sight, look, properties_of, screenful
from kdumpd.cli_words import FAILED, OK
from kdumpd.core.problems import Trouble
from kdumpd.service.bus import BusError, Client, Connection, Value
from kdumpd.service.bus.standard import PROPERTIES
from kdumpd.service.permissions import BUS_NAME, JOB, MANAGER, ROOT

AT_ONCE = 0.1
"""Seconds in which changes that follow each other are shown as one: a burst of them is no reason to flicker."""
AGAIN = 1.0
"""Seconds after which a daemon that has left is looked for again."""
LASTLY = 1.0
"""Seconds in which the terminal is to have room for what shows the cursor again, where the watch is ended from outside."""

JOBS_SHOWN = 5

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_UP, _CLEAR = "\x1b[{}A", "\x1b[J"
_TONE = re.compile("\x1b\\[[0-9]*m")

Jobs = Mapping[str, Properties]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is to be seen at one moment; `gone` says why where there is no daemon."""

    seen: Sight | None
    jobs: Jobs
    gone: str = ""


class Face(Protocol):
    """Who shows it."""

    def show(self, view: View) -> None: ...


def run(asked: argparse.Namespace) -> int:
    """0 once it is ended with Ctrl-C; 1 where there was nothing to watch to begin with.

    SIGTERM ends it as it ends any program, but for what is to be put right on the terminal before.
    """
    on = screen()
    if asked.json or not on.can_move:
        return _watched(asked.bus, _Lines(as_json=asked.json))
    face = _Live(on)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = _watched(asked.bus, face)
        face.end()
    except BaseException as end:
        face.leave()
        if not isinstance(end, _Terminated):
            raise
    else:
        return status
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)
    return FAILED


class _Terminated(SystemExit):
    """SIGTERM has come. asyncio lets this kind through wherever it is raised, and every other kind not."""


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    """Leaves also a write for which the terminal has no room. The next SIGTERM ends the program at once."""
    signal.signal(number, signal.SIG_DFL)
    raise _Terminated


def _watched(address: str, face: Face) -> int:
    try:
        return asyncio.run(_watch(address, face))
    except KeyboardInterrupt:
        return OK


async def _watch(address: str, face: Face) -> int:
    was_there = False
    while True:
        try:
            async with Connection(address) as connection:
                client = Client(connection, BUS_NAME)
                # What has left is not started again by us: it may have been stopped.
                if not was_there or await client.is_running():
                    await client.get(ROOT, MANAGER, "State")
                    was_there = True
                    await _follow(client, connection, face)
        except (BusError, Trouble) as fault:
            if not was_there:
                complain(said_of(fault))
                return FAILED
            face.show(View(seen=None, jobs={}, gone=said_of(fault)))
        await asyncio.sleep(AGAIN)


async def _follow(client: Client, connection: Connection, face: Face) -> NoReturn:
    """Show each change until the daemon leaves, which is a BusError."""
    async with (
        connection.departure(BUS_NAME) as gone,
        client.signals(PROPERTIES, "PropertiesChanged", below=ROOT) as changes,
    ):
        jobs = {path for path, has in (await client.objects(ROOT)).items() if JOB in has}
        while True:
            seen = await look(client)
            known = {path: await properties_of(client, path, JOB) for path in sorted(jobs, key=_number)}
            jobs = {path for path, job in known.items() if job}
            face.show(View(seen=seen, jobs={path: known[path] for path in jobs}))
            news = [await client.next_change(changes, gone)]
            await asyncio.sleep(AT_ONCE)
            news += changes.drained()
            jobs |= {each.path for each in news if each.path.startswith(f"{ROOT}/jobs/")}


def _number(path: str) -> int:
    digits = path.rpartition("/")[2]
    return int(digits) if digits.isdigit() else 0


class _Live:
    """On a terminal: the screen of `status`, and the jobs below it, written over at each change."""

    def __init__(self, on: Screen) -> None:
        self._screen = on
        self._drawn: list[str] = []

    def show(self, view: View) -> None:
        on = self._screen = screen()
        if view.seen is None:
            lines = [on.painted(cut(legible(view.gone), on.columns), Tone.BAD)]
        else:
            lines = [*screenful(view.seen, on, is_watched=True), *_jobs(view.jobs, on)]
        foot = f"{moment(time.time_ns() // 1000)}  Ctrl-C ends"
        lines = [*lines[: on.lines - 2], on.painted(cut(foot, on.columns), Tone.FAINT)]
        sys.stdout.write(f"{_HIDE}{self._back(on.columns)}{_CLEAR}" + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._drawn = lines

    def end(self) -> None:
        sys.stdout.write(_SHOW)
        sys.stdout.flush()

    def leave(self) -> None:
        """As `end`, where the terminal takes it; one that takes nothing, or is gone, holds nobody up."""
        terminal = sys.stdout.fileno()
        with contextlib.suppress(OSError):
            select.select((), (terminal,), (), LASTLY)
            os.set_blocking(terminal, False)  # for whoever else writes there as well, and so not for long
            try:
                os.write(terminal, _SHOW.encode())
            finally:
                os.set_blocking(terminal, True)

    def _back(self, width: int) -> str:
        """To the first line that was drawn: on a terminal that became narrower one takes several."""
        taken = sum(max(1, -(-columns(_TONE.sub("", line)) // width)) for line in self._drawn)
        return f"\r{_UP.format(taken)}" if taken else ""


def _jobs(jobs: Jobs, on: Screen) -> list[str]:
    """Those under way, and how the last ones ended."""
    if not jobs:
        return []
    lines = [""]
    for path, job in sorted(jobs.items(), key=lambda each: _number(each[0]))[-JOBS_SHOWN:]:
        result, reason = text_of(job["Result"]), text_of(job["Reason"])
        why = f" ({reason})" if reason else ""
        number = _number(path)
        if job["State"] == "done":
            tone = Tone.BAD if result in {"failed", "timeout"} else Tone.PLAIN
            error = text_of(job["ErrorMessage"])
            told = f"job {number}  {text_of(job['Kind'])} {result}{why}{': ' if error else ''}{error}"
        else:
            tone = Tone.STRONG
            told = f"job {number}  {bar(job)}  {progress(job)}{why}"
        lines.append(on.painted(cut(legible(told).replace("\n", " "), on.columns), tone))
    return lines


class _Lines:
    """Elsewhere: a line for each change, as text or as JSON; what is over already when it begins is left out."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._state: tuple[str, ...] = ()
        self._stages: dict[str, tuple[str, ...]] = {}
        self._is_first = True

    def show(self, view: View) -> None:
        if view.seen is None:
            state: tuple[str, ...] = ("", "", view.gone)
        else:
            now = view.seen.manager
            state = (text_of(now["State"]), text_of(now["Activity"]), text_of(now["StateMessage"]))
        if state != self._state:
            self._state = state
            self._tell(
                f"{state[1]}{', ' if state[1] else ''}{state[2]}",
                {"State": state[0], "Activity": state[1], "StateMessage": state[2]},
            )
        for path, job in sorted(view.jobs.items(), key=lambda each: _number(each[0])):
            stage = tuple(text_of(job[name]) for name in ("State", "Stage", "Result"))
            if stage != self._stages.get(path) and not (self._is_first and stage[0] == "done"):
                self._tell(f"job {_number(path)} {_stage(job)}", {"Job": dict(job)})
            self._stages[path] = stage
        self._stages = {path: stage for path, stage in self._stages.items() if path in view.jobs}
        self._is_first = False

    def _tell(self, text: str, fields: Mapping[str, Value]) -> None:
        now_us = time.time_ns() // 1000
        if self._as_json:
            print(json.dumps({"Time": now_us, **fields}, default=plain, sort_keys=True), flush=True)
        else:
            print(f"{moment(now_us)}  {legible(text).replace(chr(10), ' ')}", flush=True)


def _stage(job: Properties) -> str:
    """`rebuild: compress`, `rebuild failed: ...`."""
    kind, error = text_of(job["Kind"]), text_of(job["ErrorMessage"])
    if job["State"] == "done":
        return f"{kind} {text_of(job['Result'])}{': ' if error else ''}{error}"
    return f"{kind}: {text_of(job['Stage']) or text_of(job['State'])}"
