"""What is mounted where: mountinfo, fstab and crypttab as values, and which mount holds a path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from kdumpd.core.machine import CrypttabEntry, FstabEntry, Mount

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path lies: the mount that holds it, and the directory inside that mount's file system."""

    mount: Mount
    directory: str


NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs3", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "glusterfs", "afs"}
)
AUTOMOUNT = "autofs"
"""The type of a mount that waits for somebody to look into it."""

TEST_POINT = "/run/kdumpd/target-test"
"""Where a test of the target mounts it for a moment."""


def lasting(found: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """Without what kdumpd itself mounts to test a target: a plan must not follow the manners of that mount."""
    return tuple(mount for mount in found if mount.target != TEST_POINT)


@lru_cache(maxsize=2)
def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """The lines of /proc/PID/mountinfo in their order; `options` are the mount's own, then its file system's.

    A line that is not of that form is skipped: the kernel adds fields only before the `-`. So is a mount that nobody
    can reach, because a later one lies on a directory above it.
    """
    found: dict[str, Mount] = {}
    parents: dict[str, str] = {}
    for line in text.splitlines():
        mount = _mount(line)
        if mount is not None:
            own, parent = line.split(maxsplit=2)[:2]
            found[own], parents[own] = mount, parent
    hidden = {
        own
        for own, mount in found.items()
        if any(
            parents[other] == parents[own]
            and above.target != mount.target
            and _is_under(mount.target, above.target)
            for other, above in found.items()
            if other != own
        )
    }
    return tuple(mount for own, mount in found.items() if not _descends(own, parents, hidden))


def signature(mountinfo: str, *, near: frozenset[str]) -> str:
    """What of the table of mounts a plan can depend on, as a text to compare: cheap enough to be read often.

    File systems of disks and servers wherever they are, and whatever lies on or above a path of `near`. Others, such as
    those that each container brings, are left out; so are mounts that a test of the target makes.
    """
    above = {""}
    for path in near:
        while path not in above:
            above.add(path)
            path = path.rpartition("/")[0]  # noqa: PLW2901  # up to the root, step by step
    kept: list[str] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, source = before.split(), after.split()
        if len(words) < 6 or len(source) < 2 or words[4] == TEST_POINT:
            continue
        if source[0] in NETWORK_FILESYSTEMS or source[1].startswith("/dev/") or words[4].rstrip("/") in above:
            kept.append(line)
    return "\n".join(kept)


def parse_swaps(text: str) -> frozenset[str]:
    """The nodes and files of /proc/swaps, below its line of headings."""
    return frozenset(unescape(line.split()[0]) for line in text.splitlines()[1:] if line.split())


def parse_fstab(text: str) -> tuple[FstabEntry, ...]:
    """The entries of fstab(5); quotes around a tag's value are tolerated, as libmount does."""
    entries: list[FstabEntry] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or words[0].startswith("#"):
            continue
        source, target, fstype = (unescape(word) for word in words[:3])
        options = tuple(words[3].split(",")) if len(words) > 3 else ()
        entries.append(
            FstabEntry(source=source.replace('"', ""), target=target, fstype=fstype, options=options)
        )
    return tuple(entries)


def parse_crypttab(text: str) -> tuple[CrypttabEntry, ...]:
    """The entries of crypttab(5). A key may be followed by the device that holds it (`/key:UUID=...`): kept as it is."""
    lines = (line.split() for line in text.splitlines())
    return tuple(
        CrypttabEntry(
            name=words[0],
            device=words[1],
            key=words[2] if len(words) > 2 else "",
            options=words[3] if len(words) > 3 else "",
        )
        for words in lines
        if len(words) >= 2 and not words[0].startswith("#")
    )


def unescape(word: str) -> str:
    r"""Undo the octal escapes (`\040` for a blank) of mountinfo and fstab; their bytes are UTF-8."""
    if "\\" not in word:
        return word
    data = b"".join(
        bytes([int(part, 8) & 0xFF]) if index % 2 else part.encode("utf-8", "surrogateescape")
        for index, part in enumerate(_OCTAL.split(word))
    )
    return data.decode("utf-8", "surrogateescape")


def holding(mounts: Iterable[Mount], path: str) -> Place | None:
    """The mount that serves `path` now; of two on one directory the later one hides the earlier."""
    found: Mount | None = None
    for mount in mounts:
        if _is_under(path, mount.target) and (found is None or _is_under(mount.target, found.target)):
            found = mount
    if found is None:
        return None
    return Place(mount=found, directory=joined(found.root, _below(path, found.target)))


def may_wait(mounts: Iterable[Mount], path: str) -> bool:
    """Whether looking at `path` may wait for a server, for a program, or for what an automount brings."""
    place = holding(mounts, path)
    if place is None:
        return False
    fstype = place.mount.fstype
    # A directory shared by the hypervisor is there as long as the machine is.
    return fstype in (NETWORK_FILESYSTEMS - {"virtiofs"}) | {AUTOMOUNT} or fstype.partition(".")[0] == "fuse"


def triggered(mounts: Iterable[Mount], entries: Iterable[FstabEntry]) -> tuple[Mount, ...]:
    """With what an automount of systemd would mount at the first look into it, as fstab says, in its place."""
    by_target = {_clean(entry.target): entry for entry in entries if entry.target.startswith("/")}
    return tuple(
        as_mounted(entry)
        if mount.fstype == AUTOMOUNT and (entry := by_target.get(_clean(mount.target))) is not None
        else mount
        for mount in mounts
    )


def as_mounted(entry: FstabEntry) -> Mount:
    """What mounting an entry of fstab makes, as far as the entry tells."""
    subvolume = next((option for option in entry.options if option.startswith("subvol=")), "subvol=")
    return Mount(
        target=entry.target,
        source=entry.source,
        fstype=entry.fstype,
        root="/" + subvolume.removeprefix("subvol=").strip("/"),
        options=entry.options,
    )


def declared(entries: Iterable[FstabEntry], path: str) -> FstabEntry | None:
    """The fstab entry whose directory is nearest above `path`, mounted now or not."""
    fitting = [entry for entry in entries if entry.target.startswith("/") and _is_under(path, entry.target)]
    return max(fitting, key=lambda entry: len(_clean(entry.target)), default=None)


def joined(root: str, below: str) -> str:
    """`below` under `root`, both directories of one file system; `/` is its top."""
    return _clean(f"{root}/{below}")


def _clean(path: str) -> str:
    if path.startswith("/") and not path.endswith("/") and "//" not in path:
        return path  # as nearly all are: this is asked for each mount and each path
    return "/" + "/".join(part for part in path.split("/") if part)


def _descends(own: str, parents: dict[str, str], hidden: set[str]) -> bool:
    """Whether a mount or one that it hangs on is among the hidden."""
    seen: set[str] = set()
    while own in parents and own not in seen:
        if own in hidden:
            return True
        seen.add(own)
        own = parents[own]
    return False


def _is_under(path: str, directory: str) -> bool:
    directory = _clean(directory)
    return directory == "/" or _clean(path) == directory or _clean(path).startswith(directory + "/")


def _below(path: str, directory: str) -> str:
    return _clean(path)[len(_clean(directory)) :] if _clean(directory) != "/" else _clean(path)


def _mount(line: str) -> Mount | None:
    ours, separator, file_system = line.partition(" - ")
    before, after = ours.split(), file_system.split()
    if not separator or len(before) < 6 or len(after) < 2:
        return None
    both = f"{before[5]},{after[2] if len(after) > 2 else ''}"
    return Mount(
        target=unescape(before[4]),
        source=unescape(after[1]),
        fstype=after[0],
        root=unescape(before[3]),
        options=tuple(dict.fromkeys(option for option in both.split(",") if option)),
        number=before[2],
    )
