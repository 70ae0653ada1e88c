"""How the capture kernel reaches a server: links, addresses and routes of the running system, copied."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from kdumpd.core.links import Card, Link, LinkLayer, UnknownLink, lines_of, links_under, needs_of, told
from kdumpd.core.needs import NO_NEEDS, Needs, together
from kdumpd.core.plan import Written
from kdumpd.core.problems import Problem, Severity

MOST_ADDRESSES = 8
"""Of one server: more would only be tried one after another while a crashed machine waits."""

_LOCALHOST = "127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAddress:
    """One address of this machine with the length of its prefix in bits."""

    link: str
    address: str
    prefix: int
    is_lasting: bool = True
    """Of global scope, and neither temporary (RFC 8981) nor deprecated, tentative or a duplicate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """What the kernel answers when asked for the way to one address (`ip route get`)."""

    address: str
    link: str = ""
    gateway: str = ""
    """Empty where the address is on the link itself."""
    source: str = ""
    """Own address that it would send from."""
    is_local: bool = False
    """The address is this machine's own."""
    fault: str = ""
    """Why there is no way, in the kernel's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host that the capture kernel has to reach, by the name it was asked for."""

    name: str
    hops: tuple[Hop, ...] = ()
    """One for each address of the name, best first."""
    fault: str = ""
    """Why the name has no address now; with hops, they are those that it had last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Links, addresses, and for each wanted host its addresses and the way to them."""

    links: tuple[Link, ...] = ()
    addresses: tuple[OwnAddress, ...] = ()
    hosts: tuple[Host, ...] = ()
    hosts_file: str = ""
    """What of hosts(5) is no comment."""
    resolver: str = ""
    """What of resolv.conf(5) is no comment."""
    fault: str = ""
    """Why nothing is known of it, where that is so: `ip` is not installed, or does not answer."""

    def host(self, name: str) -> Host | None:
        return next((host for host in self.hosts if host.name == name), None)


NO_NETWORK = Network()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What brings up the network towards one server."""

    needs: Needs = NO_NEEDS
    lines: tuple[str, ...] = ()
    """For the agent's bring_up_network, in this order; one that stands in the ways to two servers is done once."""
    source: str = ""
    """Own address towards the server."""
    addresses: tuple[str, ...] = ()
    """Those of the server that can be reached, best first."""
    words: str = ""
    modaliases: tuple[str, ...] = ()
    """Of the cards and what they hang on: another kernel may have as a module what is built in here."""
    beyond_direct: tuple[Problem, ...] = ()
    """Why engine direct cannot bring it up; empty where it can."""
    warnings: tuple[Problem, ...] = ()
    """To be told beside it, such as a name that has no address at the moment."""


def way_to(network: Network, host: str) -> Way | tuple[Problem, ...]:
    """How the capture kernel reaches `host`, or every reason why it does not.

    The problems name no line of kdump.conf: `Line.placed` gives them that of the directive that names the host.
    """
    seen = network.host(host)
    if network.fault or seen is None:
        why = network.fault or "it was not asked for"
        return (Problem(code="network-unseen", message=f"the way to {host} is not known: {why}"),)
    if not seen.hops:
        return (_unresolved(seen),)
    if any(hop.is_local for hop in seen.hops):
        message = f"{host} is this machine itself: a dump sent to it would be lost with it"
        return (Problem(code="host-is-this-machine", message=message, hint="name another host"),)
    hops = tuple(hop for hop in seen.hops if hop.link and not hop.fault)[:MOST_ADDRESSES]
    if not hops:
        return (_unreachable(seen),)
    layers = _layers(network, hops)
    unknown = tuple(layer for layer in layers if isinstance(layer, UnknownLink))
    known = tuple(layer for layer in layers if not isinstance(layer, UnknownLink))
    sources = {hop: _source(network, hop) for hop in hops}
    first = sources[hops[0]]
    cards = tuple(layer.link for layer in layers if isinstance(layer, Card))
    return Way(
        needs=together((*(needs_of(layer) for layer in known), *map(_needs_of_hop, hops))),
        lines=tuple(
            dict.fromkeys(_lines(cards, (line for each in known for line in lines_of(each)), sources))
        ),
        source=first.address,
        addresses=tuple(hop.address for hop in hops),
        words=" and ".join(told(layers, link) for link in dict.fromkeys(hop.link for hop in hops)),
        modaliases=tuple(
            driver.modalias for link in cards for driver in reversed(link.drivers) if driver.modalias
        ),
        beyond_direct=tuple(_beyond(host, layer) for layer in unknown),
        warnings=(_not_resolved_now(seen),) if seen.fault else (),
    )


def names_along(network: Network) -> tuple[Written, ...]:
    """What tells names to hooks and to the emergency shell, and to ssh: those of the servers are known beforehand."""
    servers = "".join(
        f"{hop.address} {host.name}\n"
        for host in network.hosts
        for hop in host.hops
        if host.name != hop.address and "%" not in hop.address
    )
    return (
        Written(path="/etc/hosts", text=f"{servers}{network.hosts_file or _LOCALHOST}"),
        Written(path="/etc/nsswitch.conf", text="hosts: files dns\n"),
        *([Written(path="/etc/resolv.conf", text=network.resolver)] if network.resolver else []),
    )


def _layers(network: Network, hops: Iterable[Hop]) -> tuple[LinkLayer, ...]:
    found: dict[str, LinkLayer] = {}
    for hop in hops:
        for layer in links_under(network.links, hop.link):
            found.setdefault(layer.link.name, layer)
    return tuple(found.values())


def _lines(cards: Iterable[Link], of_links: Iterable[str], sources: dict[Hop, OwnAddress]) -> Iterator[str]:
    wanted = [word for link in cards for word in (link.name, link.card_mac)]
    if wanted:
        yield shlex.join(("await_cards", *wanted))
    yield from of_links
    for hop, own in sources.items():
        if not _is_link_local(own.address):
            yield shlex.join(("own_address", hop.link, f"{own.address}/{own.prefix}"))
    yield from (shlex.join(("await_carrier", link)) for link in dict.fromkeys(hop.link for hop in sources))
    for hop, own in sources.items():
        yield from _routes(hop, own)
    for hop in sources:
        server = hop.address.partition("%")[0]
        yield shlex.join(("await_neighbour", hop.link, hop.gateway or server, server))


def _routes(hop: Hop, own: OwnAddress) -> Iterator[str]:
    """Host routes to what the own prefix does not cover: to the gateway first, for it has to be on the link."""
    server = hop.address.partition("%")[0]
    ip = ("ip", f"-{ipaddress.ip_address(server).version}", "route", "replace")
    if _is_link_local(server):
        return
    next_hop = hop.gateway or server
    if not _is_link_local(next_hop) and not _covers(own, next_hop):
        yield shlex.join((*ip, next_hop, "dev", hop.link))
    if hop.gateway:
        family = _family_word(hop.gateway) if _is_mixed(hop) else ()
        # IPv6 has one own address here and finds it by itself; it refuses one that is not yet known to be unique.
        source = ("src", own.address) if ipaddress.ip_address(server).version == 4 else ()
        yield shlex.join((*ip, server, "via", *family, hop.gateway, "dev", hop.link, *source))


def _needs_of_hop(hop: Hop) -> Needs:
    is_v6 = ":" in hop.address or ":" in hop.gateway
    # The `ip` of busybox has no gateway of the other family.
    return Needs(modules=("ipv6",) if is_v6 else (), programs=("ip",) if _is_mixed(hop) else ())


def _source(network: Network, hop: Hop) -> OwnAddress:
    """The address that packets to the server come from, unless it is one that changes every few hours."""
    mine = next((own for own in network.addresses if own.address == hop.source), None)
    if mine is not None and (mine.is_lasting or _is_link_local(mine.address)):
        return mine
    version = ipaddress.ip_address(hop.address.partition("%")[0]).version
    others = [
        own
        for own in network.addresses
        if own.is_lasting and own.link == hop.link and ipaddress.ip_address(own.address).version == version
    ]
    if mine is not None:
        others.sort(key=lambda own: not _covers(own, mine.address))
    whole = 32 if version == 4 else 128
    return next(iter(others), mine or OwnAddress(link=hop.link, address=hop.source, prefix=whole))


def _covers(own: OwnAddress, address: str) -> bool:
    net = ipaddress.ip_network(f"{own.address}/{own.prefix}", strict=False)
    wanted = ipaddress.ip_address(address)
    return wanted.version == net.version and wanted in net


def _is_link_local(address: str) -> bool:
    """fe80::/10: each link has one by itself as soon as it is up."""
    plain = ipaddress.ip_address(address.partition("%")[0])
    return plain.version == 6 and plain.is_link_local


def _is_mixed(hop: Hop) -> bool:
    return bool(hop.gateway) and (":" in hop.gateway) != (":" in hop.address)


def _family_word(address: str) -> tuple[str]:
    return ("inet6",) if ":" in address else ("inet",)


def _beyond(host: str, layer: UnknownLink) -> Problem:
    return Problem(
        code="layer-unknown",
        message=f"the way to {host} leads over {layer.link.name}, {layer.what}, which engine direct cannot bring up in "
        "the capture kernel",
        hint="let the way lead over Ethernet cards, bonds, vlans or bridges",
    )


def _unresolved(host: Host) -> Problem:
    return Problem(
        code="host-unresolved",
        message=f"{host.name} has no address: {host.fault or 'the name is not known'}",
        hint="write its address, or put it into /etc/hosts",
    )


def _not_resolved_now(host: Host) -> Problem:
    addresses = ", ".join(hop.address for hop in host.hops)
    problem = Problem(
        code="host-unresolved",
        message=f"{host.name} has no address at the moment ({host.fault}): {addresses}, which it had last, is used",
        hint="look at the name server, or put it into /etc/hosts",
    )
    return replace(problem, severity=Severity.WARNING)


def _unreachable(host: Host) -> Problem:
    why = "; ".join(f"{hop.address}: {hop.fault or 'no link leads there'}" for hop in host.hops)
    return Problem(
        code="host-unreachable",
        message=f"there is no way to {host.name} ({why})",
        hint="see ip route, or name a host that can be reached",
    )
