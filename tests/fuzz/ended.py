"""What is to hold after a run: armed, connected, lean, no traceback, and an edit is still armed."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path

from kdumpd.service.permissions import JOB, MANAGER, ROOT
from kdumpd.service.resting import REST_SECONDS
from tests.simulate import Machine, make_machine

MIB = 1 << 20
GROWTH_AT_MOST = 10 * MIB
_LOG_ENDS = 20_000
_OUR_FAULT = re.compile(
    r"Traceback|failed unexpectedly|never retrieved|was never awaited|was destroyed", re.IGNORECASE
)
_CONF = "path /var/crash\ndisk_timeout {seconds}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """The daemon before the run."""

    resident_bytes: int


def machine_with_dumps(folder: Path) -> Path:
    root = make_machine(folder)
    for day in range(1, 6):
        dump = root / f"var/crash/127.0.0.1-2026-01-0{day}-03:04:05"
        dump.mkdir()
        (dump / "vmcore").write_bytes(b"core")
    return root


async def idle(machine: Machine) -> Idle:
    """Armed, and with what the last piece of work took given back."""
    await machine.until_armed()
    await asyncio.sleep(REST_SECONDS + 2)  # nothing tells of it
    return Idle(resident_bytes=machine.resident_bytes())


async def still_well(machine: Machine, before: Idle) -> int:
    """The bytes that it has grown by. Raises AssertionError where anything is not as it should be."""
    client = machine.client
    machine.conf.write_text(_CONF.format(seconds=17))
    for member, signature, arguments in (
        ("SetEnabled", "ba{sv}", (True, {})),
        ("Reload", "a{sv}", ({},)),
    ):
        (job,) = await client.call(ROOT, MANAGER, member, signature, *arguments)
        await client.wait_until(str(job), JOB, lambda now: now["State"] == "done", seconds=120)
    await machine.until_armed()
    machine.conf.write_text(_CONF.format(seconds=23))
    await machine.until_armed()
    assert "plan_disk_timeout=23\\n" in json.dumps(machine.armed_with["description"])
    faults = [
        line for line in machine.log.read_text(errors="replace").splitlines() if _OUR_FAULT.search(line)
    ]
    assert not faults, faults[:5]
    now = await idle(machine)
    grown = now.resident_bytes - before.resident_bytes
    assert grown < GROWTH_AT_MOST, f"{grown / MIB:.1f} MiB more than at the beginning"
    return grown
