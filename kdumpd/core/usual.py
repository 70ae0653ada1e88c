"""What distributions reserve for a crash kernel: by architecture, the size of a page, and hardware that takes more."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace

from kdumpd.core.machine import Hungry, Machine
from kdumpd.core.reserve import MIB, Ranges, ranges_of

_ROWS = {
    "x86_64": "2G-64G:256M,64G-:512M",
    "s390x": "2G-64G:256M,64G-:512M",
    "aarch64": "2G-4G:256M,4G-64G:320M,64G-:576M",
    "ppc64le": "2G-4G:384M,4G-16G:512M,16G-64G:1G,64G-128G:2G,128G-:4G",
}
"""What kdump-utils of RHEL 10 and Fedora reserve, by the machine's memory."""

WITH_FADUMP = frozenset({"ppc64", "ppc64le"})
"""Architectures whose firmware can keep the memory of a crash."""
_WITH_FADUMP = (
    "4G-16G:768M,16G-64G:1G,64G-128G:2G,128G-1T:4G,1T-2T:6G,2T-4T:12G,"
    "4T-8T:20G,8T-16T:36G,16T-32T:64G,32T-64T:128G,64T-:180G"
)


def with_fadump() -> Ranges:
    """What distributions reserve on ppc64le for a firmware-assisted dump."""
    return ranges_of(_WITH_FADUMP)


def of_machine(machine: Machine) -> Ranges:
    return usual(machine.architecture, release=machine.kernel_release, hungry=machine.hungry)


def usual(architecture: str, *, release: str = "", hungry: AbstractSet[Hungry] = frozenset()) -> Ranges:
    """For images that are larger than ours; x86-64's where nothing is known. `release` is as `uname -r` has it.

    On aarch64 the smallest machines get nothing on top: it would be a large share of what they have.
    """
    table = ranges_of(_ROWS.get(architecture, _ROWS["x86_64"]))
    on_top = _on_top(architecture, release=release, hungry=hungry)
    spared = 1 if architecture == "aarch64" else 0
    return replace(
        table,
        ranges=(
            *table.ranges[:spared],
            *(replace(each, size=each.size + on_top) for each in table.ranges[spared:]),
        ),
    )


def _on_top(architecture: str, *, release: str, hungry: AbstractSet[Hungry]) -> int:
    """Bytes."""
    if architecture in {"x86_64", "s390x"}:
        # Encrypted memory is no memory for devices: they get a bounce buffer (swiotlb) beside it.
        return 64 * MIB if Hungry.ENCRYPTION in hungry else 0
    if architecture != "aarch64":
        return 0
    if "64k" not in release:  # such kernels are called so: 6.12.0-55.el10.aarch64+64k
        return 150 * MIB if Hungry.MELLANOX in hungry else 0
    smmu = 384 * MIB if Hungry.SMMU in hungry else 0  # its queues are made of whole pages
    mellanox = 200 * MIB if Hungry.MELLANOX in hungry else 0
    return 100 * MIB + smmu + mellanox
