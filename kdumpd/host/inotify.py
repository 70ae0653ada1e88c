"""inotify: one descriptor for all that is watched, read when the loop finds it readable and never waited for."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from watchdog.observers import inotify_c

from kdumpd.core.inotify import Event, events

READ_BYTES = 64 * 1024
"""At once; the rest of a flood has its turn after the others of the loop."""


class Inotify:
    """The calls are watchdog's, by their names in libc: these are the same in its releases 2, 6 and 7.

    Its classes are not, and each brings threads of its own; release 2 drops the kernel's word that its queue ran over.
    """

    def __init__(self) -> None:
        """Raises OSError where the kernel has no more of them."""
        self._descriptor = _or_raise(inotify_c.inotify_init())
        os.set_inheritable(self._descriptor, False)  # noqa: FBT003  # its only form
        os.set_blocking(self._descriptor, False)

    def fileno(self) -> int:
        return self._descriptor

    def add(self, outside: str, mask: int) -> int:
        """Watch what is at a path of this machine now: the same number as before where it is the same inode.

        Raises OSError.
        """
        return _or_raise(inotify_c.inotify_add_watch(self._descriptor, os.fsencode(outside), mask))

    def remove(self, watch: int) -> None:
        """Nothing happens where the kernel has removed it already."""
        inotify_c.inotify_rm_watch(self._descriptor, watch)  # type: ignore[arg-type]  # a name of release 7 alone

    def read(self) -> Iterable[Event]:
        """What was told so far, or a part of it; nothing where there is nothing."""
        try:
            return tuple(events(os.read(self._descriptor, READ_BYTES)))
        except BlockingIOError:
            return ()

    def close(self) -> None:
        os.close(self._descriptor)


def _or_raise(answer: int) -> int:
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
