"""Disks with LVM, RAID 1, btrfs, and LUKS on thin LVM on them, made once and lent to any number of machines."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.hardware import Disk, on_host
from tests.vm.server import frozen_server
from tests.vm.store import alone, beside, cache, hold

if TYPE_CHECKING:
    from collections.abc import Callable

# stack -> its disks' serial numbers
STACKS = {
    "linear": ("linear",),  # /dev/linear/dumps, ext4
    "thin": ("thin",),  # thin volume /dev/thin/sealed, LUKS 2, ext4 LABEL=sealed within
    "mirror": ("mirror-a", "mirror-b"),  # an MD raid 1, ext4 LABEL=mirror
    "subvolumes": ("subvolumes",),  # btrfs LABEL=subvolumes with @dumps and @other
}
PASSPHRASE = "correct horse"
_RECIPE = Path(__file__).parent / "guest" / "stack.sh"


def disks(stack: str, *, say: Callable[[str], None]) -> tuple[Disk, ...]:
    """The disks of one of STACKS, to be plugged in; a machine's own copies."""
    made = _all_made(say)
    return tuple(Disk(serial=serial, made=made / f"{serial}.qcow2") for serial in STACKS[stack])


def _all_made(say: Callable[[str], None]) -> Path:
    key = hashlib.sha256(_RECIPE.read_bytes() + repr(STACKS).encode()).hexdigest()[:16]
    with alone(f"stacks-{key}"):
        made = hold("stacks", key)
        if made is None:
            _make(cache() / f"stacks-{key}", say)
            made = hold("stacks", key)
    assert made is not None
    return made


def _make(finished: Path, say: Callable[[str], None]) -> None:
    say("making disks with LVM, RAID, btrfs and LUKS on them (once)")
    serials = [serial for stack in STACKS.values() for serial in stack]
    with beside(finished) as unfinished, frozen_server(say=say).wake() as machine:
        for serial in serials:
            machine.plug(Disk(serial=serial))
        machine.sh(_RECIPE.read_text(), timeout=300)
        machine.power_off()
        for serial in serials:
            made = machine.directory / f"{serial}.qcow2"
            on_host("qemu-img", "convert", "-O", "qcow2", str(made), str(unfinished / made.name))
