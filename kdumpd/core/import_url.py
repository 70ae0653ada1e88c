"""Who and where the middle of a URL names, as openSUSE's kdump writes targets."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The part of a URL between `//` and `/`."""

    user: str
    host: str
    port: str
    has_password: bool


def place_of(text: str) -> Place:
    who, _, where = text.rpartition("@")
    user, colon, _password = who.partition(":")
    found = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::([0-9]*))?", where)
    host, port = (found[1], found[2] or "") if found is not None else (where, "")
    return Place(user=user, host=host, port=port, has_password=bool(colon))
