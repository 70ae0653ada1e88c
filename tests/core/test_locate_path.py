"""How `path` is read: below a target that kdump.conf names, and through symbolic links."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core import locate
from kdumpd.core.located import Search
from kdumpd.core.machine import FstabEntry, Machine, Mount, Whereabouts
from tests.core import test_locate_nfs as nfs
from tests.core.test_locate import DUMPS, MACHINE, ROOT, codes, configured, disk, search

MOUNTED = Mount(target="/data", source="/dev/vdb", fstype="xfs", number="254:16")
WITH_DATA = replace(MACHINE, mounts=(*MACHINE.mounts, MOUNTED))


def where(found: Search) -> tuple[str, list[tuple[str, int, str, bool]]]:
    assert found.located is not None, found.problems
    told = [(each.code, each.line, each.key, each.is_error) for each in found.problems]
    return found.located.directory, told


@pytest.mark.shows("path")
@pytest.mark.parametrize(
    ("path", "directory"), [("/data/crash", "/crash"), ("/data", "/"), ("/data/a/b/", "/a/b")]
)
def test_the_mount_point_of_the_target_is_no_part_of_the_directory(path: str, directory: str) -> None:
    found = search(f"xfs UUID=84c1\npath {path}\n", WITH_DATA)
    assert where(found) == (directory, [("path-shortened", 2, "path", False)])
    assert directory in found.problems[0].message
    assert found.problems[0].hint == f"write path {directory}"


@pytest.mark.parametrize("path", ["/crash", "/database", "/srv/data"])
def test_any_other_path_is_below_the_target_as_it_stands(path: str) -> None:
    assert where(search(f"xfs UUID=84c1\npath {path}\n", WITH_DATA)) == (path, [])


def test_the_default_path_is_shortened_as_well_at_the_line_of_the_target() -> None:
    machine = replace(MACHINE, mounts=(*MACHINE.mounts, replace(MOUNTED, target="/var")))
    assert where(search("xfs UUID=84c1\n", machine)) == ("/crash", [("path-shortened", 1, "xfs", False)])


def test_the_root_file_system_has_no_mount_point_to_leave_out() -> None:
    assert where(search("ext4 UUID=1c1e-AB\npath /srv\n", WITH_DATA)) == ("/srv", [])


def test_a_target_that_is_not_mounted_is_read_as_fstab_would_mount_it() -> None:
    fstab = (FstabEntry(source="LABEL=crash dumps", target="/data", fstype="xfs", options=("noauto",)),)
    machine = replace(MACHINE, fstab=fstab)
    found = search("xfs UUID=84c1\npath /data/crash\n", machine)
    assert where(found) == ("/crash", [("path-shortened", 2, "path", False)])


def test_a_subvolume_or_a_bind_mount_is_a_directory_of_its_file_system() -> None:
    bound = replace(WITH_DATA, mounts=(*WITH_DATA.mounts, replace(MOUNTED, root="/x", target="/bound")))
    assert where(search("xfs UUID=84c1\npath /bound/crash\n", bound))[0] == "/x/crash"
    device = disk("vdb", "254:16", contents="btrfs", uuid="e2b0")
    subvolume = Mount(target="/data", source="/dev/vdb", fstype="btrfs", root="/@data", number="0:23")
    machine = replace(MACHINE, devices=(ROOT, device), mounts=(*MACHINE.mounts, subvolume))
    found = search("btrfs UUID=e2b0\npath /data/crash\n", machine)
    assert where(found)[0] == "/@data/crash"
    assert found.located is not None
    assert found.located.mount_options == "subvolid=5"


@pytest.mark.shows("path", "nfs")
def test_the_mount_point_of_an_export_is_left_out_as_well() -> None:
    machine = nfs.mounted(at="/net/dumps")
    found = nfs.search("nfs nas:/srv\npath /net/dumps/crash\n", machine)
    assert where(found) == ("/crash", [("path-shortened", 2, "path", False)])
    assert where(nfs.search("nfs nas:/srv\npath /crash\n", machine)) == ("/crash", [])


def test_the_device_of_another_mount_leaves_the_path_alone() -> None:
    other = replace(MOUNTED, source="/dev/vdc", number="254:32")
    machine = replace(MACHINE, mounts=(*MACHINE.mounts, other), devices=(ROOT, DUMPS, *MACHINE.devices[2:]))
    assert where(search("xfs UUID=84c1\npath /data/crash\n", machine)) == ("/data/crash", [])


def leading(machine: Machine, path: str, real: str, *links: str, is_endless: bool = False) -> Machine:
    found = Whereabouts(path=path, real=real, links=links, is_endless=is_endless)
    return replace(machine, whereabouts=(found,))


@pytest.mark.shows("path", "no target: the device that holds path")
def test_a_path_that_is_a_link_lies_where_the_link_leads() -> None:
    found = search("", leading(WITH_DATA, "/var/crash", "/data/crash", "/var/crash"))
    assert where(found) == ("/crash", [])
    assert found.located is not None
    assert found.located.device == DUMPS
    same_disk = search("", leading(MACHINE, "/var/crash", "/data/crash", "/var/crash"))
    assert where(same_disk) == ("/data/crash", [])


def test_a_link_to_an_export_is_the_export_and_its_server_is_looked_at() -> None:
    machine = leading(nfs.mounted(at="/net/dumps"), "/var/crash", "/net/dumps/crash", "/var/crash")
    found = nfs.found("", machine)
    assert (found.name, found.directory) == ("nas:/srv", "/crash")
    assert nfs.hosts("", machine) == {"nas"}


def test_links_without_an_end_are_an_error() -> None:
    machine = leading(MACHINE, "/a/b", "/a/b", "/a/b", is_endless=True)
    assert codes(search("path /a/b\n", machine)) == ["path-is-link"]


def test_a_link_below_the_mount_of_a_named_target_is_a_warning() -> None:
    text = "xfs UUID=84c1\npath /crash\n"
    config = configured(text)
    assert locate.paths(config, WITH_DATA) == ("/data/crash",)
    found = search(text, leading(WITH_DATA, "/data/crash", "/data/dumps", "/data/crash"))
    assert where(found) == ("/crash", [("path-is-link", 2, "path", False)])
    assert "/data/crash is a symbolic link" in found.problems[0].message
    assert "/dumps of that file system" in found.problems[0].hint
    outside = search(text, leading(WITH_DATA, "/data/crash", "/var/crash", "/data/crash"))
    assert outside.problems[0].hint == "make it a directory"
    assert where(search(text, WITH_DATA)) == ("/crash", [])


def test_a_link_on_another_file_system_that_hides_the_directory_is_none_of_the_targets() -> None:
    text = "ext4 UUID=1c1e-AB\npath /data/crash\n"
    assert where(search(text, leading(WITH_DATA, "/data/crash", "/x", "/data/crash"))) == ("/data/crash", [])
    assert locate.paths(configured(text), WITH_DATA) == ("/data/crash",)


def test_a_target_that_is_not_mounted_has_no_links_to_follow() -> None:
    assert locate.paths(configured("xfs UUID=84c1\n"), MACHINE) == ()
    assert locate.paths(configured("xfs UUID=84c1\nfailure_action dump_to_rootfs\n"), MACHINE) == (
        "/var/crash",
    )
    assert locate.paths(configured("path /srv\n"), MACHINE) == ("/srv",)
