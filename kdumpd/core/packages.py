"""Which package brings a program, and which of them busybox can stand in for."""

from __future__ import annotations

import re
from types import MappingProxyType

from kdumpd.core.problems import Problem

_PACKAGES = MappingProxyType(
    {
        "busybox": ("busybox", "busybox"),
        "cpio": ("cpio", "cpio"),
        "insmod": ("kmod", "kmod"),
        "iscsistart": ("open-iscsi", "iscsi-initiator-utils"),
        "kexec": ("kexec-tools", "kexec-tools"),
        "lvm": ("lvm2", "lvm2"),
        "makedumpfile": ("makedumpfile", "makedumpfile"),
        "mdadm": ("mdadm", "mdadm"),
        "mount": ("mount", "util-linux-core"),
        "umount": ("mount", "util-linux-core"),
        "dmesg": ("util-linux", "util-linux"),
        "blkid": ("util-linux", "util-linux-core"),
        "grep": ("grep", "grep"),
        "scp": ("openssh-client", "openssh-clients"),
        "sh": ("dash", "bash"),
        "ssh": ("openssh-client", "openssh-clients"),
        "zstd": ("zstd", "zstd"),
    }
)
"""The package of Debian and of Fedora. Not here: coreutils on both."""

APPLETS = MappingProxyType(
    {
        "bin": (
            *("ash", "awk", "basename", "cat", "chmod", "chown", "clear", "cmp", "cp", "cut", "date", "dd"),
            *("df", "diff", "dirname", "dmesg", "du", "echo", "egrep", "env", "expr", "false", "fgrep"),
            *("find", "free", "grep", "gunzip", "gzip", "head", "hexdump", "hostname", "id", "kill", "ln"),
            *("ls", "mkdir", "mkfifo", "mknod", "mktemp", "more", "mount", "mv", "nproc", "od", "ping"),
            *("printf", "ps", "pwd", "readlink", "realpath", "rm", "rmdir", "sed", "seq", "setsid", "sh"),
            *("sleep", "sort", "stat", "stty", "sync", "tail", "tar", "tee", "test", "timeout", "touch"),
            *("tr", "true", "tty", "umount", "uname", "uniq", "uptime", "vi", "wc", "which", "xargs"),
            *("yes", "zcat"),
        ),
        "sbin": (
            *("blkid", "chroot", "findfs", "halt", "insmod", "ip", "lsmod", "modprobe", "poweroff"),
            *("reboot", "rmmod"),
        ),
    }
)
"""Applets that get a link: the agent needs some, a hook or the emergency shell may need any."""


def missing(program: str, *, why: str, file: str = "", line: int = 0, key: str = "") -> Problem:
    """The Problem of a program that is not installed; `why` says who needs it, as a clause."""
    debian, fedora = _packages(program)
    where = debian if debian == fedora else f"{debian} (Debian) or {fedora} (Fedora)"
    return Problem(
        code="program-missing",
        message=f"`{program}` is not installed; {why}",
        hint=f"install the package {where}",
        file=file if line else "",
        line=line,
        key=key,
    )


def package_of(problem: Problem) -> tuple[str, str]:
    """The package of Debian and that of Fedora which bring what a Problem of `missing` is about."""
    found = _SENTENCE.match(problem.message)
    return _packages(found[1]) if found is not None else ("", "")


_SENTENCE = re.compile(r"`([^`]+)` is not installed")


def _packages(program: str) -> tuple[str, str]:
    return _PACKAGES.get(program, ("coreutils", "coreutils"))
