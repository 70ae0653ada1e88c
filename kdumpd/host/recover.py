"""Recovers what a capture left on a raw device: the dump into a directory of its own, then the device's first block."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import threading
import time
from dataclasses import dataclass

from kdumpd.core.dumps import FAILURES
from kdumpd.core.flattened import CHUNK_BYTES, HEADER_BYTES, lay_out
from kdumpd.core.inventory import Kind
from kdumpd.core.problems import Problem, Severity, Trouble
from kdumpd.core.rawdump import RECORD_AT_MOST, FirstBlock, behind, first_block, log_in, record_in
from kdumpd.core.summary import Summary, read_summary
from kdumpd.host.doors import Files, ProgramFailed, Programs
from kdumpd.host.finishing import finish_writing
from kdumpd.host.gentle import in_own_thread

logger = logging.getLogger(__name__)

HALF = ".recovering-from-raw"
"""How the name of a folder below `path` begins until all of it is there: one left by a daemon that was killed is
thrown away."""
RESERVE_BYTES = 256 << 20
RESERVE_PART = 20  # of the file system, where that is less: what is left to others, who fail on a full disk
STOP_SECONDS = 10.0  # for the thread to see that it is to stop; on a dead disk it never does
LATEST_SECOND = (
    1 << 33
)  # since epoch, in 2242: what is later was never a time, and localtime(3) refuses much of it
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
        half = f"{path}/{HALF}-{secrets.token_hex(6)}"
        stream_bytes, summary = await self._restored(node, half, path, stop)
        try:
            problems = await self._kernel_log(half)
            folder = await finish_writing(lambda: self._publish(half, path, summary))
        except BaseException:
            await finish_writing(lambda: self._discard(half))
            raise
        await asyncio.to_thread(self._clear, node, behind(stream_bytes) if summary else 0)
        return Recovered(folder=folder, problems=problems)

    def _head(self, node: str) -> bytes:
        return self._files.read_bytes(node, limit=HEADER_BYTES)

    async def _restored(
        self, node: str, half: str, path: str, stop: threading.Event
    ) -> tuple[int, Summary | None]:
        work = in_own_thread(lambda: self._restore(node, half, path, stop))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({work}, timeout=STOP_SECONDS)
            if work.cancel():
                logger.warning("%s does not answer: %s is removed at the next start", node, half)
            else:
                await finish_writing(lambda: self._discard(half))
            raise

    def _restore(self, node: str, half: str, path: str, stop: threading.Event) -> tuple[int, Summary | None]:
        self._files.make_folder(path)
        self._sweep(path)
        reserve = min(RESERVE_BYTES, self._files.capacity_bytes(path) // RESERVE_PART)
        self._require_room(path, reserve)
        self._files.make_new_folder(half)
        try:
            return self._copied(node, half, reserve, stop)
        except BaseException:
            self._discard(half)
            raise

    def _copied(
        self, node: str, half: str, reserve: int, stop: threading.Event
    ) -> tuple[int, Summary | None]:
        def may_go_on() -> None:
            if stop.is_set():
                raise OSError("it was cancelled")
            self._require_room(half, reserve)

        with self._files.open_for_us_alone(node) as device, self._files.create(f"{half}/vmcore") as core:
            reader = lay_out(device, core, before_each=may_go_on)
            core.flush()
            os.fsync(core.fileno())
            device.seek(behind(reader.stream_bytes))
            record = device.read(RECORD_AT_MOST)
        said, log = record_in(record), log_in(record)
        summary = _summary(said, of_bytes=reader.stream_bytes)
        if summary is not None:
            self._files.write(f"{half}/summary.json", said)
            if log:
                self._files.write(f"{half}/kexec-dmesg.log", log)
        return reader.stream_bytes, summary

    def _require_room(self, folder: str, reserve: int) -> None:
        free = self._files.free_bytes(folder)
        if free < reserve + CHUNK_BYTES:
            told = (
                f"No space left: {free >> 20} MiB are free there, and {reserve >> 20} MiB are kept for others"
            )
            raise OSError(errno.ENOSPC, told)

    def _sweep(self, path: str) -> None:
        """Only real folders of our own: where others may write, they may have laid a link."""
        for name in self._files.names(path):
            half = f"{path}/{name}"
            if name.startswith(HALF) and not self._files.link(half):
                facts = self._files.stat(half)
                if facts.kind is Kind.DIRECTORY and facts.owner == os.geteuid():
                    self._discard(half)

    def _discard(self, half: str) -> None:
        try:
            self._files.remove(half)
        except OSError as fault:
            logger.warning("%s stays: %s", half, fault.strerror)

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
        name = f"127.0.0.1-{_time_of(summary)}"
        folder, number = f"{path}/{name}", 1
        while self._files.exists(folder) or self._files.link(folder):
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
        file = f"{FAILURES}/{_time_of(summary)}.json"
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


def _summary(said: bytes, *, of_bytes: int | None = None) -> Summary | None:
    """None for none, and for one of another dump that stood there before."""
    try:
        summary = read_summary(said) if said else None
    except Trouble:
        return None
    return summary if summary is None or of_bytes in {None, summary.vmcore_bytes} else None


def _time_of(summary: Summary | None) -> str:
    """When the agent began; now where nobody says so, or says nonsense: anything may stand on a device."""
    started_at = summary.started_at if summary is not None else 0
    when = started_at if 0 < started_at < LATEST_SECOND else time.time()
    return time.strftime("%Y-%m-%d-%H:%M:%S", time.localtime(when))


def _hint(fault: OSError) -> str:
    return "the device stays as it is; make room and restart kdumpd" if fault.errno else ""
