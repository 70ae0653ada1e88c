"""Which device a target means, and every reason why there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core import config, locate, targets
from kdumpd.core.config import Config
from kdumpd.core.document import parse
from kdumpd.core.driver import Driver
from kdumpd.core.located import FILESYSTEMS, Search
from kdumpd.core.machine import BlockDevice, FstabEntry, Machine, Mount
from kdumpd.core.targets import BLOCK_FILESYSTEMS
from tests.core.plain import PLAIN

VIRTIO = (Driver(name="virtio_blk", subsystem="virtio", module="virtio_blk"),)


def disk(
    name: str,
    number: str,
    *,
    contents: str = "",
    uuid: str = "",
    uuid_sub: str = "",
    label: str = "",
    part_uuid: str = "",
    part_label: str = "",
) -> BlockDevice:
    return BlockDevice(
        name=name,
        number=number,
        drivers=VIRTIO,
        contents=contents,
        uuid=uuid,
        uuid_sub=uuid_sub,
        label=label,
        part_uuid=part_uuid,
        part_label=part_label,
    )


ROOT = disk("vda", "254:0", contents="ext4", uuid="1c1e-AB", label="root", part_uuid="9f6e-01")
DUMPS = disk("vdb", "254:16", contents="xfs", uuid="84c1", label="crash dumps", part_label="dumps")
EMPTY = disk("vdc", "254:32")
MACHINE = replace(
    PLAIN,
    mounts=(Mount(target="/", source="/dev/vda", fstype="ext4", number="254:0"),),
    devices=(ROOT, DUMPS, EMPTY),
)


def configured(text: str) -> Config:
    reading = config.read(parse(text), file="/etc/kdump.conf")
    assert reading.config is not None, reading.problems
    return reading.config


def search(text: str, machine: Machine = MACHINE) -> Search:
    return locate.target(configured(text), machine)


def codes(found: Search) -> list[str]:
    return [problem.code for problem in found.problems]


@pytest.mark.parametrize(
    "spec", ["/dev/vdb", "UUID=84C1", "LABEL=crash dumps", 'LABEL="crash dumps"', "PARTLABEL=dumps"]
)
@pytest.mark.shows("a node in /dev", "UUID=", "LABEL=", "PARTLABEL=", "xfs")
def test_every_way_to_name_a_device_finds_it(spec: str) -> None:
    found = search(f"xfs {spec}\npath /from/here\n")
    assert found.located is not None
    assert (found.located.name, found.located.directory) == ("UUID=84c1", "/from/here")


def test_a_link_of_udev_is_a_node_as_well() -> None:
    linked = replace(DUMPS, links=("/dev/disk/by-id/virtio-1",))
    found = search("xfs /dev/disk/by-id/virtio-1\n", replace(MACHINE, devices=(ROOT, linked)))
    assert found.located is not None


@pytest.mark.shows("no target: the device that holds path", "path")
def test_the_default_target_is_the_device_that_holds_path() -> None:
    found = search("path /srv/dumps\n")
    assert found.located is not None
    assert (found.located.device, found.located.directory) == (ROOT, "/srv/dumps")


def test_a_device_that_is_not_there_is_told_with_its_line_and_those_that_are() -> None:
    problem = search("# comment\nxfs LABEL=dump\n").problems[0]
    assert (problem.code, problem.line, problem.key) == ("target-not-found", 2, "xfs")
    assert "LABEL=crash dumps" in problem.hint


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ext4 /dev/vdb", "target-type-differs"),
        ("ext4 /dev/vdc", "target-not-formatted"),
        ("minix /dev/vdb", "target-type-differs"),
        ("vfat /dev/vdb", "target-unfit"),
        ("raw /dev/vda", "raw-in-use"),
        ("raw PARTLABEL=gone", "target-not-found"),
    ],
)
def test_what_cannot_be_a_target_is_a_problem_of_its_line(text: str, code: str) -> None:
    found = search(f"{text}\n")
    assert found.located is None
    assert codes(found) == [code]
    assert found.problems[0].line == 1


@pytest.mark.shows("ext4", "ext3")
def test_ext4_mounts_the_older_ones_as_well() -> None:
    old = replace(DUMPS, contents="ext3")
    assert search("ext4 /dev/vdb\n", replace(MACHINE, devices=(ROOT, old))).located is not None


def test_one_label_of_two_devices_is_ambiguous() -> None:
    twin = disk("vdd", "254:48", contents="xfs", uuid="other", label="crash dumps")
    found = search("xfs LABEL=crash dumps\n", replace(MACHINE, devices=(ROOT, DUMPS, twin)))
    assert codes(found) == ["target-ambiguous"]
    assert "/dev/vdb, /dev/vdd" in found.problems[0].message


@pytest.mark.shows("PARTUUID=")
def test_a_copy_of_a_disk_is_told_apart_by_its_partition() -> None:
    original = replace(DUMPS, part_uuid="one")
    copy = disk("vdd", "254:48", contents="xfs", uuid="84c1", part_uuid="two")
    found = search("xfs /dev/vdb\n", replace(MACHINE, devices=(ROOT, original, copy)))
    assert found.located is not None
    assert found.located.name == "PARTUUID=one"


def test_a_copy_that_nothing_tells_apart_is_refused() -> None:
    copy = disk("vdd", "254:48", contents="xfs", uuid="84c1")
    assert codes(search("xfs /dev/vdb\n", replace(MACHINE, devices=(ROOT, DUMPS, copy)))) == [
        "target-without-name"
    ]


def test_a_half_of_a_mirror_is_not_the_mirror() -> None:
    half = replace(
        DUMPS,
        name="sda1",
        number="8:1",
        contents="linux_raid_member",
        uuid="4d8fb1c26b0a9c1e7d241fa0b35e8c97",
        label="m",
    )
    mirror = BlockDevice(
        name="md0", number="9:0", slaves=("sda1",), md_level="raid1", contents="xfs", uuid="84c1", label="m"
    )
    found = search("xfs LABEL=m\n", replace(MACHINE, devices=(ROOT, half, mirror)))
    assert found.located is not None
    assert found.located.device is mirror


@pytest.mark.shows("multipath")
@pytest.mark.parametrize("fstype", ["xfs", "btrfs"])
def test_the_partitions_of_a_disks_paths_are_not_the_partition_of_their_multipath(fstype: str) -> None:
    paths = [
        disk(name, f"8:{16 * place}", contents="mpath_member") for place, name in enumerate(("sdb", "sdc"), 1)
    ]
    halves = [
        replace(disk(f"{path.name}1", f"{path.number}1", contents=fstype, uuid="84c1"), disk=path.name)
        for path in paths
    ]
    whole = replace(disk("dm-8", "253:8"), slaves=("sdb", "sdc"), dm_name="mpatha", dm_uuid="mpath-3600")
    part = replace(
        disk("dm-9", "253:9", contents=fstype, uuid="84c1"),
        slaves=("dm-8",), dm_name="mpatha-part1", dm_uuid="part1-mpath-3600",
    )  # fmt: skip
    found = search(f"{fstype} UUID=84c1\n", replace(MACHINE, devices=(ROOT, *paths, *halves, whole, part)))
    assert found.located is not None, found.problems
    assert (found.located.device, found.located.name) == (part, "UUID=84c1")
    assert [
        problem.message for problem in found.located.beyond_direct if "several devices" in problem.message
    ] == []


def test_two_partitions_of_one_disk_with_the_same_uuid_stay_ambiguous() -> None:
    """Also where one of them is a part of something: a disk is not below what lies on one of its partitions."""
    one, two = (
        replace(disk(name, number, contents="xfs", uuid="84c1"), disk="sdb")
        for name, number in (("sdb1", "8:17"), ("sdb2", "8:18"))
    )
    devices = (ROOT, disk("sdb", "8:16"), one, two)
    assert codes(search("xfs UUID=84c1\n", replace(MACHINE, devices=devices))) == ["target-ambiguous"]
    above = replace(disk("dm-1", "253:1", contents="xfs", uuid="84c1"), slaves=("sdb1",))
    found = search("xfs UUID=84c1\n", replace(MACHINE, devices=(*devices, above)))
    assert codes(found) == ["target-ambiguous"]
    assert "sdb2, /dev/dm-1" in found.problems[0].message


def test_a_device_that_cannot_be_written_is_refused() -> None:
    assert codes(
        search("xfs /dev/vdb\n", replace(MACHINE, devices=(ROOT, replace(DUMPS, read_only=True))))
    ) == ["target-read-only"]


@pytest.mark.parametrize(
    ("fstype", "source", "code"),
    [
        ("cifs", "//server/share", "target-not-yet"),
        ("9p", "share", "target-not-yet"),
        ("ceph", "server:/", "target-not-yet"),
        ("tmpfs", "tmpfs", "target-in-memory"),
        ("overlay", "overlay", "target-not-a-disk"),
        ("autofs", "systemd-1", "target-not-a-disk"),
        ("zfs", "pool/var", "target-not-a-disk"),
    ],
)
def test_a_path_on_no_disk_is_told(fstype: str, source: str, code: str) -> None:
    mounts = (*MACHINE.mounts, Mount(target="/var", source=source, fstype=fstype, number="0:40"))
    found = search("path /var/crash\n", replace(MACHINE, mounts=mounts))
    assert codes(found) == [code]
    assert (found.problems[0].line, found.problems[0].key) == (1, "path")


def test_a_file_system_that_is_in_fstab_but_not_mounted_is_a_warning() -> None:
    fstab = (FstabEntry(source="/dev/vdb", target="/var/crash", fstype="xfs"),)
    found = search("", replace(MACHINE, fstab=fstab))
    assert found.located is not None
    assert found.located.device is ROOT
    assert [(problem.code, problem.is_error) for problem in found.problems] == [("target-not-mounted", False)]


def test_fstab_has_the_word_where_no_mount_is_known() -> None:
    fstab = (
        FstabEntry(source="UUID=1c1e-ab", target="/", fstype="ext4"),
        FstabEntry(source="LABEL=crash dumps", target="/var", fstype="xfs"),
    )
    found = search("", replace(MACHINE, mounts=(), fstab=fstab))
    assert found.located is not None
    assert (found.located.device, found.located.directory) == (DUMPS, "/crash")


AUTOMOUNT = Mount(target="/data", source="systemd-1", fstype="autofs", number="0:40")


@pytest.mark.parametrize("fstype", ["xfs", "auto"])
def test_what_an_automount_would_mount_is_read_from_fstab(fstype: str) -> None:
    fstab = (FstabEntry(source="UUID=84c1", target="/data", fstype=fstype, options=("noauto",)),)
    machine = replace(MACHINE, mounts=(*MACHINE.mounts, AUTOMOUNT), fstab=fstab)
    found = search("path /data/crash\n", machine)
    assert found.located is not None, found.problems
    assert (found.located.device, found.located.fstype, found.located.directory) == (DUMPS, "xfs", "/crash")
    assert found.problems == ()
    since = Mount(target="/data", source="/dev/vda", fstype="ext4", root="/sub", number="254:0")
    mounted = search("path /data/crash\n", replace(machine, mounts=(*machine.mounts, since)))
    assert mounted.located is not None
    assert (mounted.located.device, mounted.located.directory) == (ROOT, "/sub/crash")


@pytest.mark.shows("btrfs", "a btrfs subvolume")
def test_btrfs_is_mounted_from_its_top_so_that_the_subvolume_is_a_directory() -> None:
    device = disk("vdb", "254:16", contents="btrfs", uuid="e2b0", uuid_sub="1")
    mounts = (Mount(target="/", source="/dev/vdb", fstype="btrfs", root="/@", number="0:23"),)
    found = search("", replace(MACHINE, devices=(device,), mounts=mounts))
    assert found.located is not None
    assert (found.located.directory, found.located.mount_options) == ("/@/var/crash", "subvolid=5")


def test_btrfs_over_two_devices_is_an_unknown_layer() -> None:
    one, two = (
        disk(name, number, contents="btrfs", uuid="e2b0", uuid_sub=number)
        for name, number in (("vdb", "254:16"), ("vdc", "254:32"))
    )
    mounts = (Mount(target="/", source="/dev/vdb", fstype="btrfs", number="0:23"),)
    found = search("", replace(MACHINE, devices=(one, two), mounts=mounts))
    assert found.located is not None
    assert [problem.code for problem in found.located.beyond_direct] == ["layer-unknown"]


@pytest.mark.shows("dracut_args", "dracut_args --mount")
def test_a_mount_of_dracut_args_brings_its_options() -> None:
    found = search('dracut_args --mount "/dev/vdb /mnt xfs defaults,noatime"\n')
    assert found.located is not None
    assert found.located.mount_options == "noatime"


@pytest.mark.shows(*BLOCK_FILESYSTEMS)
@pytest.mark.parametrize("fstype", BLOCK_FILESYSTEMS)
def test_a_file_system_is_served_or_refused_with_its_line(fstype: str) -> None:
    made = replace(DUMPS, contents=fstype)
    found = search(f"path /from/here\n{fstype} /dev/vdb\n", replace(MACHINE, devices=(ROOT, made)))
    if fstype in FILESYSTEMS:
        assert found.located is not None
        assert (found.located.fstype, found.located.name) == (fstype, "UUID=84c1")
        return
    assert found.located is None
    assert [(problem.code, problem.line) for problem in found.problems] == [("target-unfit", 2)]
    assert targets.UNFIT_FILESYSTEMS[fstype] in found.problems[0].message


RAW_PARTITION = replace(
    disk("vdd1", "254:49", part_uuid="9f6e-44", part_label="crash"), disk="vdd", size_bytes=1 << 30
)
WITH_RAW = replace(MACHINE, devices=(*MACHINE.devices, disk("vdd", "254:48"), RAW_PARTITION))


@pytest.mark.parametrize("spec", ["/dev/vdd1", "PARTUUID=9f6e-44", "PARTLABEL=crash"])
def test_a_raw_partition_is_known_by_its_entry_in_the_table(spec: str) -> None:
    found = search(f"raw {spec}\npath /srv/crash", WITH_RAW)
    assert found.problems == ()
    assert found.located is not None
    assert (found.located.name, found.located.fstype) == ("PARTUUID=9f6e-44", "")
    assert found.located.told["directory"] == "/srv/crash"
    assert found.located.device == RAW_PARTITION


def test_a_raw_device_with_contents_or_without_a_lasting_name_is_a_loud_warning() -> None:
    found = search("raw /dev/vdb", MACHINE)
    assert [(problem.code, problem.is_error, problem.line) for problem in found.problems] == [
        ("raw-overwrites", False, 1),
        ("raw-by-node", False, 1),
    ]
    assert found.located is not None
    assert found.located.name == "/dev/vdb"


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (replace(WITH_RAW, swaps=frozenset({"/dev/vdd1"})), "in use as swap"),
        (
            replace(WITH_RAW, mounts=(Mount(target="/mnt", source="x", fstype="ext4", number="254:49"),)),
            "mounted at /mnt",
        ),
        (
            replace(WITH_RAW, devices=(*WITH_RAW.devices, replace(disk("dm-0", "253:0"), slaves=("vdd1",)))),
            "a part of dm-0",
        ),
    ],
)
def test_a_raw_device_that_something_uses_is_refused(machine: Machine, words: str) -> None:
    found = search("raw PARTUUID=9f6e-44", machine)
    assert found.located is None
    assert [problem.code for problem in found.problems] == ["raw-in-use"]
    assert words in found.problems[0].message


@pytest.mark.parametrize("mounted", ["/dev/vdb", "/dev/root"])
def test_a_member_of_a_mounted_btrfs_over_several_devices_is_in_use(mounted: str) -> None:
    one, two = (
        disk(name, number, contents="btrfs", uuid="e2b0", uuid_sub=number)
        for name, number in (("vdb", "254:16"), ("vdc", "254:32"))
    )
    mount = Mount(target="/srv", source=mounted, fstype="btrfs", number="0:23")
    found = search("raw /dev/vdc", replace(MACHINE, devices=(ROOT, one, two), mounts=(mount,)))
    assert codes(found) == ["raw-in-use"]
    assert "mounted at /srv" in found.problems[0].message
    other = replace(two, uuid="another")
    asunder = replace(mount, source="/dev/vdb")
    assert search("raw /dev/vdc", replace(MACHINE, devices=(ROOT, one, other), mounts=(asunder,))).located


@pytest.mark.parametrize("contents", ["zfs_member", "jbd", "xfs_external_log"])
def test_a_raw_device_whose_users_cannot_be_seen_is_refused(contents: str) -> None:
    found = search("raw /dev/vdc", replace(MACHINE, devices=(ROOT, replace(EMPTY, contents=contents))))
    assert found.located is None
    assert codes(found) == ["raw-in-use"]
    assert contents in found.problems[0].message


def test_a_log_beside_its_xfs_is_in_use() -> None:
    mount = Mount(
        target="/srv", source="/dev/vdb", fstype="xfs", number="254:16", options=("logdev=/dev/vdc",)
    )
    assert codes(search("raw /dev/vdc", replace(MACHINE, mounts=(mount,)))) == ["raw-in-use"]


def test_a_raw_disk_with_partitions_and_one_that_is_read_only_are_refused() -> None:
    assert "divided into vdd1" in search("raw /dev/vdd", WITH_RAW).problems[0].message
    read_only = replace(WITH_RAW, devices=(replace(EMPTY, read_only=True),))
    assert search("raw /dev/vdc", read_only).problems[0].code == "target-read-only"
