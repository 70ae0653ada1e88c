"""Rows of the table of missed triggers: configuration, hooks, the kernel and its command line, on a plain machine."""

from __future__ import annotations

import os
from pathlib import Path

from tests.daemon.triggers import (
    GLIMPSE,
    Change,
    Row,
    Work,
    at,
    chmod,
    folder,
    has,
    link,
    removed,
    renamed_over,
)

RELEASE = "6.1.0-56-amd64"
CONF = "/etc/kdump.conf"
HOOK = "/etc/kdump/pre.d/10-hook"
LONG_AGO = 1_000_000_000  # 2001
CONFIG = frozenset({"config-changed"})
HOOKS = frozenset({"hooks-changed"})
PROGRAMS = frozenset({"programs-changed"})
COMMAND_LINE = frozenset({"command-line-changed"})
KERNEL = frozenset({"kernel-changed"})


def within_the_same_tick(root: Path) -> None:
    """Another text of the same length in the same file, and not a nanosecond later for all that its times tell."""
    conf = at(root, CONF)
    before = conf.stat()
    conf.write_text(conf.read_text().replace("/var/crash", "/var/other"))
    os.utime(conf, ns=(before.st_atime_ns, before.st_mtime_ns))


def put_away(path: str) -> Change:
    """Whatever is there; so that something else can be."""

    def change(root: Path) -> None:
        place = at(root, path)
        if place.exists():
            place.rename(place.with_name(f"{place.name}.before"))

    return change


a_conf: Change = has(CONF, "path /var/crash\n")
a_hook: Change = has(HOOK, "#!/bin/sh\ntrue\n", mode=0o755)


ROWS = (
    Row(
        name="an edit of path",
        number=1,
        before=(a_conf,),
        change=has(CONF, "path /var/elsewhere\n"),
        heard=CONF,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="an edit within the same second, of the same length",
        number=3,
        before=(a_conf,),
        change=within_the_same_tick,
        heard=CONF,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="kdump.conf from a backup, with an older time",
        number=3,
        before=(a_conf,),
        change=renamed_over(CONF, "path /var/backup\n", modified=LONG_AGO),
        heard=CONF,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="makedumpfile from a package, with an older time",
        number=3,
        change=renamed_over("/usr/bin/makedumpfile", "another build", modified=LONG_AGO),
        heard="/usr/bin/makedumpfile",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="a hook is removed from its folder",
        number=4,
        before=(a_hook,),
        change=removed(HOOK),
        heard="/etc/kdump/pre.d",
        work=Work.IMAGE,
        reasons=HOOKS,
    ),
    Row(
        name="a hook is no longer executable",
        number=4,
        before=(a_hook,),
        change=chmod(HOOK, 0o644),
        heard=HOOK,
        work=Work.IMAGE,
        reasons=HOOKS,
    ),
    Row(
        name="a hook becomes executable",
        number=4,
        before=(has(HOOK, "#!/bin/sh\ntrue\n"),),
        change=chmod(HOOK, 0o755),
        heard="/etc/kdump/pre.d",
        work=Work.IMAGE,
        reasons=HOOKS,
    ),
    Row(
        name="a hook with other contents",
        number=4,
        before=(a_hook,),
        change=has(HOOK, "#!/bin/sh\nfalse\n", mode=0o755),
        heard=HOOK,
        work=Work.IMAGE,
        reasons=HOOKS,
    ),
    Row(
        name="the folder of hooks is another one, by a link above it",
        number=4,
        before=(
            has("/srv/one/pre.d/10-hook", "#!/bin/sh\ntrue\n", mode=0o755),
            has("/srv/two/pre.d/10-hook", "#!/bin/sh\nfalse\n", mode=0o755),
            put_away("/etc/kdump"),
            link("/etc/kdump", "../srv/one"),
        ),
        change=link("/etc/kdump", "../srv/two"),
        heard="/etc/kdump",
        work=Work.IMAGE,
        reasons=HOOKS,
    ),
    Row(
        name="the kernel's package is installed again, with another build",
        number=13,
        change=renamed_over(f"/boot/vmlinuz-{RELEASE}", "another build"),
        heard=f"/boot/vmlinuz-{RELEASE}",
        work=Work.LOAD,
        reasons=KERNEL,
    ),
    Row(
        name="what is added to the command line, in a file that was not there",
        number=16,
        change=has("/etc/default/kdump", 'KDUMP_COMMANDLINE_APPEND="nr_cpus=2"\n'),
        heard="/etc/default/kdump",
        work=Work.LOAD,
        reasons=COMMAND_LINE,
    ),
    Row(
        name="what is taken from the command line",
        number=16,
        before=(has("/etc/sysconfig/kdump", 'KDUMP_COMMANDLINE_REMOVE="quiet"\n'),),
        change=has("/etc/sysconfig/kdump", 'KDUMP_COMMANDLINE_REMOVE="quiet console"\n'),
        heard="/etc/sysconfig/kdump",
        work=Work.LOAD,
        reasons=COMMAND_LINE,
    ),
    Row(
        name="flags of kexec",
        number=16,
        before=(has("/etc/sysconfig/kdump", 'KEXEC_ARGS="-a"\n'),),
        change=has("/etc/sysconfig/kdump", 'KEXEC_ARGS="-s"\n'),
        heard="/etc/sysconfig/kdump",
        work=Work.LOAD,
        reasons=COMMAND_LINE,
    ),
    Row(
        name="what the kernel was built to unpack",
        number=0,
        change=has(f"/boot/config-{RELEASE}", "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n"),
        heard=f"/boot/config-{RELEASE}",
        work=Work.BASE,
        reasons=KERNEL,
    ),
    Row(
        name="kdumpd.toml",
        number=0,
        change=has("/etc/kdumpd.toml", "slow_poll_seconds = 86400\ncompression_level = 3\n"),
        heard="/etc/kdumpd.toml",
        work=Work.BASE,
        reasons=CONFIG,
    ),
    Row(
        name="the link that path leads over",
        number=6,
        before=(
            folder("/var/one"),
            folder("/var/two"),
            link("/var/dumps", "one"),
            has(CONF, "path /var/dumps\n"),
        ),
        change=link("/var/dumps", "two"),
        heard="/var/dumps",
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="the time zone",
        number=0,
        change=has("/etc/localtime", "TZif2" + "\0" * 39 + "\nCET-1CEST\n"),
        heard="/etc/localtime",
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="the host's name",
        number=0,
        change=has("/proc/sys/kernel/hostname", "renamed\n"),
        heard="/proc/sys/kernel/hostname",
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="a processor is added",
        number=0,
        change=has("/sys/devices/system/cpu/present", "0-63\n"),
        heard=GLIMPSE,
        work=Work.LOAD,
        reasons=frozenset({"cpu-memory-changed"}),
    ),
    Row(
        name="the sender of fence_kdump is installed",
        number=20,
        before=(has(CONF, "path /var/crash\nfence_kdump_nodes 198.51.100.1\n"), folder("/usr/libexec")),
        machine="net-vlan-on-bond",
        change=has("/usr/libexec/fence_kdump_send", "send", mode=0o755),
        heard="/usr/libexec/fence_kdump_send",
        work=Work.BASE,
    ),
)
