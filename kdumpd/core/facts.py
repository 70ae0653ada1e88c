"""What single files of /proc, /sys, /run/udev and single programs say, as values."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kdumpd.core.machine import Lockdown

KIB = 1024
EFI_ATTRIBUTES_BYTES = 4  # every efivarfs file begins with the variable's attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a block device holds, as udev's database or blkid says it."""

    contents: str = ""
    uuid: str = ""
    uuid_sub: str = ""
    label: str = ""
    part_uuid: str = ""
    part_label: str = ""
    links: tuple[str, ...] = ()
    dm_name: str = ""
    md_uuid: str = ""
    md_level: str = ""


def parse_udev(text: str) -> Contents:
    """One record of /run/udev/data: `S:` a link below /dev, `E:` a property (systemd, src/libsystemd/sd-device)."""
    links = sorted(f"/dev/{line[2:]}" for line in text.splitlines() if line.startswith("S:"))
    properties = dict(
        line[2:].partition("=")[::2] for line in text.splitlines() if line.startswith("E:") and "=" in line
    )
    return _contents(
        MappingProxyType(properties),
        links=tuple(links),
        label=_unhexed(properties.get("ID_FS_LABEL_ENC", "")) or properties.get("ID_FS_LABEL", ""),
        part_label=_unhexed(properties.get("ID_PART_ENTRY_NAME", "")),
    )


def parse_blkid(text: str) -> Mapping[str, Contents]:
    """The output of `blkid -o export`, by device node: paragraphs of KEY=value, the first key DEVNAME."""
    found: dict[str, Contents] = {}
    for paragraph in text.strip().split("\n\n"):
        values = {
            key: re.sub(r"\\(.)", r"\1", value)
            for key, equals, value in (line.partition("=") for line in paragraph.splitlines())
            if equals
        }
        node = values.pop("DEVNAME", "")
        if not node:
            continue
        properties = {f"ID_FS_{key}": value for key, value in values.items()}
        properties["ID_PART_ENTRY_UUID"] = values.get("PARTUUID", values.get("PART_ENTRY_UUID", ""))
        found[node] = _contents(
            properties,
            label=values.get("LABEL", ""),
            part_label=values.get("PARTLABEL", values.get("PART_ENTRY_NAME", "")),
        )
    return MappingProxyType(found)


def md_uuid(text: str) -> str:
    """An MD array's identity as mdadm writes it, `8hex:8hex:8hex:8hex`, from any punctuation; "" for anything else."""
    digits = re.sub(r"[-:]", "", text.strip().lower())
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        return ""
    return ":".join(digits[at : at + 8] for at in range(0, 32, 8))


def parse_lockdown(text: str) -> Lockdown:
    """/sys/kernel/security/lockdown: the chosen word stands in brackets."""
    chosen = re.search(r"\[(\w+)\]", text)
    word = chosen.group(1) if chosen else ""
    return Lockdown(word) if word in set(Lockdown) else Lockdown.NONE


def is_secure_boot(variable: bytes) -> bool:
    """The efivarfs file SecureBoot-8be4df61-...: after four bytes of attributes, one byte that is 1."""
    return variable[EFI_ATTRIBUTES_BYTES : EFI_ATTRIBUTES_BYTES + 1] == b"\x01"


def number(text: str, *, otherwise: int = 0) -> int:
    """The whole number that a file of /proc or /sys holds."""
    try:
        return int(text.strip() or otherwise)
    except ValueError:
        return otherwise


def count_of_list(text: str) -> int:
    """How many members a list such as `0-3,8` (/sys/devices/system/cpu/present) has."""
    count = 0
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if first.isdecimal():
            count += int(last) - int(first) + 1 if dash and last.isdecimal() else 1
    return count


def memory_total(meminfo: str) -> int:
    """Bytes of `MemTotal` in /proc/meminfo: what the kernel manages, less than is built in."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found.group(1)) * KIB if found else 0


def system_ram(iomem: str) -> tuple[tuple[int, int], ...]:
    """First and last address of each `System RAM` of /proc/iomem, in its order; all zero for readers without
    CAP_SYS_ADMIN.
    """
    ranges = re.findall(r"^\s*([0-9a-f]+)-([0-9a-f]+) : System RAM", iomem, re.MULTILINE)
    return tuple((int(first, 16), int(last, 16)) for first, last in ranges)


def layout(*, cpus_present: str, iomem: str) -> str:
    """The identity of processors and memory that crash headers describe.

    They list each present processor's notes, online or not, and each range of System RAM.
    """
    ranges = system_ram(iomem)
    mebibytes = sum(last - first + 1 for first, last in ranges if last) >> 20
    told = ",".join(f"{first:x}-{last:x}" for first, last in ranges)
    digest = hashlib.blake2b(told.encode("ascii"), digest_size=4).hexdigest()
    return f"cpus {cpus_present.strip() or '0'}; memory {mebibytes} MiB in {len(ranges)} ranges, {digest}"


def _contents(
    properties: Mapping[str, str], *, label: str, part_label: str, links: tuple[str, ...] = ()
) -> Contents:
    return Contents(
        contents=properties.get("ID_FS_TYPE", ""),
        uuid=_unhexed(properties.get("ID_FS_UUID_ENC", "")) or properties.get("ID_FS_UUID", ""),
        uuid_sub=properties.get("ID_FS_UUID_SUB", ""),
        label=label,
        part_uuid=properties.get("ID_PART_ENTRY_UUID", ""),
        part_label=part_label,
        links=links,
        dm_name=properties.get("DM_NAME", ""),
        md_uuid=md_uuid(properties.get("MD_UUID", "")),
        md_level=properties.get("MD_LEVEL", ""),
    )


def _unhexed(text: str) -> str:
    r"""Undo udev's `\x20` for every byte it would not let into a link."""
    if "\\x" not in text:
        return text
    encoded = re.sub(
        rb"\\x([0-9a-fA-F]{2})",
        lambda found: codecs.decode(found.group(1), "hex"),
        text.encode("utf-8", "surrogateescape"),
    )
    return encoded.decode("utf-8", "surrogateescape")


def posix_timezone(zone: bytes) -> str:
    """The TZ string that ends /etc/localtime (tzfile(5), version 2 or later); "" for UTC and for anything else."""
    if not zone.startswith(b"TZif") or zone[4:5] < b"2" or not zone.endswith(b"\n"):
        return ""
    text = zone[:-1].rpartition(b"\n")[2].decode("ascii", "replace")
    return "" if text in {"UTC0", "GMT0"} or not text.isprintable() else text


def interpreter(beginning: bytes) -> tuple[str, str]:
    """The program that a `#!` line names, and its first argument; two empty texts where there is no such line."""
    if not beginning.startswith(b"#!"):
        return "", ""
    line = beginning[2:].partition(b"\n")[0].partition(b"\0")[0]  # as the kernel ends it, fs/binfmt_script.c
    words = line.decode("utf-8", "surrogateescape").split(maxsplit=1)
    return (words[0] if words else ""), (words[1].strip() if len(words) > 1 else "")


def is_elf_program(beginning: bytes) -> bool:
    """Whether an ELF file is a program or a shared library, not an object such as a kernel module."""
    if not beginning.startswith(b"\x7fELF") or len(beginning) < 18:
        return False
    kind = int.from_bytes(beginning[16:18], "little" if beginning[5] == 1 else "big")
    return kind in {2, 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Libraries:
    """What a program's loader would open: absolute paths, and names that it does not find."""

    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def parse_ldd(text: str, *, only: str = "") -> Mapping[str, Libraries]:
    """The output of ldd by program; `only` is its name where ldd was asked for one and so does not say it.

    A program without libraries (`statically linked`, `not a dynamic executable`) has none.
    """
    found: dict[str, dict[str, None]] = {only: {}} if only else {}
    missing: dict[str, list[str]] = {}
    program = only
    for line in text.splitlines():
        if line.endswith(":") and not line[:1].isspace():
            program = line[:-1]
            found.setdefault(program, {})
            continue
        name, arrow, rest = line.strip().partition(" => ")
        where = re.sub(r" \(0x[0-9a-f]+\)$", "", rest if arrow else name)
        if arrow and where.startswith("not found"):
            missing.setdefault(program, []).append(name)
        elif where.startswith("/") and program in found:
            found[program][where] = None
    return MappingProxyType(
        {
            program: Libraries(found=tuple(paths), missing=tuple(missing.get(program, ())))
            for program, paths in found.items()
        }
    )


def crash_kernel_bytes(iomem: str) -> int:
    """The sum of the `Crash kernel` ranges of /proc/iomem; 0 for readers without CAP_SYS_ADMIN."""
    ranges = re.findall(r"^\s*([0-9a-f]+)-([0-9a-f]+) : Crash kernel", iomem, re.MULTILINE)
    return sum(int(last, 16) - int(first, 16) + 1 for first, last in ranges if int(last, 16))
