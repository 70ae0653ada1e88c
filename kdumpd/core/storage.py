"""From a block device down to its hardware: each layer with the modules, programs and sh lines that bring it up."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import assert_never

from kdumpd.core import iscsi
from kdumpd.core.driver import Driver
from kdumpd.core.facts import md_uuid
from kdumpd.core.iscsi import IscsiSession
from kdumpd.core.machine import BlockDevice, Machine
from kdumpd.core.needs import Needs, together
from kdumpd.core.plan import Written

MD_DEGRADED_AFTER_SECONDS = 30
"""An array is not started without a member before the capture kernel has run for so long: the member may be slow."""

LVM_CONFIGURATION = """\
# No udev and no daemon runs in the capture kernel.
devices {
    dir = "/dev"
    scan = [ "/dev" ]
    obtain_device_list_from_udev = 0
    external_device_info_source = "none"
    use_devicesfile = 0
    hints = "none"
}
global {
    use_lvmpolld = 0
}
activation {
    udev_sync = 0
    udev_rules = 0
    monitoring = 0
}
backup {
    backup = 0
    archive = 0
}
"""

_HARDWARE = frozenset({"pci", "virtio", "usb", "platform", "acpi", "vmbus"})
_LVM_SPLIT = re.compile(r"(?<!-)-(?!-)")
_MD_PERSONALITIES = {
    "linear": "linear",
    "raid0": "raid0",
    "raid1": "raid1",
    "raid10": "raid10",
    "raid4": "raid456",
    "raid5": "raid456",
    "raid6": "raid456",
}
_TRANSPORTS = (
    (re.compile(r"/session\d+/"), "an iSCSI session of a card, or one of which /sys tells too little"),
    (re.compile(r"/rport-[\d:-]+/"), "a Fibre Channel port"),
)
_VIRTUAL_DISKS = (
    ("loop", "a loop device"),
    ("nbd", "a network block device"),
    ("zram", "compressed memory"),
    ("ram", "a disk in memory"),
    ("rbd", "a Ceph block device"),
    ("drbd", "a DRBD device"),
    ("bcache", "a bcache device"),
    ("dasd", "a DASD"),
    ("pmem", "persistent memory"),
    ("zd", "a ZFS volume"),
    ("mmcblk", "an SD or eMMC card"),
    ("xvd", "a Xen disk"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Found by the kernel itself as soon as its disk is there."""

    device: BlockDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtioDisk:
    """virtio_blk on a PCI or memory-mapped virtio device."""

    device: BlockDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsiDisk:
    """A disk behind sd_mod: SATA, SAS, USB, virtio_scsi, Hyper-V; never one behind a network."""

    device: BlockDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class IscsiDisk:
    """A disk behind an iSCSI session of the kernel's own initiator, not of a card's."""

    device: BlockDevice
    session: IscsiSession


@dataclass(frozen=True, slots=True, kw_only=True)
class NvmeDisk:
    """A namespace of an NVMe controller on PCI."""

    device: BlockDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalVolume:
    """A linear or striped LVM volume, activated alone: its volume group may hold others that need more."""

    device: BlockDevice
    group: str
    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MdArray:
    """A Linux software RAID with its own metadata."""

    device: BlockDevice
    uuid: str
    personality: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A layer that nobody here can bring up; `what` names it in words."""

    device: BlockDevice
    what: str


Known = Partition | VirtioDisk | ScsiDisk | IscsiDisk | NvmeDisk | LogicalVolume | MdArray
Layer = Known | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The layers under a device, the lowest first and each once."""

    layers: tuple[Layer, ...]

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, Unknown))

    @property
    def needs(self) -> Needs:
        each = [needs_of(layer) for layer in self.layers if not isinstance(layer, Unknown)]
        return together(each)

    @property
    def words(self) -> str:
        """For people: `raid1 array md0 on (partition sda1 on SCSI or ATA disk sda) and (partition ...)`."""
        return self._told(self.layers[-1])

    def _told(self, layer: Layer) -> str:
        names = _below(layer.device)
        below = [self._told(under) for under in self.layers if under.device.name in names]
        if not below:
            return told(layer)
        return (
            f"{told(layer)} on {below[0] if len(below) == 1 else ' and '.join(f'({one})' for one in below)}"
        )


def stack_under(machine: Machine, device: BlockDevice) -> Stack:
    """Every layer from the hardware up to `device`; what is below an unknown one is not looked at."""
    found: dict[str, Layer] = {}
    _descend(machine, device, found, above=())
    return Stack(layers=tuple(found.values()))


def needs_of(layer: Known) -> Needs:
    match layer:
        case Partition():
            return Needs()
        case VirtioDisk(device=device) | ScsiDisk(device=device) | NvmeDisk(device=device):
            return Needs(modules=_modules(device.drivers))
        case IscsiDisk(device=device, session=session):
            return Needs(
                modules=(iscsi.SOFTWARE, *_modules(device.drivers)),
                programs=(iscsi.PROGRAM,),
                bring_up=(iscsi.login(session),),
            )
        case LogicalVolume(group=group, volume=volume):
            name = shlex.quote(f"{group}/{volume}")
            return Needs(
                modules=("dm_mod",),
                programs=("lvm",),
                files=(Written(path="/etc/lvm/lvm.conf", text=LVM_CONFIGURATION),),
                bring_up=(f"lvm lvchange -ay --sysinit --ignoreactivationskip {name}",),
            )
        case MdArray(device=device, uuid=uuid, personality=personality):
            return Needs(
                modules=("md_mod", personality),
                programs=("mdadm",),
                bring_up=(_assemble(device.name, uuid),),
            )
        case _:
            assert_never(layer)


def told(layer: Layer) -> str:
    match layer:
        case Partition(device=device):
            return f"partition {device.name}"
        case VirtioDisk(device=device):
            return f"virtio disk {device.name}"
        case ScsiDisk(device=device):
            return f"SCSI or ATA disk {device.name}"
        case IscsiDisk(device=device, session=session):
            return f"iSCSI disk {device.name} of {session.target} at {session.address}"
        case NvmeDisk(device=device):
            return f"NVMe disk {device.name}"
        case LogicalVolume(group=group, volume=volume):
            return f"logical volume {group}/{volume}"
        case MdArray(device=device):
            return f"{device.md_level} array {device.name}"
        case Unknown(device=device, what=what):
            return f"{device.name} ({what})"
        case _:
            assert_never(layer)


def _descend(
    machine: Machine, device: BlockDevice, found: dict[str, Layer], *, above: tuple[str, ...]
) -> None:
    if device.name in found or device.name in above:
        return
    layer = _layer(machine, device)
    for name in () if isinstance(layer, Unknown) else _below(device):
        under = machine.device(name)
        if under is None:
            missing = BlockDevice(name=name, number="")
            found[name] = Unknown(device=missing, what="a device that /sys does not have")
        else:
            _descend(machine, under, found, above=(*above, device.name))
    found[device.name] = layer


def _below(device: BlockDevice) -> tuple[str, ...]:
    return (device.disk,) if device.disk else device.slaves


def _layer(machine: Machine, device: BlockDevice) -> Layer:
    if device.disk:
        return Partition(device=device)
    if device.dm_uuid or device.dm_name or device.name.startswith("dm-"):
        return _mapped(machine, device)
    if device.md_level or re.match(r"md(\d|_)", device.name):
        return _array(machine, device)
    if device.slaves:
        return Unknown(device=device, what=f"a device made of {', '.join(device.slaves)}")
    return _disk(device)


def _disk(device: BlockDevice) -> Layer:
    if device.iscsi is not None and device.iscsi.is_whole:
        return IscsiDisk(device=device, session=device.iscsi)
    for pattern, what in _TRANSPORTS:
        if pattern.search(f"{device.sysfs}/"):
            return Unknown(device=device, what=f"a disk behind {what}")
    buses = frozenset(driver.subsystem for driver in device.drivers)
    names = frozenset(driver.name for driver in device.drivers)
    if "virtio_blk" in names:
        return VirtioDisk(device=device)
    if "scsi" in buses and buses & _HARDWARE:
        return ScsiDisk(device=device)
    if device.name.startswith("nvme"):
        if any(driver.subsystem == "pci" and driver.name == "nvme" for driver in device.drivers):
            return NvmeDisk(device=device)
        return Unknown(device=device, what="an NVMe disk that is not on PCI")
    for prefix, what in _VIRTUAL_DISKS:
        if device.name.startswith(prefix):
            return Unknown(device=device, what=what)
    drivers = ", ".join(driver.name for driver in device.drivers)
    return Unknown(
        device=device, what=f"a disk with the drivers {drivers}" if drivers else "a disk of no known kind"
    )


def _mapped(machine: Machine, device: BlockDevice) -> Layer:
    kind, _, rest = device.dm_uuid.partition("-")
    match kind:
        case "LVM":
            return _volume(machine, device)
        case "CRYPT":
            return Unknown(device=device, what=f"an encrypted device, {rest.partition('-')[0] or 'dm-crypt'}")
        case "mpath":
            return Unknown(device=device, what="a multipath device")
        case _ if re.match(r"part\d+$", kind):
            return Unknown(device=device, what="a partition of a device-mapper device")
        case _:
            return Unknown(
                device=device, what=f"a device-mapper device {device.dm_name or device.dm_uuid}".rstrip()
            )


def _volume(machine: Machine, device: BlockDevice) -> Layer:
    """Only what device-mapper's linear and striped targets make needs nothing but dm_mod.

    Every other kind of volume is built of hidden ones, which device-mapper shows as slaves that hold no
    LVM2_member: the pool of a thin volume (its uuid ends in -tpool), the images of a raid, a snapshot's origin.
    """
    hidden = [
        slave
        for name in device.slaves
        if (slave := machine.device(name)) is not None
        and slave.dm_uuid.startswith("LVM-")
        and slave.contents != "LVM2_member"
    ]
    odd = [target for target in device.dm_targets if target not in {"linear", "striped"}]
    words = _LVM_SPLIT.split(device.dm_name)
    if any(slave.dm_uuid.endswith("-tpool") for slave in hidden) or "thin" in odd:
        return Unknown(device=device, what="a thin logical volume")
    if hidden or odd or not device.slaves:
        return Unknown(device=device, what="a logical volume that is neither linear nor striped")
    if len(words) != 2 or not all(words):
        return Unknown(device=device, what=f"an internal logical volume, {device.dm_name}")
    group, volume = (word.replace("--", "-") for word in words)
    return LogicalVolume(device=device, group=group, volume=volume)


def _array(machine: Machine, device: BlockDevice) -> Layer:
    members = [member for name in device.slaves if (member := machine.device(name)) is not None]
    foreign = sorted({member.contents for member in members} - {"linux_raid_member", ""})
    personality = _MD_PERSONALITIES.get(device.md_level, "")
    uuid = device.md_uuid or next((md_uuid(member.uuid) for member in members if md_uuid(member.uuid)), "")
    if foreign:
        return Unknown(device=device, what=f"a RAID with foreign metadata, {', '.join(foreign)}")
    if not personality:
        return Unknown(device=device, what=f"an MD array of level {device.md_level or 'unknown'}")
    if not uuid:
        return Unknown(device=device, what="an MD array without a UUID")
    return MdArray(device=device, uuid=uuid, personality=personality)


def _modules(drivers: Iterable[Driver]) -> tuple[str, ...]:
    """From the root of the tree to the device, as they came up."""
    return tuple(dict.fromkeys(driver.module for driver in reversed(tuple(drivers)) if driver.module))


def _assemble(name: str, uuid: str) -> str:
    """Start an array with all members, or with those there are once it has been waited for the others.

    Without --run mdadm leaves an incomplete array assembled but not started, and its members taken: it is stopped
    before each new attempt.
    """
    node = f"/dev/{name}"
    # In a shell of its own: the line is evaluated inside the agent, whose variables and parameters it must not touch.
    return (
        f"grep -q '^{name} : active' /proc/mdstat || ( "
        f"mdadm --stop {node} 2>/dev/null; set --; read -r up _ </proc/uptime; "
        f'[ "${{up%.*}}" -lt {MD_DEGRADED_AFTER_SECONDS} ] || set -- --run; '
        f'MDADM_NO_UDEV=1 exec mdadm --assemble "$@" --config=partitions --uuid={uuid} {node} )'
    )


def modaliases(stack: Stack) -> Iterator[str]:
    """Of every device with a driver under the stack: another kernel may have as a module what is built in here."""
    for layer in stack.layers:
        for driver in reversed(layer.device.drivers):
            if driver.modalias:
                yield driver.modalias
