"""Knows what a host must have installed to build and run the test machine: `python3 -m tests.vm.requirements`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# program -> the Debian package (the same name on 12 and 13) that brings it
PROGRAMS: dict[str, str] = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mkfs.minix": "util-linux",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
    "chroot": "coreutils",
    "cpio": "cpio",
    "zstd": "zstd",
}
ARCHIVE_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


# Debian 12 has it in C, with QEMU; since then it is a package of its own, in Rust, with other options.
_VIRTIOFSD_OF_DEBIAN_12 = Path("/usr/lib/qemu/virtiofsd")
_VIRTIOFSD = Path("/usr/libexec/virtiofsd")


class Cannot(Exception):
    """The machine cannot be built or run here; the text says why and what would help."""


def virtiofsd(socket: Path, directory: Path) -> tuple[str, ...]:
    """The command line that serves `directory` to a QEMU on `socket`."""
    if _VIRTIOFSD.exists():
        return (
            *(str(_VIRTIOFSD), f"--socket-path={socket}", f"--shared-dir={directory}"),
            *("--sandbox=none", "--inode-file-handles=never"),
        )
    return (
        str(_VIRTIOFSD_OF_DEBIAN_12),
        f"--socket-path={socket}",
        "-o",
        f"source={directory},sandbox=chroot",
    )


def packages() -> tuple[str, ...]:
    """The apt packages a Debian 12 or 13 host needs for the virtual machine tests."""
    return tuple(sorted({*PROGRAMS.values(), _virtiofsd_package(), "debian-archive-keyring", "seabios"}))


def _virtiofsd_package() -> str:
    release = Path("/etc/os-release").read_text()
    return "qemu-system-common" if 'VERSION_ID="12"' in release else "virtiofsd"


def missing() -> tuple[str, ...]:
    """The packages among them whose programs or files are not here."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = {package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None}
    if not (_VIRTIOFSD.exists() or _VIRTIOFSD_OF_DEBIAN_12.exists()):
        absent.add(_virtiofsd_package())
    if not os.path.exists(ARCHIVE_KEYS):
        absent.add("debian-archive-keyring")
    return tuple(sorted(absent))


def insist() -> None:
    """Raises Cannot with the apt line to type unless everything is here and we are root."""
    if absent := missing():
        raise Cannot(f"the virtual machine needs packages: apt-get install {' '.join(absent)}")
    if os.geteuid() != 0:
        raise Cannot("building the virtual machine needs root (mmdebstrap --mode=root and chroot)")


if __name__ == "__main__":
    sys.stdout.write(" ".join(packages()) + "\n")
