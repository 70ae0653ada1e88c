"""Recovering what a capture left on a raw device: all of it is on the disk before the device is touched."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import struct
from pathlib import Path
from typing import BinaryIO

import pytest

from kdumpd.host.doors import Files
from kdumpd.host.real import RealFiles
from kdumpd.host.recover import HALF, Recovery
from tests.host.scripted import MISSING, Answer, ScriptedPrograms

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


def _recovery(root: Path, answer: Answer | None = None, *, files: Files | None = None) -> Recovery:
    programs = ScriptedPrograms()
    half = root / "srv/crash" / HALF
    log = half / "vmcore-dmesg.txt"
    programs.expect(
        *("makedumpfile", "--dump-dmesg", str(half / "vmcore"), str(log)),
        answer=answer or Answer(first=lambda: log.write_text("[ 1.0] BUG: it\n")),
    )
    return Recovery(files or RealFiles(str(root)), programs)


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
    found = await _recovery(tmp_path, MISSING).look("/dev/vdb", path="/srv/crash")
    assert [(problem.code, problem.is_error) for problem in found.problems] == [("no-kernel-log", False)]
    assert (tmp_path / found.folder[1:] / "vmcore").exists()


class _Full(RealFiles):
    """A disk that takes the folder and nothing else."""

    def sync(self, path: str) -> None:
        if path.endswith(HALF):
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
    half = tmp_path / "srv/crash" / HALF
    half.mkdir(parents=True)
    (half / "vmcore").write_bytes(b"half of it")
    found = await _recovery(tmp_path).look("/dev/vdb", path="/srv/crash")
    assert (tmp_path / found.folder[1:] / "vmcore").read_bytes() == CORE
