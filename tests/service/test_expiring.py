"""Dumps that go by the rules after a good one was found, and by somebody's wish; told over the bus."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from kdumpd.core.dumps import Dump
from kdumpd.host.doors import Facts
from kdumpd.service.bus import BusError, Value
from kdumpd.service.bus.standard import OBJECT_MANAGER
from kdumpd.service.interfaces import dump_path
from kdumpd.service.permissions import DUMP, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import OURS, Served, served
from tests.service.world import meanwhile

SETTINGS = "etc/kdumpd.toml"


def name_of(number: int) -> str:
    return f"127.0.0.1-{2000 + number // 336}-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}-03:04:05"


def save(s: Served, number: int, *, result: str = "saved", core: str = "vmcore") -> Path:
    folder = s.world.root / "var/crash" / name_of(number)
    folder.mkdir()
    (folder / core).write_bytes(b"core")
    summary = {"result": result, "crashed_us": (number + 1) * 1_000_000, "panic": f"panic {number}"}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def left(s: Served) -> list[str]:
    return sorted(each.name for each in (s.world.root / "var/crash").iterdir())


async def set_rules(s: Served, text: str) -> None:
    (s.world.root / SETTINGS).write_text(text)
    s.world.reconciler.poke("kdumpd.toml changed", urgent=True)
    await s.world.until(lambda _now: s.world.reconciler.sight.retention.are_set)


async def look(s: Served) -> None:
    await s.finds.look(s.world.reconciler.sight)


async def test_a_look_at_the_dumps_is_nobody_who_reads_them(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        oldest, _ = (save(s, number) for number in range(2))
        await look(s)
        await set_rules(s, "keep_count = 1\n")
        async with s.finds.while_none_looks():
            with (oldest / "summary.json").open():
                pruning = asyncio.create_task(s.expiring.prune(is_trial=True))
                ended, _ = await asyncio.wait({pruning}, timeout=0.2)
                assert not ended
        assert [outcome.removal.dump.id for outcome in await pruning] == [oldest.name]


async def test_rules_let_dumps_go_after_a_good_one_was_found_and_not_before(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        tell = s.finds.on_change

        def found(new: tuple[Dump, ...]) -> None:
            tell(new)
            s.expiring.follow(new)

        s.finds.on_change = found
        for number in range(3):
            save(s, number)
        await look(s)
        await set_rules(s, "keep_count = 2\n")
        async with meanwhile(s.expiring.run()):
            async with s.client.signals(OBJECT_MANAGER, "InterfacesRemoved", path=ROOT) as removed:
                save(s, 3, result="failed", core="vmcore-incomplete")
                await look(s)
                # Waits for what would be under way.
                (told,) = await s.client.call(ROOT, MANAGER, "PruneDumps", "a{sv}", {"dry-run": True})
                rows = cast("Sequence[Mapping[str, Value]]", told)
                assert [row["id"] for row in rows] == [name_of(0), name_of(1)]
                assert len(left(s)) == 4, "what was not captured makes nothing needless"
                save(s, 4)
                await look(s)
                gone = [(await anext(removed)).body[0] for _ in range(3)]
            assert gone == [dump_path(name_of(number)) for number in (0, 1, 2)]
            assert left(s) == [name_of(3), name_of(4)]


async def test_a_new_dump_of_a_machine_without_a_clock_is_not_let_go_by_its_own_discovery(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        for number in (1, 2):
            crashed_us = s.world.clock.now_us() - 10_000_000 + number
            summary = {"result": "saved", "crashed_us": crashed_us}
            (save(s, number) / "summary.json").write_text(json.dumps(summary))
        await look(s)
        await set_rules(s, "keep_count = 1\n")
        s.finds.on_change = s.expiring.follow
        fresh = save(s, 7)  # seconds after 1970 began
        await look(s)
        await s.client.call(ROOT, MANAGER, "PruneDumps", "a{sv}", {})
        assert fresh.name in left(s)
        assert len(left(s)) == 2


async def test_what_cannot_be_looked_at_is_told_once(
    tmp_path: Path, bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, bus) as s:
        folder = save(s, 0)
        stat = s.world.files.stat

        def unseen(path: str) -> Facts:
            if path.endswith(folder.name):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return stat(path)

        s.world.files.stat = unseen  # type: ignore[method-assign]
        for _ in range(3):
            await look(s)
        assert len([line for line in caplog.messages if "cannot be searched for dumps" in line]) == 1


async def test_a_trial_says_what_would_go_and_why(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        for number in range(3):
            save(s, number)
        await look(s)
        (none,) = await s.client.call(ROOT, MANAGER, "PruneDumps", "a{sv}", {})
        assert none == (), "without a rule nothing goes"
        await set_rules(s, "keep_count = 1\n")
        with (s.world.root / "var/crash" / name_of(1) / "vmcore").open():
            (told,) = await s.client.call(ROOT, MANAGER, "PruneDumps", "a{sv}", {"dry-run": True})
            assert [(row["id"], row["rule"], row["why"], row["error"]) for row in told] == [  # type: ignore[union-attr, index, call-overload]
                (name_of(0), "keep_count", "there are 3 dumps, and 1 are to be kept", "")
            ]
            assert len(left(s)) == 3
            await s.client.call(ROOT, MANAGER, "PruneDumps", "a{sv}", {})
        assert left(s) == [name_of(1), name_of(2)], "one is being read, the other is the newest"


async def test_a_dump_is_deleted_when_somebody_asks(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        for number in range(2):
            save(s, number)
        await look(s)
        newest = dump_path(name_of(1))
        assert await s.client.get(ROOT, MANAGER, "LastDump") == newest
        with (s.world.root / "var/crash" / name_of(1) / "vmcore").open():
            with pytest.raises(BusError) as refusal:
                await s.client.call(newest, DUMP, "Delete", "a{sv}", {})
            assert refusal.value.name == f"{OURS}Busy"
        async with s.client.signals(OBJECT_MANAGER, "InterfacesRemoved", path=ROOT) as removed:
            await s.client.call(newest, DUMP, "Delete", "a{sv}", {})
            assert (await anext(removed)).body[0] == newest
        assert left(s) == [name_of(0)]
        assert await s.client.get(ROOT, MANAGER, "LastDump") == dump_path(name_of(0))
        with pytest.raises(BusError):
            await s.client.call(newest, DUMP, "Delete", "a{sv}", {})


async def test_a_record_is_no_directory_to_delete(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        failures = s.world.root / "var/lib/kdumpd/failures"
        failures.mkdir(parents=True)
        (failures / "2025-01-01-10:00:00.json").write_text('{"result": "failed"}')
        await look(s)
        with pytest.raises(BusError, match="not a directory that this machine can reach"):
            await s.client.call(dump_path("failure-2025-01-01-10:00:00"), DUMP, "Delete", "a{sv}", {})
        assert len(list(failures.iterdir())) == 1


async def test_what_the_firmware_kept_of_a_crash_is_told_with_its_dump(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        folder = save(s, 0)
        log = "[    1.0] Kernel panic - not syncing: panic 0\n[    1.1] Call Trace:\n[    1.2]  f+0x1/0x2\n"
        (folder / "vmcore-dmesg.txt").write_text(log)
        kept = s.world.root / "sys/fs/pstore/dmesg-efi-1"
        kept.parent.mkdir(parents=True)
        kept.write_text(log)
        os.utime(kept, (3600, 3600))
        await look(s)
        told = await s.client.get_all(dump_path(folder.name), DUMP)
        assert told["PstoreFiles"] == ("/sys/fs/pstore/dmesg-efi-1",)
        assert told["CallTrace"] == "f+0x1/0x2"
