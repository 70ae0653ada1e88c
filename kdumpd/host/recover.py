"""Recovers what a capture left on a raw device: the dump into a directory of its own, then the device's first block."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from kdumpd.core.dumps import FAILURES
from kdumpd.core.flattened import HEADER_BYTES, Reader
from kdumpd.core.problems import Problem, Severity, Trouble
from kdumpd.core.rawdump import RECORD_AT_MOST, FirstBlock, behind, first_block, record_in
from kdumpd.core.summary import Summary, read_summary
from kdumpd.host.doors import Files, ProgramFailed, Programs

logger = logging.getLogger(__name__)

HALF = ".recovering-from-raw"
"""Below `path`, until all of it is there: one left by a daemon that was killed is thrown away."""
CHUNK_BYTES = 1 << 20
LOG_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """`folder` is the new dump's directory, or the record of a failure; "" where the device held neither."""

    folder: str = ""
    problems: tuple[Problem, ...] = ()


class Recovery:
    """One device at a time, in a thread of low priority."""

    def __init__(self, files: Files, programs: Programs) -> None:
        self._files = files
        self._programs = programs

    async def look(self, node: str, *, path: str) -> Recovered:
        """Recover what is on the device `node` into a new directory below `path`, and clear the device's first block.

        The device is touched only when all that was on it is on the disk; whatever fails, and a cancellation, leaves
        it as it was. Raises nothing but CancelledError: what went wrong is in the answer.
        """
        stop = threading.Event()
        try:
            head = await asyncio.to_thread(self._head, node)
            match first_block(head):
                case FirstBlock.DUMP:
                    logger.info("a dump is on %s and is recovered into %s", node, path)
                    return await self._dump(node, path, stop)
                case FirstBlock.RECORD:
                    return await asyncio.to_thread(self._record, node, head)
                case FirstBlock.NOTHING:
                    return Recovered()
        except Trouble as trouble:
            return Recovered(problems=trouble.problems)
        except OSError as fault:
            told = f"what is on {node} cannot be recovered into {path}: {fault.strerror or fault}"
            return Recovered(problems=(Problem(code="raw-not-recovered", message=told, hint=_hint(fault)),))
        finally:
            stop.set()

    async def _dump(self, node: str, path: str, stop: threading.Event) -> Recovered:
        half = f"{path}/{HALF}"
        work = asyncio.ensure_future(_in_own_thread(lambda: self._restore(node, half, stop)))
        try:
            stream_bytes, summary = await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({work})
            await asyncio.to_thread(self._files.remove, half)
            raise
        except (OSError, Trouble):
            await asyncio.to_thread(self._files.remove, half)
            raise
        problems = await self._kernel_log(half)
        try:
            folder = await asyncio.to_thread(self._publish, half, path, summary)
        except OSError:
            await asyncio.to_thread(self._files.remove, half)
            raise
        await asyncio.to_thread(self._clear, node, behind(stream_bytes) if summary else 0)
        return Recovered(folder=folder, problems=problems)

    def _head(self, node: str) -> bytes:
        return self._files.read_bytes(node, limit=HEADER_BYTES)

    def _restore(self, node: str, half: str, stop: threading.Event) -> tuple[int, Summary | None]:
        self._files.remove(half)
        self._files.make_folder(half)
        reader = Reader()
        with self._files.open_for_us_alone(node) as device, self._files.create(f"{half}/vmcore") as core:
            while not reader.is_whole and (chunk := device.read(CHUNK_BYTES)):
                if stop.is_set():
                    raise OSError("it was cancelled")
                for piece in reader.feed(chunk):
                    core.seek(piece.offset)
                    core.write(piece.data)
            reader.finish()
            core.truncate(reader.size_bytes)
            core.flush()
            os.fsync(core.fileno())
            said = _said_behind(device, reader.stream_bytes)
        summary = _summary(said, of_bytes=reader.stream_bytes)
        if summary is not None:
            self._files.write(f"{half}/summary.json", said)
        return reader.stream_bytes, summary

    async def _kernel_log(self, half: str) -> tuple[Problem, ...]:
        core, log = (self._files.outside(f"{half}/{name}") for name in ("vmcore", "vmcore-dmesg.txt"))
        try:
            await self._programs.run(
                ("makedumpfile", "--dump-dmesg", core, log), timeout=LOG_SECONDS, gentle=True
            )
            await asyncio.to_thread(self._files.sync, f"{half}/vmcore-dmesg.txt")
        except (ProgramFailed, OSError) as fault:
            why = fault.reason if isinstance(fault, ProgramFailed) else str(fault)
            told = f"the kernel's log could not be taken out of the recovered dump: {why}"
            return (Problem(code="no-kernel-log", message=told, severity=Severity.WARNING),)
        return ()

    def _publish(self, half: str, path: str, summary: Summary | None) -> str:
        when = summary.started_at if summary is not None and summary.started_at else time.time()
        name = f"127.0.0.1-{time.strftime('%Y-%m-%d-%H:%M:%S', time.localtime(when))}"
        folder, number = f"{path}/{name}", 1
        while self._files.exists(folder):
            number += 1
            folder = f"{path}/{name}.{number}"
        self._files.sync(half)
        self._files.rename(half, folder)
        return folder

    def _record(self, node: str, head: bytes) -> Recovered:
        said = (
            record_in(head)
            or b'{"result": "failed", "reason": "the capture kernel ended while it was saving"}'
        )
        summary = _summary(said) or Summary.model_validate({"result": "failed"})
        when = time.localtime(summary.started_at or time.time())
        file = f"{FAILURES}/{time.strftime('%Y-%m-%d-%H:%M:%S', when)}.json"
        self._files.make_folder(FAILURES)
        self._files.write(file, said)
        self._clear(node, 0)
        return Recovered(folder=file)

    def _clear(self, node: str, trailer: int) -> None:
        with self._files.open_for_us_alone(node) as device:
            for at in {trailer, 0}:
                device.seek(at)
                device.write(bytes(HEADER_BYTES))
            device.flush()
            os.fsync(device.fileno())


def _said_behind(device: BinaryIO, stream_bytes: int) -> bytes:
    device.seek(behind(stream_bytes))
    return record_in(device.read(RECORD_AT_MOST))


def _summary(said: bytes, *, of_bytes: int | None = None) -> Summary | None:
    """None for none, and for one of another dump that stood there before."""
    try:
        summary = read_summary(said) if said else None
    except Trouble:
        return None
    return summary if summary is None or of_bytes in {None, summary.vmcore_bytes} else None


async def _in_own_thread(
    work: Callable[[], tuple[int, Summary | None]],
) -> tuple[int, Summary | None]:
    """Not in the usual pool, whose threads have to stay free and keep their priority."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[int, Summary | None]] = loop.create_future()

    def run() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread alone, on Linux
        try:
            found = work()
        except (OSError, Trouble) as fault:
            loop.call_soon_threadsafe(done.set_exception, fault)
        else:
            loop.call_soon_threadsafe(done.set_result, found)

    thread = threading.Thread(target=run, name="recovery", daemon=True)
    thread.start()
    return await done


def _hint(fault: OSError) -> str:
    return "the device stays as it is; make room and restart kdumpd" if fault.errno else ""
