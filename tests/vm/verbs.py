"""What a verb of kdumpctl must end with and say in a machine, as root and as anybody, at a terminal and in a pipe."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.vm.channel import Ran
    from tests.vm.machine import Machine

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
REFUSED = "polkit action"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What one line must end with and say, for root and for anybody else."""

    words: str
    status: int = 0
    says: str
    of_others: tuple[int, str] | None = None
    """None: the same for everybody."""
    by: str = ""
    """What stands before kdumpctl."""


@dataclass(frozen=True, slots=True)
class Caller:
    is_root: bool
    at_terminal: bool

    def __str__(self) -> str:
        return f"{'root' if self.is_root else 'nobody'}-{'terminal' if self.at_terminal else 'pipe'}"


CALLERS = tuple(Caller(is_root, at_terminal) for is_root in (False, True) for at_terminal in (False, True))


def said(machine: Machine, verb: Verb, caller: Caller) -> Ran:
    line = f"{verb.by} kdumpctl {verb.words}".strip()
    argv = ["script", "-qec", line, "/dev/null"] if caller.at_terminal else shlex.split(line)
    if not caller.is_root:
        argv = ["runuser", "-u", "nobody", "--", *argv]
    return machine.run(*argv, check=False, timeout=600)


def keeps_its_word(machine: Machine, verb: Verb, caller: Caller) -> None:
    status, says = (verb.status, verb.says) if caller.is_root or verb.of_others is None else verb.of_others
    ran = said(machine, verb, caller)
    where = f"kdumpctl {verb.words} ({caller})"
    told = ran.stdout + ran.stderr
    assert _on_one_line(says) in _on_one_line(COLOURS.sub("", told)), f"{where}: {ran}"
    assert ran.status == status, f"{where}: {ran}"
    assert "Traceback" not in told, where
    assert caller.at_terminal or "\x1b" not in told, where


def _on_one_line(text: str) -> str:
    """A terminal is never too narrow for a sentence, but it may have to break it."""
    return " ".join(text.split())
