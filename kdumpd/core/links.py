"""From the link that leads to a server down to its cards: each layer with the modules and sh lines that bring it up."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import assert_never

from kdumpd.core.driver import Driver
from kdumpd.core.needs import Needs

USUAL_MTU = 1500

_WITHOUT_HARDWARE = frozenset({"tun", "veth", "dummy", "macvtap", "ifb"})
"""Ports of a bridge that lead to guests and containers of the crashed system, which nobody starts again."""
_UNKNOWN_KINDS = MappingProxyType(
    {
        "team": "a team",
        "openvswitch": "an Open vSwitch",
        "macvlan": "a macvlan",
        "ipvlan": "an ipvlan",
        "wireguard": "a WireGuard tunnel",
        "vxlan": "a VXLAN",
        "geneve": "a Geneve tunnel",
        "tun": "a tun or tap device",
        "veth": "a veth pair",
        "vrf": "a VRF",
        "dsa": "a port of a switch",
        "ipip": "an IPIP tunnel",
        "sit": "a 6in4 tunnel",
        "gre": "a GRE tunnel",
        "dummy": "a dummy device",
    }
)
_UNKNOWN_TYPES = MappingProxyType(
    {"infiniband": "InfiniBand", "ppp": "a PPP link", "loopback": "the loopback", "none": "a tunnel"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One network interface, without what changes by itself (counters, states of protocols)."""

    name: str
    mac: str = ""
    """The address it uses now, in lower case."""
    card_mac: str = ""
    """The address burnt into the card, which it has again in another kernel; as `mac` where none other is known."""
    mtu: int = USUAL_MTU
    link_type: str = "ether"
    """As ip(8) has it: ether, loopback, infiniband, ppp, none ..."""
    kind: str = ""
    """bond, vlan, bridge, tun, ...; "" for a piece of hardware."""
    master: str = ""
    """The bond or bridge that it is part of."""
    under: str = ""
    """The link that this one lies on: of a vlan or macvlan."""
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What was set of a bond, vlan or bridge, by the names of ip(8)'s JSON; several words with commas between."""
    drivers: tuple[Driver, ...] = ()
    """From the card up to the root of the device tree; empty for what is no hardware."""
    is_wireless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An Ethernet card, found again by the address that is burnt into it."""

    link: Link
    is_in_bond: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """Several links as one, by the kernel's own bonding."""

    link: Link
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vlan:
    link: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A bridge, with those of its ports that lead out of the machine."""

    link: Link
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownLink:
    """A link that nobody here can bring up; `what` names it in words."""

    link: Link
    what: str


Known = Card | Bond | Vlan | Bridge
LinkLayer = Known | UnknownLink


def links_under(links: Iterable[Link], name: str) -> tuple[LinkLayer, ...]:
    """Every layer from the cards up to the link `name`, each once; what is below an unknown one is not looked at."""
    found: dict[str, LinkLayer] = {}
    _descend({link.name: link for link in links}, name, found, above=())
    return tuple(found.values())


def needs_of(layer: Known) -> Needs:
    """The `ip` of busybox 1.37 makes no bond and no vlan (seen by running it): for these the host's comes along."""
    match layer:
        case Card(link=link):
            modules = tuple(driver.module for driver in reversed(link.drivers) if driver.module)
            return Needs(modules=tuple(dict.fromkeys(modules)), applets=("ip",))
        case Bond():
            return Needs(modules=("bonding",), programs=("ip",))
        case Vlan():
            return Needs(modules=("8021q",), programs=("ip",))
        case Bridge():
            return Needs(modules=("bridge",), programs=("ip",))
        case _:
            assert_never(layer)


def lines_of(layer: Known) -> Iterator[str]:
    """What brings one layer up, those below it being up; the words other than `ip` are the agent's (network.sh)."""
    link = layer.link
    match layer:
        case Card(is_in_bond=is_in_bond):
            if is_in_bond:  # the bond gives it address and size, and raises it
                return
            if link.mac != link.card_mac:
                yield shlex.join(("ip", "link", "set", "dev", link.name, "address", link.mac))
            if link.mtu != USUAL_MTU:
                yield shlex.join(("ip", "link", "set", "dev", link.name, "mtu", str(link.mtu)))
        case Bond(members=members):
            follows_card = link.options.get("fail_over_mac", "none") != "none"
            yield _made(link, "type", "bond", *_bond_options(link.options), has_own_mac=not follows_card)
            yield from (shlex.join(("join_link", link.name, member)) for member in members)
            if link.options.get("primary", "") in members:
                yield shlex.join(
                    ("ip", "link", "set", link.name, "type", "bond", "primary", link.options["primary"])
                )
        case Vlan():
            protocol, number = link.options.get("protocol", "802.1Q"), link.options["id"]
            yield _made(link, "type", "vlan", "protocol", protocol, "id", number, under=link.under)
        case Bridge(ports=ports):
            has_stp = link.options.get("stp_state", "0") != "0"
            options = ("stp_state", "1") if has_stp else ("stp_state", "0", "forward_delay", "0")
            yield _made(link, "type", "bridge", *options)
            yield from (shlex.join(("join_link", link.name, port)) for port in ports)
        case _:
            assert_never(layer)
    yield shlex.join(("ip", "link", "set", "dev", link.name, "up"))


def told(layers: Iterable[LinkLayer], name: str) -> str:
    """For people: `vlan bond0.7 on bond bond0 (active-backup) of (card eth0) and (card eth1)`."""
    by_name = {layer.link.name: layer for layer in layers}
    match by_name[name]:
        case Card(link=link):
            driver = link.drivers[0].name if link.drivers else ""
            return f"card {link.name} ({driver})" if driver else f"card {link.name}"
        case Bond(link=link, members=members):
            return f"bond {name} ({link.options.get('mode', '')}) on {_all_told(by_name, members)}"
        case Vlan(link=link):
            return f"vlan {name} ({link.options['id']}) on {told(by_name.values(), link.under)}"
        case Bridge(ports=ports):
            return f"bridge {name} on {_all_told(by_name, ports)}"
        case UnknownLink(what=what):
            return f"{name} ({what})"
        case layer:
            assert_never(layer)


def _all_told(layers: Mapping[str, LinkLayer], names: tuple[str, ...]) -> str:
    each = [told(layers.values(), name) for name in names]
    return each[0] if len(each) == 1 else " and ".join(f"({one})" for one in each)


def _made(link: Link, *ending: str, under: str = "", has_own_mac: bool = True) -> str:
    words = ["make_link", link.name]
    words += ["link", under] if under else []
    words += ["address", link.mac] if has_own_mac and link.mac else []
    words += ["mtu", str(link.mtu)] if link.mtu != USUAL_MTU else []
    return shlex.join((*words, *ending))


def _bond_options(options: Mapping[str, str]) -> Iterator[str]:
    """Those that decide whether packets pass; the kernel refuses some together with some modes."""
    mode = options.get("mode", "balance-rr")
    yield from ("mode", mode)
    by_arp = options.get("arp_interval", "0") != "0" and options.get("arp_ip_target")
    if by_arp and mode not in {"802.3ad", "balance-tlb", "balance-alb"}:
        yield from ("arp_interval", options["arp_interval"], "arp_ip_target", options["arp_ip_target"])
    else:
        # Without either the bond would not notice a cable that is not plugged in.
        looks_every = options.get("miimon", "0")
        yield from ("miimon", looks_every if looks_every != "0" else "100")
    if mode in {"802.3ad", "balance-xor", "balance-tlb"} and options.get("xmit_hash_policy"):
        yield from ("xmit_hash_policy", options["xmit_hash_policy"])
    if mode == "802.3ad" and options.get("ad_lacp_rate"):
        yield from ("lacp_rate", options["ad_lacp_rate"])
    if options.get("fail_over_mac", "none") != "none":
        yield from ("fail_over_mac", options["fail_over_mac"])


def _descend(
    links: Mapping[str, Link], name: str, found: dict[str, LinkLayer], *, above: tuple[str, ...]
) -> None:
    if name in above:
        found[name] = UnknownLink(link=links[name], what="a link that lies on itself")
    if name in found:
        return
    link = links.get(name)
    if link is None:
        found[name] = UnknownLink(link=Link(name=name), what="a link that this machine does not show")
        return
    layer = _layer(links, link)
    for below in _below(layer):
        _descend(links, below, found, above=(*above, name))
    found.setdefault(name, layer)


def _below(layer: LinkLayer) -> tuple[str, ...]:
    match layer:
        case Bond(members=names) | Bridge(ports=names):
            return names
        case Vlan(link=link):
            return (link.under,)
        case Card() | UnknownLink():
            return ()
        case _:
            assert_never(layer)


def _layer(links: Mapping[str, Link], link: Link) -> LinkLayer:
    if link.is_wireless:
        return UnknownLink(link=link, what="a wireless card")
    if link.link_type != "ether":
        what = _UNKNOWN_TYPES.get(link.link_type, f"a link of type {link.link_type}")
        return UnknownLink(link=link, what=what)
    members = tuple(sorted(each.name for each in links.values() if each.master == link.name))
    match link.kind:
        case "":
            return _card(links, link)
        case "bond" if members:
            return Bond(link=link, members=members)
        case "vlan" if link.under and link.options.get("id", "").isdecimal():
            return Vlan(link=link)
        case "bridge":
            return _bridge(links, link, members)
        case kind:
            return UnknownLink(link=link, what=_UNKNOWN_KINDS.get(kind, f"a link of kind {kind}"))


def _card(links: Mapping[str, Link], link: Link) -> LinkLayer:
    master = links.get(link.master)
    if not link.drivers or not link.card_mac:
        return UnknownLink(link=link, what="a link with no known driver")
    if master is not None and master.kind not in {"bond", "bridge"}:
        return UnknownLink(link=link, what=f"a part of {_UNKNOWN_KINDS.get(master.kind, master.kind)}")
    return Card(link=link, is_in_bond=master is not None and master.kind == "bond")


def _bridge(links: Mapping[str, Link], link: Link, members: tuple[str, ...]) -> LinkLayer:
    ports = tuple(name for name in members if links[name].kind not in _WITHOUT_HARDWARE)
    if not ports:
        return UnknownLink(link=link, what="a bridge without a card")
    if link.options.get("vlan_filtering", "0") != "0":
        return UnknownLink(link=link, what="a bridge that filters VLANs")
    return Bridge(link=link, ports=ports)
