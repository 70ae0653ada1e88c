"""A crash whose dump goes to a server over ssh, as makedumpfile's stream and by scp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kdumpd.core.summary import Summary, read_summary
from kdumpd.core.values import DEFAULT_SSH_KEY
from tests.vm import server as far
from tests.vm.aftermath import PANIC
from tests.vm.installed import CONFIG, NAME, ROOT, Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.machine import Machine

USER = "crash"
IMAGES = "/var/lib/kdumpd"
_ELF_MAGIC = "7f 45 4c 46"
_PASSWORD = "it's $HOME"
_PART_BYTES = 48 << 20
# Emulated, ssh moves a few megabytes a second: scp is shown the beginning of the memory, by a hook of this test.
_FIRST_PART = f"""#!/bin/sh
head -c {_PART_BYTES} /proc/vmcore >/kdumpd/part && mount --bind /kdumpd/part /proc/vmcore
"""


@pytest.fixture
def kdumpd(machine: Machine, server: Machine) -> Installed:
    """With the server at the other end of the wire."""
    far.link(machine, server)
    return Installed(machine)


def _dump_directory(server: Machine, path: str, own_address: str) -> str:
    """The one dump below `path`; its directory there."""
    (directory,) = server.sh(f"ls -d {path}/*").split()
    assert directory.startswith(f"{path}/{own_address}-")
    assert "kdumpd" in server.sh(f"cat {directory}/kexec-dmesg.log")
    return directory


def _only_record(machine: Machine) -> Summary:
    """What the agent left on the root file system of a machine that has ended."""
    below = "/var/lib/kdumpd/remote"
    (name,) = machine.list_offline(below)
    return read_summary(machine.read_offline(f"{below}/{name}"))


def _keeps_to_itself(kdumpd: Installed, secret: str) -> None:
    """Neither what is stored is open to others, nor is the key told to anybody who asks."""
    machine = kdumpd.machine
    assert machine.sh(f"find {IMAGES} -type f | grep -c .") != "0"
    assert machine.sh(f"find {IMAGES} -name 'initr*' -perm /077") == "", "an image holds the key"
    folders = machine.sh(f"stat -c %a {IMAGES} {IMAGES}/images").split()
    assert folders == ["700", "700"]
    told = {
        "journal": machine.sh("journalctl -b --no-pager -o export | cat"),
        "plan": machine.sh("kdumpctl plan; kdumpctl plan --json"),
        "status": machine.sh("kdumpctl status --json; kdumpctl config list --json", check=False),
        "bus": machine.sh(
            f"busctl --json=short call {NAME} {ROOT} org.freedesktop.DBus.ObjectManager GetManagedObjects"
        ),
        "beside the image": machine.sh(f"grep -rlF {secret} {IMAGES} /run/kdumpd", check=False),
    }
    assert DEFAULT_SSH_KEY in told["plan"], "the plan names the key"
    for where, text in told.items():
        assert secret not in text, where
        assert "PRIVATE KEY" not in text, where
    assert told["beside the image"] == ""


def _propagates_over_the_bus(kdumpd: Installed, *, host_key: str) -> None:
    """As a front end has it done that has asked for the password and shown the fingerprint."""
    options = ("a{sv}", "2", "password", "s", _PASSWORD, "host-key", "s", host_key)
    (job,) = kdumpd.call("Propagate", *options, interface=CONFIG)
    of_job = f"{NAME}.Job"
    kdumpd.machine.wait_until(f"busctl get-property {NAME} {job} {of_job} State | grep -q done", timeout=180)
    told = str(kdumpd.value("ErrorMessage", interface=of_job, path=str(job)))
    assert kdumpd.value("Result", interface=of_job, path=str(job)) == "done", told
    assert _PASSWORD not in kdumpd.machine.sh("journalctl -b -u kdumpd -o export --no-pager | cat")


@pytest.mark.shows("ssh", "sshkey", "path", "an ssh server by IPv4", "core_collector makedumpfile")
def test_makedumpfiles_stream_over_ipv4_to_a_user_of_the_server(
    kdumpd: Installed, machine: Machine, server: Machine, say: Callable[[str], None]
) -> None:
    far.trust(machine, server, name=far.ADDRESS, user=USER, key=DEFAULT_SSH_KEY)
    secret = machine.get(DEFAULT_SSH_KEY).decode().splitlines()[1]
    path = f"/home/{USER}/dumps"
    kdumpd.configure_and_arm(f"ssh {USER}@{far.ADDRESS}", f"path {path}", saying=path)
    assert f"could be written to {path}" in machine.sh("service kdump propagate </dev/null")
    machine.sh("kdumpctl test-target", timeout=400)
    assert kdumpd.value("TargetTestResult") == "passed", kdumpd.value("TargetTestMessage")
    assert server.sh(f"ls -A {path}") == "", "what was tried is taken away again"
    _keeps_to_itself(kdumpd, secret)
    ended = machine.crash_and_end()
    say(
        f"after the crash: agent {ended.seconds_to('kdumpd['):.1f} s, reached {ended.seconds_to('reached '):.1f} s, "
        f"collector {ended.seconds_to('into a stream'):.1f} s, saved {ended.seconds_to(': saved '):.1f} s"
    )
    directory = _dump_directory(server, path, far.CLIENT_ADDRESS)
    assert set(server.sh(f"ls -A {directory}").split()) == {
        "vmcore.flat",
        "vmcore-dmesg.txt",
        "kexec-dmesg.log",
        "summary.json",
    }
    assert PANIC in server.sh(f"cat {directory}/vmcore-dmesg.txt")
    server.sh(f"makedumpfile -R /root/vmcore < {directory}/vmcore.flat", timeout=300)
    server.sh("makedumpfile --dump-dmesg /root/vmcore /root/read-back")
    assert PANIC in server.sh("cat /root/read-back")
    summary = read_summary(server.get(f"{directory}/summary.json"))
    assert summary.result == "saved"
    assert summary.vmcore_bytes == int(server.sh(f"stat -c %s {directory}/vmcore.flat"))
    record = _only_record(machine)
    assert record.result == "saved"
    assert record.target == f"{USER}@{far.ADDRESS}"
    assert record.directory == directory
    assert secret not in "\n".join(line.text for line in ended.console)


@pytest.mark.shows("core_collector scp", "an ssh server by IPv6", "bridge", "sshkey", "kdump_pre")
def test_scp_over_ipv6_and_a_bridge_with_the_options_of_ssh_config(
    machine: Machine, server: Machine, say: Callable[[str], None]
) -> None:
    kdumpd = Installed(machine)
    (card,) = far.plug_wires(machine, server)
    # A bridge's address is made of its name: as br0 it would have the server's.
    machine.sh(f"ip link add lan0 type bridge stp_state 0 forward_delay 0; ip link set {card} up master lan0")
    far.give_addresses(machine, "lan0")
    server.run("chpasswd", stdin=f"{USER}:{_PASSWORD}".encode())
    mark = server.sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    machine.sh("mkdir -p -m 700 /root/.ssh")
    machine.put("/root/.ssh/config", "Host dumps\n  HostName 2001:db8::1\n  Ciphers aes128-ctr\n", mode=0o600)
    machine.put("/etc/kdump-pre", _FIRST_PART, mode=0o755)
    path = f"/home/{USER}/dumps/scp"
    kdumpd.configure(f"ssh {USER}@dumps", f"path {path}", "core_collector scp", "kdump_pre /etc/kdump-pre")
    kdumpd.wait_for("StateReason", "ssh-key-missing")
    _propagates_over_the_bus(kdumpd, host_key=mark)
    kdumpd.wait_until_armed(saying=path)
    kdumpd.wait_for("Activity", "idle")
    assert f"bridge lan0 on card {card}" in machine.sh("kdumpctl plan")
    ended = machine.crash_and_end()
    say(
        f"after the crash: collector {ended.seconds_to('running scp'):.1f} s, saved {ended.seconds_to(': saved '):.1f} s"
    )
    directory = _dump_directory(server, path, far.CLIENT_ADDRESS6)
    assert server.sh(f"stat -c %s {directory}/vmcore") == str(_PART_BYTES)
    assert server.sh(f"head -c 4 {directory}/vmcore | od -An -tx1").strip() == _ELF_MAGIC
    assert read_summary(server.get(f"{directory}/summary.json")).result == "saved"
