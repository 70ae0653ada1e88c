"""A directory held open: what is done in it is done there, whatever takes its name meanwhile, and no link in it is followed."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from types import TracebackType
from typing import BinaryIO, Self

from kdumpd.core.inventory import Kind
from kdumpd.host.doors import Facts

_IN_IT = os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    def __init__(self, outside: str) -> None:
        """OSError where the last part of the path is a link, or no directory."""
        self._descriptor = os.open(outside, os.O_RDONLY | os.O_DIRECTORY | _IN_IT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _fault: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def facts(self) -> Facts:
        return facts_of(os.fstat(self._descriptor))

    def facts_of(self, name: str) -> Facts:
        """Of what the name stands for now: of a link itself, where it is one."""
        return facts_of(os.stat(name, dir_fd=self._descriptor, follow_symlinks=False))

    def open(self, name: str) -> BinaryIO:
        """For reading. A pipe is not waited for; ask the facts of what was opened."""
        return os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK | _IN_IT, dir_fd=self._descriptor), "rb")

    def replace(self, name: str, data: bytes, *, mode: int = 0o600) -> None:
        """A new file takes the name, whole or not at all; what had it before is let go, not written to."""
        beside = f".{name}.{secrets.token_hex(6)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _IN_IT
        with os.fdopen(os.open(beside, flags, mode, dir_fd=self._descriptor), "wb") as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.rename(beside, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(beside, dir_fd=self._descriptor)
                raise
        os.fsync(self._descriptor)


def facts_of(found: os.stat_result) -> Facts:
    return Facts(
        kind=_kind(found.st_mode),
        mode=stat.S_IMODE(found.st_mode),
        size_bytes=found.st_size,
        owner=found.st_uid,
        group=found.st_gid,
        inode=found.st_ino,
        device=found.st_dev,
        modified_us=found.st_mtime_ns // 1000,
    )


def is_of_root(facts: Facts) -> bool:
    """Nobody else could have written it: it is root's, or of whoever runs us."""
    return facts.owner in {0, os.geteuid()}


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    return Kind.BLOCK if stat.S_ISBLK(mode) else Kind.OTHER
