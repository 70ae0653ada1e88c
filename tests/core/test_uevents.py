"""Which of the kernel's messages about devices are about processors and memory."""

from __future__ import annotations

import pytest

from kdumpd.core.uevents import news


def message(subsystem: str, *, head: str = "online@/devices/system/cpu/cpu7") -> bytes:
    action, _, path = head.partition("@")
    lines = (head, f"ACTION={action}", f"DEVPATH={path}", f"SUBSYSTEM={subsystem}", "SEQNUM=4711")
    return "\0".join(lines).encode() + b"\0"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (message("cpu"), "the kernel says online of cpu7"),
        (message("memory", head="add@/devices/system/memory/memory32"), "the kernel says add of memory32"),
        (message("usb"), ""),
        (message("cpuid"), ""),
        (b"libudev\0\xfe\xed\xca\xfe\0SUBSYSTEM=cpu\0", ""),
        (b"", ""),
        (b"\xff@\0SUBSYSTEM=cpu", "the kernel says change of cpu"),
        (b"add@/x\0SUBSYSTEM", ""),
    ],
)
def test_only_processors_and_memory_are_news(data: bytes, why: str) -> None:
    assert news(data) == why
