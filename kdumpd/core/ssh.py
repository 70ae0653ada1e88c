"""What ssh of this machine would do for a target: its options, its key, the host keys it knows; and what of it comes along."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

CONFIG = "/kdump/ssh_config"
KNOWN_HOSTS = "/kdump/known_hosts"
"""Where both lie in the image."""

CONNECT_SECONDS = 20
ALIVE_SECONDS = 15
ALIVE_MOST = 4
"""A server that answers nothing for a minute is gone; what it does not write is the watcher's business."""

COPIED = (
    *("addressfamily", "casignaturealgorithms", "ciphers", "compression", "ipqos", "kexalgorithms", "macs"),
    *("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes", "rekeylimit", "requiredrsasize"),
)
"""Options that come along where the machine's configuration has another value than ssh itself, in the spelling of
`ssh -G`. hostkeyalgorithms comes along too, in an order of its own."""

_BEGINNING = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ )*)PRIVATE KEY-----")
_KEY_TYPE = re.compile(r"[a-z0-9@.-]+")
_MAGIC = b"openssh-key-v1\0"
_MARKERS = ("@cert-authority", "@revoked")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshWish:
    """What has to be looked at for an ssh target: the options for `destination`, and these private keys."""

    destination: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """A private key as it stands. Nothing here is secret."""

    path: str
    is_there: bool
    mode: int = 0
    fault: str = ""
    """Why ssh could not use it without asking anybody, as a clause after the key's name; "" where it could."""

    @property
    def is_too_open(self) -> bool:
        return bool(self.mode & 0o077)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshServer:
    """What ssh says of one destination. `options` are of `ssh -G`, `plain` the same without any configuration."""

    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    plain: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    known_hosts: tuple[str, ...] = ()
    """Lines of known_hosts files that are about this host, as they stand there."""
    unread: tuple[str, ...] = ()
    """For each known_hosts file that could not be read, a clause that names it and says why."""
    keys: tuple[SshKey, ...] = ()
    read: tuple[str, ...] = ()
    """Files of ssh whose change may change any of this, whether they are there or not."""
    fault: str = ""
    """Why ssh could not be asked."""

    @property
    def host(self) -> str:
        """The name or address that ssh would connect to, aliases resolved."""
        return self.options.get("hostname", "").strip("[]")

    @property
    def port(self) -> str:
        return self.options.get("port", "22")

    @property
    def key_name(self) -> str:
        """The name under which the host's key is known, without a port."""
        return self.options.get("hostkeyalias") or self.host

    @property
    def looked_up(self) -> tuple[str, ...]:
        """The names that known_hosts has it under: with a port of its own first, and then without, as ssh does."""
        if self.port == "22" or "hostkeyalias" in self.options:
            return (self.key_name,)
        return f"[{self.key_name}]:{self.port}", self.key_name

    @property
    def known_hosts_files(self) -> tuple[str, ...]:
        names = " ".join(self.options.get(f"{of}knownhostsfile", "") for of in ("user", "global"))
        return tuple(dict.fromkeys(name for name in names.split() if name.startswith("/")))

    @property
    def way_there(self) -> str:
        """The option that leads to the host through something else than the network, "" where none does."""
        for name in ("proxyjump", "proxycommand"):
            if self.options.get(name, "none").lower() != "none":
                return name
        return ""


def parse_options(text: str) -> Mapping[str, str]:
    """The output of `ssh -G`, the first value of each keyword: one option a line, the keyword in lower case."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        keyword, _blank, value = line.strip().partition(" ")
        if keyword:
            found.setdefault(keyword.lower(), value)
    return MappingProxyType(found)


def key_fault(text: str) -> str:
    """Why a private key cannot be used by itself, as a clause; "" where nothing speaks against it.

    PEM has it in its header lines (RFC 1421, RFC 5958); OpenSSH's own format names the cipher first
    (PROTOCOL.key of OpenSSH).
    """
    found = _BEGINNING.search(text)
    if found is None:
        return "is not a private key of OpenSSH"
    secured = "has a passphrase, which nobody can type in the capture kernel"
    if "ENCRYPTED" in found[1] or "Proc-Type: 4,ENCRYPTED" in text:
        return secured
    if not found[1].startswith("OPENSSH"):
        return ""
    body = "".join(text[found.end() :].partition("-----END")[0].split())
    try:
        blob = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return "is damaged"
    name = blob.removeprefix(_MAGIC)
    length = int.from_bytes(name[:4], "big")
    if name == blob or not 0 < length <= len(name) - 4:
        return "is damaged"
    return "" if name[4 : 4 + length] == b"none" else secured


def included(text: str, *, beside: str) -> tuple[str, ...]:
    """The patterns of Include in the text of an ssh_config(5), as absolute paths; `beside` is where relative ones lie."""
    found: list[str] = []
    for line in text.splitlines():
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        for word in rest.replace('"', " ").split() if keyword.lower() == "include" else ():
            home = word.removeprefix("~/")
            found.append(
                f"/root/{home}" if home != word else word if word.startswith("/") else f"{beside}/{word}"
            )
    return tuple(found)


def parse_known_hosts(text: str) -> tuple[str, ...]:
    """The lines that `ssh-keygen -F` found, without its remarks."""
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


def known_hosts_text(server: SshServer) -> str:
    """The host's keys under the one name that ssh_config of the image looks up: hashed names and ports are gone."""
    entries = dict.fromkeys(
        " ".join((*marker, server.key_name, kind, key)) for marker, kind, key in _entries(server.known_hosts)
    )
    return "".join(f"{entry}\n" for entry in entries)


def has_host_key(server: SshServer) -> bool:
    """Whether anything among what is known could prove the host: what was revoked does not."""
    return any(marker != ("@revoked",) for marker, _, _ in _entries(server.known_hosts))


def hosts(addresses: Iterable[str]) -> tuple[str, ...]:
    """The names that `config_text` gives the addresses of the server, in their order."""
    return tuple(f"kdump-{number}" for number, _ in enumerate(addresses, start=1))


def config_text(server: SshServer, *, key: str, addresses: tuple[str, ...]) -> str:
    """ssh_config of the image: nobody is asked anything, only this key is offered, only this host is believed.

    `key` has passed `is_plain`.
    """
    lines = [
        *_each_address(addresses),
        "Host *",
        "BatchMode yes",
        "StrictHostKeyChecking yes",
        f"UserKnownHostsFile {KNOWN_HOSTS}",
        "GlobalKnownHostsFile none",
        f"HostKeyAlias {server.key_name}",
        "CheckHostIP no",
        "UpdateHostKeys no",
        "PreferredAuthentications publickey",
        "IdentitiesOnly yes",
        f'IdentityFile "{key.replace("%", "%%")}"',
        "IdentityAgent none",
        f"Port {server.port}",
        f"ConnectTimeout {CONNECT_SECONDS}",
        f"ServerAliveInterval {ALIVE_SECONDS}",
        f"ServerAliveCountMax {ALIVE_MOST}",
        "TCPKeepAlive yes",
        "ControlMaster no",
        "ControlPath none",
        "ForwardAgent no",
        "ForwardX11 no",
        "ClearAllForwardings yes",
        "PermitLocalCommand no",
        "RequestTTY no",
        "EscapeChar none",
        "LogLevel ERROR",
        *_copied(server),
    ]
    return "".join(f"{line}\n" for line in lines)


def is_plain(path: str) -> bool:
    """Whether ssh_config can name a path: its quotes have no escape in every version, and ${...} is expanded."""
    return path.isprintable() and not any(mark in path for mark in ('"', "\\", "${"))


def trial(directory: str, name: str) -> tuple[str, ...]:
    """Commands for the shell of the server that write, rename and remove a small file as a dump would be.

    The second reads the file's contents from its input. The last removes it also where it was not renamed, so it is
    to be run whatever became of the others. Each is harmless to repeat.
    """
    before, after = (shlex.quote(f"{directory.rstrip('/')}/{name}{end}") for end in ("-incomplete", ""))
    return (
        f"mkdir -p -- {shlex.quote(directory)}",
        f"cat > {before}",
        f"mv -- {before} {after}",
        f"rm -f -- {before} {after}",
    )


def _each_address(addresses: tuple[str, ...]) -> Iterable[str]:
    for name, address in zip(hosts(addresses), addresses, strict=True):
        yield f"Host {name}"
        yield f"HostName {address.replace('%', '%%')}"


def _copied(server: SshServer) -> Iterable[str]:
    for name in COPIED:
        value = server.options.get(name, "")
        if value and value != server.plain.get(name):
            yield f"{name} {value}"
    algorithms = server.options.get("hostkeyalgorithms", "")
    if algorithms and algorithms != server.plain.get("hostkeyalgorithms"):
        # ssh prefers the kinds it knows a key of, but not once the option is set: the server would choose another
        # kind, whose key nobody knows.
        known = {kind for _, kind, _ in _entries(server.known_hosts)}
        each = sorted(algorithms.split(","), key=lambda name: _kind(name) not in known)
        yield f"hostkeyalgorithms {','.join(each)}"


def _kind(algorithm: str) -> str:
    """The kind of key in known_hosts that proves a signature by `algorithm`."""
    return "ssh-rsa" if algorithm in {"rsa-sha2-256", "rsa-sha2-512"} else algorithm


def _entries(lines: Iterable[str]) -> Iterable[tuple[tuple[str, ...], str, str]]:
    """Marker, kind and key of each line of known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    for line in lines:
        words = line.split()
        marker = tuple(words[:1]) if words[:1] and words[0] in _MARKERS else ()
        rest = words[len(marker) :]
        if len(rest) >= 3 and _KEY_TYPE.fullmatch(rest[1]):
            yield marker, rest[1], rest[2]
