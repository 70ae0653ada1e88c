"""A change over D-Bus whose build is under way when the daemon is killed: the next start arms it, or takes it back."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import cast

import pytest

from kdumpd.service.bus import Value
from kdumpd.service.permissions import CONFIG, MANAGER, ROOT
from tests.daemon.test_faults import Builder
from tests.service.private_bus import PrivateBus
from tests.simulate import PATIENCE, Machine, simulated

pytestmark = [pytest.mark.usefixtures("can_mount"), pytest.mark.timeout(180)]
NEW = "path /var/one\nextra_modules fuse\n"
MEMORY = "var/lib/kdumpd/unconfirmed.json"


async def killed_during_the_build_of(machine: Machine, builder: Builder) -> None:
    (machine.root / "var/one").mkdir()
    builder.behave("hang")
    _text, etag = await machine.client.call(ROOT, CONFIG, "GetText", "a{sv}", {})
    await machine.client.call(ROOT, CONFIG, "SetText", "ssa{sv}", NEW, etag, {})
    async with asyncio.timeout(PATIENCE):
        while not builder.pids:  # noqa: ASYNC110  # a program of another kind tells nobody
            await asyncio.sleep(0.05)
    assert machine.conf.read_text() == NEW
    memory = machine.root / MEMORY
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600
    assert len(json.loads(memory.read_text())) == 1
    await machine.kill()
    builder.end()


async def history(machine: Machine) -> list[dict[str, Value]]:
    (found,) = await machine.client.call(ROOT, MANAGER, "GetHistory", "ua{sv}", 0, {})
    return cast("list[dict[str, Value]]", found)


async def until_forgotten(machine: Machine) -> None:
    async with asyncio.timeout(PATIENCE):
        while (machine.root / MEMORY).exists():  # noqa: ASYNC110  # nobody is told when it goes
            await asyncio.sleep(0.05)


async def test_a_build_that_fails_after_the_kill_takes_the_text_back(tmp_path: Path, bus: PrivateBus) -> None:
    builder = Builder.beside(tmp_path)
    async with simulated(tmp_path, bus, wrapped_in=builder.wrapped_in) as machine:
        await machine.until_armed()
        before = machine.conf.read_bytes()
        await killed_during_the_build_of(machine, builder)
        builder.behave("garbage")
        await machine.start()
        await until_forgotten(machine)
        assert machine.conf.read_bytes() == before
        await machine.until_armed()
        assert machine.directory == "/var/crash"
        told = await history(machine)
        (failed,) = [each for each in told if (each["kind"], each["result"]) == ("rebuild", "failed")]
        assert "before this start" in str(failed["why"])
        assert "the previous text of /etc/kdump.conf was put back" in str(failed["message"])


async def test_a_build_that_succeeds_after_the_kill_confirms_it(tmp_path: Path, bus: PrivateBus) -> None:
    builder = Builder.beside(tmp_path)
    async with simulated(tmp_path, bus, wrapped_in=builder.wrapped_in) as machine:
        await machine.until_armed()
        await killed_during_the_build_of(machine, builder)
        builder.behave("well")
        await machine.start()
        await machine.until_armed()
        await until_forgotten(machine)
        assert machine.conf.read_text() == NEW
        assert machine.directory == "/var/one"


async def test_an_edit_by_hand_in_between_wins(tmp_path: Path, bus: PrivateBus) -> None:
    builder = Builder.beside(tmp_path)
    async with simulated(tmp_path, bus, wrapped_in=builder.wrapped_in) as machine:
        await machine.until_armed()
        await killed_during_the_build_of(machine, builder)
        by_hand = NEW + "blacklist floppy\n"
        machine.conf.write_text(by_hand)
        builder.behave("garbage")
        await machine.start()
        await machine.until(lambda now: now["LastResult"] == "failed")
        await until_forgotten(machine)
        assert machine.conf.read_text() == by_hand
        assert "is left as it is" in machine.log.read_text()
