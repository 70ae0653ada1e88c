"""What ip(8) and getent(1) print about links, addresses, routes and names, read as the data of strangers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kdumpd.core.links import USUAL_MTU, Link
from kdumpd.core.network import Hop, OwnAddress

_KEPT_OPTIONS = MappingProxyType(
    {
        "bond": (
            *("mode", "miimon", "arp_interval", "arp_ip_target", "primary", "fail_over_mac"),
            *("xmit_hash_policy", "ad_lacp_rate"),
        ),
        "vlan": ("protocol", "id"),
        "bridge": ("stp_state", "vlan_filtering"),
    }
)
"""What is set and decides how the link is made; the rest of the details is state and moves by itself."""
_PASSING_FLAGS = ("temporary", "deprecated", "tentative", "dadfailed")
_LONGEST_NAME = 15  # IFNAMSIZ - 1 of Linux


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _LinkInfo(_Model):
    info_kind: str = ""
    info_data: dict[str, object] = Field(default_factory=dict)


class _Link(_Model):
    ifname: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
    mtu: int = USUAL_MTU
    link_type: str = ""
    address: str = ""
    permaddr: str = ""
    master: str = ""
    link: str | None = None
    linkinfo: _LinkInfo = _LinkInfo()


class _Address(_Model):
    local: str = ""
    prefixlen: int = 0
    scope: str = ""
    temporary: bool = False
    deprecated: bool = False
    tentative: bool = False
    dadfailed: bool = False


class _Addresses(_Model):
    ifname: str = ""
    addr_info: tuple[_Address, ...] = ()


class _Via(_Model):
    host: str = ""


class _Route(_Model):
    dst: str = ""
    type: str = "unicast"
    dev: str = ""
    gateway: str = ""
    via: _Via = _Via()
    prefsrc: str = ""


_LINKS = TypeAdapter(tuple[_Link, ...])
_ADDRESSES = TypeAdapter(tuple[_Addresses, ...])
_ROUTES = TypeAdapter(tuple[_Route, ...])
_T = TypeVar("_T")


class NotUnderstood(ValueError):
    """A program printed something else than it is known to print."""


def parse_links(text: bytes) -> tuple[Link, ...]:
    """`ip -j -d link`. Raises NotUnderstood."""
    return tuple(_link(each) for each in _read(_LINKS, text, "ip link"))


def parse_addresses(text: bytes) -> tuple[OwnAddress, ...]:
    """`ip -j address`. Raises NotUnderstood."""
    return tuple(
        OwnAddress(
            link=each.ifname,
            address=own.local,
            prefix=own.prefixlen,
            is_lasting=own.scope == "global" and not any(getattr(own, flag) for flag in _PASSING_FLAGS),
        )
        for each in _read(_ADDRESSES, text, "ip address")
        for own in each.addr_info
        if _is_address(own.local)
    )


def parse_route(address: str, text: bytes) -> Hop:
    """`ip -j route get ADDRESS`. Raises NotUnderstood."""
    routes = _read(_ROUTES, text, "ip route get")
    if not routes:
        return Hop(address=address, fault="the kernel names no route")
    route = routes[0]
    gateway = route.gateway or route.via.host
    if any(word and not _is_address(word) for word in (gateway, route.prefsrc)):
        raise NotUnderstood("ip route get names what is no address")
    is_local = route.type == "local" or route.dev == "lo"
    return Hop(address=address, link=route.dev, gateway=gateway, source=route.prefsrc, is_local=is_local)


def parse_ahosts(text: str) -> tuple[str, ...]:
    """`getent ahosts NAME`: the addresses, each once.

    The family that comes first stays first (RFC 6724 is why it does), the others of one family are sorted: a name
    server that deals out its answers in turns must not change the plan at each look.
    """
    found = dict.fromkeys(word for line in text.splitlines() if (word := next(iter(line.split()), "")))
    return in_steady_order(word for word in found if _is_address(word))


def in_steady_order(addresses: Iterable[str]) -> tuple[str, ...]:
    given = tuple(dict.fromkeys(addresses))
    versions = tuple(dict.fromkeys(_plain(each).version for each in given))
    return tuple(
        sorted(given, key=lambda each: (versions.index(_plain(each).version), int(_plain(each)), each))
    )


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.partition("%")[0])


def _is_address(word: str) -> bool:
    try:
        _plain(word)
    except ValueError:
        return False
    return True


def _read(adapter: TypeAdapter[_T], text: bytes, what: str) -> _T:
    try:
        return adapter.validate_json(text.strip() or b"[]")
    except ValidationError as fault:
        raise NotUnderstood(f"{what} printed what is not understood: {fault.errors()[0]['msg']}") from fault


def _link(each: _Link) -> Link:
    kind = each.linkinfo.info_kind
    mac = each.address.lower()
    return Link(
        name=each.ifname,
        mac=mac,
        card_mac=each.permaddr.lower() or mac,
        mtu=each.mtu,
        link_type=each.link_type,
        kind=kind,
        master=each.master,
        under=each.link or "",
        options=_options(kind, each.linkinfo.info_data),
    )


def _options(kind: str, data: Mapping[str, object]) -> Mapping[str, str]:
    kept = _KEPT_OPTIONS.get(kind, ())
    return MappingProxyType({name: _word(data[name]) for name in kept if data.get(name) is not None})


def _word(value: object) -> str:
    match value:
        case bool():
            return str(int(value))
        case list():
            return ",".join(map(str, value))
        case _:
            return str(value)
