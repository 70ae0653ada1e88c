"""Finds what was saved after a crash: dump directories on the target, and records of captures that failed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from kdumpd.core.dumps import (
    CORES,
    FAILURES,
    INCOMPLETE,
    SUM,
    Dump,
    DumpPlace,
    Saved,
    Spot,
    dump_of,
    failure_of,
    is_dump_name,
    remote_of,
    spot_of,
    spot_on_rootfs,
    stamp_of,
)
from kdumpd.core.inventory import Kind
from kdumpd.core.machine import Mount
from kdumpd.core.problems import Problem, Severity, Trouble
from kdumpd.core.summary import Summary, read_summary
from kdumpd.host.doors import Files, ProgramFailed, Programs
from kdumpd.host.folders import is_of_root

logger = logging.getLogger(__name__)

REMOTE = "/var/lib/kdumpd/remote"
"""Records of dumps that a server keeps: no server is asked, for a dead one would not let go of who asks."""
MOUNT_POINT = "/run/kdumpd/target"
MOUNT_SECONDS = 60.0  # a journal may have to be replayed
SUM_BYTES = 256
SUMMARY_BYTES = 1 << 18
KERNEL_LOG_BYTES = 1 << 20  # its end, where the panic is
WITH_LOG_AT_MOST = 256
"""Dumps of one directory, the newest, whose log of the kernel is read; of older ones the summary has to be enough."""
SEEN_AT_MOST = 20_000
"""Dumps of one directory, the newest, that are looked at."""
AT_REST_US = 3_000_000
"""A directory changed so recently may change again within the same tick of the clock that its time is taken from."""
KERNEL_LOG = "vmcore-dmesg.txt"
SUMMARY = "summary.json"
ASIDE = ".rootfs"
"""Behind the id of a dump that failure_action saved beside the target.

A capture that fails at once and falls back to the root file system leaves two directories of one name, and an id must
not become that of the other when one is deleted.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Newest last; `problems` say what could not be looked at."""

    dumps: tuple[Dump, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A dump as it was read from a directory that was as these say."""

    inode: int
    modified_us: int
    has_log: bool
    dump: Dump


class Dumps:
    """Looks where dumps may be. What was seen on a file system that is mounted only for a look is remembered."""

    def __init__(
        self,
        files: Files,
        programs: Programs,
        *,
        with_log_at_most: int = WITH_LOG_AT_MOST,
        seen_at_most: int = SEEN_AT_MOST,
    ) -> None:
        self._files = files
        self._programs = programs
        self._with_log_at_most = with_log_at_most
        self._seen_at_most = seen_at_most
        self._remembered: dict[Spot, Found] = {}
        self._seen: dict[str, dict[str, _Seen]] = {}  # by directory and name

    async def look(
        self,
        place: DumpPlace | None,
        *,
        mounts: tuple[Mount, ...],
        on_rootfs: str = "",
        recovered: str = "",
        may_mount: bool = False,
    ) -> Found:
        """Every dump at `place` and in the root file system's directory `on_rootfs`, and every record of another.

        A record tells of a capture that failed, or of a dump that a server keeps.

        Where a file system is not mounted, `may_mount` mounts it for the look, read-only and out of the way, and so
        with what another mount hides: for the first look after a boot and after a change of the target. Otherwise
        what that look saw is told again. Raises nothing: what cannot be looked at is a problem in the answer.
        """
        if any(mount.target == MOUNT_POINT for mount in mounts):
            await self._unmount(self._files.outside(MOUNT_POINT))  # an earlier look was cut short
            mounts = tuple(mount for mount in mounts if mount.target != MOUNT_POINT)
        spots: dict[Spot, Callable[[str, str], Found]] = {}
        if place is not None:
            spots[spot_of(place, mounts, sources=self._sources(place), number=self._number(place))] = (
                self._scan
            )
        if recovered:
            spots[Spot(folder=recovered, shown=recovered)] = self._scan
        if on_rootfs and (aside := spot_on_rootfs(on_rootfs, mounts)) not in spots:
            spots[aside] = partial(self._scan, suffix=ASIDE if spots else "")
        spots[spot_on_rootfs(FAILURES, mounts)] = self._failures
        spots[spot_on_rootfs(REMOTE, mounts)] = partial(self._remote, mounts=mounts)
        all_found = [await self._see(spot, scan, may_mount=may_mount) for spot, scan in spots.items()]
        dumps = _each_its_own_name(dump for found in all_found for dump in found.dumps)
        return Found(
            dumps=tuple(sorted(dumps, key=lambda dump: (dump.time_us, dump.id))),
            problems=tuple(problem for found in all_found for problem in found.problems),
        )

    async def _see(self, spot: Spot, scan: Callable[[str, str], Found], *, may_mount: bool) -> Found:
        """`scan` is given the folder, and the name by which people are told of it."""
        if spot.is_in_sight:
            return await asyncio.to_thread(scan, spot.folder, spot.shown)
        if may_mount:
            self._remembered[spot] = await self._see_mounted(spot, scan)
        return self._remembered.get(spot, Found(dumps=()))

    async def _see_mounted(self, spot: Spot, scan: Callable[[str, str], Found]) -> Found:
        point = self._files.outside(MOUNT_POINT)
        try:
            self._files.make_folder(MOUNT_POINT)
            await self._programs.run(("mount", *self._mounting(spot), point), timeout=MOUNT_SECONDS)
        except (ProgramFailed, OSError) as fault:
            why = fault.reason if isinstance(fault, ProgramFailed) else fault.strerror
            return Found(dumps=(), problems=(_unseen(spot.shown, f"it cannot be mounted: {why}"),))
        except asyncio.CancelledError:
            await self._unmount(point)
            raise
        try:
            return await asyncio.to_thread(scan, f"{MOUNT_POINT}{spot.folder}", spot.shown)
        finally:
            await self._unmount(point)

    def _mounting(self, spot: Spot) -> tuple[str, ...]:
        options = "ro,nosuid,nodev,noexec"
        if spot.on is None:
            # Of a file system that is mounted the same again, without what lies over it: the kernel refuses to mount
            # the device read-only a second time.
            return ("--bind", "-o", options, "--", self._files.outside(spot.under))
        return ("-t", spot.on.fstype, "-o", options, "--", self._files.outside(spot.on.node))

    async def _unmount(self, point: str) -> None:
        try:
            await self._programs.run(("umount", "--", point), timeout=MOUNT_SECONDS)
        except ProgramFailed as fault:
            logger.warning("%s stays mounted: %s", point, fault)

    def _scan(self, folder: str, shown: str, *, suffix: str = "") -> Found:
        """The dumps in `folder`, whose path people are told as `shown`; `suffix` stands behind their names in ids.

        One that is the same directory as at the last look, and unchanged, is not looked into again.
        """
        try:
            names = sorted(
                filter(is_dump_name, self._files.names(folder)), key=lambda name: (stamp_of(name), name)
            )
        except OSError as fault:
            return Found(dumps=(), problems=(_unseen(shown, fault.strerror or str(fault)),))
        problems: list[Problem] = []
        if len(names) > self._seen_at_most:
            why = f"it holds {len(names)}, and only the newest {self._seen_at_most} are looked at"
            names, problems = names[-self._seen_at_most :], [_unseen(shown, why)]
        before, seen = self._seen.get(shown, {}), dict[str, _Seen]()
        at_rest_us = time.time_ns() // 1000 - AT_REST_US
        for left, name in zip(range(len(names), 0, -1), names, strict=True):
            path = f"{folder}/{name}"
            try:
                facts = self._files.stat(path)
                if facts.kind is not Kind.DIRECTORY or self._files.link(path):
                    continue
            except OSError as fault:  # what one user's file system does not tell hides nothing else
                problems.append(_unseen(f"{shown}/{name}", fault.strerror or str(fault)))
                continue
            old = before.get(name)
            is_new = left <= self._with_log_at_most
            if (
                old is not None
                and (old.inode, old.modified_us) == (facts.inode, facts.modified_us)
                and facts.modified_us < at_rest_us
                and old.dump.is_complete
                and (old.has_log or not is_new)
            ):
                seen[name] = old
            elif (dump := self._dump(path, name, f"{shown}/{name}", with_log=is_new)) is not None:
                seen[name] = _Seen(
                    inode=facts.inode, modified_us=facts.modified_us, has_log=is_new, dump=dump
                )
        self._seen[shown] = seen
        dumps = (replace(each.dump, id=f"{name}{suffix}") for name, each in seen.items())
        return Found(dumps=tuple(dumps), problems=tuple(problems))

    def _dump(self, folder: str, name: str, shown: str, *, with_log: bool) -> Dump | None:
        try:
            # Only plain files: whoever may write here must not lead root to another file, or into a pipe.
            facts = {
                each: found
                for each in self._files.names(folder)
                if not self._files.link(f"{folder}/{each}")
                and (found := self._files.stat(f"{folder}/{each}")).kind is Kind.FILE
            }
            own = self._files.stat(folder)
            cores = [facts[core].modified_us for core in (*CORES, *INCOMPLETE) if core in facts]
            return dump_of(
                Saved(
                    name=name,
                    path=shown,
                    is_in_sight=folder == shown,
                    is_of_root=is_of_root(own)
                    and all(
                        is_of_root(facts[each]) for each in (SUMMARY, *CORES, *INCOMPLETE) if each in facts
                    ),
                    sizes={each: found.size_bytes for each, found in facts.items()},
                    modified_us=max(cores, default=own.modified_us),
                    summary=self._summary(f"{folder}/{SUMMARY}") if SUMMARY in facts else None,
                    sums={
                        core: self._files.read_bytes(f"{folder}/{note}", limit=SUM_BYTES).decode(
                            "ascii", "replace"
                        )
                        for core in CORES
                        if (note := SUM.format(core=core)) in facts
                    },
                    kernel_log=self._end_of(f"{folder}/{KERNEL_LOG}", facts[KERNEL_LOG].size_bytes)
                    if with_log and KERNEL_LOG in facts
                    else "",
                )
            )
        except OSError as fault:
            logger.warning("the dump %s cannot be looked at: %s", shown, fault.strerror)
            return None

    def _failures(self, folder: str, shown: str) -> Found:
        return self._records(
            folder,
            shown,
            lambda name, modified, summary: failure_of(
                name=name, path=f"{shown}/{name}", modified_us=modified, summary=summary
            ),
        )

    def _remote(self, folder: str, shown: str, *, mounts: tuple[Mount, ...]) -> Found:
        return self._records(
            folder,
            shown,
            lambda name, modified, summary: remote_of(
                name=name, modified_us=modified, summary=summary, mounts=mounts
            ),
        )

    def _records(self, folder: str, shown: str, told: Callable[[str, int, Summary], Dump]) -> Found:
        found: list[Dump] = []
        try:
            for name in self._files.names(folder):
                summary = self._summary(f"{folder}/{name}") if name.endswith(".json") else None
                if summary is not None:
                    found.append(told(name, self._files.stat(f"{folder}/{name}").modified_us, summary))
        except OSError as fault:
            return Found(dumps=tuple(found), problems=(_unseen(shown, fault.strerror or str(fault)),))
        return Found(dumps=tuple(found))

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


def _each_its_own_name(dumps: Iterable[Dump]) -> Iterator[Dump]:
    """A record may tell of a name that there is here too. What lies here keeps its id when another one goes."""
    seen: set[str] = set()
    for dump in dumps:
        name = dump.id
        while name in seen:
            name = f"{name}.{hashlib.blake2b(dump.path.encode(errors='surrogateescape'), digest_size=4).hexdigest()}"
        seen.add(name)
        yield dump if name == dump.id else replace(dump, id=name)


def _unseen(where: str, why: str) -> Problem:
    return Problem(
        code="dumps-unseen",
        message=f"{where} cannot be searched for dumps: {why}",
        severity=Severity.WARNING,
    )
