"""What a doctor looks at beside the plan: values of sysctls, watchdogs, units, modes of files, room on disks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from kdumpd.core.config import Config
from kdumpd.core.estimate import Estimate
from kdumpd.core.inventory import Kind
from kdumpd.core.machine import Machine
from kdumpd.core.plan import Resolution
from kdumpd.core.problems import Problem
from kdumpd.core.storing import UNKNOWN_ROOM, Room
from kdumpd.core.sysconfig import Sysconfig
from kdumpd.core.tuning import Tuning

POST_NOTIFIERS = "/sys/module/kernel/parameters/crash_kexec_post_notifiers"
SYSCTL_FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
"""sysctl.d(5): of one name the first folder's file counts, and all are read in the order of their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """The line of a file that sets it last at boot, "" and 0 where none does."""

    value: str = ""
    file: str = ""
    line: int = 0
    earlier: tuple[Sysctl, ...] = ()
    """Lines before it that set it too, the first one first and without others of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """An entry of /sys/class/watchdog; `module` is "" where its driver is built in, or makes no device."""

    name: str
    identity: str = ""
    module: str = ""
    is_running: bool = False
    timeout_seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit of systemd by its files: nobody is asked whether it runs."""

    name: str
    is_there: bool = False
    is_enabled: bool = False
    is_masked: bool = False
    mentions_kdumpd: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """Who may do what with a file or folder."""

    path: str
    kind: Kind
    bits: int
    owner: int

    @property
    def is_writable_by_others(self) -> bool:
        return bool(self.bits & 0o022) or self.owner != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFolder:
    """A directory below `path` that is named as a dump's."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpsPlace:
    """Where the dumps are seen on the running system; no `folder` where that is nowhere, or beyond a look."""

    folder: str = ""
    room: Room = UNKNOWN_ROOM
    capacity_bytes: int = 0
    forecast_bytes: int = 0  # of the next dump, 0 where nothing tells
    dumps: tuple[DumpFolder, ...] = ()  # the oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Whether the machine is to be armed: as kdump.service says it for each boot, and as somebody said it for this one."""

    lasts: bool = True
    is_held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What kdumpd says of itself over the bus, where it runs."""

    is_running: bool
    state: str = ""
    message: str = ""
    activity: str = ""
    error: str = ""
    error_text: str = ""
    test: str = ""
    test_message: str = ""
    was_tested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptoms:
    """Everything that the judgements are made of. `daemon` is None where there was none to ask, as of a copied root."""

    machine: Machine
    resolution: Resolution
    config: Config | None
    sysconfig: Sysconfig = field(default_factory=Sysconfig)
    tuning: Tuning = field(default_factory=Tuning)
    estimate: Estimate | None = None
    daemon: Daemon | None = None
    wish: Wish = field(default_factory=Wish)
    is_recorded: bool | None = None
    """Whether kdumpd has a record of what is loaded in this boot; None where it cannot be read."""
    sysctls: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Value by name, such as kernel.panic_on_oops; those that this kernel has."""
    sysctl_files: Mapping[str, Sysctl] = field(default_factory=lambda: MappingProxyType({}))
    has_post_notifiers: bool = False
    watchdogs: tuple[Watchdog, ...] = ()
    runtime_watchdog: str = ""
    """RuntimeWatchdogSec= of systemd, "" where it is off."""
    units: Mapping[str, Unit] = field(default_factory=lambda: MappingProxyType({}))
    modes: tuple[Mode, ...] = ()
    keys: tuple[Mode, ...] = ()
    hooks: tuple[Mode, ...] = ()
    store_room: Room = UNKNOWN_ROOM
    place: DumpsPlace = field(default_factory=DumpsPlace)
    now_us: int = 0
    newest_us: int = 0
    """The latest time that something which is known to be past happened, by the clock of its time."""
    kexec_version: tuple[int, ...] = ()
    is_kernel_signed: bool | None = None
    encryption: str = ""
    """SEV-SNP, TDX or SME, where the machine's memory is encrypted by it."""
    is_on_hyperv: bool = False
    has_iommu: bool = False
    package_tool: str = ""
    """apt-get, dnf or zypper; "" where none is there."""
    is_root: bool = True
    unread: tuple[Problem, ...] = ()


def sysctl_lines(files: Iterable[tuple[str, str]]) -> Mapping[str, Sysctl]:
    """Path and text of each file in the order in which they are applied; names with dots, as sysctl(8) shows them."""
    found: dict[str, list[Sysctl]] = {}
    for path, text in files:
        for number, line in enumerate(text.splitlines(), start=1):
            name, equals, value = line.strip().removeprefix("-").partition("=")
            if equals and not name.startswith(("#", ";")):
                dotted = name.strip().replace("/", ".")
                found.setdefault(dotted, []).append(Sysctl(value=value.strip(), file=path, line=number))
    return MappingProxyType(
        {name: replace(last, earlier=tuple(earlier)) for name, (*earlier, last) in found.items()}
    )


def manager_setting(texts: Iterable[str], name: str) -> str:
    """The last value of a key of systemd-system.conf(5), of files in the order in which they are read."""
    found = [
        match[1].strip()
        for text in texts
        for match in re.finditer(rf"^[ \t]*{name}[ \t]*=(.*)$", text, re.MULTILINE)
    ]
    return found[-1] if found else ""


def kexec_version(said: str) -> tuple[int, ...]:
    """Of `kexec -v`, as in `kexec-tools 2.0.29`; empty where it is something else."""
    found = re.search(r"kexec-tools (\d+(?:\.\d+)+)", said)
    return tuple(map(int, found[1].split("."))) if found else ()


def is_signed(beginning: bytes) -> bool | None:
    """Whether an EFI image has a certificate table: the fifth data directory of its optional header (PE/COFF).

    None for what is no such image.
    """
    at = int.from_bytes(beginning[0x3C:0x40], "little")
    if not beginning.startswith(b"MZ") or beginning[at : at + 4] != b"PE\0\0":
        return None
    optional = at + 24
    directories = {b"\x0b\x01": optional + 96, b"\x0b\x02": optional + 112}.get(
        beginning[optional : optional + 2]
    )
    if directories is None or len(beginning) < directories + 40:
        return None
    return int.from_bytes(beginning[directories + 36 : directories + 40], "little") > 0
