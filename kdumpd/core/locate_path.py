"""How `path` is read: without the mount point of a target that is named, as RHEL 6 reads it; and what links do to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kdumpd.core.located import Line, Search, nothing
from kdumpd.core.machine import Machine, Mount, Whereabouts
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


def endless(followed: Whereabouts, line: Line) -> Search:
    return nothing(
        line.problem(
            "path-is-link",
            f"{followed.path} leads through symbolic links in a circle, among them {followed.links[0]}",
            "name the directory itself",
        )
    )


def doubts(machine: Machine, path: str, mounted_at: str, line: Line) -> Iterator[Problem]:
    """Of a directory on a file system that is mounted at `mounted_at` now, and elsewhere in the capture kernel."""
    followed = machine.followed(path)
    place = holding(machine.mounts, followed.links[0]) if followed.links else None
    if place is None or place.mount.target != mounted_at:
        return  # there is no link, or one of another file system that hides the directory now
    top = mounted_at.rstrip("/")
    stays = followed.real.startswith(f"{top}/") and not followed.is_endless
    yield line.warning(
        "path-is-link",
        f"{followed.links[0]} is a symbolic link: in the capture kernel, where its file system is mounted "
        "elsewhere, it may lead nowhere, and the dump would be lost",
        f"let the dump go to {followed.real[len(top) :]} of that file system"
        if stays
        else "make it a directory",
    )
