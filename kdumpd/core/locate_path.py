"""How `path` is read below a target that kdump.conf names: without the target's mount point, as RHEL 6 reads it."""

from __future__ import annotations

from collections.abc import Iterable

from kdumpd.core.located import Line
from kdumpd.core.machine import Mount
from kdumpd.core.mounts import Place, holding
from kdumpd.core.problems import Problem


def below_mount(mounts: Iterable[Mount], path: str) -> Place | None:
    """Where `path` lies in one of the target's own mounts, if it begins with its mount point.

    The root file system's is no part that could be left out.
    """
    return holding((mount for mount in mounts if mount.target != "/"), path)


def shortened(place: Place, path: str, line: Line) -> Problem:
    """That the directory is another than the one written."""
    hint = f"write path {place.directory}" if place.mount.root == "/" else ""
    return line.warning(
        "path-shortened",
        f"{path} begins with {place.mount.target}, where the target is mounted: dumps go to {place.directory} on it",
        hint,
    )
