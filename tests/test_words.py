"""kdumpctl(8) and the completions say what the parser knows, no more and no less."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdumpd.cli import main
from kdumpd.cli_words import Words, choices_of, parser
from tests.completions import FILES, FOLDER, completions
from tests.terminal import on_terminal
from tests.vm.test_verbs import ASKED_IN_A_MACHINE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/kdumpctl.8.md").read_text()
EVERYWHERE = frozenset({"-h", "--help", "--json"})
"""Said once for all verbs."""


@dataclass(frozen=True)
class Entry:
    """One paragraph of the page's COMMANDS."""

    words: tuple[str, ...]  # of its head, without brackets and bars
    text: str

    @property
    def options(self) -> set[str]:
        return {word for word in self.words if word.startswith("-") and word != "-"}


def entries() -> list[Entry]:
    section = PAGE.split("## COMMANDS\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^(\*\*.*)\n((?:: |  ).*(?:\n  .*)*)", section, flags=re.MULTILINE)
    return [Entry(tuple(re.sub(r"[\[\]*|]", " ", head).split()), text) for head, text in found]


def verbs(below: Words | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Words]]:
    """Each verb that does something, by the words that lead to it."""
    words = below if below is not None else parser()
    deeper = choices_of(words)
    if path and not deeper:
        yield path, words
    for name, verb in deeper.items():
        yield from verbs(verb, (*path, name))


VERBS = dict(verbs())


def documented(path: Sequence[str]) -> list[Entry]:
    return [entry for entry in entries() if entry.words[: len(path)] == tuple(path)]


def with_namesakes(found: Sequence[Entry]) -> list[Entry]:
    """And the entries of the verb that one says it is `As`."""
    names = [name.split() for entry in found for name in re.findall(r"^: As \*\*(.+?)\*\*", entry.text)]
    return [*found, *(entry for name in names for entry in documented(name))]


def options_of(words: Words) -> set[str]:
    return {option for action in words._actions for option in action.option_strings}


def choices(words: Words) -> set[str]:
    """Of the arguments that are no options."""
    return {
        str(choice)
        for action in words._actions
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction)
        for choice in action.choices or ()
    }


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_each_verb_is_in_the_manual_with_its_options(path: tuple[str, ...]) -> None:
    found = documented(path)
    assert found, f"kdumpctl(8) has no {' '.join(path)}"
    has = options_of(VERBS[path])
    assert set().union(*(entry.options for entry in found)) <= has, "options that there are not"
    heads = {word for entry in with_namesakes(found) for word in entry.words}
    longest = {option for option in has if option.startswith("--")}
    assert longest - EVERYWHERE <= heads, "options that the page does not name"
    assert choices(VERBS[path]) <= heads, "choices that the page does not name"


def test_the_manual_has_no_verb_that_there_is_not() -> None:
    known: Mapping[tuple[str, ...], Words] = VERBS
    for entry in entries():
        assert any(entry.words[: len(path)] == path for path in known), entry.words


def test_each_verb_is_asked_in_a_machine() -> None:
    asked = [verb.words.split() for verb in ASKED_IN_A_MACHINE]
    assert [path for path in VERBS if not any(words[: len(path)] == list(path) for words in asked)] == []


def test_what_all_verbs_take_is_in_the_description() -> None:
    described = PAGE.split("## COMMANDS\n", 1)[0]
    for option in options_of(parser()) - {"-h", "--help"}:
        assert f"**{option}**" in described
    without = {path for path, words in VERBS.items() if "--json" not in options_of(words)}
    assert without == {("config", "edit")}, "which is what the description says"


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_what_help_says_is_a_sentence_and_of_everything(path: tuple[str, ...]) -> None:
    words = VERBS[path]
    described = words.description or ""
    assert described[:1].isupper()
    assert described.endswith(".")
    assert all(action.help for action in words._actions)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("statsu",), "kdumpctl: there is no command 'statsu'; did you mean status?"),
        (("dumps", "lits"), "kdumpctl dumps: there is no command 'lits'; did you mean list?"),
        (("start", "stop"), "kdumpctl start: stop not recognized"),
        (("status", "--jso"), "kdumpctl status: --jso not recognized"),
        (("test", "--f"), "kdumpctl test: --f not recognized"),
        (("dumps", "delete"), "kdumpctl dumps delete: the following arguments are required: DUMP"),
        (("dumps", "delete", "--dry-run", "x"), "kdumpctl dumps delete: --dry-run not recognized"),
        (("dumps", "prune", "x"), "kdumpctl dumps prune: x not recognized"),
        (("config", "edit", "--json"), "kdumpctl config edit: --json not recognized"),
        (
            ("--json", "config", "edit"),
            "kdump: config edit is for people, and prints nothing for programs: leave out --json",
        ),
        (
            ("config", "--json", "edit"),
            "kdump: config edit is for people, and prints nothing for programs: leave out --json",
        ),
        (("config", "get", "path", "--file", ""), "kdumpctl config get: argument --file: the name is empty"),
        (
            ("config", "set", "path", "/", "--file="),
            "kdumpctl config set: argument --file: the name is empty",
        ),
        (("config", "unset", "path", "--file="), "kdumpctl config unset: argument --file: the name is empty"),
        (("config", "edit", "--file", ""), "kdumpctl config edit: argument --file: the name is empty"),
        (("config", "text", ""), "kdumpctl config text: argument FILE: the name is empty"),
        (("propagate", "--file="), "kdumpctl propagate: argument --file: the name is empty"),
        (("doctor", "--root", ""), "kdumpctl doctor: argument --root: the name is empty"),
        (("import", "x", "--output", ""), "kdumpctl import: argument --output: the name is empty"),
        (("reserve", "set", ""), "kdump: the value of crashkernel= is empty"),
        (
            ("reset-crashkernel", "--kernel="),
            "kdump: Invalid --kernel=, please specify a valid kernel path, ALL or DEFAULT",
        ),
    ],
)
def test_what_is_not_understood_is_told_and_nothing_is_done(
    capsys: pytest.CaptureFixture[str], words: Sequence[str], why: str
) -> None:
    assert main(["--bus", "unix:path=/nonexistent/bus", *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == why


@pytest.mark.parametrize(
    "words",
    [
        "--json status",
        "status --json",
        "--json dumps list",
        "dumps --json list",
        "dumps delete --json x y",
        "config --json get path",
        "reserve --json set",
    ],
)
def test_json_may_stand_before_the_verb_or_behind(words: str) -> None:
    assert parser().parse_args(words.split()).json
    assert not parser().parse_args(words.replace("--json", "").split()).json


# --- completions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", FILES)
def test_the_completions_are_current(shell: str) -> None:
    assert (FOLDER / FILES[shell]).read_text() == completions(shell), "make completions writes them anew"


TYPED = [
    ("kdumpctl stat", "kdumpctl status"),
    ("kdumpctl reset", "kdumpctl reset-crashkernel"),
    ("kdumpctl config ed", "kdumpctl config edit"),
    ("kdumpctl dumps del", "kdumpctl dumps delete"),
    ("kdumpctl dumps prune --dry", "kdumpctl dumps prune --dry-run"),
    ("kdumpctl config get core", "kdumpctl config get core_collector"),
    ("kdumpctl config export an", "kdumpctl config export ansible"),
]
FISH = ("fish", "--no-config", "-c")
STARTS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "bash": (("bash", "--norc", "--noprofile", "-i"), "source {file}"),
    "zsh": (
        ("zsh", "-f", "-i"),
        "autoload -U compinit; fpath=({folder} $fpath); compinit -D -u; unsetopt zle_bracketed_paste",
    ),
}


def require(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} on this machine")


@pytest.mark.parametrize("shell", STARTS)
async def test_bash_and_zsh_complete_what_is_typed(shell: str, tmp_path: Path) -> None:
    require(shell)
    argv, begin = STARTS[shell]
    home = {"HOME": str(tmp_path), "PS1": "> ", "HISTFILE": "", "ZDOTDIR": str(tmp_path)}
    async with on_terminal(argv, home) as terminal:
        terminal.type(f"{begin.format(file=FOLDER / FILES[shell], folder=FOLDER)}; echo re''ady\n")
        await terminal.until("ready\n")
        for typed, whole in TYPED:
            terminal.type(f"{typed}\t")
            await terminal.until(whole)
            terminal.type("\x15")  # Ctrl-U: the line is gone, and nothing of it is run


@pytest.mark.parametrize(("typed", "whole"), TYPED)
def test_fish_completes_what_is_typed(typed: str, whole: str) -> None:
    require("fish")
    asked = f"source {FOLDER / FILES['fish']}; complete -C {shlex.quote(typed)}"
    said = subprocess.run((*FISH, asked), check=True, capture_output=True, text=True).stdout
    before = typed.rpartition(" ")[0]
    assert [f"{before} {line.split()[0]}" for line in said.splitlines()] == [whole]


@pytest.mark.parametrize("module", sorted((ROOT / "kdumpd").glob("cli*.py")), ids=lambda path: path.name)
def test_kdumpctl_never_touches_the_host_itself(module: Path) -> None:
    """import-linter knows kdumpd.cli, and no pattern for the modules beside it."""
    assert not re.search(r"^\s*(?:from|import) kdumpd\.host", module.read_text(), flags=re.MULTILINE)
