"""How much memory a kernel takes once it runs, from the first kilobyte of its file."""

from __future__ import annotations

import struct
from typing import Final

HEADER_BYTES: Final = 1024
UNPACKED_TIMES: Final = 3
UNKNOWN_AT_MOST_BYTES: Final = 48 << 20
"""Of a kernel that does not say it: a compressed file of 12 MB was seen to hold one of 47 MiB (6.12 of Debian 13), and
what is a file of 100 MB holds more than a kernel."""

_ELF = b"\x7fELF"
_PT_LOAD = 1


def loaded_bytes(beginning: bytes) -> int:
    """What the kernel in that file occupies at most while it boots; 0 where its format does not say so.

    x86: init_size of the setup header (arch/x86/boot.rst, protocol 2.10). arm64 and riscv: image_size of the header
    of an uncompressed Image (arch/arm64/booting.rst). ppc64 and others: the segments of an ELF vmlinux.
    """
    if beginning[0x202:0x206] == b"HdrS" and len(beginning) >= 0x264:
        (version,) = struct.unpack_from("<H", beginning, 0x206)
        return int(struct.unpack_from("<I", beginning, 0x260)[0]) if version >= 0x020A else 0
    if beginning[56:60] in {b"ARM\x64", b"RSC\x05"}:
        return int(struct.unpack_from("<Q", beginning, 16)[0])
    if beginning.startswith(_ELF) and len(beginning) >= 64:
        return _of_elf(beginning)
    return 0


def resident_bytes(*, loaded: int, file: int) -> int:
    """What is taken for good: the part that only booting needs is given back. `loaded` may be 0: not known.

    Debian's 6.12 says 56 MiB, and 43 MiB were missing of the memory that it was given (page structures aside).
    """
    return loaded * 3 // 4 if loaded else min(file * UNPACKED_TIMES, UNKNOWN_AT_MOST_BYTES)


def _of_elf(beginning: bytes) -> int:
    if beginning[4] != 2:
        return 0
    order = "<" if beginning[5] == 1 else ">"
    (table,) = struct.unpack_from(order + "Q", beginning, 32)
    size, count = struct.unpack_from(order + "HH", beginning, 54)
    total = 0
    for at in range(table, table + size * count, size or 1):
        if size < 56 or at + size > len(beginning):
            return 0
        if struct.unpack_from(order + "I", beginning, at)[0] == _PT_LOAD:
            total += int(struct.unpack_from(order + "Q", beginning, at + 40)[0])
    return total
