"""Which block device, file system and directory a dump goes to, and what lies below that device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

from kdumpd.core import locate_iscsi, locate_path
from kdumpd.core.located import FILESYSTEMS, Line, Located, Search, not_yet, nothing, unfit
from kdumpd.core.machine import BlockDevice, Machine, Mount
from kdumpd.core.mounts import NETWORK_FILESYSTEMS, Place, as_mounted, declared, holding, joined
from kdumpd.core.problems import Problem, errors
from kdumpd.core.storage import Stack, stack_under
from kdumpd.core.targets import TargetKind

_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_NOT_WHILE_DIRTY = {"hfsplus": "fsck.hfsplus", "jfs": "fsck.jfs"}
"""File systems that the kernel does not let anybody write to after a crash, and what would have to mend them first."""
_TOP_OF_BTRFS = "subvolid=5"  # without it the default subvolume is mounted, which need not be the top


def find(machine: Machine, spec: str) -> tuple[BlockDevice, ...]:
    """Every device that a node in /dev, `UUID=`, `LABEL=`, `PARTUUID=` or `PARTLABEL=` means.

    A half of a mirror and a path to a disk hold what the whole holds, and so do their partitions: where the whole is
    among those found, it alone is meant.
    """
    fits = _fits(spec)
    found = tuple(device for device in machine.devices if fits(device))
    below = {device.name: _parts(machine, device) for device in found}
    return tuple(
        device
        for device in found
        if not any({device.name, device.disk} & parts for name, parts in below.items() if name != device.name)
    )


def _parts(machine: Machine, device: BlockDevice) -> frozenset[str]:
    """The names of all that a device is made of, down to whole disks, but not of the disk that it is a partition of."""
    whole = machine.device(device.disk) if device.disk else None
    ahead = [*device.slaves, *(whole.slaves if whole else ())]
    found: set[str] = set()
    while ahead:
        name = ahead.pop()
        under = machine.device(name)
        if name not in found and under is not None:
            ahead += under.slaves
        found.add(name)
    return frozenset(found)


def _fits(spec: str) -> Callable[[BlockDevice], bool]:
    tag, _, value = spec.partition("=")
    match tag:
        case "UUID":
            return lambda device: device.uuid.lower() == value.lower()
        case "PARTUUID":
            return lambda device: device.part_uuid.lower() == value.lower()
        case "LABEL":
            return lambda device: device.label == value
        case "PARTLABEL":
            return lambda device: device.part_label == value
        case _:
            return lambda device: spec in nodes(device)


def nodes(device: BlockDevice) -> frozenset[str]:
    """Every path by which the device may be named."""
    mapper = (f"/dev/mapper/{device.dm_name}",) if device.dm_name else ()
    return frozenset((f"/dev/{device.name.replace('!', '/')}", *mapper, *device.links))


def holding_path(machine: Machine, path: str, line: Line) -> Search:
    place = holding(machine.mounts, path)
    if place is None:
        return _from_fstab(machine, path, line)
    mount = place.mount
    if mount.fstype in NETWORK_FILESYSTEMS:
        return nothing(not_yet(mount.fstype, f"{mount.source} under {path}", line))
    if mount.fstype in _MEMORY:
        return nothing(
            line.problem(
                "target-in-memory",
                f"{path} lies in {mount.target}, a {mount.fstype} that does not survive a crash",
                "let path lie on a disk, or name a target",
            )
        )
    device = _device_of(machine, mount)
    if device is None:
        return nothing(
            line.problem(
                "target-not-a-disk",
                f"{path} lies on {mount.target}, and {mount.source} ({mount.fstype}) is not a block device",
                "name a target such as ext4 UUID=..., or let path lie on a disk",
            )
        )
    warned = _hidden_by_fstab(machine, path, place, line)
    fstype = (
        device.contents if mount.fstype == "auto" else mount.fstype
    )  # fstab leaves it to mount to find out
    options = _TOP_OF_BTRFS if fstype == "btrfs" else ""
    found = _on_device(machine, device, fstype, place.directory, options, line)
    return replace(found, problems=(*found.problems, *warned))


def devices_holding(machine: Machine, path: str) -> tuple[BlockDevice, ...]:
    """The device that holds `path`, where there is one."""
    place = holding(machine.mounts, path)
    if place is not None:
        device = _device_of(machine, place.mount)
        return (device,) if device is not None else ()
    entry = declared(machine.fstab, path)
    return find(machine, entry.source) if entry is not None else ()


def _from_fstab(machine: Machine, path: str, line: Line) -> Search:
    """Where nothing is known to be mounted, as in a copy of a machine's files, fstab has the word."""
    entry = declared(machine.fstab, path)
    if entry is None:
        return nothing(
            line.problem("target-unmounted", f"nothing is mounted that holds {path}", "name a target")
        )
    return holding_path(replace(machine, mounts=(as_mounted(entry),)), path, line)


def _device_of(machine: Machine, mount: Mount) -> BlockDevice | None:
    """By the number the kernel gives the file system; btrfs has none of a device, so by its source."""
    if mount.number and not mount.number.startswith("0:"):
        numbered = next((device for device in machine.devices if device.number == mount.number), None)
        if numbered is not None:
            return numbered
    return next(iter(find(machine, mount.source)), None)


def _hidden_by_fstab(machine: Machine, path: str, place: Place, line: Line) -> tuple[Problem, ...]:
    entry = declared(machine.fstab, path)
    if entry is None or len(entry.target) <= len(place.mount.target) or entry.fstype in {"swap", "none"}:
        return ()
    message = f"{entry.target} is in fstab but is not mounted: dumps go to {place.mount.target}"
    return (line.warning("target-not-mounted", message, f"mount {entry.target}"),)


def named(
    machine: Machine, fstype: str, spec: str, path: str, options: str, line: Line, path_line: Line
) -> Search:
    """The device that kdump.conf names, with `options` of a mount of it if there are any."""
    if fstype not in FILESYSTEMS:
        return nothing(unfit(fstype, f"{fstype} {spec}", line))
    candidates = find(machine, spec)
    if not candidates:
        return nothing(line.problem("target-not-found", f"there is no device {spec}", _hint(machine, spec)))
    if len(candidates) > 1:
        names = ", ".join(f"/dev/{device.name}" for device in candidates)
        return nothing(
            line.problem(
                "target-ambiguous",
                f"{spec} means {names}",
                "write UUID= or PARTUUID= of the one that is meant",
            )
        )
    device = candidates[0]
    told = f"{spec} (/dev/{device.name})" if spec != f"/dev/{device.name}" else spec
    if not device.contents:
        return nothing(
            line.problem(
                "target-not-formatted", f"there is no file system on {told}", f"mkfs.{fstype} makes one"
            )
        )
    if device.contents != fstype and not (fstype == "ext4" and device.contents in {"ext2", "ext3"}):
        return nothing(
            line.problem(
                "target-type-differs",
                f"{told} holds {device.contents}, not {fstype}",
                f"write {device.contents} {spec}",
            )
        )
    given = ",".join(option for option in options.split(",") if option not in {"defaults", "rw", ""})
    mounts = _mounts_of(machine, device)
    declared_mounts = [as_mounted(entry) for entry in machine.fstab if device in find(machine, entry.source)]
    place = locate_path.below_mount(mounts or declared_mounts, path)
    warned = [] if place is None else [locate_path.shortened(place, path, path_line)]
    if place is not None and fstype == "btrfs" and "subvol" not in given:
        given = ",".join(filter(None, (given, _TOP_OF_BTRFS)))
    seen = seen_at(machine, spec, path)
    held = holding(mounts, seen) if seen else None
    if held is not None:
        warned += locate_path.doubts(machine, seen, held.mount.target, path_line)
    found = _on_device(machine, device, fstype, path if place is None else place.directory, given, line)
    return replace(found, problems=(*found.problems, *warned))


def seen_at(machine: Machine, spec: str, path: str) -> str:
    """Where the directory `path` of the device that kdump.conf names is seen now; "" where it is not mounted."""
    found = find(machine, spec)
    mounts = _mounts_of(machine, found[0]) if len(found) == 1 else []
    if locate_path.below_mount(mounts, path) is not None:
        return path
    return next((joined(mount.target, path) for mount in mounts if mount.root == "/"), "")


def _mounts_of(machine: Machine, device: BlockDevice) -> list[Mount]:
    return [mount for mount in machine.mounts if _device_of(machine, mount) == device]


def unknown_layers(device: BlockDevice, stack: Stack, line: Line) -> list[Problem]:
    """Why engine direct cannot bring up what lies under the device."""
    return [
        line.problem(
            "layer-unknown",
            f"the target {device.name} lies on {layer.device.name}, {layer.what}, which engine direct cannot bring up "
            "in the capture kernel",
            "name a target on a plain disk, LVM or MD",
        )
        for layer in stack.unknown
    ]


def partition_name(machine: Machine, device: BlockDevice) -> str:
    """By the partition table, where only this device has that entry; else ""."""
    same = [other for other in machine.devices if other.part_uuid and other.part_uuid == device.part_uuid]
    return f"PARTUUID={device.part_uuid}" if len(same) == 1 else ""


def _on_device(
    machine: Machine, device: BlockDevice, fstype: str, directory: str, options: str, line: Line
) -> Search:
    stack = stack_under(machine, device)
    beyond = unknown_layers(device, stack, line)
    problems = []
    if fstype not in FILESYSTEMS:
        problems.append(unfit(fstype, f"{fstype} on /dev/{device.name}", line))
    if device.read_only:
        problems.append(line.problem("target-read-only", f"/dev/{device.name} cannot be written to"))
    problems += _dirty_at_a_crash(machine, device, fstype, line)
    if fstype == "btrfs" and any(
        not {twin.name, twin.disk} & _parts(machine, device) for twin in _twins(machine, device)
    ):
        beyond.append(
            line.problem(
                "layer-unknown",
                f"the target {device.name} is a btrfs over several devices, which engine direct cannot bring up in the "
                "capture kernel",
                "name a target on one device",
            )
        )
    # The members of a btrfs share its UUID; what brings all of them up knows them as one.
    name = f"UUID={device.uuid}" if beyond and device.uuid else _lasting_name(machine, device)
    if not name and not device.uuid and not stack.unknown:
        name = f"/dev/{device.name.replace('!', '/')}"
        problems.append(
            line.warning(
                "target-by-node",
                f"{name} has neither a UUID nor an entry in a GPT: another disk may have this name after a crash",
                "give the file system a UUID, or put it on a GPT partition",
            )
        )
    elif not name and not stack.unknown:
        problems.append(
            line.problem(
                "target-without-name",
                f"/dev/{device.name} has no UUID of its own by which it would be found again",
                "give its file system or its partition a UUID; a copy of a disk has the same as the original",
            )
        )
    reach = locate_iscsi.reach(machine, stack, line)
    problems += reach.problems
    if errors(problems):
        return Search(located=None, problems=tuple(problems))
    located = locate_iscsi.with_logins(
        Located(
            kind=TargetKind.FILESYSTEM,
            name=name,
            directory=directory,
            fstype=fstype,
            mount_options=options,
            told=MappingProxyType(
                {
                    "type": TargetKind.FILESYSTEM.value,
                    "fstype": fstype,
                    "device": name,
                    "node": f"/dev/{device.name}",
                    "directory": directory,
                    "layers": stack.words,
                }
            ),
            device=device,
            stack=stack,
            beyond_direct=tuple(beyond),
        ),
        reach.ways,
    )
    return Search(located=located, problems=tuple(problems))


def _dirty_at_a_crash(machine: Machine, device: BlockDevice, fstype: str, line: Line) -> Iterator[Problem]:
    mounted = [mount for mount in _mounts_of(machine, device) if "ro" not in mount.options]
    if mounted and fstype in _NOT_WHILE_DIRTY:
        yield line.problem(
            "target-unfit",
            f"{fstype} that is mounted when the machine crashes takes no dump before {_NOT_WHILE_DIRTY[fstype]} has "
            f"repaired it, and /dev/{device.name} is mounted at {mounted[0].target}",
            "keep it unmounted or mounted read-only, or use ext4, xfs or btrfs",
        )


def _lasting_name(machine: Machine, device: BlockDevice) -> str:
    """The file system's UUID where only it has that one; "" where nothing tells it from its copies."""
    if device.uuid and not _twins(machine, device):
        return f"UUID={device.uuid}"
    if device.dm_name:
        return f"/dev/mapper/{device.dm_name}"
    return partition_name(machine, device)


def _twins(machine: Machine, device: BlockDevice) -> Sequence[BlockDevice]:
    """Others with the same UUID that are no part of this one."""
    below = {layer.device.name for layer in stack_under(machine, device).layers}
    return [
        other
        for other in machine.devices
        if device.uuid
        and other.uuid == device.uuid
        and other.name not in below
        and device.name not in other.slaves
    ]


def _hint(machine: Machine, spec: str) -> str:
    tag = spec.partition("=")[0]
    known = {
        "LABEL": [f"LABEL={device.label}" for device in machine.devices if device.label],
        "UUID": [f"UUID={device.uuid}" for device in machine.devices if device.contents in FILESYSTEMS],
        "PARTLABEL": [f"PARTLABEL={device.part_label}" for device in machine.devices if device.part_label],
        "PARTUUID": [f"PARTUUID={device.part_uuid}" for device in machine.devices if device.part_uuid],
    }.get(tag, [f"/dev/{device.name}" for device in machine.devices if device.contents in FILESYSTEMS])
    if not known:
        return "see lsblk -f for the devices there are"
    return f"this machine has {', '.join(known[:4])}{' ...' if len(known) > 4 else ''}"
