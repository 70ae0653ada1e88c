"""What is asked about the network, of whom, and what is made of no answer."""

from __future__ import annotations

from pathlib import Path

from kdumpd.core.driver import Driver
from kdumpd.core.network import Hop
from kdumpd.host import network
from kdumpd.host.doors import Output
from kdumpd.host.real import RealFiles, RealPrograms
from tests.host.scripted import MISSING, Answer, Asked, ScriptedPrograms, StandIns

LINKS = '[{"ifname":"eth0","mtu":1500,"link_type":"ether","address":"52:54:00:00:0c:01"}]'
ADDRESSES = '[{"ifname":"eth0","addr_info":[{"local":"192.0.2.10","prefixlen":24,"scope":"global"}]}]'
ROUTE = '[{"dst":"192.0.2.1","dev":"eth0","prefsrc":"192.0.2.10"}]'
HOP = Hop(address="192.0.2.1", link="eth0", source="192.0.2.10")


class Here(RealFiles):
    """Files below a folder that are told to be those of the machine that runs us: its programs are asked."""

    def outside(self, path: str) -> str:
        return path if path == "/" else super().outside(path)


def expect_ip(programs: ScriptedPrograms) -> None:
    programs.expect("ip", "-j", "-d", "link", answer=Answer(stdout=LINKS))
    programs.expect("ip", "-j", "address", answer=Answer(stdout=ADDRESSES))


async def test_a_name_is_resolved_and_the_kernel_asked_for_the_way_to_each_address(tmp_path: Path) -> None:
    programs = ScriptedPrograms()
    expect_ip(programs)
    programs.expect(
        "getent", "ahosts", "dumps.test", answer=Answer(stdout="192.0.2.1 STREAM x\n2001:db8::1 STREAM\n")
    )
    programs.expect("ip", "-4", "-j", "route", "get", "192.0.2.1", answer=Answer(stdout=ROUTE))
    refused = Answer(status=2, stderr="RTNETLINK answers: Network is unreachable\n")
    programs.expect("ip", "-6", "-j", "route", "get", "2001:db8::1", answer=refused)
    seen = await network.look(Here(str(tmp_path)), programs, ["dumps.test"])
    assert not programs.script
    (host,) = seen.hosts
    assert host.hops == (HOP, Hop(address="2001:db8::1", fault="Network is unreachable"))
    assert host.fault == ""


async def test_an_address_is_not_asked_of_a_name_server(tmp_path: Path) -> None:
    programs = ScriptedPrograms()
    expect_ip(programs)
    programs.expect("ip", "-6", "-j", "route", "get", "fe80::1", "oif", "eth0", answer=Answer(stdout="[]"))
    seen = await network.look(Here(str(tmp_path)), programs, ["[fe80::1%eth0]"])
    assert seen.hosts[0].hops[0].address == "fe80::1%eth0"


async def test_a_name_server_that_is_dead_leaves_what_it_said_last(tmp_path: Path) -> None:
    files, programs = Here(str(tmp_path)), ScriptedPrograms()
    dead = Answer(status=-15, reason="it took longer than 5 seconds")
    expect_ip(programs)
    programs.expect("getent", "ahosts", "once.test", answer=dead)
    (never,) = (await network.look(files, programs, ["once.test"])).hosts
    assert (never.hops, never.fault) == ((), "it took longer than 5 seconds")
    for answer in (Answer(stdout="192.0.2.1 STREAM once.test\n"), dead):
        expect_ip(programs)
        programs.expect("getent", "ahosts", "once.test", answer=answer)
        programs.expect("ip", "-4", "-j", "route", "get", "192.0.2.1", answer=Answer(stdout=ROUTE))
    (alive,) = (await network.look(files, programs, ["once.test"])).hosts
    (dead_again,) = (await network.look(files, programs, ["once.test"])).hosts
    assert (alive.hops, alive.fault) == ((HOP,), "")
    assert (dead_again.hops, dead_again.fault) == ((HOP,), "it took longer than 5 seconds")


async def test_without_ip_nothing_is_known_and_it_says_why(tmp_path: Path) -> None:
    programs = ScriptedPrograms()
    programs.expect("ip", "-j", "-d", "link", answer=MISSING)
    seen = await network.look(Here(str(tmp_path)), programs, ["dumps.test"])
    assert "is not installed" in seen.fault


class Crowded(StandIns):
    """ip of a host of so many containers that the list of its links is longer than what is kept of other programs."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.links, self.addresses = folder / "links", folder / "addresses"
        others = "".join(
            f'{{"ifname":"veth{n}","link_type":"ether","x":"{"y" * 1400}"}},' for n in range(900)
        )
        self.links.write_text(f"[{others}{LINKS[1:]}")
        self.addresses.write_text(ADDRESSES)

    async def answer(self, asked: Asked) -> Output:
        printed = self.links if "link" in asked.argv else self.addresses
        return await RealPrograms().run(
            ("cat", str(printed)), timeout=asked.timeout, keep_bytes=asked.keep_bytes
        )


async def test_all_links_of_a_host_of_containers_are_seen(tmp_path: Path) -> None:
    seen = await network.look(Here(str(tmp_path)), Crowded(tmp_path), [])
    assert seen.fault == ""
    assert len(seen.links) == 901


async def test_a_card_is_told_with_the_drivers_it_hangs_on(tmp_path: Path) -> None:
    device = tmp_path / "sys/devices/pci0000:00/0000:01:00.0/virtio1"
    (device / "net/eth0").mkdir(parents=True)
    (tmp_path / "sys/class/net").mkdir(parents=True)
    (tmp_path / "sys/class/net/eth0").symlink_to("../../devices/pci0000:00/0000:01:00.0/virtio1/net/eth0")
    (device / "net/eth0/device").symlink_to("../../../virtio1")
    driver = tmp_path / "sys/bus/virtio/drivers/virtio_net"
    driver.mkdir(parents=True)
    (driver / "module").symlink_to("../../../../module/virtio_net")
    (tmp_path / "sys/module/virtio_net").mkdir(parents=True)
    (tmp_path / "sys/module/virtio_net/initstate").write_text("live\n")
    (device / "driver").symlink_to("../../../../bus/virtio/drivers/virtio_net")
    (device / "subsystem").symlink_to("../../../../bus/virtio")
    (device / "modalias").write_text("virtio:d1\n")
    programs = ScriptedPrograms()
    expect_ip(programs)
    seen = await network.look(Here(str(tmp_path)), programs, [])
    assert seen.links[0].drivers == (
        Driver(name="virtio_net", subsystem="virtio", module="virtio_net", modalias="virtio:d1"),
    )


async def test_of_a_copy_of_a_machine_what_was_captured_there_is_read(tmp_path: Path) -> None:
    for name, text in {
        "link": LINKS,
        "address": ADDRESSES,
        "ahosts-dumps.test": "192.0.2.1 STREAM dumps.test\n",
        "route-192.0.2.1": ROUTE,
    }.items():
        (tmp_path / "run/kdumpd/network").mkdir(parents=True, exist_ok=True)
        (tmp_path / "run/kdumpd/network" / name).write_text(text)
    seen = await network.look(RealFiles(str(tmp_path)), ScriptedPrograms(), ["dumps.test"])
    assert seen.hosts[0].hops == (HOP,)


async def test_the_stub_of_a_resolver_is_no_resolver_after_a_crash(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("# stub\nnameserver 127.0.0.53\n")
    (tmp_path / "run/systemd/resolve").mkdir(parents=True)
    (tmp_path / "run/systemd/resolve/resolv.conf").write_text("# real\nnameserver 192.0.2.53\nsearch test\n")
    programs = ScriptedPrograms()
    expect_ip(programs)
    seen = await network.look(Here(str(tmp_path)), programs, [])
    assert seen.resolver == "nameserver 192.0.2.53\nsearch test\n"


def test_the_signature_moves_with_routes_and_not_with_what_passes(tmp_path: Path) -> None:
    net = tmp_path / "proc/net"
    net.mkdir(parents=True)
    route = "eth0 00000000 010200C0 0003 {refs} {use} 100 00000000 0 0 0\n"
    v6 = "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 {next} 00000100 {refs} {use} 1 {name}\n"
    container = "fe800000000000000000000000000001 09 40 20 80 veth9\n"

    def told(*, gateway: str = "010200C0", counters: str = "0", own: str = "") -> str:
        (net / "route").write_text(route.format(refs=counters, use=counters).replace("010200C0", gateway))
        (net / "ipv6_route").write_text(v6.format(next="0" * 32, refs=counters, use=counters, name="eth0"))
        (net / "if_inet6").write_text("20010db8000000000000000000000010 02 40 00 80 eth0\n" + own)
        return network.signature(RealFiles(str(tmp_path)))

    before = told()
    assert told(counters="7") == before
    assert told(own=container) == before
    assert told(gateway="FE0200C0") != before
    assert told(own=container.replace("fe80", "2001").replace(" 20 ", " 00 ")) != before
