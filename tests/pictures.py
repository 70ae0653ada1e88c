"""`python -m tests.pictures` (make screens): docs/screens/*.svg, what kdumpctl shows on a terminal, for the README.

The pictures are of the real program, before a simulated machine that was armed, crashed once, and is being rebuilt.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import tempfile
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.service.private_bus import PrivateBus, private_bus
from tests.simulate import RELEASE, REPOSITORY, Machine, simulated
from tests.terminal import Terminal, kdumpctl, on_terminal, plain

FOLDER = REPOSITORY / "docs/screens"
README = REPOSITORY / "README.md"
BEGINNING, END = "<!-- begin: pictures, by make screens -->", "<!-- end: pictures -->"
COLUMNS, LINES = 110, 34
HEAVY_BYTES = 60_000_000
"""Of a module, so that a build takes long enough to be watched."""
HALF_DONE = re.compile(r"\[#+-+\]  rebuild, [3-7]\d%")
TRIALS = 10
DUMP = "127.0.0.1-2026-01-02-03:04:05"
PANIC = "Kernel panic - not syncing: sysrq triggered crash"
TEXTS: Mapping[str, str] = {
    "status": "`kdumpctl status`, on one screen",
    "watch": "`kdumpctl watch`, while an image is built",
    "doctor": "`kdumpctl doctor`, where something is amiss",
}
_SCREEN_BEGINS = "\x1b[J"
_FETCHED = re.compile(r"\s*@font-face \{[^}]*\}")
"""Fonts that would be fetched from elsewhere; any that all characters of are equally wide will do."""


async def pictures() -> dict[str, str]:
    """What the terminal shows, with its colours, by the name of the picture."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            private_bus() as bus,
            simulated(Path(folder), bus, heavy_bytes=HEAVY_BYTES) as machine,
        ):
            await machine.until_armed()
            await _crashed(machine)
            return {
                "status": await _status(bus),
                "watch": await _watch(bus),
                "doctor": await _doctor(bus, machine),
            }


async def _crashed(machine: Machine) -> None:
    """A dump lies there that the daemon finds as it starts."""
    await machine.stop()
    (machine.root / "etc/kdumpd.toml").write_text(
        "target_test_hours = 0\n"
    )  # nothing is mounted in a simulation
    dump = machine.root / "var/crash" / DUMP
    dump.mkdir()
    with (dump / "vmcore").open("wb") as core:
        core.truncate(119_742_464)
    (dump / "vmcore-dmesg.txt").write_text(f"[   61.000000] {PANIC}\n")
    crashed_us = int(datetime(2026, 1, 2, 3, 4, 5).astimezone().timestamp()) * 1_000_000
    said = {"crashed_us": crashed_us, "result": "saved", "panic": PANIC, "kernel_release": RELEASE}
    (dump / "summary.json").write_text(json.dumps(said))
    await machine.start()
    await machine.until(lambda now: str(now["LastDump"]) != "/" and now["State"] == "armed")
    await machine.until_armed()


async def _status(bus: PrivateBus) -> str:
    async with _terminal(bus, "status") as terminal:
        await terminal.ended()
        return terminal.written


async def _watch(bus: PrivateBus) -> str:
    """The screen at a moment when the work is half done. How far it is nobody knows before it was done once."""
    await _rebuilt(bus)
    async with _terminal(bus, "watch") as watch:
        await watch.until("Kdump is operational")
        for _ in range(TRIALS):
            await _rebuilt(bus)
            for screen in watch.written.split(_SCREEN_BEGINS):
                if HALF_DONE.search(plain(screen)) and "Ctrl-C" in screen:
                    return screen
    raise AssertionError("no screen had a job that was half done")


async def _rebuilt(bus: PrivateBus) -> None:
    async with _terminal(bus, "rebuild") as terminal:
        assert await terminal.ended() == 0


async def _doctor(bus: PrivateBus, machine: Machine) -> str:
    """Of a slip of the pen, and of a machine that an oops would not crash."""
    oops = machine.root / "proc/sys/kernel/panic_on_oops"
    oops.parent.mkdir(parents=True, exist_ok=True)
    oops.write_text("0\n")
    machine.conf.write_text("# where dumps go\npathh /var/crash\n")
    await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
    async with _terminal(bus, "doctor", "--root", str(machine.root)) as terminal:
        await terminal.ended()
        return terminal.written


def _terminal(bus: PrivateBus, *words: str) -> AbstractAsyncContextManager[Terminal]:
    return on_terminal(kdumpctl(*words), {"KDUMPD_BUS": bus.address}, columns=COLUMNS, lines=LINES)


def drawn(name: str, shown: str) -> str:
    """As an SVG image."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False
    )
    console.print(Text.from_ansi(shown.strip("\n")), soft_wrap=False, crop=False)
    svg = console.export_svg(title=f"kdumpctl {name}", unique_id=name)
    return "\n".join(line.rstrip() for line in _FETCHED.sub("", svg).splitlines()).rstrip() + "\n"


def with_pictures(readme: str, names: tuple[str, ...]) -> str:
    """The README with what stands between the marks replaced. Raises ValueError where a mark is missing."""
    start = readme.index(BEGINNING) + len(BEGINNING)
    end = readme.index(END, start)
    told = "\n\n".join(f"{TEXTS[name]}:\n\n![{TEXTS[name]}](docs/screens/{name}.svg)" for name in names)
    return f"{readme[:start]}\n{told}\n{readme[end:]}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    found = asyncio.run(pictures())
    for name, shown in found.items():
        (FOLDER / f"{name}.svg").write_text(drawn(name, shown))
        print(plain(shown))
    README.write_text(with_pictures(README.read_text(), tuple(found)))
