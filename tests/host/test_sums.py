"""A sum is noted only where root alone may write, and no link leads the note to another file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core.dumps import Dump
from kdumpd.host.real import RealFiles
from kdumpd.host.sums import Sums

NAME = "127.0.0.1-2025-01-01-10:00:00"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "var/crash" / NAME
    made.mkdir(parents=True)
    (made / "vmcore").write_bytes(b"core")
    return made


DUMP = Dump(
    id=NAME,
    path=f"/var/crash/{NAME}",
    time_us=1,
    size_bytes=4,
    is_complete=True,
    kernel_release="",
    reason="",
    folder=f"/var/crash/{NAME}",
    is_ours=True,
    core="vmcore",
)


async def test_a_link_in_the_place_of_the_note_is_replaced_and_not_followed(
    tmp_path: Path, folder: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    note = folder / "vmcore.sha256"
    note.symlink_to("/precious")
    await Sums(RealFiles(str(tmp_path))).note(DUMP)
    assert precious.read_text() == "kept"
    assert not note.is_symlink()
    assert note.read_text() == f"{hashlib.sha256(b'core').hexdigest()}  vmcore\n"
    assert sorted(os.listdir(folder)) == ["vmcore", "vmcore.sha256"]


@pytest.mark.parametrize("what", ["link", "pipe", "directory"])
async def test_what_is_no_plain_core_is_not_read(tmp_path: Path, folder: Path, what: str) -> None:
    core = folder / "vmcore"
    core.rename(tmp_path / "secret")
    match what:
        case "link":
            core.symlink_to("/secret")
        case "pipe":
            os.mkfifo(core)
        case _:
            core.mkdir()
    with pytest.raises(OSError):  # noqa: PT011  # whichever the kernel says
        await Sums(RealFiles(str(tmp_path))).note(DUMP)
    assert os.listdir(folder) == ["vmcore"]


async def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path, folder: Path) -> None:
    os.rename(folder, tmp_path / "away")
    os.symlink("/away", folder)
    with pytest.raises(NotADirectoryError):
        await Sums(RealFiles(str(tmp_path))).note(DUMP)
    assert os.listdir(tmp_path / "away") == ["vmcore"]


@as_root
@pytest.mark.parametrize("whose", [".", "vmcore"])
async def test_where_somebody_else_may_write_there_is_no_sum(
    tmp_path: Path, folder: Path, whose: str
) -> None:
    os.chown(folder / whose, NOBODY, NOBODY)
    with pytest.raises(OSError, match=r"others may write|belongs to root"):
        await Sums(RealFiles(str(tmp_path))).note(DUMP)
    assert os.listdir(folder) == ["vmcore"]


async def test_a_core_that_is_exchanged_while_it_is_read_has_no_sum(tmp_path: Path, folder: Path) -> None:
    note = Sums(RealFiles(str(tmp_path))).note(replace(DUMP, size_bytes=4)).__await__()
    next(note)  # the first chunk was read
    (folder / "other").write_bytes(b"core")
    (folder / "other").rename(folder / "vmcore")
    with pytest.raises(OSError, match="changed meanwhile"):
        list(note)
    assert os.listdir(folder) == ["vmcore"]
