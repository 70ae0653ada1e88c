"""Noticing that somebody else runs kexec, with a shell in its place and the /proc of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kdumpd.host.kexec_runs import KexecRuns
from kdumpd.host.real import RealFiles

USED = "kexec was run or read"
LOADED = "loaded by somebody else"
TREE = Path(__file__).parents[2]
CONFINED = """
import asyncio, json, sys
from kdumpd.host.kexec_runs import KexecRuns
from kdumpd.host.real import RealFiles

async def main():
    said, loaded = [], sys.argv[2]
    ear = KexecRuns(RealFiles("/"), sys.argv[1], news=said.append, on_load=lambda: said.append(loaded))
    print(open("/proc/self/status").read().partition("CapBnd:")[2].split()[0], flush=True)
    for _ in sys.stdin:
        ear.hear()
        print(json.dumps(said), flush=True)
        said.clear()

asyncio.run(main())
"""


class Called:
    """A program that may be called kexec."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "kexec"
        shutil.copy("/bin/sh", self.program)

    def hears(self) -> list[str]:
        """What the ear says of all that has happened until now."""
        raise NotImplementedError

    def run(self, *words: str, is_ours: bool = False) -> None:
        """To the end, and heard of while it runs; a shell stands between us and it, unless it is to be our child."""
        argv = [str(self.program), "-c", "echo runs; read end", *words]
        between = [] if is_ours else ["sh", "-c", '"$@"; true', "between"]
        with subprocess.Popen([*between, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"runs\n"
            assert self.hears() == []


class Witness(Called):
    """What an ear of ours said of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.said: list[str] = []
        self.ear = KexecRuns(
            RealFiles("/"),
            str(self.program),
            news=self.said.append,
            on_load=lambda: self.said.append(LOADED),
        )

    def hears(self) -> list[str]:
        self.said.clear()
        self.ear.hear()
        return self.said


class ConfinedWitness(Called):
    """What an ear in a process with the capabilities of kdumpd.service said of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        allowed = ",".join(["-all", *(f"+{name}" for name in capabilities_of_the_unit())])
        confined = ("setpriv", f"--bounding-set={allowed}", "--inh-caps=-all", "--no-new-privs")
        self._process = subprocess.Popen(
            [*confined, sys.executable, "-c", CONFINED, str(self.program), LOADED],
            cwd=TREE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.bounding_set = int(self._process.stdout.readline() or "0", 16)

    def hears(self) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        said: list[str] = json.loads(self._process.stdout.readline())
        return said

    def end(self) -> str:
        """Its last words."""
        return self._process.communicate()[1]


def capabilities_of_the_unit() -> tuple[str, ...]:
    lines = (TREE / "units/kdumpd.service").read_text().splitlines()
    given = [line.partition("=")[2] for line in lines if line.startswith("CapabilityBoundingSet=")]
    return tuple(name.lower().removeprefix("cap_") for name in " ".join(given).split())


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[ConfinedWitness]:
    if os.geteuid() != 0:
        pytest.skip("only root can have some of root's capabilities")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    made = ConfinedWitness(tmp_path)
    if not made.bounding_set:
        pytest.skip(f"the unit's capabilities cannot be had here: {made.end().strip()}")
    yield made
    made.end()


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    made = Witness(tmp_path)
    yield made
    made.ear.close()


@pytest.mark.parametrize("word", ["--load-panic", "-p"])
async def test_a_load_by_somebody_else(witness: Witness, word: str) -> None:
    witness.run(word, "vmlinuz")
    assert witness.hears() == [LOADED]


def test_a_load_by_somebody_else_with_the_capabilities_of_the_unit(confined: ConfinedWitness) -> None:
    assert confined.bounding_set.bit_count() == len(capabilities_of_the_unit()) > 0
    confined.run("-p", "vmlinuz")
    assert confined.hears() == [LOADED]
    confined.run("-v")
    assert confined.hears() == [USED]


async def test_a_load_through_a_link_of_another_name(witness: Witness) -> None:
    link = witness.program.with_name("kexec-by-a-name-longer-than-the-kernel-keeps")
    link.symlink_to(witness.program)
    witness.ear.close()
    ear = KexecRuns(
        RealFiles("/"), str(link), news=witness.said.append, on_load=lambda: witness.said.append(LOADED)
    )
    witness.ear, target, witness.program = ear, witness.program, link
    witness.run("-p", "vmlinuz")
    assert witness.hears() == [LOADED]
    witness.program = target
    witness.run("-p", "vmlinuz")
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


async def test_a_program_that_goes_is_told_as_a_fault_of_the_ear(witness: Witness) -> None:
    witness.program.read_bytes()
    witness.program.unlink()
    with pytest.raises(FileNotFoundError):
        witness.hears()
    assert witness.said == [USED]


async def test_where_there_is_no_kexec_there_is_no_ear(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        KexecRuns(RealFiles(str(tmp_path)), "/usr/sbin/kexec", news=print, on_load=print)
