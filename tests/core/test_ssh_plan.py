"""The whole plan of an ssh target: what the agent is told, and what nobody else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from kdumpd.core import environment
from kdumpd.core.driver import Driver
from kdumpd.core.inventory import FileFacts, Kind
from kdumpd.core.links import Link
from kdumpd.core.network import Hop, Host, Network, OwnAddress
from kdumpd.core.plan import FromHost, Plan, Written, describe
from kdumpd.core.values import DEFAULT_SSH_KEY
from tests.core.test_resolve import configured
from tests.core.test_ssh import ED25519, server
from tests.machines.expect import Looked, look
from tests.machines.roots import unpack

SEEN = Network(
    links=(
        Link(name="eth0", card_mac="52:54:00:00:00:01", drivers=(Driver(name="e1000", subsystem="pci"),)),
    ),
    addresses=(OwnAddress(link="eth0", address="192.0.2.7", prefix=24),),
    hosts=(Host(name="vault.example", hops=(Hop(address="192.0.2.77", link="eth0", source="192.0.2.7"),)),),
)


async def planned(folder: Path, text: str) -> Plan:
    unpack("virtio", folder)
    looked: Looked = await look(folder, conf="")
    looked.config = configured(text)
    looked.machine = replace(looked.machine, ssh=server(), network=SEEN)
    there = {
        path: FileFacts(path=path, kind=Kind.FILE, real=path, mode=0o755, digest="d-of-it")
        for path in ("/usr/bin/ssh", "/usr/sbin/ip", DEFAULT_SSH_KEY)
    }
    programs = {"ssh": "/usr/bin/ssh", "ip": "/usr/sbin/ip"}
    looked.inventory = replace(
        looked.inventory,
        files=MappingProxyType({**looked.inventory.files, **there}),
        programs=MappingProxyType({**looked.inventory.programs, **programs}),
    )
    resolution = looked.resolve()
    assert resolution.plan is not None, resolution.problems
    return resolution.plan


async def test_the_agent_is_told_words_that_are_safe_for_the_servers_shell(tmp_path: Path) -> None:
    plan = await planned(tmp_path, "ssh dump@vault\npath /it's here\n")
    env = next(item for item in plan.overlay.items if item.path == "/kdump/plan.env")
    assert isinstance(env, Written)
    told = environment.parse(env.text)
    assert told["plan_target_kind"] == "ssh"
    assert told["plan_ssh_hosts"] == "dump@kdump-1"
    assert told["plan_remote_parent"] == """'/it'"'"'s here'"""
    assert told["plan_remote_beginning"] == """'/it'"'"'s here/192.0.2.7-'"""


async def test_secrets_are_for_root_and_in_no_description(tmp_path: Path) -> None:
    plan = await planned(tmp_path, "ssh dump@vault\n")
    items = {item.path: item for item in plan.overlay.items}
    key = items[DEFAULT_SSH_KEY]
    assert isinstance(key, FromHost)
    assert key.mode == 0o600
    for path in ("/kdump/ssh_config", "/kdump/known_hosts"):
        item = items[path]
        assert isinstance(item, Written)
        assert item.mode == 0o600
        assert item.is_secret
    described = json.dumps(describe(plan))
    assert ED25519 not in described
    assert "StrictHostKeyChecking" not in described
