"""kdumpctl config edit: an editor on a copy of kdump.conf, which is checked and then written; no text is ever lost."""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple, Protocol

from kdumpd.cli_bus import UNSPEAKABLE, asked_of, finished, is_speakable, said_of, text_of, why_not
from kdumpd.cli_diff import changed_rows
from kdumpd.cli_files import Contents, read_contents, replaced, sentence
from kdumpd.cli_screen import complain, say, screen
from kdumpd.cli_words import DEFAULT_CONFIG, FAILED, OK
from kdumpd.core import config, document
from kdumpd.core.comparing import changes
from kdumpd.core.problems import Problem, Trouble, errors
from kdumpd.service.bus import BusError, Client, ErrorName
from kdumpd.service.permissions import CONFIG, ROOT

EDITORS = ("editor", "sensible-editor", "vi", "nano")
"""Where neither $VISUAL nor $EDITOR says which."""
_FILE = "a file"  # the etag of one: its text is compared whole
LASTING = "/var/tmp"  # noqa: S108  # in a folder that is ours alone; a text that was kept is to outlive a reboot


class Fate(Enum):
    """What became of a text that was to be written."""

    WRITTEN = "written"
    CONFLICT = "conflict"  # somebody else has written since
    REFUSED = "refused"


class Written(NamedTuple):
    fate: Fate
    said: str = ""


class Seen(NamedTuple):
    """A text, and that which tells it from any other."""

    text: str
    etag: str


class Place(Protocol):
    """Where the text comes from and goes to. Both raise Trouble or BusError."""

    file: str
    is_live: bool
    """Whether what is written there is made effective at once."""

    def read(self) -> Seen: ...
    def write(self, text: str, seen: Seen) -> Written: ...


def run(asked: argparse.Namespace) -> int:
    """0 where what was edited is effective, or nothing was changed; else 1, and the text stays where it is told to."""
    if asked.json:  # before the verb, where it may stand for all of them
        complain("config edit is for people, and prints nothing for programs: leave out --json")
        return FAILED
    place: Place = _File(asked.file) if asked.file else _Daemon(asked.bus)
    try:
        seen = place.read()
        return _Edit(place, seen).run()
    except (BusError, Trouble) as fault:
        complain(said_of(fault))
        return FAILED


class _Edit:
    """One copy in the editor, until it is written or given up."""

    def __init__(self, place: Place, seen: Seen) -> None:
        self._place = place
        self._seen = seen
        lasting = None if os.environ.get("TMPDIR") or not os.access(LASTING, os.W_OK) else LASTING
        self._folder = tempfile.mkdtemp(prefix="kdumpctl-", dir=lasting)
        self._copy = os.path.join(self._folder, os.path.basename(place.file) or "kdump.conf")
        self._is_kept = True
        _write(self._copy, seen.text)

    def run(self) -> int:
        try:
            while True:
                status = self._once()
                if status is not None:
                    return status
        finally:
            if self._is_kept and self._text() != self._seen.text:
                complain(f"your text is kept in {self._copy}")
            elif self._is_kept and set(os.listdir(self._folder)) - {os.path.basename(self._copy)}:
                # vi's swap file may hold the text.
                complain(f"what your editor left is kept in {self._folder}")
            else:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _once(self) -> int | None:
        """The exit status, or None to go on with the editor."""
        ended = _ran(self._copy)
        if ended:
            complain(ended)
            return FAILED
        text = self._text()
        if text == self._seen.text:
            say("nothing was changed")
            return OK
        problems = config.read(document.parse(text), file=self._place.file).problems
        for problem in problems:
            say(sentence(problem))
        if errors(problems):
            return self._ask("it cannot be written like this")
        rows = changed_rows(changes(document.parse(self._seen.text), document.parse(text)))
        if rows:
            print("\n".join(screen().rows(rows)))
        return self._write(text)

    def _write(self, text: str) -> int | None:
        outcome = self._place.write(text, self._seen)
        match outcome.fate:
            case Fate.WRITTEN:
                self._is_kept = False
                effective = ", and effective" if self._place.is_live else ""
                say(f"{self._place.file} is written{effective}")
                return OK
            case Fate.CONFLICT:
                return self._meet(text)
            case Fate.REFUSED:
                return self._ask(outcome.said)

    def _meet(self, text: str) -> int | None:
        """Somebody else has written: show what, and let the administrator decide whose text is to stand."""
        now = self._place.read()
        complain(f"{self._place.file} was changed by someone else meanwhile:")
        for line in difflib.unified_diff(
            self._seen.text.splitlines(), now.text.splitlines(), "as you saw it", "as it is now", lineterm=""
        ):
            say(line)
        answer = _answer("[e]dit yours again, [w]rite yours over it, or [q]uit?", ("e", "w"))
        if answer == "q":
            return FAILED
        self._seen = now
        return None if answer == "e" else self._write(text)

    def _ask(self, said: str) -> int | None:
        complain(said)
        return None if _answer("[e]dit again, or [q]uit?", ("e",)) == "e" else FAILED

    def _text(self) -> str:
        try:
            with open(self._copy, encoding="utf-8", errors="surrogateescape", newline="") as file:
                return file.read()
        except FileNotFoundError:
            return self._seen.text  # whoever removes the copy wants nothing of it


def _answer(question: str, choices: Sequence[str]) -> str:
    """One of them, or q; q as well where nobody sits there to be asked."""
    while sys.stdin.isatty():
        print(f"{question} ", end="", file=sys.stderr, flush=True)
        word = sys.stdin.readline()
        if not word:
            break
        if word.strip().lower()[:1] in {*choices, "q"}:
            return word.strip().lower()[:1]
    return "q"


def _ran(path: str) -> str:
    """Why the editor did not end well, "" where it did. It has the terminal, and what Ctrl-C does is its own affair."""
    wish = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        command = shlex.split(wish) or next(([found] for found in map(shutil.which, EDITORS) if found), [])
    except ValueError as fault:
        return f"`{config.printable(wish)}` is not a command line for an editor: {fault}"
    if not command:
        return "there is no editor; name one with EDITOR="
    try:
        with _keys_left_to_the_editor():
            ended = subprocess.run([*command, path], check=False).returncode
    except OSError as fault:
        return f"{command[0]} cannot be run: {fault.strerror}"
    return f"{command[0]} ended with {ended}; nothing is written" if ended else ""


@contextmanager
def _keys_left_to_the_editor() -> Iterator[None]:
    """Neither Ctrl-C nor its kin that quits does anything to us.

    They are caught and not ignored, which the editor would inherit.
    """
    before = {
        number: signal.signal(number, lambda _number, _frame: None)
        for number in (signal.SIGINT, signal.SIGQUIT)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8", errors="surrogateescape", newline="") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


class _Daemon:
    """kdump.conf as the running daemon has it, and makes it effective."""

    is_live = True

    def __init__(self, address: str) -> None:
        self._address = address
        self.file = DEFAULT_CONFIG

    def read(self) -> Seen:
        async def ask(client: Client) -> Seen:
            self.file = text_of(await client.get(ROOT, CONFIG, "Path"))
            text, etag = await client.call(ROOT, CONFIG, "GetText", "a{sv}", {})
            return Seen(text_of(text), text_of(etag))

        return asked_of(self._address, ask)

    def write(self, text: str, seen: Seen) -> Written:
        async def ask(client: Client) -> str:
            _, path = await client.call(ROOT, CONFIG, "SetText", "ssa{sv}", text, seen.etag, {})
            return why_not(await finished(client, path))

        if not is_speakable(text):
            return Written(Fate.REFUSED, f"it {UNSPEAKABLE}")
        try:
            said = asked_of(self._address, ask)
        except BusError as fault:
            is_conflict = fault.name == ErrorName.CONFLICT
            return Written(Fate.CONFLICT if is_conflict else Fate.REFUSED, said_of(fault))
        return Written(Fate.REFUSED if said else Fate.WRITTEN, said)


class _File:
    """A file that no daemon need know of."""

    is_live = False

    def __init__(self, path: str) -> None:
        self.file = path

    def read(self) -> Seen:
        contents = read_contents(self.file, may_be_new=True)
        if isinstance(contents, Problem):
            raise Trouble(contents)
        return Seen(contents.text, _FILE if contents.existed else "")

    def write(self, text: str, seen: Seen) -> Written:
        fault = replaced(self.file, text, before=Contents(seen.text, existed=bool(seen.etag)))
        if fault is None:
            return Written(Fate.WRITTEN)
        return Written(Fate.CONFLICT if fault.code == "changed-meanwhile" else Fate.REFUSED, str(fault))
