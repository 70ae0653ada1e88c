"""What directories, summaries and crashed kernels say reaches no terminal as something that it would obey."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdumpd.cli_dumps import verify
from kdumpd.cli_screen import complain, say

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
