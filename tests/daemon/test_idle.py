"""A daemon at rest: it sleeps, and is small."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kdumpd.service.finds import NAP_SECONDS
from kdumpd.service.lookout import SYSFS_POLL
from kdumpd.service.permissions import MANAGER, ROOT
from kdumpd.service.resting import REST_SECONDS
from tests.idle import Switches, memory, switches
from tests.service.private_bus import PrivateBus
from tests.simulate import Machine, simulated

MIB_AT_MOST = 40
"""Of resident memory. About 34 MiB on Python 3.11 and x86-64; what is over is for other interpreters and libraries, and
for what each platform maps beside them."""
AT_ONCE = REST_SECONDS + 2.0
"""Seconds without a wake-up, after which whatever comes later is one of the daemon's known timers."""
UNIT = Path(__file__).parents[2] / "units/kdumpd.service"


async def at_rest(machine: Machine) -> Switches:
    """Once it has not woken for a while. A timer that is shorter than that keeps this from ever coming back."""
    async with asyncio.timeout(100):
        before = switches(machine.pid)
        while True:
            await asyncio.sleep(AT_ONCE)
            now = switches(machine.pid)
            if now.since(before).voluntary == 0:
                return now
            before = now


@pytest.mark.timeout(200)
async def test_at_rest_it_sleeps_and_has_no_thread_for_each_folder(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        rest = await at_rest(machine)
        assert rest.threads <= 4  # the loop's, and those that read files
        await asyncio.sleep(
            10
        )  # several times any timer that could come to more than 30 wake-ups in ten minutes
        assert switches(machine.pid).since(rest).voluntary <= 1


async def test_it_loads_no_library_that_it_never_calls(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        maps = Path(f"/proc/{machine.pid}/maps").read_text()  # noqa: ASYNC240
        assert "pydantic_core" in maps
        assert [name for name in ("libssl", "/_hashlib") if name in maps] == []


def test_the_timers_of_ten_minutes_are_few() -> None:
    watchdog = next(line for line in UNIT.read_text().splitlines() if line.startswith("WatchdogSec="))
    pings = 600 / (float(watchdog.partition("=")[2]) / 2)
    assert 600 / SYSFS_POLL + pings + 600 / NAP_SECONDS <= 12  # each is a wake-up, and few of them are more


@pytest.mark.timeout(200)
async def test_at_rest_it_is_small_also_after_work(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        for folder in ("one", "two"):
            (machine.root / "var" / folder).mkdir()
            machine.conf.write_text(f"path /var/{folder}\n")
            await machine.until_armed()
        await machine.client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {"force": True})
        await machine.until_armed()
        await at_rest(machine)
        resident = memory(machine.pid).resident / 1024
        assert resident <= MIB_AT_MOST
