"""The examples of docs/api do what they say, each against a whole daemon: they are what front ends are begun from."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.api.pages import API
from tests.service.private_bus import PrivateBus
from tests.simulate import PATIENCE, Machine, make_machine, simulated

EXAMPLES = API / "examples"
COCKPIT = Path("/usr/share/cockpit/base1")
SYSTEM_PYTHON = "/usr/bin/python3"

ARMED = "armed: a crash would be saved to"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """One example, how it is run, and what has to be there for that."""

    argv: tuple[str, ...]
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """What is not installed, or nothing."""
        lacking = [program for program in self.programs if shutil.which(program) is None]
        if not lacking:
            lacking += [f"{name} for {self.argv[0]}" for name in self.modules if not self._imports(name)]
        return ", ".join(lacking)

    def _imports(self, module: str) -> bool:
        argv = [self.argv[0], "-c", f"import {module}"]
        return subprocess.run(argv, check=False, capture_output=True).returncode == 0


def cockpit_js() -> str:
    return str(
        next((each for each in sorted(COCKPIT.glob("cockpit.js*")) if each.suffix in {".js", ".gz"}), COCKPIT)
    )


FRONT_ENDS = {
    "shell": FrontEnd(argv=(str(EXAMPLES / "kdumpd.sh"),), programs=("busctl", "gdbus", "jq")),
    "dbus-next": FrontEnd(argv=(sys.executable, str(EXAMPLES / "kdumpd_dbus_next.py"))),
    "Gio": FrontEnd(
        argv=(SYSTEM_PYTHON, str(EXAMPLES / "kdumpd_gio.py")), programs=(SYSTEM_PYTHON,), modules=("gi",)
    ),
    "cockpit": FrontEnd(
        argv=(
            "node",
            str(Path(__file__).with_name("cockpit_page.js")),
            cockpit_js(),
            str(EXAMPLES / "kdumpd.js"),
        ),
        programs=("node", "cockpit-bridge"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    status: int
    lines: tuple[str, ...]
    complaint: str


class Running:
    """An example at work on a bus that it takes for the system's."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def said(self, *, answer: str = "") -> Said:
        async with asyncio.timeout(PATIENCE):
            out, complaint = await self._process.communicate(answer.encode())
        assert self._process.returncode is not None
        return Said(
            status=self._process.returncode,
            lines=tuple(out.decode().splitlines()),
            complaint=complaint.decode().strip(),
        )


@asynccontextmanager
async def running(front_end: FrontEnd, address: str, words: Sequence[str]) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *front_end.argv,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address},
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def run(front_end: FrontEnd, address: str, *words: str, answer: str = "") -> Said:
    async with running(front_end, address, words) as example:
        return await example.said(answer=answer)


def with_dumps(root: Path, *names: str) -> None:
    for name in names:
        folder = root / "var/crash" / name
        folder.mkdir()
        (folder / "vmcore").write_bytes(b"core")
        (folder / "summary.json").write_text(
            '{"result": "saved", "panic": "Kernel panic - not syncing: test"}'
        )


DUMPS = ("127.0.0.1-2026-01-01-03:04:05", "127.0.0.1-2026-01-02-03:04:05")


@pytest.mark.parametrize("name", FRONT_ENDS)
async def test_an_example_does_the_whole_of_what_it_says(tmp_path: Path, bus: PrivateBus, name: str) -> None:
    front_end = FRONT_ENDS[name]
    if front_end.missing:
        pytest.skip(f"not installed: {front_end.missing}")
    root = make_machine(tmp_path)
    with_dumps(root, *DUMPS)
    async with simulated(tmp_path, bus, root=root) as machine:
        await machine.until_armed()
        await machine.until(lambda now: now["LastDump"] != "/")
        await is_shown_and_watched(front_end, machine, bus.address)
        await configures(front_end, machine, bus.address)
        await deletes(front_end, machine, bus.address)
        told = await run(front_end, bus.address, "history", "3")
        assert (told.status, len(told.lines)) == (0, 3)
        assert all(line[:4].isdigit() and line[19] == "Z" for line in told.lines)


async def is_shown_and_watched(front_end: FrontEnd, machine: Machine, address: str) -> None:
    shown = await run(front_end, address, "status")
    assert (shown.status, shown.complaint) == (0, "")
    (line,) = shown.lines
    assert line.startswith(ARMED)
    assert line.endswith("/var/crash")
    async with running(front_end, address, ("watch", "2")) as watching:
        assert await watching.line() == line
        machine.conf.write_text("pth /var/crash\n")  # somebody's editor
        stale = await watching.said()
    assert stale.status == 0
    assert stale.lines[0].startswith("stale: ")
    machine.conf.write_text("# where dumps go\npath /var/crash\n")
    await machine.until_armed()


async def configures(front_end: FrontEnd, machine: Machine, address: str) -> None:
    (machine.root / "var/elsewhere").mkdir()
    done = await run(
        front_end, address, "configure", "path=/var/elsewhere", "core_collector=makedumpfile -l -d 17"
    )
    assert (done.status, done.complaint) == (0, "")
    assert any(line.endswith(" ...") for line in done.lines), "the stages of the job"
    assert done.lines[-1].startswith(ARMED)
    assert machine.directory == "/var/elsewhere"
    assert "path /var/elsewhere\n" in machine.conf.read_text()
    before = machine.conf.read_text()
    for wrong in ("pth=/var/crash", "ext4=LABEL=nowhere"):
        refused = await run(front_end, address, "configure", wrong)
        assert (refused.status, machine.conf.read_text()) == (1, before), "put back, if it was ever written"
        assert refused.complaint
    back = await run(front_end, address, "configure", "path=/var/crash", "core_collector=")
    assert back.status == 0
    assert "core_collector" not in machine.conf.read_text()


async def deletes(front_end: FrontEnd, machine: Machine, address: str) -> None:
    listed = await run(front_end, address, "dumps")
    assert listed.lines == tuple(
        f"{name}  4 bytes  complete  Kernel panic - not syncing: test" for name in reversed(DUMPS)
    )
    for answer, ending, left in (("n\n", "it stays", set(DUMPS)), ("y\n", "deleted", {DUMPS[0]})):
        said = await run(front_end, address, "delete", DUMPS[1], answer=answer)
        assert (said.status, said.complaint.replace("Delete", "")) == (
            0,
            said.complaint.replace("Delete", ""),
        )
        assert said.lines[-1].endswith(ending)
        assert {each.name for each in (machine.root / "var/crash").iterdir()} == left
    gone = await run(front_end, address, "delete", DUMPS[1])
    assert (gone.status, gone.complaint) == (1, f"there is no dump {DUMPS[1]}")


def test_there_is_no_example_that_no_test_runs() -> None:
    run_here = {Path(each).name for front_end in FRONT_ENDS.values() for each in front_end.argv}
    elsewhere = {"test-crash.py"}  # in test_dbusmock, and with a real crash in tests/vm
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} <= run_here | elsewhere


async def test_without_kdumpd_an_example_says_so(bus: PrivateBus) -> None:
    for name, front_end in FRONT_ENDS.items():
        if not front_end.missing and name != "cockpit":  # a page waits for it to come
            said = await run(front_end, bus.address, "status")
            assert said.status != 0
            assert "Traceback" not in said.complaint
            assert said.complaint
