"""The SHA-256 of a new dump is noted beside it, is told, and can be given up for the dump's removal."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from kdumpd.core.dumps import Dump
from kdumpd.host.folders import Folder
from kdumpd.service.bus.standard import PROPERTIES
from kdumpd.service.interfaces import dump_path
from kdumpd.service.permissions import DUMP
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import Served, served
from tests.service.world import PATIENCE, meanwhile

CORE = b"core" * 1_000_000


def save(s: Served, name: str, *, core: str = "vmcore") -> Path:
    folder = s.world.root / "var/crash" / name
    folder.mkdir()
    (folder / core).write_bytes(CORE)
    (folder / "summary.json").write_text(json.dumps({"result": "saved"}))
    return folder


@contextlib.asynccontextmanager
async def summing(s: Served) -> AsyncIterator[None]:
    tell = s.finds.on_change

    def found(new: tuple[Dump, ...]) -> None:
        tell(new)
        s.summing.follow(s.finds.known, new)

    s.finds.on_change = found
    sight = s.world.reconciler.sight
    async with meanwhile(s.summing.run()), meanwhile(s.finds.run(lambda: sight)):
        yield


async def test_a_new_dump_gets_its_sum(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        await s.finds.look(s.world.reconciler.sight)
        folder = save(s, "127.0.0.1-2026-01-02-03:04:05")
        failed = save(s, "127.0.0.1-2026-01-01-03:04:05", core="vmcore-incomplete")
        path = dump_path(folder.name)
        async with s.client.signals(PROPERTIES, path=path) as changes, summing(s):
            changed = (await anext(changes)).body[1]
        digest = hashlib.sha256(CORE).hexdigest()
        assert changed == {"Sha256": digest}
        assert await s.client.get(path, DUMP, "Sha256") == digest
        subprocess.run(["sha256sum", "--check", "--status", "vmcore.sha256"], cwd=folder, check=True)  # noqa: ASYNC221
        assert not list(failed.glob("*.sha256")), "what is not whole is not worth it"


async def test_a_daemon_that_was_stopped_goes_on_with_the_newest(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        older = save(s, "127.0.0.1-2026-01-01-03:04:05")
        newest = save(s, "127.0.0.1-2026-01-02-03:04:05")
        await s.finds.look(s.world.reconciler.sight)  # nothing is new from here on
        path = dump_path(newest.name)
        async with s.client.signals(PROPERTIES, path=path) as changes, summing(s):
            await anext(changes)
        assert (newest / "vmcore.sha256").exists()
        assert not (older / "vmcore.sha256").exists()


async def test_a_removal_does_not_wait_for_a_sum(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        folder = save(s, "127.0.0.1-2026-01-02-03:04:05")
        loop, reached, gate = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        open_folder = s.world.files.open_folder

        def held(path: str) -> Folder:
            folder = open_folder(path)
            opened = folder.open

            def waiting(name: str) -> BinaryIO:
                file = opened(name)
                loop.call_soon_threadsafe(reached.set)
                assert gate.wait(PATIENCE)
                return file

            folder.open = waiting  # type: ignore[method-assign]
            return folder

        s.world.files.open_folder = held  # type: ignore[method-assign]
        async with summing(s), asyncio.timeout(PATIENCE):
            await reached.wait()
            deleting = asyncio.create_task(s.client.call(dump_path(folder.name), DUMP, "Delete", "a{sv}", {}))
            await s.client.get(dump_path(folder.name), DUMP, "Path")  # answered after Delete has begun
            gate.set()
            await deleting
        assert not folder.exists()
