"""POSIX sh that runs inside the capture kernel (package data), and what it needs there."""

from __future__ import annotations

from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAMS = (
    "cat",
    "date",
    "dd",
    "dmesg",
    "grep",
    "head",
    "insmod",
    "mkdir",
    "mkfifo",
    "mount",
    "mv",
    "rm",
    "sh",
    "sleep",
    "stat",
    "sync",
    "tail",
    "tr",
    "umount",
)
"""Programs the agent cannot do without: all of them applets of busybox, else of coreutils, util-linux and kmod."""

WELCOME_PROGRAMS = ("blkid", "halt", "nproc", "poweroff", "reboot")
"""Programs the agent does without: blkid only where the device is a LABEL= or UUID=; the endings are otherwise
asked of the kernel (halt stands still); threads for the collector need nproc."""


@cache
def files() -> Mapping[str, bytes]:
    """What goes into the image, by its path there: `init` (to be executable) and the parts below `kdump/`.

    Read once: those of a newer release go with its own code, which the next start brings.

    The image needs `kdump/plan.env` as well (kdumpd.core.environment), and `proc`, `sys`, `dev` are made if absent.
    """
    here = resources.files(__name__)
    found = {
        ("init" if entry.name == "init" else f"kdump/{entry.name}"): entry.read_bytes()
        for entry in here.iterdir()
        if entry.name == "init" or entry.name.endswith(".sh")
    }
    return MappingProxyType(dict(sorted(found.items())))
