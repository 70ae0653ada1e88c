"""Why something could not be stored, in words: from the kernel's error number to a Problem."""

from __future__ import annotations

import errno

from kdumpd.core.problems import Problem

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


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
