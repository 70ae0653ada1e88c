"""Giving an ssh server a key of ours: which commands do it, the same from a terminal and for a front end."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence

FIPS = "/proc/sys/crypto/fips_enabled"
RSA_BITS = "3072"


def new_key(key: str, *, is_fips: bool, host_name: str) -> tuple[str, ...]:
    """Makes both halves, without a passphrase: Ed25519, or RSA in FIPS mode, which does not know it."""
    kind = ("-t", "rsa", "-b", RSA_BITS) if is_fips else ("-t", "ed25519")
    return ("ssh-keygen", "-q", *kind, "-N", "", "-C", f"kdump@{host_name}", "-f", key)


def public_half(key: str) -> tuple[str, ...]:
    """Prints the public half of a key that has no passphrase."""
    return ("ssh-keygen", "-y", "-P", "", "-f", key)


def copy(key: str, destination: str) -> tuple[str, ...]:
    return ("ssh-copy-id", "-i", f"{key}.pub", destination)


def with_key_alone(key: str, destination: str) -> tuple[str, ...]:
    """As the capture kernel calls ssh: nobody is asked, and no other key is offered. A command follows."""
    return (
        *("ssh", "-T", "-i", key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "ConnectTimeout=20"),
        *("-o", "PreferredAuthentications=publickey", destination),
    )


def scan(host: str, port: str) -> tuple[str, ...]:
    return ("ssh-keyscan", "-T", "20", "-p", port, host)


def fingerprint(line: str) -> str:
    """`SHA256:...` of a line of known_hosts, as ssh shows it; "" for a line that is none."""
    words = line.split()
    if len(words) < 3 or line.startswith("#"):
        return ""
    try:
        key = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"SHA256:{base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip('=')}"


def entries_with(lines: Iterable[str], wanted: str, *, name: str) -> Sequence[str]:
    """The lines of ssh-keyscan that have the fingerprint `wanted`, for known_hosts under `name`."""
    return [" ".join((name, *line.split()[1:3])) for line in lines if fingerprint(line) == wanted]
