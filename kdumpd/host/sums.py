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

CHUNK_BYTES = 1 << 20


class Sums:
    def __init__(self, files: Files) -> None:
        self._files = files

    async def note(self, dump: Dump) -> None:
        """Reads in the thread of the caller, who may be cancelled between two chunks; then there is no note.

        Raises OSError, also where the core changed meanwhile or is no plain file.
        """
        core = f"{dump.folder}/{dump.core}"
        before = self._files.stat(core)
        if self._files.link(core) or before.kind is not Kind.FILE:
            raise OSError(errno.EINVAL, "it is no plain file", core)
        found = hashlib.sha256()
        with self._files.open(core) as file:
            if os.fstat(file.fileno()).st_ino != before.inode:
                raise OSError(errno.ESTALE, "it was exchanged meanwhile", core)
            while chunk := file.read(CHUNK_BYTES):
                found.update(chunk)
                _forget(file)
                await asyncio.sleep(0)
        if self._files.stat(core) != before:
            raise OSError(errno.ESTALE, "it changed meanwhile", core)
        text = sum_note(found.hexdigest(), dump.core)
        self._files.write(f"{dump.folder}/{SUM.format(core=dump.core)}", text.encode("ascii"))


def _forget(file: BinaryIO) -> None:
    """A dump may be larger than memory; what others read would make room for it."""
    os.posix_fadvise(file.fileno(), 0, file.tell(), os.POSIX_FADV_DONTNEED)
