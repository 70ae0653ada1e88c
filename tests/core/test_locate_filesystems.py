"""Which file systems a dump can go to, and under which conditions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core.machine import Mount
from tests.core.test_locate import DUMPS, MACHINE, ROOT, codes, disk, search


@pytest.mark.parametrize("fstype", ["vfat", "ntfs3"])
def test_a_path_on_a_file_system_that_takes_no_dump_is_told_why(fstype: str) -> None:
    mount = Mount(target="/data", source="/dev/vdb", fstype=fstype, number="254:16")
    made = replace(DUMPS, contents=fstype)
    found = search("path /data/x\n", replace(MACHINE, devices=(ROOT, made), mounts=(*MACHINE.mounts, mount)))
    assert codes(found) == ["target-unfit"]
    assert "`:`" in found.problems[0].message


@pytest.mark.parametrize("fstype", ["jfs", "hfsplus"])
def test_a_file_system_that_nobody_writes_to_after_a_crash_must_not_be_mounted(fstype: str) -> None:
    made = replace(DUMPS, contents=fstype)
    mount = Mount(target="/data", source="/dev/vdb", fstype=fstype, number="254:16", options=("rw",))
    machine = replace(MACHINE, devices=(ROOT, made), mounts=(*MACHINE.mounts, mount))
    assert codes(search(f"{fstype} UUID=84c1\n", machine)) == ["target-unfit"]
    assert codes(search("path /data\n", machine)) == ["target-unfit"]
    read_only = replace(machine, mounts=(*MACHINE.mounts, replace(mount, options=("ro",))))
    assert search(f"{fstype} UUID=84c1\n", read_only).located is not None
    assert search(f"{fstype} UUID=84c1\n", replace(machine, mounts=MACHINE.mounts)).located is not None


@pytest.mark.shows("minix")
def test_minix_has_no_uuid_and_is_found_by_its_partition_or_its_node() -> None:
    made = disk("vdb", "254:16", contents="minix")
    found = search("minix /dev/vdb\n", replace(MACHINE, devices=(ROOT, made)))
    assert found.located is not None
    assert (found.located.name, found.located.fstype) == ("/dev/vdb", "minix")
    assert [(problem.code, problem.is_error) for problem in found.problems] == [("target-by-node", False)]
    part = replace(made, part_uuid="9f6e-02")
    found = search("minix /dev/vdb\n", replace(MACHINE, devices=(ROOT, part)))
    assert found.located is not None
    assert (found.located.name, found.problems) == ("PARTUUID=9f6e-02", ())
