"""The file of the history: private, bounded, and readable whatever happened to its end."""

from __future__ import annotations

import stat
from pathlib import Path

from kdumpd.core.history import KEPT, LINES_AT_MOST, Entry
from kdumpd.host.history import HistoryFile
from kdumpd.host.real import RealFiles

PATH = "/var/lib/kdumpd/history.jsonl"


def entry(number: int) -> Entry:
    return Entry(time_us=number, kind="rebuild", result="done")


def times(history: HistoryFile) -> list[int]:
    return [each.time_us for each in history.read()]


def test_it_is_for_root_alone_and_grows_at_its_end(tmp_path: Path) -> None:
    history, file = HistoryFile(RealFiles(str(tmp_path)), path=PATH), tmp_path / PATH.lstrip("/")
    assert history.read() == ()
    history.append([entry(1)])
    inode, before = file.stat().st_ino, file.read_bytes()
    history.append([entry(2), entry(3)])
    assert times(history) == [1, 2, 3]
    assert file.stat().st_ino == inode
    assert file.read_bytes().startswith(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_it_stays_bounded(tmp_path: Path) -> None:
    history = HistoryFile(RealFiles(str(tmp_path)), path=PATH)
    most = 0
    for number in range(3 * LINES_AT_MOST):
        history.append([entry(number)])
        most = max(most, (tmp_path / PATH.lstrip("/")).read_bytes().count(b"\n"))
    assert times(history) == list(range(3 * LINES_AT_MOST - KEPT, 3 * LINES_AT_MOST))
    assert most == LINES_AT_MOST + 1
    assert [path.name for path in (tmp_path / "var/lib/kdumpd").iterdir()] == ["history.jsonl"]


def test_an_entry_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    history, file = HistoryFile(RealFiles(str(tmp_path)), path=PATH), tmp_path / PATH.lstrip("/")
    history.append([entry(1), entry(2)])
    file.write_bytes(file.read_bytes()[:-5])
    history.append([entry(3)])
    history.append([entry(4)])
    assert times(history) == [1, 3, 4]
