"""Noticing that somebody else runs kexec, with a shell in its place and the /proc of this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kdumpd.host.kexec_runs import KexecRuns
from kdumpd.host.real import RealFiles

USED = "kexec was run or read"
LOADED = "loaded by somebody else"


class Witness:
    """A program that may be called kexec, and what the ear said of it."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "kexec"
        shutil.copy("/bin/sh", self.program)
        self.said: list[str] = []
        self.ear = KexecRuns(
            RealFiles("/"),
            str(self.program),
            news=self.said.append,
            on_load=lambda: self.said.append(LOADED),
        )

    def hears(self) -> list[str]:
        """What it says of all that has happened until now."""
        self.said.clear()
        self.ear.hear()
        return self.said

    def run(self, *words: str, is_ours: bool = False) -> None:
        """To the end, and heard of while it runs; a shell stands between us and it, unless it is to be our child."""
        argv = [str(self.program), "-c", "echo runs; read end", *words]
        between = [] if is_ours else ["sh", "-c", '"$@"; true', "between"]
        with subprocess.Popen([*between, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"runs\n"
            assert self.hears() == []


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    made = Witness(tmp_path)
    yield made
    made.ear.close()


@pytest.mark.parametrize("word", ["--load-panic", "-p"])
async def test_a_load_by_somebody_else(witness: Witness, word: str) -> None:
    witness.run(word, "vmlinuz")
    assert witness.hears() == [LOADED]


@pytest.mark.parametrize("words", [("-p", "-u"), ("-l", "vmlinuz"), ("-v",), ("-p", "--status")])
async def test_another_use_of_it(witness: Witness, words: tuple[str, ...]) -> None:
    witness.run(*words)
    assert witness.hears() == [USED]


async def test_our_own_load_is_no_news_but_a_use(witness: Witness) -> None:
    witness.run("-p", "vmlinuz", is_ours=True)
    assert witness.hears() == [USED]


async def test_reading_it_while_somebody_loads_does_not_hide_the_load(witness: Witness) -> None:
    argv = ["sh", "-c", '"$@"; true', "between", str(witness.program), "-c", "echo runs; read end", "-p"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        process.stdout.readline()
        witness.program.read_bytes()
        assert witness.hears() == [USED]
    assert witness.hears() == [LOADED]


async def test_the_program_of_an_upgrade_is_watched_as_the_one_before(witness: Witness) -> None:
    new = witness.program.with_name("kexec.dpkg-new")
    shutil.copy("/bin/sh", new)
    new.rename(witness.program)
    assert witness.hears() == []
    witness.run("-p", "vmlinuz")
    assert witness.hears() == [LOADED]


async def test_where_there_is_no_kexec_there_is_no_ear(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        KexecRuns(RealFiles(str(tmp_path)), "/usr/sbin/kexec", news=print, on_load=print)
