"""kdumpctl estimate: what a capture needs of memory, in the words that scripts know from kdump-utils."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping

from kdumpd.cli_bus import said_of, text_of
from kdumpd.cli_screen import MIB, complain
from kdumpd.cli_words import FAILED, OK
from kdumpd.core.problems import Trouble
from kdumpd.service.bus import BusError, Client, Connection, ErrorName, Value
from kdumpd.service.permissions import BUS_NAME, MANAGER, ROOT

BAD_CONFIG = 2


def run(asked: argparse.Namespace) -> int:
    """0, 1 where nothing could be asked, 2 where the configuration has an error. The machine is left as it is."""
    try:
        found = asyncio.run(_ask(asked.bus))
    except (BusError, Trouble) as fault:
        complain(said_of(fault))
        is_config = isinstance(fault, BusError) and fault.name == ErrorName.INVALID_CONFIG
        return BAD_CONFIG if is_config else FAILED
    print(json.dumps(found, indent=2, sort_keys=True) if asked.json else told(found))
    if not asked.json and _size(found, "reserved") < _size(found, "recommended"):
        complain(
            f"less memory is reserved than recommended; write crashkernel={text_of(found['crashkernel'])}"
        )
    return OK


async def _ask(address: str) -> dict[str, Value]:
    async with Connection(address) as connection:
        (found,) = await Client(connection, BUS_NAME).call(ROOT, MANAGER, "Estimate", "a{sv}", {})
    return dict(found) if isinstance(found, Mapping) else {}


def told(found: Mapping[str, Value]) -> str:
    """The table, the sizes rounded up to MiB."""
    image = (
        f"{_mib(found, 'image')} ({_mib(found, 'unpacked')} unpacked)" if found["built"] else "not built yet"
    )
    count = _size(found, "captures")
    basis = f"measured by {count} capture{'' if count == 1 else 's'}" if count else "guessed"
    rows = (
        ("Reserved crashkernel", _mib(found, "reserved")),
        ("Recommended crashkernel", _mib(found, "recommended")),
        ("", ""),
        ("Kernel image size", _mib(found, "kernel")),
        ("Initramfs size", image),
        ("Runtime reservation", f"{_mib(found, 'working-set')} ({basis})"),
        ("Needed altogether", _mib(found, "needed")),
        ("To write", f"crashkernel={text_of(found['crashkernel'])}"),
    )
    return "\n".join(f"{name + ':':<25}{value}" if name else "" for name, value in rows)


def _size(found: Mapping[str, Value], name: str) -> int:
    value = found[name]
    return value if isinstance(value, int) else 0


def _mib(found: Mapping[str, Value], name: str) -> str:
    return f"{-(-_size(found, name) // MIB)}M"
