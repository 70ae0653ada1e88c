"""Which kernels want a capture image before they are ever booted: the newest installed, in the order of their versions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from kdumpd.core.capture_kernel import usual_images
from kdumpd.core.machine import Machine

MODULE_LISTS = ("modules.dep", "modules.softdep", "modules.alias", "modules.builtin")
"""What depmod and the kernel's package write last; as long as the first is missing the kernel is half installed."""

_PARTS = re.compile(r"~|[0-9]+|[A-Za-z]+")
_CANDIDATE = re.compile(r"-(?=(?:rc|pre)\d)")


def version_key(release: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts releases of kernels from the oldest to the newest, as rpm and, for kernels, dpkg do.

    Numbers count as such and are newer than words, words newer than the end; `~` is older than the end, and so is a
    candidate's `-rc1`. What else stands between them does not count.
    """
    parts = (_part(part) for part in _PARTS.findall(_CANDIDATE.sub("~", release)))
    return (*parts, (0, 0, ""))


def releases(machine: Machine, *, count: int) -> tuple[str, ...]:
    """Those of the newest `count` kernels that do not run now, the newest first; none that is half installed."""
    whole = {kernel.release for kernel in machine.kernels if kernel.image and kernel.modules}
    newest = sorted(whole, key=lambda release: (version_key(release), release), reverse=True)[:count]
    return tuple(release for release in newest if release != machine.kernel_release)


def as_if_running(machine: Machine, release: str) -> Machine:
    """The machine after a reboot into `release`, as far as that can be told: the command line may be another one."""
    return replace(machine, kernel_release=release)


def watched(releases: Iterable[str], *, machine_id: str) -> frozenset[str]:
    """What tells that a kernel comes, is complete, or goes; `releases` are the folders in /lib/modules.

    Not all of /boot: what else is written there, images of the boot above all, is nobody's reason to look.
    """
    lists = {f"/lib/modules/{release}/{name}" for release in releases for name in MODULE_LISTS}
    images = {path for release in releases for path in usual_images(release, machine_id=machine_id)}
    return frozenset({"/lib/modules", *lists, *images})


def _part(part: str) -> tuple[int, int, str]:
    if part == "~":
        return (-1, 0, "")
    return (2, int(part), "") if part.isdigit() else (1, 0, part)
