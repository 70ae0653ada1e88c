"""Hears of kexec being run by somebody else: the kernel tells nobody that another crash kernel was loaded over ours.

Where nothing is loaded any more, /sys says so. Another image in the place of ours it does not show; then the program's
argv is the only witness, and it must be read while it runs.

Who runs what is read from /proc/PID/comm and cmdline, which everybody may read (proc(5)). exe, cwd and the like ask for
CAP_SYS_PTRACE where that process has more capabilities than we: a kexec of root's has, and kdumpd.service has not that one.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable

from watchdog.observers.inotify_c import InotifyConstants as Bits

from kdumpd.core.loading import loads_crash_kernel
from kdumpd.host.doors import Files
from kdumpd.host.inotify import Inotify

MASK = Bits.IN_OPEN | Bits.IN_CLOSE_NOWRITE | Bits.IN_ATTRIB | Bits.IN_DELETE_SELF | Bits.IN_MOVE_SELF
GOES = Bits.IN_ATTRIB | Bits.IN_DELETE_SELF | Bits.IN_MOVE_SELF | Bits.IN_IGNORED
NAME_CHARACTERS = 15  # TASK_COMM_LEN of linux/sched.h, less the 0 at its end
AGAIN_SECONDS = 0.02
"""Between the opening of a program and the moment from which /proc shows it: execve(2) has more to do by then."""


class KexecRuns:
    """An ear. `on_load` where somebody else has run it to load a crash kernel, `news` at every other use, reading included."""

    def __init__(
        self,
        files: Files,
        program: str,
        *,
        news: Callable[[str], None],
        on_load: Callable[[], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Raises OSError where there is no such program."""
        if not program:
            raise FileNotFoundError(errno.ENOENT, "kexec is not installed")
        self._files = files
        self._program = program
        self._news = news
        self._on_load = on_load
        self._loop = loop or asyncio.get_running_loop()
        self._loaders: set[str] = set()
        self._again: asyncio.TimerHandle | None = None
        self._inotify = Inotify()
        try:
            self._watch()
        except OSError:
            self._inotify.close()
            raise

    def fileno(self) -> int:
        return self._inotify.fileno()

    def hear(self) -> None:
        """Raises OSError where there is no such program any more, after saying what else was heard."""
        seen = 0
        for event in self._inotify.read():
            seen |= event.mask
        if seen & Bits.IN_OPEN:
            self._note_loaders()
            if self._again is None:
                self._again = self._loop.call_later(AGAIN_SECONDS, self._look_again)
        if seen & (Bits.IN_CLOSE_NOWRITE | Bits.IN_Q_OVERFLOW):
            self._tell_ended()
        if seen & GOES:
            self._watch()  # the same inode again, or the one that an upgrade put in its place

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._inotify.close()

    def _tell_ended(self) -> None:
        names = self._names()
        ended = {loader for loader in self._loaders if not self._is_running(loader, names)}
        self._loaders -= ended
        if ended:
            self._on_load()
        else:
            self._news("kexec was run or read")

    def _look_again(self) -> None:
        self._again = None
        self._note_loaders()

    def _note_loaders(self) -> None:
        """Whoever executes the program now to load a crash kernel, and is no child of ours."""
        names = self._names()
        self._loaders |= {
            each
            for each in self._files.names("/proc")
            if each.isdecimal()
            and each not in self._loaders
            and self._is_running(each, names)
            and loads_crash_kernel(self._argv(each))
            and not self._is_our_child(each)
        }

    def _is_running(self, process: str, names: frozenset[str]) -> bool:
        """By name: the kernel calls a process by the last part of the path that was executed, a link's name included.

        Another program of that name would have to run `-p` just when ours is opened; the machine is then armed anew in
        vain. One that has ended, and was not waited for yet, still has a name but no argv.
        """
        try:
            name = self._files.read_text(f"/proc/{process}/comm").rstrip("\n")
        except OSError:  # it has ended and is forgotten
            return False
        return name in names and bool(self._argv(process))

    def _names(self) -> frozenset[str]:
        paths = (self._program, self._files.real(self._program))
        return frozenset(os.path.basename(path)[:NAME_CHARACTERS] for path in paths)

    def _argv(self, process: str) -> tuple[str, ...]:
        try:
            said = self._files.read_text(f"/proc/{process}/cmdline").rstrip("\0")
        except OSError:
            return ()
        return tuple(said.split("\0")) if said else ()

    def _is_our_child(self, process: str) -> bool:
        try:
            after_name = self._files.read_text(f"/proc/{process}/stat").rpartition(")")[2].split()
        except OSError:
            return False
        return after_name[1:2] == [str(os.getpid())]

    def _watch(self) -> None:
        self._inotify.add(self._files.outside(self._files.real(self._program)), MASK)
