"""The crashkernel= grammar and its arithmetic: what a kernel reserves for a given memory, as its parser counts it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core.commandline import words
from kdumpd.core.problems import Problem

MIB = 1 << 20
RAM_STEP = 128 * MIB  # RAM is rounded up to it before a range is looked for (kernel/crash_reserve.c)

# DEFAULT_CRASH_KERNEL_LOW_SIZE: what is reserved below 4 GiB beside `,high` where `,low` says nothing.
_LOW_BYTES = {
    "x86_64": 256
    * MIB,  # for swiotlb and what beside it only reaches there (arch/x86/include/asm/crash_reserve.h)
    "aarch64": 128 * MIB,
    "loongarch64": 128 * MIB,
    "riscv64": 128 * MIB,
}
"""By architecture; the kernels of all others read no suffix."""

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)([KMGTPEkmgtpe]?)")


class Place(StrEnum):
    """The suffix of a crashkernel=: where its memory lies, or that it is shared with the first kernel."""

    HIGH = "high"
    LOW = "low"
    CMA = "cma"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """`size[@offset]`"""

    size: int
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """`start-[end]:size`: for `start <= RAM < end`; no end is no limit."""

    start: int
    end: int | None
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """`range[,range...][@offset]`"""

    ranges: tuple[Range, ...]
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffixed:
    """`size,high`, `size,low` or `size,cma`"""

    size: int
    place: Place


Reservation = Fixed | Ranges | Suffixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Bytes that a kernel sets aside. `low` is beside `base`, below 4 GiB; `cma` stays usable by the first kernel."""

    base: int = 0
    low: int = 0
    cma: int = 0


def parse(value: str) -> Reservation | Problem:
    """What stands behind `crashkernel=`."""
    if ":" in value:
        return _ranges(value)
    amount, comma, suffix = value.partition(",")
    if comma:
        size = parse_size(amount)
        if size is None or suffix not in set(Place):
            return _wrong(value, "write SIZE,high, SIZE,low or SIZE,cma")
        return Suffixed(size=size, place=Place(suffix))
    amount, at, place = value.partition("@")
    size, offset = parse_size(amount), parse_size(place)
    if size is None or (at and offset is None):
        if value == "auto":
            return _wrong(value, "only old kernels of RHEL know it; write a size such as 256M")
        return _wrong(value, "write a size such as 256M, or ranges such as 2G-64G:256M,64G-:512M")
    return Fixed(size=size, offset=offset)


def render(reservation: Reservation) -> str:
    """The shortest spelling; `parse` reads it back as the same."""
    match reservation:
        case Fixed(size=size, offset=offset):
            return size_text(size) + _offset_text(offset)
        case Suffixed(size=size, place=place):
            return f"{size_text(size)},{place}"
        case Ranges(ranges=ranges, offset=offset):
            each = ",".join(
                f"{size_text(one.start)}-{'' if one.end is None else size_text(one.end)}:{size_text(one.size)}"
                for one in ranges
            )
            return each + _offset_text(offset)


def parse_size(text: str) -> int | None:
    """A number as the kernel's memparse reads it: decimal or 0x, one suffix of KMGTPE; None for anything else."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    digits, unit = found.groups()
    # A leading zero is octal there; no one writes it, and nobody would mean it.
    return int(digits, 16 if digits[:2] in {"0x", "0X"} else 10) << _UNITS[unit.upper()]


def size_text(size: int) -> str:
    for unit, shift in reversed(_UNITS.items()):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return "0"


def sizes_of(reservation: Reservation) -> tuple[int, ...]:
    """Each size that it names, in bytes."""
    match reservation:
        case Fixed(size=size) | Suffixed(size=size):
            return (size,)
        case Ranges(ranges=ranges):
            return tuple(one.size for one in ranges)


def size_for(reservation: Reservation, memory_bytes: int) -> int:
    """The size that one crashkernel= asks for on a machine with so much RAM; 0 where it asks for none.

    A size that is not less than the RAM is refused by the kernel, and so nothing is reserved.
    """
    ram = -(-memory_bytes // RAM_STEP) * RAM_STEP
    match reservation:
        case Fixed(size=size) | Suffixed(size=size):
            return size if size < ram else 0
        case Ranges(ranges=ranges):
            for one in ranges:
                if one.start <= ram and (one.end is None or ram < one.end):
                    return one.size if one.size < ram else 0
            return 0


def reserved(command_line: str, memory_bytes: int, *, architecture: str) -> Reserved | Problem:
    """What a kernel with this command line tries to reserve. Of several plain ones the last counts, and it hides
    `,high`; `,low` counts only with `,high`; `,cma` comes on top of what the others reserve.

    PowerPC and s390 know sizes and ranges alone: there a suffix reserves nothing.
    """
    values = [
        word.removeprefix("crashkernel=") for word in words(command_line) if word.startswith("crashkernel=")
    ]
    plain: Reservation | None = None
    sizes: dict[Place, int] = {}
    for value in values:
        one = parse(value)
        match one:
            case Problem():
                return one
            case Suffixed(place=place):
                sizes[place] = size_for(one, memory_bytes)
            case Fixed() | Ranges():
                plain = one
    default_low = _LOW_BYTES.get(architecture)
    if default_low is None:
        sizes = {}
    cma = sizes.get(Place.CMA, 0)
    if plain is not None:
        base = size_for(plain, memory_bytes)
        return Reserved(base=base, cma=cma if base else 0)
    if not sizes.get(Place.HIGH):
        return Reserved()
    return Reserved(base=sizes[Place.HIGH], low=sizes.get(Place.LOW, default_low or 0), cma=cma)


def _ranges(value: str) -> Reservation | Problem:
    text, at, place = value.partition("@")
    offset = parse_size(place) if at else None
    good = ranges_of(text)
    if len(good.ranges) != text.count(",") + 1 or (at and offset is None):
        return _wrong(value, "write ranges such as 2G-64G:256M,64G-:512M")
    return Ranges(ranges=good.ranges, offset=offset)


def ranges_of(text: str) -> Ranges:
    """Those of the parts that are ranges."""
    found = (_range(part) for part in text.split(","))
    return Ranges(ranges=tuple(one for one in found if one is not None))


def _range(text: str) -> Range | None:
    span, _, amount = text.partition(":")
    first, dash, last = span.partition("-")
    start, end, size = parse_size(first), parse_size(last) if last else None, parse_size(amount)
    if start is None or size is None or not dash or (last and (end is None or end <= start)):
        return None
    return Range(start=start, end=end, size=size)


def _offset_text(offset: int | None) -> str:
    return "" if offset is None else f"@{size_text(offset)}"


def _wrong(value: str, hint: str) -> Problem:
    return Problem(code="bad-crashkernel", message=f"the kernel cannot read crashkernel={value}", hint=hint)
