"""A cluster hears of the crash: another machine's fence_kdump, with nothing of ours in it, takes the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vm import server as far
from tests.vm.installed import Installed

if TYPE_CHECKING:
    from tests.vm.machine import Machine

_LISTEN = f"""
systemd-run --quiet --unit=listener --property=RemainAfterExit=yes \\
    fence_kdump --verbose --action=off --nodename={far.CLIENT_ADDRESS} --family=ipv4 --timeout=600
"""


@pytest.mark.shows("fence_kdump_nodes", "fence_kdump_args")
def test_fence_kdump_of_another_machine_hears_of_the_crash(machine: Machine, server: Machine) -> None:
    kdumpd = Installed(machine)
    far.link(machine, server)
    machine.put("/etc/kdump-pre", "#!/bin/sh\nsleep 15\n", mode=0o755)
    kdumpd.configure_and_arm(
        f"fence_kdump_nodes {far.ADDRESS}",
        "fence_kdump_args -p 7410 -f auto -c 0 -i 2",
        "path /var/crash/fenced",
        "kdump_pre /etc/kdump-pre",
        saying="/fenced",
    )
    server.sh(_LISTEN)
    crashed = machine.crash()
    server.wait_until(
        "systemctl show -p Result,SubState,ExecMainStatus listener | grep -q SubState=exited", timeout=300
    )
    assert "ExecMainStatus=0" in server.sh("systemctl show -p ExecMainStatus listener")
    machine.console.wait_for(r"saved /var/crash/fenced/", timeout=300, since=crashed.number)
