"""Where a dump may go: the five kinds of target, how kdump.conf spells each, and how each is shown."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, assert_never

from kdumpd.core.problems import Problem

BLOCK_FILESYSTEMS = (
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "minix"),
    *("bcachefs", "exfat", "f2fs", "gfs2", "hfs", "hfsplus", "jfs", "msdos", "nilfs2", "ntfs", "ntfs3"),
    *("ocfs2", "reiserfs", "udf", "ufs", "vfat"),
)
"""File systems of the kernel that live on a block device and can be written to."""

_NO_COLON = "no name on it can hold a `:`, and that of each dump's directory holds two"
_NO_STREAM = (
    "on NTFS a `:` in a name begins the name of a stream, and the name of each dump's directory holds two"
)
_NO_CLUSTER = "it needs the locks of its cluster, which does not run in the capture kernel"
UNFIT_FILESYSTEMS: Mapping[str, str] = MappingProxyType(
    {
        "exfat": _NO_COLON,
        "gfs2": _NO_CLUSTER,
        "hfs": "its names have 31 characters at most and its files 2 GiB",
        "msdos": "its names have eight characters and an ending of three",
        "ntfs": _NO_STREAM,
        "ntfs3": _NO_STREAM,
        "ocfs2": _NO_CLUSTER,
        "ufs": "there are many kinds of it, which mount has to be told, and most kernels cannot write to any",
        "vfat": _NO_COLON,
    }
)
"""Those of them that no dump can go to, and why."""

FITTING_FILESYSTEMS = tuple(fstype for fstype in BLOCK_FILESYSTEMS if fstype not in UNFIT_FILESYSTEMS)

READ_ONLY_FILESYSTEMS = ("cramfs", "efs", "erofs", "iso9660", "qnx4", "romfs", "squashfs")
"""File systems of the kernel that no dump can be written to."""

DEVICE_TAGS = ("LABEL", "UUID", "PARTUUID", "PARTLABEL")
PARTITION_TAGS = ("PARTUUID", "PARTLABEL")

LONGEST_VIRTIOFS_TAG = 36
"""Bytes; `struct virtio_fs_config.tag` of the virtio specification."""


class TargetKind(StrEnum):
    """The word D-Bus and JSON use for a kind of target."""

    FILESYSTEM = "filesystem"
    RAW = "raw"
    NFS = "nfs"
    SSH = "ssh"
    VIRTIOFS = "virtiofs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """A local file system. `device` is a device node or `TAG=value`, without quotes."""

    fstype: str
    device: str

    @property
    def kind(self) -> TargetKind:
        return TargetKind.FILESYSTEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A block device that takes the collector's flattened stream. `device` is a node or `PARTUUID=`/`PARTLABEL=`."""

    device: str

    @property
    def kind(self) -> TargetKind:
        return TargetKind.RAW


@dataclass(frozen=True, slots=True, kw_only=True)
class Nfs:
    """An NFS export. `host` has no brackets; `version` "" follows the live mount, "4" forces NFSv4."""

    host: str
    export: str
    version: Literal["", "4"] = ""

    @property
    def kind(self) -> TargetKind:
        return TargetKind.NFS

    @property
    def source(self) -> str:
        """What mount wants: `host:/export`, an IPv6 address in brackets."""
        return f"{bracketed(self.host)}:{self.export}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssh:
    """A host that takes the dump over ssh. `host` is a name, an ssh_config alias or an address without brackets."""

    user: str
    host: str

    @property
    def kind(self) -> TargetKind:
        return TargetKind.SSH

    @property
    def destination(self) -> str:
        """What ssh wants as its one argument; it takes an IPv6 address without brackets."""
        return f"{self.user}@{self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Virtiofs:
    """A directory that the hypervisor shares under `tag`."""

    tag: str

    @property
    def kind(self) -> TargetKind:
        return TargetKind.VIRTIOFS


Target = Filesystem | Raw | Nfs | Ssh | Virtiofs
"""Exactly one of these, or None: the default target, the device that holds `path`."""


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def where_to(target: object) -> str:
    """`/dev/vda1 (ext4) in /var/crash`, from the target of a plan or of its description."""
    if not isinstance(target, Mapping):
        return ""
    told = {str(key): str(value) for key, value in target.items()}
    device = told.get("node") or told.get("device") or _elsewhere(told) or told.get("type", "")
    kind = told.get("fstype") or told.get("type", "")
    place = f"{device} ({kind})" if kind and kind != device else device
    directory = told.get("directory") or told.get("path", "")
    return f"{place} in {directory}" if directory and place else place


def _elsewhere(told: Mapping[str, str]) -> str:
    """What keeps the dump where that is no device of this machine."""
    server = told.get("server", "")
    if server and told.get("export"):
        return f"{bracketed(server)}:{told['export']}"
    return server or told.get("tag", "")


def directive_of(target: Target) -> tuple[str, str]:
    """The directive and the value that say this target in kdump.conf."""
    match target:
        case Filesystem(fstype=fstype, device=device):
            return fstype, device
        case Raw(device=device):
            return "raw", device
        case Nfs(version=version):
            return f"nfs{version}", target.source
        case Ssh(user=user, host=host):
            return "ssh", f"{user}@{bracketed(host)}"
        case Virtiofs(tag=tag):
            return "virtiofs", tag
        case _:
            assert_never(target)


def shown(target: Target | None) -> Mapping[str, str]:
    """What D-Bus and `--json` tell of a target; nothing in it is secret. None is shown as type `default`."""
    match target:
        case None:
            facts = {"type": "default"}
        case Filesystem(fstype=fstype, device=device):
            facts = {"type": target.kind.value, "fstype": fstype, "device": device}
        case Raw(device=device):
            facts = {"type": target.kind.value, "device": device}
        case Nfs(host=host, export=export, version=version):
            facts = {"type": target.kind.value, "server": host, "export": export}
            facts |= {"version": version} if version else {}
        case Ssh(user=user, host=host):
            facts = {"type": target.kind.value, "user": user, "server": host}
        case Virtiofs(tag=tag):
            facts = {"type": target.kind.value, "tag": tag}
        case _:
            assert_never(target)
    return MappingProxyType(facts)


def parse_filesystem(fstype: str, text: str) -> Filesystem | Problem:
    """`/dev/sda3`, `LABEL=x`, `UUID=x`, `PARTUUID=x` or `PARTLABEL=x`, quoted or not."""
    device = _device(text)
    return device if isinstance(device, Problem) else Filesystem(fstype=fstype, device=device)


def parse_raw(text: str) -> Raw | Problem:
    """A device node, or a name the partition table holds: any other name is overwritten by the dump itself."""
    device = _device(text)
    if isinstance(device, Problem):
        return device
    tag, equals, _value = device.partition("=")
    if equals and tag in DEVICE_TAGS and tag not in PARTITION_TAGS:
        return Problem(
            code="bad-device",
            message=f"a raw target cannot be found by {tag}=, which the dump itself overwrites",
            hint="write the device node, PARTUUID= or PARTLABEL=",
        )
    return Raw(device=device)


def parse_nfs(text: str, *, version: Literal["", "4"] = "") -> Nfs | Problem:
    """`host:/export`, `[v6]:/export`, and the bare `v6:/export` that mount does not take."""
    host, separator, rest = text.partition(":/")
    export = f"/{rest}"
    if not separator:
        return Problem(
            code="bad-nfs-export",
            message=f"`{text}` is not an NFS export",
            hint="write host:/export, or [address]:/export for IPv6",
        )
    if _BLANK.search(export) or not export.isprintable():
        return Problem(
            code="bad-nfs-export",
            message=f"the NFS export `{export}` holds a blank or a character that cannot be printed",
            hint="write host:/export and nothing else; mount options are chosen by kdumpd",
        )
    checked = _host(host)
    return checked if isinstance(checked, Problem) else Nfs(host=checked, export=export, version=version)


def parse_ssh(text: str) -> Ssh | Problem:
    """`user@host`; the host may be a name, an ssh_config alias, an IPv4 or an IPv6 address, bracketed or not."""
    user, at, host = text.rpartition("@")
    if not at or not user:
        return Problem(
            code="bad-ssh-destination",
            message=f"`{text}` names no user",
            hint=f"write ssh USER@{host or 'HOST'}",
        )
    if not _USER.fullmatch(user):
        return Problem(
            code="bad-ssh-destination", message=f"`{user}` is not a user name", hint="write ssh USER@HOST"
        )
    checked = _host(host)
    if isinstance(checked, Problem):
        return checked
    return Ssh(user=user, host=checked)


def parse_net(text: str) -> Ssh | Nfs | Problem:
    """RHEL 6's `net`: ssh where there is an `@`, NFS otherwise."""
    return parse_ssh(text) if "@" in text else parse_nfs(text)


def parse_virtiofs(text: str) -> Virtiofs | Problem:
    """A tag of at most 36 bytes without blanks."""
    if (
        _BLANK.search(text)
        or not text.isprintable()
        or len(text.encode(errors="replace")) > LONGEST_VIRTIOFS_TAG
    ):
        return Problem(
            code="bad-virtiofs-tag",
            message=f"`{text}` is not a virtiofs tag",
            hint=f"a tag has at most {LONGEST_VIRTIOFS_TAG} bytes and no blanks",
        )
    return Virtiofs(tag=text)


def parse_mount(device: str, fstype: str) -> Filesystem | Nfs | Virtiofs | Problem:
    """The target that a mount of `device` with the type `fstype` means, as in dracut's `--mount`."""
    match fstype:
        case "nfs" | "nfs3":
            return parse_nfs(device)
        case "nfs4":
            return parse_nfs(device, version="4")
        case "virtiofs":
            return parse_virtiofs(device)
        case _ if fstype in BLOCK_FILESYSTEMS:
            return parse_filesystem(fstype, device)
        case _:
            return Problem(
                code="bad-filesystem-type",
                message=f"`{fstype}` is not a file system that a dump can be written to",
                hint=f"one of {', '.join(BLOCK_FILESYSTEMS[:6])}, nfs, nfs4, virtiofs",
            )


_BLANK = re.compile(r"\s")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+\\-]*\$?")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_QUOTES = "\"'"


def _device(text: str) -> str | Problem:
    tag, equals, value = _unquoted(text).partition("=")
    value = _unquoted(value)
    if not equals or tag.startswith("/"):
        return _device_node(_unquoted(text))
    if tag not in DEVICE_TAGS:
        meant = tag.upper() if tag.upper() in DEVICE_TAGS else ""
        return Problem(
            code="bad-device",
            message=f"`{tag}=` names no device",
            hint=f"did you mean {meant}=?"
            if meant
            else "one of LABEL=, UUID=, PARTUUID=, PARTLABEL=, or a node in /dev",
        )
    if not value or not value.isprintable() or any(quote in value for quote in '"\\') or "/.." in value:
        return Problem(code="bad-device", message=f"`{text}` names no device", hint=f"write {tag}=NAME")
    if tag.endswith("UUID") and _BLANK.search(value):
        return Problem(code="bad-device", message=f"`{value}` is not a UUID", hint="a UUID has no blanks")
    return f"{tag}={value}"


def _device_node(node: str) -> str | Problem:
    if not node.startswith("/") or _BLANK.search(node) or not node.isprintable() or "/../" in f"{node}/":
        return Problem(
            code="bad-device",
            message=f"`{node}` is not a device",
            hint="write a node such as /dev/sda3, or LABEL=, UUID=, PARTUUID=, PARTLABEL=",
        )
    return node


def _host(text: str) -> str | Problem:
    """A host without brackets, safe as a word of a command: never an option, never a shell's own character."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in inner:
        try:
            ipaddress.IPv6Address(inner)
        except ValueError:
            return Problem(
                code="bad-host",
                message=f"`{text}` is neither a host name nor an IPv6 address",
                hint="the directory goes into `path`, a port into ssh_config",
            )
        zone = inner.partition("%")[2]
        if not zone or _HOST_NAME.fullmatch(zone):
            return inner
    elif inner == text and _HOST_NAME.fullmatch(inner):
        return inner
    return Problem(code="bad-host", message=f"`{text}` is not a host name or address")


def _unquoted(text: str) -> str:
    """Without one pair of quotes around it, single or double."""
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]:
        return text[1:-1]
    return text
