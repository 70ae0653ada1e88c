"""What a kernel's file says of the memory that it takes."""

from __future__ import annotations

import struct

import pytest

from kdumpd.core.kernel_size import HEADER_BYTES, loaded_bytes, resident_bytes

MIB = 1 << 20


def bzimage(*, init_size: int, version: int = 0x020F) -> bytes:
    header = bytearray(HEADER_BYTES)
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x206, version)
    struct.pack_into("<I", header, 0x260, init_size)
    return bytes(header)


def image(magic: bytes, *, size: int) -> bytes:
    header = bytearray(HEADER_BYTES)
    struct.pack_into("<Q", header, 16, size)
    header[56:60] = magic
    return bytes(header)


def vmlinux(*segments: tuple[int, int], order: str = "<") -> bytes:
    head = b"\x7fELF" + bytes([2, 1 if order == "<" else 2]) + bytes(26) + struct.pack(order + "Q", 64)
    head = head.ljust(54, b"\0") + struct.pack(order + "HH", 56, len(segments))
    table = b"".join(
        struct.pack(order + "I", kind) + bytes(36) + struct.pack(order + "Q", size) + bytes(8)
        for kind, size in segments
    )
    return (head.ljust(64, b"\0") + table).ljust(HEADER_BYTES, b"\0")


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        (bzimage(init_size=56 * MIB), 56 * MIB),
        (bzimage(init_size=56 * MIB, version=0x0209), 0),
        (bzimage(init_size=56 * MIB)[:0x262], 0),
        (image(b"ARM\x64", size=40 * MIB), 40 * MIB),
        (image(b"RSC\x05", size=30 * MIB), 30 * MIB),
        (vmlinux((1, 30 * MIB), (4, 7), (1, 10 * MIB)), 40 * MIB),
        (vmlinux((1, 30 * MIB), order=">"), 30 * MIB),
        (vmlinux((1, 30 * MIB))[:100], 0),
        (b"MZ\0\0zimg".ljust(HEADER_BYTES, b"\0"), 0),
        (b"", 0),
        (b"\x7fELF", 0),
    ],
)
def test_a_header_says_how_large_the_kernel_becomes(beginning: bytes, expected: int) -> None:
    assert loaded_bytes(beginning) == expected


def test_a_kernel_that_does_not_say_is_taken_for_compressed() -> None:
    assert resident_bytes(loaded=56 * MIB, file=12 * MIB) == 42 * MIB
    assert resident_bytes(loaded=0, file=12 * MIB) == 36 * MIB
    assert resident_bytes(loaded=0, file=90 * MIB) == 48 * MIB, (
        "as of a unified image with an initramfs in it"
    )
