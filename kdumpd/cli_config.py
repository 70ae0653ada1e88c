"""`kdumpctl config` over the bus: the running daemon changes the file, makes it effective, and takes it back when that fails."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from kdumpd.cli_bus import UNSPEAKABLE, finished, is_speakable, plain, text_of, why_not, with_daemon
from kdumpd.cli_files import read_input
from kdumpd.cli_screen import complain, legible
from kdumpd.cli_words import FAILED, OK
from kdumpd.core.edits import unknown_directive
from kdumpd.core.problems import Problem
from kdumpd.service.bus import Client, Value
from kdumpd.service.permissions import CONFIG, ROOT


def run(asked: argparse.Namespace) -> int:
    return with_daemon(asked.bus, lambda client: _act(client, asked))


async def _act(client: Client, asked: argparse.Namespace) -> int:
    match asked.action:
        case "get":
            return await _get(client, asked)
        case "set":
            return await _set(client, asked, tuple(asked.values))
        case "unset":
            return await _set(client, asked, ())
        case "export":
            (program,) = await client.call(ROOT, CONFIG, "Export", "sa{sv}", asked.format, {})
            return _written(asked, {"program": program}, text_of(program))
        case _:
            return await _text(client, asked)


def _written(asked: argparse.Namespace, told: Mapping[str, Value], text: str) -> int:
    sys.stdout.write(json.dumps(told, default=plain, indent=2, sort_keys=True) + "\n" if asked.json else text)
    return OK


async def _get(client: Client, asked: argparse.Namespace) -> int:
    settings, _etag = await client.call(ROOT, CONFIG, "Get", "a{sv}", {})
    value = settings.get(asked.key) if isinstance(settings, Mapping) else None
    if value is None:
        unknown = unknown_directive(asked.key)
        complain(str(unknown) if unknown else f"{asked.key} is not set")
        return FAILED
    lines = [text_of(each) for each in (value if isinstance(value, tuple) else (value,))]
    return _written(asked, {asked.key: tuple(lines)}, legible("".join(f"{line}\n" for line in lines)))


async def _set(client: Client, asked: argparse.Namespace, values: tuple[str, ...]) -> int:
    if "" in values:  # which over the bus would unset it
        complain("an empty value cannot be written; unset the directive instead")
        return FAILED
    for word in (asked.key, *values):
        if not is_speakable(word):
            complain(f"{legible(word)} {UNSPEAKABLE}")
            return FAILED
    _settings, etag = await client.call(ROOT, CONFIG, "Get", "a{sv}", {})
    written: Value = values if len(values) > 1 else "".join(values)
    return await _effective(client, asked, "Set", "a{sv}sa{sv}", {asked.key: written}, etag, {})


async def _text(client: Client, asked: argparse.Namespace) -> int:
    text, etag = await client.call(ROOT, CONFIG, "GetText", "a{sv}", {})
    new = asked.new
    if not new:
        return _written(asked, {"text": text, "etag": etag}, text_of(text))
    contents = read_input(new)
    if isinstance(contents, Problem):
        complain(str(contents))
        return FAILED
    if not is_speakable(contents.text):  # the file is not to be changed on the way
        complain(f"{new} {UNSPEAKABLE}")
        return FAILED
    return await _effective(client, asked, "SetText", "ssa{sv}", contents.text, etag, {})


async def _effective(
    client: Client, asked: argparse.Namespace, member: str, signature: str, *arguments: Value
) -> int:
    etag, path = await client.call(ROOT, CONFIG, member, signature, *arguments)
    job = await finished(client, path)
    if asked.json:
        print(json.dumps({**job, "Etag": etag}, default=plain, indent=2, sort_keys=True))
    fault = why_not(job)
    if fault:
        complain(fault)
    return FAILED if fault else OK
