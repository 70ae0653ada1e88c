"""The digest of a file's contents, read again only when the kernel says that it may hold others."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from kdumpd.core.identity import growing

CHUNK_BYTES = 1 << 20
AT_REST_NS = 3_000_000_000
"""A file changed so recently may change again within the same tick of the clock that its times are taken from (4 to
10 ms; FAT's are 2 s), so its contents are read each time."""
DIGESTS_KEPT = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """Which contents a file holds, as the kernel tells: nobody can set ctime, and every change moves it."""

    identity: tuple[int, int]  # device and inode
    size_bytes: int
    modified_ns: int
    changed_ns: int
    seen_ns: int = field(compare=False)

    @classmethod
    def of(cls, found: os.stat_result) -> _Version:
        return cls(
            identity=(found.st_dev, found.st_ino),
            size_bytes=found.st_size,
            modified_ns=found.st_mtime_ns,
            changed_ns=found.st_ctime_ns,
            seen_ns=time.time_ns(),
        )

    def is_older_than(self, nanoseconds: int) -> bool:
        """A ctime ahead of the clock tells that the clock was set back: it could come again."""
        return self.size_bytes > 0 and self.changed_ns + nanoseconds < self.seen_ns


class Digests:
    """By place on this machine. blake2b of 16 bytes, in hexadecimal digits."""

    def __init__(self, *, at_rest_ns: int = AT_REST_NS) -> None:
        self._at_rest_ns = at_rest_ns
        self._known: dict[tuple[int, int], tuple[_Version, str]] = {}

    def of(self, place: str) -> str:
        """Raises OSError. What is known is told without opening the file: there are those who hear of that, as we do of kexec."""
        version = _Version.of(os.stat(place))
        known = self._known.get(version.identity)
        if known is not None and known[0] == version:
            return known[1]
        found = growing()
        with open(place, "rb") as file:
            before = _Version.of(os.fstat(file.fileno()))
            while chunk := file.read(CHUNK_BYTES):
                found.update(chunk)
            after = _Version.of(os.fstat(file.fileno()))
        if before.is_older_than(self._at_rest_ns) and after == before:
            if len(self._known) >= DIGESTS_KEPT:
                self._known.clear()
            self._known[before.identity] = (before, found.hexdigest())
        return found.hexdigest()
