"""Rows of the table of missed triggers: what leads to a server, and whom it is taken for."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

from tests.daemon.rows_of_configuration import CONF, CONFIG, HOOKS, LONG_AGO, PROGRAMS
from tests.daemon.rows_of_programs import MODULES_CHANGED
from tests.daemon.triggers import (
    GLIMPSE,
    LOOK,
    Change,
    Row,
    Work,
    all_of,
    at,
    folder,
    has,
    link,
    renamed_over,
    replaced,
)

SEEN = "/run/kdumpd/network"
CARD = "/sys/devices/pci0000:00/0000:00:03.0/0000:03:00.0/virtio3"
NAMES = f"{SEEN}/ahosts-dumps.example.com"
KEY = "/root/.ssh/kdump_id_rsa"
KNOWN_HOSTS = "/etc/ssh/known"
SSH_CONFIG = "/root/.ssh/config"
HOST_KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDWYQu6l0gjEGCSsLVSTKpzkvRkNTQSvZJpiCDPDLmOI",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFrqjIw3c5xJX4fZ0eF7aWJr9yV3hQm0tqk6m1m7c3Yx",
)


def routes(*, gateway: str, source: str = "192.0.2.10") -> Change:
    """The kernel's table, and what `ip route get` answers by it."""
    number = f"{int.from_bytes(ipaddress.IPv4Address(gateway).packed, 'little'):08X}"
    table = f"Iface Destination Gateway\nenp1s0 00000000 {number} 0003 0 0 0 00000000 0 0 0\n"
    servers = [
        has(
            f"{SEEN}/route-203.0.113.{last}",
            f'[{{"dst":"203.0.113.{last}","gateway":"{gateway}","dev":"enp1s0","prefsrc":"{source}"}}]',
        )
        for last in (1, 2)
    ]
    return all_of(has("/proc/net/route", table), *servers)


def a_key(path: str, *, modified: int | None = None) -> Change:
    """A new one, by ssh-keygen."""

    def change(root: Path) -> None:
        made = at(root, f"{path}.made")
        made.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)], check=True)
        renamed_over(path, made.read_text(), modified=modified, mode=0o600)(root)

    return change


def known_hosts(key: str) -> Change:
    """The file that this machine's ssh_config names, where it is seen from inside the root."""
    return has(KNOWN_HOSTS, f"dumps.example.com {key}\n")


ssh_target: tuple[Change, ...] = (
    has(CONF, f"ssh dump@dumps.example.com\npath /srv/dumps\nsshkey {KEY}\n"),
    has(
        SSH_CONFIG,
        f"UserKnownHostsFile {KNOWN_HOSTS}\nGlobalKnownHostsFile none\nInclude conf.d/*\n",
        mode=0o600,
    ),
    has("/usr/bin/ssh", "ssh", mode=0o755),
    a_key(KEY),
    known_hosts(HOST_KEYS[0]),
    routes(gateway="192.0.2.1"),
)
a_card: tuple[Change, ...] = (
    routes(gateway="192.0.2.1"),
    has(f"{CARD}/net/enp1s0/address", "52:54:00:00:0c:01\n"),
    has("/proc/net/fib_trie", "192.0.2.10\n"),
)
a_bond: tuple[Change, ...] = (
    has("/proc/net/vlan/config", "bond0.7 | 7 | bond0\n"),
    has("/sys/class/net/bond0/bonding/mode", "802.3ad 4\n"),
    link("/sys/class/net/enp2s0/master", "../bond0"),
)
LINKS = f"{SEEN}/link"

ROWS = (
    Row(
        name="the key of an ssh target",
        number=5,
        machine="net-card",
        before=ssh_target,
        change=a_key(KEY, modified=LONG_AGO),
        heard=KEY,
        work=Work.IMAGE,
        reasons=HOOKS,
    ),
    Row(
        name="the server has a new host key, which known_hosts is told",
        number=5,
        machine="net-card",
        before=ssh_target,
        change=known_hosts(HOST_KEYS[1]),
        heard=KNOWN_HOSTS,
        work=Work.IMAGE,
        reasons=PROGRAMS,
    ),
    Row(
        name="ssh_config",
        number=5,
        machine="net-card",
        before=ssh_target,
        change=replaced(SSH_CONFIG, "Include", "Ciphers aes256-ctr\nInclude"),
        heard=SSH_CONFIG,
        work=Work.IMAGE,
        reasons=PROGRAMS,
    ),
    Row(
        name="a file that ssh_config includes appears",
        number=5,
        machine="net-card",
        before=(
            *ssh_target,
            lambda root: replaced(SSH_CONFIG, "conf.d", f"{root}/etc/ssh/ssh_config.d")(root),
            folder("/etc/ssh/ssh_config.d"),
        ),
        change=has("/etc/ssh/ssh_config.d/50-ours.conf", "Ciphers aes256-ctr\n"),
        heard="/etc/ssh/ssh_config.d",
        work=Work.IMAGE,
        reasons=PROGRAMS,
    ),
    Row(
        name="the policy of ciphers, included by what is included",
        number=5,
        machine="net-card",
        before=(
            *ssh_target,
            folder("/etc/ssh/ssh_config.d"),
            folder("/etc/crypto-policies"),
            has("/etc/crypto-policies/openssh.config", "Ciphers aes256-ctr\n"),
            lambda root: replaced(SSH_CONFIG, "conf.d", f"{root}/etc/ssh/ssh_config.d")(root),
            lambda root: has(
                "/etc/ssh/ssh_config.d/50-system.conf", f"Include {root}/etc/crypto-policies/openssh.config\n"
            )(root),
        ),
        change=renamed_over("/etc/crypto-policies/openssh.config", "Ciphers aes128-ctr\n"),
        heard="/etc/crypto-policies/openssh.config",
        work=Work.IMAGE,
        reasons=PROGRAMS,
    ),
    Row(
        name="another ssh",
        number=5,
        machine="net-card",
        before=ssh_target,
        change=renamed_over("/usr/bin/ssh", "of tomorrow"),
        heard="/usr/bin/ssh",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="the route to the server",
        number=6,
        machine="net-card",
        before=a_card,
        change=routes(gateway="192.0.2.254"),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="the machine's own address",
        number=6,
        machine="net-card",
        before=a_card,
        change=all_of(
            replaced(f"{SEEN}/address", '"192.0.2.10"', '"192.0.2.11"'),
            routes(gateway="192.0.2.1", source="192.0.2.11"),
            has("/proc/net/fib_trie", "192.0.2.11\n"),
        ),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="the card is another one",
        number=6,
        machine="net-card",
        before=a_card,
        change=all_of(
            replaced(LINKS, "52:54:00:00:0c:01", "52:54:00:00:0c:99"),
            has(f"{CARD}/net/enp1s0/address", "52:54:00:00:0c:99\n"),
        ),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="the card has another driver",
        number=6,
        machine="net-card",
        before=a_card,
        change=all_of(
            folder("/sys/bus/virtio/drivers/other"),
            link("/sys/bus/virtio/drivers/other/module", "../../../../module/ahci"),
            has("/sys/module/ahci/initstate", "live\n"),
            link(f"{CARD}/driver", "../../../../../bus/virtio/drivers/other"),
        ),
        heard=GLIMPSE,
        work=Work.BASE,
        reasons=MODULES_CHANGED,
    ),
    Row(
        name="the vlan",
        number=6,
        machine="net-vlan-on-bond",
        before=a_bond,
        change=all_of(
            replaced(LINKS, '"id":7', '"id":8'),
            has("/proc/net/vlan/config", "bond0.7 | 8 | bond0\n"),
        ),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="a member of the bond",
        number=6,
        machine="net-vlan-on-bond",
        before=a_bond,
        change=all_of(
            replaced(
                LINKS, '"permaddr":"52:54:00:00:0c:02","master":"bond0"', '"permaddr":"52:54:00:00:0c:02"'
            ),
            lambda root: at(root, "/sys/class/net/enp2s0/master").unlink(),
        ),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="the mode of the bond",
        number=6,
        machine="net-vlan-on-bond",
        before=a_bond,
        change=all_of(
            replaced(LINKS, '"mode":"802.3ad"', '"mode":"active-backup"'),
            has("/sys/class/net/bond0/bonding/mode", "active-backup 1\n"),
        ),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="the server's name has another address in DNS",
        number=6,
        machine="net-card",
        before=a_card,
        change=replaced(NAMES, "203.0.113.2 ", "203.0.113.1 "),
        heard=LOOK,
        work=Work.IMAGE,
        reasons=frozenset({"config-changed", "programs-changed"}),
    ),
    Row(
        name="the server's name in /etc/hosts",
        number=6,
        machine="net-card",
        before=a_card,
        change=has("/etc/hosts", "127.0.0.1 localhost\n203.0.113.1 dumps.example.com\n"),
        heard="/etc/hosts",
        work=Work.IMAGE,
        reasons=PROGRAMS,
    ),
    Row(
        name="resolv.conf",
        number=6,
        machine="net-card",
        before=(*a_card, has("/etc/resolv.conf", "nameserver 192.0.2.53\n")),
        change=renamed_over("/etc/resolv.conf", "nameserver 192.0.2.54\n"),
        heard="/etc/resolv.conf",
        work=Work.IMAGE,
        reasons=PROGRAMS,
    ),
    Row(
        name="resolv.conf behind systemd-resolved",
        number=6,
        machine="net-card",
        before=(
            *a_card,
            has("/run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n"),
            has("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n"),
            link("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
        ),
        change=renamed_over("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.54\n"),
        heard="/run/systemd/resolve/resolv.conf",
        work=Work.IMAGE,
        reasons=PROGRAMS,
    ),
    Row(
        name="options of a mounted export",
        number=7,
        machine="nfs-path",
        change=replaced("/proc/1/mountinfo", "rw,vers=4.2,", "rw,vers=4.1,"),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="options of an export in fstab, which an automount will use",
        number=7,
        machine="nfs-path",
        before=(
            replaced(
                "/proc/1/mountinfo",
                "nfs4 nas.example.com:/export/crash rw,vers=4.2",
                "autofs systemd-1 rw,vers=4.2",
            ),
            has(
                "/etc/fstab",
                "nas.example.com:/export/crash /var/crash nfs4 vers=4.2,x-systemd.automount 0 0\n",
            ),
        ),
        change=replaced("/etc/fstab", "vers=4.2", "vers=4.1"),
        heard="/etc/fstab",
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
)
