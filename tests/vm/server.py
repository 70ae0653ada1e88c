"""The machine at the other end of the wire: NFS, SSH, iSCSI and DNS, answering within seconds of waking."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.build import image
from tests.vm.frozen import freeze
from tests.vm.hardware import Shape, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.frozen import Frozen
    from tests.vm.machine import Machine

NAME = "server.kdumpd.test"
NAME6 = "server6.kdumpd.test"
NAME_IN_DNS = "named.kdumpd.test"  # both families; named6.kdumpd.test has the second only
ADDRESS = "192.0.2.1"
ADDRESS6 = "2001:db8::1"
VLAN = 7
VLAN_ADDRESS = "198.51.100.1"
VLAN_ADDRESS6 = "2001:db8:7::1"
FAR_ADDRESS = "203.0.113.1"  # only by way of ADDRESS as gateway
FAR_ADDRESS6 = "2001:db8:f::1"
EXPORT = "/srv/dumps"
SQUASHED_EXPORT = "/srv/squashed"
READ_ONLY_EXPORT = "/srv/readonly"
ISCSI_TARGET = "iqn.2026-01.test.kdumpd:open"
ISCSI_CHAP_TARGET = "iqn.2026-01.test.kdumpd:chap"
ISCSI_CHAP = ("crashbox", "correct-horse-battery")
CLIENT_ADDRESS = "192.0.2.10"
CLIENT_ADDRESS6 = "2001:db8::10"

_SERVE = Path(__file__).parent / "guest" / "serve.sh"
_SHAPE = Shape(memory_mib=1024, cpus=1, crashkernel="", cards=2)
# The kernel's NFS server refuses new opens for its grace time after the start.
_GRACE_IS_OVER = 'test "$(cat /proc/fs/nfsd/v4_end_grace)" = Y'


def frozen_server(*, say: Callable[[str], None]) -> Frozen:
    """The server, asleep with all its services up; the same for every package under test."""
    recipe = hashlib.sha256(_SERVE.read_bytes()).hexdigest()[:16]
    return freeze(image(say=say), shape=_SHAPE, ready=_serve, means=f"serving {recipe}", say=say)


def _serve(machine: Machine) -> None:
    machine.wait_until_idle()
    machine.sh(_SERVE.read_text(), timeout=300)
    for port in (22, 53, 111, 2049, 3260):
        machine.wait_until(f"ss -Hltn sport = :{port} | grep -q .", timeout=60)
    machine.wait_until(_GRACE_IS_OVER, timeout=120)


def plug_wires(client: Machine, server: Machine, *, count: int = 1) -> tuple[str, ...]:
    """Cards of the client linked to the server's, without addresses; their interfaces in order."""
    return tuple(
        client.plug_card(
            f"wire{number}",
            Wire(directory=server.directory, number=number).netdev(far_end=True),
            mac=f"52:54:00:00:0c:{number + 1:02x}",
        )
        for number in range(count)
    )


def link(client: Machine, server: Machine) -> str:
    """One card of the client with an address of each family, and the server heard through it; its interface."""
    (card,) = plug_wires(client, server)
    give_addresses(client, card)
    return card


def trust(client: Machine, server: Machine, *, name: str, user: str = "root", key: str) -> None:
    """The server lets the client's root in as `user`, by `key`, and is known to it as `name`."""
    client.sh(
        f"mkdir -p -m 700 /root/.ssh; [ -e {key} ] || ssh-keygen -q -t ed25519 -N '' -C kdump@client -f {key}; "
        f"ssh-keyscan -T 30 -t ed25519 {name} >>/root/.ssh/known_hosts"
    )
    home = server.sh(f"getent passwd {user} | cut -d: -f6")
    server.put(f"{home}/.ssh/authorized_keys", client.get(f"{key}.pub"), mode=0o600)
    server.sh(f"chown -R {user} {home}/.ssh")


def give_addresses(client: Machine, interface: str) -> None:
    """Gives the interface the client's addresses and waits until the server has been heard."""
    client.sh(
        f"ip link set {interface} up; ip addr add {CLIENT_ADDRESS}/24 dev {interface}; "
        f"ip addr add {CLIENT_ADDRESS6}/64 dev {interface} nodad"
    )
    for server in (ADDRESS, ADDRESS6):
        client.wait_until(f"timeout 3 bash -c 'exec 3<>/dev/tcp/{server}/22'", timeout=30)
