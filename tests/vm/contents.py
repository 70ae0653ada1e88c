"""Knows what is inside the test machine: Debian's packages, and what makes a tree of them this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
import uuid
from pathlib import Path

from tests.vm.requirements import Cannot

SUITE = "trixie"
# fmt: off
PACKAGES = (
    # the system
    "linux-image-amd64", "systemd", "systemd-sysv", "udev", "dbus", "polkitd", "initramfs-tools", "kmod",
    "util-linux", "iproute2",
    # what kdumpd depends on
    "python3", "python3-dbus-next", "python3-systemd", "python3-pydantic", "python3-watchdog",
    # what plans may need (the package dracut itself would drive initramfs-tools out; -core has all of its work)
    "kexec-tools", "makedumpfile", "busybox", "zstd", "dracut-core", "dracut-network", "fence-agents-kdump",
    # what a dump can be saved on
    "e2fsprogs", "xfsprogs", "btrfs-progs", "lvm2", "thin-provisioning-tools", "mdadm", "cryptsetup-bin",
    "multipath-tools", "open-iscsi", "nfs-common", "openssh-client",
    # what the other machine, its server, runs
    "nfs-kernel-server", "rpcbind", "openssh-server", "tgt", "dnsmasq-base",
    # a boot menu, for the test that changes one and boots by it (grub-pc itself would ask where to install it)
    "grub-pc-bin", "grub2-common",
)

# What a plain Debian with kdumpd's dependencies has, for what is measured beside another system: whoever builds an
# initramfs after the machine's packages is not to be charged for those that only the tests need.
PLAIN = (
    "linux-image-amd64", "systemd", "systemd-sysv", "udev", "dbus", "polkitd", "initramfs-tools", "kmod",
    "util-linux", "iproute2", "python3", "python3-dbus-next", "python3-systemd", "python3-pydantic",
    "python3-watchdog", "kexec-tools", "makedumpfile", "busybox", "cpio", "zstd", "e2fsprogs",
)
# fmt: on

# A boot initramfs with what this machine's disk needs and nothing else: made and unpacked in seconds.
INITRAMFS_HOOK = (
    'mkdir -p "$1/etc/initramfs-tools/conf.d" && '
    'printf "MODULES=list\\nCOMPRESS=zstd\\nFSTYPE=ext4\\n" > "$1/etc/initramfs-tools/conf.d/test-machine" && '
    'printf "virtio_pci\\nvirtio_blk\\next4\\n" > "$1/etc/initramfs-tools/modules"'
)

# What packages add to it by themselves, udev and stacks of disks that this one has not, would be three times as much to
# unpack, and seconds of every boot. The real blkid came with udev; busybox's finds no UUID.
# Not with PLAIN, where what other systems make of initramfs-tools is measured.
_BLKID = (
    '#!/bin/sh\n[ "$1" = prereqs ] && exit 0\n. /usr/share/initramfs-tools/hook-functions\n'
    'rm -f "$DESTDIR/usr/sbin/blkid"\ncopy_exec /usr/sbin/blkid /usr/sbin\n'
)
_PUT_BLKID = (
    'hooks="$1/etc/initramfs-tools/hooks" && mkdir -p "$hooks" && '
    f'printf %s {shlex.quote(_BLKID)} > "$hooks/blkid" && chmod 755 "$hooks/blkid"'
)
_HOOKS = "/usr/share/initramfs-tools/hooks"
BARE_INITRAMFS = (
    f"--dpkgopt=path-exclude={_HOOKS}/*",
    "--dpkgopt=path-exclude=/usr/share/initramfs-tools/scripts/*/*",
    *(f"--dpkgopt=path-include={_HOOKS}/{name}" for name in ("fsck", "klibc-utils", "kmod", "zz-busybox")),
    f"--essential-hook={_PUT_BLKID}",
)

# Nothing that starts by itself may disturb a measurement, ask for a password on the console or wait for a network.
_MASKED = [
    "serial-getty@ttyS0.service",
    "getty@tty1.service",
    "console-getty.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "xfs_scrub_all.timer",
    "man-db.timer",
    "mdcheck_start.timer",
    "mdcheck_continue.timer",
    "mdmonitor-oneshot.timer",
    "logrotate.timer",
    "systemd-networkd-wait-online.service",
    "systemd-firstboot.service",
    # Each a process or more in every boot, for nothing that a test needs.
    "blk-availability.service",
    "dracut-shutdown.service",
    "grub-common.service",
    "lvm2-monitor.service",
    "modprobe@drm.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "systemd-binfmt.service",
]

# They look for what this machine does not have; the first of them loads the drivers of two hypervisors for it.
_MASKED_GENERATORS = (
    "systemd-ssh-generator",
    "systemd-debug-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-tpm2-generator",
)

# Servers and what goes with them are for a test to start.
_ASLEEP = (
    "nfs-server.service",
    "nfs-client.target",
    "nfs-blkmap.service",
    "rpcbind.service",
    "rpcbind.socket",
    "ssh.service",
    "tgt.service",
    "open-iscsi.service",
    "iscsid.service",
    "iscsid.socket",
    "multipathd.service",
    "multipathd.socket",
)

HOSTNAME = "crashbox"
SERVER = "server.kdumpd.test"
SERVER_ADDRESS = "192.0.2.1"
SERVER_ADDRESS6 = "2001:db8::1"
_HOSTS = f"""\
127.0.0.1 localhost
127.0.1.1 {HOSTNAME}
{SERVER_ADDRESS} {SERVER} server
{SERVER_ADDRESS6} server6.kdumpd.test server6
"""
_MACHINE_ID = "c0ffee00c0ffee00c0ffee00c0ffee00"
ROOT_UUID = str(uuid.uuid5(uuid.NAMESPACE_DNS, "root.crashbox.kdumpd.test"))
_GUEST = Path(__file__).parent / "guest"
_ANSWERER = "answerer.py"
_AGENT_UNIT = "kdumpd-test-agent.service"


def furnishing() -> bytes:
    """All that furnish() puts into a tree, for a cache's key."""
    files = (Path(__file__), _GUEST / _ANSWERER, _GUEST / _AGENT_UNIT)
    return b"".join(path.read_bytes() for path in files)


def furnish(root: Path) -> None:
    """Makes the tree this machine: its identity, its disk, its silence, and the agent that answers the harness."""
    files = {
        "etc/hostname": f"{HOSTNAME}\n",
        "etc/hosts": _HOSTS,
        "etc/resolv.conf": "",
        # Without an id systemd takes each boot for the first and enables every unit anew.
        "etc/machine-id": f"{_MACHINE_ID}\n",
        "etc/fstab": f"UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\n",
        "etc/systemd/journald.conf.d/persistent.conf": "[Journal]\nStorage=persistent\nSystemMaxUse=64M\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    (root / "var/log/journal" / _MACHINE_ID).mkdir(parents=True, exist_ok=True)
    units = root / "etc/systemd/system"
    for unit in _MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    generators = root / "etc/systemd/system-generators"
    generators.mkdir(exist_ok=True)
    for generator in _MASKED_GENERATORS:
        (generators / generator).symlink_to("/dev/null")
    _put_to_sleep(root)
    program = root / "usr/local/lib/kdumpd-test" / _ANSWERER
    program.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(_GUEST / _ANSWERER, program)
    unit_file = units / _AGENT_UNIT
    shutil.copy(_GUEST / _AGENT_UNIT, unit_file)
    wants = units / "sysinit.target.wants" / unit_file.name
    wants.parent.mkdir(exist_ok=True)
    wants.symlink_to(f"../{unit_file.name}")
    # Tell ConditionNeedsUpdate= that hwdb, catalogue and ldconfig are of today.
    now = int(time.time())
    os.utime(root / "usr", (now - 60, now - 60))
    for name in ("etc/.updated", "var/.updated"):
        (root / name).write_text(f"# written when the image was built\nTIMESTAMP_NSEC={now * 10**9}\n")
        os.utime(root / name, (now, now))


def _put_to_sleep(root: Path) -> None:
    asleep = [unit for unit in _ASLEEP if (root / "usr/lib/systemd/system" / unit).exists()]
    if not asleep:
        return
    disabled = subprocess.run(
        ["systemctl", f"--root={root}", "--quiet", "disable", *asleep],
        capture_output=True,
        text=True,
        check=False,
    )
    if disabled.returncode != 0:
        raise Cannot(f"the servers could not be kept from starting: {disabled.stderr.strip()}")
