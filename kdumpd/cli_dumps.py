"""kdumpctl's words about dumps: list, show, delete, prune, and verify, which reads the files itself."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import cast

from kdumpd.cli_bus import FAILED, OPERATIONAL, plain, said_of, shown, text_of, with_daemon
from kdumpd.cli_screen import complain, say
from kdumpd.core.dumps import CORES, SUM, noted_sum
from kdumpd.core.problems import Trouble
from kdumpd.service.bus import NO_OBJECT, BusError, Client, Value
from kdumpd.service.permissions import DUMP, MANAGER, ROOT

PATIENCE = 600.0
"""Seconds that a removal may take: a large file lies in many pieces."""

NOTE_CHARACTERS = 256

Row = Mapping[str, Value]


def run(asked: argparse.Namespace) -> int:
    async def do(client: Client) -> int:
        match asked.action:
            case "show":
                return await _show(client, asked)
            case "delete":
                return await _delete(client, asked.words)
            case "prune":
                return await _prune(client, asked)
            case "verify":
                return verify(await _rows(client), asked.words)
            case _:
                return await _list(client, asked)

    return with_daemon(asked.bus, do)


async def _rows(client: Client) -> list[Row]:
    """Every dump there is, the newest last, under the names of the properties."""
    rows: list[Row] = []
    before, last = 0, ""
    while True:
        options: Row = {"before-id": last}
        (page,) = await client.call(ROOT, MANAGER, "ListDumps", "tua{sv}", before, 0, options)
        told = cast("Sequence[Row]", page)
        rows.extend({name.capitalize(): value for name, value in row.items()} for row in told)
        if not told:
            return rows[::-1]
        before, last = cast("int", told[-1]["time"]), text_of(told[-1]["id"])


async def _list(client: Client, asked: argparse.Namespace) -> int:
    rows = await _rows(client)
    if asked.json:
        print(json.dumps(rows, default=plain, indent=2, sort_keys=True))
        return OPERATIONAL
    for row in rows:
        complete = "" if row["Complete"] else "  incomplete"
        say(f"{text_of(row['Path'])}  {shown('Size', row['Size'])}  {text_of(row['Reason'])}{complete}")
    return OPERATIONAL


async def _show(client: Client, asked: argparse.Namespace) -> int:
    ends = [word.rstrip("/") for word in asked.words if word]
    found = [
        row
        for row in await _rows(client)
        if any(text_of(row["Path"]).rstrip("/").endswith(end) for end in ends)
    ]
    if not found:
        complain(f"there is no dump {' '.join(asked.words)}".rstrip())
        return FAILED
    whole = [
        row if row["Object"] == NO_OBJECT else await client.get_all(text_of(row["Object"]), DUMP)
        for row in found
    ]
    if asked.json:
        print(json.dumps(whole, default=plain, indent=2, sort_keys=True))
    else:
        for dump in whole:
            say("\n".join(f"{name}: {shown(name, value)}" for name, value in dump.items()))
    return OPERATIONAL


async def _delete(client: Client, words: Sequence[str]) -> int:
    """Each by its name or its whole path; the others go though one stays."""
    if not words:
        complain("dumps delete wants the names of dumps")
        return FAILED
    rows, status = await _rows(client), OPERATIONAL
    for word in words:
        found = [row for row in rows if word.rstrip("/") in {row["Id"], row["Path"]}]
        if not found:
            complain(f"there is no dump {word}")
            status = FAILED
            continue
        if found[0]["Object"] == NO_OBJECT:
            complain(f"{word} is not among the newest; `kdumpctl dumps prune` lets the oldest go")
            status = FAILED
            continue
        try:
            await client.call(text_of(found[0]["Object"]), DUMP, "Delete", "a{sv}", {}, timeout=PATIENCE)
        except (BusError, Trouble) as fault:
            complain(said_of(fault))
            status = FAILED
        else:
            say(f"{text_of(found[0]['Path'])}: deleted")
    return status


async def _prune(client: Client, asked: argparse.Namespace) -> int:
    options: Row = {"dry-run": asked.dry_run}
    (removed,) = await client.call(ROOT, MANAGER, "PruneDumps", "a{sv}", options, timeout=PATIENCE)
    rows = cast("Sequence[Row]", removed)
    if asked.json:
        print(json.dumps(rows, default=plain, indent=2, sort_keys=True))
        return FAILED if any(row["error"] for row in rows) else OPERATIONAL
    status = OPERATIONAL
    for row in rows:
        if row["error"]:
            complain(text_of(row["error"]))
            status = FAILED
            continue
        does = "would be deleted" if asked.dry_run else "deleted"
        why = f"{text_of(row['why'])} ({text_of(row['rule'])})"
        say(f"{text_of(row['path'])}  {shown('Size', row['size'])}  {does}: {why}")
    return status


def verify(rows: Sequence[Row], words: Sequence[str]) -> int:
    """Of these dumps, or of all that have a sum: whether the vmcore is what it was when it was found."""
    wanted = [word.rstrip("/") for word in words]
    chosen = [row for row in rows if not wanted or row["Id"] in wanted or row["Path"] in wanted]
    status = OPERATIONAL
    for word in wanted:
        if not any(word in {row["Id"], row["Path"]} for row in chosen):
            complain(f"there is no dump {word}")
            status = FAILED
    for row in chosen:
        folder = text_of(row["Path"])
        for core in CORES:
            note = f"{folder}/{SUM.format(core=core)}"
            if not os.path.exists(note):
                continue
            try:
                with open(note, encoding="ascii", errors="replace") as file:
                    noted = noted_sum(file.read(NOTE_CHARACTERS), core)
                with open(f"{folder}/{core}", "rb") as file:
                    is_so = hashlib.file_digest(file, "sha256").hexdigest() == noted
            except OSError as fault:
                complain(str(fault))
                status = FAILED
                break
            say(f"{folder}/{core}: {'OK' if is_so else 'FAILED'}")
            status = status if is_so else FAILED
            break
        else:
            if wanted:
                complain(f"there is no sum of {folder}")
                status = FAILED
    return status
