"""Real crashes whose dump leaves over a network that has to be made of several links first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm import server as far
from tests.vm.installed import Installed

if TYPE_CHECKING:
    from tests.vm.machine import Machine

KEY = "/root/.ssh/kdump_id_rsa"


@pytest.fixture
def kdumpd(machine: Machine) -> Installed:
    return Installed(machine)


def reaches(machine: Machine, address: str) -> None:
    machine.wait_until(f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/22'", timeout=60)


def dump_on(server: Machine, directory: str) -> str:
    """The one dump directory there, whose vmcore is a dump of a panic."""
    found = server.sh(f"ls -d {directory}/*/").split()
    assert len(found) == 1, found
    assert "vmcore" in server.sh(f"ls {found[0]}"), found
    assert "sysrq triggered crash" in server.sh(f"cat {found[0]}vmcore-dmesg.txt")
    return found[0]


@pytest.mark.shows("ssh", "sshkey", "link_delay", "an ssh server by IPv4", "bond", "vlan", "vlan on a bond")
def test_a_dump_goes_by_ssh_over_a_vlan_on_a_bond(
    kdumpd: Installed, machine: Machine, server: Machine
) -> None:
    one, other = far.plug_wires(machine, server, count=2)
    machine.sh(
        "ip link add bond0 type bond mode active-backup miimon 100; "
        f"ip link set {one} down; ip link set {other} down; "
        f"ip link set {one} master bond0; ip link set {other} master bond0; ip link set bond0 up; "
        f"ip link add link bond0 name bond0.{far.VLAN} type vlan id {far.VLAN}; "
        f"ip link set bond0.{far.VLAN} mtu 1400 up; ip addr add 198.51.100.10/24 dev bond0.{far.VLAN}"
    )
    reaches(machine, far.VLAN_ADDRESS)
    far.trust(machine, server, name=far.VLAN_ADDRESS, key=KEY)
    kdumpd.configure_and_arm(
        f"ssh root@{far.VLAN_ADDRESS}",
        f"sshkey {KEY}",
        "path /srv/dumps/bond",
        "core_collector makedumpfile -F -l --message-level 7 -d 31",
        "link_delay 2",
        saying="/srv/dumps/bond",
    )
    plan = machine.sh("kdumpctl plan")
    assert f"vlan bond0.{far.VLAN} ({far.VLAN}) on bond bond0 (active-backup) on (card {one}" in plan
    crashed = machine.crash_and_end()
    assert crashed.seconds_to("waiting link_delay, 2 s") < crashed.seconds_to("saved ")
    dump = dump_on(server, "/srv/dumps/bond")
    assert dump.startswith("/srv/dumps/bond/198.51.100.10-")
