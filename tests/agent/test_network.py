"""The network in the capture kernel: with stubs what is called, in a network namespace what comes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd import agent
from kdumpd.core.environment import render
from kdumpd.core.targets import TargetKind
from tests.agent.capture_kernel import ENVIRONMENT, CaptureKernel

MAC = "52:54:00:00:0c:01"
LINES = (
    f"await_cards enp1s0 {MAC}",
    "ip link set dev enp1s0 up",
    "own_address enp1s0 192.0.2.10/24",
    "await_carrier enp1s0",
    "ip -4 route replace 203.0.113.1 via 192.0.2.1 dev enp1s0 src 192.0.2.10",
    "await_neighbour enp1s0 192.0.2.1 203.0.113.1",
)

# As the kernel: a link is a folder, and a name is where it is.
IP = """called "$@"
    net=$KDUMPD_ROOT/sys/class/net
    case "$*" in
    *"down up") ;;
    "link set dev "*" name "*) mv "$net/$4" "$net/$6" ;;
    "link add name "*) mkdir "$net/$4"; echo 1 >"$net/$4/carrier" ;;
    "neigh show dev "*) cat "$KDUMPD_ROOT/neighbours" 2>/dev/null ;;
    esac"""


@pytest.fixture
def wired(kernel: CaptureKernel) -> CaptureKernel:
    kernel.program("ip", IP)
    kernel.program("ping", 'called "$@"')
    plug(kernel, "eth0", MAC)
    return kernel


def plug(kernel: CaptureKernel, name: str, mac: str, *, carrier: str = "1", kind: str = "") -> None:
    kernel.write(f"sys/class/net/{name}/address", f"{mac}\n".encode())
    kernel.write(f"sys/class/net/{name}/carrier", f"{carrier}\n".encode())
    kernel.write(f"sys/class/net/{name}/uevent", f"{kind}INTERFACE={name}\n".encode())


def asked_of_ip(kernel: CaptureKernel) -> list[str]:
    return [call for call in kernel.calls if call.startswith("ip ")]


def test_a_card_gets_its_name_back_and_then_all_else(wired: CaptureKernel) -> None:
    wired.capture(network=LINES)
    assert asked_of_ip(wired) == [
        "ip link set dev lo up",
        "ip link set dev eth0 down",
        "ip link set dev eth0 name enp1s0",
        "ip link set dev enp1s0 up",
        "ip address add 192.0.2.10/24 dev enp1s0",
        "ip -4 route replace 203.0.113.1 via 192.0.2.1 dev enp1s0 src 192.0.2.10",
    ]
    assert "ping -c 1 -W 1 203.0.113.1" in wired.calls
    assert "failed" not in wired.console


def test_another_card_with_that_name_makes_room(wired: CaptureKernel) -> None:
    plug(wired, "enp1s0", "52:54:00:00:0c:99")
    wired.capture(network=LINES)
    assert asked_of_ip(wired)[1:5] == [
        "ip link set dev enp1s0 down",
        "ip link set dev enp1s0 name other1",
        "ip link set dev eth0 down",
        "ip link set dev eth0 name enp1s0",
    ]


def test_what_is_made_of_a_card_is_not_taken_for_it(wired: CaptureKernel) -> None:
    plug(wired, "bond0", MAC, kind="DEVTYPE=bond\n")
    wired.capture(network=LINES)
    assert "ip link set dev eth0 name enp1s0" in wired.calls
    assert "ip link set dev bond0 name enp1s0" not in wired.calls


@pytest.mark.shows("bond")
def test_half_of_a_bond_is_a_bond(wired: CaptureKernel) -> None:
    wired.write("sys/class/net/bond0/carrier", b"0\n")  # made by the module as it was loaded
    wired.program(
        "ip", IP.replace("case", 'case "$*" in "link delete dev bond0") rm -r "$net/bond0" ;; esac\ncase')
    )
    wired.capture(
        network=(
            f"await_cards eth0 {MAC} eth1 52:54:00:00:0c:02",
            "make_link bond0 type bond mode active-backup miimon 100",
            "join_link bond0 eth0",
            "join_link bond0 eth1",
            "ip link set dev bond0 up",
            "own_address bond0 192.0.2.10/24",
            "await_carrier bond0",
            "await_neighbour bond0 192.0.2.1 192.0.2.1",
        )
    )
    assert asked_of_ip(wired) == [
        "ip link set dev lo up",
        "ip link delete dev bond0",
        "ip link add name bond0 type bond mode active-backup miimon 100",
        "ip link set dev eth0 master bond0",
        "ip link set dev bond0 up",
        "ip address add 192.0.2.10/24 dev bond0",
    ]
    assert "no card with the address 52:54:00:00:0c:02 came" in wired.console
    assert "mount -t ext4 -o rw /dev/vda1 /kdumpd/target" in wired.calls


def test_a_card_that_does_not_come_is_awaited_for_so_long_and_no_longer(wired: CaptureKernel) -> None:
    shutil.rmtree(wired.root / "sys/class/net/eth0")
    wired.capture(network=LINES, disk_timeout=1)
    assert f"no card with the address {MAC} came" in wired.console


def test_a_cable_that_is_not_plugged_in_is_named(wired: CaptureKernel) -> None:
    plug(wired, "eth0", MAC, carrier="0")
    wired.program("ping", "exit 1")
    wired.capture(network=LINES, disk_timeout=1)
    assert "there is no carrier on enp1s0" in wired.console


def test_a_server_that_hides_from_ping_is_there_when_its_gateway_is(wired: CaptureKernel) -> None:
    wired.program("ping", "exit 1")
    wired.write("neighbours", b"192.0.2.7 FAILED\n192.0.2.1 lladdr 52:54:00:00:00:01 REACHABLE\n")
    wired.capture(network=LINES)
    assert "nobody answers" not in wired.console


def test_nobody_there_is_told_after_a_bound(wired: CaptureKernel) -> None:
    wired.program("ping", "exit 1")
    wired.write("neighbours", b"192.0.2.1 dev enp1s0 FAILED\n")
    wired.capture(network=LINES, disk_timeout=1)
    assert "nobody answers on enp1s0, neither 203.0.113.1 nor 192.0.2.1" in wired.console
    assert "mount -t ext4 -o rw /dev/vda1 /kdumpd/target" in wired.calls


def test_a_server_is_not_tried_without_a_network_and_the_record_says_why(wired: CaptureKernel) -> None:
    wired.program("ping", "exit 1")
    plug(wired, "eth0", MAC, carrier="0")
    wired.capture(network=LINES, disk_timeout=1, target_kind=TargetKind.NFS, target_needs_network=1)
    assert "failed at network: there is no carrier on enp1s0" in wired.console
    assert not any(call.startswith("mount") and "nfs" in call for call in wired.calls)


@pytest.mark.shows("link_delay")
def test_link_delay_lies_between_the_links_and_the_first_packet(wired: CaptureKernel) -> None:
    wired.program(
        "sleep", f'[ "$1" != 77 ] || called "$@"; [ "$1" = 77 ] || exec {shutil.which("sleep")} "$@"'
    )
    wired.capture(network=LINES, link_delay=77)
    calls = wired.calls
    assert calls.index("sleep 77") < calls.index("ping -c 1 -W 1 203.0.113.1")
    assert calls.index("sleep 77") > calls.index("ip address add 192.0.2.10/24 dev enp1s0")


WORLD = """
set -e
mount -t sysfs sysfs "$ROOT/sys"
unshare -n sleep 60 &
far=$!
# The namespace is there once the process has left ours.
until [ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add early0 address 02:00:00:00:00:07 type veth peer name far0
ip link set far0 netns $far
nsenter -t $far -n sh -c '
    echo 0 >/proc/sys/net/ipv6/conf/far0/accept_dad
    ip link set far0 up; ip link set lo up
    ip addr add 192.0.2.1/24 dev far0; ip addr add 2001:db8::1/64 dev far0 nodad; ip addr add fe80::1/64 dev far0 nodad
    ip addr add 203.0.113.1/32 dev lo; ip addr add 2001:db8:f::1/128 dev lo nodad'
"$@" "$ROOT/try.sh"
kill $far
"""
TRY = """
root=$ROOT
. "$root/kdump/plan.env"
for part in console patience devices target network; do . "$root/kdump/$part.sh"; done
reason=
bring_up_network && require_network && echo "the network is up"
ip address
ip -4 route
ip -6 route
"""
REAL = (
    "await_cards net7 02:00:00:00:00:07",
    "ip link set dev net7 mtu 1400",
    "ip link set dev net7 up",
    "make_link br0 address 02:00:00:00:00:07 type bridge stp_state 0 forward_delay 0",
    "join_link br0 net7",
    "ip link set dev br0 up",
    "own_address br0 192.0.2.10/24",
    "own_address br0 2001:db8::10/64",
    "await_carrier br0",
    "ip -4 route replace 203.0.113.1 via 192.0.2.1 dev br0 src 192.0.2.10",
    "ip -6 route replace 2001:db8:f::1 via fe80::1 dev br0",
    "await_neighbour br0 192.0.2.1 203.0.113.1",
    "await_neighbour br0 fe80::1 2001:db8:f::1",
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
@pytest.mark.shows("bridge")
def test_a_bridge_comes_up_in_a_real_kernel(tmp_path: Path, shell: tuple[str, ...]) -> None:
    for name, content in agent.files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "proc").symlink_to("/proc")
    for folder in ("sys", "kdumpd"):
        (tmp_path / folder).mkdir()
    told = render(replace(ENVIRONMENT, network=REAL, disk_timeout=10, poll_seconds=0.2))
    (tmp_path / "kdump/plan.env").write_text(told)
    (tmp_path / "try.sh").write_text(TRY)
    outcome = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-c", WORLD, "world", *shell],
        env={"ROOT": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = outcome.stdout + outcome.stderr
    assert outcome.returncode == 0, said
    for expected in (
        "the network is up",
        "net7@",
        "inet 192.0.2.10/24 scope global br0",
        "inet6 2001:db8::10/64 scope global",
        "203.0.113.1 via 192.0.2.1 dev br0 src 192.0.2.10",
        "2001:db8:f::1 via fe80::1 dev br0",
    ):
        assert expected in said, said
    assert "tentative" not in said.partition("2001:db8::10/64")[2].partition("\n")[0]
