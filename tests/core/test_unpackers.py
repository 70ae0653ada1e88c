"""What a kernel's configuration says of images, and how they are packed for it."""

from __future__ import annotations

import pytest

from kdumpd.core.plan import Packing
from kdumpd.core.unpackers import Packed, Unpackers, asked_in_vain, packed, parse, problems

FILE = "/boot/config-6.12"
TAKES = "# Linux/x86 6.12 Kernel Configuration\nCONFIG_BLK_DEV_INITRD=y\n"


def read(text: str) -> Unpackers:
    found = parse(f"{TAKES}{text}", file=FILE)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "base", "overlay", "why"),
    [
        (
            "CONFIG_RD_GZIP=y\nCONFIG_RD_XZ=y\nCONFIG_RD_ZSTD=y\n",
            Packing.ZSTD,
            Packing.GZIP,
            f"{FILE} has CONFIG_RD_ZSTD and CONFIG_RD_GZIP",
        ),
        (
            "CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n",
            Packing.GZIP,
            Packing.GZIP,
            f"{FILE} is without CONFIG_RD_ZSTD",
        ),
        # Before Linux 5.9 there was no such option.
        ("CONFIG_RD_GZIP=y\n", Packing.GZIP, Packing.GZIP, f"{FILE} is without CONFIG_RD_ZSTD"),
        (
            "# CONFIG_RD_GZIP is not set\nCONFIG_RD_ZSTD=y\n",
            Packing.ZSTD,
            Packing.NONE,
            f"{FILE} is without CONFIG_RD_GZIP",
        ),
        (
            "CONFIG_RD_XZ=y\n#CONFIG_RD_GZIP=y\n  CONFIG_RD_ZSTD=y\nCONFIG_RD_ZSTD=n\n",
            Packing.NONE,
            Packing.NONE,
            f"{FILE} is without CONFIG_RD_ZSTD and CONFIG_RD_GZIP",
        ),
    ],
)
def test_the_image_is_packed_with_what_the_kernel_unpacks(
    text: str, base: Packing, overlay: Packing, why: str
) -> None:
    assert packed(read(text)) == Packed(base=base, overlay=overlay, why=why)


@pytest.mark.parametrize("text", ["", "# CONFIG_RD_ZSTD is not set\n", "what CONFIG_RD_ZSTD=y is\n", "\0\n"])
def test_without_a_configuration_the_kernel_is_a_usual_one(text: str) -> None:
    assert parse(text, file=FILE) is None
    found = packed(None)
    assert (found.base, found.overlay) == (Packing.ZSTD, Packing.GZIP)
    assert "no configuration of the kernel" in found.why


def test_a_kernel_that_takes_no_image_at_all_is_an_error() -> None:
    built = parse("CONFIG_SMP=y\n# CONFIG_BLK_DEV_INITRD is not set\n", file=FILE)
    (problem,) = problems(built)
    assert (problem.code, problem.is_error) == ("kernel-takes-no-image", True)
    assert f"{FILE} is without CONFIG_BLK_DEV_INITRD" in problem.message
    assert list(problems(read(""))) == list(problems(None)) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--xz",), ["xz"]),
        (("--compress=xz -9e",), ["xz"]),
        (("--compress", "/usr/bin/lzop -9", "--xz", "--add", "lvm"), ["lzo", "xz"]),
        (("--compress", "pigz", "--gzip", "--no-compress", "--add", "xz"), []),
        (("--compress",), []),
        (("--compress=",), []),
        ((), []),
    ],
)
def test_what_dracut_is_asked_to_pack_with_is_told_where_the_kernel_cannot_unpack_it(
    arguments: tuple[str, ...], named: list[str]
) -> None:
    found = list(asked_in_vain(read("CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n"), arguments))
    assert [problem.message.partition(" packed with ")[2].partition(",")[0] for problem in found] == named
    assert all(problem.hint and not problem.is_error for problem in found)
    assert list(asked_in_vain(None, arguments)) == []
