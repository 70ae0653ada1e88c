"""What is read of pstore, as the kernel shows it and as systemd-pstore puts it away."""

from __future__ import annotations

from pathlib import Path

from kdumpd.host.pstore import RECORDS_AT_MOST, Pstore
from kdumpd.host.real import RealFiles

OOPS = "Oops#1 Part1\n<1>[   10.0] BUG: kernel NULL pointer dereference\n<4>[   10.1] Call Trace:\n<4>[   10.2]  f+0x1/0x2\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_records_are_found_where_they_may_be(tmp_path: Path) -> None:
    _write(tmp_path / "sys/fs/pstore/dmesg-efi-1", OOPS)
    _write(tmp_path / "var/lib/systemd/pstore/170000000/001/dmesg.txt", OOPS)
    _write(tmp_path / "var/lib/systemd/pstore/a/b/c/too-deep", OOPS)
    (tmp_path / "secret").write_text(OOPS)
    (tmp_path / "var/lib/systemd/pstore/link").symlink_to(tmp_path / "secret")
    pstore = Pstore(RealFiles(str(tmp_path)))
    found = {record.path: (record.reason, record.call_trace) for record in pstore.records()}
    told = ("BUG: kernel NULL pointer dereference", "f+0x1/0x2")
    assert found == {
        "/sys/fs/pstore/dmesg-efi-1": told,
        "/var/lib/systemd/pstore/170000000/001/dmesg.txt": told,
    }


def test_bytes_that_are_no_text_and_too_many_files_harm_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "sys/fs/pstore"
    folder.mkdir(parents=True)
    for number in range(RECORDS_AT_MOST + 9):
        (folder / f"dmesg-{number:04}").write_bytes(b"\xff\x00" * 10)
    records = Pstore(RealFiles(str(tmp_path))).records()
    assert len(records) == RECORDS_AT_MOST
    assert not any(record.has_words for record in records)
    assert records[0].path == f"/sys/fs/pstore/dmesg-{RECORDS_AT_MOST + 8:04}"


def test_without_any_there_are_none(tmp_path: Path) -> None:
    assert Pstore(RealFiles(str(tmp_path))).records() == ()
