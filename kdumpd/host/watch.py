"""Hears of changes of files; an event is only a reason to look again, and a slow poll is there for those not heard."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable

from watchdog import events
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import ObservedWatch
from watchdog.observers.inotify import InotifyObserver

from kdumpd.core.inventory import Kind
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.watching import concerned, folders
from kdumpd.host.doors import Files

logger = logging.getLogger(__name__)

COMES_OR_GOES: tuple[type[FileSystemEvent], ...] = (
    events.FileCreatedEvent,
    events.FileDeletedEvent,
    events.FileMovedEvent,
    events.DirCreatedEvent,
    events.DirDeletedEvent,
    events.DirMovedEvent,
)
# A change of the permission bits is a modification before watchdog 7, and an event of its own since.
CHANGES: tuple[type[FileSystemEvent], ...] = (
    events.FileModifiedEvent,
    getattr(events, "FileAttribEvent", events.FileModifiedEvent),
)
LIMITS = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
SIGNS = (
    "/sys/kernel/kexec/crash_loaded",
    "/sys/kernel/kexec/crash_size",
    "/sys/kernel/kexec_crash_loaded",
    "/sys/kernel/kexec_crash_size",
    "/sys/kernel/security/lockdown",
    "/sys/devices/system/cpu/online",
    "/proc/sys/kernel/kexec_load_disabled",
    "/proc/sys/kernel/kexec_load_limit_panic",
)


class Watch:
    """Calls `poke` in the loop with a reason, when one of the covered paths may have changed.

    Folders are watched, not files: an editor puts another file in the place of the old one. inotify works by inode, so
    a folder that was made anew has to be watched anew; this is checked at each `cover` and after each event.
    """

    def __init__(
        self, files: Files, poke: Callable[[str], None], *, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._files = files
        self._poke = poke
        self._loop = loop or asyncio.get_running_loop()
        self._covered: frozenset[str] = frozenset()
        self._spelled: dict[str, str] = {}  # from where a path really is to how it was asked for
        self._watched: dict[
            str, tuple[ObservedWatch, int]
        ] = {}  # folder -> its watch, and the inode it is of
        self._outside: dict[str, str] = {}  # from where a folder lies on this machine to its path
        self._observer: InotifyObserver | None = None
        self._handler = _Handler(self._hear)
        self._heard: set[str] = set()
        self._lock = threading.Lock()

    def cover(self, paths: frozenset[str]) -> tuple[Problem, ...]:
        """Watch these paths, whether they are there or not, and no others.

        Pokes where something was not watched before: it may have changed unheard since it was read. Returns the
        warning `watch-limit` where the kernel refuses; the slow poll is all that is left then.
        """
        self._covered = paths
        added, problems = self._renew()
        if added:
            self._loop.call_soon(self._poke, f"{min(added)} is watched now")
        return problems

    def stop(self) -> None:
        """No poke comes after this."""
        self._covered = frozenset()
        self._spelled = {}
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            if observer.is_alive():
                observer.join()
        self._watched.clear()
        with self._lock:
            self._heard.clear()

    def _renew(self) -> tuple[frozenset[str], tuple[Problem, ...]]:
        """Watch what has to be watched now; which folders were added, and what could not be."""
        self._spelled = self._real_places()
        wanted: dict[str, int] = {}
        for folder in folders(self._spelled, is_folder=self._is_folder):
            try:
                wanted[folder] = self._files.stat(folder).inode
            except OSError as fault:
                logger.debug("%s cannot be watched: %s", folder, fault)
        self._outside = {self._files.outside(folder): folder for folder in wanted}
        for folder, (watch, inode) in tuple(self._watched.items()):
            if wanted.get(folder) != inode and self._observer is not None:
                self._observer.unschedule(watch)
                del self._watched[folder]
        added: set[str] = set()
        try:
            for folder in sorted(wanted.keys() - self._watched.keys()):
                if self._add(folder, wanted[folder]):
                    added.add(folder)
        except (OSError, RuntimeError) as fault:  # a RuntimeError: no more threads
            return frozenset(added), (_refused(fault),)
        return frozenset(added), ()

    def _add(self, folder: str, inode: int) -> bool:
        """Raises OSError where no more can be watched at all."""
        observer = self._observer or self._start()
        try:
            watch = observer.schedule(
                self._handler, self._files.outside(folder), event_filter=[*COMES_OR_GOES, *CHANGES]
            )
        except OSError as fault:
            if fault.errno in LIMITS:
                raise
            logger.debug("%s cannot be watched: %s", folder, fault)  # gone since: what is above it is watched
            return False
        self._watched[folder] = (watch, inode)
        return True

    def _start(self) -> InotifyObserver:
        observer = InotifyObserver()
        observer.start()
        self._observer = observer
        return observer

    def _real_places(self) -> dict[str, str]:
        """Each covered path where its folder really is, and where it leads to itself, should it be a link."""
        places: dict[str, str] = {}
        for path in self._covered:
            above, _, name = path.rstrip("/").rpartition("/")
            try:
                places[f"{self._files.real(above or '/').rstrip('/')}/{name}"] = path
                places[self._files.real(path)] = path
            except OSError:  # links in circles: whoever reads the path will say so
                places[path] = path
        return places

    def _is_folder(self, path: str) -> bool:
        try:
            return self._files.stat(path).kind is Kind.DIRECTORY
        except OSError:
            return False

    def _hear(self, event: FileSystemEvent) -> None:
        """In the observer's thread: most events in a folder like /etc are about others and wake nobody."""
        heard: set[str] = set()
        for outside in (event.src_path, event.dest_path):
            place = self._inside(os.fsdecode(outside)) if outside else ""
            if place:
                found = concerned(place, self._spelled, comes_or_goes=isinstance(event, COMES_OR_GOES))
                heard |= {self._spelled.get(each, each) for each in found}
        if not heard:
            return
        with self._lock:
            is_first = not self._heard
            self._heard |= heard
        if is_first:
            try:
                self._loop.call_soon_threadsafe(self._tell)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                return

    def _inside(self, outside: str) -> str:
        if outside in self._outside:
            return self._outside[outside]
        above, _, name = outside.rpartition("/")
        folder = self._outside.get(above or "/", self._outside.get(f"{above}/"))
        return f"{folder.rstrip('/')}/{name}" if folder is not None else ""

    def _tell(self) -> None:
        """In the loop: all that was heard since the last time, each path once."""
        with self._lock:
            heard, self._heard = self._heard, set()
        if not heard:
            return
        for path in sorted(heard):  # first of all: whatever becomes of the watching, what was heard is told
            self._poke(f"{path} changed")
        self._renew()  # the refusals are told at the next `cover`, which the look brings


class _Handler(FileSystemEventHandler):
    def __init__(self, hear: Callable[[FileSystemEvent], None]) -> None:
        self._hear = hear

    def dispatch(self, event: FileSystemEvent) -> None:
        self._hear(event)


def sysfs_signature(files: Files) -> str:
    """What the kernel says where no event tells of a change, as a text to compare: cheap enough to be read often."""
    return "\n".join(f"{path}={_word(files, path)}" for path in SIGNS)


def _word(files: Files, path: str) -> str:
    try:
        return files.read_text(path).strip()
    except OSError as fault:
        return f"({errno.errorcode.get(fault.errno or 0, '?')})"


def _refused(fault: OSError | RuntimeError) -> Problem:
    why = fault.strerror if isinstance(fault, OSError) else ""
    return Problem(
        code="watch-limit",
        message=f"changes of files may be noticed late: the kernel allows no more watches ({why or fault})",
        hint="raise fs.inotify.max_user_watches or fs.inotify.max_user_instances",
        severity=Severity.WARNING,
    )
