"""kdumpctl's verbs that speak with the daemon, and what it prints about jobs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from kdumpd import cli_kernel
from kdumpd.cli_screen import MIB, Screen, Tone, complain, cut, legible, moment, screen
from kdumpd.cli_words import FAILED, OK
from kdumpd.core.problems import Trouble
from kdumpd.service.bus import NO_OBJECT, BusError, Client, Connection, ErrorName, Value
from kdumpd.service.permissions import BUS_NAME, CONFIG, JOB, MANAGER, ROOT

QUICKLY = 5.0  # seconds that a verb which has an answer of its own waits for the daemon's
Properties = Mapping[str, Value]
T = TypeVar("T")

UNSPEAKABLE = "is not UTF-8, and D-Bus can carry nothing else"
NOT_RUNNING = "kdumpd is not running; start it with `systemctl start kdumpd`"


def run(asked: argparse.Namespace) -> int:
    verbs: Mapping[str, Callable[[Client, argparse.Namespace], Awaitable[int]]] = {
        "start": _start,
        "stop": _stop,
        "restart": _restart,
        "reload": _reload,
        "rebuild": _rebuild,
        "test-target": _test_target,
    }
    if asked.verb == "showmem":
        return _showmem(asked)
    return with_daemon(asked.bus, lambda client: verbs[asked.verb](client, asked))


def with_daemon(address: str, do: Callable[[Client], Awaitable[int]]) -> int:
    """Do it over the bus; whatever goes wrong becomes one line and status 1."""
    try:
        return asked_of(address, do)
    except (BusError, Trouble) as fault:
        complain(said_of(fault))
        return FAILED


def asked_of(address: str, do: Callable[[Client], Awaitable[T]]) -> T:
    """What came of it. Raises BusError and Trouble."""

    async def attempt() -> T:
        async with Connection(address) as connection:
            return await do(Client(connection, BUS_NAME))

    return asyncio.run(attempt())


def said_of(fault: BusError | Trouble) -> str:
    if isinstance(fault, Trouble):
        return str(fault)
    if fault.name in {ErrorName.SERVICE_UNKNOWN, ErrorName.NAME_HAS_NO_OWNER} or "systemd1" in fault.name:
        return NOT_RUNNING
    if fault.name in {ErrorName.ACCESS_DENIED, ErrorName.INTERACTIVE_AUTHORIZATION_REQUIRED}:
        return f"{fault.text} Root may do it, as with sudo."
    return fault.text


def count(of: Properties, name: str) -> int:
    """A number among properties; 0 where it is not told."""
    value = of.get(name)
    return value if isinstance(value, int) else 0


def is_speakable(text: str) -> bool:
    """Whether the bus carries it as it is: bytes that are no UTF-8 stand in it as lone surrogates."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def text_of(value: Value) -> str:
    return value if isinstance(value, str) else ""


async def finished(client: Client, path: Value, *, plainly: bool = False) -> Properties:
    """Wait for a job, with its stages on a terminal, and with `plainly` also where there is none, a line for each.

    One that was superseded is followed to where it led. Where `path` says that there is no job, nothing was left to do.
    """
    if path == NO_OBJECT:
        return {"Result": "done"}
    progress = _Progress(screen(sys.stderr), plainly=plainly)
    try:
        job = await client.wait_until(
            text_of(path), JOB, lambda job: job["State"] == "done", told=progress.tell
        )
    except asyncio.CancelledError:
        progress.clear()
        complain("no longer waited for; kdumpd continues it, and `kdumpctl watch` shows how far it is")
        raise
    finally:
        progress.clear()
    if job["Result"] == "superseded":
        resting = {"idle", "waiting"}
        state = await client.wait_until(ROOT, MANAGER, lambda now: now["Activity"] in resting)
        is_well = state["State"] in {"armed", "disabled"}
        return {"Result": "done" if is_well else "failed", "ErrorMessage": state["StateMessage"]}
    return job


def why_not(job: Properties) -> str:
    """Why a job did not come to what it was for, "" where it did."""
    if job["Result"] == "done":
        return ""
    return text_of(job["ErrorMessage"]) or f"the job was {text_of(job['Result'])}"


class _Progress:
    """One line on a terminal that is written over; elsewhere a line for each stage, or nothing."""

    def __init__(self, on: Screen, *, plainly: bool) -> None:
        self._screen = on
        self._plainly = plainly
        self._stage = ""
        self._is_shown = False

    def tell(self, job: Properties) -> None:
        if self._screen.can_move:
            line = cut(legible(f"{bar(job)}  {progress(job)}"), self._screen.columns - 1)
            self._write(f"\r{line}\x1b[K")
            self._is_shown = True
        elif self._plainly and text_of(job["Stage"]) not in {"", self._stage}:
            self._stage = text_of(job["Stage"])
            complain(f"{text_of(job['Kind'])}: {self._stage}")

    def clear(self) -> None:
        if self._is_shown:
            self._write("\r\x1b[K")
            self._is_shown = False

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def bar(job: Properties, *, width: int = 20) -> str:
    """`[########------------]`; empty boxes where nobody knows how far the job is."""
    share = job.get("Progress")
    done = round(width * share) if job.get("ProgressValid") and isinstance(share, float) else 0
    return f"[{'#' * done}{'-' * (width - done)}]"


def progress(job: Properties) -> str:
    """`rebuild, 40%: build`, of a job's properties."""
    share, stage = job.get("Progress"), text_of(job.get("Stage", ""))
    percent = f", {share:.0%}" if job.get("ProgressValid") and isinstance(share, float) else ""
    return f"{text_of(job.get('Kind', ''))}{percent}{': ' if stage else ''}{stage}"


# --- verbs --------------------------------------------------------------------------------------------------------


async def _start(client: Client, asked: argparse.Namespace) -> int:
    return _outcome("Starting kdump", await _enabled(client, wish=True), asked)


async def _stop(client: Client, asked: argparse.Namespace) -> int:
    return _outcome("Stopping kdump", await _enabled(client, wish=False), asked)


async def _enabled(client: Client, *, wish: bool) -> Properties:
    (path,) = await client.call(ROOT, MANAGER, "SetEnabled", "ba{sv}", wish, {"runtime": True})
    return await finished(client, path, plainly=wish)


async def _restart(client: Client, asked: argparse.Namespace) -> int:
    begun = await _enabled(client, wish=True)
    if why_not(begun):
        return _outcome("Starting kdump", begun, asked)
    return await _reload(client, asked, is_restart=True)


async def _reload(client: Client, asked: argparse.Namespace, *, is_restart: bool = False) -> int:
    """On a machine that is not armed as well: what was stopped is started."""
    if not is_restart and not await client.get(ROOT, MANAGER, "Protected"):
        if not asked.json:
            print("Kdump was not running: [WARNING]")
        if not await client.get(ROOT, MANAGER, "Enabled"):
            return await _start(client, asked)
    options: Properties = {"restart": True} if is_restart else {}
    (path,) = await client.call(ROOT, MANAGER, "Reload", "a{sv}", options)
    return _outcome("Starting kdump", await finished(client, path, plainly=True), asked)


async def _rebuild(client: Client, asked: argparse.Namespace) -> int:
    options: Properties = {"force": True, "reason": "kdumpctl rebuild"}
    (path,) = await client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", options)
    return _outcome("Rebuilding the capture image", await finished(client, path, plainly=True), asked)


def _showmem(asked: argparse.Namespace) -> int:
    """What the kernel says, where the daemon does not: scripts expect an answer, and 0, from it."""
    try:
        reserved = asked_of(asked.bus, _reserved)
    except (BusError, Trouble, TimeoutError):
        reserved = cli_kernel.reserved_bytes()
    if asked.json:
        print(json.dumps({"ReservedBytes": reserved}, indent=2))
    else:
        print(f"Reserved {reserved // MIB}MB memory for crash kernel")
    return OK


async def _reserved(client: Client) -> int:
    async with asyncio.timeout(QUICKLY):
        found = await client.get(ROOT, MANAGER, "ReservedBytes") if await client.is_running() else None
    return found if isinstance(found, int) else cli_kernel.reserved_bytes()


async def _test_target(client: Client, asked: argparse.Namespace) -> int:
    (path,) = await client.call(ROOT, CONFIG, "TestTarget", "a{sv}a{sv}", {}, {})
    job = await finished(client, path, plainly=not asked.json)
    fault = why_not(job)
    told = await client.get_all(ROOT, MANAGER)
    if asked.json:
        names = (
            "TargetTestTime",
            "TargetTestResult",
            "TargetTestMessage",
            "TargetFreeBytes",
            "DumpForecastBytes",
        )
        print(json.dumps({name: told[name] for name in names}, indent=2, sort_keys=True))
    elif not fault:
        tone = Tone.GOOD if told["TargetTestResult"] == "passed" else Tone.DOUBT
        print(screen().painted(f"target test {tested(told)}", tone))
    if fault:
        complain(fault)
    return FAILED if fault else OK


def tested(state: Properties) -> str:
    """`passed on 2026-01-02 03:04:05: ...`, of the last test of the target."""
    when = moment(count(state, "TargetTestTime"))
    return f"{text_of(state['TargetTestResult'])} on {when}: {text_of(state['TargetTestMessage'])}"


def test_crash_told(state: Properties) -> str:
    """`passed, of 2026-01-02 03:04:05: ...`, of the last test crash."""
    when = moment(count(state, "TestCrashTime"))
    return f"{text_of(state['TestCrashState'])}, of {when}: {text_of(state['TestCrashMessage'])}"


def _outcome(what: str, job: Properties, asked: argparse.Namespace) -> int:
    fault = why_not(job)
    if asked.json:
        print(json.dumps(job, default=plain, indent=2, sort_keys=True))
    else:
        on = screen()
        word = on.painted("[FAILED]", Tone.BAD) if fault else on.painted("[OK]", Tone.GOOD)
        print(f"{what}: {word}")
    if fault:
        complain(fault)
    return FAILED if fault else OK


def shown(name: str, value: Value) -> str:
    if name == "Time" and isinstance(value, int):
        return datetime.fromtimestamp(value / 1e6, tz=UTC).astimezone().isoformat(" ", "seconds")
    if name == "Size" and isinstance(value, int):
        return f"{value / MIB:.1f} MiB"
    return str(value)


def plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
