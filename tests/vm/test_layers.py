"""Real crashes onto disks that take more than a driver: engine dracut's stacks, and a disk behind an iSCSI session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm import server as far
from tests.vm import stacks
from tests.vm.aftermath import another_machine_with, dump_directory, whole_dump
from tests.vm.installed import Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine

_SECONDS_FOR_DRACUT = 900  # it runs some thousands of processes, each of them emulated
_KEY = "/etc/keys/sealed.key"
_MULTIPATH = "defaults {\n  user_friendly_names yes\n  find_multipaths no\n}\n"


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


@pytest.mark.long
@pytest.mark.shows("LVM thin", "LUKS", "multipath", "engine dracut", "LABEL=", "dracut_args")
def test_an_encrypted_thin_volume_on_a_disk_with_two_paths_through_dracut(
    kdumpd: Installed, say: Callable[[str], None]
) -> None:
    machine = kdumpd.machine
    machine.put("/etc/multipath.conf", _MULTIPATH)
    machine.sh("modprobe dm_multipath; systemctl start multipathd")
    for disk in stacks.disks("thin", say=say):
        machine.plug_paths(disk, wwn=0x5000C50015EA71AC)
    machine.wait_until("test -e /dev/mapper/mpatha && test -e /dev/thin/sealed", timeout=60)
    assert machine.sh("dmsetup deps -o blkdevname mpatha").count("sd") == 2
    assert machine.sh("lvm pvs --noheadings -o pv_name").strip() == "/dev/mapper/mpatha"
    machine.sh(f"mkdir -m 700 {_KEY.rpartition('/')[0]}")
    machine.put(_KEY, stacks.PASSPHRASE, mode=0o400)
    machine.put("/etc/crypttab", f"sealed /dev/thin/sealed {_KEY} luks\n")
    machine.sh(f"cryptsetup open --key-file {_KEY} /dev/thin/sealed sealed && udevadm settle")
    kdumpd.configure_and_arm(
        "ext4 LABEL=sealed",
        "path /sealed",
        'dracut_args --omit-drivers "floppy"',
        saying="/sealed",
        timeout=_SECONDS_FOR_DRACUT,
    )
    assert kdumpd.value("Engine") == "dracut"
    assert "an encrypted device" in str(kdumpd.value("EngineReason"))
    size = int(machine.sh(f"stat -c %s {kdumpd.value('InitramfsPath')}"))
    ended = machine.crash_and_end()
    say(
        f"dracut's image has {size / 1e6:.1f} MB; after the crash: "
        f"agent {ended.seconds_to('kdumpd['):.1f} s, saved {ended.seconds_to('saved /'):.1f} s"
    )
    assert size < 30_000_000
    assert any("multipath" in line.text for line in ended.console)
    with another_machine_with(machine, "thin", say=say) as other:
        other.wait_until("test -e /dev/thin/sealed", timeout=60)
        other.put("/root/key", stacks.PASSPHRASE)
        other.sh("cryptsetup open --key-file /root/key /dev/thin/sealed sealed")
        other.sh("mkdir /mnt/sealed && mount /dev/mapper/sealed /mnt/sealed")
        assert whole_dump(other, dump_directory(other, "/mnt/sealed/sealed")).result == "saved"


@pytest.mark.shows("iSCSI", "UUID=", "path")
def test_a_disk_behind_an_iscsi_session_with_chap(
    kdumpd: Installed, machine: Machine, server: Machine, say: Callable[[str], None]
) -> None:
    far.link(machine, server)
    user, password = far.ISCSI_CHAP
    machine.sh(
        f"systemctl start iscsid; iscsiadm -m discovery -t sendtargets -p {far.ADDRESS} >/dev/null; "
        f"node='iscsiadm -m node -T {far.ISCSI_CHAP_TARGET} -p {far.ADDRESS}'; "
        f"$node -o update -n node.session.auth.authmethod -v CHAP; "
        f"$node -o update -n node.session.auth.username -v {user}; "
        f"$node -o update -n node.session.auth.password -v {password}; $node --login && udevadm settle"
    )
    machine.wait_until("ls /dev/disk/by-path/*iscsi*lun-1", timeout=60)
    machine.sh("mke2fs -q -t ext4 $(readlink -f /dev/disk/by-path/*iscsi*lun-1); udevadm settle")
    uuid = machine.sh(
        "udevadm trigger --settle -s block; blkid -s UUID -o value /dev/disk/by-path/*iscsi*lun-1"
    )
    kdumpd.configure_and_arm(f"ext4 UUID={uuid}", "path /far", saying="/far")
    plan = machine.sh("kdumpctl plan 2>&1; kdumpctl plan --json")
    assert f"iSCSI disk sda of {far.ISCSI_CHAP_TARGET} at {far.ADDRESS}" in plan
    assert password not in plan + machine.sh("journalctl -b -o export --no-pager | cat")
    ended = machine.crash_and_end()
    say(
        f"after the crash: mounted {ended.seconds_to('mounted /dev/sda'):.1f} s, saved {ended.seconds_to('saved /'):.1f} s"
    )
    assert not any(password in line.text for line in ended.console)
    server.sh(
        "tgtadm --lld iscsi --op show --mode target >/dev/null; mkdir /mnt/disk; mount -o loop /srv/iscsi/disk /mnt/disk"
    )
    assert whole_dump(server, dump_directory(server, "/mnt/disk/far")).result == "saved"
