"""Keeps what was built in one cache that any number of test runs share: each thing made once, none removed while used."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEWEST_KEPT = 3  # of each kind, however old
_AGE_KEPT = 4 * 3600.0  # seconds since the last use, however many
_held: dict[Path, int] = {}  # what this process uses until it ends, and the descriptor that says so


def cache() -> Path:
    """Where everything built is kept: $KDUMPD_CACHE, or ~/.cache/kdumpd-vm; private, as it holds set-uid programs."""
    directory = Path(os.environ.get("KDUMPD_CACHE") or Path.home() / ".cache" / "kdumpd-vm")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return directory


@contextmanager
def alone(name: str) -> Iterator[None]:
    """One process at a time makes the thing of that name; the others wait here."""
    locks = cache() / "locks"
    locks.mkdir(exist_ok=True)
    with (locks / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def beside(finished: Path) -> Iterator[Path]:
    """A directory to build in, renamed to `finished` only if all went well; call it under alone()."""
    unfinished = finished.with_name(f"{finished.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o755, parents=True)
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(finished)


def hold(kind: str, name: str) -> Path | None:
    """The finished directory KIND-NAME, kept from removal until this process ends; None if it is not there.

    Older things of the kind that nobody uses are removed on the way."""
    wanted = cache() / f"{kind}-{name}"
    with alone("removal"):
        if not wanted.is_dir():
            return None
        os.utime(wanted)
        if wanted not in _held:
            _held[wanted] = os.open(wanted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(_held[wanted], fcntl.LOCK_SH)
        _remove_old(kind)
    return wanted


def _remove_old(kind: str) -> None:
    finished = [path for path in cache().glob(f"{kind}-*") if path.suffix != ".unfinished"]
    by_age = sorted(finished, key=lambda path: path.stat().st_mtime, reverse=True)
    for old in by_age[_NEWEST_KEPT:]:
        if time.time() - old.stat().st_mtime > _AGE_KEPT and not _is_used(old):
            shutil.rmtree(old, ignore_errors=True)


def _is_used(directory: Path) -> bool:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
