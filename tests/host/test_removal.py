"""Dump directories that are taken away, and those that stay: being read, exchanged, mounted into, or no dumps."""

from __future__ import annotations

import errno
import mmap
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core.dumps import Dump
from kdumpd.core.machine import Mount
from kdumpd.core.problems import Trouble
from kdumpd.host.doors import Facts
from kdumpd.host.real import RealFiles
from kdumpd.host.removal import Removals

NAME = "127.0.0.1-2025-01-01-10:00:00"


def _dump(tmp_path: Path, name: str = NAME) -> tuple[Dump, Path]:
    folder = tmp_path / "var/crash" / name
    folder.mkdir(parents=True)
    for each in ("vmcore", "vmcore-dmesg.txt", "summary.json"):
        (folder / each).write_text("x")
    found = Dump(
        id=name,
        path=f"/var/crash/{name}",
        time_us=1,
        size_bytes=1,
        is_complete=True,
        kernel_release="",
        reason="",
        folder=f"/var/crash/{name}",
        is_ours=True,
    )
    return found, folder


def _stays(removals: Removals, dump: Dump, *, mounts: tuple[Mount, ...] = ()) -> str:
    with pytest.raises(Trouble) as refusal:
        removals.remove(dump, mounts=mounts)
    return f"{refusal.value.problems[0].code}: {refusal.value.problems[0].message}"


def test_a_dump_goes_with_all_that_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    dump, folder = _dump(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/precious").write_text("x")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "below").mkdir()
    (folder / "below/file").write_text("x")
    Removals(RealFiles(str(tmp_path))).remove(dump, mounts=())
    assert os.listdir(folder.parent) == []
    assert (tmp_path / "elsewhere/precious").read_text() == "x"


def test_one_that_is_being_read_stays_until_it_is_not(tmp_path: Path) -> None:
    dump, folder = _dump(tmp_path)
    removals = Removals(RealFiles(str(tmp_path)))
    with (folder / "vmcore").open("rb") as reader:
        assert _stays(removals, dump).startswith("busy: ")
        mapped = mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ)
    assert removals.is_read(dump), "mapped by a debugger that has closed the file"
    mapped.close()
    assert not removals.is_read(dump)
    assert sorted(os.listdir(folder)) == ["summary.json", "vmcore", "vmcore-dmesg.txt"]
    removals.remove(dump, mounts=())
    assert not folder.exists()


class _Mute(RealFiles):
    """A file system that gives no leases."""

    def is_open(self, path: str) -> bool:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)


def test_where_nobody_can_tell_who_reads_it_it_stays_and_nobody_is_blamed(tmp_path: Path) -> None:
    dump, folder = _dump(tmp_path)
    removals = Removals(_Mute(str(tmp_path)))
    assert removals.is_read(dump)
    assert _stays(removals, dump) == (
        f"dump-stays: the dump {dump.path} stays: whether it is being read cannot be told here: Permission denied"
    )
    assert folder.exists()


def test_what_became_a_link_is_not_followed(tmp_path: Path) -> None:
    dump, folder = _dump(tmp_path)
    other, kept = _dump(tmp_path, "127.0.0.1-2025-01-02-10:00:00")
    os.rename(folder, tmp_path / "away")
    folder.symlink_to(kept.name)
    assert "not a directory any more" in _stays(Removals(RealFiles(str(tmp_path))), dump)
    assert (kept / "vmcore").exists()
    assert other.folder


class _Exchanging(RealFiles):
    """Somebody who may write there puts `other` in the place of `folder` between the look and the removal."""

    def __init__(self, root: str, folder: Path, other: Path) -> None:
        super().__init__(root)
        self.folder, self.other, self.is_done = folder, other, False

    def rename(self, source: str, target: str) -> None:
        if not self.is_done:
            self.is_done = True
            os.rename(self.folder, self.folder.parent / "moved")
            os.rename(self.other, self.folder)
        super().rename(source, target)


@pytest.mark.parametrize("as_link", [True, False])
def test_what_is_exchanged_in_the_last_moment_is_put_back(tmp_path: Path, *, as_link: bool) -> None:
    dump, folder = _dump(tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    other = precious
    if as_link:
        other = tmp_path / "link"
        other.symlink_to(precious)
    assert "exchanged" in _stays(Removals(_Exchanging(str(tmp_path), folder, other)), dump)
    assert (folder / "file").read_text() == "x"
    assert folder.is_symlink() is as_link


def test_something_mounted_in_it_keeps_it(tmp_path: Path) -> None:
    dump, folder = _dump(tmp_path)
    mount = Mount(target=f"{dump.folder}/below", source="/dev/vdb", fstype="xfs")
    assert "mounted" in _stays(Removals(RealFiles(str(tmp_path))), dump, mounts=(mount,))
    assert folder.exists()


def test_what_no_capture_of_ours_wrote_stays_unless_somebody_wishes(tmp_path: Path) -> None:
    dump, folder = _dump(tmp_path)
    (folder / "summary.json").unlink()
    removals = Removals(RealFiles(str(tmp_path)))
    assert "summary.json" in _stays(removals, dump)
    removals.remove(dump, mounts=(), must_be_ours=False)
    assert not folder.exists()


class _OthersOwn(RealFiles):
    """What a user may have put there."""

    def stat(self, path: str) -> Facts:
        return replace(super().stat(path), owner=os.geteuid() + 1)


def test_what_somebody_else_may_have_forged_stays_unless_somebody_wishes(tmp_path: Path) -> None:
    dump, folder = _dump(tmp_path)
    removals = Removals(_OthersOwn(str(tmp_path)))
    assert "somebody else than root" in _stays(removals, dump)
    removals.remove(dump, mounts=(), must_be_ours=False)
    assert not folder.exists()


def test_what_was_begun_is_finished_and_nothing_else_is_swept(tmp_path: Path) -> None:
    _, folder = _dump(tmp_path)
    above = folder.parent
    folder.rename(above / f".{NAME}.removed")
    (above / ".mine.removed").mkdir()
    Removals(RealFiles(str(tmp_path))).sweep("/var/crash")
    assert os.listdir(above) == [".mine.removed"]


def test_a_leftover_of_the_same_name_is_in_nobodys_way(tmp_path: Path) -> None:
    dump, folder = _dump(tmp_path)
    (folder.parent / f".{NAME}.removed/x").mkdir(parents=True)
    Removals(RealFiles(str(tmp_path))).remove(dump, mounts=())
    assert os.listdir(folder.parent) == []
