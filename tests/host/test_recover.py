"""Recovering what a capture left on a raw device: all of it is on the disk before the device is touched."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from kdumpd.host.doors import Facts, Files, Output, ProgramFailed
from kdumpd.host.real import RealFiles
from kdumpd.host.recover import HALF, RESERVE_BYTES, Recovery
from tests.host.scripted import Asked, ScriptedPrograms, StandIns

HEADER = (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(4096, b"\0")
CORE = b"KDUMP   " + bytes(3 << 20) + b"the end"
STREAM = HEADER + struct.pack(">qq", 0, len(CORE)) + CORE + struct.pack(">qq", -1, -1)
SAID = json.dumps({"result": "saved", "vmcore_bytes": len(STREAM), "started_at": 1_700_000_000}).encode()
RECORD = b"kdumpd-record 1 %d\n" % len(SAID) + SAID
BEHIND = -(-len(STREAM) // 4096) * 4096


def _device(root: Path, stream: bytes = STREAM, record: bytes = RECORD) -> Path:
    device = root / "dev/vdb"
    device.parent.mkdir(exist_ok=True)
    device.write_bytes(stream.ljust(BEHIND, b"\0") + record + b"\xa5" * 20_000)
    return device


class _Makedumpfile(StandIns):
    """Takes the kernel's log out of a dump that is in a folder of its own, for its owner alone."""

    def __init__(self, root: Path, fault: str = "") -> None:
        super().__init__()
        self._root = root
        self._fault = fault

    async def answer(self, asked: Asked) -> Output:
        *words, core, log = asked.argv
        half = Path(core).parent
        assert words == ["makedumpfile", "--dump-dmesg"]
        assert half.parent == self._root / "srv/crash"
        assert (half.name[: len(HALF)], half.stat().st_mode & 0o777) == (HALF, 0o700)
        if self._fault:
            raise ProgramFailed(Output(argv=asked.argv, status=127, stdout=b"", stderr=b""), self._fault)
        self._write(log)
        return Output(argv=asked.argv, status=0, stdout=b"", stderr=b"")

    def _write(self, log: str) -> None:
        Path(log).write_text("[ 1.0] BUG: it\n")


def _recovery(root: Path, *, fault: str = "", files: Files | None = None) -> Recovery:
    return Recovery(files or RealFiles(str(root)), _Makedumpfile(root, fault))


async def test_a_dump_is_recovered_whole_and_the_device_cleared(tmp_path: Path) -> None:
    device = _device(tmp_path)
    found = await _recovery(tmp_path).look("/dev/vdb", path="/srv/crash")
    assert found.problems == ()
    folder = tmp_path / found.folder[1:]
    assert folder.parent == tmp_path / "srv/crash"
    assert folder.name.startswith("127.0.0.1-2023-11-1")
    assert sorted(os.listdir(folder)) == ["summary.json", "vmcore", "vmcore-dmesg.txt"]
    assert (folder / "vmcore").read_bytes() == CORE
    assert (folder / "vmcore").stat().st_blocks * 512 < len(CORE) // 2
    assert json.loads((folder / "summary.json").read_text())["result"] == "saved"
    after = device.read_bytes()
    assert after[:4096] == after[BEHIND : BEHIND + 4096] == bytes(4096)
    assert after[4096:8192] == STREAM[4096:8192]
    again = await Recovery(RealFiles(str(tmp_path)), ScriptedPrograms()).look("/dev/vdb", path="/srv/crash")
    assert (again.folder, again.problems) == ("", ())


async def test_a_dump_of_another_program_has_no_summary(tmp_path: Path) -> None:
    _device(tmp_path, record=b"")
    found = await _recovery(tmp_path).look("/dev/vdb", path="/srv/crash")
    assert sorted(os.listdir(tmp_path / found.folder[1:])) == ["vmcore", "vmcore-dmesg.txt"]


async def test_a_summary_of_an_older_dump_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    old = SAID.replace(str(len(STREAM)).encode(), b"77")
    _device(tmp_path, record=b"kdumpd-record 1 %d\n" % len(old) + old)
    found = await _recovery(tmp_path).look("/dev/vdb", path="/srv/crash")
    assert not (tmp_path / found.folder[1:] / "summary.json").exists()


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (STREAM[: len(STREAM) // 2], "stream-truncated"),
        (STREAM[:-16] + b"\xa5" * 16, "stream-damaged"),
    ],
)
async def test_a_stream_that_was_cut_off_is_told_at_once_and_left_alone(
    tmp_path: Path, stream: bytes, code: str
) -> None:
    device = _device(tmp_path, stream=stream, record=b"")
    if code == "stream-truncated":
        device.write_bytes(stream)
    before = device.read_bytes()
    (tmp_path / "srv/crash").mkdir(parents=True)
    found = await Recovery(RealFiles(str(tmp_path)), ScriptedPrograms()).look("/dev/vdb", path="/srv/crash")
    assert [problem.code for problem in found.problems] == [code]
    assert device.read_bytes() == before
    assert os.listdir(tmp_path / "srv/crash") == []


@pytest.mark.parametrize("what", [b"", b"\x7fELF" + bytes(9000), b"makedumpfile is a program\n" * 400])
async def test_anything_else_on_the_device_is_left_alone(tmp_path: Path, what: bytes) -> None:
    device = tmp_path / "dev/vdb"
    device.parent.mkdir()
    device.write_bytes(what)
    found = await Recovery(RealFiles(str(tmp_path)), ScriptedPrograms()).look("/dev/vdb", path="/srv/crash")
    assert (found.folder, found.problems) == ("", ())
    assert device.read_bytes() == what
    assert not (tmp_path / "srv").exists()


@pytest.mark.parametrize("cut", [0, 3])
async def test_the_capture_kernels_own_log_is_recovered_where_all_of_it_is_there(
    tmp_path: Path, cut: int
) -> None:
    log = b"[ 0.0] the capture kernel\n\xff"
    _device(tmp_path, record=RECORD + b"kdumpd-log %d\n" % (len(log) + cut * 100_000) + log)
    found = await _recovery(tmp_path).look("/dev/vdb", path="/srv/crash")
    saved = tmp_path / found.folder.lstrip("/") / "kexec-dmesg.log"
    assert (saved.read_bytes() == log) if not cut else not saved.exists()


async def test_a_failed_capture_becomes_a_record_of_a_failure(tmp_path: Path) -> None:
    device = tmp_path / "dev/vdb"
    device.parent.mkdir()
    said = b'{"result": "failed", "reason": "no space"}'
    device.write_bytes((b"kdumpd-record 1 %d\n" % len(said) + said).ljust(8192, b"\xa5"))
    found = await Recovery(RealFiles(str(tmp_path)), ScriptedPrograms()).look("/dev/vdb", path="/srv/crash")
    assert found.folder.startswith("/var/lib/kdumpd/failures/")
    assert (tmp_path / found.folder[1:]).read_bytes() == said
    assert device.read_bytes() == bytes(4096) + b"\xa5" * 4096


async def test_without_a_kernel_log_the_dump_is_recovered_all_the_same(tmp_path: Path) -> None:
    _device(tmp_path)
    found = await _recovery(tmp_path, fault="is not installed").look("/dev/vdb", path="/srv/crash")
    assert [(problem.code, problem.is_error) for problem in found.problems] == [("no-kernel-log", False)]
    assert (tmp_path / found.folder[1:] / "vmcore").exists()


class _Full(RealFiles):
    """A disk that takes the folder and nothing else."""

    def sync(self, path: str) -> None:
        if HALF in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().sync(path)


class _InUse(RealFiles):
    def open_for_us_alone(self, path: str) -> BinaryIO:
        del path
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


@pytest.mark.parametrize(("files", "words"), [(_Full, "No space left"), (_InUse, "busy")])
async def test_a_full_disk_and_a_busy_device_leave_the_dump_on_the_device(
    tmp_path: Path, files: type[RealFiles], words: str
) -> None:
    device = _device(tmp_path)
    before = device.read_bytes()
    recovery = _recovery(tmp_path, files=files(str(tmp_path)))
    found = await recovery.look("/dev/vdb", path="/srv/crash")
    assert [problem.code for problem in found.problems] == ["raw-not-recovered"]
    assert words in found.problems[0].message
    assert device.read_bytes() == before


async def test_a_recovery_that_is_cancelled_leaves_nothing_half_done(tmp_path: Path) -> None:
    device = _device(tmp_path)
    before = device.read_bytes()
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    class Telling(RealFiles):
        def open_for_us_alone(self, path: str) -> BinaryIO:
            loop.call_soon_threadsafe(begun.set)
            return super().open_for_us_alone(path)

    recovery = _recovery(tmp_path, files=Telling(str(tmp_path)))
    task = asyncio.ensure_future(recovery.look("/dev/vdb", path="/srv/crash"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert device.read_bytes() == before
    assert os.listdir(tmp_path / "srv/crash") == []


async def test_what_a_killed_daemon_left_is_thrown_away(tmp_path: Path) -> None:
    _device(tmp_path)
    for name in (HALF, f"{HALF}-0123456789ab"):
        half = tmp_path / "srv/crash" / name
        half.mkdir(parents=True)
        (half / "vmcore").write_bytes(b"half of it")
    found = await _recovery(tmp_path).look("/dev/vdb", path="/srv/crash")
    assert (tmp_path / found.folder[1:] / "vmcore").read_bytes() == CORE
    assert os.listdir(tmp_path / "srv/crash") == [found.folder.rpartition("/")[2]]


async def test_what_others_laid_beside_it_is_neither_followed_nor_removed(tmp_path: Path) -> None:
    class OthersOwn(RealFiles):
        def stat(self, path: str) -> Facts:
            facts = super().stat(path)
            return replace(facts, owner=os.geteuid() + 1) if path.endswith("-theirs") else facts

    _device(tmp_path)
    elsewhere, crash = tmp_path / "etc/secrets", tmp_path / "srv/crash"
    for folder in (elsewhere, crash / f"{HALF}-theirs"):
        folder.mkdir(parents=True)
        (folder / "kept").touch()
    (crash / HALF).symlink_to(elsewhere)
    found = await _recovery(tmp_path, files=OthersOwn(str(tmp_path))).look("/dev/vdb", path="/srv/crash")
    assert found.folder
    assert (crash / HALF).is_symlink()
    assert os.listdir(elsewhere) == os.listdir(crash / f"{HALF}-theirs") == ["kept"]


@pytest.mark.parametrize("started_at", [0, -5, 10**18, 10**20])
@pytest.mark.parametrize("is_dump", [True, False])
async def test_a_time_that_is_nonsense_is_not_believed(
    tmp_path: Path,
    is_dump: bool,  # noqa: FBT001  # a column of the table
    started_at: int,
) -> None:
    said = json.dumps({"result": "saved", "vmcore_bytes": len(STREAM), "started_at": started_at}).encode()
    record = b"kdumpd-record 1 %d\n" % len(said) + said
    if is_dump:
        _device(tmp_path, record=record)
    else:
        _device(tmp_path).write_bytes(record.ljust(8192, b"\0"))
    this_year = time.localtime().tm_year
    found = await _recovery(tmp_path).look("/dev/vdb", path="/srv/crash")
    assert found.problems == ()
    assert f"{this_year}-" in found.folder or f"{this_year + 1}-" in found.folder


class _Filling(RealFiles):
    """A file system that has 2 MiB more than what is left to others, before anything is copied."""

    def free_bytes(self, path: str) -> int:
        free = RESERVE_BYTES + (2 << 20) - sum(core.stat().st_size for core in self._cores())
        assert free >= RESERVE_BYTES
        assert path.startswith("/srv/crash")
        return free

    def capacity_bytes(self, path: str) -> int:
        del path
        return 1 << 40

    def _cores(self) -> list[Path]:
        return list(Path(self.root, "srv/crash").glob(f"{HALF}*/vmcore"))


async def test_a_disk_is_not_filled_to_the_last_block(tmp_path: Path) -> None:
    core = os.urandom(8 << 20)
    stream = HEADER + struct.pack(">qq", 0, len(core)) + core + struct.pack(">qq", -1, -1)
    device = _device(tmp_path, stream=stream)
    before = device.read_bytes()
    found = await _recovery(tmp_path, files=_Filling(str(tmp_path))).look("/dev/vdb", path="/srv/crash")
    (problem,) = found.problems
    assert problem.code == "raw-not-recovered"
    assert "No space left: " in problem.message
    assert "256 MiB are kept for others" in problem.message
    assert "make room" in problem.hint
    assert device.read_bytes() == before
    assert os.listdir(tmp_path / "srv/crash") == []


class _Buggy(RealFiles):
    def open_for_us_alone(self, path: str) -> BinaryIO:
        raise LookupError(path)


async def test_a_fault_that_nobody_thought_of_is_raised_and_nothing_is_left(tmp_path: Path) -> None:
    _device(tmp_path)
    async with asyncio.timeout(30):
        with pytest.raises(LookupError):
            await _recovery(tmp_path, files=_Buggy(str(tmp_path))).look("/dev/vdb", path="/srv/crash")
    assert os.listdir(tmp_path / "srv/crash") == []


async def test_cancelled_while_the_log_is_taken_out_it_leaves_nothing_half_done(tmp_path: Path) -> None:
    begun = asyncio.Event()

    class Endless(StandIns):
        async def answer(self, asked: Asked) -> None:
            del asked
            begun.set()
            await asyncio.get_running_loop().create_future()

    device = _device(tmp_path)
    before = device.read_bytes()
    task = asyncio.ensure_future(
        Recovery(RealFiles(str(tmp_path)), Endless()).look("/dev/vdb", path="/srv/crash")
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert device.read_bytes() == before
    assert os.listdir(tmp_path / "srv/crash") == []
