"""Rows of the table of missed triggers: layers under the target, and dracut, which brings up what nobody else can."""

from __future__ import annotations

from tests.daemon.rows_of_configuration import CONF, CONFIG, HOOKS, LONG_AGO, PROGRAMS
from tests.daemon.triggers import GLIMPSE, Change, Row, Work, folder, has, link, renamed_over, replaced

LVM, MULTIPATH, LUKS = "lvm-thin-dracut", "multipath", "luks-key"
DISK_RECORD = "/run/udev/data/b254:1"
UUID = "1c1e2ad6-2f35-4a2f-8b5b-70d1b9e7b1f4"
OTHER_UUID = "2d2e2ad6-2f35-4a2f-8b5b-70d1b9e7b1f5"
MODULE_SETUP = "/usr/lib/dracut/modules.d/90lvm/module-setup.sh"
SESSION = "/sys/devices/platform/host3/session3/iscsi_session/session3"


def dracut_row(
    name: str, number: int, path: str, *, machine: str = LVM, before: str | None = "before", heard: str = ""
) -> Row:
    """A file that dracut puts in, or goes by: another text of it is another base. `before`: None where it is new."""
    return Row(
        name=name,
        number=number,
        machine=machine,
        before=(folder(path.rpartition("/")[0]),) if before is None else (has(path, before, mode=0o755),),
        change=has(path, "afterwards", mode=0o755),
        heard=heard or path,
        work=Work.BASE,
        reasons=PROGRAMS,
    )


on_an_array: tuple[Change, ...] = (
    has("/usr/bin/dracut", "dracut", mode=0o755),
    has("/etc/kdumpd.toml", 'engine = "dracut"\n'),
)

ROWS = (
    Row(
        name="the target's file system is made anew",
        number=7,
        change=replaced(DISK_RECORD, UUID, OTHER_UUID),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    Row(
        name="another file system is mounted where dumps go",
        number=7,
        before=(
            has("/run/udev/data/b254:0", f"E:ID_FS_TYPE=xfs\nE:ID_FS_UUID={OTHER_UUID}\n"),
            has(CONF, "path /var/crash\n"),
        ),
        change=replaced(
            "/proc/1/mountinfo",
            "- ext4 /dev/vda1 rw",
            "- ext4 /dev/vda1 rw\n23 22 254:0 / /var/crash rw - xfs /dev/vda rw",
        ),
        heard=GLIMPSE,
        work=Work.BASE,
        reasons=frozenset({"config-changed", "modules-changed"}),
    ),
    Row(
        name="the root file system, to which a dump would go where the target fails",
        number=7,
        machine="nfs-path",
        before=(has(CONF, "path /var/crash\nfailure_action dump_to_rootfs\n"),),
        change=replaced(DISK_RECORD, UUID, OTHER_UUID),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=CONFIG,
    ),
    dracut_row("lvm.conf", 7, "/etc/lvm/lvm.conf"),
    dracut_row("lvm.conf appears", 7, "/etc/lvm/lvm.conf", before=None),
    dracut_row("LVM's list of devices", 7, "/etc/lvm/devices/system.devices"),
    dracut_row("multipath.conf", 7, "/etc/multipath.conf", machine=MULTIPATH),
    dracut_row(
        "a part of multipath.conf",
        7,
        "/etc/multipath/conf.d/ours.conf",
        machine=MULTIPATH,
        before=None,
        heard="/etc/multipath/conf.d",
    ),
    dracut_row("names of multipath devices", 7, "/etc/multipath/bindings", machine=MULTIPATH),
    Row(
        name="mdadm.conf",
        number=7,
        machine="md-raid1",
        before=(*on_an_array, has("/etc/mdadm/mdadm.conf", "ARRAY one\n")),
        change=has("/etc/mdadm/mdadm.conf", "ARRAY two\n"),
        heard="/etc/mdadm/mdadm.conf",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="a part of mdadm.conf",
        number=7,
        machine="md-raid1",
        before=(*on_an_array, folder("/etc/mdadm/mdadm.conf.d")),
        change=has("/etc/mdadm/mdadm.conf.d/ours.conf", "ARRAY two\n"),
        heard="/etc/mdadm/mdadm.conf.d",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="options of a volume in crypttab",
        number=7,
        machine=LUKS,
        change=replaced("/etc/crypttab", "luks,discard", "luks"),
        heard="/etc/crypttab",
        work=Work.BASE,
        reasons=PROGRAMS,
    ),
    Row(
        name="the key file of a volume in crypttab",
        number=7,
        machine=LUKS,
        change=renamed_over("/etc/keys/nvme.key", "another secret", modified=LONG_AGO),
        heard="/etc/keys/nvme.key",
        work=Work.IMAGE,
        reasons=HOOKS,
    ),
    Row(
        name="the record of an iSCSI session",
        number=7,
        machine="iscsi",
        before=(link("/sys/class/iscsi_session/session3", f"../..{SESSION.removeprefix('/sys')}"),),
        change=has(f"{SESSION}/password", "another password\n"),
        heard=GLIMPSE,
        work=Work.IMAGE,
        reasons=PROGRAMS,
    ),
    dracut_row("another dracut", 8, "/usr/bin/dracut"),
    dracut_row("dracut's functions", 8, "/usr/lib/dracut/dracut-functions.sh"),
    dracut_row(
        "the configuration of dracut's package",
        8,
        "/usr/lib/dracut/dracut.conf.d/50-dist.conf",
        heard="/usr/lib/dracut/dracut.conf.d",
    ),
    dracut_row("one of dracut's modules", 8, MODULE_SETUP, heard="/usr/lib/dracut/modules.d"),
    dracut_row("a new module of dracut", 8, MODULE_SETUP, before=None, heard="/usr/lib/dracut/modules.d"),
    dracut_row("our own module in dracut", 8, "/usr/lib/dracut/modules.d/98kdumpd/module-setup.sh"),
    dracut_row("the lvm that dracut takes along", 8, "/usr/sbin/lvm"),
    dracut_row("the udevadm of systemd", 8, "/usr/bin/udevadm"),
    dracut_row("a rule of udev", 8, "/etc/udev/rules.d/99-ours.rules", heard="/etc/udev/rules.d"),
    dracut_row(
        "options of modules, which dracut copies",
        8,
        "/etc/modprobe.d/ours.conf",
        before=None,
        heard="/etc/modprobe.d",
    ),
    Row(
        name="dracut_args",
        number=8,
        machine=LVM,
        change=has(CONF, "dracut_args --add-drivers nvme\n"),
        heard=CONF,
        work=Work.BASE,
        reasons=CONFIG,
    ),
)
