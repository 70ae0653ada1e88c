"""Hears of changes of files; an event is only a reason to look again, and a slow poll is there for those not heard."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from watchdog.observers.inotify_c import InotifyConstants as Bits

from kdumpd.core.inotify import NO_WATCH, Event
from kdumpd.core.inventory import Kind
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.watching import Interest, folders, interest
from kdumpd.host.doors import Files
from kdumpd.host.inotify import Inotify

logger = logging.getLogger(__name__)

COMES_OR_GOES = (
    Bits.IN_CREATE | Bits.IN_DELETE | Bits.IN_MOVE | Bits.IN_DELETE_SELF | Bits.IN_MOVE_SELF | Bits.IN_UNMOUNT
)
MASK = COMES_OR_GOES & ~Bits.IN_UNMOUNT | Bits.IN_MODIFY | Bits.IN_ATTRIB | Bits.IN_ONLYDIR
LINKS_AT_MOST = 40  # as the kernel's MAXSYMLINKS
LIMITS = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
SIGNS = (
    "/sys/kernel/kexec/crash_loaded",
    "/sys/kernel/kexec/crash_size",
    "/sys/kernel/kexec_crash_loaded",
    "/sys/kernel/kexec_crash_size",
    "/sys/kernel/security/lockdown",
    "/sys/devices/system/cpu/online",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/kexec_load_disabled",
    "/proc/sys/kernel/kexec_load_limit_panic",
)


_Identity = tuple[int, int]  # device and inode
_NOWHERE: _Identity = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """Where a path leads to, and the links that it leads over, with no link above any of them."""

    real: str
    links: frozenset[str] = frozenset()


class Watch:
    """Calls `poke` in the loop with a reason, when one of the covered paths may have changed.

    Folders are watched, not files: an editor puts another file in the place of the old one. inotify works by inode, so
    a folder that was made anew, or that another one was mounted over, has to be watched anew; this is done at each
    `cover` that finds one, and after each event in which something comes or goes that another path may lead over.
    """

    def __init__(
        self, files: Files, poke: Callable[[str], None], *, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._files = files
        self._poke = poke
        self._loop = loop or asyncio.get_running_loop()
        self._covered: frozenset[str] = frozenset()
        self._spelled: dict[str, str] = {}  # from where a path really is to how it was asked for
        self._links: frozenset[str] = frozenset()  # which of those places are links
        self._watched: dict[str, int] = {}  # from a folder to its watch; two folders may be one and the same
        self._identities: dict[str, _Identity] = {}  # of those folders, from before they were watched
        self._is_whole = False  # all that was to be watched is, as far as was heard
        self._interests: dict[int, tuple[Interest, ...]] = {}
        self._inotify: Inotify | None = None

    def cover(self, paths: frozenset[str]) -> tuple[Problem, ...]:
        """Watch these paths, whether they are there or not, and no others.

        Pokes where something was not watched before: it may have changed unheard since it was read. Returns the
        warning `watch-limit` where the kernel refuses; the slow poll is all that is left then.
        """
        if paths == self._covered and self._is_whole and self._identities == self._present_identities():
            return ()
        self._covered = paths
        added, problems = self._renew()
        if added:
            self._loop.call_soon(self._poke, f"{min(added)} is watched now")
        return problems

    def stop(self) -> None:
        """No poke comes after this."""
        self._covered = frozenset()
        self._spelled = {}
        self._watched.clear()
        self._identities.clear()
        self._interests.clear()
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            self._loop.remove_reader(inotify)
            inotify.close()

    def _renew(self) -> tuple[frozenset[str], tuple[Problem, ...]]:
        """Watch what has to be watched now; which folders were added, and what could not be."""
        self._spelled = self._real_places()
        wanted = sorted(folders(self._spelled, is_folder=self._is_folder))
        before, self._watched = self._watched, {}
        self._identities = {}
        self._is_whole = False
        problems: tuple[Problem, ...] = ()
        for folder in wanted:
            self._identities[folder] = self._identity(folder)
            try:
                self._watched[folder] = self._open().add(self._files.outside(folder), MASK)
            except OSError as fault:
                if fault.errno in LIMITS:
                    problems = (_refused(fault),)
                    continue  # what is watched already takes no more room
                logger.debug(
                    "%s cannot be watched: %s", folder, fault
                )  # gone since: what is above it is watched
        self._interests = {}
        for folder, watch in self._watched.items():
            self._interests[watch] = (*self._interests.get(watch, ()), interest(folder, self._spelled))
        for watch in set(before.values()) - self._interests.keys():
            self._open().remove(watch)
        added = {folder for folder, watch in self._watched.items() if before.get(folder) != watch}
        self._is_whole = len(self._watched) == len(wanted)
        return frozenset(added), problems

    def _present_identities(self) -> dict[str, _Identity]:
        return {folder: self._identity(folder) for folder in self._identities}

    def _identity(self, folder: str) -> _Identity:
        """Which folder that is now, whatever was mounted, moved or linked above it without being heard of."""
        try:
            found = self._files.stat(folder)
        except OSError:
            return _NOWHERE
        return found.device, found.inode

    def _open(self) -> Inotify:
        """Raises OSError where there can be no more of them."""
        if self._inotify is None:
            self._inotify = Inotify()
            self._loop.add_reader(self._inotify, self._hear)
        return self._inotify

    def _real_places(self) -> dict[str, str]:
        """Where each covered path really is, and every link on the way there, should there be any.

        Of several paths to one place the one that is no way round is told.
        """
        places: dict[str, str] = {}
        known: dict[str, _Way] = {}
        links: set[str] = set()
        for path in self._covered:
            try:
                way = self._way(path, known)
            except OSError:  # links in circles: whoever reads the path will say so
                way = _Way(real=path)
            links |= way.links
            above = known.get(_above(path.rstrip("/")), _Way(real="/"))
            for place in (*way.links, way.real):
                if place in above.links:
                    places.setdefault(place, place)  # many paths lead over it
                elif place not in places or place == path:
                    places[place] = path
        self._links = frozenset(links)
        return places

    def _way(self, path: str, known: dict[str, _Way], *, links_left: int = LINKS_AT_MOST) -> _Way:
        """`known` are the ways that were looked at before. Raises OSError for links in circles."""
        if links_left == 0:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        unknown: list[str] = []
        here = path.rstrip("/")
        while here and here not in known:
            unknown.append(here)
            here = _above(here)
        way = known[here] if here else _Way(real="/")
        for each in reversed(unknown):
            known[each] = way = self._step(way, each.rpartition("/")[2], known, links_left=links_left)
        return way

    def _step(self, above: _Way, name: str, known: dict[str, _Way], *, links_left: int) -> _Way:
        here = f"{above.real.rstrip('/')}/{name}"
        target = self._files.link(here)
        if not target:
            return _Way(real=here, links=above.links)
        ahead = os.path.normpath(os.path.join(above.real, target))
        way = self._way(ahead, known, links_left=links_left - 1)
        return _Way(real=way.real, links=above.links | {here} | way.links)

    def _is_folder(self, path: str) -> bool:
        if path in self._links:
            return False  # what it leads to is watched where that really is
        try:
            return self._files.stat(path).kind is Kind.DIRECTORY
        except OSError:
            return False

    def _hear(self) -> None:
        """Each path once, whatever happened to it; first of all, before the watching is looked after."""
        if self._inotify is None:
            return
        heard: set[str] = set()
        is_moved = False
        for event in self._inotify.read():
            found = self._about(event)
            heard |= found
            is_moved |= bool(found) and self._may_lead_elsewhere(event)
        for path in sorted({self._spelled.get(place, place) for place in heard}):
            self._poke(f"{path} changed")
        if is_moved:
            self._renew()  # the refusals are told at the next `cover`, which the look brings

    def _may_lead_elsewhere(self, event: Event) -> bool:
        """Whether paths may lead to other places since: not where a plain file takes the place of another."""
        if not event.mask & (COMES_OR_GOES | Bits.IN_IGNORED | Bits.IN_Q_OVERFLOW):
            return False
        if not event.name or event.mask & Bits.IN_ISDIR:
            return True
        entries = (
            f"{folder.rstrip('/')}/{event.name}"
            for folder, watch in self._watched.items()
            if watch == event.watch
        )
        return any(entry in self._links or self._is_link(entry) for entry in entries)

    def _is_link(self, path: str) -> bool:
        try:
            return bool(self._files.link(path))
        except OSError:
            return True  # for all that is known

    def _about(self, event: Event) -> frozenset[str]:
        if event.watch == NO_WATCH:
            logger.info("more changes of files than the kernel remembers: each may have been one of ours")
            return frozenset(self._spelled)
        interests = self._interests.get(event.watch, ())
        # The kernel has dropped a watch (IN_IGNORED) that we did not: its folder is gone.
        comes_or_goes = bool(event.mask & (COMES_OR_GOES | Bits.IN_IGNORED))
        return frozenset[str]().union(
            *(each.in_event(event.name, comes_or_goes=comes_or_goes) for each in interests)
        )


def _above(path: str) -> str:
    return path.rpartition("/")[0].rstrip("/")


def sysfs_signature(files: Files) -> str:
    """What the kernel says where no event tells of a change, as a text to compare: cheap enough to be read often."""
    return "\n".join(f"{path}={_word(files, path)}" for path in SIGNS)


def _word(files: Files, path: str) -> str:
    try:
        return files.read_text(path).strip()
    except OSError as fault:
        return f"({errno.errorcode.get(fault.errno or 0, '?')})"


def _refused(fault: OSError) -> Problem:
    return Problem(
        code="watch-limit",
        message=f"changes of files may be noticed late: the kernel allows no more watches ({fault.strerror or fault})",
        hint="raise fs.inotify.max_user_watches or fs.inotify.max_user_instances",
        severity=Severity.WARNING,
    )
