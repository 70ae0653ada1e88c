"""`kdumpctl dumps recover`."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from kdumpd.cli import main

HEADER = (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(4096, b"\0")
STREAM = HEADER + struct.pack(">qq", 3, 5) + b"hello" + struct.pack(">qq", -1, -1)


def test_a_stream_becomes_a_vmcore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flat").write_bytes(STREAM)
    argv = ["dumps", "recover", str(tmp_path / "flat"), str(tmp_path / "vmcore")]
    assert main(argv) == 0
    assert (tmp_path / "vmcore").read_bytes() == b"\0\0\0hello"
    assert main(argv) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "words"), [(STREAM[:-3], "not whole"), (b"noise" * 4096, "not a flattened stream")]
)
def test_what_is_no_whole_stream_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, words: str
) -> None:
    (tmp_path / "flat").write_bytes(data)
    assert main(["dumps", "recover", str(tmp_path / "flat"), str(tmp_path / "vmcore")]) == 1
    assert words in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["flat"]


def test_a_stream_that_is_not_there_and_names_left_out_are_told(tmp_path: Path) -> None:
    assert main(["dumps", "recover", str(tmp_path / "flat"), str(tmp_path / "vmcore")]) == 1
    assert main(["dumps", "recover"]) == 1
    assert os.listdir(tmp_path) == []
