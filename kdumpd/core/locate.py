"""What kdump.conf means by its target on this machine: asks the module that knows the kind."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from kdumpd.core import (
    locate_disk,
    locate_iscsi,
    locate_nfs,
    locate_path,
    locate_raw,
    locate_ssh,
    locate_virtiofs,
)
from kdumpd.core.config import Config, FailureAction
from kdumpd.core.located import Line, Search, path_line
from kdumpd.core.machine import Machine
from kdumpd.core.mounts import holding, triggered
from kdumpd.core.ssh import SshWish
from kdumpd.core.targets import Filesystem, Nfs, Raw, Ssh, Virtiofs

ROOTFS_DIRECTORY = "/var/crash"
"""Where the agent saves when failure_action is dump_to_rootfs; seen from `/` of the crashed system."""


def target(config: Config, machine: Machine) -> Search:
    """The target that kdump.conf means on this machine, or every reason why there is none."""
    directive = config.target_directive
    line = Line(number=config.lines.get(directive, 0), key=directive)
    match config.target:
        case None:
            return _default(machine, config.path, Line(number=config.lines.get("path", 0), key="path"))
        case Filesystem(fstype=fstype, device=device):
            options = config.dracut_mount.options if config.dracut_mount else ""
            return locate_disk.named(
                machine, fstype, device, config.path, options, line, path_line(config, line)
            )
        case Raw():
            return locate_raw.target(config, machine, config.target, line)
        case Nfs():
            return locate_nfs.target(config, machine, config.target, line)
        case Ssh():
            return locate_ssh.target(config, machine, config.target, line)
        case Virtiofs():
            return locate_virtiofs.target(config, machine, config.target, line)
        case _:
            assert_never(config.target)


def paths(config: Config, machine: Machine) -> tuple[str, ...]:
    """The paths of the running system that decide where a dump goes: their links are followed beforehand."""
    found: list[str] = []
    match config.target:
        case None:
            found.append(config.path)
        case Filesystem(device=device):
            found.append(locate_disk.seen_at(machine, device, config.path))
        case Raw() | Nfs() | Ssh() | Virtiofs():
            pass
        case _:
            assert_never(config.target)
    if config.failure_action is FailureAction.DUMP_TO_ROOTFS:
        found.append(ROOTFS_DIRECTORY)
    return tuple(dict.fromkeys(path for path in found if path))


def _default(machine: Machine, path: str, line: Line) -> Search:
    followed = machine.followed(path)
    if followed.is_endless:
        return locate_path.endless(followed, line)
    return _holding(_settled(machine), followed.real, line)


def _holding(machine: Machine, path: str, line: Line) -> Search:
    """The file system that holds `path` now, on a disk or elsewhere."""
    place = holding(machine.mounts, path)
    if place is not None and place.mount.fstype in locate_nfs.FILESYSTEMS:
        return locate_nfs.holding(machine, place, line)
    if place is not None and place.mount.fstype == locate_virtiofs.FILESYSTEM:
        return locate_virtiofs.holding(machine, place, line)
    return locate_disk.holding_path(machine, path, line)


def _settled(machine: Machine) -> Machine:
    return replace(machine, mounts=triggered(machine.mounts, machine.fstab))


def root(machine: Machine) -> Search:
    """The file system of `/`, for failure_action dump_to_rootfs and for the record of a failed capture."""
    return locate_disk.holding_path(machine, "/", Line(number=0, key=""))


def hosts(config: Config, machine: Machine) -> frozenset[str]:
    """The hosts that the capture kernel has to reach: their names and the ways to them are looked at beforehand."""
    of_target = _hosts_of_target(config, machine)
    if config.failure_action is not FailureAction.DUMP_TO_ROOTFS:
        return of_target
    return of_target | locate_iscsi.hosts(machine, locate_disk.devices_holding(machine, "/"))


def _hosts_of_target(config: Config, machine: Machine) -> frozenset[str]:
    match config.target:
        case None:
            machine = _settled(machine)
            path = machine.followed(config.path).real
            place = holding(machine.mounts, path)
            if place is None or place.mount.fstype not in locate_nfs.FILESYSTEMS:
                return locate_iscsi.hosts(machine, locate_disk.devices_holding(machine, path))
            exported = locate_nfs.exported(place)
            return locate_nfs.hosts(machine, exported) if isinstance(exported, Nfs) else frozenset()
        case Filesystem(device=device) | Raw(device=device):
            return locate_iscsi.hosts(machine, locate_disk.find(machine, device))
        case Nfs():
            return locate_nfs.hosts(machine, config.target)
        case Ssh():
            return locate_ssh.hosts(machine)
        case _:
            return frozenset()


def ssh_wish(config: Config) -> SshWish | None:
    """What ssh of this machine has to be asked, before the hosts are known that have to be reached."""
    return locate_ssh.wish(config, config.target) if isinstance(config.target, Ssh) else None
