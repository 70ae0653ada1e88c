"""Finds what was saved after a crash: dump directories on the target, and records of captures that failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from kdumpd.core.dumps import (
    CORES,
    INCOMPLETE,
    Dump,
    DumpPlace,
    Saved,
    dump_of,
    failure_of,
    is_dump_name,
    mounted_at,
)
from kdumpd.core.inventory import Kind
from kdumpd.core.machine import Mount
from kdumpd.core.problems import Problem, Severity, Trouble
from kdumpd.core.summary import Summary, read_summary
from kdumpd.host.doors import Files, ProgramFailed, Programs

logger = logging.getLogger(__name__)

FAILURES = "/var/lib/kdumpd/failures"
MOUNT_POINT = "/run/kdumpd/target"
MOUNT_SECONDS = 60.0  # a journal may have to be replayed
SUMMARY_BYTES = 1 << 18
KERNEL_LOG_BYTES = 1 << 20  # its end, where the panic is
KERNEL_LOG = "vmcore-dmesg.txt"
SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Newest last; `problems` say what could not be looked at."""

    dumps: tuple[Dump, ...]
    problems: tuple[Problem, ...] = ()


class Dumps:
    """Looks where dumps may be. What was seen on a file system that is mounted only for a look is remembered."""

    def __init__(self, files: Files, programs: Programs) -> None:
        self._files = files
        self._programs = programs
        self._remembered: dict[DumpPlace, Found] = {}

    async def look(
        self, place: DumpPlace | None, *, mounts: tuple[Mount, ...], may_mount: bool = False
    ) -> Found:
        """Every dump at `place`, and every record of a failed capture.

        Where the file system of `place` is not mounted, `may_mount` mounts it for the look, read-only and out of
        the way: for the first look after a boot and after a change of the target. Otherwise what that look saw
        is told again. Raises nothing: what cannot be looked at is a problem in the answer.
        """
        if any(mount.target == MOUNT_POINT for mount in mounts):
            await self._unmount(self._files.outside(MOUNT_POINT))  # an earlier look was cut short
            mounts = tuple(mount for mount in mounts if mount.target != MOUNT_POINT)
        failures = await asyncio.to_thread(self._failures)
        if place is None:
            return Found(dumps=failures)
        folder = mounted_at(place, mounts, sources=self._sources(place), number=self._number(place))
        if folder:
            found = await asyncio.to_thread(self._scan, folder, folder)
        elif may_mount:
            found = self._remembered[place] = await self._look_unmounted(place)
        else:
            found = self._remembered.get(place, Found(dumps=()))
        dumps = sorted((*failures, *found.dumps), key=lambda dump: (dump.time_us, dump.id))
        return Found(dumps=tuple(dumps), problems=found.problems)

    async def _look_unmounted(self, place: DumpPlace) -> Found:
        point = self._files.outside(MOUNT_POINT)
        try:
            self._files.make_folder(MOUNT_POINT)
            await self._programs.run(
                (
                    "mount",
                    "-t",
                    place.fstype,
                    "-o",
                    "ro,nosuid,nodev,noexec",
                    "--",
                    self._files.outside(place.node),
                    point,
                ),
                timeout=MOUNT_SECONDS,
            )
        except (ProgramFailed, OSError) as fault:
            why = fault.reason if isinstance(fault, ProgramFailed) else fault.strerror
            return Found(dumps=(), problems=(_unseen(place, f"it cannot be mounted: {why}"),))
        except asyncio.CancelledError:
            await self._unmount(point)
            raise
        try:
            shown = f"{place.device}:{place.directory}"
            return await asyncio.to_thread(self._scan, f"{MOUNT_POINT}{place.directory}", shown)
        finally:
            await self._unmount(point)

    async def _unmount(self, point: str) -> None:
        try:
            await self._programs.run(("umount", "--", point), timeout=MOUNT_SECONDS)
        except ProgramFailed as fault:
            logger.warning("%s stays mounted: %s", point, fault)

    def _scan(self, folder: str, shown: str) -> Found:
        """The dumps in `folder`, whose path people are told as `shown`."""
        try:
            names = self._files.names(folder)
        except OSError as fault:
            problem = Problem(
                code="dumps-unseen",
                message=f"{shown} cannot be searched for dumps: {fault.strerror}",
                severity=Severity.WARNING,
            )
            return Found(dumps=(), problems=(problem,))
        dumps: list[Dump] = []
        for name in names:
            if is_dump_name(name) and self._files.stat(f"{folder}/{name}").kind is Kind.DIRECTORY:
                dumps.extend(self._dump(f"{folder}/{name}", name, f"{shown}/{name}"))
        return Found(dumps=tuple(dumps))

    def _dump(self, folder: str, name: str, shown: str) -> Iterator[Dump]:
        try:
            facts = {each: self._files.stat(f"{folder}/{each}") for each in self._files.names(folder)}
            cores = [facts[core].modified_us for core in (*CORES, *INCOMPLETE) if core in facts]
            yield dump_of(
                Saved(
                    name=name,
                    path=shown,
                    sizes={each: found.size_bytes for each, found in facts.items()},
                    modified_us=max(cores, default=self._files.stat(folder).modified_us),
                    summary=self._summary(f"{folder}/{SUMMARY}") if SUMMARY in facts else None,
                    kernel_log=self._end_of(f"{folder}/{KERNEL_LOG}", facts[KERNEL_LOG].size_bytes)
                    if KERNEL_LOG in facts
                    else "",
                )
            )
        except OSError as fault:
            logger.warning("the dump %s cannot be looked at: %s", shown, fault.strerror)

    def _failures(self) -> tuple[Dump, ...]:
        found: list[Dump] = []
        for name in self._files.names(FAILURES):
            path = f"{FAILURES}/{name}"
            summary = self._summary(path) if name.endswith(".json") else None
            if summary is not None:
                modified = self._files.stat(path).modified_us
                found.append(failure_of(name=name, path=path, modified_us=modified, summary=summary))
        return tuple(found)

    def _summary(self, path: str) -> Summary | None:
        try:
            return read_summary(self._files.read_bytes(path, limit=SUMMARY_BYTES), file=path)
        except (Trouble, OSError) as fault:
            logger.warning("%s: %s", path, fault)
            return None

    def _end_of(self, path: str, size: int) -> str:
        with self._files.open(path) as file:
            file.seek(max(0, size - KERNEL_LOG_BYTES))
            return file.read(KERNEL_LOG_BYTES).decode("utf-8", "replace")

    def _sources(self, place: DumpPlace) -> frozenset[str]:
        """Every name of the node under which it may have been mounted."""
        name = self._files.real(place.node).rpartition("/")[2]
        try:
            mapper = self._files.read_text(f"/sys/class/block/{name}/dm/name").strip()
        except OSError:
            mapper = ""
        names = {place.node, self._files.real(place.node), *((f"/dev/mapper/{mapper}",) if mapper else ())}
        return frozenset(names)

    def _number(self, place: DumpPlace) -> str:
        name = self._files.real(place.node).rpartition("/")[2]
        try:
            return self._files.read_text(f"/sys/class/block/{name}/dev").strip()
        except OSError:
            return ""


def _unseen(place: DumpPlace, why: str) -> Problem:
    return Problem(
        code="dumps-unseen",
        message=f"{place.device} could not be searched for dumps: {why}",
        severity=Severity.WARNING,
    )
