#!/usr/bin/python3
"""Measures kdumpd from within the machine, by its own clock, and prints what it saw as JSON.

    probe.py rearm PATH FIRST  edit `path`, wait until that is armed; beside it the same load by hand, before it where
                               FIRST is "bare", after it where it is "edit"
    probe.py reconfigure NAME MODULE
                               several kinds of edits, how long nothing was loaded in each, and beside each a load by hand
    probe.py rebuild           base and overlay built anew
    probe.py burst EDITS SECONDS
    probe.py status CALLS      round trips while nothing is done, and while a build runs
    probe.py idle SECONDS      context switches of the daemon's tasks meanwhile

Times are seconds. Whether a crash kernel is loaded is read each 5 ms, in a thread, which hears of each run of kexec too.
Nothing is measured before the daemon has come to rest: no job runs, what follows an arming (the test of the target, the
giving back of memory) is over, and nothing more is heard of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

NAME, ROOT = "org.kdumpd.Kdump1", "/org/kdumpd/Kdump1"
PROPERTIES = "org.freedesktop.DBus.Properties"
CONF = "/etc/kdump.conf"
RECORD = Path("/run/kdumpd/armed")
NEW, OLD = Path("/sys/kernel/kexec/crash_loaded"), Path("/sys/kernel/kexec_crash_loaded")
LOADED = NEW if NEW.exists() else OLD
EVERY = 0.005
QUIET = 10.0  # seconds without any news: what begins by itself after an arming is over by then
PATIENCE = 600.0

Properties = dict[str, Any]


class Watch:
    """Each stretch in which nothing was loaded, from the last reading that said so before to the first after it.

    `calls` are the runs of kexec meanwhile, from the opening of the program to its closing, as inotify(7) tells.
    """

    def __init__(self) -> None:
        self.gaps: list[tuple[float, float]] = []
        self.calls: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._kexec = _Opened(shutil.which("kexec") or "/usr/sbin/kexec")
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._kexec.close()

    def _watch(self) -> None:
        since: float | None = None
        while not self._ended.is_set():
            is_loaded = LOADED.read_text().strip() == "1"
            now = time.monotonic()
            if is_loaded and since is not None:
                self.gaps.append((since, now))
                since = None
            elif not is_loaded and since is None:
                since = now
            self.calls += self._kexec.runs_within(EVERY)
        if since is not None:
            self.gaps.append((since, time.monotonic()))

    @property
    def seconds(self) -> list[float]:
        return [end - begin for begin, end in self.gaps]

    @property
    def call_seconds(self) -> list[float]:
        return [end - begin for begin, end in self.calls]


class _Opened:
    """When a program was opened and closed again: when it was run."""

    OPEN, CLOSE_NOWRITE = 0x20, 0x10  # linux/inotify.h

    def __init__(self, program: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = self.OPEN | self.CLOSE_NOWRITE
        if libc.inotify_add_watch(self._descriptor, os.fsencode(program), mask) < 0:
            raise OSError(ctypes.get_errno(), "no runs of kexec can be heard", program)
        self._since: float | None = None

    def runs_within(self, seconds: float) -> list[tuple[float, float]]:
        """Those that ended in so many seconds; waits for them."""
        runs: list[tuple[float, float]] = []
        end = time.monotonic() + seconds
        while select.select([self._descriptor], [], [], max(end - time.monotonic(), 0))[0]:
            now = time.monotonic()
            told, at = os.read(self._descriptor, 4096), 0
            while at < len(told):
                _, mask, _, length = struct.unpack_from("iIII", told, at)
                at += 16 + length
                if mask & self.OPEN and self._since is None:
                    self._since = now
                if mask & self.CLOSE_NOWRITE and self._since is not None:
                    runs.append((self._since, now))
                    self._since = None
        return runs

    def close(self) -> None:
        os.close(self._descriptor)


class Kdumpd:
    """The daemon over one connection that stays open: what it said last of itself, and news of it as it comes."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._news = asyncio.Event()
        self.said: dict[str, Properties] = {"Manager": {}, "Config": {}}
        self.activities: list[tuple[float, str]] = []
        self._jobs: set[str] = set()
        self._heard = 0
        self._rested = -1  # how much had been heard when it last came to rest

    @classmethod
    async def connect(cls) -> Kdumpd:
        kdumpd = cls(await MessageBus(bus_type=BusType.SYSTEM).connect())
        kdumpd._bus.add_message_handler(kdumpd._hear)
        rule = f"type='signal',sender='{NAME}',path='{ROOT}'"
        await kdumpd._ask(
            "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.AddMatch", "s", rule
        )
        for interface in ("Manager", "Config"):
            kdumpd.said[interface] |= await kdumpd.look(interface)
        (objects,) = await kdumpd._ask(NAME, ROOT, "org.freedesktop.DBus.ObjectManager.GetManagedObjects", "")
        for path, interfaces in objects.items():
            job = interfaces.get(f"{NAME}.Job")
            if job is not None and job["State"].value != "done":
                kdumpd._jobs.add(path)
        return kdumpd

    async def look(self, interface: str = "Manager") -> Properties:
        (told,) = await self._ask(NAME, ROOT, f"{PROPERTIES}.GetAll", "s", f"{NAME}.{interface}")
        return {name: variant.value for name, variant in told.items()}

    async def rebuild(self) -> None:
        options = {"force": Variant("b", value=True), "reason": Variant("s", "measured")}
        await self._ask(NAME, ROOT, f"{NAME}.Manager.Rebuild", "sa{sv}", "", options)

    async def until(self, is_so: Callable[[Properties, Properties], bool], *, what: str) -> float:
        """When it came to be so, of the Manager and of the Config; what was so before counts as now."""
        end = time.monotonic() + PATIENCE
        while not is_so(self.said["Manager"], self.said["Config"]):
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), end - time.monotonic())
            except TimeoutError:
                sys.exit(f"{PATIENCE:.0f} s passed and it is not so: {what}; it says {self.said['Manager']}")
        return time.monotonic()

    async def until_armed_with(self, path: str) -> float:
        def is_so(manager: Properties, _: Properties) -> bool:
            return bool(manager["State"] == "armed" and path in manager["StateMessage"])

        return await self.until(is_so, what=f"armed with {path}")

    async def until_idle(self) -> None:
        """Nothing is done, no job of any kind runs, and for a while nothing new is heard: what follows is over as well."""
        while self._rested != self._heard:
            self._rested = self._heard
            await self.until(
                lambda manager, _: bool(
                    manager["Activity"] == "idle" and manager["ActiveJob"] == "/" and not self._jobs
                ),
                what="idle",
            )
            await asyncio.sleep(QUIET)

    async def _ask(self, to: str, path: str, member: str, signature: str, *body: object) -> list[Any]:
        interface, _, name = member.rpartition(".")
        answer = await self._bus.call(
            Message(
                destination=to,
                path=path,
                interface=interface,
                member=name,
                signature=signature,
                body=list(body),
            )
        )
        if answer is None or answer.message_type is MessageType.ERROR:
            sys.exit(f"{member}: {answer.error_name if answer else ''} {answer.body if answer else ''}")
        return list(answer.body)

    def _hear(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL or message.path != ROOT:
            return
        match message.member:
            case "PropertiesChanged":
                interface, changed, _ = message.body
                told = self.said.get(interface.rpartition(".")[2])
                if told is None:
                    return
                told |= {name: variant.value for name, variant in changed.items()}
                if "Activity" in changed:
                    self.activities.append((time.monotonic(), changed["Activity"].value))
            case "JobNew":
                self._jobs.add(message.body[1])
            case "JobRemoved":
                self._jobs.discard(message.body[1])
            case _:
                return
        self._heard += 1
        self._news.set()


def write_conf(lines: list[str]) -> float:
    """By rename, as editors do; when it was there."""
    Path(f"{CONF}.new").write_text("".join(f"{line}\n" for line in lines))
    os.rename(f"{CONF}.new", CONF)
    return time.monotonic()


def conf_without(*names: str) -> list[str]:
    """The lines that set something else than these."""
    lines = Path(CONF).read_text().splitlines()
    return [
        line for line in lines if line.split() and not line.startswith("#") and line.split()[0] not in names
    ]


def record() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(RECORD.read_text())
    return told


def armed_path() -> str:
    return str(record()["description"]["target"]["directory"])


def daemon_pid() -> str:
    shown = ["systemctl", "show", "-p", "MainPID", "--value", "kdumpd"]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout.strip()


def load_by_hand(flags: list[str]) -> float:
    """One bare call with the very image and command line that are armed; how long it took."""
    armed = record()
    argv = [
        "kexec",
        "-p",
        *flags,
        f"--initrd={armed['initramfs']}",
        f"--command-line={armed['command_line']}",
    ]
    begun = time.monotonic()
    subprocess.run([*argv, armed["kernel_image"]], check=True, capture_output=True)
    return time.monotonic() - begun


async def rearm(path: str, first: str) -> object:
    kdumpd = await Kdumpd.connect()
    seen: dict[str, object] = await by_hand(kdumpd) if first == "bare" else {}
    await kdumpd.until_idle()
    with Watch() as watch:
        kdumpd.activities.clear()
        edited = write_conf([*conf_without("path"), f"path {path}"])
        said = await kdumpd.until_armed_with(path) - edited
        await kdumpd.until_idle()
    seen |= {
        "said": said,
        "gaps": watch.seconds,
        "calls": watch.call_seconds,
        "loaded": watch.gaps[-1][1] - edited,
    }
    for at, activity in reversed(kdumpd.activities):
        seen[activity] = at - edited  # the first of each
    return seen if first == "bare" else seen | await by_hand(kdumpd)


async def by_hand(kdumpd: Kdumpd) -> dict[str, object]:
    """The bare load of what is armed, while the daemon sleeps; it may wake and arm again afterwards."""
    await kdumpd.until_idle()
    flags = record()["kexec_flags"]
    with _asleep(), Watch() as watch:
        bare = load_by_hand(flags)
    await kdumpd.until_armed_with(armed_path())
    await kdumpd.until_idle()
    return {"bare": bare, "bare_gap": sum(watch.seconds), "flags": flags}


@contextlib.contextmanager
def _asleep() -> Iterator[None]:
    """The daemon, which would see that somebody else loads and answer in the middle of it."""
    pid = int(daemon_pid())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def reconfigure(stamp: str, module: str) -> object:
    """By the kind of edit, what it did and a load by hand beside it; for each the daemon comes to rest first."""
    kdumpd = await Kdumpd.connect()
    await kdumpd.until_idle()
    plain = conf_without("path", "extra_modules", "core_collector", "kdump_pre")
    (collector,) = [line for line in conf_without() if line.startswith("core_collector")]
    edits = {
        "path": [collector],
        "core_collector": [f"{collector} --message-level 1"],
        "extra_modules (another base)": [collector, f"extra_modules {module}"],
        "extra_modules taken out (an image that is there)": [collector],
    }
    seen: dict[str, dict[str, object]] = {}
    for number, (kind, lines) in enumerate(edits.items()):
        path = f"/var/crash/{stamp}-{number}"
        with Watch() as watch:
            write_conf([*plain, *lines, f"path {path}"])
            await kdumpd.until_armed_with(path)
            await kdumpd.until_idle()
        seen[kind] = {"gaps": watch.seconds, "calls": watch.call_seconds, **await by_hand(kdumpd)}
    with Watch() as watch:
        etag = kdumpd.said["Config"]["Etag"]
        write_conf([*conf_without(), f"# {stamp}"])
        await kdumpd.until(lambda _, config: bool(config["Etag"] != etag), what="the comment was read")
        await kdumpd.until_idle()
    seen["comment"] = {"gaps": watch.seconds, "calls": watch.call_seconds}
    return seen


async def rebuild() -> object:
    """From the request until the load begins: base and overlay, built, proved and published."""
    kdumpd = await Kdumpd.connect()
    await kdumpd.until_idle()
    kdumpd.activities.clear()
    begun = time.monotonic()
    await kdumpd.rebuild()
    await kdumpd.until(lambda *_: any(what == "loading" for _, what in kdumpd.activities), what="loading")
    loading = next(at for at, what in kdumpd.activities if what == "loading")
    await kdumpd.until_idle()
    return {"seconds": loading - begun, "activities": [what for _, what in kdumpd.activities]}


async def burst(edits: int, seconds: float) -> object:
    kdumpd = await Kdumpd.connect()
    await kdumpd.until_idle()
    with Watch() as watch:
        begun = time.monotonic()
        path = await asyncio.to_thread(_edit_often, edits, seconds)
        took = time.monotonic() - begun
        armed = await kdumpd.until_armed_with(path) - begun
        await kdumpd.until_idle()
    return {"took": took, "loads": len(watch.gaps), "armed_after": armed - took, "last": armed_path() == path}


def _edit_often(edits: int, seconds: float) -> str:
    """The path that was written last."""
    others = conf_without("path")
    begun = time.monotonic()
    path = ""
    for number in range(1, edits + 1):
        path = f"/var/crash/burst-{number}-of-{edits}"
        write_conf([*others, f"path {path}"])
        time.sleep(max(0.0, begun + number * seconds / edits - time.monotonic()))
    return path


async def status(calls: int) -> object:
    kdumpd = await Kdumpd.connect()
    await kdumpd.until_idle()
    idle = [await _round_trip(kdumpd) for _ in range(calls)]
    kdumpd.activities.clear()
    await kdumpd.rebuild()
    busy: list[tuple[str, float]] = []
    while not any(activity == "loading" for _, activity in kdumpd.activities):
        busy.append(await _round_trip(kdumpd))
    await kdumpd.until_idle()
    return {
        "idle": [seconds for activity, seconds in idle if activity == "idle"],
        "building": [seconds for activity, seconds in busy if activity == "building"],
    }


async def _round_trip(kdumpd: Kdumpd) -> tuple[str, float]:
    await asyncio.sleep(0.02)
    begun = time.monotonic()
    told = await kdumpd.look()
    return str(told["Activity"]), time.monotonic() - begun


def idle(seconds: float) -> object:
    pid = daemon_pid()
    before = dict(_switches(pid))
    time.sleep(seconds)
    after = dict(_switches(pid))
    (kib,) = [
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    ]
    woken = {task: count - before.get(task, 0) for task, count in after.items()}
    return {"woken": woken, "kib": kib}


def _switches(pid: str) -> Iterator[tuple[str, int]]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            told = dict(
                line.split(":", 1) for line in (task / "status").read_text().splitlines() if ":" in line
            )
            yield (
                f"{told['Name'].strip()} {task.name}",
                int(told["voluntary_ctxt_switches"]) + int(told["nonvoluntary_ctxt_switches"]),
            )


def main() -> None:
    what, *arguments = sys.argv[1:]
    seen: object
    match what, arguments:
        case "rearm", [path, "bare" | "edit" as first]:
            seen = asyncio.run(rearm(path, first))
        case "reconfigure", [stamp, module]:
            seen = asyncio.run(reconfigure(stamp, module))
        case "rebuild", []:
            seen = asyncio.run(rebuild())
        case "burst", [edits, seconds]:
            seen = asyncio.run(burst(int(edits), float(seconds)))
        case "status", [calls]:
            seen = asyncio.run(status(int(calls)))
        case "idle", [seconds]:
            seen = idle(float(seconds))
        case _:
            sys.exit(__doc__)
    print(json.dumps(seen))


main()
