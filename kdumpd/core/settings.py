"""The table of every directive of kdump.conf: what it takes, what it means, and what an edit of it affects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType

from kdumpd.core import targets, values
from kdumpd.core.values import Parse, Parsed

DEFAULT_COLLECTOR = "makedumpfile -l --message-level 7 -d 31"
DEFAULT_PATH = "/var/crash"
XEN_MARKER = "Kdump_not_supported_on_Xen_domU_guest"


class Affects(StrEnum):
    """What an edit of a directive is expected to make again; each includes those after it, down to LOAD.

    The fingerprints of the plan have the last word: another `path` may lie on another device.
    """

    BASE = "base"
    OVERLAY = "overlay"
    LOAD = "load"
    RUNTIME = "runtime"
    """Nothing in the image: only kdumpd itself goes by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One directive. `default` is spelled as in kdump.conf; `field` is the Config field where it is not `name`."""

    name: str
    argument: str
    meaning: str
    parse: Parse
    affects: Affects
    field: str = ""
    default: str = ""
    repeats: bool = False
    is_target: bool = False
    needs_value: bool = True
    was: tuple[str, ...] = ()
    deprecated: str = ""

    @property
    def config_field(self) -> str:
        return self.field or self.name


def _filesystem(fstype: str, value: str) -> Parsed:
    return values.target(targets.parse_filesystem(fstype, value))


def _target(name: str, argument: str, meaning: str, parse: Parse, *, deprecated: str = "") -> Setting:
    return Setting(
        name=name,
        argument=argument,
        meaning=meaning,
        parse=parse,
        affects=Affects.BASE,
        field="target",
        is_target=True,
        deprecated=deprecated,
    )


def _of_filesystem(fstype: str) -> str:
    why = targets.UNFIT_FILESYSTEMS.get(fstype)
    if why is not None:
        return f"Refused: {why}."
    return (
        f"Mount the {fstype} file system on the device and save to `[path]/127.0.0.1-DATE/`. "
        "The device is a node, `LABEL=`, `UUID=`, `PARTUUID=` or `PARTLABEL=`."
    )


_FILESYSTEM_ROWS = tuple(
    _target(
        fstype,
        "DEVICE",
        _of_filesystem(fstype),
        partial(_filesystem, fstype),
    )
    for fstype in targets.BLOCK_FILESYSTEMS
)

_ROWS: tuple[Setting, ...] = (
    _target(
        "raw",
        "DEVICE",
        "Write the dump as a flattened stream into the block device, without a file system. "
        "After the reboot it is recovered into `path`.",
        lambda value: values.target(targets.parse_raw(value)),
    ),
    *_FILESYSTEM_ROWS,
    _target(
        "nfs",
        "HOST:/EXPORT",
        "Mount the export and save to `[path]/HOST-DATE/`, where HOST is the address of this machine that the "
        "server sees. The version of NFS is that of the present mount; if there is none, 4.2, 4.1, 4.0 and 3 are "
        "tried in this order. Kerberos (sec=krb5) is refused. The server must let root write (no_root_squash).",
        lambda value: values.target(targets.parse_nfs(value)),
    ),
    _target(
        "nfs4",
        "HOST:/EXPORT",
        "As `nfs`, but version 3 is never tried.",
        lambda value: values.target(targets.parse_nfs(value, version="4")),
    ),
    _target(
        "ssh",
        "USER@HOST",
        "Send the dump over ssh to `[path]/HOST-DATE/` on that host, as a flattened stream or with `scp`. "
        "The host is a name, an alias of ssh_config or an address.",
        lambda value: values.target(targets.parse_ssh(value)),
    ),
    _target(
        "net",
        "USER@HOST | HOST:/EXPORT",
        "RHEL 6's spelling of `ssh` and `nfs`.",
        lambda value: values.target(targets.parse_net(value)),
        deprecated="`net` is an old spelling",
    ),
    _target(
        "virtiofs",
        "TAG",
        "Mount the directory that the hypervisor shares under this tag and save to `[path]/127.0.0.1-DATE/`.",
        lambda value: values.target(targets.parse_virtiofs(value)),
    ),
    Setting(
        name="path",
        argument="DIRECTORY",
        meaning="The directory for dumps, below the target. Without a target it is a directory of the running "
        "system, and the device that holds it is the target.",
        parse=values.directory,
        affects=Affects.OVERLAY,
        default=DEFAULT_PATH,
    ),
    Setting(
        name="core_collector",
        argument="COMMAND",
        meaning="The command that copies the memory: `makedumpfile`, `cp`, or `scp` with ssh. The names of its "
        "input and output are added; so is `-F` of makedumpfile for ssh and raw.",
        parse=values.words,
        affects=Affects.OVERLAY,
        default=DEFAULT_COLLECTOR,
    ),
    Setting(
        name="kdump_pre",
        argument="EXECUTABLE",
        meaning="Runs just before the dump. If it fails there is no dump, and `failure_action` follows.",
        parse=values.executable,
        affects=Affects.OVERLAY,
    ),
    Setting(
        name="kdump_post",
        argument="EXECUTABLE",
        meaning="Runs just after the dump, with the status of the dump as its argument.",
        parse=values.executable,
        affects=Affects.OVERLAY,
    ),
    Setting(
        name="kdump_emergency",
        argument="EXECUTABLE",
        meaning="Runs when the dump failed, before `failure_action`.",
        parse=values.executable,
        affects=Affects.OVERLAY,
    ),
    Setting(
        name="extra_bins",
        argument="FILES",
        meaning="Programs or scripts that the executables above need. Each is there at the same path, with its "
        "libraries or its interpreter.",
        parse=values.files,
        affects=Affects.OVERLAY,
        default="",
    ),
    Setting(
        name="extra_modules",
        argument="MODULES",
        meaning="Kernel modules to load besides those that the target needs, named without `.ko`.",
        parse=values.modules,
        affects=Affects.BASE,
    ),
    Setting(
        name="options",
        argument="MODULE OPTIONS",
        meaning="Options of a kernel module in the capture kernel; they go before those of modprobe.d. Several "
        "lines for one module are joined.",
        parse=values.module_options,
        affects=Affects.OVERLAY,
        field="module_options",
        repeats=True,
    ),
    Setting(
        name="blacklist",
        argument="MODULES",
        meaning="Kernel modules that are in the image but are not loaded.",
        parse=values.modules,
        affects=Affects.OVERLAY,
        repeats=True,
    ),
    Setting(
        name="sshkey",
        argument="FILE",
        meaning="The private key for ssh; the public key is the same path with `.pub`. If the file is missing, "
        "the default is used.",
        parse=values.ssh_key,
        affects=Affects.OVERLAY,
        default=values.DEFAULT_SSH_KEY,
    ),
    Setting(
        name="failure_action",
        argument="reboot | halt | poweroff | shell | dump_to_rootfs",
        meaning="What to do when the dump failed.",
        parse=values.failure_action,
        affects=Affects.OVERLAY,
        default="reboot",
        was=("default",),
    ),
    Setting(
        name="default",
        argument="reboot | halt | poweroff | shell | dump_to_rootfs | mount_root_run_init",
        meaning="RHEL 6's name of `failure_action`. Its `halt` and `poweroff` also set `final_action` if that is "
        "not set, and `mount_root_run_init` means `dump_to_rootfs`.",
        parse=values.failure_action,
        affects=Affects.OVERLAY,
        field="failure_action",
        deprecated="`default` is the old name of `failure_action`",
    ),
    Setting(
        name="final_action",
        argument="reboot | halt | poweroff",
        meaning="What to do after a saved dump, and after `shell` or `dump_to_rootfs`.",
        parse=values.final_action,
        affects=Affects.OVERLAY,
        default="reboot",
    ),
    Setting(
        name="disk_timeout",
        argument="SECONDS",
        meaning="How long to wait for the device of the target, or for its server.",
        parse=values.seconds,
        affects=Affects.OVERLAY,
        default="180",
    ),
    Setting(
        name="link_delay",
        argument="SECONDS",
        meaning="How long to wait after the link is up before anything is sent.",
        parse=values.seconds,
        affects=Affects.OVERLAY,
        default="0",
    ),
    Setting(
        name="debug_mem_level",
        argument="0-3",
        meaning="What the capture kernel prints about memory at each step: 0 nothing, 1 a part of meminfo, 2 "
        "meminfo, 3 meminfo and slabinfo.",
        parse=values.level,
        affects=Affects.OVERLAY,
        default="0",
    ),
    Setting(
        name="force_rebuild",
        argument="0 | 1",
        meaning="Build the image again whenever kdumpd or kdump is started or restarted. What is loaded stays loaded meanwhile.",
        parse=values.flag,
        affects=Affects.RUNTIME,
        default="0",
    ),
    Setting(
        name="force_no_rebuild",
        argument="0 | 1",
        meaning="Keep the image that exists for this kernel and only load it, also when it is no longer what the "
        "configuration says: the state is then `stale`. `kdumpctl rebuild` builds all the same. Not together with "
        "`force_rebuild`.",
        parse=values.flag,
        affects=Affects.RUNTIME,
        default="0",
    ),
    Setting(
        name="dracut_args",
        argument="OPTIONS",
        meaning='Passed to dracut, which then builds the image. One `--mount "DEVICE MOUNTPOINT TYPE OPTIONS"` '
        "among them is the target. How the image is packed is not dracut's to say: the kernel has to unpack it.",
        parse=values.words,
        affects=Affects.BASE,
    ),
    Setting(
        name="fence_kdump_nodes",
        argument="HOSTS",
        meaning="Nodes of the cluster that fence_kdump_send tells of the crash, before the dump begins.",
        parse=values.hosts,
        affects=Affects.OVERLAY,
    ),
    Setting(
        name="fence_kdump_args",
        argument="OPTIONS",
        meaning="Options of fence_kdump_send, all but the nodes: `-p PORT`, `-f auto|ipv4|ipv6`, `-c COUNT`, "
        "`-i SECONDS`, `-v`.",
        parse=values.fence_arguments,
        affects=Affects.OVERLAY,
    ),
    Setting(
        name="auto_reset_crashkernel",
        argument="yes | no",
        meaning="Whether an update of the package may change an old default of `crashkernel=` to the new one.",
        parse=values.yes_or_no,
        affects=Affects.RUNTIME,
        default="yes",
    ),
    Setting(
        name=XEN_MARKER,
        argument="",
        meaning="A line that RHEL 6 wrote on Xen guests. It is accepted and does nothing.",
        parse=values.anything,
        affects=Affects.RUNTIME,
        field="",
        repeats=True,
        needs_value=False,
    ),
)

SETTINGS: Mapping[str, Setting] = MappingProxyType({row.name: row for row in _ROWS})
"""Every directive by its name, in the order of the manual page."""
