"""`kdumpctl config` over the bus: the running daemon changes the file, makes it effective, and takes it back when that fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from kdumpd.cli_bus import FAILED, finished, text_of, with_daemon
from kdumpd.cli_screen import complain
from kdumpd.service.bus import Client, Value
from kdumpd.service.permissions import CONFIG, ROOT

OK = 0


def run(asked: argparse.Namespace) -> int:
    return with_daemon(asked.bus, lambda client: _act(client, asked))


async def _act(client: Client, asked: argparse.Namespace) -> int:
    match asked.action:
        case "get":
            return await _get(client, asked.key)
        case "set":
            return await _set(client, asked.key, tuple(asked.values))
        case "unset":
            return await _set(client, asked.key, ())
        case "export":
            (program,) = await client.call(ROOT, CONFIG, "Export", "sa{sv}", asked.format, {})
            sys.stdout.write(text_of(program))
            return OK
        case _:
            return await _text(client, asked.new)


async def _get(client: Client, key: str) -> int:
    settings, _etag = await client.call(ROOT, CONFIG, "Get", "a{sv}", {})
    value = settings.get(key) if isinstance(settings, Mapping) else None
    if value is None:
        complain(f"{key} is not set")
        return FAILED
    for line in value if isinstance(value, tuple) else (value,):
        print(line)
    return OK


async def _set(client: Client, key: str, values: tuple[str, ...]) -> int:
    _settings, etag = await client.call(ROOT, CONFIG, "Get", "a{sv}", {})
    written: Value = values if len(values) > 1 else "".join(values)
    return await _effective(client, "Set", "a{sv}sa{sv}", {key: written}, etag, {})


async def _text(client: Client, new: str) -> int:
    text, etag = await client.call(ROOT, CONFIG, "GetText", "a{sv}", {})
    if not new:
        sys.stdout.write(text_of(text))
        return OK
    try:
        wanted = _read(new)
    except OSError as fault:
        complain(f"{new} cannot be read: {fault.strerror}")
        return FAILED
    except (
        UnicodeDecodeError
    ) as fault:  # the bus carries nothing else, and the file is not to be changed on the way
        complain(f"{new} is not UTF-8: {fault.reason} at byte {fault.start}")
        return FAILED
    return await _effective(client, "SetText", "ssa{sv}", wanted, etag, {})


def _read(path: str) -> str:
    if path == "-":
        return sys.stdin.buffer.read().decode()
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


async def _effective(client: Client, member: str, signature: str, *arguments: Value) -> int:
    _etag, path = await client.call(ROOT, CONFIG, member, signature, *arguments)
    if path == "/":
        return OK
    job = await finished(client, text_of(path))
    if job["Result"] == "done":
        return OK
    complain(text_of(job["ErrorMessage"]) or f"the job was {text_of(job['Result'])}")
    return FAILED
