"""A test crash of the whole daemon on a folder: it crashes, boots again, and says what became of it; and kdumpctl's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from kdumpd.host.simulated import CRASHED
from kdumpd.service.bus import BusError
from kdumpd.service.permissions import DUMP, MANAGER, ROOT
from tests.daemon.test_kdumpctl import kdumpctl
from tests.service.private_bus import PrivateBus
from tests.simulate import PATIENCE, Machine, State, simulated
from tests.terminal import kdumpctl as argv
from tests.terminal import on_terminal

BOOT_ID = "proc/sys/kernel/random/boot_id"
NAME = "127.0.0.1-2026-01-01-10:00:00"


def is_known(state: State) -> bool:
    return state["TestCrashState"] != "pending"


async def until_it_crashes(machine: Machine) -> None:
    await machine.until(lambda now: now["TestCrashState"] == "pending")
    crashed = machine.root / CRASHED[1:]
    async with asyncio.timeout(PATIENCE):
        while not crashed.exists() or not crashed.read_text().endswith("\n"):  # noqa: ASYNC110  # a machine that goes down tells nobody
            await asyncio.sleep(0.05)
    # The history is written before the crash, and in one piece with it as far as others see.
    (entries,) = await machine.client.call(ROOT, MANAGER, "GetHistory", "ua{sv}", 0, {})
    assert isinstance(entries, tuple)
    told = [(entry["kind"], entry["result"]) for entry in entries if isinstance(entry, Mapping)]
    assert ("test-crash", "pending") in told


@asynccontextmanager
async def crashed(folder: Path, bus: PrivateBus) -> AsyncIterator[tuple[Machine, str]]:
    """A machine that has crashed and is off: its daemon is dead; with the id in its kernel's log."""
    async with simulated(folder, bus) as machine:
        await machine.until_armed()
        token, _expires, _plan = await machine.client.call(ROOT, MANAGER, "PrepareTestCrash", "a{sv}", {})
        asking = asyncio.create_task(machine.client.call(ROOT, MANAGER, "TestCrash", "sa{sv}", token, {}))
        await until_it_crashes(machine)
        await machine.kill()
        answer = (await asyncio.gather(asking, return_exceptions=True))[0]
        assert isinstance(answer, BusError), "nobody answers from a machine that is down"
        yield machine, (machine.root / CRASHED[1:]).read_text().strip()


def boots_again(machine: Machine) -> None:
    (machine.root / BOOT_ID).write_text("11111111-2222-4333-8444-555555555555\n")
    (machine.root / CRASHED[1:]).unlink()


def save(folder: Path, identity: str, *, result: str = "saved", reason: str = "") -> None:
    """What the agent leaves behind."""
    folder.mkdir(parents=True)
    summary = {
        "result": result,
        "reason": reason,
        "test_id": identity,
        "panic": "Kernel panic - not syncing: sysrq triggered crash",
        "seconds": 12.5,
        "crashed_us": 1_800_000_000_000_000,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / ("vmcore" if result == "saved" else "vmcore-incomplete")).write_bytes(b"core")


async def test_a_dump_of_that_very_crash_is_what_passes(tmp_path: Path, bus: PrivateBus) -> None:
    async with crashed(tmp_path, bus) as (machine, identity):
        boots_again(machine)
        save(machine.root / "var/crash" / "127.0.0.1-2025-01-01-10:00:00", "0123")
        save(machine.root / "var/crash" / NAME, identity)
        await machine.start()
        state = await machine.until(is_known)
        assert state["TestCrashState"] == "passed", state["TestCrashMessage"]
        assert str(state["TestCrashMessage"]).endswith(f"saved to /var/crash/{NAME}")
        dump = await machine.client.get_all(str(state["LastDump"]), DUMP)
        assert (dump["Path"], dump["Test"]) == (f"/var/crash/{NAME}", True)
        await machine.until_armed()
        _token, _expires, plan = await machine.client.call(ROOT, MANAGER, "PrepareTestCrash", "a{sv}", {})
        assert isinstance(plan, Mapping)
        assert plan["capture-seconds"] == 12.5
        said = await kdumpctl(bus, "test-crash", "--outcome", "--wait")
        assert said.status == 0
        assert said.output.startswith("test crash passed, of ")
        assert (
            f"test crash   {said.output.removeprefix('test crash ').strip()}"
            in (await kdumpctl(bus, "status")).output
        )
        assert "test-crash passed" in (await kdumpctl(bus, "history")).output

        await machine.stop()
        await machine.start()
        assert (await machine.until(is_known))["TestCrashState"] == "passed", "it is remembered"


async def test_a_capture_that_failed_is_told_with_its_reason(tmp_path: Path, bus: PrivateBus) -> None:
    async with crashed(tmp_path, bus) as (machine, identity):
        boots_again(machine)
        save(machine.root / "var/crash" / NAME, identity, result="failed", reason="the disk was full")
        await machine.start()
        state = await machine.until(is_known)
        assert state["TestCrashState"] == "failed"
        assert "the disk was full" in str(state["TestCrashMessage"])
        said = await kdumpctl(bus, "test", "--outcome", "--json")
        assert (said.status, json.loads(said.output)["TestCrashState"]) == (1, "failed")


async def test_nothing_found_is_pending_at_first(tmp_path: Path, bus: PrivateBus) -> None:
    async with crashed(tmp_path, bus) as (machine, identity):
        boots_again(machine)
        await machine.start()
        await machine.until_armed()
        assert await machine.client.get(ROOT, MANAGER, "TestCrashState") == "pending"
        assert (await kdumpctl(bus, "test-crash", "--outcome")).status == 3
        save(machine.root / "var/crash" / NAME, identity)
        await machine.stop()
        await machine.start()
        assert (await machine.until(is_known))["TestCrashState"] == "passed"


async def test_a_daemon_that_is_killed_before_the_crash_finds_none(tmp_path: Path, bus: PrivateBus) -> None:
    async with crashed(tmp_path, bus) as (machine, _identity):
        await machine.start()  # in the same boot: the machine never went down
        state = await machine.until_armed()
        assert (state["TestCrashState"], state["TestCrashTime"]) == ("none", 0)


async def test_kdumpctl_shows_asks_and_crashes(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        none = await kdumpctl(bus, "test-crash", "--outcome")
        assert (none.status, none.output) == (3, "no test crash was performed\n")
        shown = await kdumpctl(bus, "test-crash", "--dry-run")
        assert shown.status == 0
        assert "saved to /dev/vda1 (ext4) in /var/crash" in shown.output
        assert "Afterwards: reboot" in shown.output
        as_json = await kdumpctl(bus, "test", "--json")
        assert json.loads(as_json.output)["where"] == "/dev/vda1 (ext4) in /var/crash"
        refused = await kdumpctl(bus, "test-crash", stdin="crash\n")
        assert refused.status == 1
        assert refused.output == shown.output
        assert "there is no terminal to ask on" in refused.complaint
        assert not (machine.root / CRASHED[1:]).exists()

        for verb, status in (("test", 0), ("test-crash", 1)):
            async with on_terminal(argv(verb), {"KDUMPD_BUS": bus.address}) as terminal:
                await terminal.until("to crash this machine now")
                terminal.type("y\n")
                assert await terminal.ended() == status
            assert "nothing was crashed" in terminal.shown
        assert not (machine.root / CRASHED[1:]).exists()

        asking = asyncio.create_task(kdumpctl(bus, "test", "--force"))
        await until_it_crashes(machine)
        assert (machine.root / CRASHED[1:]).exists()
        await machine.kill()
        said = await asking
        assert (said.status, said.complaint) == (0, "")
        assert "after the reboot `kdumpctl test-crash --outcome`" in said.output


async def test_for_programs_a_crash_is_one_document(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        asking = asyncio.create_task(kdumpctl(bus, "test-crash", "--yes", "--json"))
        await until_it_crashes(machine)
        await machine.kill()
        said = await asking
        assert (said.status, said.complaint) == (0, "")
        assert json.loads(said.output)["where"] == "/dev/vda1 (ext4) in /var/crash"


async def test_kdumpctl_says_why_it_does_not_crash(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        machine.conf.write_text("foo bar\n")
        await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
        said = await kdumpctl(bus, "test-crash", "--yes")
        assert (said.status, said.output) == (1, "")
        assert "a test crash needs an armed machine" in said.complaint
        assert not (machine.root / CRASHED[1:]).exists()
