"""Whom fence_kdump_send tells of a crash, over which ways, and with which command."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace

from kdumpd.core.config import Config
from kdumpd.core.inventory import Inventory, Kind
from kdumpd.core.located import Line
from kdumpd.core.machine import Machine
from kdumpd.core.network import Way, way_to
from kdumpd.core.problems import Problem, Severity

SENDERS = ("/usr/libexec/fence_kdump_send", "/usr/libexec/fence-agents/fence_kdump_send")
"""Where Fedora and RHEL have it, and where Debian does."""
_FAMILIES = {"ipv4": 4, "ipv6": 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """The nodes as the capture kernel is to be told of them: their addresses, and the ways to them."""

    addresses: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()
    problems: tuple[Problem, ...] = ()


NO_NODES = Nodes()


def hosts(config: Config) -> frozenset[str]:
    return frozenset(config.fence_kdump_nodes)


def nodes(config: Config, machine: Machine) -> Nodes:
    """Names are resolved now: there is no time for it in the capture kernel, and perhaps no name server."""
    line = _line(config, "fence_kdump_nodes")
    addresses: list[str] = []
    ways: list[Way] = []
    problems: list[Problem] = []
    family = _family(config.fence_kdump_args)
    for node in config.fence_kdump_nodes:
        if _is_own(node, machine):
            problems.append(
                line.problem(
                    "fence-node-is-this-machine",
                    f"`{node}` is this machine itself, which does not need to be told of its own crash",
                    "name only the other nodes of the cluster",
                )
            )
            continue
        way = way_to(machine.network, node)
        if not isinstance(way, Way):
            problems += [line.placed(problem) for problem in way]
            continue
        problems += [line.placed(problem) for problem in (*way.warnings, *way.beyond_direct)]
        fitting = [address for address in way.addresses if family in {0, _version(address)}]
        if not fitting:
            problems.append(
                line.problem(
                    "fence-node-unreachable",
                    f"`{node}` has no address that fence_kdump_send could reach"
                    + (f" by ipv{family}" if family else ""),
                    "see the -f of fence_kdump_args" if family else "",
                )
            )
            continue
        addresses.append(fitting[0])
        ways.append(way)
    return Nodes(
        addresses=tuple(dict.fromkeys(addresses)), ways=tuple(dict.fromkeys(ways)), problems=tuple(problems)
    )


def sender(config: Config, inventory: Inventory) -> str:
    """The sender's path, "" where none is installed or none is wanted."""
    if not config.fence_kdump_nodes:
        return ""
    return next((path for path in SENDERS if inventory.facts(path).kind is Kind.FILE), "")


def command(config: Config, addresses: tuple[str, ...], path: str) -> tuple[str, ...]:
    """What the agent starts; () where there is nobody to tell."""
    return (path, *config.fence_kdump_args, *addresses) if path and addresses else ()


def problems(config: Config, inventory: Inventory) -> Iterator[Problem]:
    """What is wrong beside the nodes themselves."""
    if config.fence_kdump_nodes and not sender(config, inventory):
        yield missing_sender(config)
    if config.fence_kdump_args and not config.fence_kdump_nodes:
        problem = _line(config, "fence_kdump_args").problem(
            "fence-args-without-nodes",
            "fence_kdump_args does nothing without fence_kdump_nodes",
            "name the nodes of the cluster with fence_kdump_nodes",
        )
        yield replace(problem, severity=Severity.WARNING)


def missing_sender(config: Config) -> Problem:
    return _line(config, "fence_kdump_nodes").problem(
        "fence-sender-missing",
        "fence_kdump_send is not installed: the cluster would not be told of a crash",
        "install the package fence-agents-kdump",
    )


def _line(config: Config, key: str) -> Line:
    return Line(number=config.lines.get(key, 0), key=key)


def _family(arguments: tuple[str, ...]) -> int:
    """4 or 6 where `-f` says so, else 0; the last one counts, as with getopt."""
    chosen = 0
    for word, after in zip(arguments, (*arguments[1:], ""), strict=False):
        if word in {"-f", "--family"}:
            chosen = _FAMILIES.get(after, 0)
        elif word.startswith(("-f", "--family=")):
            chosen = _FAMILIES.get(word.removeprefix("--family=").removeprefix("-f"), 0)
    return chosen


def _version(address: str) -> int:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).version
    except ValueError:
        return 0


def _is_own(node: str, machine: Machine) -> bool:
    names = {machine.host_name, machine.host_name.partition(".")[0], "localhost"} - {""}
    own = {address.address for address in machine.network.addresses}
    host = machine.network.host(node)
    if node.lower() in {name.lower() for name in names} or node in own:
        return True
    try:
        if ipaddress.ip_address(node).is_loopback:
            return True
    except ValueError:
        pass
    return host is not None and any(hop.is_local for hop in host.hops)
