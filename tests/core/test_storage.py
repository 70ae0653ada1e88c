"""The layers under a device: each known one says what it needs, each unknown one is named."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core.driver import Driver
from kdumpd.core.machine import BlockDevice, Machine
from kdumpd.core.storage import Stack, Unknown, modaliases, stack_under
from tests.core.plain import PLAIN

VIRTIO = (
    Driver(name="virtio_blk", subsystem="virtio", module="virtio_blk", modalias="virtio:d2"),
    Driver(name="virtio-pci", subsystem="pci", module="virtio_pci"),
)
SATA = (
    Driver(name="sd", subsystem="scsi", module="sd_mod"),
    Driver(name="ahci", subsystem="pci", module="ahci", modalias="pci:v8086"),
)
DISK = BlockDevice(name="vda", number="254:0", drivers=VIRTIO)
PARTITION = BlockDevice(name="vda1", number="254:1", disk="vda", drivers=VIRTIO, contents="LVM2_member")
VOLUME = BlockDevice(name="dm-0", number="253:0", slaves=("vda1",), dm_name="a--b-c--d", dm_uuid="LVM-xyz")


def machine(*devices: BlockDevice) -> Machine:
    return replace(PLAIN, devices=devices)


def stack(*devices: BlockDevice) -> Stack:
    """Of the last device."""
    return stack_under(machine(*devices), devices[-1])


def test_a_partition_on_virtio_needs_the_drivers_from_the_root_up() -> None:
    found = stack(DISK, PARTITION)
    assert found.needs.modules == ("virtio_pci", "virtio_blk")
    assert found.needs.programs == ()
    assert found.words == "partition vda1 on virtio disk vda"


@pytest.mark.shows("LVM")
def test_a_logical_volume_is_activated_alone_by_its_real_name() -> None:
    found = stack(DISK, PARTITION, VOLUME)
    assert found.needs.modules == ("virtio_pci", "virtio_blk", "dm_mod")
    assert found.needs.programs == ("lvm",)
    assert shlex.split(found.needs.bring_up[0])[-1] == "a-b/c-d"
    assert [file.path for file in found.needs.files] == ["/etc/lvm/lvm.conf"]


@pytest.mark.shows("MD raid 1")
def test_a_mirror_needs_both_its_disks_once_and_its_personality() -> None:
    halves = [
        BlockDevice(
            name=name,
            number=number,
            drivers=SATA,
            contents="linux_raid_member",
            uuid="4d8fb1c2-6b0a-9c1e-7d24-1fa0b35e8c97",
        )
        for name, number in (("sda", "8:0"), ("sdb", "8:16"))
    ]
    array = BlockDevice(name="md127", number="9:127", slaves=("sda", "sdb"), md_level="raid5")
    found = stack(*halves, array)
    assert found.needs.modules == ("ahci", "sd_mod", "md_mod", "raid456")
    assert "--uuid=4d8fb1c2:6b0a9c1e:7d241fa0:b35e8c97" in found.needs.bring_up[0]
    assert found.words.startswith("raid5 array md127 on (SCSI or ATA disk sda) and (")


@pytest.mark.parametrize("shell", ["dash", "sh"])
def test_the_line_that_assembles_an_array_leaves_the_agents_own_shell_as_it_was(
    tmp_path: Path, shell: str
) -> None:
    program = tmp_path / "mdadm"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/asked\n')
    program.chmod(0o755)
    array = BlockDevice(name="md4711", number="9:0", slaves=("vda",), md_level="raid1", md_uuid="1:2:3:4")
    (line,) = stack(DISK, array).needs.bring_up
    # As the agent does it: with its own parameters, its own variables and -u.
    script = f'set -u; run=/kdumpd; set -- one two; eval {shlex.quote(line)}; echo "$run $*"'
    said = subprocess.run(
        [shell, "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "/kdumpd one two\n"
    # This machine has run for more than half a minute, and has no such array.
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--stop /dev/md4711",
        "--assemble --run --config=partitions --uuid=1:2:3:4 /dev/md4711",
    ]


def test_a_volume_on_an_array_is_assembled_before_it_is_activated() -> None:
    member = BlockDevice(name="sda", number="8:0", drivers=SATA, contents="linux_raid_member")
    array = BlockDevice(
        name="md0", number="9:0", slaves=("sda",), md_level="raid1", md_uuid="1:2:3:4", contents="LVM2_member"
    )
    volume = replace(VOLUME, slaves=("md0",))
    assert [line.partition(" ")[0] for line in stack(member, array, volume).needs.bring_up] == ["grep", "lvm"]


def test_nvme_on_pci_is_known() -> None:
    disk = BlockDevice(
        name="nvme0n1", number="259:0", drivers=(Driver(name="nvme", subsystem="pci", module="nvme"),)
    )
    assert stack(disk).needs.modules == ("nvme",)


def test_a_driver_that_is_built_in_needs_no_module_but_keeps_its_alias_for_another_kernel() -> None:
    built_in = tuple(replace(driver, module="") for driver in SATA)
    found = stack(BlockDevice(name="sda", number="8:0", drivers=built_in))
    assert found.needs.modules == ()
    assert list(modaliases(found)) == ["pci:v8086"]


SCSI_ONLY = (Driver(name="sd", subsystem="scsi", module="sd_mod"),)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (BlockDevice(name="dm-0", number="", slaves=("vda",), dm_uuid="CRYPT-LUKS2-0d1e-x", dm_name="x"), "encrypted device, LUKS2"),
        (BlockDevice(name="dm-0", number="", slaves=("vda",), dm_uuid="mpath-3600", dm_name="m"), "multipath"),
        (BlockDevice(name="dm-0", number="", slaves=("vda",), dm_uuid="part1-mpath-3600", dm_name="m1"), "partition of a device-mapper"),
        (BlockDevice(name="dm-0", number="", slaves=("vda",), dm_uuid="VERITY-1", dm_name="v"), "device-mapper device v"),
        (replace(VOLUME, slaves=("vda",), dm_targets=("thin",)), "thin logical volume"),
        (replace(VOLUME, slaves=("vda",), dm_targets=("linear", "cache")), "neither linear nor striped"),
        (replace(VOLUME, slaves=()), "neither linear nor striped"),
        (BlockDevice(name="sdx", number="8:0", drivers=SATA, sysfs="/sys/devices/platform/host3/session1/target3:0:0/x"), "iSCSI session"),
        (BlockDevice(name="sdx", number="8:0", drivers=SATA, sysfs="/sys/devices/pci0/host3/rport-3:0-2/target/x"), "Fibre Channel"),
        (BlockDevice(name="sdx", number="8:0", drivers=SCSI_ONLY), "a disk with the drivers sd"),
        (BlockDevice(name="nvme0n1", number="259:0"), "NVMe disk that is not on PCI"),
        (BlockDevice(name="loop0", number="7:0"), "loop device"),
        (BlockDevice(name="nbd0", number="43:0"), "network block device"),
        (BlockDevice(name="zram0", number="252:0"), "compressed memory"),
        (BlockDevice(name="bcache0", number="251:0", slaves=("vda",)), "made of vda"),
        (BlockDevice(name="strange", number="1:1"), "a disk of no known kind"),
        (BlockDevice(name="md0", number="9:0", slaves=("vda",), md_level="container"), "MD array of level container"),
        (BlockDevice(name="md0", number="9:0", slaves=("vda",), md_level="raid1"), "without a UUID"),
        (BlockDevice(name="vdb1", number="254:17", disk="vdb"), "a device that /sys does not have"),
    ],
)  # fmt: skip
def test_an_unknown_layer_is_named_and_never_skipped(device: BlockDevice, words: str) -> None:
    found = stack(DISK, device)
    assert [layer for layer in found.unknown if words in layer.what], found.unknown


def test_a_volume_of_hidden_volumes_is_not_linear() -> None:
    hidden = replace(VOLUME, name="dm-1", number="253:1", dm_name="a--b-c_rimage_0")
    found = stack(DISK, PARTITION, hidden, replace(VOLUME, slaves=("dm-1",)))
    assert [layer.what for layer in found.unknown] == ["a logical volume that is neither linear nor striped"]


def test_a_volume_group_inside_a_volume_is_linear_all_the_same() -> None:
    outer = replace(VOLUME, name="dm-1", number="253:1", dm_name="one-two", contents="LVM2_member")
    found = stack(DISK, PARTITION, outer, replace(VOLUME, slaves=("dm-1",)))
    assert found.unknown == ()
    assert len(found.needs.bring_up) == 2


def test_foreign_raid_metadata_is_not_assembled() -> None:
    member = BlockDevice(name="sda", number="8:0", drivers=SATA, contents="isw_raid_member")
    array = BlockDevice(name="md126", number="9:126", slaves=("sda",), md_level="raid1", md_uuid="1:2:3:4")
    assert [layer.what for layer in stack(member, array).unknown] == [
        "a RAID with foreign metadata, isw_raid_member"
    ]


def test_a_circle_of_devices_comes_to_an_end() -> None:
    one = BlockDevice(name="dm-0", number="253:0", slaves=("dm-1",), dm_uuid="LVM-a", dm_name="g-a")
    two = BlockDevice(
        name="dm-1", number="253:1", slaves=("dm-0",), dm_uuid="LVM-b", dm_name="g-b", contents="LVM2_member"
    )
    assert stack(two, one).layers


def test_only_unknown_layers_are_unknown() -> None:
    assert not [layer for layer in stack(DISK, PARTITION).layers if isinstance(layer, Unknown)]
