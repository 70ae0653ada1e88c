"""Loading the crash kernel, and the record of what is loaded.

The record must never claim what is not loaded, though we may be killed between any two steps. So an intent is
written before the call and removed after the record:

    write loading -> kexec -p -> write armed -> remove loading

Killed before the end, `loading` is left: what is loaded is ours, but whether the old or the new image nobody can
tell, so it is loaded again. Whoever is merely cancelled (the daemon is stopped) lets the call come to its end: the
kernel has freed the old image by then, and a kexec that is ended while the kernel reads the new one leaves nothing. A load that fails leaves either the image of before (then its record is still true) or
nothing (then the record is removed); the kernel says which. Both files belong to one boot: another boot id makes them
void.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable

from pydantic import ValidationError

from kdumpd.core.armed import Armed
from kdumpd.core.loading import LoadOrder, is_busy, load_fault, unload_argv
from kdumpd.core.machine import CrashKernel
from kdumpd.core.problems import Problem, Trouble
from kdumpd.host.crash_kernel import crash_kernel
from kdumpd.host.doors import Files, ProgramFailed, Programs, text
from kdumpd.host.finishing import to_the_end

logger = logging.getLogger(__name__)

RUN = "/run/kdumpd"
ARMED = f"{RUN}/armed"
LOADING = f"{RUN}/loading"
KEXEC_SECONDS = 120.0  # two seconds on an emulated machine; a bound for one that is almost dead
BACK_OFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)  # while the kernel is busy with somebody else's load


class Kexec:
    """The only one that loads and unloads; one call at a time is the caller's care."""

    def __init__(
        self,
        files: Files,
        programs: Programs,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._files = files
        self._programs = programs
        self._sleep = sleep
        self._parsed: dict[str, tuple[bytes, Armed]] = {}  # by path, with the digest of the text

    async def load(self, wanted: Armed, *, on_line: Callable[[str], None] | None = None) -> Armed:
        """Load what `wanted` says in one call, with no unload before it; returns the record, of this boot and now.

        Raises Trouble: `kexec-missing`, `load-disabled`, `load-limit`, `no-reserved-memory`, `kexec-busy`,
        `kexec-signature`, `lockdown`, `not-permitted`, `reservation-hidden`, `image-too-big`, `kexec-image`,
        `kexec-failed`, `run-unwritable`.
        """
        return await to_the_end(self._load(wanted, on_line), doing="load")

    async def _load(self, wanted: Armed, on_line: Callable[[str], None] | None) -> Armed:
        order = LoadOrder.of(wanted)
        paths = (order.kernel_image, order.initramfs)
        argv = order.argv({path: self._files.outside(path) for path in paths})
        record = wanted.model_copy(update={"boot_id": self._boot_id(), "loaded_us": time.time_ns() // 1000})
        was_in_doubt = self.intent() is not None
        self._write(LOADING, record)
        try:
            await self._call(argv, order=order, on_line=on_line)
        except Trouble:
            if not self.crash_kernel().loaded:
                self.forget()
            elif not was_in_doubt:
                self._files.remove(LOADING)
            raise
        record = record.model_copy(update={"loaded_us": time.time_ns() // 1000})
        self._write(ARMED, record)
        self._files.remove(LOADING)
        return record

    async def restore(self, last_good: Armed, *, on_line: Callable[[str], None] | None = None) -> Armed:
        """Load the last good image again, when nothing is loaded and today's is not to be had."""
        return await self.load(last_good, on_line=on_line)

    async def unload(self, *, on_line: Callable[[str], None] | None = None) -> None:
        """Raises Trouble as `load` does. Nothing happens where nothing is loaded."""
        before = self.armed() or self.intent()
        if self.crash_kernel().loaded:
            flags = before.kexec_flags if before is not None else ()
            await to_the_end(self._call(unload_argv(flags), order=None, on_line=on_line), doing="load")
        self._files.remove(ARMED)
        self._files.remove(LOADING)

    def armed(self) -> Armed | None:
        """The record of this boot. What it claims holds only while the kernel says that an image is loaded."""
        return self._read(ARMED)

    def intent(self) -> Armed | None:
        """A load that was begun and whose end was never written down."""
        return self._read(LOADING)

    def forget(self) -> None:
        """Remove the records where the kernel says that nothing is loaded: whatever comes next is not ours."""
        if not self.crash_kernel().loaded:
            self._files.remove(ARMED)
            self._files.remove(LOADING)

    def disown(self) -> None:
        """Remove the records: somebody else has loaded something since, so whatever is loaded now is not ours."""
        self._files.remove(ARMED)
        self._files.remove(LOADING)

    def crash_kernel(self) -> CrashKernel:
        return crash_kernel(self._files)

    async def _call(
        self, argv: tuple[str, ...], *, order: LoadOrder | None, on_line: Callable[[str], None] | None
    ) -> None:
        waits = iter(BACK_OFF_SECONDS)
        while True:
            try:
                await self._programs.run(argv, timeout=KEXEC_SECONDS, on_line=on_line)
            except ProgramFailed as fault:
                said = fault.output.stderr.decode("utf-8", "replace")
                wait = next(waits, None) if is_busy(said) else None
                if wait is None:
                    raise Trouble(
                        load_fault(
                            status=fault.output.status,
                            reason=fault.reason,
                            said=said,
                            crash=self.crash_kernel(),
                            order=order,
                        )
                    ) from fault
                logger.info("the kernel is busy with another kexec call; trying again in %g s", wait)
                await self._sleep(wait)
            else:
                break
        if self.crash_kernel().loaded != (order is not None):
            says = "nothing is loaded" if order is not None else "an image is still loaded"
            raise Trouble(
                Problem(
                    code="kexec-failed",
                    message=f"kexec said that it succeeded, but the kernel says that {says}",
                )
            )

    def _write(self, path: str, record: Armed) -> None:
        try:
            self._files.make_folder(RUN, mode=0o755)
            self._files.write(path, record.model_dump_json(indent=1).encode())
        except OSError as fault:
            raise Trouble(
                Problem(code="run-unwritable", message=f"{RUN} cannot be written: {fault.strerror}")
            ) from fault

    def _read(self, path: str) -> Armed | None:
        try:
            text = self._files.read_bytes(path)
            digest = hashlib.blake2b(text).digest()
            if self._parsed.get(path, (b"", None))[0] != digest:
                self._parsed[path] = digest, Armed.model_validate_json(text)
            found = self._parsed[path][1]
        except (OSError, ValidationError, ValueError):
            return None
        return found if found.boot_id == self._boot_id() else None

    def _boot_id(self) -> str:
        return text(self._files, "/proc/sys/kernel/random/boot_id")
