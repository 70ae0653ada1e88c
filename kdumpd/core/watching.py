"""Which folders must be watched for some paths, and which of the paths an event is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def folders(paths: Iterable[str], *, is_folder: Callable[[str], bool]) -> frozenset[str]:
    """The folders to watch, none of them deeply.

    A path that is a folder itself, the nearest folder above each path, and the one above that: a folder that is
    removed and made anew, or renamed away, is heard of only there.
    """
    found: set[str] = set()
    for path in paths:
        if is_folder(path):
            found.add(path)
        above = _parent(path)
        while not is_folder(above) and above != "/":
            above = _parent(above)
        found |= {above, _parent(above)}
    return frozenset(found)


def concerned(event: str, paths: Iterable[str], *, comes_or_goes: bool) -> frozenset[str]:
    """Which of `paths` an event at the path `event` is about.

    That very path, something in it, or a folder above it that `comes_or_goes`; what merely happens in a folder
    above is about others.
    """
    below = event.rstrip("/") + "/"
    return frozenset(
        path
        for path in paths
        if path == event
        or event.startswith(path.rstrip("/") + "/")
        or (comes_or_goes and path.startswith(below))
    )


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
