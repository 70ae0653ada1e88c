"""Finding dumps: on a mounted target, on one that is mounted only for the look, and records of failures."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from kdumpd.core.dumps import DumpPlace
from kdumpd.core.machine import Mount
from kdumpd.host.doors import Facts
from kdumpd.host.dumps import Dumps
from kdumpd.host.real import RealFiles
from tests.host.scripted import Answer, ScriptedPrograms

PLACE = DumpPlace(device="LABEL=second", node="/dev/vdb", fstype="xfs", directory="/crash")
NAME = "127.0.0.1-2025-01-01-10:00:00"
ROOT = Mount(target="/", source="/dev/vda", fstype="ext4", number="254:0")
SECOND = Mount(target="/data", source="/dev/vdb", fstype="xfs", number="254:16")


def _save(folder: Path, name: str = NAME, **summary: object) -> Path:
    dump = folder / name
    dump.mkdir(parents=True)
    (dump / "vmcore").write_bytes(b"123456789")
    (dump / "vmcore-dmesg.txt").write_bytes(
        b"[ 0.1] Kernel panic - not syncing: too long ago" + b"\xff\n" * 1_000_000 + b"[ 1.0] BUG: now\n"
    )
    if summary:
        (dump / "summary.json").write_text(json.dumps(summary))
    return dump


def _dumps(tmp_path: Path) -> tuple[Dumps, ScriptedPrograms]:
    programs = ScriptedPrograms()
    return Dumps(RealFiles(str(tmp_path)), programs), programs


def _expect_mount(programs: ScriptedPrograms, tmp_path: Path, answer: Answer) -> None:
    options = "ro,nosuid,nodev,noexec"
    programs.expect(
        "mount", "-t", "xfs", "-o", options, "--", f"{tmp_path}/dev/vdb", f"{tmp_path}/run/kdumpd/target",
        answer=answer,
    )  # fmt: skip


async def test_a_mounted_target_is_searched_where_it_is(tmp_path: Path) -> None:
    dumps, _ = _dumps(tmp_path)
    _save(tmp_path / "data/crash", result="saved", panic="Kernel panic: x", crashed_us=5)
    (tmp_path / "data/crash/lost+found").mkdir()
    (tmp_path / "data/crash/127.0.0.1-2025-01-01-11:11:11").write_text("a file")
    found = await dumps.look(PLACE, mounts=(ROOT, SECOND))
    (dump,) = found.dumps
    assert found.problems == ()
    assert (dump.path, dump.reason, dump.size_bytes) == (f"/data/crash/{NAME}", "Kernel panic: x", 9)


async def test_without_a_summary_the_end_of_the_log_tells(tmp_path: Path) -> None:
    dumps, _ = _dumps(tmp_path)
    _save(tmp_path / "data/crash")
    (dump,) = (await dumps.look(PLACE, mounts=(SECOND,))).dumps
    assert dump.reason == "BUG: now"
    assert dump.is_complete
    assert dump.time_us > 1_700_000_000_000_000


@pytest.mark.parametrize("text", ["", "{", '{"result": "odd"}', "[]"])
async def test_a_damaged_summary_hides_no_dump(tmp_path: Path, text: str) -> None:
    dumps, _ = _dumps(tmp_path)
    (_save(tmp_path / "data/crash") / "summary.json").write_text(text)
    (dump,) = (await dumps.look(PLACE, mounts=(SECOND,))).dumps
    assert dump.is_complete


async def test_a_target_that_is_not_mounted_is_mounted_for_one_look_and_remembered(tmp_path: Path) -> None:
    dumps, programs = _dumps(tmp_path)
    assert (await dumps.look(PLACE, mounts=(ROOT,))).dumps == ()
    point = tmp_path / "run/kdumpd/target"
    _expect_mount(programs, tmp_path, Answer(first=lambda: _save(point / "crash")))
    programs.expect(
        "umount", "--", str(point), answer=Answer(first=lambda: (point / "crash").rename(tmp_path / "away"))
    )
    (dump,) = (await dumps.look(PLACE, mounts=(ROOT,), may_mount=True)).dumps
    assert dump.path == f"LABEL=second:/crash/{NAME}"
    assert programs.script == []
    assert (await dumps.look(PLACE, mounts=(ROOT,))).dumps == (dump,)


async def test_a_target_that_cannot_be_mounted_is_told(tmp_path: Path) -> None:
    dumps, programs = _dumps(tmp_path)
    _expect_mount(programs, tmp_path, Answer(status=32, stderr="mount: wrong fs type"))
    (problem,) = (await dumps.look(PLACE, mounts=(ROOT,), may_mount=True)).problems
    assert problem.code == "dumps-unseen"
    assert "wrong fs type" in problem.message
    assert not problem.is_error


async def test_a_mount_left_by_a_look_that_was_cut_short_is_taken_away(tmp_path: Path) -> None:
    dumps, programs = _dumps(tmp_path)
    left = Mount(target="/run/kdumpd/target", source="/dev/vdb", fstype="xfs", number="254:16")
    programs.expect("umount", "--", f"{tmp_path}/run/kdumpd/target")
    assert (await dumps.look(PLACE, mounts=(ROOT, left))).dumps == ()
    assert programs.script == []


async def test_records_of_failures_are_found_and_the_newest_is_last(tmp_path: Path) -> None:
    dumps, _ = _dumps(tmp_path)
    failures = tmp_path / "var/lib/kdumpd/failures"
    failures.mkdir(parents=True)
    record = {"result": "failed", "reason": "no device", "crashed_us": 3}
    (failures / "2025-01-01-10:00:00.json").write_text(json.dumps(record))
    (failures / "2025-01-02-10:00:00.json").write_text("torn")
    _save(tmp_path / "data/crash", result="saved", crashed_us=2)
    found = (await dumps.look(PLACE, mounts=(SECOND,))).dumps
    assert [dump.id for dump in found] == [NAME, "failure-2025-01-01-10:00:00"]
    assert [dump.id for dump in (await dumps.look(None, mounts=())).dumps] == ["failure-2025-01-01-10:00:00"]


async def test_a_target_is_known_by_its_number_whatever_mountinfo_calls_it(tmp_path: Path) -> None:
    dumps, _ = _dumps(tmp_path)
    (tmp_path / "sys/class/block/vdb").mkdir(parents=True)
    (tmp_path / "sys/class/block/vdb/dev").write_text("254:16\n")
    _save(tmp_path / "data/crash")
    mount = Mount(target="/data", source="/dev/root", fstype="xfs", number="254:16")
    assert len((await dumps.look(PLACE, mounts=(mount,))).dumps) == 1


VAR = Mount(target="/var", source="/dev/vdc", fstype="ext4", number="254:32")
BIND = ("mount", "--bind", "-o", "ro,nosuid,nodev,noexec", "--")


async def test_dumps_on_the_root_file_system_are_found_beside_those_of_the_target(tmp_path: Path) -> None:
    dumps, _ = _dumps(tmp_path)
    _save(tmp_path / "data/crash", result="failed", reason="no space", crashed_us=5)
    _save(tmp_path / "var/crash", result="saved", fallback="dump_to_rootfs", crashed_us=5)
    found = (await dumps.look(PLACE, mounts=(ROOT, SECOND), on_rootfs="/var/crash")).dumps
    assert [(dump.id, dump.path, dump.is_complete) for dump in found] == [
        (NAME, f"/data/crash/{NAME}", False),
        (f"{NAME}.rootfs", f"/var/crash/{NAME}", True),
    ]
    shutil.rmtree(tmp_path / "data/crash" / NAME)
    found = (await dumps.look(PLACE, mounts=(ROOT, SECOND), on_rootfs="/var/crash")).dumps
    assert [dump.id for dump in found] == [f"{NAME}.rootfs"], "it does not become the other one"
    _save(tmp_path / "data/crash")
    assert len((await dumps.look(PLACE, mounts=(ROOT, SECOND))).dumps) == 1


async def test_the_target_on_the_root_file_system_is_not_searched_twice(tmp_path: Path) -> None:
    dumps, _ = _dumps(tmp_path)
    place = DumpPlace(device="UUID=r", node="/dev/vda", fstype="ext4", directory="/var/crash")
    _save(tmp_path / "var/crash")
    assert len((await dumps.look(place, mounts=(ROOT,), on_rootfs="/var/crash")).dumps) == 1


async def test_what_the_agent_wrote_under_a_separate_var_is_found(tmp_path: Path) -> None:
    dumps, programs = _dumps(tmp_path)
    point = tmp_path / "run/kdumpd/target"
    record = {"result": "failed", "reason": "no device", "crashed_us": 3}

    def show_root() -> None:
        _save(point / "var/crash", result="saved", fallback="dump_to_rootfs", crashed_us=4)
        failures = point / "var/lib/kdumpd/failures"
        failures.mkdir(parents=True)
        (failures / "2025-01-01-10:00:00.json").write_text(json.dumps(record))

    def hide_root() -> None:
        (point / "var").rename(tmp_path / "away")

    def show_again() -> None:
        (tmp_path / "away").rename(point / "var")

    for first in (show_root, show_again, show_again):
        programs.expect(*BIND, f"{tmp_path}/", str(point), answer=Answer(first=first))
        programs.expect("umount", "--", str(point), answer=Answer(first=hide_root))
    look = dumps.look(PLACE, mounts=(ROOT, SECOND, VAR), on_rootfs="/var/crash", may_mount=True)
    found = (await look).dumps
    assert [dump.path for dump in found] == [
        "/dev/vda:/var/lib/kdumpd/failures/2025-01-01-10:00:00.json",
        f"/dev/vda:/var/crash/{NAME}",
    ]
    assert programs.script == []
    assert (await dumps.look(PLACE, mounts=(ROOT, SECOND, VAR), on_rootfs="/var/crash")).dumps == found


async def test_a_dump_that_a_server_keeps_is_told_of_by_the_record_that_the_agent_left(
    tmp_path: Path,
) -> None:
    dumps, programs = _dumps(tmp_path)
    records = tmp_path / "var/lib/kdumpd/remote"
    records.mkdir(parents=True)
    record = {
        "result": "saved",
        "target": "nas:/srv",
        "directory": "/crash/192.0.2.10-2025-01-01-10:00:00",
        "vmcore_bytes": 9,
        "crashed_us": 3,
    }
    (records / "2025-01-01-10:00:00.json").write_text(json.dumps(record))
    (dump,) = (await dumps.look(None, mounts=(ROOT,))).dumps
    assert (dump.id, dump.path) == (
        "192.0.2.10-2025-01-01-10:00:00",
        "nas:/srv/crash/192.0.2.10-2025-01-01-10:00:00",
    )
    assert (dump.size_bytes, dump.is_complete) == (9, True)
    mounted = Mount(target="/mnt", source="nas:/srv", fstype="nfs4", number="0:40")
    (dump,) = (await dumps.look(None, mounts=(ROOT, mounted))).dumps
    assert dump.path == "/mnt/crash/192.0.2.10-2025-01-01-10:00:00"
    assert programs.script == [], "no server is asked"


async def test_a_dump_directory_leads_nobody_to_other_files(tmp_path: Path) -> None:
    """/var/crash may be open to everyone, and what is told of a dump is told to everyone."""
    dumps, _ = _dumps(tmp_path)
    (tmp_path / "secret").write_text("[ 1.0] Kernel panic - not syncing: a secret\n")
    dump = _save(tmp_path / "data/crash")
    (dump / "vmcore-dmesg.txt").unlink()
    (dump / "vmcore-dmesg.txt").symlink_to(tmp_path / "secret")
    os.mkfifo(dump / "summary.json")
    (tmp_path / "data/crash/127.0.0.1-2025-01-01-12:12:12").symlink_to(tmp_path)
    (found,) = (await dumps.look(PLACE, mounts=(SECOND,))).dumps
    assert (found.id, found.reason) == (NAME, "")


class _Unseen(RealFiles):
    """A user mounted a file system of his own, which root may not look into."""

    def stat(self, path: str) -> Facts:
        if path.endswith("-11:11:11"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().stat(path)


async def test_a_directory_that_cannot_be_looked_at_hides_no_other(tmp_path: Path) -> None:
    _save(tmp_path / "data/crash")
    (tmp_path / "data/crash/127.0.0.1-2025-01-01-11:11:11").mkdir()
    dumps = Dumps(_Unseen(str(tmp_path)), ScriptedPrograms())
    found = await dumps.look(PLACE, mounts=(SECOND,))
    assert [dump.id for dump in found.dumps] == [NAME]
    (problem,) = found.problems
    assert "/data/crash/127.0.0.1-2025-01-01-11:11:11" in problem.message


class _OthersOwn(RealFiles):
    """One path of a dump belongs to somebody else than root."""

    def __init__(self, root: str, end: str) -> None:
        super().__init__(root)
        self._end = end

    def stat(self, path: str) -> Facts:
        facts = super().stat(path)
        return replace(facts, owner=os.geteuid() + 1) if path.endswith(self._end) else facts


@pytest.mark.parametrize(
    ("end", "is_ours"), [("/none", True), (NAME, False), ("/vmcore", False), ("/summary.json", False)]
)
async def test_what_somebody_else_could_have_forged_is_told_and_is_not_ours(
    tmp_path: Path, end: str, *, is_ours: bool
) -> None:
    _save(
        tmp_path / "data/crash",
        result="saved",
        crashed_us=5,
        memory_kind="k",
        memory_least_kib=1,
        memory_reserved_kib=2,
    )
    dumps = Dumps(_OthersOwn(str(tmp_path), end), ScriptedPrograms())
    (dump,) = (await dumps.look(PLACE, mounts=(SECOND,))).dumps
    assert dump.is_complete
    assert (dump.is_ours, dump.capture is not None) == (is_ours, is_ours)


class _Counting(RealFiles):
    """Counts what is read of dumps."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    def open(self, path: str) -> BinaryIO:
        if path.startswith("/data/"):
            self.opened.append(path)
        return super().open(path)


def _long_ago(folder: Path) -> None:
    os.utime(folder, (1_600_000_000, 1_600_000_000))


async def test_a_dump_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    files = _Counting(str(tmp_path))
    dumps = Dumps(files, ScriptedPrograms())
    folders = [
        _save(tmp_path / "data/crash", name=f"a-2025-01-0{day}-10:00:00", result="saved") for day in (1, 2)
    ]
    for folder in folders:
        _long_ago(folder)
    first = (await dumps.look(PLACE, mounts=(SECOND,))).dumps
    files.opened.clear()
    assert (await dumps.look(PLACE, mounts=(SECOND,))).dumps == first
    assert files.opened == []
    (folders[1] / "summary.json").unlink()
    (folders[1] / "vmcore").rename(folders[1] / "vmcore-incomplete")
    again = (await dumps.look(PLACE, mounts=(SECOND,))).dumps
    assert [dump.is_complete for dump in again] == [True, False]
    assert {path.split("/")[3] for path in files.opened} == {folders[1].name}
    _long_ago(folders[1])
    assert (await dumps.look(PLACE, mounts=(SECOND,))).dumps == again
    (folders[1] / "vmcore-incomplete").write_bytes(b"more than before")
    (_, grown) = (await dumps.look(PLACE, mounts=(SECOND,))).dumps
    assert grown.size_bytes == 16, "one that is not whole may grow while its directory stays as it is"


async def test_of_many_dumps_only_the_newest_logs_are_read(tmp_path: Path) -> None:
    files = _Counting(str(tmp_path))
    for who, day in (("z", 1), ("y", 2), ("b", 3), ("a", 4)):
        _long_ago(
            _save(
                tmp_path / "data/crash", name=f"{who}-2025-01-0{day}-10:00:00", result="saved", crashed_us=day
            )
        )
    dumps = Dumps(files, ScriptedPrograms(), with_log_at_most=2, seen_at_most=3)
    found = await dumps.look(PLACE, mounts=(SECOND,))
    assert [dump.id[0] for dump in found.dumps] == ["y", "b", "a"]
    assert [dump.reason for dump in found.dumps] == ["", "BUG: now", "BUG: now"]
    assert [problem.code for problem in found.problems] == ["dumps-unseen"]
    shutil.rmtree(tmp_path / "data/crash/a-2025-01-04-10:00:00")
    found = await dumps.look(PLACE, mounts=(SECOND,))
    assert [dump.reason for dump in found.dumps] == ["", "BUG: now", "BUG: now"], "y is among the newest now"
