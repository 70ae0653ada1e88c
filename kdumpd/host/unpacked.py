"""An image unpacked as the kernel does it: the base on the disk below a private folder, the overlay in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from kdumpd.core import newc
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.storing import is_out_of_space, storing_fault
from kdumpd.core.tree import Look, Tree, look_inside
from kdumpd.host.doors import Files, ProgramFailed, Programs

UNPACK_SECONDS = 600.0
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
"""How a packed archive begins: the kernel goes by that as well."""


@dataclass(slots=True, kw_only=True)
class Unpacked:
    """A tree that lies on the disk as well; `files` have it as their root."""

    files: Files
    tree: Tree = field(default_factory=Tree)

    @property
    def outside(self) -> str:
        return self.files.outside("/")

    def put(self, entry: newc.Entry, contents: bytes) -> None:
        path = f"/{entry.path}"
        if entry.is_folder:
            self.files.make_folder(path, mode=0o700, lasts=False)
            return
        self.files.remove(path)
        if entry.is_link:
            self.files.make_link(path, contents.decode("utf-8", "surrogateescape"))
        if entry.is_regular:
            with self.files.create(path, mode=entry.mode & 0o777) as file:
                file.write(contents)


def lay(tree: Tree, entries: Sequence[tuple[newc.Entry, bytes]], *, onto: Unpacked | None = None) -> None:
    for entry, contents in entries:
        if tree.lay(entry, contents, look_inside) and onto is not None:
            onto.put(entry, contents)


async def unpacked(image: str, look: Look, *, files: Files, programs: Programs, folder: str) -> Unpacked:
    """The base on the disk, below `folder`."""
    root, archive = f"{folder}/tree", f"{folder}/base.cpio"
    try:
        files.make_folder(root, lasts=False)
        ground = Unpacked(files=files.below(root))
        beginning = files.read_bytes(image, limit=len(_ZSTD))
        if beginning == _ZSTD:
            await _unzstd(programs, files.outside(image), files.outside(archive), folder=folder)
            image = archive
        await asyncio.to_thread(_unpack, ground, files, image, look)
        files.remove(archive)
    except OSError as fault:
        raise Trouble(storing_fault(fault, folder)) from fault
    return ground


async def _unzstd(programs: Programs, image: str, archive: str, *, folder: str) -> None:
    try:
        await programs.run(("zstd", "-q", "-d", "-f", "-o", archive, image), timeout=UNPACK_SECONDS)
    except ProgramFailed as fault:
        if is_out_of_space(fault.output.stderr.decode("utf-8", "replace")):
            problem = Problem(code="no-space", message=f"there is no room to prove the image in {folder}")
        else:
            problem = _damaged(f"zstd {fault.reason}")
        raise Trouble(problem) from fault


def _unpack(ground: Unpacked, files: Files, archive: str, look: Look) -> None:
    with files.open(archive) as source, _damage_told():
        for entry, contents in _read(source):
            if ground.tree.lay(entry, contents, look):
                ground.put(entry, contents)


def _read(packed: BinaryIO) -> Iterator[tuple[newc.Entry, bytes]]:
    beginning = packed.read(len(_GZIP))
    packed.seek(0)
    if beginning == _GZIP:
        with gzip.GzipFile(fileobj=packed) as archive:
            yield from newc.read(archive)
            archive.read()  # nothing more, and then the checksum of all
    else:
        yield from newc.read(packed)


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except (newc.Damaged, gzip.BadGzipFile, EOFError, zlib.error) as fault:
        raise Trouble(_damaged(str(fault))) from fault


def entries(files: Files, overlay: str) -> list[tuple[newc.Entry, bytes]]:
    """All of an overlay: kilobytes."""
    try:
        packed = files.read_bytes(overlay)
    except OSError as fault:
        raise Trouble(storing_fault(fault, overlay.rpartition("/")[0])) from fault
    with _damage_told():
        return list(_read(io.BytesIO(packed)))


def _damaged(why: str) -> Problem:
    return Problem(code="image-damaged", message=f"the image cannot be unpacked: {why}")
