"""kdumpctl history: what kdumpd did and said so far, a line for each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from kdumpd.cli_bus import count, text_of, with_daemon
from kdumpd.cli_screen import Screen, Tone, moment, say, screen
from kdumpd.cli_words import OK
from kdumpd.service.bus import Client, Value
from kdumpd.service.permissions import MANAGER, ROOT

Entry = Mapping[str, Value]

_TONES = {
    "failed": Tone.BAD,
    "timeout": Tone.BAD,
    "armed": Tone.GOOD,
    "stale": Tone.DOUBT,
    "foreign": Tone.DOUBT,
}


def run(asked: argparse.Namespace) -> int:
    async def show(client: Client) -> int:
        (found,) = await client.call(ROOT, MANAGER, "GetHistory", "ua{sv}", asked.number, {})
        entries = (
            [dict(each) for each in found if isinstance(each, Mapping)] if isinstance(found, tuple) else []
        )
        if asked.json:
            print(json.dumps(entries, indent=2, sort_keys=True))
            return OK
        on = screen()
        if on.is_terminal:
            print("\n".join(_table(entries[::-1], on)))
        else:
            for entry in reversed(entries):
                say(told(entry))
        return OK

    return with_daemon(asked.bus, show)


def told(entry: Entry) -> str:
    """`2026-01-02 03:04:05  rebuild done in 3.1 s: kdump.conf changed`."""
    said = text_of(entry["message"]) or text_of(entry["why"])
    if entry["kind"] == "state":
        return f"{_when(entry)}  {said}"
    took = f" in {_seconds(entry)}" if _seconds(entry) else ""
    why = f" ({text_of(entry['why'])})" if entry["message"] and entry["why"] else ""
    return (
        f"{_when(entry)}  {text_of(entry['kind'])} {text_of(entry['result'])}{took}"
        f"{': ' if said else ''}{said}{why}"
    )


def _table(entries: Sequence[Entry], on: Screen) -> list[str]:
    rows = []
    for entry in entries:
        result, kind = text_of(entry["result"]), text_of(entry["kind"])
        said = text_of(entry["message"]) or text_of(entry["why"])
        rows.append(
            (
                (_when(entry), Tone.PLAIN),
                ("" if kind == "state" else kind, Tone.STRONG),
                (result, _TONES.get(result, Tone.PLAIN)),
                (_seconds(entry), Tone.PLAIN),
                (said.removeprefix(f"{result}: "), Tone.PLAIN),
            )
        )
    return on.table(("when", "job", "result", "took", "why"), rows)


def _when(entry: Entry) -> str:
    return moment(count(entry, "time"))


def _seconds(entry: Entry) -> str:
    seconds = entry["seconds"]
    return f"{seconds:.1f} s" if isinstance(seconds, float) and seconds else ""
