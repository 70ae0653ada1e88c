"""What the capture kernel was built to unpack, by its own configuration, and so how the image is packed for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kdumpd.core.plan import Packing
from kdumpd.core.problems import Problem, Severity

_OPTION = re.compile(r"^CONFIG_(BLK_DEV_INITRD|RD_[A-Z0-9]+)=y$", re.MULTILINE)
_SYMBOLS = {Packing.ZSTD: "CONFIG_RD_ZSTD", Packing.GZIP: "CONFIG_RD_GZIP"}
_OF_DRACUT = frozenset({"bzip2", "gzip", "lz4", "lzma", "lzo", "xz", "zstd"})
"""What dracut can be told to pack with, by the name that the kernel has for it in small letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpackers:
    """What the configuration in `file` has built in: `names` are those of the options RD_..., in small letters."""

    file: str
    takes_an_image: bool
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """How the two parts of the image are packed; `why` is a clause."""

    base: Packing
    overlay: Packing
    why: str


def parse(text: str, *, file: str) -> Unpackers | None:
    """None where the text is no configuration of a kernel."""
    if "\nCONFIG_" not in f"\n{text}":
        return None
    built_in = {option.lower() for option in _OPTION.findall(text)}
    return Unpackers(
        file=file,
        takes_an_image="blk_dev_initrd" in built_in,
        names=frozenset(option.removeprefix("rd_") for option in built_in if option.startswith("rd_")),
    )


def packed(unpackers: Unpackers | None) -> Packed:
    """The base with zstd and the small overlay with gzip, as far as the kernel unpacks them; it takes archives as they are too."""
    if unpackers is None:
        why = "no configuration of the kernel is there to be read, and the usual ones have both"
        return Packed(base=Packing.ZSTD, overlay=Packing.GZIP, why=why)
    lacking = [symbol for packing, symbol in _SYMBOLS.items() if packing.value not in unpackers.names]
    return Packed(
        base=next((each for each in _SYMBOLS if each.value in unpackers.names), Packing.NONE),
        overlay=Packing.GZIP if Packing.GZIP.value in unpackers.names else Packing.NONE,
        why=f"{unpackers.file} is without {' and '.join(lacking)}"
        if lacking
        else f"{unpackers.file} has {' and '.join(_SYMBOLS.values())}",
    )


def problems(unpackers: Unpackers | None) -> Iterator[Problem]:
    if unpackers is not None and not unpackers.takes_an_image:
        yield Problem(
            code="kernel-takes-no-image",
            message=f"the capture kernel cannot take an image: {unpackers.file} is without CONFIG_BLK_DEV_INITRD",
            hint="name a kernel that can with KDUMP_KERNELVER, or build this one with it",
        )


def asked_in_vain(unpackers: Unpackers | None, arguments: Sequence[str]) -> Iterator[Problem]:
    """Of a way to pack that is among arguments of dracut, and that the kernel cannot unpack."""
    if unpackers is None:
        return
    for name in dict.fromkeys(_named(arguments)):
        if name in _OF_DRACUT and name not in unpackers.names:
            yield Problem(
                code="dracut-args-packing",
                message=f"dracut_args asks for an image packed with {name}, which the capture kernel cannot unpack: "
                f"{unpackers.file} is without CONFIG_RD_{name.upper()}",
                hint="take it out: kdumpd packs the image by itself, with what the kernel unpacks",
                severity=Severity.WARNING,
            )


def _named(arguments: Sequence[str]) -> Iterator[str]:
    """`--xz`, `--compress=xz`, `--compress "xz -9"`: the program, by the kernel's name for what it makes."""
    words = iter(arguments)
    for word in words:
        option, _, value = word.partition("=")
        if option == "--compress":
            program = (value or next(words, "")).split()
            name = program[0].rpartition("/")[2] if program else ""
        else:
            name = word.removeprefix("--") if word.startswith("--") else ""
        yield {"lzop": "lzo", "pigz": "gzip"}.get(name, name)
