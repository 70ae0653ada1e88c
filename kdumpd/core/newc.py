"""The newc cpio archive that the kernel unpacks as initramfs: written reproducibly, read back for the proof.

The format is in Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Everything that could
differ between two writings of the same tree is fixed: inode numbers count up, times are 0, the owner is root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
HEADER_BYTES = 110
ALIGNMENT = 4
LONGEST_NAME = 4096  # PATH_MAX; the kernel refuses longer ones

FOLDER = 0o040000
REGULAR = 0o100000
LINK = 0o120000
TYPE = 0o170000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in an archive: `path` has no leading slash, `mode` has its type bits, a link's size is its target's."""

    path: str
    mode: int
    size_bytes: int = 0

    @property
    def is_folder(self) -> bool:
        return self.mode & TYPE == FOLDER

    @property
    def is_regular(self) -> bool:
        return self.mode & TYPE == REGULAR

    @property
    def is_link(self) -> bool:
        return self.mode & TYPE == LINK


class Source(Protocol):
    """Where an archive is read from, as a file open for reading."""

    def read(self, size: int, /) -> bytes: ...


class Damaged(ValueError):
    """The bytes are no whole newc archive."""


def write(entries: Iterable[tuple[Entry, Iterable[bytes]]], sink: Callable[[bytes], object]) -> int:
    """Write an archive piece by piece and return its size in bytes, a multiple of 4.

    The entries come in the order in which the kernel shall make them: a folder before what is in it.
    Raises ValueError when the contents of an entry are not of the size that it says.
    """
    written = 0
    inode = 0
    for inode, (entry, contents) in enumerate(entries, start=1):
        written += _give(sink, _header(entry, inode=inode))
        size = 0
        for chunk in contents:
            sink(chunk)
            size += len(chunk)
        if size != entry.size_bytes:
            raise ValueError(f"{entry.path} has {size} bytes, not {entry.size_bytes}")
        written += size + _give(sink, bytes(-size % ALIGNMENT))
    return written + _give(sink, _header(Entry(path=TRAILER, mode=0), inode=0))


def read(source: Source) -> Iterator[tuple[Entry, bytes]]:
    """Every entry of one archive with its contents, up to the trailer. Raises Damaged."""
    while True:
        header = _take(source, HEADER_BYTES)
        if not header.startswith(MAGIC):
            raise Damaged(f"not a newc header: {header[:6]!r}")
        try:
            fields = [int(header[at : at + 8], 16) for at in range(len(MAGIC), HEADER_BYTES, 8)]
        except ValueError as fault:
            raise Damaged("a header holds more than hexadecimal digits") from fault
        mode, size, name_size = fields[1], fields[6], fields[11]
        if not 1 < name_size <= LONGEST_NAME:
            raise Damaged(f"a name of {name_size} bytes")
        name = _take(source, name_size + -(HEADER_BYTES + name_size) % ALIGNMENT)[: name_size - 1]
        path = name.decode("utf-8", "surrogateescape")
        contents = _take(source, size)
        _take(source, -size % ALIGNMENT)
        if path == TRAILER:
            return
        yield Entry(path=path, mode=mode, size_bytes=size), contents


def _header(entry: Entry, *, inode: int) -> bytes:
    name = entry.path.encode("utf-8", "surrogateescape") + b"\0"
    if entry.path.startswith("/") or not 1 < len(name) <= LONGEST_NAME:
        raise ValueError(f"no name for an archive: {entry.path!r}")
    fields = (
        inode,
        entry.mode,
        0,  # uid
        0,  # gid
        2 if entry.is_folder else 1,  # links: two or more would make the kernel look for hard links
        0,  # modification time
        entry.size_bytes,
        0,  # device of the file
        0,
        0,  # device it stands for
        0,
        len(name),
        0,  # checksum, of another format
    )
    header = MAGIC + b"".join(b"%08X" % field for field in fields) + name
    return header + bytes(-len(header) % ALIGNMENT)


def _give(sink: Callable[[bytes], object], data: bytes) -> int:
    sink(data)
    return len(data)


def _take(source: Source, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise Damaged("the archive ends too early")
    return data
