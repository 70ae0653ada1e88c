"""kdumpctl's verbs that speak with the daemon, and what it prints about jobs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from kdumpd.core.problems import Trouble
from kdumpd.service.bus import BusError, Client, Connection, ErrorName, Value
from kdumpd.service.permissions import BUS_NAME, CONFIG, JOB, MANAGER, ROOT

OPERATIONAL = 0
FAILED = 1
NOT_OPERATIONAL = 3
QUICKLY = 5.0  # seconds that a status waits for the daemon
LOADED = ("/sys/kernel/kexec/crash_loaded", "/sys/kernel/kexec_crash_loaded")
MIB = 1 << 20

NOT_RUNNING = "kdumpd is not running; start it with `systemctl start kdumpd`"


def run(asked: argparse.Namespace) -> int:
    verbs: Mapping[str, Callable[[Client, argparse.Namespace], Awaitable[int]]] = {
        "start": _start,
        "stop": _stop,
        "restart": _restart,
        "reload": _reload,
        "rebuild": _rebuild,
        "showmem": _showmem,
        "test-target": _test_target,
    }
    if asked.verb == "status":
        return asyncio.run(_status(asked))
    return with_daemon(asked.bus, lambda client: verbs[asked.verb](client, asked))


def with_daemon(address: str, do: Callable[[Client], Awaitable[int]]) -> int:
    """Do it over the bus; whatever goes wrong becomes one line and status 1."""

    async def attempt() -> int:
        async with Connection(address) as connection:
            return await do(Client(connection, BUS_NAME))

    try:
        return asyncio.run(attempt())
    except (BusError, Trouble) as fault:
        complain(said_of(fault))
        return FAILED


def said_of(fault: BusError | Trouble) -> str:
    if isinstance(fault, Trouble):
        return str(fault)
    if fault.name in {ErrorName.SERVICE_UNKNOWN, ErrorName.NAME_HAS_NO_OWNER} or "systemd1" in fault.name:
        return NOT_RUNNING
    return fault.text


def text_of(value: Value) -> str:
    return value if isinstance(value, str) else ""


def complain(text: str) -> None:
    print(f"kdump: {legible(text)}", file=sys.stderr)


def say(text: str) -> None:
    """To people: what a terminal would obey, of a directory's name or a crashed kernel's words, is not passed on."""
    print(legible(text))


def legible(text: str) -> str:
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)


async def finished(client: Client, path: str) -> Mapping[str, Value]:
    """Wait for a job, with its stages on a terminal. One that was superseded is followed to where it led."""
    progress = _Progress()
    job = await client.wait_until(path, JOB, lambda job: job["State"] == "done", told=progress.tell)
    progress.clear()
    if job["Result"] == "superseded":
        resting = {"idle", "waiting"}
        state = await client.wait_until(ROOT, MANAGER, lambda now: now["Activity"] in resting)
        is_well = state["State"] in {"armed", "disabled"}
        return {"Result": "done" if is_well else "failed", "ErrorMessage": state["StateMessage"]}
    return job


class _Progress:
    """One line on a terminal that is written over; nothing where the output is none."""

    def __init__(self) -> None:
        self._width = 0
        self._is_terminal = sys.stderr.isatty()

    def tell(self, job: Mapping[str, Value]) -> None:
        share, stage = job["Progress"], str(job["Stage"])
        percent = f"{share:4.0%} " if job["ProgressValid"] and isinstance(share, float) else ""
        self._write(f"{percent}{stage}")

    def clear(self) -> None:
        self._write("")
        if self._is_terminal:
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _write(self, line: str) -> None:
        if self._is_terminal:
            sys.stderr.write("\r" + line.ljust(self._width))
            sys.stderr.flush()
            self._width = len(line)


# --- verbs --------------------------------------------------------------------------------------------------------


async def _status(asked: argparse.Namespace) -> int:
    """Never waits long, starts nothing, and without the daemon says what the kernel says."""
    try:
        async with asyncio.timeout(QUICKLY), Connection(asked.bus) as connection:
            client = Client(connection, BUS_NAME)
            if not await client.is_running():
                return _status_without_daemon("kdumpd is not running", as_json=asked.json)
            state = await client.get_all(ROOT, MANAGER)
    except (BusError, Trouble) as fault:
        return _status_without_daemon(said_of(fault), as_json=asked.json)
    except TimeoutError:
        return _status_without_daemon("kdumpd does not answer", as_json=asked.json)
    is_operational = bool(state["Protected"])
    if asked.json:
        print(json.dumps({**state, "Operational": is_operational}, default=plain, indent=2, sort_keys=True))
    else:
        print(_operational(is_operational))
        print(text_of(state["StateMessage"]))
        if state["RebootRequired"]:
            print("a reboot is required for a change to take effect")
        if state["Activity"] != "idle":
            print(f"kdumpd is {text_of(state['Activity'])}")
        if state.get("TargetTestResult"):
            print(_tested(state))
    return OPERATIONAL if is_operational else NOT_OPERATIONAL


def _status_without_daemon(why: str, *, as_json: bool) -> int:
    is_loaded = _is_loaded()
    if as_json:
        print(json.dumps({"Operational": is_loaded, "CrashKernelLoaded": is_loaded, "Error": why}, indent=2))
    else:
        print(_operational(is_loaded))
        unknown = "; whether what is loaded is what the configuration says is not known" if is_loaded else ""
        print(f"{why}{unknown}")
    return OPERATIONAL if is_loaded else NOT_OPERATIONAL


def _is_loaded() -> bool:
    for path in LOADED:
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip() == "1"
        except OSError:
            continue
    return False


def _operational(is_operational: bool) -> str:  # noqa: FBT001  # the only thing it is about
    return "Kdump is operational" if is_operational else "Kdump is not operational"


async def _start(client: Client, _asked: argparse.Namespace) -> int:
    return _outcome("Starting kdump", await _enabled(client, wish=True))


async def _stop(client: Client, _asked: argparse.Namespace) -> int:
    return _outcome("Stopping kdump", await _enabled(client, wish=False))


async def _enabled(client: Client, *, wish: bool) -> Mapping[str, Value]:
    (path,) = await client.call(ROOT, MANAGER, "SetEnabled", "ba{sv}", wish, {"runtime": True})
    return await finished(client, text_of(path))


async def _restart(client: Client, asked: argparse.Namespace) -> int:
    begun = await _enabled(client, wish=True)
    if begun["Result"] != "done":
        return _outcome("Starting kdump", begun)
    return await _reload(client, asked, is_restart=True)


async def _reload(client: Client, _asked: argparse.Namespace, *, is_restart: bool = False) -> int:
    options: Mapping[str, Value] = {"restart": True} if is_restart else {}
    (path,) = await client.call(ROOT, MANAGER, "Reload", "a{sv}", options)
    return _outcome("Starting kdump", await finished(client, text_of(path)))


async def _rebuild(client: Client, _asked: argparse.Namespace) -> int:
    options: Mapping[str, Value] = {"force": True, "reason": "kdumpctl rebuild"}
    (path,) = await client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", options)
    return _outcome("Rebuilding the capture image", await finished(client, text_of(path)))


async def _showmem(client: Client, _asked: argparse.Namespace) -> int:
    reserved = await client.get(ROOT, MANAGER, "ReservedBytes")
    print(f"Reserved {reserved // MIB if isinstance(reserved, int) else 0}MB memory for crash kernel")
    return OPERATIONAL


async def _test_target(client: Client, asked: argparse.Namespace) -> int:
    (path,) = await client.call(ROOT, CONFIG, "TestTarget", "a{sv}a{sv}", {}, {})
    job = await finished(client, text_of(path))
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
    elif job["Result"] == "done":
        print(_tested(told))
    else:
        complain(text_of(job["ErrorMessage"]))
    return OPERATIONAL if job["Result"] == "done" else FAILED


def _tested(state: Mapping[str, Value]) -> str:
    when = shown("Time", state["TargetTestTime"])
    return (
        f"target test {text_of(state['TargetTestResult'])} on {when}: {text_of(state['TargetTestMessage'])}"
    )


def _outcome(what: str, job: Mapping[str, Value]) -> int:
    if job["Result"] == "done":
        print(f"{what}: [OK]")
        return OPERATIONAL
    print(f"{what}: [FAILED]")
    complain(text_of(job["ErrorMessage"]) or f"the job was {text_of(job['Result'])}")
    return FAILED


def shown(name: str, value: Value) -> str:
    if name == "Time" and isinstance(value, int):
        return datetime.fromtimestamp(value / 1e6, tz=UTC).astimezone().isoformat(" ", "seconds")
    if name == "Size" and isinstance(value, int):
        return f"{value / MIB:.1f} MiB"
    return str(value)


def plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
