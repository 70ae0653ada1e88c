"""What the daemon hears of by itself, and that it misses just that where the watcher of it is taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kdumpd.service.permissions import MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.simulate import PATIENCE, Machine, State, make_machine, simulated

DEAF_SECONDS = 2.0
"""Several times what settling takes: that nothing is heard can only be seen by waiting."""


async def sees(machine: Machine, what: Callable[[State], bool], *, is_heard: bool) -> bool:
    """By itself, long before its next poll."""
    try:
        async with asyncio.timeout(PATIENCE if is_heard else DEAF_SECONDS):
            await machine.client.wait_until(ROOT, MANAGER, what)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("deaf_to", [(), ("mounts", "clock", "sleep"), ("kexec",)])
async def test_an_unload_by_somebody_else_is_answered(
    tmp_path: Path, bus: PrivateBus, deaf_to: Sequence[str]
) -> None:
    is_heard = "kexec" not in deaf_to
    root = make_machine(tmp_path)
    kexec = root / "usr/sbin/kexec"
    kexec.parent.mkdir(parents=True, exist_ok=True)
    kexec.touch()
    async with simulated(tmp_path, bus, root=root, deaf_to=deaf_to) as machine:
        loaded = (await machine.until_armed())["LastSuccess"]
        machine.loaded_file.write_text("0\n")
        kexec.read_bytes()  # as when it has been run: opened, and closed at its end
        answered = await sees(machine, lambda now: now["LastSuccess"] != loaded, is_heard=is_heard)
        assert answered == is_heard
        assert machine.loaded_file.read_text() == ("1\n" if is_heard else "0\n")


@pytest.mark.parametrize("deaf_to", [(), ("/etc/kdump.conf",)])
async def test_an_edit_is_heard(tmp_path: Path, bus: PrivateBus, deaf_to: Sequence[str]) -> None:
    async with simulated(tmp_path, bus, deaf_to=deaf_to) as machine:
        await machine.until_armed()
        machine.conf.write_text("foo bar\n")
        is_heard = not deaf_to
        assert await sees(machine, lambda now: now["State"] == "stale", is_heard=is_heard) == is_heard
