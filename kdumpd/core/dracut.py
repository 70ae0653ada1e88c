"""When engine dracut is taken, and what it is told: its arguments, the files that decide what it puts in, the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kdumpd.core import capture_kernel
from kdumpd.core.config import Config
from kdumpd.core.contents import merged
from kdumpd.core.environment import Module
from kdumpd.core.ground import Ground, at_line, image_modules, to_load
from kdumpd.core.hooks import is_left_behind
from kdumpd.core.inventory import Inventory, Kind
from kdumpd.core.located import Located
from kdumpd.core.machine import BlockDevice, Machine
from kdumpd.core.modules import MODPROBE_FOLDERS, normalised
from kdumpd.core.packages import APPLETS
from kdumpd.core.plan import Engine, Folder, ImageItem, Link, Source, Written
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.tuning import EngineChoice, Tuning

OWN_MODULE = "kdumpd"
OWN_FOLDER = "/usr/lib/dracut/modules.d/98kdumpd"
OWN_FILES = ("kdumpd-agent.sh", "kdumpd-no-root.sh", "kdumpd-target-is-there.sh", "module-setup.sh")
APPLET_FOLDER = "/kdump/bin"
AGENT = "kdump/init"
"""Where the agent's first script lies: /init is dracut's own."""

OMITTED = (
    "systemd systemd-initrd systemd-cryptsetup dracut-systemd systemd-udevd systemd-journald systemd- "
    "sysusers systemd-tmpfiles systemd-ask-password systemd-modules-load systemd-sysctl plymouth resume "
    "i18n console-setup terminfo rescue memstrack kernel-modules-extra pollcdrom usrmount drm numlock "
    "bluetooth nss-softokn lvmthinpool-monitor biosdevname watchdog watchdog-modules qemu-net ifcfg "
    "squash earlykdump kdumpbase busybox integrity masterkey ecryptfs securityfs selinux hwdb syslog "
    "shutdown warpclock convertfs debug caps rngd dbus tpm2-tss fido2 pkcs11 pcsc fstab-sys virtfs "
    "overlayfs overlay-root"
)
"""What a capture does not need: it boots no root file system, shows no picture, asks nobody and starts no service.

Not rootfs-block, though there is no root file system: lvm, crypt, multipath and mdraid depend on it."""

_KMOD = frozenset({"insmod", "lsmod", "modprobe", "rmmod"})
"""kmod's own come with dracut, and know compressed modules."""

PROGRAMS = (
    "btrfs",
    "cryptsetup",
    "dmsetup",
    "kmod",
    "lvm",
    "mdadm",
    "multipath",
    "multipathd",
    "thin_check",
    "udevadm",
)
"""What dracut's own scripts bring the layers up with; another version of one, or of its libraries, is another image."""

_ON_ANOTHER_DEVICE = re.compile(r":(?:/dev/|(?:UUID|LABEL|PARTUUID|PARTLABEL)=)")
"""crypttab(5): `/key:UUID=...` is a file of that device's file system, not of this root."""

_DECIDING = (
    "/usr/bin/dracut",
    *(f"/usr/lib/dracut/dracut-{name}" for name in ("functions.sh", "init.sh", "version.sh", "install")),
    *(f"{OWN_FOLDER}/{name}" for name in OWN_FILES),
    "/etc/crypttab",
    "/etc/lvm/lvm.conf",
    "/etc/lvm/lvmlocal.conf",
    "/etc/lvm/devices/system.devices",
    "/etc/mdadm.conf",
    "/etc/mdadm/mdadm.conf",
    "/etc/multipath.conf",
    "/etc/multipath/bindings",
    "/etc/multipath/wwids",
    "/etc/nvme/hostnqn",
    "/etc/nvme/hostid",
    "/etc/udev/udev.conf",
    "/usr/lib/systemd/systemd-udevd",
)
FOLDERS = (
    *("/usr/lib/dracut/dracut.conf.d", "/etc/multipath/conf.d"),
    *("/etc/mdadm.conf.d", "/etc/mdadm/mdadm.conf.d"),
    *("/etc/udev/rules.d", "/usr/lib/udev/rules.d"),
    *MODPROBE_FOLDERS,
)
"""Of whose files dracut takes those with the folder's ending, `.conf` or `.rules`."""
TREES = ("/usr/lib/dracut/modules.d",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`why` is a clause; empty for engine direct, whose reason is that nothing stands against it."""

    engine: Engine
    why: str = ""
    problems: tuple[Problem, ...] = ()


NO_CHOICE = Choice(engine=Engine.DIRECT)


def may_be_chosen(config: Config, tuning: Tuning, target: Located) -> bool:
    """Whether dracut has to be looked at."""
    if tuning.engine is EngineChoice.AUTO:
        return bool(target.beyond_direct or arguments_beside_mount(config))
    return tuning.engine is EngineChoice.DRACUT


def chosen(config: Config, tuning: Tuning, target: Located, inventory: Inventory) -> Choice:
    """Direct where every layer is known to it; dracut where one is not, or where it is asked for."""
    is_installed = "dracut" in inventory.programs
    further = arguments_beside_mount(config)
    lost = _arguments_lost(config, further) if further else ()
    if target.device is None and target.beyond_direct:
        # The network is the agent's with either engine: dracut is asked for devices alone.
        return Choice(engine=Engine.DIRECT, problems=target.beyond_direct)
    if target.device is not None and target.ways:
        # dracut would bring the device up before there is a network: ours comes up with the agent.
        return Choice(engine=Engine.DIRECT, problems=(*_unfit(tuning), *lost))
    match tuning.engine:
        case EngineChoice.DIRECT:
            beyond = tuple(
                replace(problem, hint='write engine = "auto" into kdumpd.toml, and install dracut-core')
                for problem in target.beyond_direct
            )
            return Choice(engine=Engine.DIRECT, problems=(*beyond, *lost))
        case EngineChoice.DRACUT:
            why = "kdumpd.toml says so"
        case EngineChoice.AUTO if target.beyond_direct:
            why = target.beyond_direct[0].message
        case EngineChoice.AUTO if further and is_installed:
            why = "dracut_args asks for it"
        case _:
            # Without dracut its arguments are left out, which is said: a dump is worth more than they are.
            return Choice(engine=Engine.DIRECT, problems=lost)
    if is_installed:
        return Choice(engine=Engine.DRACUT, why=why)
    missing = Problem(
        code="dracut-missing",
        message="engine dracut is chosen in kdumpd.toml, and dracut is not installed",
        hint="install the package dracut-core (Debian) or dracut (Fedora)",
        key="engine",
    )
    placed = tuple(
        replace(
            problem,
            code=missing.code,
            message=f"{problem.message}; engine dracut may be able to, but dracut is not installed",
            hint=missing.hint,
        )
        for problem in target.beyond_direct
    )
    return Choice(engine=Engine.DRACUT, why=why, problems=placed or (missing,))


def arguments_beside_mount(config: Config) -> tuple[str, ...]:
    """dracut_args without `--mount`, which is the target and which the agent mounts."""
    kept: list[str] = []
    words = iter(config.dracut_args)
    for word in words:
        if word == "--mount":
            next(words, None)
        elif not word.startswith("--mount="):
            kept.append(word)
    return tuple(kept)


def sources(ground: Ground) -> frozenset[str]:
    """Every file whose contents decide what dracut puts in."""
    directory = capture_kernel.modules_directory(ground.sysconfig, ground.machine)
    return frozenset({*_DECIDING, f"{directory}/modules.dep"})


def counted(ground: Ground, inventory: Inventory) -> tuple[Source, ...]:
    """The identity of what dracut will make, as far as it is known beforehand; a file that comes or goes counts."""
    beside = {
        f"{folder}/{name}"
        for folder in FOLDERS
        for name in inventory.facts(folder).entries
        if name.endswith((".conf", ".rules")) and not is_left_behind(name)
    }
    beside |= {
        path
        for path in inventory.files
        if path.startswith(tuple(f"{tree}/" for tree in TREES))
        and not is_left_behind(path.rpartition("/")[2])
    }
    modules = {ground.modules.path(name) for name in image_modules(ground)}
    facts = [
        inventory.facts(path)
        for path in sorted(sources(ground) | beside | modules | _programs_with_libraries(inventory))
    ]
    return tuple(Source(path=each.path, digest=each.digest) for each in facts if each.kind is Kind.FILE)


def _programs_with_libraries(inventory: Inventory) -> frozenset[str]:
    ahead = [inventory.programs[name] for name in PROGRAMS if name in inventory.programs]
    found: set[str] = set()
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead += inventory.facts(path).libraries
    return frozenset(found)


def arguments(ground: Ground) -> tuple[str, ...]:
    """Of dracut, but for those that name files of the build itself and the release."""
    drivers = sorted(image_modules(ground))
    devices = [node for located in _located(ground) for node in _nodes(ground.machine, located)]
    return (
        *("--hostonly", "--hostonly-cmdline", "--no-hostonly-default-device", "--no-hostonly-i18n"),
        *("--add", OWN_MODULE, "--omit", OMITTED),
        *(("--add-drivers", " ".join(drivers)) if drivers else ()),
        *(word for node in dict.fromkeys(devices) for word in ("--add-device", node)),
        *arguments_beside_mount(ground.config),
    )


def items(inventory: Inventory, *, asked_for: Iterable[str]) -> tuple[ImageItem, ...]:
    """Beside dracut's own programs: the applets in a folder of their own, so that they are nobody's but the agent's.

    None for the programs that are asked for: the folder comes first on the agent's PATH, and an applet may lack what
    the host's own program can (cp --sparse=, ip of a vlan, blkid of a PARTUUID=).
    """
    if "busybox" not in inventory.programs:
        return (Folder(path="/kdump"), Folder(path="/kdumpd"))
    busybox = merged(inventory.programs["busybox"])
    names = {name for each in APPLETS.values() for name in each} - _KMOD - {*asked_for}
    links = (Link(path=f"{APPLET_FOLDER}/{name}", target=busybox) for name in sorted(names))
    return (Folder(path="/kdump"), Folder(path="/kdumpd"), *links)


def written(ground: Ground) -> tuple[Written, ...]:
    """What dracut's scripts are told, in the overlay: an edit of it builds nothing again."""
    config = ground.config
    # A shell is the agent's to open. Should it not even be reached, the machine comes back.
    told = ["rd.shell=0", "rd.emergency=reboot", f"rd.retry={config.disk_timeout}", "rd.luks.crypttab=1"]
    told += [f"rd.driver.blacklist={name}" for name in config.blacklist]
    files = [Written(path="/etc/cmdline.d/99-kdumpd.conf", text=" ".join(told) + "\n")]
    tag, _, value = ground.target.name.partition("=")
    node = f"/dev/disk/by-{tag.lower()}/{value}" if value and not tag.startswith("/") else ground.target.name
    if ground.target.device is not None:
        files.append(Written(path="/kdump/target", text=f"{node}\n"))
    lines = [f"blacklist {name}" for name in config.blacklist]
    lines += [f"options {normalised(name)} {text}" for name, text in config.module_options]
    if lines:
        files.append(Written(path="/etc/modprobe.d/kdumpd.conf", text="\n".join(lines) + "\n"))
    return tuple(files)


def modules(ground: Ground) -> tuple[Module, ...]:
    """By name: dracut has put them where modprobe finds them, as they are on the host."""
    return tuple(
        Module(path=module.path.rpartition("/")[2].removesuffix(".ko"), options=module.options)
        for module in to_load(ground)
    )


def key_problems(target: Located, machine: Machine) -> Iterable[Problem]:
    """Encrypted devices below the target that nothing in the capture kernel could open."""
    for device in encrypted(target):
        if not key_file(device, machine):
            said_by = target.beyond_direct[0] if target.beyond_direct else Problem(code="", message="")
            yield replace(
                said_by,
                code="key-missing",
                message=f"the target lies on the encrypted {device.dm_name or device.name}, and nobody can type a "
                "passphrase in the capture kernel",
                hint="give it a key file in /etc/crypttab, in a slot that opens with little memory (cryptsetup "
                "luksAddKey --pbkdf pbkdf2), or name a target that is not encrypted",
            )


def with_keys(target: Located | None, machine: Machine) -> Located | None:
    """The key files that crypttab names come along, in the overlay."""
    if target is None:
        return None
    return replace(target, private=(*target.private, *key_files(target, machine)))


def key_files(target: Located, machine: Machine) -> tuple[str, ...]:
    found = (key_file(device, machine) for device in encrypted(target))
    return tuple(path for path in found if path)


def key_file(device: BlockDevice, machine: Machine) -> str:
    """What crypttab opens the device with; "" where that is no file that could come along."""
    for entry in machine.crypttab:
        key = entry.key
        is_here = key.startswith("/") and not key.startswith("/dev/") and not _ON_ANOTHER_DEVICE.search(key)
        if entry.name == device.dm_name and is_here:
            return key
    return ""


def encrypted(target: Located) -> Sequence[BlockDevice]:
    return [layer.device for layer in target.stack.unknown if layer.device.dm_uuid.startswith("CRYPT-")]


def _located(ground: Ground) -> tuple[Located, ...]:
    return (ground.target, *([ground.root] if ground.root else []))


def _nodes(machine: Machine, located: Located) -> Iterable[str]:
    """A btrfs over several devices needs each of them; they share its UUID."""
    device = located.device
    if device is None:
        return
    of_btrfs = located.fstype == "btrfs" and device.uuid
    for each in machine.devices:
        if each == device or (of_btrfs and each.uuid == device.uuid):
            yield f"/dev/mapper/{each.dm_name}" if each.dm_name else f"/dev/{each.name.replace('!', '/')}"


def _unfit(tuning: Tuning) -> Iterable[Problem]:
    if tuning.engine is EngineChoice.DRACUT:
        yield Problem(
            code="engine-unfit",
            message="engine dracut cannot bring up a disk behind an iSCSI session: engine direct builds",
            hint='write engine = "auto" into kdumpd.toml',
            key="engine",
            severity=Severity.WARNING,
        )


def _arguments_lost(config: Config, further: tuple[str, ...]) -> tuple[Problem, ...]:
    warning = Problem(
        code="dracut-args-unused",
        message=f"dracut_args is for engine dracut: {' '.join(further)} is ignored by engine direct",
        hint='install dracut-core and let engine be "auto" in kdumpd.toml, or use extra_bins and extra_modules',
        severity=Severity.WARNING,
    )
    return (at_line(config, "dracut_args", warning),)
