"""Real crashes onto every kind of disk that the agent itself brings up, read back in another machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpd.core.summary import Summary
from tests.vm import stacks
from tests.vm.aftermath import another_machine_with, dump_directory, whole_dump
from tests.vm.hardware import Disk
from tests.vm.installed import CONF, Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine

RHEL_6 = Path(__file__).parents[1] / "core" / "rhel6-kdump.conf"

POST = """#!/bin/bash
# What dash and busybox do not have: an array; and a program that comes by extra_bins.
seen=("$1" $(od -An -tx1 -N4 /proc/vmcore))
echo "post heard ${seen[*]}; $(cat /sys/class/net/dummy*/address | wc -l) dummies"
case " $(cut -d' ' -f1 /proc/modules | tr '\\n' ' ')" in *" veth "*) echo "veth is loaded" ;; *) echo "veth is not loaded" ;; esac
"""


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


@pytest.mark.shows("ext4", "a node in /dev", "path", "final_action halt")
@pytest.mark.shows("kdump_pre", "kdump_post", "/etc/kdump/pre.d", "/etc/kdump/post.d", "extra_bins")
@pytest.mark.shows("extra_modules", "options", "blacklist", "debug_mem_level")
def test_ext4_by_node_with_hooks_binaries_modules_options_blacklist_and_memory(
    kdumpd: Installed, say: Callable[[str], None]
) -> None:
    machine = kdumpd.machine
    node = machine.plug(Disk(serial="plain", filesystem="ext4", label="plain"))
    machine.sh("mkdir -p /etc/kdump/pre.d /etc/kdump/post.d")
    for name in ("pre.d/10", "pre.d/20", "post.d/10"):
        machine.put(f"/etc/kdump/{name}", f'#!/bin/sh\necho "hook {name} ran with ($*)"\n', mode=0o755)
    machine.put("/etc/kdump/post.d/20", "#!/bin/sh\nwhile :; do sleep 1; done\n", mode=0o755)
    machine.put("/etc/kdump-pre", "#!/bin/sh\necho kdump_pre was asked\n", mode=0o755)
    machine.put("/etc/kdump-post", POST, mode=0o755)
    machine.put("/etc/kdumpd.toml", "hook_timeout_seconds = 5\n")
    kdumpd.configure_and_arm(
        f"ext4 {node}",
        "path /by/node",
        "kdump_pre /etc/kdump-pre",
        "kdump_post /etc/kdump-post",
        "extra_bins /usr/bin/od",
        "extra_modules dummy veth",
        "options dummy numdummies=3",
        "blacklist veth",
        "debug_mem_level 3",
        "final_action halt",
        saying="/by/node",
    )
    crashed = machine.crash()
    machine.console.wait_for("System halted", timeout=300, since=crashed.number)
    machine.end()
    said = "\n".join(line.text for line in machine.console.lines[crashed.number :])
    hooks = re.findall(r"hook (?:pre|post)\.d/\d+ ran with \(.*\)", said)
    assert hooks == ["hook pre.d/10 ran with ()", "hook pre.d/20 ran with ()", "hook post.d/10 ran with (0)"]
    assert "kdump_pre was asked" in said
    assert "post.d/20 ended with 143, being ended after 5 s" in said
    assert "post heard 0 7f 45 4c 46; 3 dummies" in said
    assert "veth is not loaded" in said
    assert "MemFree:" in said
    assert "slabinfo - version" in said
    with another_machine_with(machine, "plain", say=say) as other:
        other.sh("mkdir /mnt/plain && mount LABEL=plain /mnt/plain")
        directory = dump_directory(other, "/mnt/plain/by/node")
        assert whole_dump(other, directory).result == "saved"


@pytest.mark.shows("LVM", "no target: a bind mount", "no target: the device that holds path")
@pytest.mark.shows("core_collector makedumpfile -d 11,31", "core_collector makedumpfile -l")
def test_logical_volume_below_a_path_that_is_bound_elsewhere(
    kdumpd: Installed, say: Callable[[str], None]
) -> None:
    machine = kdumpd.machine
    for disk in stacks.disks("linear", say=say):
        machine.plug(disk)
    machine.wait_until("test -e /dev/linear/dumps", timeout=60)
    machine.sh(
        "mkdir /data /bound && mount /dev/linear/dumps /data && mkdir -p /data/deep && "
        "mount --bind /data/deep /bound"
    )
    kdumpd.configure_and_arm(
        "path /bound/crash", "core_collector makedumpfile -l --message-level 1 -d 11,31", saying="/deep/crash"
    )
    machine.crash_and_end()
    with another_machine_with(machine, "linear", say=say) as other:
        other.wait_until("test -e /dev/linear/dumps", timeout=60)
        other.sh("mkdir /mnt/volume && mount /dev/linear/dumps /mnt/volume")
        directory = dump_directory(other, "/mnt/volume/deep/crash")
        assert whole_dump(other, directory).result == "saved"


@pytest.mark.shows("MD raid 1", "ext4", "UUID=", "path")
def test_a_mirror_that_loses_a_half_after_it_was_armed(kdumpd: Installed, say: Callable[[str], None]) -> None:
    machine = kdumpd.machine
    for disk in stacks.disks("mirror", say=say):
        machine.plug(disk)
    find = "blkid -L mirror -o device"
    machine.wait_until(f"{find} | grep -q /dev/md", timeout=60)
    uuid = machine.sh(f"blkid -s UUID -o value $({find})")
    kdumpd.configure_and_arm(f"ext4 UUID={uuid}", "path /mirrored", saying="/mirrored")
    # The array goes on with one half; what was loaded for the crash was made when there were two.
    machine.unplug("mirror-b")
    machine.crash_and_end()
    with another_machine_with(machine, "mirror-a", say=say) as other:
        other.sh("mdadm --stop --scan; mdadm --assemble --run /dev/md/read /dev/disk/by-id/virtio-mirror-*")
        other.sh("mkdir /mnt/mirror && mount -o ro /dev/md/read /mnt/mirror")
        directory = dump_directory(other, "/mnt/mirror/mirrored")
        assert whole_dump(other, directory).result == "saved"


@pytest.mark.shows("btrfs", "a btrfs subvolume", "core_collector makedumpfile -z")
def test_subvolume_of_btrfs_that_is_mounted(kdumpd: Installed, say: Callable[[str], None]) -> None:
    machine = kdumpd.machine
    for disk in stacks.disks("subvolumes", say=say):
        machine.plug(disk)
    machine.sh("mkdir /dumps && mount -o subvol=@dumps LABEL=subvolumes /dumps")
    kdumpd.configure_and_arm(
        "path /dumps/here", "core_collector makedumpfile -z --message-level 1 -d 31", saying="/@dumps/here"
    )
    machine.crash_and_end()
    with another_machine_with(machine, "subvolumes", say=say) as other:
        other.sh("mkdir /mnt/top && mount -o subvolid=5 LABEL=subvolumes /mnt/top")
        directory = dump_directory(other, "/mnt/top/@dumps/here")
        assert whole_dump(other, directory).result == "saved"


@pytest.mark.shows("minix", "a node in /dev", "core_collector makedumpfile -l")
def test_minix_by_node(kdumpd: Installed, say: Callable[[str], None]) -> None:
    machine = kdumpd.machine
    node = machine.plug(Disk(serial="small", filesystem="minix"))
    kdumpd.configure_and_arm(f"minix {node}", "path /dumps", saying=node)
    machine.crash_and_end()
    with another_machine_with(machine, "small", say=say) as other:
        other.sh("mkdir /mnt/small && mount -t minix /dev/disk/by-id/virtio-small /mnt/small")
        assert whole_dump(other, dump_directory(other, "/mnt/small/dumps")).result == "saved"


@pytest.mark.shows("core_collector makedumpfile -c", "path")
def test_the_configuration_of_rhel_6_as_it_was_shipped(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    etag = str(kdumpd.value("Etag", interface="org.kdumpd.Kdump1.Config"))
    machine.put(f"{CONF}.new", RHEL_6.read_bytes())
    machine.sh(f"mv {CONF}.new {CONF}")
    machine.wait_until(
        f"! busctl get-property org.kdumpd.Kdump1 /org/kdumpd/Kdump1 org.kdumpd.Kdump1.Config Etag | grep -qF {etag}",
        timeout=60,
    )
    kdumpd.wait_until_armed()
    kdumpd.wait_for("Activity", "idle")
    reboot = machine.crash_and_end()
    assert any("makedumpfile -c --message-level 1 -d 31" in line.text for line in reboot.console)
    (directory,) = machine.list_offline("/var/crash")
    told = Summary.model_validate_json(machine.read_offline(f"/var/crash/{directory}/summary.json"))
    assert told.result == "saved"
    assert machine.read_offline(f"/var/crash/{directory}/vmcore").startswith(b"KDUMP")


@pytest.mark.shows("failure_action", "failure_action halt", "disk_timeout")
@pytest.mark.shows("kdump_emergency", "/etc/kdump/emergency.d")
def test_a_target_that_vanished_halts_the_machine_after_the_emergency_hooks(kdumpd: Installed) -> None:
    machine = kdumpd.machine
    machine.plug(Disk(serial="gone", filesystem="ext4", label="gone"))
    machine.sh("mkdir -p /etc/kdump/emergency.d")
    machine.put("/etc/kdump/emergency.d/10-told", "#!/bin/sh\necho emergency.d was asked\n", mode=0o755)
    machine.put("/etc/kdump-emergency", "#!/bin/sh\necho kdump_emergency was asked\n", mode=0o755)
    kdumpd.configure_and_arm(
        "ext4 LABEL=gone",
        "path /dumps",
        "disk_timeout 3",
        "kdump_emergency /etc/kdump-emergency",
        "failure_action halt",
        saying="/dumps",
    )
    machine.unplug("gone")
    crashed = machine.crash()
    machine.console.wait_for("System halted", timeout=300, since=crashed.number)
    said = "\n".join(line.text for line in machine.console.lines[crashed.number :])
    order = re.findall(
        r"did not come in 3 s|emergency\.d was asked|kdump_emergency was asked|System halted", said
    )
    assert order == [
        "did not come in 3 s",
        "emergency.d was asked",
        "kdump_emergency was asked",
        "System halted",
    ]
