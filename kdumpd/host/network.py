"""Asks the kernel for links, addresses and the way to each wanted host, and the resolver for what a name means."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from kdumpd.core.driver import Driver
from kdumpd.core.iproute import (
    NotUnderstood,
    parse_addresses,
    parse_ahosts,
    parse_links,
    parse_route,
)
from kdumpd.core.links import Link
from kdumpd.core.network import Hop, Host, Network
from kdumpd.host.doors import KEPT_BYTES, Files, ProgramFailed, Programs, text
from kdumpd.host.drivers import drivers_from

LINKS = "/sys/class/net"
HOSTS = "/etc/hosts"
RESOLVER = "/etc/resolv.conf"
UPSTREAM_RESOLVER = "/run/systemd/resolve/resolv.conf"
"""Where /etc/resolv.conf names the stub of systemd-resolved, which does not run in a capture kernel, the real one."""
CAPTURED = "/run/kdumpd/network"
"""In a copy of another machine's files: what the programs printed there (`link`, `address`, `route-ADDRESS`, `ahosts-NAME`)."""
WATCHED = (HOSTS, RESOLVER, UPSTREAM_RESOLVER, "/etc/nsswitch.conf", "/etc/gai.conf")
ASK_SECONDS = 10.0
RESOLVE_SECONDS = 5.0
"""A name server that is dead must not hold up the look at everything else; the name is asked for at the next one again."""
REMEMBERED_AT_MOST = 100
LARGEST_FILE_BYTES = 64 * 1024
LARGEST_TABLE_BYTES = 256 * 1024
"""A router's table of routes has a million lines: its beginning has to do."""
LARGEST_LIST_BYTES = 32 << 20
"""A link takes up to 1.5 KiB, and a host of containers has thousands; a list that is cut off is no JSON."""
_NOT_FOUND = frozenset({0, 2})  # of getent(1)


async def look(files: Files, programs: Programs, hosts: Iterable[str]) -> Network:
    """Never raises for what is missing or does not answer: that becomes a `fault`."""
    asker = _Asker(files, programs)
    try:
        links = parse_links(
            await asker.printed("link", "ip", "-j", "-d", "link", keep_bytes=LARGEST_LIST_BYTES)
        )
        addresses = parse_addresses(
            await asker.printed("address", "ip", "-j", "address", keep_bytes=LARGEST_LIST_BYTES)
        )
    except (ProgramFailed, NotUnderstood) as fault:
        return Network(hosts=tuple(Host(name=name) for name in sorted(hosts)), fault=str(fault))
    links = await asyncio.to_thread(lambda: tuple(_with_hardware(files, links)))
    found = await asyncio.gather(*(_host(asker, name) for name in sorted(hosts)))
    return Network(
        links=links,
        addresses=addresses,
        hosts=tuple(found),
        hosts_file=await asyncio.to_thread(_names, files),
        resolver=await asyncio.to_thread(_resolver, files),
    )


def signature(files: Files) -> str:
    """What the kernel says of cards, addresses and routes, as a text to compare; without what moves by itself.

    Neither counters nor what is of one link alone is in it: each container that starts brings such addresses.
    """
    v4 = _columns(files, "/proc/net/route", 0, 1, 2, 6, 7)
    v6 = _columns(files, "/proc/net/ipv6_route", 0, 1, 4, 5, 9)
    own_v6 = (line for line in _columns(files, "/proc/net/if_inet6", 0, 2, 3, 4, 5) if " 20 " not in line)
    passing = ("fe80", "ff")
    return "\n".join(
        (
            *v4,
            *(line for line in v6 if not line.startswith(passing)),
            *own_v6,
            *_cards(files),
            _beginning(files, "/proc/net/vlan/config", limit=LARGEST_TABLE_BYTES),
            _beginning(files, "/proc/net/fib_trie", limit=LARGEST_TABLE_BYTES),
        )
    )


class _Asker:
    """What programs print on this machine; of a copy of another one, what they printed there."""

    def __init__(self, files: Files, programs: Programs) -> None:
        self._files = files
        self._programs = programs
        self.machine = files.outside("/")

    async def printed(
        self,
        name: str,
        *argv: str,
        seconds: float = ASK_SECONDS,
        good: frozenset[int] = frozenset({0}),
        keep_bytes: int = KEPT_BYTES,
    ) -> bytes:
        """Raises ProgramFailed; empty where the program had nothing to print, or nothing was captured."""
        if self.machine != "/":
            return await asyncio.to_thread(_captured, self._files, name)
        said = await self._programs.run(argv, timeout=seconds, good=good, keep_bytes=keep_bytes)
        return said.stdout


async def _host(asker: _Asker, name: str) -> Host:
    addresses, fault = await _addresses(asker, name)
    hops = [await _hop(asker, address) for address in addresses]
    return Host(name=name, hops=tuple(hops), fault=fault)


async def _addresses(asker: _Asker, name: str) -> tuple[tuple[str, ...], str]:
    """The addresses of a name and why they are not of this moment, where they are those that it had last."""
    literal = name.strip("[]")
    if _is_address(literal):
        return (literal,), ""
    key = (asker.machine, name)
    try:
        said = await asker.printed(
            f"ahosts-{name}", "getent", "ahosts", name, seconds=RESOLVE_SECONDS, good=_NOT_FOUND
        )
        found = parse_ahosts(said.decode("utf-8", "replace"))
        fault = "" if found else "the name is not known"
    except ProgramFailed as failed:
        found, fault = (), failed.reason
    if not found:
        return _had_last.get(key, ()), fault
    if len(_had_last) > REMEMBERED_AT_MOST:
        _had_last.clear()
    _had_last[key] = found
    return found, ""


async def _hop(asker: _Asker, address: str) -> Hop:
    plain, _, zone = address.partition("%")
    family = f"-{ipaddress.ip_address(plain).version}"
    argv = ("ip", family, "-j", "route", "get", plain, *(("oif", zone) if zone else ()))
    try:
        return parse_route(address, await asker.printed(f"route-{plain}", *argv))
    except ProgramFailed as failed:
        words = failed.output.stderr.decode("utf-8", "replace").strip()
        return Hop(address=address, fault=words.removeprefix("RTNETLINK answers: ") or failed.reason)
    except NotUnderstood as fault:
        return Hop(address=address, fault=str(fault))


def _with_hardware(files: Files, links: Iterable[Link]) -> Iterable[Link]:
    parents: dict[str, Driver | None] = {}
    for link in links:
        if link.kind or not files.exists(f"{LINKS}/{link.name}/device"):
            yield link
            continue
        device = files.real(f"{LINKS}/{link.name}/device")
        is_wireless = files.exists(f"{LINKS}/{link.name}/phy80211")
        yield replace(link, drivers=tuple(drivers_from(files, device, parents)), is_wireless=is_wireless)


def _names(files: Files) -> str:
    text = _beginning(files, HOSTS, limit=LARGEST_FILE_BYTES)
    return "".join(f"{line}\n" for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _resolver(files: Files) -> str:
    text = _beginning(files, RESOLVER, limit=LARGEST_FILE_BYTES)
    if "127.0.0.53" in text:
        text = _beginning(files, UPSTREAM_RESOLVER, limit=LARGEST_FILE_BYTES)
    return "".join(f"{line}\n" for line in text.splitlines() if line and not line.startswith(("#", ";")))


def _captured(files: Files, name: str) -> bytes:
    try:
        return files.read_bytes(f"{CAPTURED}/{name}")
    except OSError:
        return b""


def _cards(files: Files) -> Iterable[str]:
    """Hardware and bonds: their identity, what drives them and what they are part of; not what containers come with."""
    for name in files.names(LINKS):
        link = f"{LINKS}/{name}"
        if files.exists(f"{link}/device") or files.exists(f"{link}/bonding"):
            said = (text(files, f"{link}/{of}") for of in ("address", "mtu", "bonding/mode"))
            yield " ".join((name, *said, files.link(f"{link}/master"), files.link(f"{link}/device/driver")))


def _columns(files: Files, path: str, *wanted: int) -> tuple[str, ...]:
    lines = (line.split() for line in _beginning(files, path, limit=LARGEST_TABLE_BYTES).splitlines())
    return tuple(" ".join(words[at] for at in wanted if at < len(words)) for words in lines)


def _beginning(files: Files, path: str, *, limit: int) -> str:
    try:
        return files.read_bytes(path, limit=limit).decode("utf-8", "replace")
    except OSError:
        return ""


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word.partition("%")[0])
    except ValueError:
        return False
    return True


_had_last: dict[tuple[str, str], tuple[str, ...]] = {}
"""By machine and name: what to go on with while a name server does not answer."""
