"""Whom fence_kdump_send tells, and what stands in its way before the crash."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from kdumpd.core import config, fence
from kdumpd.core.config import Config
from kdumpd.core.document import parse
from kdumpd.core.driver import Driver
from kdumpd.core.inventory import FileFacts, Inventory, Kind
from kdumpd.core.links import Link
from kdumpd.core.network import Hop, Host, Network, OwnAddress
from tests.core.plain import PLAIN

DEBIAN = "/usr/libexec/fence-agents/fence_kdump_send"
MACHINE = replace(
    PLAIN,
    kernel_release="6.12.0",
    host_name="anvil.example.com",
    machine_id="m",
    boot_id="b",
    network=Network(
        addresses=(
            OwnAddress(link="eth0", address="192.0.2.10", prefix=24),
            OwnAddress(link="eth0", address="2001:db8::10", prefix=64),
        ),
        links=(
            Link(
                name="eth0",
                mac="52:54:00:00:0c:01",
                card_mac="52:54:00:00:0c:01",
                drivers=(Driver(name="virtio_net", subsystem="virtio", module="virtio_net"),),
            ),
        ),
        hosts=(
            Host(name="alias", hops=(Hop(address="192.0.2.10", is_local=True),)),
            Host(
                name="other",
                hops=(
                    Hop(address="2001:db8::1", link="eth0", source="2001:db8::10"),
                    Hop(address="192.0.2.1", link="eth0", source="192.0.2.10"),
                ),
            ),
            Host(name="third", hops=(Hop(address="192.0.2.3", link="eth0", source="192.0.2.10"),)),
            Host(name="nowhere", fault="Name or service not known"),
        ),
    ),
)


def configured(text: str) -> Config:
    reading = config.read(parse(text), file="/etc/kdump.conf")
    assert reading.config is not None, reading.problems
    return reading.config


def with_files(*paths: str) -> Inventory:
    files = {path: FileFacts(path=path, kind=Kind.FILE, real=path, mode=0o755, digest="d") for path in paths}
    return Inventory(files=MappingProxyType(files), programs=MappingProxyType({}))


@pytest.mark.parametrize(
    "node",
    [
        *("anvil", "anvil.example.com", "ANVIL", "localhost", "127.0.0.1", "::1"),
        *("192.0.2.10", "2001:db8::10", "alias"),
    ],
)
@pytest.mark.shows("fence_kdump_nodes")
def test_this_machine_is_no_node_to_be_told(node: str) -> None:
    told = fence.nodes(configured(f"# one\nfence_kdump_nodes {node}\n"), MACHINE)
    assert [(each.code, each.line, each.is_error) for each in told.problems] == [
        ("fence-node-is-this-machine", 2, True)
    ]
    assert told.addresses == ()


@pytest.mark.parametrize("path", fence.SENDERS)
def test_the_sender_is_found_where_the_distributions_put_it(path: str) -> None:
    of = configured("fence_kdump_nodes other\n")
    assert fence.sender(of, with_files(path)) == path
    assert list(fence.problems(of, with_files(path))) == []


def test_a_sender_that_is_missing_is_an_error_that_names_the_package() -> None:
    (problem,) = fence.problems(configured("fence_kdump_nodes other\n"), with_files())
    assert (problem.code, problem.line, problem.is_error) == ("fence-sender-missing", 1, True)
    assert "fence-agents-kdump" in problem.hint


def test_without_nodes_nobody_is_told_and_nothing_is_needed() -> None:
    of = configured("path /var/crash\n")
    assert fence.nodes(of, MACHINE) == fence.NO_NODES
    assert fence.sender(of, with_files(DEBIAN)) == ""
    assert fence.command(of, (), "") == ()
    assert list(fence.problems(of, with_files())) == []


def test_options_without_nodes_are_a_warning() -> None:
    (problem,) = fence.problems(configured("fence_kdump_args -p 7410\n"), with_files())
    assert (problem.code, problem.line, problem.is_error) == ("fence-args-without-nodes", 1, False)


@pytest.mark.shows("fence_kdump_nodes", "fence_kdump_args")
def test_the_command_has_the_options_as_they_are_written_and_the_addresses() -> None:
    of = configured("fence_kdump_nodes a b\nfence_kdump_args -p 7410 -f auto -c 0 -i 10\n")
    assert fence.command(of, ("192.0.2.1", "2001:db8::1"), DEBIAN) == (
        DEBIAN,
        *("-p", "7410", "-f", "auto", "-c", "0", "-i", "10"),
        *("192.0.2.1", "2001:db8::1"),
    )


@pytest.mark.shows("fence_kdump_nodes", "fence_kdump_args")
@pytest.mark.parametrize(
    ("arguments", "addresses"),
    [
        ("", ("2001:db8::1", "192.0.2.3")),
        ("-f auto", ("2001:db8::1", "192.0.2.3")),
        ("-f ipv4", ("192.0.2.1", "192.0.2.3")),
        ("-fipv4 -p 7411", ("192.0.2.1", "192.0.2.3")),
        ("--family=ipv4", ("192.0.2.1", "192.0.2.3")),
        ("-f ipv6 -f ipv4", ("192.0.2.1", "192.0.2.3")),
    ],
)
def test_nodes_are_resolved_before_the_crash_in_the_family_that_is_asked_for(
    arguments: str, addresses: tuple[str, ...]
) -> None:
    line = f"fence_kdump_args {arguments}\n" if arguments else ""
    told = fence.nodes(configured(f"fence_kdump_nodes other third\n{line}"), MACHINE)
    assert [each for each in told.problems if each.is_error] == []
    assert told.addresses == addresses
    assert {line for way in told.ways for line in way.lines} >= {"ip link set dev eth0 up"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("fence_kdump_nodes third\nfence_kdump_args -f ipv6\n", "fence-node-unreachable"),
        ("fence_kdump_nodes nowhere\n", "host-unresolved"),
    ],
)
def test_a_node_that_cannot_be_told_is_an_error_of_its_line(text: str, code: str) -> None:
    told = fence.nodes(configured(text), MACHINE)
    assert [(each.code, each.line) for each in told.problems if each.is_error] == [(code, 1)]
