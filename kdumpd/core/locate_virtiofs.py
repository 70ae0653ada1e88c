"""Which directory that the hypervisor shares a dump goes to, and what the capture kernel needs to mount it."""

from __future__ import annotations

from types import MappingProxyType

from kdumpd.core.config import Config
from kdumpd.core.located import Line, Located, Search
from kdumpd.core.machine import Machine, SharedDirectory
from kdumpd.core.mounts import Place
from kdumpd.core.problems import Problem
from kdumpd.core.targets import TargetKind, Virtiofs

FILESYSTEM = "virtiofs"
_NOT_OF_THE_KERNEL = frozenset({"auto", "defaults", "noauto", "nofail", "rw", "_netdev"})
_USUAL_DRIVERS = ("virtio_pci",)
"""For a device that is not to be seen."""


def target(config: Config, machine: Machine, target: Virtiofs, line: Line) -> Search:
    given = config.dracut_mount.options.split(",") if config.dracut_mount else []
    options = [each for each in given if each not in _NOT_OF_THE_KERNEL and not each.startswith("x-")]
    return _located(machine, target.tag, config.path, [each for each in options if each], line)


def holding(machine: Machine, place: Place, line: Line) -> Search:
    """The default target where `path` lies on a shared directory."""
    options = [each for each in place.mount.options if each in {"ro", "dax"} or each.startswith("dax=")]
    return _located(machine, place.mount.source, place.directory, options, line)


def _located(machine: Machine, tag: str, directory: str, options: list[str], line: Line) -> Search:
    if "ro" in options:
        return Search(
            located=None,
            problems=(
                line.problem(
                    "target-read-only", f"the shared directory {tag} is mounted read-only", "mount it with rw"
                ),
            ),
        )
    share = next((each for each in machine.shares or () if each.tag == tag), None)
    unseen = () if share else _unseen(machine, tag, line)
    if any(problem.is_error for problem in unseen):
        return Search(located=None, problems=unseen)
    drivers = tuple(driver.module for driver in share.drivers if driver.module) if share else _USUAL_DRIVERS
    told = {"type": TargetKind.VIRTIOFS.value, "tag": tag, "directory": directory}
    return Search(
        located=Located(
            kind=TargetKind.VIRTIOFS,
            name=tag,
            directory=directory,
            fstype=FILESYSTEM,
            mount_options=",".join(options),
            told=MappingProxyType(told),
            # From the bus down to the device: a driver finds nothing before the one that it hangs on.
            modules=tuple(dict.fromkeys((*reversed(drivers), FILESYSTEM))),
        ),
        problems=unseen,
    )


def _unseen(machine: Machine, tag: str, line: Line) -> tuple[Problem, ...]:
    if any(mount.fstype == FILESYSTEM and mount.source == tag for mount in machine.mounts):
        return ()
    if machine.shares is not None:
        return (
            line.problem(
                "target-not-found",
                f"the hypervisor shares no directory under the tag {tag}",
                _those_there(machine.shares),
            ),
        )
    return (
        line.warning(
            "target-unproven",
            f"this kernel does not tell which directories the hypervisor shares: {tag} may or may not be one",
            f"mount -t virtiofs {tag} DIRECTORY would show it",
        ),
    )


def _those_there(shares: tuple[SharedDirectory, ...]) -> str:
    tags = ", ".join(share.tag for share in shares)
    return f"this machine has {tags}" if tags else "give the machine a virtiofs device in the hypervisor"
