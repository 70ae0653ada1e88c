"""kdumpctl's words about dumps: list, show, delete, prune, and verify, which reads the files itself."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import cast

from kdumpd.cli_bus import count, plain, said_of, shown, text_of, with_daemon
from kdumpd.cli_screen import Screen, Tone, complain, moment, say, screen, size
from kdumpd.cli_words import FAILED, OK
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
                return await _delete(client, asked)
            case "prune":
                return await _prune(client, asked)
            case "verify":
                return verify(await _rows(client), asked.words, as_json=asked.json)
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
        return OK
    on = screen()
    if on.is_terminal:
        print("\n".join(_table(rows, on)))
        return OK
    for row in rows:
        complete = "" if row["Complete"] else "  incomplete"
        say(f"{text_of(row['Path'])}  {shown('Size', row['Size'])}  {text_of(row['Reason'])}{complete}")
    return OK


def _table(rows: Sequence[Row], on: Screen) -> list[str]:
    """Where there are none it says so: on a terminal nothing at all looks like something that failed."""
    if not rows:
        return ["no dump was found"]
    cells = []
    for row in rows:
        words = ("test" if row["Test"] else "", "" if row["Complete"] else "incomplete")
        cells.append(
            (
                (text_of(row["Path"]), Tone.STRONG),
                (moment(count(row, "Time")), Tone.PLAIN),
                (size(count(row, "Size")), Tone.PLAIN),
                (" ".join(filter(None, words)), Tone.DOUBT),
                (text_of(row["Reason"]), Tone.PLAIN),
            )
        )
    return on.table(("directory", "crashed", "size", "", "panic"), cells)


async def _show(client: Client, asked: argparse.Namespace) -> int:
    rows = await _rows(client)
    ends = [word.rstrip("/") for word in asked.words if word]
    found = [row for row in rows if any(text_of(row["Path"]).rstrip("/").endswith(end) for end in ends)]
    if not asked.words:
        found = rows[-1:]
    if not found:
        complain(f"there is no dump {' '.join(asked.words)}".rstrip())
        return FAILED
    whole = [
        row if row["Object"] == NO_OBJECT else await client.get_all(text_of(row["Object"]), DUMP)
        for row in found
    ]
    on = screen()
    if asked.json:
        print(json.dumps(whole, default=plain, indent=2, sort_keys=True))
    elif on.is_terminal:
        told = ([(name, shown(name, value), Tone.PLAIN) for name, value in dump.items()] for dump in whole)
        print("\n\n".join("\n".join(on.rows(rows)) for rows in told))
    else:
        for dump in whole:
            say("\n".join(f"{name}: {shown(name, value)}" for name, value in dump.items()))
    return OK


async def _delete(client: Client, asked: argparse.Namespace) -> int:
    """Each by its name or its whole path; the others go though one stays."""
    rows = await _rows(client)
    outcomes = [(word, await _deleted(client, rows, word)) for word in asked.words]
    if asked.json:
        print(json.dumps([{"dump": word, "error": error} for word, error in outcomes], indent=2))
    for word, error in outcomes:
        if error:
            complain(error)
        elif not asked.json:
            path = next(text_of(row["Path"]) for row in rows if _is_called(row, word))
            say(f"{path}: deleted")
    return FAILED if any(error for _, error in outcomes) else OK


async def _deleted(client: Client, rows: Sequence[Row], word: str) -> str:
    """Why it was not, "" where it was."""
    found = [row for row in rows if _is_called(row, word)]
    if not found:
        return f"there is no dump {word}"
    if found[0]["Object"] == NO_OBJECT:
        return f"{word} is not among the newest; `kdumpctl dumps prune` lets the oldest go"
    try:
        await client.call(text_of(found[0]["Object"]), DUMP, "Delete", "a{sv}", {}, timeout=PATIENCE)
    except (BusError, Trouble) as fault:
        return said_of(fault)
    return ""


def _is_called(row: Row, word: str) -> bool:
    return word.rstrip("/") in {row["Id"], row["Path"]}


async def _prune(client: Client, asked: argparse.Namespace) -> int:
    options: Row = {"dry-run": asked.dry_run}
    (removed,) = await client.call(ROOT, MANAGER, "PruneDumps", "a{sv}", options, timeout=PATIENCE)
    rows = cast("Sequence[Row]", removed)
    if asked.json:
        print(json.dumps(rows, default=plain, indent=2, sort_keys=True))
        return FAILED if any(row["error"] for row in rows) else OK
    status = OK
    for row in rows:
        if row["error"]:
            complain(text_of(row["error"]))
            status = FAILED
            continue
        does = "would be deleted" if asked.dry_run else "deleted"
        why = f"{text_of(row['why'])} ({text_of(row['rule'])})"
        say(f"{text_of(row['path'])}  {shown('Size', row['size'])}  {does}: {why}")
    return status


def verify(rows: Sequence[Row], words: Sequence[str], *, as_json: bool = False) -> int:
    """Of these dumps, or of all that have a sum: whether the vmcore is what it was when it was found."""
    chosen = [row for row in rows if not words or any(_is_called(row, word) for word in words)]
    wrong = [f"there is no dump {word}" for word in words if not any(_is_called(row, word) for row in chosen)]
    compared: list[tuple[str, bool]] = []
    for row in chosen:
        folder = text_of(row["Path"])
        core = next((each for each in CORES if os.path.exists(_note(folder, each))), None)
        if core is None:
            wrong += [f"there is no sum of {folder}"] if words else []
            continue
        try:
            with open(_note(folder, core), encoding="ascii", errors="replace") as file:
                noted = noted_sum(file.read(NOTE_CHARACTERS), core)
            with open(f"{folder}/{core}", "rb") as file:
                is_so = hashlib.file_digest(file, "sha256").hexdigest() == noted
        except OSError as fault:
            wrong.append(str(fault))
        else:
            compared.append((f"{folder}/{core}", is_so))
            if not as_json:
                say(f"{folder}/{core}: {'OK' if is_so else 'FAILED'}")
    if as_json:
        print(json.dumps([{"core": core, "is-unchanged": is_so} for core, is_so in compared], indent=2))
    for each in wrong:
        complain(each)
    return FAILED if wrong or not all(is_so for _, is_so in compared) else OK


def _note(folder: str, core: str) -> str:
    return f"{folder}/{SUM.format(core=core)}"
