"""Crashes this machine, and keeps what the next boot has to know of it."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from kdumpd.core.crash_test import IN_THE_LOG, SYNC_SECONDS, TAKEN_BACK, Record
from kdumpd.core.problems import Problem, Trouble
from kdumpd.host.doors import Files, ProgramFailed, Programs
from kdumpd.host.finishing import finish_writing

logger = logging.getLogger(__name__)

TRIGGER = "/proc/sysrq-trigger"
"""Root's write is obeyed whatever kernel.sysrq allows to the keyboard (Documentation/admin-guide/sysrq.rst)."""
KERNEL_LOG = "/dev/kmsg"
CRITICAL = "<2>"
"""Who watches the console sees it as well, whatever `quiet` leaves out."""
LARGEST_BYTES = 1 << 20  # nothing of ours is ever so large


class Crash:
    """The crash itself."""

    def __init__(self, files: Files, programs: Programs) -> None:
        self._files = files
        self._programs = programs

    async def sync(self) -> None:
        """What is written goes to its disks, as far as they take it in SYNC_SECONDS. Raises nothing."""
        try:
            await self._programs.run(("sync",), timeout=SYNC_SECONDS)
        except ProgramFailed as fault:
            logger.warning("not everything is on its disk: sync %s", fault.reason)

    async def happen(self, identity: str) -> None:
        """Does not return where the machine crashes. Raises Trouble where it did not."""
        try:
            await finish_writing(lambda: self._say(f"{IN_THE_LOG}{identity}"))
            why = await self._order()
        finally:  # whoever comes here has not crashed, and who ends us does not wait for a thread
            self._say(TAKEN_BACK)
        raise Trouble(Problem(code="not-crashed", message=f"the machine did not crash: {why}"))

    async def _order(self) -> str:
        """Why it did not come to a crash."""
        try:
            await finish_writing(lambda: self._files.poke(TRIGGER, "c"))
        except FileNotFoundError:
            return f"there is no {TRIGGER}: the kernel has no CONFIG_MAGIC_SYSRQ"
        except OSError as fault:
            return f"{TRIGGER} cannot be written: {fault.strerror or fault}"
        return "the kernel took the order and did nothing"

    def _say(self, line: str) -> None:
        try:
            self._files.poke(KERNEL_LOG, f"{CRITICAL}{line}\n")
        except OSError as fault:
            logger.warning("%s cannot be written: %s", KERNEL_LOG, fault.strerror or fault)


class CrashTestFile:
    """All of it touches the disk: call it in a thread."""

    def __init__(self, files: Files, *, path: str) -> None:
        self._files = files
        self._path = path

    def read(self) -> Record:
        """An empty one where there is none, or none that can be read, which is said."""
        try:
            return Record.model_validate_json(self._files.read_bytes(self._path, limit=LARGEST_BYTES))
        except FileNotFoundError:
            return Record()
        except (OSError, ValidationError) as fault:
            logger.warning("%s cannot be read: what a test crash came to is not known: %s", self._path, fault)
            return Record()

    def write(self, record: Record) -> None:
        """On the disk when this returns. Raises OSError."""
        self._files.make_folder(self._path.rpartition("/")[0])
        self._files.write(self._path, record.model_dump_json().encode())
