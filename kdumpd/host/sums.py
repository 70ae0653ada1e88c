"""Notes the SHA-256 of a vmcore beside it, in the way of sha256sum, reading it once and leaving no trace in the page cache."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from typing import BinaryIO

from kdumpd.core.dumps import SUM, Dump, sum_note
from kdumpd.core.inventory import Kind
from kdumpd.host.doors import Files
from kdumpd.host.folders import facts_of, is_of_root

CHUNK_BYTES = 1 << 20


class Sums:
    def __init__(self, files: Files) -> None:
        self._files = files

    async def note(self, dump: Dump) -> None:
        """Reads in the thread of the caller, who may be cancelled between two chunks; then there is no note.

        Raises OSError, also where the core changed meanwhile, and where it or its folder is not root's: whoever may
        write there may put links in the way.
        """
        with self._files.open_folder(dump.folder) as folder:
            if not is_of_root(folder.facts()):
                raise OSError(errno.EPERM, "others may write there", dump.folder)
            with folder.open(dump.core) as file:
                before = facts_of(os.fstat(file.fileno()))
                if before.kind is not Kind.FILE or not is_of_root(before):
                    raise OSError(errno.EINVAL, "it is not a plain file that belongs to root", dump.core)
                found = hashlib.sha256()
                while chunk := file.read(CHUNK_BYTES):
                    found.update(chunk)
                    _forget(file)
                    await asyncio.sleep(0)
            if folder.facts_of(dump.core) != before:
                raise OSError(errno.ESTALE, "it changed meanwhile", dump.core)
            text = sum_note(found.hexdigest(), dump.core)
            folder.replace(SUM.format(core=dump.core), text.encode("ascii"))


def _forget(file: BinaryIO) -> None:
    """A dump may be larger than memory; what others read would make room for it."""
    os.posix_fadvise(file.fileno(), 0, file.tell(), os.POSIX_FADV_DONTNEED)
