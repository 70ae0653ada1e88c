"""What is known of the files a plan may put into the image: kind, mode, digest, interpreter, libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from kdumpd.core.makedumpfile import Abilities
from kdumpd.core.ssh import SshWish
from kdumpd.core.unpackers import Unpackers


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    BLOCK = "block"
    OTHER = "other"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One path of the host as it stands, symbolic links followed (`real` is where they led)."""

    path: str
    kind: Kind
    real: str = ""
    mode: int = 0  # permission bits
    size_bytes: int = 0
    loaded_bytes: int = 0  # what a kernel image says that it takes of memory (kernel_size); 0 elsewhere
    digest: str = ""  # of the contents; files only
    interpreter: str = ""  # the program a "#!" line names, as an absolute path
    interpreter_line: str = ""  # that line without its "#!"
    libraries: tuple[str, ...] = ()  # absolute paths the loader will open, the loader itself among them
    missing_libraries: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()  # sorted names; directories only
    unreadable: str = ""  # why it could not be read, "" where it could

    @property
    def is_executable(self) -> bool:
        return self.kind is Kind.FILE and bool(self.mode & 0o111)


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """What a module may load into its device: by name, and the files of those that this machine has."""

    names: tuple[str, ...]
    files: tuple[str, ...] = ()
    looked_for: tuple[
        str, ...
    ] = ()  # where it was, and where it was not though the kernel would look there first


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What has to be looked at before a plan can be resolved."""

    files: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()  # names, looked up on PATH
    directories: frozenset[str] = frozenset()  # their executables are wanted too (pre.d, post.d ...)
    trees: frozenset[str] = frozenset()  # as directories, and all that is below them
    modules_directory: str = ""  # of the capture kernel
    kernel_configs: tuple[str, ...] = ()  # where what it was built with may be told, the likeliest first
    modules: frozenset[str] = frozenset()  # files of modules whose firmware is wanted with them
    collector: tuple[str, ...] = ()  # a makedumpfile command whose program is to be asked what it can do
    hosts: frozenset[str] = (
        frozenset()
    )  # names and addresses; what is known of them goes into Machine.network
    ssh: SshWish | None = None  # what is known of it goes into Machine.ssh


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The answer to a `Wants`: facts by path, closed over interpreters and libraries; paths of programs by name."""

    files: Mapping[str, FileFacts]
    programs: Mapping[str, str]
    firmware: Mapping[str, Firmware] = field(default_factory=lambda: MappingProxyType({}))
    """By the path of a module that names any."""
    makedumpfile: Abilities | None = None  # of the core collector; None where it is another, or not known
    unpackers: Unpackers | None = None  # of the capture kernel; None where nothing tells

    def facts(self, path: str) -> FileFacts:
        return self.files.get(path) or FileFacts(path=path, kind=Kind.MISSING)
