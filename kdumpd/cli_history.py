"""kdumpctl history: what kdumpd did and said so far, a line for each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from kdumpd.cli_bus import OPERATIONAL, text_of, with_daemon
from kdumpd.cli_screen import say
from kdumpd.service.bus import Client, Value
from kdumpd.service.permissions import MANAGER, ROOT


def run(asked: argparse.Namespace) -> int:
    async def show(client: Client) -> int:
        (found,) = await client.call(ROOT, MANAGER, "GetHistory", "ua{sv}", asked.number, {})
        entries = (
            [dict(each) for each in found if isinstance(each, Mapping)] if isinstance(found, tuple) else []
        )
        if asked.json:
            print(json.dumps(entries, indent=2, sort_keys=True))
        else:
            for entry in reversed(entries):
                say(told(entry))
        return OPERATIONAL

    return with_daemon(asked.bus, show)


def told(entry: Mapping[str, Value]) -> str:
    """`2026-01-02 03:04:05+00:00  rebuild done in 3.1 s: kdump.conf changed`."""
    time, seconds = entry["time"], entry["seconds"]
    when = datetime.fromtimestamp(time / 1e6 if isinstance(time, int) else 0, tz=UTC).astimezone()
    took = f" in {seconds:.1f} s" if isinstance(seconds, float) and seconds else ""
    said = text_of(entry["message"]) or text_of(entry["why"])
    if entry["kind"] == "state":
        return f"{when:%Y-%m-%d %H:%M:%S}  {said}"
    why = f" ({text_of(entry['why'])})" if entry["message"] and entry["why"] else ""
    return (
        f"{when:%Y-%m-%d %H:%M:%S}  {text_of(entry['kind'])} {text_of(entry['result'])}{took}"
        f"{': ' if said else ''}{said}{why}"
    )
