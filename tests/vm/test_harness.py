"""The machine itself, before anything is said about kdumpd: it runs, it can be woken and set back, it crashes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.vm import floor
from tests.vm.hardware import Disk
from tests.vm.server import ADDRESS6, VLAN, VLAN_ADDRESS, give_addresses, plug_wires

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.vm.frozen import Frozen
    from tests.vm.machine import Machine


def test_a_woken_machine_is_whole(machine: Machine) -> None:
    assert machine.wait_until_idle() == "running"
    assert "crashkernel=256M" in machine.sh("cat /proc/cmdline")
    assert machine.sh("cat /sys/kernel/kexec_crash_size") == str(256 << 20)
    assert abs(float(machine.sh("date +%s.%N")) - time.time()) < 60


def test_commands_tell_their_status_and_output(machine: Machine) -> None:
    ran = machine.run("sh", "-c", "cat; echo aside >&2; exit 3", stdin=b"in", check=False)
    assert (ran.status, ran.stdout, ran.stderr) == (3, "in", "aside\n")
    with pytest.raises(AssertionError, match="ended with 1"):
        machine.sh("false")


def test_files_go_in_and_come_out_unchanged(machine: Machine) -> None:
    data = bytes(range(256)) * 4096
    machine.put("/root/blob", data, mode=0o600)
    assert machine.sh("stat -c '%a %s' /root/blob") == f"600 {len(data)}"
    assert machine.get("/root/blob") == data


def test_each_machine_wakes_on_a_disk_of_its_own(frozen: Frozen) -> None:
    with frozen.wake() as first:
        first.put("/root/mark", "here")
        first.sh("sync")
    with frozen.wake() as second:
        assert second.run("test", "-e", "/root/mark", check=False).status == 1


def test_a_machine_goes_back_to_its_snapshot(machine: Machine) -> None:
    machine.put("/root/before", "1")
    machine.save("clean")
    machine.put("/root/after", "1")
    machine.load("clean")
    assert machine.sh("ls /root/before /root/after 2>/dev/null", check=False) == "/root/before"


def test_disks_and_cards_can_be_plugged_in(machine: Machine) -> None:
    xfs = machine.plug(Disk(serial="second", filesystem="xfs", label="dumps"))
    nvme = machine.plug(Disk(serial="third", bus="nvme"))
    assert machine.sh(f"lsblk -dno FSTYPE,LABEL {xfs}").split() == ["xfs", "dumps"]
    assert nvme.startswith("/dev/nvme")
    card = machine.plug_card("net")
    machine.sh(f"ip link set {card} up && ip addr add 10.0.2.15/24 dev {card}")
    assert "10.0.2.2 dev" in machine.sh("ip route get 10.0.2.2")


def test_the_server_is_reached_over_a_bond_a_vlan_and_both_families(
    machine: Machine, server: Machine
) -> None:
    first, second = plug_wires(machine, server, count=2)
    machine.sh(
        "modprobe bonding max_bonds=0 && ip link add bond0 type bond mode active-backup miimon 100 && "
        f"ip link set {first} master bond0 && ip link set {second} master bond0"
    )
    give_addresses(machine, "bond0")
    machine.sh(f"ip link set {first} down")
    machine.sh("mkdir /mnt/three /mnt/four /mnt/six")
    machine.sh("mount -t nfs -o vers=3,nolock server:/srv/dumps /mnt/three && touch /mnt/three/3")
    machine.sh("mount -t nfs4 server:/srv/dumps /mnt/four && touch /mnt/four/4")
    machine.sh(f"mount -t nfs4 [{ADDRESS6}]:/srv/dumps /mnt/six && touch /mnt/six/6")
    assert server.sh("ls /srv/dumps").split() == ["3", "4", "6"]
    machine.sh(
        f"ip link add link bond0 name tagged type vlan id {VLAN} && ip link set tagged up && "
        "ip addr add 198.51.100.10/24 dev tagged"
    )
    machine.wait_until(f"timeout 3 bash -c 'exec 3<>/dev/tcp/{VLAN_ADDRESS}/22'", timeout=30)


def test_the_disk_can_be_read_after_the_end(machine: Machine) -> None:
    machine.put("/root/last", "words")
    machine.power_off()
    assert machine.read_offline("/root/last") == b"words"


def test_a_crash_runs_the_loaded_kernel_and_the_system_returns(
    machine: Machine, say: Callable[[str], None]
) -> None:
    floor.arm(machine, collects=True)
    before = machine.agent.boot
    measured = floor.read_off(machine.crash_and_come_back())
    say(f"bare kernel and makedumpfile {measured}")
    machine.console.wait_for("^captured", timeout=1, since=measured.reboot.crashed.number)
    assert machine.sh("cat /proc/sys/kernel/random/boot_id") != before
    # The header's utsname is the release that crashed.
    assert machine.sh(f"head -c 8 {floor.DUMP}") == "KDUMP   "
    machine.sh(f"head -c 4096 {floor.DUMP} | grep -aqF $(uname -r)")


def test_without_a_loaded_kernel_a_crash_is_the_end(frozen: Frozen, console_log: Path) -> None:
    with frozen.wake(log=console_log, stops_at_reboot=True) as machine:
        # A running kdumpd would load it again at once; without the package there is none to stop.
        machine.sh(
            "systemctl stop kdumpd.service 2>/dev/null; kexec -p -u && echo 1 > /proc/sys/kernel/panic"
        )
        machine.crash()
        machine.wait_for_exit(timeout=60)
