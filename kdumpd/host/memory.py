"""Gives back to the kernel what memory only the last piece of work needed."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator

MADV_DONTNEED = 4  # asm-generic/mman-common.h
_MAPPING = re.compile(
    r"([0-9a-f]+)-([0-9a-f]+) r-[-x]p [0-9a-f]+ \S+ \d+ +/.*(?:\.so(?:\.[0-9.]+)?|/python3[0-9.]*)$"
)
"""Of programs and libraries alone, which nobody unmaps: whatever else is mapped may be gone when it is given back."""
_OTHER = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")
_UNTOUCHED = ("Private_Dirty:", "Anonymous:", "Swap:", "Locked:")
SMAPS = "/proc/self/smaps"
"""Of this process, whatever the root of the doors."""


def give_back() -> None:
    """For the moments of rest: what Python has freed, and the pages of programs and libraries, which are in the page cache.

    Most of those were read to start or to build. Those that are needed again are mapped again without reading a disk,
    as long as memory is not short; if it is, the kernel would have taken them by itself.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc alone
        libc.malloc_trim(0)
    with open(SMAPS, encoding="utf-8", errors="surrogateescape") as smaps:
        found = list(unchanged_pages(smaps))
    for first, beyond in found:
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(beyond - first), MADV_DONTNEED)


def unchanged_pages(smaps: Iterator[str]) -> Iterator[tuple[int, int]]:
    """Where a library is mapped to be only read, and no page of it is a copy: those alone can be read from it again."""
    place: tuple[int, int] | None = None
    for line in smaps:
        begins = _MAPPING.match(line)
        if begins is not None:
            place = int(begins[1], 16), int(begins[2], 16)
        elif _OTHER.match(line) or (line.startswith(_UNTOUCHED) and line.split()[1] != "0"):
            place = None
        elif line.startswith("VmFlags:") and place is not None:
            yield place
            place = None
