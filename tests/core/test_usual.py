"""What distributions reserve, as the reader of a machine's documentation expects it."""

from __future__ import annotations

import pytest

from kdumpd.core import usual
from kdumpd.core.machine import Hungry
from kdumpd.core.reserve import MIB, parse, render, size_for

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("architecture", "release", "hungry", "expected"),
    [
        ("x86_64", "6.12.0-55.el10.x86_64", (), "2G-64G:256M,64G-:512M"),
        ("x86_64", "", (Hungry.ENCRYPTION,), "2G-64G:320M,64G-:576M"),
        ("x86_64", "", (Hungry.MELLANOX, Hungry.SMMU), "2G-64G:256M,64G-:512M"),
        ("s390x", "", (), "2G-64G:256M,64G-:512M"),
        ("aarch64", "6.12.0-55.el10.aarch64", (), "2G-4G:256M,4G-64G:320M,64G-:576M"),
        ("aarch64", "6.12.0-55.el10.aarch64", (Hungry.SMMU,), "2G-4G:256M,4G-64G:320M,64G-:576M"),
        ("aarch64", "6.12.0-55.el10.aarch64", (Hungry.MELLANOX,), "2G-4G:256M,4G-64G:470M,64G-:726M"),
        ("aarch64", "6.12.0-55.el10.aarch64+64k", (), "2G-4G:256M,4G-64G:420M,64G-:676M"),
        ("aarch64", "6.12.0-55.el10.aarch64+64k", (Hungry.SMMU,), "2G-4G:256M,4G-64G:804M,64G-:1060M"),
        (
            "aarch64",
            "6.12.0-55.el10.aarch64+64k",
            (Hungry.SMMU, Hungry.MELLANOX),
            "2G-4G:256M,4G-64G:1004M,64G-:1260M",
        ),
        ("ppc64le", "", (), "2G-4G:384M,4G-16G:512M,16G-64G:1G,64G-128G:2G,128G-:4G"),
        ("riscv64", "", (), "2G-64G:256M,64G-:512M"),
    ],
)
def test_the_usual_reservation(
    architecture: str, release: str, hungry: tuple[Hungry, ...], expected: str
) -> None:
    found = usual.usual(architecture, release=release, hungry=frozenset(hungry))
    assert render(found) == expected
    assert parse(expected) == found, "the kernel can read it"


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(2 * GIB, 0), (4 * GIB, 768 * MIB), (100 * GIB, 2 * GIB), (64 * 1024 * GIB, 180 * GIB)],
)
def test_the_usual_reservation_for_a_firmware_assisted_dump(memory: int, expected: int) -> None:
    assert size_for(usual.with_fadump(), memory) == expected
