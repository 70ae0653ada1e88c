"""What directories, summaries and crashed kernels say reaches no terminal as something that it would obey."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdumpd.cli_dumps import verify
from kdumpd.cli_screen import complain, say
from tests.service.private_bus import PrivateBus
from tests.simulate import simulated
from tests.terminal import kdumpctl, on_terminal, plain

CLEAR = "\x1b[2J\x9b2J\udcff"


def test_for_people_what_is_not_printable_is_replaced_and_lines_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say(f"a{CLEAR}b\nc\u00e4")
    complain(f"d{CLEAR}")
    out, err = capsys.readouterr()
    assert out == "a\ufffd[2J\ufffd2J\ufffdb\nc\u00e4\n"
    assert err == "kdump: d\ufffd[2J\ufffd2J\ufffd\n"


def test_a_dump_in_a_directory_of_such_a_name_is_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / f"host{CLEAR}-2025-01-01-10:00:00"
    folder.mkdir()
    (folder / "vmcore").write_bytes(b"x")
    (folder / "vmcore.sha256").write_text("0" * 64 + "  vmcore\n")
    verify([{"Id": folder.name, "Path": os.fspath(folder)}], [])
    assert "\x1b" not in capsys.readouterr().out


async def test_on_a_terminal_there_are_only_our_own_colours(tmp_path: Path, bus: PrivateBus) -> None:
    """The panic is what a crashed kernel says; the name of the directory what whoever may write there wants."""
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        await machine.stop()
        folder = machine.root / "var/crash/host-2026-01-01-03:04:05"
        folder.mkdir()
        (folder / "vmcore").write_bytes(b"core")
        (folder / "vmcore-dmesg.txt").write_text(f"[ 1.0] Kernel panic - not syncing: mine{CLEAR[:-1]}\n")
        await machine.start()
        await machine.until(lambda now: str(now["LastDump"]) != "/")
        for words in (("status",), ("dumps",), ("dumps", "show", folder.name), ("history",)):
            async with on_terminal(kdumpctl(*words), {"KDUMPD_BUS": bus.address}, columns=50) as terminal:
                assert await terminal.ended() == 0
            assert "\x1b[2J" not in terminal.written
            assert "\x9b" not in terminal.written
            assert all(len(line) <= 50 for line in plain(terminal.written).splitlines()), (
                "nothing is wrapped by chance"
            )
            if words != ("history",):
                assert folder.name in "".join(plain(terminal.written).split())
