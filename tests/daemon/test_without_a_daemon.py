"""Every verb of kdumpctl without the bus, without the daemon and without the permission: its words and its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdumpd.cli_bus import NOT_RUNNING
from tests.service.private_bus import NOBODY, PrivateBus
from tests.simulate import REPOSITORY, make_machine, simulated
from tests.test_words import VERBS

AT_ONCE = 2
"""Processes; more of them only wait for each other."""
AS_NOBODY = (
    *("setpriv", "--reuid", str(NOBODY), "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
"""Another uid, who may read our Python wherever it is."""
NO_BUS = "unix:path=/nonexistent/bus"


@dataclass(frozen=True)
class Row:
    """How one verb is called, and its exit status without a bus, without a daemon, and for a user without permission."""

    words: str
    bus: int = 1
    daemon: int = 1
    user: int = 1


def anyone(words: str) -> Row:
    """It reads what the daemon tells everyone."""
    return Row(words, user=0)


CHANGES = ("config set", "config unset")
"""One that begins while another is under way meets a changed file, and says so."""


def alone(words: str) -> Row:
    """It needs none of the three."""
    return Row(words, bus=0, daemon=0, user=0)


ROWS = (
    anyone("history"),
    anyone("estimate"),
    anyone("reserve estimate"),
    anyone("dumps list"),
    anyone("dumps show"),
    anyone("dumps verify"),
    anyone("config get path"),
    alone("config get path --file {file}"),
    alone("config diff {file} --root {root}"),
    alone("check {file}"),
    alone("showmem"),
    alone("import {tools}"),
    alone("plan --root {root}"),
    alone("why --root {root}"),
    alone("reserve get-default"),
    alone("get-default-crashkernel"),
    alone("setup-crypttab --root {root} --dry-run"),
    Row("log"),
    Row("start"),
    Row("stop"),
    Row("restart"),
    Row("reload"),
    Row("rebuild"),
    Row("test-target"),
    Row("test-crash --yes"),
    Row("test --force"),
    Row("reserve set 256M --dry-run"),
    Row("reset-crashkernel"),
    Row("config set path /srv"),
    Row("config unset path"),
    Row("config edit"),
    Row("config export shell"),
    Row("config text"),
    Row("dumps prune"),
    Row("dumps delete {dump}"),
)
ELSEWHERE = {
    "status": "test_kdumpctl: without the daemon it says what the kernel says",
    "watch": "test_screens: it ends when it is told to",
    "doctor": "test_doctor: that the daemon does not run is one of its findings",
    "propagate": "test_propagate: it wants an ssh server, and no bus",
    "dumps recover": "test_cli_recover: it needs none of them",
}
DUMPS = ("127.0.0.1-2026-01-03-03:04:05", "127.0.0.1-2026-01-04-03:04:05")


@dataclass(frozen=True)
class Said:
    status: int
    output: str
    complaint: str


class World:
    """Files that anyone may read, and where to find the bus."""

    def __init__(self, folder: Path, address: str) -> None:
        self._address = address
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._names = {"root": str(make_machine(folder)), "dump": DUMPS[0]}
        for name, text in (("file", "path /var/crash\n"), ("tools", 'KDUMP_COREDIR="/var/crash"\n')):
            (folder / name).write_text(text)
            self._names[name] = str(folder / name)

    async def kdumpctl(self, words: str, *, as_nobody: bool = False) -> Said:
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                *(AS_NOBODY if as_nobody else ()),
                *(sys.executable, "-m", "kdumpd.cli", *words.format(**self._names).split()),
                cwd=REPOSITORY,
                env={**os.environ, "KDUMPD_BUS": self._address, "EDITOR": "true", "VISUAL": ""},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            output, complaint = await process.communicate()
        assert process.returncode is not None
        return Said(process.returncode, output.decode(), complaint.decode())

    async def all(self, ask: Callable[[Row], str], *, as_nobody: bool = False) -> dict[str, Said]:
        """What each row says, `ask` giving its words."""
        at_once = [row for row in ROWS if not row.words.startswith(CHANGES)]
        said = await asyncio.gather(*(self.kdumpctl(ask(row), as_nobody=as_nobody) for row in at_once))
        answers = {row.words: each for row, each in zip(at_once, said, strict=True)}
        for row in ROWS:
            if row not in at_once:
                answers[row.words] = await self.kdumpctl(ask(row), as_nobody=as_nobody)
        return answers


@asynccontextmanager
async def world(address: str) -> AsyncIterator[World]:
    """In a directory that any uid may enter, unlike the temporary ones of pytest."""
    with tempfile.TemporaryDirectory(prefix="kdumpd-world-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - another uid reads it
        yield World(Path(folder), address)


def test_every_verb_has_a_row() -> None:
    without = {
        path for path in VERBS if not any(row.words.split()[: len(path)] == list(path) for row in ROWS)
    }
    assert without == {tuple(words.split()) for words in ELSEWHERE}


def with_dumps(folder: Path) -> Path:
    """A machine where two dumps lie."""
    root = make_machine(folder)
    for name in DUMPS:
        dump = root / "var/crash" / name
        dump.mkdir()
        (dump / "vmcore").write_bytes(b"core")
    return root


@pytest.mark.timeout(180)
async def test_without_a_bus() -> None:
    async with world(NO_BUS) as place:
        said = await place.all(lambda row: row.words)
    assert {words: each.status for words, each in said.items()} == {row.words: row.bus for row in ROWS}
    for row in ROWS:
        complaint = said[row.words].complaint
        assert ("The message bus at unix:path=/nonexistent/bus cannot be reached" in complaint) is bool(
            row.bus
        )
        assert "Traceback" not in complaint


@pytest.mark.timeout(180)
async def test_without_a_daemon(bus: PrivateBus) -> None:
    async with world(bus.address) as place:
        said = await place.all(lambda row: row.words)
    assert {words: each.status for words, each in said.items()} == {row.words: row.daemon for row in ROWS}
    for row in ROWS:
        complaint = said[row.words].complaint
        assert (complaint == f"kdump: {NOT_RUNNING}\n") is bool(row.daemon), complaint


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("can_be_nobody")
async def test_without_the_permission(tmp_path: Path, bus: PrivateBus) -> None:
    async with (
        simulated(tmp_path, bus, root=with_dumps(tmp_path)) as machine,
        world(bus.address) as place,
    ):
        await machine.until_armed()
        await machine.until(lambda now: str(now["LastDump"]) != "/")
        before = machine.armed_with, machine.conf.read_text()
        said = await place.all(lambda row: row.words, as_nobody=True)
        assert (machine.armed_with, machine.conf.read_text()) == before
    assert {words: each.status for words, each in said.items()} == {row.words: row.user for row in ROWS}
    for row in ROWS:
        complaint = said[row.words].complaint
        assert ("You are not authorised to do this" in complaint) is bool(row.user), complaint
        assert ("sudo" in complaint) is bool(row.user), complaint


@pytest.mark.timeout(180)
async def test_each_verb_has_json_for_programs(tmp_path: Path, bus: PrivateBus) -> None:
    """Of each but those that crash, and those that want a boot menu, which this machine has not."""
    spared = {
        "test-crash --yes",
        "test --force",
        "reserve set 256M --dry-run",
        "reset-crashkernel",
        "config edit",
    }
    async with (
        simulated(tmp_path, bus, root=with_dumps(tmp_path)) as machine,
        world(bus.address) as place,
    ):
        await machine.until_armed()
        await machine.until(lambda now: str(now["LastDump"]) != "/")
        said = await place.all(lambda row: f"{row.words} --json" if row.words not in spared else "--version")
    for words in set(said) - spared:
        try:
            assert isinstance(json.loads(said[words].output), dict | list)
        except ValueError:
            pytest.fail(f"{words}: {said[words]}")
