"""A crash whose dump goes to an NFS server or to a directory that the hypervisor shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kdumpd.core.summary import Summary, read_summary
from tests.vm import server as far
from tests.vm.aftermath import PANIC
from tests.vm.installed import Installed
from tests.vm.share import shared

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vm.machine import Machine

FILES = {"vmcore", "vmcore-dmesg.txt", "kexec-dmesg.log", "summary.json"}


@pytest.fixture
def kdumpd(machine: Machine, server: Machine) -> Installed:
    """With the server at the other end of the wire."""
    far.link(machine, server)
    return Installed(machine)


def _saved(server: Machine, path: str, own_address: str) -> str:
    """The one dump below `path` of the export, whole; its directory there."""
    (directory,) = server.sh(f"ls -d {far.EXPORT}{path}/*").split()
    assert directory.startswith(f"{far.EXPORT}{path}/{own_address}-")
    assert set(server.sh(f"ls {directory}").split()) == FILES
    assert PANIC in server.sh(f"cat {directory}/vmcore-dmesg.txt")
    assert read_summary(server.get(f"{directory}/summary.json")).result == "saved"
    assert server.sh(f"head -c 8 {directory}/vmcore") == "KDUMP   ", "makedumpfile's own beginning"
    return directory


def _only_record(machine: Machine, folder: str) -> Summary:
    """What the agent left on the root file system of a machine that has ended."""
    below = f"/var/lib/kdumpd/{folder}"
    (name,) = machine.list_offline(below)
    return read_summary(machine.read_offline(f"{below}/{name}"))


@pytest.mark.shows("nfs4", "NFS 4", "an NFS server by IPv4", "path")
def test_nfs4_by_name_over_ipv4_and_what_is_known_of_it_afterwards(
    kdumpd: Installed, machine: Machine, server: Machine
) -> None:
    kdumpd.configure_and_arm(f"nfs4 server:{far.EXPORT}", "path /four", saying="/four")
    machine.crash_and_come_back()
    directory = _saved(server, "/four", far.CLIENT_ADDRESS)
    # The card has no address after this reboot: nobody could ask the server.
    kdumpd.wait_for("LastDump", "/dumps/", timeout=300)
    assert f"server:{directory}" in machine.sh("journalctl -b -u kdumpd -o cat --no-pager")


@pytest.mark.shows("dracut_args --mount", "NFS 3")
@pytest.mark.parametrize(
    ("address", "host", "own"),
    [
        pytest.param(
            *(far.ADDRESS, far.ADDRESS, far.CLIENT_ADDRESS),
            marks=pytest.mark.shows("an NFS server by IPv4"),
            id="IPv4",
        ),
        pytest.param(
            *(far.ADDRESS6, f"[{far.ADDRESS6}]", far.CLIENT_ADDRESS6),
            marks=pytest.mark.shows("an NFS server by IPv6"),
            id="IPv6",
        ),
    ],
)
def test_nfs3_as_dracuts_mount_says_it(
    kdumpd: Installed, machine: Machine, server: Machine, address: str, host: str, own: str
) -> None:
    mount = f"{host}:{far.EXPORT} /mnt nfs nfsvers=3,_netdev"
    kdumpd.configure_and_arm(f'dracut_args --mount "{mount}"', "path /three", saying="/three")
    ended = machine.crash_and_end()
    ended.seconds_to(f"(vers=3 at {address})")
    _saved(server, "/three", own)
    assert _only_record(machine, "remote").target == f"{host}:{far.EXPORT}"


@pytest.mark.shows("nfs", "net", "NFS 4", "an NFS server by IPv6")
def test_nfs_over_ipv6(kdumpd: Installed, machine: Machine, server: Machine) -> None:
    kdumpd.configure_and_arm(f"net [{far.ADDRESS6}]:{far.EXPORT}", "path /six", saying="/six")
    ended = machine.crash_and_end()
    ended.seconds_to(f"(vers=4.2 at {far.ADDRESS6})")
    _saved(server, "/six", far.CLIENT_ADDRESS6)


@pytest.mark.shows("disk_timeout", "failure_action", "failure_action poweroff")
def test_a_server_that_was_stopped_is_waited_for_and_then_given_up(
    kdumpd: Installed, machine: Machine, server: Machine
) -> None:
    kdumpd.configure_and_arm(
        f"nfs server:{far.EXPORT}", "path /none", "disk_timeout 20", "failure_action poweroff", saying="/none"
    )
    server.sh("systemctl stop nfs-server")
    ended = machine.crash_and_end()
    waited = ended.seconds_to("failed at mount: ") - ended.seconds_to("mounting server:")
    assert 15 < waited < 120, "20 s by the machine's own clock"
    record = _only_record(machine, "failures")
    assert record.failing_step == "mount"
    assert f"vers=4.2 at {far.ADDRESS}: Connection refused" in record.reason
    ended.seconds_to("]: poweroff")


@pytest.mark.shows("nfs")
def test_an_export_that_takes_root_for_nobody_is_told_plainly(kdumpd: Installed, machine: Machine) -> None:
    kdumpd.configure_and_arm(f"nfs server:{far.SQUASHED_EXPORT}", "path /squashed", saying="/squashed")
    machine.crash_and_end()
    record = _only_record(machine, "failures")
    assert record.failing_step == "directory"
    assert "Permission denied (the export has root_squash" in record.reason


@pytest.mark.shows("virtiofs", "path")
def test_virtiofs(machine: Machine, tmp_path: Path) -> None:
    kdumpd = Installed(machine)
    with shared(machine, tmp_path, tag="dumps"):
        machine.sh("modprobe virtiofs")
        kdumpd.configure_and_arm("virtiofs dumps", "path /crash", saying="/crash")
        machine.crash_and_end()
    (directory,) = (tmp_path / "crash").iterdir()
    assert directory.name.startswith("127.0.0.1-")
    assert {each.name for each in directory.iterdir()} == FILES
    assert PANIC in (directory / "vmcore-dmesg.txt").read_text(errors="replace")
    assert _only_record(machine, "remote").target == "dumps"
