"""Single files of /proc, /sys and /run/udev, and the output of single programs."""

from __future__ import annotations

import pytest

from kdumpd.core import facts
from kdumpd.core.machine import Lockdown


def test_a_record_of_udev() -> None:
    record = (
        "S:disk/by-label/crash\\x20dumps\nS:disk/by-uuid/84c1\nL:10\nI:123\nE:ID_FS_TYPE=ext4\n"
        "E:ID_FS_LABEL=crash_dumps\nE:ID_FS_LABEL_ENC=crash\\x20dumps\nE:ID_FS_UUID=84c1\n"
        "E:ID_PART_ENTRY_NAME=caf\\xc3\\xa9\nE:ID_PART_ENTRY_UUID=9f6e-01\nG:systemd\nV:1\n"
    )
    assert facts.parse_udev(record) == facts.Contents(
        contents="ext4",
        uuid="84c1",
        label="crash dumps",
        part_uuid="9f6e-01",
        part_label="café",
        links=("/dev/disk/by-label/crash\\x20dumps", "/dev/disk/by-uuid/84c1"),
    )


def test_the_output_of_blkid() -> None:
    output = (
        "DEVNAME=/dev/vda1\nLABEL=my\\ disk\nUUID=1c1e\nBLOCK_SIZE=4096\nTYPE=ext4\nPARTUUID=9f6e-01\n\n"
        "DEVNAME=/dev/vda2\nUUID=Zc3uUe\nTYPE=LVM2_member\n"
    )
    found = facts.parse_blkid(output)
    assert found["/dev/vda1"].label == "my disk"
    assert (found["/dev/vda1"].uuid, found["/dev/vda1"].part_uuid) == ("1c1e", "9f6e-01")
    assert found["/dev/vda2"].contents == "LVM2_member"
    assert facts.parse_blkid("") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4d8fb1c2-6b0a-9c1e-7d24-1fa0b35e8c97\n", "4d8fb1c2:6b0a9c1e:7d241fa0:b35e8c97"),
        ("4D8FB1C2:6B0A9C1E:7D241FA0:B35E8C97", "4d8fb1c2:6b0a9c1e:7d241fa0:b35e8c97"),
        ("Zc3uUe-1GkX", ""),
        ("", ""),
    ],
)
def test_the_uuid_of_an_array(text: str, expected: str) -> None:
    assert facts.md_uuid(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[none] integrity confidentiality\n", Lockdown.NONE),
        ("none [integrity] confidentiality\n", Lockdown.INTEGRITY),
        ("none integrity [confidentiality]\n", Lockdown.CONFIDENTIALITY),
        ("", Lockdown.NONE),
    ],
)
def test_lockdown(text: str, expected: Lockdown) -> None:
    assert facts.parse_lockdown(text) is expected


def test_secure_boot_is_the_fifth_byte() -> None:
    assert facts.is_secure_boot(b"\x06\x00\x00\x00\x01")
    assert not facts.is_secure_boot(b"\x06\x00\x00\x00\x00")
    assert not facts.is_secure_boot(b"")


@pytest.mark.parametrize(("text", "count"), [("0-3,8\n", 5), ("0", 1), ("", 0), ("0-15", 16)])
def test_members_of_a_list(text: str, count: int) -> None:
    assert facts.count_of_list(text) == count


IOMEM = "00001000-0009fbff : System RAM\n00100000-7fffffff : System RAM\n  6b000000-7affffff : Crash kernel\n"


def test_memory_of_the_machine_and_of_the_crash_kernel() -> None:
    assert facts.system_ram(IOMEM) == ((0x1000, 0x9FBFF), (0x100000, 0x7FFFFFFF))
    assert facts.crash_kernel_bytes(IOMEM) == 256 << 20
    assert facts.crash_kernel_bytes("00000000-00000000 : Crash kernel\n") == 0
    assert facts.memory_total("MemTotal:        2035464 kB\nMemFree: 1 kB\n") == 2035464 * 1024


def test_the_layout_moves_with_processors_and_memory_and_with_nothing_else() -> None:
    one = facts.layout(cpus_present="0-1", iomem=IOMEM)
    assert one == facts.layout(cpus_present="0-1\n", iomem=IOMEM + "b0000000-bfffffff : PCI Bus 0000:00\n")
    assert one != facts.layout(cpus_present="0-2", iomem=IOMEM)
    assert one != facts.layout(cpus_present="0-1", iomem=IOMEM + "100000000-17fffffff : System RAM\n")
    assert "memory 2047 MiB in 2 ranges" in one


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (b"TZif2\0\0\0...\nCET-1CEST,M3.5.0,M10.5.0/3\n", "CET-1CEST,M3.5.0,M10.5.0/3"),
        (b"TZif2\0\0\0...\nUTC0\n", ""),
        (b"TZif\0\0\0\0...", ""),
        (b"", ""),
    ],
)
def test_the_time_zone_ends_the_file(zone: bytes, expected: str) -> None:
    assert facts.posix_timezone(zone) == expected


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        (b"#!/bin/sh\nexit", ("/bin/sh", "")),
        (b"#! /usr/bin/env python3 -u\n", ("/usr/bin/env", "python3 -u")),
        (b"#!\n", ("", "")),
        (b"#!sh\0 -e\n", ("sh", "")),
        (b"\x7fELF", ("", "")),
    ],
)
def test_the_interpreter_of_a_script(beginning: bytes, expected: tuple[str, str]) -> None:
    assert facts.interpreter(beginning) == expected


@pytest.mark.parametrize(("kind", "expected"), [(1, False), (2, True), (3, True)])
def test_a_kernel_module_is_no_program(kind: int, expected: bool) -> None:  # noqa: FBT001  # a table's column
    assert facts.is_elf_program(b"\x7fELF\x02\x01\x01" + bytes(9) + bytes([kind, 0])) is expected


def test_the_output_of_ldd_for_several() -> None:
    output = (
        "/usr/bin/a:\n\tlinux-vdso.so.1 (0x00007ffd)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f)\n"
        "\tlibgone.so.3 => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
        "/usr/bin/static:\n\tnot a dynamic executable\n/usr/bin/pie:\n\tstatically linked\n"
    )
    found = facts.parse_ldd(output)
    assert found["/usr/bin/a"].found == ("/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2")
    assert found["/usr/bin/a"].missing == ("libgone.so.3",)
    assert found["/usr/bin/static"] == found["/usr/bin/pie"] == facts.Libraries()


def test_the_output_of_ldd_for_one_does_not_name_it() -> None:
    output = "\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n"
    assert facts.parse_ldd(output, only="/bin/x") == {"/bin/x": facts.Libraries(found=("/lib/libc.so.6",))}
