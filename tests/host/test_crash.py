"""What stays in the kernel's log of a test crash that did not come: that there was none."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from kdumpd.core.crash_test import IN_THE_LOG, TAKEN_BACK
from kdumpd.host.crash import KERNEL_LOG, TRIGGER, Crash
from kdumpd.host.real import RealFiles
from tests.host.scripted import ScriptedPrograms

PATIENCE = 30.0


class SlowKernel(RealFiles):
    """Whose files keep what was written into them in its order, and one of them is slow to take it."""

    def __init__(self, root: str, *, slow: str) -> None:
        super().__init__(root)
        self.poked: list[str] = []
        self.reached = asyncio.Event()
        self.gate = threading.Event()
        self._slow = slow
        self._loop = asyncio.get_running_loop()

    def poke(self, path: str, text: str) -> None:
        if path == self._slow and not self.gate.is_set():
            self._loop.call_soon_threadsafe(self.reached.set)
            assert self.gate.wait(PATIENCE)
        self.poked.append(text)


@pytest.mark.parametrize("slow", [KERNEL_LOG, TRIGGER])
async def test_ended_in_the_middle_it_says_last_that_there_is_no_test_crash(
    tmp_path: Path, slow: str
) -> None:
    files = SlowKernel(str(tmp_path), slow=slow)
    crashing = asyncio.create_task(Crash(files, ScriptedPrograms()).happen("00ff"))
    async with asyncio.timeout(PATIENCE):
        await files.reached.wait()
    crashing.cancel()
    files.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await crashing
    order = ["c"] if slow == TRIGGER else []
    assert files.poked == [f"<2>{IN_THE_LOG}00ff\n", *order, f"<2>{TAKEN_BACK}\n"]
