"""The two doors: the only way to read, write or run anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Protocol, Self, TypedDict, Unpack

from kdumpd.core.inventory import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What stat says of one path, links followed; `kind` MISSING where there is nothing."""

    kind: Kind
    mode: int = 0
    size_bytes: int = 0
    owner: int = 0
    group: int = 0
    inode: int = 0
    device: int = 0  # that holds it
    modified_us: int = 0


PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where `Programs.find` looks, in this order."""
KEPT_BYTES = 1 << 20
"""Of each output of a program, unless whoever runs it expects more."""
GOOD = frozenset({0})
"""The exit status of a program that ended well, unless whoever runs it knows of others."""


class OpenFolder(Protocol):
    """A directory held open: whatever takes its name meanwhile is not touched, and no link in it is followed."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, _kind: type[BaseException] | None, _fault: BaseException | None, _trace: TracebackType | None
    ) -> None: ...
    def facts(self) -> Facts: ...
    def facts_of(self, name: str) -> Facts:
        """Of what the name stands for now: of a link itself, where it is one."""
        ...

    def open(self, name: str) -> BinaryIO:
        """For reading. A pipe is not waited for; ask the facts of what was opened."""
        ...

    def replace(self, name: str, data: bytes, *, mode: int = 0o600) -> None:
        """A new file takes the name, whole or not at all; what had it before is let go, not written to."""
        ...


class Files(Protocol):
    """Paths are absolute, as a process chrooted to the root would see them: symbolic links stay inside the root.

    Reading raises OSError as the kernel says it. Text is UTF-8, undecodable bytes kept as surrogates.
    """

    def read_text(self, path: str) -> str: ...
    def read_bytes(self, path: str, *, limit: int | None = None) -> bytes: ...
    def stat(self, path: str) -> Facts: ...
    def exists(self, path: str) -> bool: ...
    def names(self, path: str) -> tuple[str, ...]:
        """Sorted names in a directory; empty where there is none."""
        ...

    def link(self, path: str) -> str:
        """The text of a symbolic link, "" where `path` is none."""
        ...

    def real(self, path: str) -> str:
        """`path` with every link followed, still as seen from inside the root."""
        ...

    def open(self, path: str) -> BinaryIO:
        """The file, open for reading: for what is too large to hold in memory."""
        ...

    def create(self, path: str, *, mode: int = 0o600) -> BinaryIO:
        """A new file, open for writing, with that mode from creation; FileExistsError where there is one.

        Not whole until closed and synced: for what is built beside and renamed afterwards.
        """
        ...

    def open_for_us_alone(self, path: str) -> BinaryIO:
        """A block device for reading and writing; OSError (EBUSY) where it is mounted or otherwise in use."""
        ...

    def sync(self, path: str) -> None:
        """A file's contents, or a folder's names, are on the disk when this returns."""
        ...

    def digest(self, path: str) -> str:
        """blake2b of the contents, 32 hexadecimal digits."""
        ...

    def outside(self, path: str) -> str:
        """Where `path` lies on the machine that runs us: what a program's argv needs."""
        ...

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """Written beside, synced, renamed over, directory synced: whole or not at all.

        What is there keeps its owner, and its security label where the file system has labels.
        """
        ...

    def write_over(self, path: str, data: bytes, *, seen: bytes | None, mode: int = 0o600) -> bool:
        """`write`, but only over what was `seen`, None for no file; gives whether. Asked when all but the rename is done."""
        ...

    def append(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """To the end of a file, in one write, synced; with that mode where there was none."""
        ...

    def poke(self, path: str, text: str) -> None:
        """One write into a file the kernel serves (sysfs, procfs)."""
        ...

    def make_folder(self, path: str, *, mode: int = 0o700, lasts: bool = True) -> None:
        """With its parents. Where it `lasts`, its name is on the disk when this returns."""
        ...

    def make_new_folder(self, path: str) -> None:
        """For its owner alone, in a folder that is there; FileExistsError where there is anything, a link included."""
        ...

    def make_link(self, path: str, target: str) -> None:
        """A symbolic link; FileExistsError where there is anything."""
        ...

    def rename(self, source: str, target: str) -> None:
        """In one step; the names are on the disk when this returns."""
        ...

    def remove(self, path: str) -> None:
        """A file or a whole folder; nothing happens where there is nothing."""
        ...

    def below(self, path: str) -> Files:
        """The same door with the folder `path` as its root."""
        ...

    def open_folder(self, path: str) -> OpenFolder:
        """The directory itself, held open; OSError where the last part of `path` is a link, or no directory."""
        ...

    def is_open(self, path: str) -> bool:
        """Whether anybody has the file open; OSError where its file system does not tell."""
        ...

    def free_bytes(self, path: str) -> int: ...
    def is_read_only(self, path: str) -> bool:
        """Whether the file system that holds `path` takes no changes, as it is mounted there."""
        ...

    def capacity_bytes(self, path: str) -> int:
        """The size of the file system that holds `path`."""
        ...


def text(files: Files, path: str) -> str:
    """One small file without its last newline; "" where it is missing or cannot be read."""
    try:
        return files.read_text(path).rstrip("\n")
    except OSError:
        return ""


def contents(files: Files, path: str) -> bytes:
    """One small file as it is; nothing where it is missing or cannot be read."""
    try:
        return files.read_bytes(path)
    except OSError:
        return b""


def drop_ins(folders: Sequence[str], names: Callable[[str], Iterable[str]]) -> tuple[str, ...]:
    """The files NAME.conf that count, in the order of their names: each of the first folder that has that name.

    `names` tells what lies in a folder, as `Files.names` does.
    """
    chosen = {
        name: f"{folder}/{name}"
        for folder in reversed(folders)
        for name in names(folder)
        if name.endswith(".conf")
    }
    return tuple(path for _, path in sorted(chosen.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    argv: tuple[str, ...]
    status: int  # exit status, or minus the signal's number
    stdout: bytes
    stderr: bytes  # both bounded by `keep_bytes` of the run; the tail is kept


class ProgramFailed(Exception):
    """A program ended badly, could not be started, or took too long; `output.stderr` has its last words."""

    def __init__(self, output: Output, reason: str) -> None:
        super().__init__(f"{output.argv[0]}: {reason}")
        self.output = output
        self.reason = reason


class Terms(TypedDict, total=False):
    """What may be said of a run beside its argv and its time."""

    stdin: bytes
    on_line: Callable[[str], None] | None
    environment: Mapping[str, str] | None
    good: frozenset[int]
    gentle: bool
    keep_bytes: int


class Programs(Protocol):
    def find(self, name: str) -> str:
        """Where `name` is on PATH inside the root, "" where it is not."""
        ...

    async def run(self, argv: Sequence[str], *, timeout: float, **terms: Unpack[Terms]) -> Output:
        """Run to the end in a session of its own, with a clean environment.

        `argv[0]` and the paths in argv are those of the machine that runs us (Files.outside). `on_line` is called
        in the loop with each line of both outputs (a carriage return ends one too), bounded in length.
        Raises ProgramFailed for a status not in `good`, for a program that is missing, and past `timeout` seconds.
        Cancelled or timed out, the whole process group gets TERM, five seconds, then KILL, and is waited for; five
        seconds after that it is left to itself, for nothing ends a process that waits for a dead disk.
        `gentle` runs it at low cpu and io priority.
        """
        ...
