"""Everything the agent is told before the crash, and how it is written so that sh reads back exactly that.

The agent runs in the capture kernel and sources one file, plan.env: an assignment `plan_<field>=<quoted>` for
each field of `CaptureEnvironment`, quoted by `shlex.quote` alone. A field of several items is one variable
holding the items quoted once more, so that `eval "set -- $plan_bring_up"` makes them the positional parameters,
whatever bytes they hold.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.targets import TargetKind

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "plan_"


class AfterFailure(StrEnum):
    """`failure_action`: what the agent does when there is no dump."""

    REBOOT = "reboot"
    HALT = "halt"
    POWEROFF = "poweroff"
    SHELL = "shell"
    DUMP_TO_ROOTFS = "dump_to_rootfs"


class AfterDump(StrEnum):
    """`final_action`: what the agent does after a saved dump, and after shell or dump_to_rootfs."""

    REBOOT = "reboot"
    HALT = "halt"
    POWEROFF = "poweroff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One kernel module to insmod: its path inside the image, and its options as modprobe.d spells them."""

    path: str
    options: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountTry:
    """One way to mount an export: `address:/export`, the options of mount, and what people call it."""

    source: str
    options: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureEnvironment:
    """The agent's whole knowledge. Paths are those inside the image; times are seconds.

    `modules` are in the order of loading: blacklisted ones may be in the image but are not listed here.
    `bring_up` are sh command lines that assemble layers once the modules are in (`lvm vgchange -ay vg`); they
    are tried again while the device is awaited, so each must be harmless when there is nothing left to do.
    `core_collector` is an argv without input and output: the agent appends /proc/vmcore and the file to write.
    Devices are `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=` or a node; no udev runs there, so no /dev/disk/by-*.
    On assembled layers name the node (`/dev/mapper/vg-lv`, `/dev/md127`): half of a mirror that is not assembled
    yet has the UUID of the whole. PARTUUID= and PARTLABEL= want util-linux's blkid in the image; busybox's does
    not know them.
    """

    capture_id: str
    version: str
    kernel_release: str
    host_name: str
    timezone: str = ""
    """A POSIX TZ string for the name of the dump directory; empty means UTC."""

    target_kind: TargetKind = TargetKind.FILESYSTEM
    target_fstype: str
    target_device: str
    target_mount_options: str = ""
    mount_tries: tuple[MountTry, ...] = ()
    """How an NFS export may be mounted, the best first; only for a target of kind nfs."""
    target_directory: str = "/var/crash"
    """The directory of `path` inside the mounted file system (`/@/var/crash` for a btrfs subvolume)."""
    raw_bytes: int = 0
    """The size of the device that a raw dump goes to, and below what blkid calls its contents: another device of
    that name is not written over. 0: not known."""
    raw_contents: str = ""
    directory_prefix: str = "127.0.0.1"
    ssh_hosts: tuple[str, ...] = ()
    """What ssh is told to connect to, the best first; only for a target of kind ssh."""
    ssh_retry_seconds: float = 3.0
    """Between two attempts to reach the server."""
    remote_parent: str = ""
    """target_directory, quoted for the shell of the server."""
    remote_beginning: str = ""
    """All but the date of a dump directory's path on the server, quoted for its shell."""
    least_free_mib: int = 1
    """Below this much free space the collector is not tried at all; the kernel log is."""

    core_collector: tuple[str, ...] = ("makedumpfile", "-l", "--message-level", "7", "-d", "31")
    stream_collector: tuple[str, ...] = ()
    """For a target that takes a stream: an argv to which the agent appends /proc/vmcore, and which writes the dump
    to its standard output."""
    collector_max_threads: int = 0
    """Most `--num-threads` the agent may add, where the capture kernel has 4 processors or more: its threads
    spin, so one processor is left for the writer. 0: never (own choice given, -E, --split, an old version, or a
    collector that is not makedumpfile)."""

    modules: tuple[Module, ...] = ()
    bring_up: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    """sh command lines that bring the network up, once, in this order; none where nothing needs it."""
    target_needs_network: int = 0
    """1 where nothing of the target is reached without the network, disks behind iSCSI sessions included."""
    link_delay: int = 0
    """Seconds between a link that is up and the first packet that matters."""

    fence: tuple[str, ...] = ()
    """The argv of fence_kdump_send, which runs in the background from the network's coming up on; (): nobody is told."""

    kdump_pre: str = ""
    kdump_post: str = ""
    kdump_emergency: str = ""
    pre_d: tuple[str, ...] = ()
    post_d: tuple[str, ...] = ()
    emergency_d: tuple[str, ...] = ()

    failure_action: AfterFailure = AfterFailure.REBOOT
    final_action: AfterDump = AfterDump.REBOOT
    debug_mem_level: int = 0
    memory_kind: str = ""
    """Plan.memory_kind, for the record."""

    disk_timeout: int = 180
    stall_seconds: int = 600
    """A collector that neither reads, writes nor uses the processor for so long is ended, and one that does no more
    than use the processor for 120 times as long. 0: never."""
    collector_timeout: int = 0
    """A collector that is not done after so long is ended. 0: never."""
    hook_timeout: int = 1800
    """A hook that has not ended after so long is ended, and has failed. 0: never."""
    poll_seconds: float = 0.2
    """How often the awaited device is looked for."""
    watch_seconds: float = 1.0
    """How often the collector's progress is looked at."""
    grace_seconds: float = 2.0
    """What a program that is to end has between TERM and KILL, and again until it is left behind."""

    root_device: str = ""
    """The crashed system's root file system, for dump_to_rootfs and failure records. Empty: unknown."""
    root_fstype: str = ""
    root_mount_options: str = ""
    root_directory: str = ""
    """Where `/` is inside the root file system (`/@` for a btrfs subvolume); empty: at its top."""


def variables(env: CaptureEnvironment) -> Mapping[str, str]:
    """The variable names of plan.env with the values that sh must see after sourcing it."""
    return MappingProxyType({PREFIX + each.name: _value(getattr(env, each.name)) for each in fields(env)})


def render(env: CaptureEnvironment) -> str:
    """The text of plan.env. Raises Trouble for a NUL, which no sh variable can hold."""
    assignments = variables(env)
    for name, value in assignments.items():
        if "\0" in value:
            field = name.removeprefix(PREFIX)
            raise Trouble(
                Problem(code="nul-in-plan", message=f"{field} holds a NUL byte: {value!r}", key=field)
            )
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in assignments.items())


@lru_cache(maxsize=4)
def parse(text: str) -> Mapping[str, str]:
    """What sh would hold after sourcing `text`: the inverse of `render` (`parse(render(e)) == variables(e)`).

    Raises Trouble for text that is not a list of quoted assignments.
    """
    try:
        tokens = shlex.split(text)
    except ValueError as fault:
        raise Trouble(
            Problem(code="plan-env-unreadable", message=f"plan.env is not shell text: {fault}")
        ) from fault
    found: dict[str, str] = {}
    for token in tokens:
        name, assigned, value = token.partition("=")
        if not (assigned and name.isidentifier() and name.isascii()):
            raise Trouble(
                Problem(code="plan-env-unreadable", message=f"plan.env has more than assignments: {token!r}")
            )
        found[name] = value
    return MappingProxyType(found)


def items(value: str) -> tuple[str, ...]:
    """The items of a variable that holds several (modules: path, options, path, options, ...)."""
    return tuple(shlex.split(value))


def _value(field: object) -> str:
    match field:
        case str():
            return str(field)
        case int() | float():
            return f"{field:g}" if isinstance(field, float) else str(field)
        case tuple():
            return shlex.join(word for item in field for word in _words(item))
        case _:
            raise TypeError(f"the agent cannot be told a {type(field).__name__}")


def _words(item: object) -> tuple[str, ...]:
    match item:
        case Module():
            return (item.path, item.options)
        case MountTry():
            return (item.source, item.options, item.words)
        case str():
            return (item,)
        case _:
            raise TypeError(f"the agent cannot be told a list of {type(item).__name__}")
