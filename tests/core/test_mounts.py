"""mountinfo and fstab: which mount holds a path, and where in its file system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.machine import FstabEntry, Mount
from kdumpd.core.mounts import (
    TEST_POINT,
    declared,
    holding,
    lasting,
    parse_fstab,
    parse_mountinfo,
    signature,
    unescape,
)

TEXT = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
30 22 0:23 /@var /var rw,noatime shared:5 master:2 - btrfs /dev/sda2 rw,subvolid=257,subvol=/@var
31 30 254:16 /dumps\\040here /var/crash rw - ext4 /dev/vdb rw
a line of no such form
32 22 0:40 / /mnt rw
"""


def test_each_field_of_mountinfo_is_read() -> None:
    assert parse_mountinfo(TEXT)[1] == Mount(
        target="/var",
        source="/dev/sda2",
        fstype="btrfs",
        root="/@var",
        options=("rw", "noatime", "subvolid=257", "subvol=/@var"),
        number="0:23",
    )


def test_lines_of_another_form_are_passed_over() -> None:
    assert [mount.target for mount in parse_mountinfo(TEXT)] == ["/", "/var", "/var/crash"]


@pytest.mark.parametrize(
    ("path", "target", "directory"),
    [
        ("/", "/", "/"),
        ("/srv/dumps", "/", "/srv/dumps"),
        ("/variant", "/", "/variant"),
        ("/var", "/var", "/@var"),
        ("/var/lib/", "/var", "/@var/lib"),
        ("/var/crash", "/var/crash", "/dumps here"),
        ("/var/crash/a//b", "/var/crash", "/dumps here/a/b"),
    ],
)
def test_a_path_lies_on_the_nearest_mount(path: str, target: str, directory: str) -> None:
    place = holding(parse_mountinfo(TEXT), path)
    assert place is not None
    assert (place.mount.target, place.directory) == (target, directory)


def test_a_later_mount_on_the_same_directory_hides_the_earlier() -> None:
    under, over = (
        Mount(target="/srv", source="a", fstype="ext4"),
        Mount(target="/srv", source="b", fstype="xfs"),
    )
    place = holding((under, over), "/srv/x")
    assert place is not None
    assert place.mount is over


def test_a_later_mount_above_hides_what_was_below() -> None:
    text = """\
30 1 8:1 / / rw - ext4 /dev/sda1 rw
31 30 8:2 / /a/b rw - ext4 /dev/sda2 rw
32 31 8:3 / /a/b/c rw - ext4 /dev/sda3 rw
33 30 8:4 / /a rw - xfs /dev/sda4 rw
"""
    place = holding(parse_mountinfo(text), "/a/b/c/d")
    assert place is not None
    assert (place.mount.source, place.directory) == ("/dev/sda4", "/b/c/d")


def test_the_root_may_stand_behind_what_hangs_on_it() -> None:
    text = "22 27 0:21 / /proc rw - proc proc rw\n27 1 254:0 / / rw - ext4 /dev/vda rw\n"
    place = holding(parse_mountinfo(text), "/proc/1")
    assert place is not None
    assert place.mount.fstype == "proc"


def test_nothing_is_held_where_nothing_is_mounted() -> None:
    assert holding((), "/var") is None


def test_fstab_has_its_quotes_and_comments_undone() -> None:
    text = '# device\nUUID="ab-cd" /var\\040crash xfs defaults,nofail 0 0\nincomplete line\n\n/dev/sda1 none swap sw\n'
    assert parse_fstab(text) == (
        FstabEntry(source="UUID=ab-cd", target="/var crash", fstype="xfs", options=("defaults", "nofail")),
        FstabEntry(source="/dev/sda1", target="none", fstype="swap", options=("sw",)),
    )


def test_the_nearest_entry_of_fstab_declares_a_path() -> None:
    entries = parse_fstab("a / ext4\nb /var xfs\nc none swap\n")
    entry = declared(entries, "/var/crash")
    assert entry is not None
    assert entry.source == "b"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_what_the_kernel_escapes_is_undone(text: str) -> None:
    escaped = "".join(rf"\{ord(char):03o}" if char in " \t\n\\#" else char for char in text)
    assert unescape(escaped) == text


def test_escaped_bytes_of_one_character_come_together_again() -> None:
    assert unescape(r"/caf\303\251") == "/café"


def test_what_a_test_of_the_target_mounts_is_no_part_of_the_machine() -> None:
    one = Mount(target="/srv", source="server:/srv", fstype="nfs")
    assert lasting((one, Mount(target=TEST_POINT, source="server:/srv", fstype="nfs"))) == (one,)


BEFORE = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
31 22 0:26 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=10%
40 22 254:17 / /srv/dumps rw - xfs /dev/vdb1 rw
41 22 0:50 / /mnt/nas rw - nfs4 nas:/export rw,addr=192.0.2.1
"""
CONTAINER = """\
90 22 0:61 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw,lowerdir=/l
91 31 0:4 net:[4026532] /run/docker/netns/abc rw - nsfs nsfs rw
92 31 254:1 / /run/kdumpd/target-test rw - ext4 /dev/vda1 rw
"""
NEAR = frozenset({"/etc/kdump.conf", "/srv/dumps"})


@pytest.mark.parametrize(
    ("after", "is_news"),
    [
        (BEFORE, False),
        (BEFORE + CONTAINER, False),
        (BEFORE + "93 22 0:70 / /etc rw - overlay overlay rw,lowerdir=/l\n", True),
        (BEFORE + "93 22 0:70 / /etc/kdump.conf rw - tmpfs tmpfs rw\n", True),
        (BEFORE + "93 22 0:70 / /srv rw - tmpfs tmpfs rw\n", True),
        (BEFORE + "93 22 254:33 / /media/stick rw - vfat /dev/vdc1 rw\n", True),
        (BEFORE.replace("xfs /dev/vdb1 rw", "xfs /dev/vdb1 ro"), True),
        (BEFORE.replace("/srv/dumps rw", "/srv/dumps rw,noexec"), True),
        (BEFORE.replace("addr=192.0.2.1", "addr=192.0.2.2"), True),
        ("".join(BEFORE.splitlines(keepends=True)[:3]), True),
        (BEFORE + "not a line of this table\n", False),
    ],
)
def test_the_signature_of_mounts_is_about_disks_servers_and_what_is_watched(
    after: str,
    is_news: bool,  # noqa: FBT001  # a table's column
) -> None:
    assert (signature(after, near=NEAR) != signature(BEFORE, near=NEAR)) == is_news
