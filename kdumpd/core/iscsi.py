"""An iSCSI session that a disk of this machine hangs on, and what the agent is told so that it logs in again."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, field

from kdumpd.core.plan import Written

SOFTWARE = "iscsi_tcp"
"""What the kernel calls the transport that is no card's own; iscsistart(8) calls it tcp."""
PROGRAM = "iscsistart"
FOLDER = "/kdump/iscsi"


@dataclass(frozen=True, slots=True, kw_only=True)
class IscsiSession:
    """As /sys/class/iscsi_session and iscsi_connection have it; CHAP's words are empty where nobody is asked."""

    target: str
    initiator: str
    address: str
    port: str = "3260"
    portal_group: str = "1"
    transport: str = SOFTWARE
    user: str = ""
    password: str = field(default="", repr=False)
    user_in: str = ""
    """What the target says for itself, where it is asked as well."""
    password_in: str = field(default="", repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether all is known that a login takes, without a card that would do it by itself."""
        return self.transport == SOFTWARE and bool(self.target and self.initiator and self.address)


def login(session: IscsiSession) -> str:
    """The agent's line; what is secret stands in the file that it names."""
    return f"log_in_to_iscsi {_place(session)}"


def told(session: IscsiSession) -> Written:
    """The file with the session's words, quoted for sh; for root alone, and told nowhere."""
    words = {
        "initiator": session.initiator,
        "target": session.target,
        "address": session.address,
        "port": session.port,
        "portal_group": session.portal_group,
        "user": session.user,
        "password": session.password,
        "user_in": session.user_in,
        "password_in": session.password_in,
    }
    text = "".join(f"iscsi_{name}={shlex.quote(value)}\n" for name, value in words.items())
    return Written(path=_place(session), text=text, mode=0o600, is_secret=True)


def _place(session: IscsiSession) -> str:
    identity = f"{session.target}\n{session.address}\n{session.port}"
    return (
        f"{FOLDER}/{hashlib.blake2b(identity.encode('utf-8', 'surrogateescape'), digest_size=8).hexdigest()}"
    )
