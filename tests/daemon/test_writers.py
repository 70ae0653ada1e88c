"""Many who change kdump.conf at once: each edit is in the file or was told to be a conflict, and a failure changes nothing."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from kdumpd.service.bus import BusError, Client, ErrorName, Value
from kdumpd.service.permissions import BUS_NAME, CONFIG, JOB, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.simulate import Machine, simulated

WRITERS = 20
TRIES = 500
LABEL = b"system_u:object_r:kdump_etc_t:s0\0"

pytestmark = pytest.mark.timeout(180)


async def change(client: Client, member: str, what: Value, etag: str, **options: Value) -> str:
    """The job that makes it effective, `/` where none does; empty for a conflict."""
    signature = "ssa{sv}" if member == "SetText" else "a{sv}sa{sv}"
    try:
        _etag, job = await client.call(ROOT, CONFIG, member, signature, what, etag, dict(options))
    except BusError as fault:
        if fault.name != ErrorName.CONFLICT:
            raise
        return ""
    return str(job)


async def test_twenty_writers_lose_no_edit_in_silence(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.conf.read_text()

        async def write(number: int) -> int:
            """Until it is told that its line is in the file; how often it was told of a conflict instead."""
            async with bus.client(BUS_NAME) as client:
                for conflicts in range(TRIES):
                    text, etag = await client.call(ROOT, CONFIG, "GetText", "a{sv}", {})
                    line = f"# try {conflicts} of writer {number}\n"
                    if await change(client, "SetText", str(text) + line, str(etag), rebuild=number % 2 == 0):
                        return conflicts
            raise AssertionError(f"writer {number} never came to write")

        conflicts = await asyncio.gather(*map(write, range(WRITERS)))
        text = machine.conf.read_text()
        assert text.startswith(before)
        written = text.removeprefix(before).splitlines()
        assert sorted(written) == sorted(f"# try {tried} of writer {n}" for n, tried in enumerate(conflicts))
        assert sum(conflicts) > 0
        await machine.until_armed()


async def test_twenty_changes_that_fail_leave_the_file_as_it_was(tmp_path: Path, bus: PrivateBus) -> None:
    """Each stands on the one before, or on what was put back already."""
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = _dressed(machine)

        async def write(number: int) -> None:
            async with bus.client(BUS_NAME) as client:
                for tried in range(TRIES):
                    _settings, etag = await client.call(ROOT, CONFIG, "Get", "a{sv}", {})
                    wrong = {"ext4": f"LABEL=nowhere-{number}-{tried}"}
                    if await change(client, "Set", wrong, str(etag)):
                        return
            raise AssertionError(f"writer {number} never came to write")

        await asyncio.gather(*map(write, range(WRITERS)))
        await machine.until(
            lambda now: (
                (now["State"], now["Activity"], now["QueuedJobs"], now["ActiveJob"])
                == ("armed", "idle", 0, "/")
            )
        )
        assert _clothes(machine) == before
        await machine.until_armed()
        assert not [path for path in machine.conf.parent.iterdir() if path.name.endswith(".tmp")]
        (entries,) = await machine.client.call(ROOT, MANAGER, "GetHistory", "ua{sv}", 0, {})
        assert isinstance(entries, tuple)
        results = Counter(
            each["result"] for each in entries if isinstance(each, Mapping) and each["uid"] == 0
        )
        assert results["failed"] > 0


async def result(client: Client, job: str) -> Value:
    return (await client.wait_until(job, JOB, lambda now: now["State"] == "done"))["Result"]


async def test_a_change_that_is_armed_keeps_owner_mode_and_label(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = _dressed(machine)
        _settings, etag = await machine.client.call(ROOT, CONFIG, "Get", "a{sv}", {})
        job = await change(machine.client, "Set", {"disk_timeout": "77"}, str(etag))
        assert await result(machine.client, job) == "done"
        after = _clothes(machine)
        assert after[1:] == before[1:]
        assert after[0] == before[0] + b"disk_timeout 77\n"


Clothes = tuple[bytes, int, int, int, bytes]


def _dressed(machine: Machine) -> Clothes:
    """kdump.conf with an owner, a mode and a label that no new file has by itself."""
    if os.getuid() == 0:
        os.chown(machine.conf, 1234, 5678)
        os.setxattr(machine.conf, "security.selinux", LABEL)
    machine.conf.chmod(0o640)
    return _clothes(machine)


def _clothes(machine: Machine) -> Clothes:
    found = machine.conf.stat()
    label = os.getxattr(machine.conf, "security.selinux") if os.getuid() == 0 else b""
    return machine.conf.read_bytes(), found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), label
