"""Rows of the table of missed triggers: programs, their libraries, modules and firmware."""

from __future__ import annotations

from pathlib import Path

from tests.daemon.rows_of_configuration import HOOK, HOOKS, LONG_AGO, PROGRAMS, RELEASE
from tests.daemon.triggers import (
    Change,
    Row,
    WithFirmware,
    WithLibraries,
    Work,
    at,
    folder,
    has,
    link,
    removed,
    renamed_over,
    replaced,
)

MODULES = f"/lib/modules/{RELEASE}"
DISK = f"{MODULES}/kernel/drivers/block/virtio_blk.ko"
LIBRARY = "/usr/lib/libdw.so.1"
PROGRAM = "\x7fELF\x02\x01\x01" + "\0" * 9 + "\x03\0" + "\0" * 16
"""The beginning of an ELF file that can be run."""
MODULES_CHANGED = frozenset({"modules-changed"})


def dkms(root: Path) -> None:
    """A driver of the same name in updates/, and depmod afterwards."""
    at(root, f"{MODULES}/updates/dkms/virtio_blk.ko").write_bytes(at(root, DISK).read_bytes() + b"built here")
    replaced(f"{MODULES}/modules.dep", "kernel/drivers/block/virtio_blk.ko:", "updates/dkms/virtio_blk.ko:")(
        root
    )


def rebuilt(root: Path) -> None:
    beside = at(root, f"{DISK}.new")
    beside.write_bytes(at(root, DISK).read_bytes() + b"rebuilt")
    beside.replace(at(root, DISK))


with_a_library: tuple[Change, ...] = (
    has("/usr/bin/makedumpfile", f"{PROGRAM}\nneeds {LIBRARY}\n", mode=0o755),
    has(LIBRARY, "of today\n"),
)


ROWS = (
    Row(
        name="a hook's interpreter by way of update-alternatives",
        number=8,
        before=(
            has("/usr/bin/one-sh", "one", mode=0o755),
            has("/usr/bin/another-sh", "another", mode=0o755),
            link("/etc/alternatives/my-sh", "/usr/bin/one-sh"),
            link("/usr/bin/my-sh", "/etc/alternatives/my-sh"),
            has(HOOK, "#!/usr/bin/my-sh\ntrue\n", mode=0o755),
        ),
        change=link("/etc/alternatives/my-sh", "/usr/bin/another-sh"),
        heard="/usr/bin/my-sh",
        work=Work.IMAGE,
        reasons=HOOKS,
    ),
    Row(
        name="another makedumpfile",
        number=8,
        change=renamed_over("/usr/bin/makedumpfile", "of tomorrow"),
        heard="/usr/bin/makedumpfile",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="another makedumpfile that comes first on PATH",
        number=8,
        change=renamed_over("/usr/sbin/makedumpfile", "of this place", mode=0o755),
        heard="/usr/sbin/makedumpfile",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="another busybox",
        number=8,
        change=renamed_over("/usr/bin/busybox", "of tomorrow"),
        heard="/usr/bin/busybox",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="another kexec-tools",
        number=8,
        change=renamed_over("/usr/sbin/kexec", "of tomorrow"),
        heard="/usr/sbin/kexec",
        work=Work.LOAD,
        reasons=PROGRAMS,
    ),
    Row(
        name="a program that was missing is installed",
        number=8,
        before=(removed("/usr/bin/zstd"),),
        change=renamed_over("/usr/bin/zstd", "zstd", mode=0o755),
        heard="/usr/bin/zstd",
        work=Work.BASE,
    ),
    Row(
        name="a driver of the same name from DKMS",
        number=8,
        change=dkms,
        heard=f"{MODULES}/modules.dep",
        work=Work.BASE,
        reasons=MODULES_CHANGED,
    ),
    Row(
        name="a driver in the same place with other contents",
        number=8,
        change=rebuilt,
        heard=DISK,
        work=Work.BASE,
        reasons=MODULES_CHANGED,
    ),
    Row(
        name="options of a module in modprobe.d",
        number=8,
        change=has("/etc/modprobe.d/disk.conf", "options virtio_blk num_request_queues=1\n"),
        heard="/etc/modprobe.d",
        work=Work.IMAGE,
        reasons=MODULES_CHANGED,
    ),
    Row(
        name="options of a module, edited",
        number=8,
        before=(has("/etc/modprobe.d/disk.conf", "options virtio_blk num_request_queues=1\n"),),
        change=has("/etc/modprobe.d/disk.conf", "options virtio_blk num_request_queues=2\n"),
        heard="/etc/modprobe.d",
        work=Work.IMAGE,
        reasons=MODULES_CHANGED,
    ),
    Row(
        name="a soft dependency that depmod wrote",
        number=8,
        change=has(f"{MODULES}/modules.softdep", "softdep virtio_blk pre: raid1\n"),
        heard=f"{MODULES}/modules.softdep",
        work=Work.BASE,
        reasons=MODULES_CHANGED,
    ),
    Row(
        name="a library of makedumpfile",
        number=8,
        programs=WithLibraries,
        before=with_a_library,
        change=renamed_over(LIBRARY, "of tomorrow\n"),
        heard=LIBRARY,
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="a library with another version's name, as ldconfig links it",
        number=8,
        programs=WithLibraries,
        before=(
            *with_a_library,
            removed(LIBRARY),
            link(LIBRARY, "libdw-1.so"),
            has("/usr/lib/libdw-1.so", "one\n"),
            has("/usr/lib/libdw-2.so", "two\n"),
        ),
        change=link(LIBRARY, "libdw-2.so"),
        heard=LIBRARY,
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="a library that now needs another one",
        number=8,
        programs=WithLibraries,
        before=(*with_a_library, has("/usr/lib/libnew.so.1", "new\n")),
        change=renamed_over(LIBRARY, "needs /usr/lib/libnew.so.1\n"),
        heard=LIBRARY,
        work=Work.BASE,
        reasons=PROGRAMS,
        brings="/usr/lib/libnew.so.1",
    ),
    Row(
        name="firmware of a disk's driver",
        number=8,
        programs=WithFirmware,
        before=(has(DISK, "wants firmware, of which there is one"), has("/lib/firmware/disk.bin", "one")),
        change=renamed_over("/lib/firmware/disk.bin", "another", modified=LONG_AGO),
        heard="/lib/firmware/disk.bin",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="firmware that was not installed",
        number=8,
        programs=WithFirmware,
        before=(has(DISK, "wants firmware, of which there is none"), folder("/lib/firmware")),
        change=has("/lib/firmware/disk.bin.xz", "at last"),
        heard="/lib/firmware/disk.bin.xz",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
)
