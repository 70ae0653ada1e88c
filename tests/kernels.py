"""Installing a kernel in a machine that is a folder, in the order in which its package does it, and removing it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.simulate import RELEASE

NEXT = "6.1.0-57-amd64"
"""As long as RELEASE: it takes its place inside the modules."""


def unpack_kernel(root: Path, release: str = NEXT) -> None:
    """The files of the package. Its modules.dep comes afterwards, with `run_depmod`."""
    assert len(release) == len(RELEASE)
    old, new = modules_of(root, RELEASE), modules_of(root, release)
    (root / f"boot/vmlinuz-{release}").write_bytes((root / f"boot/vmlinuz-{RELEASE}").read_bytes() + b"new")
    for path in sorted(old.rglob("*")):
        if path.is_file() and not path.name.startswith("modules."):
            target = new / path.relative_to(old)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes().replace(RELEASE.encode(), release.encode()))


def run_depmod(root: Path, release: str = NEXT) -> None:
    for path in sorted(modules_of(root, RELEASE).glob("modules.*")):
        beside = modules_of(root, release) / f"{path.name}.tmp"
        beside.write_bytes(path.read_bytes())
        beside.rename(beside.with_name(path.name))


def install_kernel(root: Path, release: str = NEXT) -> None:
    unpack_kernel(root, release)
    run_depmod(root, release)


def remove_kernel(root: Path, release: str) -> None:
    """As `apt remove` does, which leaves some lists of modules where they are."""
    (root / f"boot/vmlinuz-{release}").unlink()
    shutil.rmtree(modules_of(root, release) / "kernel")


def reboot_into(root: Path, release: str, *, boot_id: str) -> None:
    """Nothing is loaded any more, and /run is empty. The daemon is stopped before and started after it."""
    (root / "proc/sys/kernel/osrelease").write_text(f"{release}\n")
    (root / "proc/sys/kernel/random/boot_id").write_text(f"{boot_id}\n")
    command_line = root / "proc/cmdline"
    command_line.write_text(command_line.read_text().replace(RELEASE, release))
    (root / "sys/kernel/kexec_crash_loaded").write_text("0\n")
    shutil.rmtree(root / "run/kdumpd", ignore_errors=True)


def modules_of(root: Path, release: str) -> Path:
    found = root / "lib/modules"
    return (found if found.exists() else root / "usr/lib/modules") / release
