"""What a change on the disk is to bring about, and how a test sees it: who hears of it, and how much work it makes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from kdumpd.core import explain
from kdumpd.core.plan import FromHost, Plan, describe
from kdumpd.core.problems import Trouble
from kdumpd.host.captures import Captures
from kdumpd.host.doors import Output
from kdumpd.host.image import Store
from kdumpd.host.kexec import Kexec
from kdumpd.host.real import RealFiles
from kdumpd.host.simulated import SimulatedPrograms
from kdumpd.host.watch import Watch
from kdumpd.service.hands import Sight
from kdumpd.service.machinery import Machinery
from kdumpd.service.wishes import Wishes
from tests.host.scripted import Asked, StandIns
from tests.machines.roots import unpack

PATIENCE = 30.0  # seconds; a bound, never a measure
GLIMPSE = "(glimpse)"
"""The kernel tells nobody: what is read between two looks is another text."""
LOOK = "(look)"
"""Nothing on this machine knows of the change before somebody asks: each look does, and there is one in a while."""
MARK = "/~"
"""In the order of names it comes behind every other path: heard in one go with others, it is told last."""


class Work(StrEnum):
    """The least that brings a change into what is armed; each includes those before it."""

    NOTHING = "nothing"
    LOAD = "load"
    IMAGE = "overlay and load"
    BASE = "base, overlay and load"


Change = Callable[[Path], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One change. `number` is the row of the table of missed triggers that it belongs to, 0 for what that left out."""

    name: str
    number: int
    change: Change
    work: Work
    heard: str
    """The path of which the watcher tells, GLIMPSE, or LOOK."""
    reasons: frozenset[str] = frozenset()
    brings: str = ""
    """A file that the new image has, whatever else changes."""
    machine: str = "virtio"
    programs: Callable[[str], SimulatedPrograms] = SimulatedPrograms
    before: tuple[Change, ...] = ()
    """What the machine is like beside what was captured of it."""


def at(root: Path, path: str) -> Path:
    """Where a file of that machine lies, its folder made."""
    found = root / path.lstrip("/")
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


class WithFirmware(StandIns, SimulatedPrograms):
    """A simulation whose virtio_blk loads firmware into its device."""

    def find(self, name: str) -> str:
        return "/usr/sbin/modinfo" if name == "modinfo" else super().find(name)

    async def answer(self, asked: Asked) -> Output | None:
        if asked.argv[0] != "modinfo":
            return None
        disks = (path for path in asked.argv[1:] if path.endswith("/virtio_blk.ko"))
        said = "".join(f"filename: {path}\nfirmware: disk.bin\n" for path in disks)
        return Output(argv=asked.argv, status=0, stdout=said.encode(), stderr=b"")


class WithLibraries(StandIns, SimulatedPrograms):
    """A simulation whose ldd goes by lines `needs PATH` in the programs and libraries themselves."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._root = Path(root)

    def find(self, name: str) -> str:
        return "/usr/bin/ldd" if name == "ldd" else super().find(name)

    async def answer(self, asked: Asked) -> Output | None:
        if asked.argv[0] != "ldd":
            return None
        said = "".join(f"{path}:\n{self._needs(Path(path))}" for path in asked.argv[1:])
        return Output(argv=asked.argv, status=0, stdout=said.encode(), stderr=b"")

    def _needs(self, path: Path) -> str:
        lines = path.read_text().splitlines() if path.exists() else []
        needed = [line.removeprefix("needs ") for line in lines if line.startswith("needs ")]
        return "".join(
            f"\t{Path(each).name} => {each} (0x0000)\n{self._needs(self._root / each.lstrip('/'))}"
            for each in needed
        )


def has(path: str, text: str, *, mode: int = 0o644) -> Change:
    def change(root: Path) -> None:
        file = at(root, path)
        file.write_text(text)
        file.chmod(mode)

    return change


def folder(path: str) -> Change:
    return lambda root: at(root, path).mkdir(exist_ok=True)


def renamed_over(path: str, text: str, *, modified: int | None = None, mode: int | None = None) -> Change:
    """As editors and package managers do it: another file with that name, and with a time of its own choosing."""

    def change(root: Path) -> None:
        file = at(root, path)
        beside = file.with_name(f".{file.name}.new")
        beside.write_text(text)
        beside.chmod(mode if mode is not None else file.stat().st_mode & 0o777)
        if modified is not None:
            os.utime(beside, (modified, modified))
        beside.replace(file)

    return change


def replaced(path: str, old: str, new: str) -> Change:
    """One word of a file for another, in place."""

    def change(root: Path) -> None:
        file = at(root, path)
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new))

    return change


def removed(path: str) -> Change:
    return lambda root: at(root, path).unlink()


def chmod(path: str, mode: int) -> Change:
    return lambda root: at(root, path).chmod(mode)


def link(path: str, target: str) -> Change:
    """A symbolic link, in one step, in the place of what was there."""

    def change(root: Path) -> None:
        place = at(root, path)
        beside = place.with_name(f".{place.name}.new")
        beside.symlink_to(target)
        beside.replace(place)

    return change


def all_of(*changes: Change) -> Change:
    def change(root: Path) -> None:
        for each in changes:
            each(root)

    return change


def sources_of(plan: Plan) -> frozenset[str]:
    items = (*plan.base.items, *plan.overlay.items)
    return frozenset(item.source for item in items if isinstance(item, FromHost))


def work_between(old: Plan | None, new: Plan) -> Work:
    """What the fingerprints say is to be done; everything where there was no plan before."""
    if old is None or old.base_fingerprint != new.base_fingerprint:
        return Work.BASE
    if old.image_fingerprint != new.image_fingerprint:
        return Work.IMAGE
    return Work.NOTHING if old.load_fingerprint == new.load_fingerprint else Work.LOAD


class Looker:
    """A machine that is looked at and listened to, but on which nothing is done."""

    def __init__(self, root: Path, programs: SimulatedPrograms) -> None:
        self.root = root
        self._files = files = RealFiles(str(root))
        store = Store(files)
        self._hands = Machinery(
            files=files,
            programs=programs,
            store=store,
            kexec=Kexec(files, programs),
            wishes=Wishes(files, programs, folder=store.folder),
            captures=Captures(files, path=f"{store.folder}/captures.json"),
        )
        self._said: asyncio.Queue[str] = asyncio.Queue()
        self._watch = Watch(files, self._said.put_nowait)
        self._seen = ""

    async def looks(self) -> Sight:
        """A look, and a glimpse, so that the next one tells of a change."""
        sight = await self._hands.look()
        self._seen = await self._hands.glimpse()
        return sight

    async def listens(self, sight: Sight, *, but_for: str = "") -> None:
        """From here on, to all that the look read and to MARK; `but_for`: not to what tells of that path."""
        self._watch.cover(frozenset({*(sight.watched - self._telling_of(but_for, sight)), MARK}))
        await self._next()  # "... is watched now"

    def _telling_of(self, path: str, sight: Sight) -> frozenset[str]:
        """Whatever is watched at that place, in it or above it: a folder tells of its files as well."""
        if not path:
            return frozenset()
        of = {path, self._files.real(path)}
        places = {each: {each, self._files.real(each)} for each in sight.watched}
        return frozenset(
            each
            for each, at in places.items()
            if any(a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/") for a in at for b in of)
        )

    async def hears(self, row: Row) -> None:
        """Of the change of that row. Raises where nobody tells of it."""
        match row.heard:
            case "(look)":
                return
            case "(glimpse)":
                assert await self._hands.glimpse() != self._seen, (
                    "nothing that is read between two looks tells of it"
                )
            case _:
                while await self._next() != f"{row.heard} changed":
                    pass

    async def hears_until_now(self) -> list[str]:
        """All that there is to be heard of what was done so far."""
        at(self.root, MARK).symlink_to("nowhere")
        heard: list[str] = []
        while (said := await self._next()) != f"{MARK} changed":
            heard.append(said)
        return heard

    def stop(self) -> None:
        self._watch.stop()

    async def _next(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self._said.get()


@asynccontextmanager
async def looker(
    folder: Path,
    machine: str,
    before: Iterable[Change],
    *,
    programs: Callable[[str], SimulatedPrograms] = SimulatedPrograms,
) -> AsyncIterator[Looker]:
    root = folder / "root"
    unpack(machine, root)
    for change in before:
        change(root)
    looker = Looker(root, programs(str(root)))
    try:
        yield looker
    finally:
        looker.stop()


def plan_of(sight: Sight) -> Plan:
    if sight.resolution.plan is None:
        raise Trouble(*sight.resolution.problems)
    return sight.resolution.plan


def reasons_between(old: Plan, new: Plan) -> frozenset[str]:
    return frozenset(explain.reasons(describe(old), describe(new)))
