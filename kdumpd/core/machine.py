"""What a machine is, as far as a crash capture cares: kernel, mounts, block devices, and the kernel's kexec facts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core.driver import Driver
from kdumpd.core.iscsi import IscsiSession
from kdumpd.core.network import NO_NETWORK, Network
from kdumpd.core.ssh import SshServer


class Lockdown(StrEnum):
    NONE = "none"
    INTEGRITY = "integrity"
    CONFIDENTIALITY = "confidentiality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of /proc/1/mountinfo (proc_pid_mountinfo(5)), escapes undone."""

    target: str
    source: str
    fstype: str
    root: str = "/"
    options: tuple[str, ...] = ()
    number: str = ""  # "major:minor" as the kernel sees the file system; anonymous (0:N) for btrfs


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where a path of the running system really lies, its symbolic links followed."""

    path: str
    real: str  # as far as it could be looked at; `path` itself where the links have no end
    links: tuple[str, ...] = ()  # those that were crossed, with no link above any of them
    is_endless: bool = False
    is_beyond: bool = False  # the rest lies where a look might wait for ever, such as on a dead server

    @property
    def watched(self) -> frozenset[str]:
        """What tells of a change of the links; their folders, where to watch a link would be to look beyond it."""
        if self.is_beyond:
            return frozenset(link.rpartition("/")[0] or "/" for link in self.links)
        return frozenset(self.links)


@dataclass(frozen=True, slots=True, kw_only=True)
class FstabEntry:
    source: str
    target: str
    fstype: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDevice:
    """One entry of /sys/class/block with what udev's database (or blkid) knows of its contents."""

    name: str
    number: str  # "major:minor"
    size_bytes: int = 0
    read_only: bool = False
    disk: str = ""  # the whole disk this is a partition of, else ""
    slaves: tuple[str, ...] = ()
    drivers: tuple[Driver, ...] = ()  # from the device up to the root of the tree
    sysfs: str = ""  # /sys/devices/...: its path tells the transport (session1: iSCSI, rport-1:0-2: FC)
    iscsi: IscsiSession | None = None  # the session that a disk hangs on
    dm_name: str = ""
    dm_uuid: str = ""  # "LVM-...", "CRYPT-LUKS2-...", "mpath-..."
    dm_targets: tuple[str, ...] = ()
    md_level: str = ""
    md_uuid: str = ""
    links: tuple[str, ...] = ()  # every /dev/... name udev gave it
    contents: str = ""  # ID_FS_TYPE: ext4, xfs, LVM2_member, linux_raid_member, crypto_LUKS ...
    uuid: str = ""  # ID_FS_UUID
    uuid_sub: str = ""
    label: str = ""  # ID_FS_LABEL, unescaped
    part_uuid: str = ""
    part_label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDirectory:
    """A directory that the hypervisor shares over virtiofs."""

    tag: str
    drivers: tuple[Driver, ...] = ()  # from its device up to the root of the tree


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashKernel:
    """What the running kernel says of kexec on panic.

    Newer kernels say it in /sys/kernel/kexec/ (since 6.19), older ones in /sys/kernel/kexec_crash_*; `layout` tells
    which was read: "new", "old", or "" where the kernel has neither.
    """

    layout: str
    loaded: bool = False
    reserved_bytes: int = 0
    load_disabled: bool = False  # kernel.kexec_load_disabled, one way until reboot
    loads_left: int = -1  # kernel.kexec_load_limit_panic; -1 is unlimited
    lockdown: Lockdown = Lockdown.NONE
    secure_boot: bool = False
    cpu_hotplug: bool = False  # /sys/devices/system/cpu/crash_hotplug is 1: no reload on cpu changes
    memory_hotplug: bool = False
    fadump: bool = False

    @property
    def keeps_layout(self) -> bool:
        """Whether the kernel rewrites the headers of what is loaded when processors or memory come and go.

        Linux 6.6 and later; it depends on how the image was loaded, so before the first load it may say no.
        """
        return self.cpu_hotplug and self.memory_hotplug


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFiles:
    """A kernel that could capture: its image under /boot (or beside its modules) and its modules."""

    release: str
    image: str
    modules: str = ""  # the modules directory, "" where it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class CrypttabEntry:
    """A line of crypttab(5); `key` is a path, or "none", "-" or "" where somebody is asked."""

    name: str
    device: str
    key: str = ""
    options: str = ""


class Hungry(StrEnum):
    """What takes memory of a capture kernel that no table counts with, by the name of its option or driver."""

    ENCRYPTION = "mem_encrypt"
    MELLANOX = "mlx5_core"
    SMMU = "arm-smmu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    architecture: str  # as uname -m says
    kernel_release: str
    host_name: str
    machine_id: str
    boot_id: str
    command_line: str
    memory_bytes: int
    cpus: int
    layout: str  # identity of online cpus and memory: what the crash headers describe when hotplug is not kept by the kernel
    crash: CrashKernel
    next_command_line: str = ""  # what the boot menu says for the next boot; "" where that is not known
    mounts: tuple[Mount, ...] = ()
    fstab: tuple[FstabEntry, ...] = ()
    devices: tuple[BlockDevice, ...] = ()
    shares: tuple[SharedDirectory, ...] | None = None  # None where this kernel does not tell
    swaps: frozenset[str] = frozenset()  # nodes of the devices that the kernel swaps to
    kernels: tuple[KernelFiles, ...] = ()
    timezone: str = ""  # POSIX TZ, as the last line of /etc/localtime says; "" is UTC
    network: Network = NO_NETWORK  # looked at only where a host has to be reached
    crypttab: tuple[CrypttabEntry, ...] = ()
    hungry: frozenset[Hungry] = frozenset()
    ssh: SshServer | None = None  # looked at only where the target is ssh
    whereabouts: tuple[Whereabouts, ...] = ()  # of the paths that kdump.conf is about

    def followed(self, path: str) -> Whereabouts:
        """Where `path` lies; where nobody looked, there."""
        known = (each for each in self.whereabouts if each.path == path)
        return next(known, Whereabouts(path=path, real=path))

    def device(self, name: str) -> BlockDevice | None:
        return next((device for device in self.devices if device.name == name), None)
