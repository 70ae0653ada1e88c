"""Reads what a doctor judges beside the plan; what cannot be read is told, and the rest is looked at all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

from kdumpd.core import facts, hooks, kernel_size, symptoms
from kdumpd.core.config import Config
from kdumpd.core.dumps import is_dump_name, stamp_of
from kdumpd.core.inventory import Kind
from kdumpd.core.machine import Hungry, Machine
from kdumpd.core.problems import Problem
from kdumpd.core.storing import UNKNOWN_ROOM, Room
from kdumpd.core.symptoms import DumpFolder, Mode, Sysctl, Unit, Watchdog
from kdumpd.host import units
from kdumpd.host.doors import Facts, Files, ProgramFailed, Programs, drop_ins, text

T = TypeVar("T")

SYSCTLS = {
    "kernel": (
        *(
            "ftrace_dump_on_oops",
            "hardlockup_panic",
            "hung_task_panic",
            "nmi_watchdog",
            "panic",
            "panic_on_oops",
        ),
        *("panic_on_unrecovered_nmi", "softlockup_panic", "sysrq", "unknown_nmi_panic"),
    )
}
WATCHDOGS = "/sys/class/watchdog"
SYSTEM_CONF = (
    *("/etc/systemd/system.conf", "/run/systemd/system.conf"),
    *("/usr/local/lib/systemd/system.conf", "/usr/lib/systemd/system.conf"),
)
PACKAGE_TOOLS = ("apt-get", "dnf", "zypper")
VERSION_SECONDS = 10.0


class Look:
    """What one look could not read is remembered, once for each path."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._unread: dict[str, Problem] = {}

    @property
    def unread(self) -> tuple[Problem, ...]:
        return tuple(self._unread.values())

    def attempt(self, path: str, read: Callable[[], T], otherwise: T) -> T:
        """What `read` gives, or else `otherwise`; what is not there is no fault of reading."""
        try:
            return read()
        except (FileNotFoundError, NotADirectoryError):
            return otherwise
        except OSError as fault:
            why = fault.strerror or str(fault)
            self._unread[path] = Problem(code="unseen", message=f"{path} could not be looked at: {why}")
            return otherwise

    def exists(self, path: str) -> bool:
        return self.attempt(path, lambda: self._files.exists(path), otherwise=False)

    def link(self, path: str) -> str:
        return self.attempt(path, lambda: self._files.link(path), "")

    def names(self, folder: str) -> tuple[str, ...]:
        return self.attempt(folder, lambda: self._files.names(folder), ())

    def sysctls(self) -> Mapping[str, str]:
        found = {}
        for area, names in SYSCTLS.items():
            for name in names:
                value = text(self._files, f"/proc/sys/{area}/{name}")
                if value:
                    found[f"{area}.{name}"] = value
        return MappingProxyType(found)

    def sysctl_files(self) -> Mapping[str, Sysctl]:
        # systemd-sysctl does not read /etc/sysctl.conf, but where a link in one of the folders leads to it.
        paths = [self._to_edit(path) for path in drop_ins(symptoms.SYSCTL_FOLDERS, self.names)]
        return symptoms.sysctl_lines((path, text(self._files, path)) for path in paths)

    def has_post_notifiers(self) -> bool:
        return text(self._files, symptoms.POST_NOTIFIERS) in {"Y", "1"}

    def watchdogs(self) -> tuple[Watchdog, ...]:
        return tuple(self._watchdog(name) for name in self.names(WATCHDOGS))

    def runtime_watchdog(self) -> str:
        """Of systemd's own files and their drop-ins, the folders' names in the order in which they count."""
        main = next((path for path in SYSTEM_CONF if self.exists(path)), SYSTEM_CONF[0])
        paths = (main, *drop_ins([f"{path}.d" for path in SYSTEM_CONF], self.names))
        value = symptoms.manager_setting((text(self._files, path) for path in paths), "RuntimeWatchdogSec")
        return "" if value in {"0", "off", "infinity", "default"} else value

    def units(self, names: Iterable[str]) -> Mapping[str, Unit]:
        return MappingProxyType({name: self._unit(name) for name in names})

    def modes(self, paths: Iterable[str]) -> tuple[Mode, ...]:
        return tuple(self._modes(paths))

    def hooks(self, config: Config) -> tuple[Mode, ...]:
        """The programs that the agent is to run: those that kdump.conf names, and what lies in the three folders."""
        paths = [hook.path for hook in hooks.named(config) if hook.is_run]
        for folder in hooks.FOLDERS:
            names = self.names(folder)
            paths += (f"{folder}/{name}" for name in names if not hooks.is_left_behind(name))
        return self.modes(paths)

    def room(self, folder: str) -> Room:
        """Of the nearest directory that is there."""
        there = self._existing(folder)

        def ask() -> Room:
            return Room(
                free_bytes=self._files.free_bytes(there), is_read_only=self._files.is_read_only(there)
            )

        return self.attempt(folder, ask, UNKNOWN_ROOM)

    def capacity(self, folder: str) -> int:
        there = self._existing(folder)
        return self.attempt(folder, lambda: self._files.capacity_bytes(there), 0)

    def dumps(self, folder: str) -> tuple[DumpFolder, ...]:
        """The oldest first, each with the size of the files that lie in it."""
        names = sorted((name for name in self.names(folder) if is_dump_name(name)), key=stamp_of)
        return tuple(DumpFolder(name=name, size_bytes=sum(self._sizes(f"{folder}/{name}"))) for name in names)

    def is_signed(self, kernel: str) -> bool | None:
        beginning = self.attempt(
            kernel, lambda: self._files.read_bytes(kernel, limit=kernel_size.HEADER_BYTES), b""
        )
        return symptoms.is_signed(beginning)

    def encryption(self, machine: Machine) -> str:
        if self.exists("/dev/tdx_guest"):
            return "TDX"
        if self.exists("/dev/sev-guest"):
            return "SEV-SNP"
        return "SME" if Hungry.ENCRYPTION in machine.hungry else ""

    def is_on_hyperv(self) -> bool:
        return self.exists("/sys/bus/vmbus")

    def has_iommu(self) -> bool:
        return bool(self.names("/sys/class/iommu"))

    def modified_us(self, path: str) -> int:
        return self._facts(path).modified_us

    def _watchdog(self, name: str) -> Watchdog:
        folder = f"{WATCHDOGS}/{name}"
        driver = f"{folder}/device/driver/module"
        module = self.attempt(driver, lambda: self._files.real(driver), "")
        return Watchdog(
            name=name,
            identity=text(self._files, f"{folder}/identity"),
            module=module.rpartition("/")[2] if module.startswith("/sys/module/") else "",
            is_running=text(self._files, f"{folder}/state") == "active",
            timeout_seconds=facts.number(text(self._files, f"{folder}/timeout")),
        )

    def _unit(self, name: str) -> Unit:
        there = units.file_of(name, self)
        return Unit(
            name=name,
            is_there=bool(there),
            is_enabled=units.is_enabled(name, self),
            is_masked=units.is_masked(name, self),
            mentions_kdumpd="kdumpd" in text(self._files, there) if there else False,
        )

    def _modes(self, paths: Iterable[str]) -> Iterator[Mode]:
        for path in dict.fromkeys(paths):
            seen = self._facts(path)
            if seen.kind is not Kind.MISSING:
                yield Mode(path=path, kind=seen.kind, bits=seen.mode & 0o7777, owner=seen.owner)

    def _to_edit(self, path: str) -> str:
        """The file of /etc that a link leads to: an edit of the link would put another file in its place."""
        real = self.attempt(path, lambda: self._files.real(path), path)
        return real if real.startswith("/etc/") else path

    def _existing(self, folder: str) -> str:
        while folder != "/" and not self.exists(folder):
            folder = folder.rpartition("/")[0] or "/"
        return folder

    def _sizes(self, folder: str) -> Iterator[int]:
        for name in self.names(folder):
            seen = self._facts(f"{folder}/{name}")
            if seen.kind is Kind.FILE:
                yield seen.size_bytes

    def _facts(self, path: str) -> Facts:
        return self.attempt(path, lambda: self._files.stat(path), Facts(kind=Kind.MISSING))


def package_tool(programs: Programs) -> str:
    return next((name for name in PACKAGE_TOOLS if programs.find(name)), "")


async def kexec_version(files: Files, programs: Programs) -> tuple[int, ...]:
    """Of the running system's kexec; empty where there is none, and in a copy of another machine's files."""
    program = programs.find("kexec")
    if not program or files.outside(program) != program:
        return ()
    try:
        ran = await programs.run((program, "-v"), timeout=VERSION_SECONDS)
    except ProgramFailed:
        return ()
    return symptoms.kexec_version((ran.stdout + ran.stderr).decode("utf-8", "replace"))
