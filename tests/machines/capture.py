"""Captures the machine it runs on, or a copy of one, as tests/machines/CASE/root.txt:

    python tests/machines/capture.py CASE [ROOT]

Only what kdumpd looks at is taken: facts of the kernel, mounts, block devices with the drivers of their parents,
udev's records of disks, the configuration, and of the kernel's modules those that storage may need. Programs, kernel
images and modules are taken by name alone: their contents become one line. Run it as root, or /proc/iomem has no
addresses and udev's records may be unreadable. Read the result before it is published: it names the host, its
command line and the UUIDs of its disks.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kdumpd.core import config, locate
from kdumpd.core.config import Config
from kdumpd.core.document import parse
from kdumpd.core.inventory import Kind
from kdumpd.core.iproute import parse_ahosts
from kdumpd.core.modules import ModuleIndex, normalised
from kdumpd.host.blocks import BLOCK
from kdumpd.host.crash_kernel import SECURE_BOOT
from kdumpd.host.drivers import drivers_from
from kdumpd.host.network import CAPTURED, LINKS
from kdumpd.host.observe import followed, kernel_modules, look
from kdumpd.host.real import RealFiles, RealPrograms
from tests.machines.roots import HERE, Item, render

TEXTS = (
    *("/proc/cmdline", "/proc/iomem", "/proc/meminfo", "/proc/1/mountinfo"),
    *("/proc/sys/kernel/arch", "/proc/sys/kernel/osrelease", "/proc/sys/kernel/hostname"),
    *("/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/kexec_load_disabled"),
    *("/proc/sys/kernel/kexec_load_limit_panic", "/sys/kernel/security/lockdown"),
    *("/sys/kernel/kexec/crash_loaded", "/sys/kernel/kexec/crash_size"),
    *("/sys/kernel/kexec_crash_loaded", "/sys/kernel/kexec_crash_size"),
    *("/sys/kernel/fadump/enabled", "/sys/kernel/fadump_enabled", "/sys/devices/system/cpu/present"),
    *("/sys/devices/system/cpu/crash_hotplug", "/sys/devices/system/memory/crash_hotplug"),
    *(
        "/etc/machine-id",
        "/etc/hostname",
        "/etc/fstab",
        "/etc/crypttab",
        "/etc/kdump.conf",
        "/etc/sysconfig/kdump",
    ),
    *("/etc/default/kdump", "/etc/kdumpd.toml", "/etc/localtime", SECURE_BOOT),
)
KEPT = {
    "/proc/iomem": re.compile(rb"System RAM|Crash kernel"),
    "/proc/meminfo": re.compile(rb"MemTotal"),
    "/proc/1/mountinfo": re.compile(rb" - (\S+ /|\S+ \S+:|tmpfs|overlay)"),
}
PROGRAMS = (
    "busybox",
    "makedumpfile",
    "cp",
    "ip",
    "kexec",
    "lvm",
    "mdadm",
    "blkid",
    "zstd",
    "sh",
    "mount",
    "insmod",
)
NETWORK = ("bonding", "8021q", "bridge", "nfs", "nfsv3", "nfsv4")
FILESYSTEMS = ("fs-ext4", "fs-xfs", "fs-btrfs", "dm_mod", "raid1", "crc32c")
UDEV_LINE = re.compile(r"S:|E:(ID_FS_|ID_PART_ENTRY_(UUID|NAME)|DM_NAME|MD_(UUID|LEVEL))")


def captured(files: RealFiles) -> Iterator[Item]:
    for path in TEXTS:
        yield from _file(files, path)
    parents: set[str] = set()
    for name in (device.name for device in look(files).devices):
        real = files.real(f"{BLOCK}/{name}")
        yield Item(path=f"{BLOCK}/{name}", link=files.link(f"{BLOCK}/{name}"))
        yield from _block(files, real)
        while real.count("/") > 3:
            parents.add(real)
            real = real.rpartition("/")[0]
    for parent in sorted(parents):
        yield from _parent(files, parent)
    yield from _network(files)
    for link in _links(files):
        yield Item(path=link, link=files.link(link))
    release = look(files).kernel_release
    yield from _modules(kernel_modules(files, f"/lib/modules/{release}"), files)
    found = RealPrograms(files.root)
    for path in (f"/boot/vmlinuz-{release}", *filter(None, map(found.find, PROGRAMS))):
        if files.stat(path).kind is Kind.FILE:
            yield Item(path=path, data=f"{path.rpartition('/')[2]}\n".encode(), mode=0o755)


def _file(files: RealFiles, path: str) -> Iterator[Item]:
    try:
        data = files.read_bytes(path)
    except OSError:
        return
    if path in KEPT:
        data = b"".join(line for line in data.splitlines(keepends=True) if KEPT[path].search(line))
    yield Item(path=path, data=data if not data or data.endswith(b"\n") or b"\0" in data else data + b"\n")


def _block(files: RealFiles, real: str) -> Iterator[Item]:
    for name in ("dev", "size", "ro", "partition", "dm/name", "dm/uuid", "md/level", "md/uuid"):
        yield from _file(files, f"{real}/{name}")
    for slave in files.names(f"{real}/slaves"):
        yield Item(path=f"{real}/slaves/{slave}", link=files.link(f"{real}/slaves/{slave}"))
    try:
        number = files.read_text(f"{real}/dev").strip()
        record = files.read_text(f"/run/udev/data/b{number}")
    except OSError:
        return
    kept = "".join(f"{line}\n" for line in record.splitlines() if UDEV_LINE.match(line))
    yield Item(path=f"/run/udev/data/b{number}", data=kept.encode())


def _parent(files: RealFiles, parent: str) -> Iterator[Item]:
    driver = files.link(f"{parent}/driver")
    if not driver:
        return
    yield Item(path=f"{parent}/driver", link=driver)
    yield Item(path=f"{parent}/subsystem", link=files.link(f"{parent}/subsystem"))
    yield from _file(files, f"{parent}/modalias")
    real = files.real(f"{parent}/driver")
    module = files.link(f"{real}/module")
    if not module:
        yield Item(path=f"{real}/")
        return
    yield Item(path=f"{real}/module", link=module)
    yield from _file(files, f"/sys/module/{module.rpartition('/')[2]}/initstate")


def _network(files: RealFiles) -> Iterator[Item]:
    """Cards with their drivers, and what ip and getent print; in a copy of a machine they stand in files already."""
    for name in files.names(LINKS):
        device = f"{LINKS}/{name}/device"
        if not files.exists(device):
            continue
        yield Item(path=f"{LINKS}/{name}", link=files.link(f"{LINKS}/{name}"))
        real = files.real(f"{LINKS}/{name}")
        yield Item(path=f"{real}/device", link=files.link(f"{real}/device"))
        if files.exists(f"{real}/phy80211"):
            yield Item(path=f"{real}/phy80211/")
        parent = files.real(device)
        while parent.count("/") > 3:
            yield from _parent(files, parent)
            parent = parent.rpartition("/")[0]
    if files.root != "/":
        for name in files.names(CAPTURED):
            yield from _file(files, f"{CAPTURED}/{name}")
        return
    yield _printed("link", "ip", "-j", "-d", "link")
    yield _printed("address", "ip", "-j", "address")
    for host in _hosts(files):
        names = _printed(f"ahosts-{host}", "getent", "ahosts", host)
        yield names
        for address in parse_ahosts(names.data.decode()):
            yield _printed(f"route-{address}", "ip", "-j", "route", "get", address)


def _links(files: RealFiles) -> Iterator[str]:
    """Those that are crossed on the way to where dumps go."""
    conf, machine = _config(files), look(files)
    if conf is not None:
        for each in followed(files, machine, locate.paths(conf, machine)).whereabouts:
            yield from each.links


def _hosts(files: RealFiles) -> Iterator[str]:
    conf, machine = _config(files), look(files)
    if conf is not None:
        machine = followed(files, machine, locate.paths(conf, machine))
        yield from sorted(locate.hosts(conf, machine))


def _config(files: RealFiles) -> Config | None:
    text = files.read_text("/etc/kdump.conf") if files.exists("/etc/kdump.conf") else ""
    return config.read(parse(text), file="/etc/kdump.conf").config


def _printed(name: str, *argv: str) -> Item:
    said = subprocess.run(argv, capture_output=True, check=False, timeout=60)
    return Item(path=f"{CAPTURED}/{name}", data=said.stdout)


def _modules(index: ModuleIndex, files: RealFiles) -> Iterator[Item]:
    """The index of all that storage may need, line by line as it stands."""
    drivers = {driver.module for device in look(files).devices for driver in device.drivers if driver.module}
    cards = {module for name in files.names(LINKS) for module in _card_modules(files, name)}
    names = frozenset(index.closure((*drivers, *sorted(cards), *FILESYSTEMS, *NETWORK)).load)
    if not names:
        return
    for name in sorted(names):
        yield Item(path=index.path(name), data=f"{name}\n".encode())
    for file in ("modules.dep", "modules.softdep", "modules.alias", "modules.builtin"):
        lines = files.read_text(f"{index.directory}/{file}").splitlines()
        text = "".join(f"{line}\n" for line in lines if _is_about(line, names))
        yield Item(path=f"{index.directory}/{file}", data=text.encode())


def _card_modules(files: RealFiles, name: str) -> Iterator[str]:
    device = f"{LINKS}/{name}/device"
    if files.exists(device):
        yield from (driver.module for driver in drivers_from(files, files.real(device), {}) if driver.module)


def _is_about(line: str, names: frozenset[str]) -> bool:
    """Whether a line of any index is about one of the modules, or about a built-in file system."""
    words = line.split()
    match words:
        case ["softdep", name, *_]:
            return normalised(name) in names
        case ["alias", alias, name]:
            return name in names and "*" not in alias
        case [path, *_] if path.endswith(".ko"):
            return path.startswith(("kernel/fs/", "kernel/net/ipv6/"))
        case [path, *_]:
            return normalised(Path(path).name.partition(".ko")[0]) in names
        case _:
            return False


if __name__ == "__main__":
    case, root = sys.argv[1], (sys.argv[2:] or ["/"])[0]
    (HERE / case).mkdir(exist_ok=True)
    (HERE / case / "root.txt").write_text(render(list(captured(RealFiles(root)))))
