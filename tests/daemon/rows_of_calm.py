"""What is no reason to do anything: nothing is built and nothing loaded, and of most of it nobody even looks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.daemon.rows_of_configuration import CONF, HOOK, a_conf, a_hook
from tests.daemon.rows_of_network import KNOWN_HOSTS, SEEN, SSH_CONFIG, a_card, ssh_target
from tests.daemon.triggers import Change, all_of, at, chmod, has, renamed_over, replaced

TOUCHED = 1_700_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """A change that matters to nobody. `heard` are the paths of which may be told; of all else, nothing."""

    name: str
    change: Change
    heard: frozenset[str] = frozenset()
    machine: str = "virtio"
    before: tuple[Change, ...] = ()


def touched(path: str) -> Change:
    return lambda root: os.utime(at(root, path), (TOUCHED, TOUCHED))


def read(path: str) -> Change:
    def change(root: Path) -> None:
        assert at(root, path).read_bytes()

    return change


def appended(path: str, text: str) -> Change:
    def change(root: Path) -> None:
        with at(root, path).open("a") as file:
            file.write(text)

    return change


def written_again(path: str) -> Change:
    """The same contents in another file, as when a package is installed again."""
    return lambda root: renamed_over(path, at(root, path).read_text(), modified=TOUCHED)(root)


HOOKS = "/etc/kdump/pre.d"
MAKEDUMPFILE = "/usr/bin/makedumpfile"

OF_A_DISK = (
    Calm(name="a comment", before=(a_conf,), change=appended(CONF, "# a remark\n"), heard=frozenset({CONF})),
    Calm(
        name="empty lines and blanks",
        before=(a_conf,),
        change=appended(CONF, "\n   \n\n"),
        heard=frozenset({CONF}),
    ),
    Calm(
        name="a directive says its default",
        change=appended(CONF, "final_action reboot\n"),
        before=(a_conf,),
        heard=frozenset({CONF}),
    ),
    Calm(
        name="others may not read kdump.conf",
        before=(a_conf,),
        change=chmod(CONF, 0o600),
        heard=frozenset({CONF}),
    ),
    Calm(
        name="an unrelated line of fstab",
        change=appended("/etc/fstab", "UUID=11111111-1111-4111-8111-111111111111 /srv xfs noauto 0 0\n"),
        heard=frozenset({"/etc/fstab"}),
    ),
    Calm(
        name="options of the target's line in fstab, with which no dump is written",
        change=all_of(replaced("/etc/fstab", "ext4 ", "ext4 noatime,")),
        heard=frozenset({"/etc/fstab"}),
    ),
    Calm(
        name="a touched program",
        change=touched(MAKEDUMPFILE),
        heard=frozenset({MAKEDUMPFILE}),
    ),
    Calm(
        name="a program that is installed again",
        change=written_again(MAKEDUMPFILE),
        heard=frozenset({MAKEDUMPFILE}),
    ),
    Calm(
        name="a program that its group may not run any more",
        change=chmod(MAKEDUMPFILE, 0o700),
        heard=frozenset({MAKEDUMPFILE}),
    ),
    Calm(
        name="a touched hook",
        before=(a_hook,),
        change=touched(HOOK),
        heard=frozenset({HOOK, HOOKS}),
    ),
    Calm(name="fstab is read", change=read("/etc/fstab")),
    Calm(name="a program is read", change=read(MAKEDUMPFILE)),
    Calm(name="a hook is read", before=(a_hook,), change=read(HOOK)),
    Calm(name="an unrelated file in /etc", change=has("/etc/unrelated.conf", "x\n")),
    Calm(name="an unrelated program", change=has("/usr/bin/unrelated", "x\n", mode=0o755)),
    Calm(name="an editor's copy of kdump.conf", change=has("/etc/.kdump.conf.swp", "x\n")),
    Calm(
        name="an editor's backup of a hook",
        before=(a_hook,),
        change=all_of(
            has(f"{HOOK}~", "#!/bin/sh\nfalse\n", mode=0o755),
            has(f"{HOOKS}/.10-hook.swp", "x", mode=0o755),
            has(f"{HOOK}.dpkg-old", "#!/bin/sh\nfalse\n", mode=0o755),
        ),
        heard=frozenset({HOOKS}),
    ),
    Calm(
        name="a text beside the hooks",
        before=(a_hook,),
        change=has(f"{HOOKS}/README", "x\n"),
        heard=frozenset({HOOKS}),
    ),
    Calm(
        name="options of a module that the image has not",
        before=(has("/etc/modprobe.d/ours.conf", "# nothing yet\n"),),
        change=appended("/etc/modprobe.d/ours.conf", "options snd_hda_intel power_save=1\n"),
        heard=frozenset({"/etc/modprobe.d"}),
    ),
    Calm(
        name="a comment beside the KDUMP_ variables",
        before=(has("/etc/default/kdump", "# nothing\n"),),
        change=appended("/etc/default/kdump", "# a remark\nUNRELATED=1\n"),
        heard=frozenset({"/etc/default/kdump"}),
    ),
)

OF_MOUNTS = (
    Calm(
        name="a container mounts its things",
        change=appended("/proc/1/mountinfo", "90 22 0:77 / /var/lib/containers/x rw - overlay overlay rw\n"),
    ),
    Calm(
        name="another disk is plugged in",
        change=has("/run/udev/data/b8:0", "E:ID_FS_TYPE=vfat\nE:ID_FS_UUID=ABCD-1234\n"),
    ),
)

OF_SERVERS = (
    Calm(
        name="an address of the machine that is a broken link near the server",
        machine="net-card",
        before=a_card,
        change=all_of(
            replaced(f"{SEEN}/address", '"192.0.2.200"', '"192.0.2.201"'),
            appended("/proc/net/fib_trie", "192.0.2.201\n"),
        ),
    ),
    Calm(
        name="a route to somebody else",
        machine="net-card",
        before=a_card,
        change=appended("/proc/net/route", "enp1s0 0A000000 010200C0 0003 0 0 0 000000FF 0 0 0\n"),
    ),
    Calm(
        name="a name server deals out its answers in another order",
        machine="net-card",
        before=a_card,
        change=has(f"{SEEN}/ahosts-dumps.example.com", "203.0.113.1 STREAM\n203.0.113.2 STREAM\n"),
    ),
    Calm(
        name="a comment in /etc/hosts",
        machine="net-card",
        before=a_card,
        change=appended("/etc/hosts", "# a remark\n"),
        heard=frozenset({"/etc/hosts"}),
    ),
    Calm(
        name="a comment in resolv.conf",
        machine="net-card",
        before=(*a_card, has("/etc/resolv.conf", "nameserver 192.0.2.53\n")),
        change=appended("/etc/resolv.conf", "# Generated by somebody\n"),
        heard=frozenset({"/etc/resolv.conf"}),
    ),
    Calm(
        name="another host is known to ssh",
        machine="net-card",
        before=ssh_target,
        change=appended(
            KNOWN_HOSTS, "elsewhere.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDWYQu6l0gjEGCSs\n"
        ),
        heard=frozenset({KNOWN_HOSTS}),
    ),
    Calm(
        name="ssh_config about another host",
        machine="net-card",
        before=ssh_target,
        change=appended(SSH_CONFIG, "Host elsewhere\n Port 2222\n"),
        heard=frozenset({SSH_CONFIG}),
    ),
)

RULES = "/etc/udev/rules.d"
OF_DRACUT = (
    Calm(
        name="an editor's backup of a rule of udev",
        machine="lvm-thin-dracut",
        before=(has(f"{RULES}/99-ours.rules", "# ours\n"),),
        change=all_of(has(f"{RULES}/99-ours.rules~", "x\n"), has(f"{RULES}/README", "x\n")),
        heard=frozenset({RULES}),
    ),
    Calm(
        name="what a package left behind in a module of dracut",
        machine="lvm-thin-dracut",
        before=(has("/usr/lib/dracut/modules.d/90lvm/module-setup.sh", "x\n"),),
        change=has("/usr/lib/dracut/modules.d/90lvm/module-setup.sh.dpkg-old", "y\n"),
        heard=frozenset({"/usr/lib/dracut/modules.d", "/usr/lib/dracut/modules.d/90lvm"}),
    ),
    Calm(
        name="dracut's configuration of the boot, which is not read",
        machine="lvm-thin-dracut",
        change=has("/etc/dracut.conf", 'add_drivers+=" nvme "\n'),
    ),
    Calm(
        name="lvm.conf, where the image has one of its own",
        machine="sata-lvm",
        change=has("/etc/lvm/lvm.conf", "# other devices\n"),
    ),
    Calm(
        name="mdadm.conf, where arrays are found by their UUID",
        machine="md-raid1",
        change=has("/etc/mdadm/mdadm.conf", "ARRAY other\n"),
    ),
)
ROWS = (*OF_A_DISK, *OF_MOUNTS, *OF_SERVERS, *OF_DRACUT)
