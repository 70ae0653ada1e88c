"""A reconciler on a machine that is a folder, with time that passes only when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Unpack

from kdumpd.core.status import Status
from kdumpd.host.captures import Captures
from kdumpd.host.doors import Output, ProgramFailed, Terms
from kdumpd.host.image import Store
from kdumpd.host.kexec import Kexec
from kdumpd.host.real import RealFiles
from kdumpd.host.simulated import SimulatedPrograms
from kdumpd.service.hands import Sight
from kdumpd.service.jobs import Job, Jobs
from kdumpd.service.machinery import Machinery
from kdumpd.service.prebuilding import Prebuilding
from kdumpd.service.pulse import Pulse
from kdumpd.service.reconciler import Reconciler
from kdumpd.service.wishes import Wishes
from tests.simulate import make_machine

PATIENCE = 30.0


class VirtualClock:
    """Nobody wakes before `advance` says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000
        self.elapsed = 0.0
        """In seconds, as the clock tells that nobody can set."""
        self.naps = 0
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []
        self._someone_sleeps = asyncio.Event()

    def now_us(self) -> int:
        return self.now

    def boottime(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (self.now + round(seconds * 1e6), future)
        self._sleepers.append(sleeper)
        self.naps += 1
        self._someone_sleeps.set()
        try:
            await future
        finally:
            self._sleepers.remove(sleeper)

    async def until_asleep(self, seconds: float) -> None:
        """Until somebody sleeps for exactly so long from now."""
        async with asyncio.timeout(PATIENCE):
            while not any(due == self.now + int(seconds * 1e6) for due, _ in self._sleepers):
                self._someone_sleeps.clear()
                await self._someone_sleeps.wait()

    async def until_settling(self) -> None:
        """Until somebody waits for more changes of a kind, for as long as is waited after one or after several."""
        async with asyncio.timeout(PATIENCE):
            while not any(self.now < due <= self.now + 300_000 for due, _ in self._sleepers):
                self._someone_sleeps.clear()
                await self._someone_sleeps.wait()

    async def until_idle(self) -> None:
        """Until somebody sleeps for longer than any settling or back-off of a test."""
        async with asyncio.timeout(PATIENCE):
            while not any(due > self.now + 10_000_000 for due, _ in self._sleepers):
                self._someone_sleeps.clear()
                await self._someone_sleeps.wait()

    def set_back(self, seconds: float) -> None:
        """The time of day is set back while everyone's sleep, which goes by another clock, comes to its end."""
        self.now -= int(seconds * 1e6)
        for _, future in self._sleepers:
            if not future.done():
                future.set_result(None)

    async def until_another_nap(self) -> None:
        naps = self.naps
        async with asyncio.timeout(PATIENCE):
            while self.naps == naps:
                self._someone_sleeps.clear()
                await self._someone_sleeps.wait()

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1e6)
        self.elapsed += seconds
        for due, future in self._sleepers:
            if due <= self.now and not future.done():
                future.set_result(None)


class _Gate:
    """Programs wait before it, in whatever loop they are run."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Future[None]] = []

    async def passed(self) -> None:
        waiting: Future[None] = Future()
        self._waiting.append(waiting)
        self._loop.call_soon_threadsafe(self.reached.set)
        await asyncio.wrap_future(waiting)

    def open(self) -> None:
        for waiting in self._waiting:
            if waiting.set_running_or_notify_cancel():
                waiting.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How a load fails: kexec's last words, and whether the kernel still had the old image by then."""

    said: str
    keeps_the_old: bool
    status: int = 255


class Programs(SimulatedPrograms):
    """The simulated ones, that can be held at their beginning, and made to fail."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.ran: Counter[str] = Counter()
        self.ended_early: Counter[str] = Counter()
        self.failing: dict[str, int] = {}
        self.last_words: dict[str, str] = {}
        self.niceness: dict[str, set[int]] = {}
        self._gates: dict[str, _Gate] = {}
        self.refuse: Callable[[tuple[str, ...]], Refusal | None] = lambda _argv: None
        """Asked for each load."""

    def hold(self, name: str) -> None:
        self._gates[name] = _Gate()

    async def reached(self, name: str) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._gates[name].reached.wait()

    def let_go(self, name: str) -> None:
        self._gates.pop(name).open()

    async def run(self, argv: Sequence[str], *, timeout: float, **terms: Unpack[Terms]) -> Output:
        name = os.path.basename(argv[0])
        self.ran[name] += 1
        niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        self.niceness.setdefault(name, set()).add(niceness)
        if name in self._gates:
            try:
                await self._gates[name].passed()
            except asyncio.CancelledError:
                self.ended_early[name] += 1
                raise
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            if name == "kexec":
                self._flip("/sys/kernel/kexec_crash_", "0")  # a failed load leaves nothing loaded
            said = self.last_words.get(name, "it was made to fail")
            output = Output(argv=tuple(argv), status=1, stdout=b"", stderr=f"{said}\n".encode())
            raise ProgramFailed(output, f"exit status 1: {said}")
        refusal = self.refuse(tuple(argv)) if name == "kexec" and "-u" not in argv else None
        if refusal is not None:
            if not refusal.keeps_the_old:
                self._flip("/sys/kernel/kexec_crash_", "0")
            output = Output(argv=tuple(argv), status=refusal.status, stdout=b"", stderr=refusal.said.encode())
            raise ProgramFailed(output, f"exit status {refusal.status}: {refusal.said}")
        return await super().run(argv, timeout=timeout, **terms)


class Files(RealFiles):
    """The real ones, that count how often a path was read, and whose disk can fail below one folder."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()
        self._held = ""
        self.on_create: dict[str, Callable[[], None]] = {}
        """Done once, when what is to take the place of that file is begun beside it."""
        self.failing: tuple[str, int] | None = None  # a folder, and the error of every write below it
        self.room: tuple[int, bool] | None = None
        """What the file system says: bytes free, and whether it is read-only."""

    def _write_below(self, path: str) -> None:
        if self.failing is not None and path.startswith(self.failing[0]):
            raise OSError(self.failing[1], os.strerror(self.failing[1]), path)

    def make_folder(self, path: str, *, mode: int = 0o700, lasts: bool = True) -> None:
        self._write_below(path)
        super().make_folder(path, mode=mode, lasts=lasts)

    def create(self, path: str, *, mode: int = 0o600) -> BinaryIO:
        self._write_below(path)
        folder, name = os.path.split(path)
        for of in tuple(self.on_create):
            if os.path.dirname(of) == folder and name.startswith(f".{os.path.basename(of)}."):
                self.on_create.pop(of)()
        return super().create(path, mode=mode)

    def sync(self, path: str) -> None:
        self._write_below(path)
        super().sync(path)

    def rename(self, source: str, target: str) -> None:
        self._write_below(target)
        super().rename(source, target)

    def free_bytes(self, path: str) -> int:
        return super().free_bytes(path) if self.room is None else self.room[0]

    def is_read_only(self, path: str) -> bool:
        return super().is_read_only(path) if self.room is None else self.room[1]

    def read_bytes(self, path: str, *, limit: int | None = None) -> bytes:
        self.reads[path] += 1
        if path == self._held:
            self._loop.call_soon_threadsafe(self._reached.set)
            assert self._gate.wait(PATIENCE)
        return super().read_bytes(path, limit=limit)

    def hold(self, path: str) -> None:
        """Whoever reads it next, in a thread, waits, as for a disk or server that does not answer."""
        self._loop = asyncio.get_running_loop()
        self._reached, self._gate, self._held = asyncio.Event(), threading.Event(), path

    async def reached(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._reached.wait()

    def let_go(self) -> None:
        self._held = ""
        self._gate.set()


class World:
    """Everything under the bus, and what it said so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf = root / "etc/kdump.conf"
        self.loaded_file = root / "sys/kernel/kexec_crash_loaded"
        self.clock = VirtualClock()
        self.files = Files(str(root))
        self.programs = Programs(str(root))
        self.jobs = Jobs(self.clock)
        self.kexec = Kexec(self.files, self.programs, sleep=self.clock.sleep)
        self.store = Store(self.files)
        self.captures = Captures(self.files, path=f"{self.store.folder}/captures.json")
        self.hands = Machinery(
            files=self.files,
            programs=self.programs,
            store=self.store,
            kexec=self.kexec,
            wishes=Wishes(self.files, self.programs, folder=self.store.folder),
            captures=self.captures,
        )
        self.statuses: list[Status] = []
        self.listeners: list[Callable[[], None]] = []
        self.followers: list[Callable[[Status, Sight], None]] = []
        self._told = asyncio.Event()
        self.prebuilding = Prebuilding(
            hands=self.hands, ahead=self.hands.ahead, jobs=self.jobs, clock=self.clock
        )
        self.pulse = Pulse(lambda: self.clock.elapsed)
        self.reconciler = Reconciler(
            hands=self.hands, jobs=self.jobs, clock=self.clock, on_status=self._hear, pulse=self.pulse
        )

    def _hear(self, status: Status, sight: Sight) -> None:
        self.statuses.append(status)
        for follow in self.followers:
            follow(status, sight)
        for listener in self.listeners:
            listener()
        self._told.set()

    @property
    def looks(self) -> int:
        return self.files.reads["/etc/kdumpd.toml"]

    @property
    def glimpses(self) -> int:
        """One of which belongs to each look; both read what they say of processors."""
        return self.files.reads["/sys/devices/system/cpu/online"]

    @property
    def is_loaded(self) -> bool:
        return self.loaded_file.read_text().strip() == "1"

    async def until(self, holds: Callable[[Status], bool]) -> Status:
        """The first status that is as wanted: the present one, or one that comes."""
        place = max(len(self.statuses) - 1, 0)
        async with asyncio.timeout(PATIENCE):
            while True:
                for status in self.statuses[place:]:
                    if holds(status):
                        return status
                place = len(self.statuses)
                self._told.clear()
                await self._told.wait()

    async def armed(self) -> Status:
        """Armed and at rest."""
        status = await self.until(lambda now: now.state == "armed" and now.activity == "idle")
        await self.clock.until_idle()
        return status

    async def edit(self, text: str) -> None:
        """Change kdump.conf, say so, and let it settle."""
        self.conf.write_text(text)
        self.reconciler.poke("kdump.conf changed")
        await self.clock.until_settling()
        self.clock.advance(0.3)

    async def ended(self, job: Job) -> str:
        async with asyncio.timeout(PATIENCE):
            await job.ended.wait()
        return job.result

    def make_folder(self, path: str) -> None:
        (self.root / path.lstrip("/")).mkdir(parents=True)


@contextlib.asynccontextmanager
async def world(folder: Path, *, before: Callable[[World], None] = lambda _: None) -> AsyncIterator[World]:
    made = World(make_machine(folder))
    before(made)
    async with alive(made):
        yield made


@contextlib.asynccontextmanager
async def alive(made: World) -> AsyncIterator[None]:
    """From the daemon's start to its end."""
    running = asyncio.ensure_future(made.reconciler.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def meanwhile(work: Coroutine[None, None, object]) -> AsyncIterator[None]:
    """What does not end by itself goes on beside the block, and ends with it."""
    task = asyncio.create_task(work)
    try:
        yield
        if task.done():
            raise AssertionError(f"{task.get_coro()} has ended") from task.exception()
    finally:
        task.cancel()
        await asyncio.wait({task})
