"""The way to a server: what ip(8) says of this machine, and what the capture kernel does for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdumpd.core.driver import Driver
from kdumpd.core.iproute import (
    NotUnderstood,
    parse_addresses,
    parse_ahosts,
    parse_links,
    parse_route,
)
from kdumpd.core.links import Link
from kdumpd.core.network import Hop, Host, Network, OwnAddress, Way, names_along, way_to
from kdumpd.core.problems import Severity

VIRTIO = (
    Driver(name="virtio_net", subsystem="virtio", module="virtio_net", modalias="virtio:d00000001v00001AF4"),
    Driver(name="virtio-pci", subsystem="pci", module="virtio_pci"),
)
OWN4 = OwnAddress(link="enp1s0", address="192.0.2.10", prefix=24)
OWN6 = OwnAddress(link="enp1s0", address="2001:db8::10", prefix=64)


def card(name: str, last: int = 1, **more: object) -> Link:
    mac = f"52:54:00:00:0c:{last:02x}"
    found = Link(name=name, mac=mac, card_mac=mac, drivers=VIRTIO)
    return replace(found, **more)  # type: ignore[arg-type]  # a test names a field and its value


def network(*links: Link, hops: tuple[Hop, ...], addresses: tuple[OwnAddress, ...] = (OWN4, OWN6)) -> Network:
    return Network(links=links, addresses=addresses, hosts=(Host(name="server", hops=hops),))


def way(seen: Network) -> Way:
    found = way_to(seen, "server")
    assert isinstance(found, Way), found
    return found


def code(seen: Network) -> str:
    found = way_to(seen, "server")
    assert isinstance(found, tuple), found
    (problem,) = found
    return problem.code


ON_LINK = Hop(address="192.0.2.1", link="enp1s0", source="192.0.2.10")


@pytest.mark.shows("an NFS server by IPv4", "an ssh server by IPv4")
def test_a_plain_card_is_found_by_its_address_and_gets_the_address_that_is_used() -> None:
    found = way(network(card("enp1s0"), hops=(ON_LINK,)))
    assert found.lines == (
        "await_cards enp1s0 52:54:00:00:0c:01",
        "ip link set dev enp1s0 up",
        "own_address enp1s0 192.0.2.10/24",
        "await_carrier enp1s0",
        "await_neighbour enp1s0 192.0.2.1 192.0.2.1",
    )
    assert (found.source, found.addresses) == ("192.0.2.10", ("192.0.2.1",))
    assert found.words == "card enp1s0 (virtio_net)"
    assert found.needs.modules == ("virtio_pci", "virtio_net")
    assert (found.needs.programs, found.needs.applets) == ((), ("ip",))
    assert found.beyond_direct == ()


def test_an_address_of_the_card_that_the_way_does_not_use_stays_behind() -> None:
    virtual = OwnAddress(link="enp1s0", address="192.0.2.200", prefix=24)
    found = way(network(card("enp1s0"), hops=(ON_LINK,), addresses=(virtual, OWN4)))
    assert not any("192.0.2.200" in line for line in found.lines)


def test_a_gateway_has_a_route_of_its_own_only_where_the_prefix_does_not_hold_it() -> None:
    hop = Hop(address="203.0.113.1", link="enp1s0", source="192.0.2.10", gateway="192.0.2.1")
    inside = way(network(card("enp1s0"), hops=(hop,))).lines
    assert "ip -4 route replace 203.0.113.1 via 192.0.2.1 dev enp1s0 src 192.0.2.10" in inside
    assert "ip -4 route replace 192.0.2.1 dev enp1s0" not in inside
    alone = (replace(OWN4, prefix=32),)
    outside = way(network(card("enp1s0"), hops=(hop,), addresses=alone)).lines
    first = outside.index("ip -4 route replace 192.0.2.1 dev enp1s0")
    assert outside[first + 1] == "ip -4 route replace 203.0.113.1 via 192.0.2.1 dev enp1s0 src 192.0.2.10"


def test_a_link_local_gateway_needs_no_route_and_awaits_that_gateway() -> None:
    hop = Hop(address="2001:db8:f::1", link="enp1s0", source="2001:db8::10", gateway="fe80::1")
    found = way(network(card("enp1s0"), hops=(hop,)))
    assert found.lines[-2:] == (
        "ip -6 route replace 2001:db8:f::1 via fe80::1 dev enp1s0",
        "await_neighbour enp1s0 fe80::1 2001:db8:f::1",
    )
    assert "own_address enp1s0 2001:db8::10/64" in found.lines
    assert "ipv6" in found.needs.modules


def test_an_ipv4_address_behind_an_ipv6_gateway_takes_the_ip_of_the_host() -> None:
    hop = Hop(address="203.0.113.1", link="enp1s0", source="192.0.2.10", gateway="fe80::1")
    found = way(network(card("enp1s0"), hops=(hop,)))
    assert "ip -4 route replace 203.0.113.1 via inet6 fe80::1 dev enp1s0 src 192.0.2.10" in found.lines
    assert found.needs.programs == ("ip",)


def test_a_temporary_address_is_not_what_a_plan_is_made_of() -> None:
    temporary = OwnAddress(link="enp1s0", address="2001:db8::dead:beef", prefix=64, is_lasting=False)
    hop = Hop(address="2001:db8::1", link="enp1s0", source="2001:db8::dead:beef")
    found = way(network(card("enp1s0"), hops=(hop,), addresses=(temporary, OWN6)))
    assert found.source == "2001:db8::10"
    alone = way(network(card("enp1s0"), hops=(hop,), addresses=(temporary,)))
    assert alone.source == "2001:db8::dead:beef"


@pytest.mark.shows("vlan", "bond", "vlan on a bond")
def test_a_vlan_on_a_bond_of_two_cards_is_made_from_below() -> None:
    bond = Link(
        name="bond0",
        kind="bond",
        mac="52:54:00:00:0c:01",
        options={"mode": "active-backup", "miimon": "100", "primary": "eth1", "fail_over_mac": "none"},
    )
    vlan = Link(
        name="bond0.7",
        kind="vlan",
        mac="52:54:00:00:0c:01",
        mtu=1400,
        under="bond0",
        options={"protocol": "802.1Q", "id": "7"},
    )
    cards = (card("eth0", 1, master="bond0"), card("eth1", 2, master="bond0", mac="52:54:00:00:0c:01"))
    own = OwnAddress(link="bond0.7", address="198.51.100.10", prefix=24)
    hop = Hop(address="198.51.100.1", link="bond0.7", source="198.51.100.10")
    found = way(network(*cards, bond, vlan, hops=(hop,), addresses=(own,)))
    assert found.lines == (
        "await_cards eth0 52:54:00:00:0c:01 eth1 52:54:00:00:0c:02",
        "make_link bond0 address 52:54:00:00:0c:01 type bond mode active-backup miimon 100",
        "join_link bond0 eth0",
        "join_link bond0 eth1",
        "ip link set bond0 type bond primary eth1",
        "ip link set dev bond0 up",
        "make_link bond0.7 link bond0 address 52:54:00:00:0c:01 mtu 1400 type vlan protocol 802.1Q id 7",
        "ip link set dev bond0.7 up",
        "own_address bond0.7 198.51.100.10/24",
        "await_carrier bond0.7",
        "await_neighbour bond0.7 198.51.100.1 198.51.100.1",
    )
    assert found.words == (
        "vlan bond0.7 (7) on bond bond0 (active-backup) on (card eth0 (virtio_net)) and (card eth1 (virtio_net))"
    )
    assert found.needs.modules == ("virtio_pci", "virtio_net", "bonding", "8021q")
    assert found.needs.programs == ("ip",)


def test_a_bond_that_watches_nothing_is_made_to_watch_its_cables() -> None:
    bond = Link(name="bond0", kind="bond", options={"mode": "balance-rr", "miimon": "0"})
    hop = replace(ON_LINK, link="bond0")
    lines = way(network(card("eth0", master="bond0"), bond, hops=(hop,))).lines
    assert "make_link bond0 type bond mode balance-rr miimon 100" in lines


def test_a_bond_that_asks_a_neighbour_does_so_again() -> None:
    options = {"mode": "active-backup", "miimon": "0", "arp_interval": "500", "arp_ip_target": "192.0.2.1"}
    bond = Link(name="bond0", kind="bond", options=options)
    lines = way(network(card("eth0", master="bond0"), bond, hops=(replace(ON_LINK, link="bond0"),))).lines
    assert "make_link bond0 type bond mode active-backup arp_interval 500 arp_ip_target 192.0.2.1" in lines


@pytest.mark.shows("bridge")
def test_a_bridge_leaves_the_guests_ports_behind() -> None:
    bridge = Link(name="br0", kind="bridge", mac="52:54:00:00:0c:01", options={"stp_state": "0"})
    guest = Link(name="vnet0", kind="tun", master="br0", mac="fe:54:00:00:00:01")
    hop = replace(ON_LINK, link="br0")
    found = way(network(card("eth0", master="br0"), guest, bridge, hops=(hop,)))
    assert found.lines[1:5] == (
        "ip link set dev eth0 up",
        "make_link br0 address 52:54:00:00:0c:01 type bridge stp_state 0 forward_delay 0",
        "join_link br0 eth0",
        "ip link set dev br0 up",
    )
    assert found.beyond_direct == ()


def test_a_card_with_another_address_than_its_own_gets_that_again() -> None:
    lines = way(network(card("enp1s0", mac="02:00:00:00:00:07", mtu=9000), hops=(ON_LINK,))).lines
    assert lines[:4] == (
        "await_cards enp1s0 52:54:00:00:0c:01",
        "ip link set dev enp1s0 address 02:00:00:00:00:07",
        "ip link set dev enp1s0 mtu 9000",
        "ip link set dev enp1s0 up",
    )


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (card("enp1s0", is_wireless=True), "a wireless card"),
        (card("enp1s0", link_type="infiniband"), "InfiniBand"),
        (card("enp1s0", drivers=()), "a link with no known driver"),
        (Link(name="enp1s0", kind="team"), "a team"),
        (Link(name="enp1s0", kind="wireguard", link_type="none"), "a tunnel"),
        (Link(name="enp1s0", kind="bond"), "a link of kind bond"),
        (Link(name="enp1s0", kind="bridge"), "a bridge without a card"),
        (Link(name="enp1s0", kind="vlan", under="gone0", options={"id": "7"}), "does not show"),
        (Link(name="enp1s0", kind="newlink"), "a link of kind newlink"),
    ],
)
def test_a_link_that_nobody_knows_is_beyond_engine_direct(odd: Link, words: str) -> None:
    (problem,) = way(network(odd, hops=(ON_LINK,))).beyond_direct
    assert problem.code == "layer-unknown"
    assert words in problem.message


def test_links_in_a_circle_come_to_an_end() -> None:
    one = Link(name="a", kind="vlan", under="b", options={"id": "1"})
    other = Link(name="b", kind="vlan", under="a", options={"id": "2"})
    (problem,) = way(network(one, other, hops=(replace(ON_LINK, link="a"),))).beyond_direct
    assert "lies on itself" in problem.message


def test_why_there_is_no_way_is_told_each_by_its_code() -> None:
    nowhere = Hop(address="192.0.2.1", fault="Network is unreachable")
    own = Hop(address="192.0.2.10", link="lo", source="192.0.2.10", is_local=True)
    assert code(network(hops=(nowhere,))) == "host-unreachable"
    assert code(network(hops=(own,))) == "host-is-this-machine"
    assert code(network(hops=())) == "host-unresolved"
    assert code(Network(fault="ip: is not installed")) == "network-unseen"
    assert code(Network()) == "network-unseen"


def test_an_address_without_a_way_is_passed_over_where_another_has_one() -> None:
    v6 = Hop(address="2001:db8:9::1", fault="Network is unreachable")
    assert way(network(card("enp1s0"), hops=(v6, ON_LINK))).addresses == ("192.0.2.1",)


def test_a_name_that_has_no_address_now_keeps_those_it_had_and_says_so() -> None:
    seen = network(card("enp1s0"), hops=(ON_LINK,))
    host = replace(seen.hosts[0], fault="it took longer than 5 seconds")
    found = way(replace(seen, hosts=(host,)))
    (warning,) = found.warnings
    assert (warning.code, warning.severity) == ("host-unresolved", Severity.WARNING)
    assert replace(found, warnings=()) == way(seen)


def test_names_are_known_without_asking_after_the_crash() -> None:
    seen = replace(
        network(hops=(ON_LINK,)), hosts_file="127.0.0.1 localhost\n", resolver="nameserver 192.0.2.53\n"
    )
    written = {each.path: each.text for each in names_along(seen)}
    assert written["/etc/hosts"] == "192.0.2.1 server\n127.0.0.1 localhost\n"
    assert written["/etc/resolv.conf"] == "nameserver 192.0.2.53\n"


BOND_JSON = b"""[{"ifindex":5,"ifname":"bond0","mtu":1500,"link_type":"ether","address":"52:54:00:00:0C:01",
"linkinfo":{"info_kind":"bond","info_data":{"mode":"active-backup","active_slave":"eth1","miimon":100,"arp_interval":0,
"arp_validate":null,"primary":"eth0","fail_over_mac":"none","xmit_hash_policy":"layer2"}},"txqlen":1000},
{"ifname":"eth1","master":"bond0","link_type":"ether","address":"52:54:00:00:0c:01","permaddr":"52:54:00:00:0c:02",
"linkinfo":{"info_slave_kind":"bond","info_slave_data":{"state":"ACTIVE","link_failure_count":3}}},
{"ifname":"bond0.7","link":"bond0","mtu":1400,"link_type":"ether","address":"52:54:00:00:0c:01",
"linkinfo":{"info_kind":"vlan","info_data":{"protocol":"802.1Q","id":7,"flags":["REORDER_HDR"]}}}]"""


def test_links_are_read_without_what_moves_by_itself() -> None:
    bond, eth1, vlan = parse_links(BOND_JSON)
    assert dict(bond.options) == {
        "mode": "active-backup",
        "miimon": "100",
        "arp_interval": "0",
        "primary": "eth0",
        "fail_over_mac": "none",
        "xmit_hash_policy": "layer2",
    }
    assert bond.mac == "52:54:00:00:0c:01"
    assert (eth1.master, eth1.card_mac, eth1.kind) == ("bond0", "52:54:00:00:0c:02", "")
    assert (vlan.under, dict(vlan.options)) == ("bond0", {"protocol": "802.1Q", "id": "7"})
    moved = BOND_JSON.replace(b'"active_slave":"eth1"', b'"active_slave":"eth0"').replace(b":3}", b":4}")
    assert parse_links(moved) == (bond, eth1, vlan)


def test_addresses_are_told_apart_by_whether_they_last() -> None:
    text = b"""[{"ifname":"eth0","addr_info":[
    {"family":"inet","local":"192.0.2.10","prefixlen":24,"scope":"global","valid_life_time":3599},
    {"family":"inet6","local":"2001:db8::1","prefixlen":64,"scope":"global","temporary":true},
    {"family":"inet6","local":"2001:db8::2","prefixlen":64,"scope":"global","dynamic":true,"mngtmpaddr":true},
    {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]"""
    assert [(own.address, own.is_lasting) for own in parse_addresses(text)] == [
        ("192.0.2.10", True),
        ("2001:db8::1", False),
        ("2001:db8::2", True),
        ("fe80::1", False),
    ]
    assert parse_addresses(text.replace(b"3599", b"3600")) == parse_addresses(text)


def test_what_the_kernel_says_of_a_route_is_read() -> None:
    there = (
        b'[{"dst":"203.0.113.1","gateway":"192.0.2.1","dev":"eth0","prefsrc":"192.0.2.5","flags":[],"uid":0}]'
    )
    hop = Hop(address="203.0.113.1", link="eth0", gateway="192.0.2.1", source="192.0.2.5")
    assert parse_route("203.0.113.1", there) == hop
    own = b'[{"type":"local","dst":"192.0.2.5","dev":"lo","prefsrc":"192.0.2.5"}]'
    assert parse_route("192.0.2.5", own).is_local
    via = b'[{"dst":"203.0.113.1","via":{"family":"inet6","host":"fe80::1"},"dev":"eth0","prefsrc":"192.0.2.5"}]'
    assert parse_route("203.0.113.1", via).gateway == "fe80::1"
    assert parse_route("203.0.113.1", b"").fault


def test_a_name_server_that_deals_its_answers_in_turns_does_not_change_the_plan() -> None:
    one = "2001:db8::2 STREAM x\n2001:db8::2 DGRAM\n2001:db8::1 STREAM\n192.0.2.9 STREAM\n192.0.2.10 STREAM\n"
    other = "2001:db8::1 STREAM x\n2001:db8::2 STREAM\n192.0.2.10 STREAM\n192.0.2.9 STREAM\n"
    assert (
        parse_ahosts(one) == parse_ahosts(other) == ("2001:db8::1", "2001:db8::2", "192.0.2.9", "192.0.2.10")
    )


@pytest.mark.parametrize(
    "text", [b"{", b"{}", b'[{"mtu":1}]', b'[{"ifname":"a name that is too long"}]', b"\xff"]
)
def test_what_ip_never_prints_is_not_taken_for_links(text: bytes) -> None:
    with pytest.raises(NotUnderstood):
        parse_links(text)


def test_what_is_no_address_never_becomes_a_word_of_a_command() -> None:
    with pytest.raises(NotUnderstood):
        parse_route("192.0.2.1", b'[{"dev":"eth0","gateway":"$(reboot)","prefsrc":"192.0.2.5"}]')
