"""Changes the command line of the next boots by the machine's own tools, or puts everything back as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kdumpd.core import bootloader
from kdumpd.core.boot_entries import BootFiles
from kdumpd.core.bootloader import Change, Command, Tools
from kdumpd.core.inventory import Kind
from kdumpd.core.problems import Problem, Trouble
from kdumpd.host.boot_entries import boot_files
from kdumpd.host.doors import Files, ProgramFailed, Programs, text

READABLE_BY_ALL = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    data: bytes
    mode: int


class Bootloader:
    """One change at a time is the caller's care."""

    def __init__(self, files: Files, programs: Programs) -> None:
        self._files = files
        self._programs = programs

    def look(self) -> tuple[BootFiles, Tools]:
        """What the next boots say now, and what could change it."""
        places = {name: self._programs.find(name) for name in bootloader.PROGRAMS}
        tools = Tools(
            programs={name: place for name, place in places.items() if place},
            is_ostree=self._files.exists(bootloader.OSTREE_BOOTED),
            has_default_grub=self._files.exists(bootloader.DEFAULT_GRUB),
            has_zipl_conf=self._files.exists(bootloader.ZIPL_CONF),
            drop_in=text(self._files, bootloader.DROP_IN),
        )
        return boot_files(self._files), tools

    def is_file(self, path: str) -> bool:
        return self._files.stat(path).kind is Kind.FILE

    async def apply(self, change: Change, *, say: Callable[[str], None]) -> BootFiles:
        """The menus as they are afterwards. Raises Trouble where they are as they were before; it says if they are not."""
        kept = await asyncio.to_thread(self._kept, change.may_change)
        has_run = False
        try:
            await asyncio.to_thread(self._write, change)
            for command in change.commands:
                await self._run(command, say)
            has_run = True
            after = await asyncio.to_thread(self._require_effect, change)
        except (Trouble, OSError) as fault:
            undone = self._put_back(kept)
            if has_run:
                undone += await self._run_all(change.undo, say)
            say("everything was put back as it was" if not undone else "not everything could be put back")
            raise Trouble(*_problems(fault), *undone) from fault
        except asyncio.CancelledError:
            self._put_back(kept)
            raise
        return after

    def _write(self, change: Change) -> None:
        for write in change.writes:
            self._files.make_folder(write.path.rpartition("/")[0], mode=0o755)
            self._files.write(write.path, write.text.encode(), mode=READABLE_BY_ALL)

    def _require_effect(self, change: Change) -> BootFiles:
        after = boot_files(self._files)
        problem = bootloader.unmet(change, after)
        if problem is not None:
            raise Trouble(problem)
        return after

    def _kept(self, paths: tuple[str, ...]) -> Mapping[str, _Kept | None]:
        """None for what is not there. Raises OSError for what could not be put back, before anything is done."""
        found: dict[str, _Kept | None] = {}
        for path in paths:
            seen = self._files.stat(path)
            is_there = seen.kind is not Kind.MISSING
            found[path] = _Kept(data=self._files.read_bytes(path), mode=seen.mode) if is_there else None
        return found

    def _put_back(self, kept: Mapping[str, _Kept | None]) -> tuple[Problem, ...]:
        """Each file that differs; what could not be put back."""
        problems: list[Problem] = []
        for path, before in kept.items():
            try:
                self._put_one_back(path, before)
            except OSError as fault:
                told = f"it could not be put back as it was: {fault.strerror or fault}"
                problems.append(Problem(code="not-put-back", message=told, file=path))
        return tuple(problems)

    def _put_one_back(self, path: str, before: _Kept | None) -> None:
        if before is None:
            self._files.remove(path)
            return
        is_there = self._files.stat(path).kind is not Kind.MISSING
        if not is_there or self._files.read_bytes(path) != before.data:
            self._files.write(path, before.data, mode=before.mode)

    async def _run_all(
        self, commands: tuple[Command, ...], say: Callable[[str], None]
    ) -> tuple[Problem, ...]:
        for command in commands:
            try:
                await self._run(command, say)
            except Trouble as fault:
                return fault.problems
        return ()

    async def _run(self, command: Command, say: Callable[[str], None]) -> None:
        try:
            await self._programs.run(
                command.argv, timeout=command.seconds, on_line=say, environment={"HOME": "/root"}
            )
        except ProgramFailed as fault:
            problem = Problem(code="boot-loader-failed", message=f"the boot menu was not changed: {fault}")
            raise Trouble(problem) from fault


def _problems(fault: Trouble | OSError) -> tuple[Problem, ...]:
    if isinstance(fault, Trouble):
        return fault.problems
    told = f"the boot menu was not changed: {fault.strerror or fault}"
    return (Problem(code="boot-loader-failed", message=told, file=str(fault.filename or "")),)
