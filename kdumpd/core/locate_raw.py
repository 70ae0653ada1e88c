"""Where a target of kind raw lies, and what the capture kernel needs to reach it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType

from kdumpd.core import locate_iscsi
from kdumpd.core.config import Config
from kdumpd.core.locate_disk import find, nodes, partition_name, unknown_layers
from kdumpd.core.located import Line, Located, Search, nothing
from kdumpd.core.machine import BlockDevice, Machine, Mount
from kdumpd.core.problems import Problem, errors
from kdumpd.core.storage import stack_under
from kdumpd.core.targets import Raw, TargetKind

_OVER_SEVERAL = frozenset({"btrfs", "bcachefs"})
"""File systems that may lie on several devices, of which mountinfo names one or, for bcachefs, all by `:`."""

_USED_UNSEEN = frozenset({"bcache", "ceph_bluestore", "drbd", "jbd", "xfs_external_log", "zfs_member"})
"""Contents whose users stand neither in mountinfo nor among the holders that /sys shows: a pool, a journal apart."""


def target(config: Config, machine: Machine, target: Raw, line: Line) -> Search:
    """The device, unless something on this machine uses it: the dump overwrites it from its first byte on."""
    found = find(machine, target.device)
    if not found:
        return nothing(
            line.problem(
                "target-not-found",
                f"there is no block device {target.device}",
                "see lsblk -o NAME,PARTUUID,PARTLABEL",
            )
        )
    if len(found) > 1:
        names = ", ".join(f"/dev/{device.name}" for device in found)
        return nothing(
            line.problem("target-ambiguous", f"{target.device} means {names}", "write the PARTUUID= of one")
        )
    device = found[0]
    name = _lasting_name(machine, device, target.device)
    stack = stack_under(machine, device)
    reach = locate_iscsi.reach(machine, stack, line)
    problems = (*_in_use(machine, device, line), *reach.problems)
    if errors(problems):
        return Search(located=None, problems=problems)
    told = {
        "type": TargetKind.RAW.value,
        "device": name,
        "node": f"/dev/{device.name}",
        "directory": config.path,
        "layers": stack.words,
    }
    located = Located(
        kind=TargetKind.RAW,
        name=name,
        directory=config.path,
        told=MappingProxyType(told),
        device=device,
        stack=stack,
        beyond_direct=tuple(unknown_layers(device, stack, line)),
    )
    located = locate_iscsi.with_logins(located, reach.ways)
    return Search(located=located, problems=(*problems, *_doubts(device, name, line)))


def _in_use(machine: Machine, device: BlockDevice, line: Line) -> Iterator[Problem]:
    names = nodes(device)
    family = _family(machine, device)
    mounted = [mount for mount in machine.mounts if _is_mount_of(family, mount)]
    hint = "name a device that holds nothing: all of it is overwritten at a crash"
    if mounted:
        yield line.problem("raw-in-use", f"/dev/{device.name} is mounted at {mounted[0].target}", hint)
    elif device.contents in _USED_UNSEEN:
        yield line.problem(
            "raw-in-use",
            f"/dev/{device.name} holds {device.contents}, and nothing tells whether that is in use",
            "name a device that holds nothing, or clear this one with wipefs if nobody needs it",
        )
    if names & machine.swaps:
        yield line.problem("raw-in-use", f"/dev/{device.name} is in use as swap", hint)
    above = [other.name for other in machine.devices if device.name in other.slaves]
    if above:
        yield line.problem("raw-in-use", f"/dev/{device.name} is a part of {', '.join(above)}", hint)
    parts = [other.name for other in machine.devices if other.disk == device.name]
    if parts:
        yield line.problem("raw-in-use", f"/dev/{device.name} is divided into {', '.join(parts)}", hint)
    if device.read_only:
        yield line.problem("target-read-only", f"/dev/{device.name} cannot be written to")


def _family(machine: Machine, device: BlockDevice) -> Sequence[BlockDevice]:
    """The device, and all others that its file system lies on as well."""
    if device.contents not in _OVER_SEVERAL or not device.uuid:
        return (device,)
    return [each for each in machine.devices if each.contents == device.contents and each.uuid == device.uuid]


def _is_mount_of(family: Sequence[BlockDevice], mount: Mount) -> bool:
    names = {name for device in family for name in nodes(device)}
    sources = {mount.source, *mount.source.split(":")}
    # An XFS may have its log or its real-time part on a device of their own.
    beside = {
        option.partition("=")[2] for option in mount.options if option.startswith(("logdev=", "rtdev="))
    }
    # A root that the kernel mounted itself has a name that is no device's.
    is_root = mount.source == "/dev/root" and mount.fstype in _OVER_SEVERAL & {family[0].contents}
    return bool((sources | beside) & names) or is_root or mount.number in {each.number for each in family}


def _doubts(device: BlockDevice, name: str, line: Line) -> Iterator[Problem]:
    if device.contents:
        yield line.warning(
            "raw-overwrites",
            f"/dev/{device.name} holds {device.contents}{f' ({device.label})' if device.label else ''}, which the next "
            "crash destroys",
            "name another device, or clear this one with wipefs",
        )
    if name.startswith("/dev/") and not name.startswith("/dev/mapper/"):
        yield line.warning(
            "raw-by-node",
            f"another disk may have the name {name} after a crash; the dump goes only to a disk of the same size "
            "and contents",
            "make a GPT partition and write its PARTUUID=",
        )


def _lasting_name(machine: Machine, device: BlockDevice, spec: str) -> str:
    """By the partition table where only this device has that entry: what is on the device itself is overwritten."""
    by_table = partition_name(machine, device)
    if by_table:
        return by_table
    if device.dm_name:
        return f"/dev/mapper/{device.dm_name}"
    return spec if spec.startswith("PARTLABEL=") else f"/dev/{device.name.replace('!', '/')}"
