from __future__ import annotations

import subprocess
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.core.environment import CaptureEnvironment, Module, items, parse, render, variables
from kdumpd.core.problems import Trouble
from tests.agent.capture_kernel import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = (
    "it's",
    'a "b" c',
    "$(touch /tmp/x) `id` ${HOME} $1",
    "two\nlines\n",
    "\n",
    " blanks\tand tabs ",
    "back\\slash \\n",
    "# no comment",
    "~ * ? [a] {a,b} | & ; < > !",
    "übergroß \N{SNOWMAN} \N{PILE OF POO} \N{LATIN CAPITAL LETTER A WITH ACUTE}",
    "\x01\x7f\r\x1b[31m\x88\x81",
    "-n",
    "=",
    "",
)


def _hostile() -> CaptureEnvironment:
    texts = {
        each.name: HOSTILE[number % len(HOSTILE)] + each.name
        for number, each in enumerate(fields(ENVIRONMENT))
        if type(getattr(ENVIRONMENT, each.name)) is str
    }
    lists = {
        each.name: HOSTILE
        for each in fields(ENVIRONMENT)
        if isinstance(getattr(ENVIRONMENT, each.name), tuple) and each.name != "modules"
    }
    modules = tuple(
        Module(path=path, options=options) for path, options in zip(HOSTILE, reversed(HOSTILE), strict=True)
    )
    return replace(ENVIRONMENT, modules=modules, **texts, **lists)  # type: ignore[arg-type]  # by the names of its fields


def _as_seen_by(shell: tuple[str, ...], file: Path, script: str) -> list[str]:
    seen = subprocess.run(
        [*shell, "-c", f'. "$0"\n{script}', str(file)], capture_output=True, check=True, timeout=20
    )
    assert seen.stderr == b""
    return seen.stdout.decode().split("\0")[:-1]


def test_sh_reads_back_every_value(tmp_path: Path, shell: tuple[str, ...]) -> None:
    env = _hostile()
    file = tmp_path / "plan.env"
    file.write_text(render(env), newline="")
    expected = variables(env)
    script = "".join(f"printf '%s\\0' \"${name}\"\n" for name in expected)
    assert _as_seen_by(shell, file, script) == list(expected.values())


def test_sh_reads_back_every_item(tmp_path: Path, shell: tuple[str, ...]) -> None:
    file = tmp_path / "plan.env"
    file.write_text(render(_hostile()), newline="")
    show = "show() { for item; do printf '%s\\0' \"$item\"; done; }\n"
    assert _as_seen_by(shell, file, show + 'eval "show $plan_core_collector"') == list(HOSTILE)
    pairs = [text for pair in zip(HOSTILE, reversed(HOSTILE), strict=True) for text in pair]
    assert _as_seen_by(shell, file, show + 'eval "show $plan_modules"') == pairs


def test_the_proof_reads_back_what_was_written() -> None:
    env = _hostile()
    assert parse(render(env)) == variables(env)
    assert items(variables(env)["plan_bring_up"]) == HOSTILE


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    env = replace(ENVIRONMENT, host_name=text, bring_up=(text, text))
    read = parse(render(env))
    assert read["plan_host_name"] == text
    assert items(read["plan_bring_up"]) == (text, text)


def test_what_no_variable_can_hold_is_refused_by_name() -> None:
    with pytest.raises(Trouble, match="host_name holds a NUL"):
        render(replace(ENVIRONMENT, host_name="a\0b"))


@pytest.mark.parametrize("text", ["plan_a='open\n", "reboot\n", "plan_a=1 reboot\n", "1a=2\n", "=x\n"])
def test_text_that_is_more_than_assignments_is_refused(text: str) -> None:
    with pytest.raises(Trouble):
        parse(text)
