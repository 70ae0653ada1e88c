"""Measures what no capture can beat: the bare kernel's boot after a panic, and makedumpfile on its own.

The image is made by hand here, with nothing of kdumpd in it: busybox, the modules of one virtio disk with ext4,
and a straight /init.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.requirements import Cannot

if TYPE_CHECKING:
    from tests.vm.machine import Machine, Reboot

_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
_PROGRAMS = ("usr/bin/busybox", "usr/bin/makedumpfile")
DUMP = "/var/crash/floor.vmcore"

_INIT = """#!/busybox sh
/busybox mkdir -p /proc /sys /dev /tmp /root  # makedumpfile cannot do without a /tmp
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
echo "floor: init at $(/busybox cut -d' ' -f1 /proc/uptime)"
"""

_SAVE = f"""
for module in $(/busybox cat /modules); do /busybox insmod /lib/$module || echo "floor: no $module"; done
until [ -b /dev/vda ]; do /busybox usleep 50000; done
/busybox mount -t ext4 /dev/vda /root || echo "floor: no root"
/busybox mkdir -p /root/var/crash
echo "floor: collecting"
/usr/bin/makedumpfile -l -d 31 /proc/vmcore /root{DUMP} >/dev/null && /busybox sync && echo "floor: saved"
/busybox umount /root
"""

_REBOOT = """
echo "captured"
/busybox reboot -f
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Seconds of the host's clock; `to_saved` is None where nothing was collected."""

    to_init: float
    to_collector: float | None
    to_saved: float | None
    to_answer: float
    reboot: Reboot

    def __str__(self) -> str:
        collected = (
            f", collector {self.to_collector:.1f} s, saved {self.to_saved:.1f} s" if self.to_saved else ""
        )
        return f"after the panic: init {self.to_init:.1f} s{collected}, all over {self.to_answer:.1f} s"


def read_off(reboot: Reboot) -> Floor:
    """The floor, from the console of a machine that was armed with the hand-made image and crashed."""
    collects = any("floor: collecting" in line.text for line in reboot.console)
    return Floor(
        to_init=reboot.seconds_to("floor: init"),
        to_collector=reboot.seconds_to("floor: collecting") if collects else None,
        to_saved=reboot.seconds_to("floor: saved") if collects else None,
        to_answer=reboot.back_after,
        reboot=reboot,
    )


def arm(machine: Machine, *, collects: bool) -> None:
    """Loads the hand-made image with one kexec call, in place of whatever was loaded.

    With `collects` it will save a vmcore to DUMP on the root disk, else it only boots."""
    image = build(machine, collects=collects)
    machine.put("/run/floor.img", image)
    machine.sh(
        'line="$(sed "s/crashkernel=[^ ]*//" /proc/cmdline) irqpoll nr_cpus=1 reset_devices"\n'
        'kexec --load-panic --kexec-file-syscall --initrd=/run/floor.img --command-line="$line" /boot/vmlinuz-$(uname -r)'
    )


def build(machine: Machine, *, collects: bool) -> bytes:
    """The hand-made image, from the tree that the machine was built of."""
    tree = machine.image.tree
    (release,) = sorted(path.name for path in (tree / "usr/lib/modules").iterdir())
    stage = machine.directory / "floor"
    shutil.rmtree(stage, ignore_errors=True)
    (stage / "lib").mkdir(parents=True)
    for program in _PROGRAMS if collects else _PROGRAMS[:1]:
        _copy(tree, program, stage)
        for library in _libraries(tree, program):
            _copy(tree, library, stage)
    (stage / "busybox").symlink_to("usr/bin/busybox")
    init = _INIT + _REBOOT
    if collects:
        init = _INIT + _SAVE + _REBOOT
        names = [
            _copy_module(tree / "usr/lib/modules" / release, path, stage) for path in _closure(tree, release)
        ]
        (stage / "modules").write_text("\n".join(names))
    (stage / "init").write_text(init)
    (stage / "init").chmod(0o755)
    packed = subprocess.run(
        ["sh", "-c", "set -e; find . -print | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | zstd -q -10"],
        cwd=stage,
        capture_output=True,
        check=True,
    )
    return packed.stdout


def _copy(tree: Path, name: str, stage: Path) -> None:
    there = stage / name
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(_within(tree, name), there)


def _within(tree: Path, name: str) -> Path:
    """The file of that name in the tree, following its symlinks as if the tree were the root."""
    path = tree / name
    for _ in range(10):
        resolved_parent = path.parent.resolve()
        if not path.is_symlink():
            return resolved_parent / path.name
        target = path.readlink()
        path = tree / str(target).lstrip("/") if target.is_absolute() else path.parent / target
    raise Cannot(f"{name} in the built tree is a circle of links")


def _libraries(tree: Path, program: str) -> list[str]:
    said = subprocess.run(
        ["chroot", str(tree), "ldd", f"/{program}"], capture_output=True, text=True, check=True
    ).stdout
    return [name.lstrip("/") for name in re.findall(r"(/\S+) \(0x", said)]


def _closure(tree: Path, release: str) -> list[str]:
    """The modules' paths below /lib/modules/RELEASE, each after what it depends on."""
    directory = tree / "usr/lib/modules" / release
    depends = dict(line.split(":", 1) for line in (directory / "modules.dep").read_text().splitlines())
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in depends}
    built_in = {
        Path(path).stem.replace("-", "_") for path in (directory / "modules.builtin").read_text().split()
    }
    ordered: list[str] = []
    for name in _MODULES:
        if name in built_in:
            continue
        path = by_name[name]
        # modules.dep names the dependencies with the deepest last.
        ordered += [module for module in [*reversed(depends[path].split()), path] if module not in ordered]
    return ordered


def _copy_module(directory: Path, path: str, stage: Path) -> str:
    data = (directory / path).read_bytes()
    name = Path(path).name.removesuffix(".xz")
    (stage / "lib" / name).write_bytes(lzma.decompress(data) if path.endswith(".xz") else data)
    return name
