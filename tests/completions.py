"""`python -m tests.completions` (make completions): what bash, zsh and fish know of kdumpctl, made of its parser by shtab.

The files are kept in the repository, so that installing needs nothing but `install`; tests/test_words.py sees that they are
current.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import shtab

from kdumpd.cli_words import Words, choices_of, parser
from kdumpd.core.settings import SETTINGS

FOLDER = Path(__file__).parents[1] / "completions"
FILES: Mapping[str, str] = {"bash": "kdumpctl.bash", "zsh": "_kdumpctl", "fish": "kdumpctl.fish"}
PATHS = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY, "PATH|ALL|DEFAULT": shtab.FILE}
COLUMNS = "80"
"""argparse wraps what it says of itself at the width of a terminal; the files are to be the same on each."""


def completions(shell: str) -> str:
    """The file for one shell."""
    os.environ["COLUMNS"] = COLUMNS
    words = parser()
    _teach(words)
    return shtab.complete(words, shell=shell, preamble="").rstrip() + "\n"


def _teach(words: Words) -> None:
    """Where a file is meant, and which directives there are: argparse itself is not to refuse another one."""
    for action in words._actions:
        if action.metavar in PATHS:
            action.complete = PATHS[str(action.metavar)]  # type: ignore[attr-defined]  # where shtab looks for it
        elif action.dest == "key":
            action.choices = tuple(SETTINGS)
    for verb in choices_of(words).values():
        _teach(verb)


if __name__ == "__main__":
    for shell, name in FILES.items():
        (FOLDER / name).write_text(completions(shell))
