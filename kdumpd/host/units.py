"""Where systemd has a unit, and what its links say of it: whether it is masked, whether it is enabled."""

from __future__ import annotations

from typing import Protocol

FOLDERS = (
    *("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"),
    *("/usr/lib/systemd/system", "/lib/systemd/system"),
)
LINK_FOLDERS = FOLDERS[:2]


class Seen(Protocol):
    """What of `Files` has to be known."""

    def exists(self, path: str) -> bool: ...
    def link(self, path: str) -> str: ...
    def names(self, path: str) -> tuple[str, ...]: ...


def file_of(unit: str, seen: Seen) -> str:
    """The file that counts, "" where there is none."""
    paths = (f"{folder}/{unit}" for folder in FOLDERS)
    return next((path for path in paths if seen.exists(path)), "")


def is_masked(unit: str, seen: Seen) -> bool:
    """For ever or until the reboot."""
    return any(seen.link(f"{folder}/{unit}") == "/dev/null" for folder in LINK_FOLDERS)


def is_enabled(unit: str, seen: Seen) -> bool:
    return not is_masked(unit, seen) and any(
        seen.exists(f"{folder}/{name}/{unit}")
        for folder in LINK_FOLDERS
        for name in seen.names(folder)
        if name.endswith((".wants", ".requires"))
    )
