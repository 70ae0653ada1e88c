"""Why something could not be stored, in words: from the kernel's error number to a Problem."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from kdumpd.core.problems import Problem

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
MORE_BYTES = 1 << 20  # so much more room than before is a reason to try again; less comes and goes by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the file system of the store says of itself."""

    free_bytes: int
    is_read_only: bool


UNKNOWN_ROOM = Room(
    free_bytes=0, is_read_only=False
)  # where nobody looked, or the file system does not even say


def is_mended(code: str, *, before: Room, now: Room) -> bool:
    """Whether what made storing fail with `code`, while the store was as `before`, has gone since.

    Of a disk that fails, and of a folder that is not ours, nothing but a try can tell.
    """
    if UNKNOWN_ROOM in {before, now}:
        return False
    if code == "no-space":
        return now.free_bytes >= before.free_bytes + MORE_BYTES
    return code == "store-unwritable" and before.is_read_only and not now.is_read_only


def storing_fault(fault: OSError, path: str) -> Problem:
    """`no-space`, `store-unwritable` or `store-failing` for `path`, a folder in words of the machine."""
    said = fault.strerror or str(fault)
    if fault.errno in NO_SPACE:
        return Problem(
            code="no-space",
            message=f"there is no room for the image in {path}: {said}",
            hint="make room there; kdumpd tries again by itself",
        )
    if fault.errno in UNWRITABLE:
        return Problem(
            code="store-unwritable",
            message=f"{path} cannot be written: {said}",
            hint="the file system may have been mounted read-only after an error",
        )
    return Problem(
        code="store-failing",
        message=f"storing in {path} failed: {said}",
        hint="see the kernel's log for errors of the disk below it",
    )


def is_out_of_space(said: str) -> bool:
    """Whether a program's last words are those of a full file system, in the C locale."""
    return any(
        words in said for words in ("No space left on device", "Disk quota exceeded", "File too large")
    )
