"""Test crashes on a private bus: who may, once, and what is on the disk before the machine goes down."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from kdumpd.core.crash_test import (
    PATIENCE_SECONDS,
    TOKEN_SECONDS,
    TOKENS_AT_MOST,
    TOKENS_OF_ONE,
    Marker,
    Record,
    begun,
)
from kdumpd.core.problems import Trouble
from kdumpd.host.crash import KERNEL_LOG, TRIGGER
from kdumpd.service.bus import BusError, Caller, Client, Connection, Value
from kdumpd.service.bus.standard import PROPERTIES
from kdumpd.service.permissions import BUS_NAME, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import OURS, STANDARD, Served, refused, served
from tests.service.world import PATIENCE, meanwhile

TOKEN_INVALID = OURS + "TokenInvalid"
FILE = "var/lib/kdumpd/test-crash.json"


class Crashed:
    """A crash after which nothing happens any more; `synced` and `happened` say that it has come so far."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        self.happened = asyncio.Event()
        self.identity = ""

    async def sync(self) -> None:
        self.synced.set()

    async def happen(self, identity: str) -> None:
        self.identity = identity
        self.happened.set()
        await asyncio.Event().wait()


async def prepared(client: Client) -> tuple[str, Mapping[str, Value]]:
    token, _expires, plan = await client.call(ROOT, MANAGER, "PrepareTestCrash", "a{sv}", {})
    assert isinstance(plan, Mapping)
    return str(token), plan


async def crash_refused(client: Client, token: str) -> str:
    return await refused(client, MANAGER, "TestCrash", "sa{sv}", token, {})


def with_a_trigger(s: Served) -> tuple[Path, Path]:
    """What the kernel would be asked for a crash by, and its log; both are plain files here."""
    files = Path(f"{s.world.root}{TRIGGER}"), Path(f"{s.world.root}{KERNEL_LOG}")
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    return files


def pending(s: Served) -> Mapping[str, Value] | None:
    """The marker on the disk."""
    found: Mapping[str, Value] | None = json.loads(Path(s.world.root, FILE).read_text())["pending"]
    return found


async def test_who_asks_is_told_what_would_happen(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        token, expires, plan = await s.client.call(ROOT, MANAGER, "PrepareTestCrash", "a{sv}", {})
        assert len(str(token)) == 32
        assert expires == s.world.clock.now_us() + TOKEN_SECONDS * 1e6
        assert isinstance(plan, Mapping)
        assert (plan["state"], plan["where"]) == ("armed", "/dev/vda1 (ext4) in /var/crash")
        assert (plan["final-action"], plan["failure-action"], plan["kernel"]) == (
            "reboot",
            "reboot",
            "6.1.0-56-amd64",
        )
        assert plan["capture-seconds"] == 0.0
        assert "lost" in str(plan["lost"])
        assert await s.client.get(ROOT, MANAGER, "TestCrashState") == "none"
        assert not s.world.files.exists(f"/{FILE}")


async def test_the_marker_is_on_the_disk_before_the_crash_and_everyone_is_told(
    tmp_path: Path, bus: PrivateBus
) -> None:
    crash = Crashed()
    async with served(tmp_path, bus, crash=crash) as s, s.client.signals(PROPERTIES, path=ROOT) as changes:
        token, _plan = await prepared(s.client)
        async with meanwhile(s.client.call(ROOT, MANAGER, "TestCrash", "sa{sv}", token, {})):
            async with asyncio.timeout(PATIENCE):
                await crash.happened.wait()
            kept = pending(s)
            assert kept is not None
            assert (kept["id"], kept["uid"], kept["load"]) == (
                crash.identity,
                0,
                s.world.reconciler.sight.armed and s.world.reconciler.sight.armed.load,
            )
            assert kept["boot_id"] == s.world.files.read_text("/proc/sys/kernel/random/boot_id").strip()
            values = (await anext(changes)).body[1]
            assert isinstance(values, Mapping)
            assert (values["TestCrashState"], values["TestCrashTime"]) == ("pending", kept["time_us"])
            (entry, *_) = await s.history.latest()
            assert (entry.kind, entry.result, entry.uid) == ("test-crash", "pending", 0)
            assert await refused(s.client, MANAGER, "PrepareTestCrash", "a{sv}", {}) == OURS + "Busy"
            assert await crash_refused(s.client, token) == TOKEN_INVALID


async def test_a_kernel_that_goes_on_leaves_nothing_pending(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        trigger, log = with_a_trigger(s)
        token, _plan = await prepared(s.client)
        with pytest.raises(BusError, match="the kernel took the order and did nothing") as fault:
            await s.client.call(ROOT, MANAGER, "TestCrash", "sa{sv}", token, {})
        assert fault.value.name == OURS + "Failed"
        assert (trigger.read_text(), log.read_text()) == ("c", "<2>kdumpd: no test crash\n")
        assert pending(s) is None
        assert await s.client.get(ROOT, MANAGER, "TestCrashState") == "none"
        assert [entry.result for entry in (await s.history.latest())[:2]] == ["not-crashed", "pending"]
        assert s.world.programs.ran["sync"] == 1

        trigger.unlink()
        token, _plan = await prepared(s.client)
        with pytest.raises(BusError, match="CONFIG_MAGIC_SYSRQ"):
            await s.client.call(ROOT, MANAGER, "TestCrash", "sa{sv}", token, {})


async def test_a_token_is_good_once_for_its_caller_and_for_a_minute(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s, bus.client(BUS_NAME) as other:
        trigger, _log = with_a_trigger(s)
        token, _plan = await prepared(s.client)
        assert await crash_refused(s.client, "0" * 32) == TOKEN_INVALID
        assert await crash_refused(other, token) == TOKEN_INVALID, "it is another caller's"
        s.world.clock.advance(TOKEN_SECONDS)
        assert await crash_refused(s.client, token) == TOKEN_INVALID, "it is too old"
        token, _plan = await prepared(s.client)
        s.world.clock.advance(TOKEN_SECONDS - 1)
        assert trigger.read_text() == ""
        assert await crash_refused(s.client, token) == OURS + "Failed", "the kernel of a test does not crash"
        assert trigger.read_text() == "c"
        assert await crash_refused(s.client, token) == TOKEN_INVALID, "it is used up"


async def test_no_more_than_some_tokens_of_one_user_are_good(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        with_a_trigger(s)
        tokens = [(await prepared(s.client))[0] for _ in range(TOKENS_OF_ONE + 1)]
        assert await crash_refused(s.client, tokens[0]) == TOKEN_INVALID
        assert await crash_refused(s.client, tokens[1]) == OURS + "Failed"


class User(Caller):
    """One of whom the bus says that it is `uid`."""

    def __init__(self, connection: Connection, uid: int) -> None:
        super().__init__(connection, sender=f":1.{uid}", is_interactive=False)
        self._uid = uid


async def test_what_polkit_refused_is_not_kept_for_ever(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s, bus.connected() as connection:
        with_a_trigger(s)
        user = User(connection, 1000)
        tokens = []
        for _ in range(TOKENS_OF_ONE + 1):
            token, _expires, _plan = await s.crashing.prepare(user)
            s.crashing.take(user.sender, token)
            tokens.append(token)
        with pytest.raises(BusError) as fault:
            await s.crashing.crash(user, tokens[0])
        assert fault.value.name == TOKEN_INVALID
        s.world.clock.advance(TOKEN_SECONDS)
        with pytest.raises(Trouble, match="the kernel took the order"):
            await s.crashing.crash(user, tokens[-1])


async def test_many_users_keep_nobody_from_a_test_crash(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s, bus.connected() as connection:
        with_a_trigger(s)
        await s.crashing.prepare(User(connection, 1000))
        token, _plan = await prepared(s.client)
        for number in range(TOKENS_AT_MOST):
            for _ in range(TOKENS_OF_ONE):
                await s.crashing.prepare(User(connection, 100_000 + number))
        assert await crash_refused(s.client, token) == OURS + "Failed", "root's is good still"
        token, _plan = await prepared(s.client)
        assert await crash_refused(s.client, token) == OURS + "Failed"


async def test_ended_while_the_marker_is_written_it_leaves_none(tmp_path: Path, bus: PrivateBus) -> None:
    loop, reached, gate = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def wait() -> None:
        loop.call_soon_threadsafe(reached.set)
        assert gate.wait(PATIENCE)

    async with served(tmp_path, bus) as s, bus.connected() as connection:
        root = User(connection, 0)
        token, _expires, _plan = await s.crashing.prepare(root)
        s.crashing.take(root.sender, token)
        s.world.files.on_create[f"/{FILE}"] = wait
        crashing = asyncio.create_task(s.crashing.crash(root, token))
        async with asyncio.timeout(PATIENCE):
            await reached.wait()
        crashing.cancel()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await crashing
        assert pending(s) is None


async def test_what_is_loaded_anew_was_not_shown(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        trigger, _log = with_a_trigger(s)
        token, _plan = await prepared(s.client)
        s.world.make_folder("/var/one")
        await s.world.edit("path /var/one\n")
        await s.client.wait_until(
            ROOT,
            MANAGER,
            lambda now: now["Activity"] == "idle" and str(now["StateMessage"]).endswith("in /var/one"),
        )
        assert await crash_refused(s.client, token) == TOKEN_INVALID
        assert trigger.read_text() == ""


async def test_it_is_refused_unless_armed_and_while_somebody_inhibits(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        trigger, _log = with_a_trigger(s)
        token, _plan = await prepared(s.client)
        (cookie,) = await s.client.call(ROOT, MANAGER, "Inhibit", "ssa{sv}", "dpkg", "packages", {})
        assert await refused(s.client, MANAGER, "PrepareTestCrash", "a{sv}", {}) == OURS + "Inhibited"
        assert await crash_refused(s.client, token) == OURS + "Inhibited"
        await s.client.call(ROOT, MANAGER, "ReleaseInhibit", "u", cookie)
        token, _plan = await prepared(s.client)
        (job,) = await s.client.call(ROOT, MANAGER, "Unload", "a{sv}", {})
        await s.client.wait_until(str(job), "org.kdumpd.Kdump1.Job", lambda now: now["State"] == "done")
        assert await refused(s.client, MANAGER, "PrepareTestCrash", "a{sv}", {}) == OURS + "NotArmed"
        assert await crash_refused(s.client, token) == TOKEN_INVALID, "nothing is loaded any more"
        assert trigger.read_text() == ""


async def test_a_disk_that_takes_no_marker_keeps_the_machine_up(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        trigger, log = with_a_trigger(s)
        token, _plan = await prepared(s.client)
        s.world.make_folder(f"/{FILE}")
        assert await crash_refused(s.client, token) == OURS + "Failed"
        assert (trigger.read_text(), log.read_text()) == ("", "")
        assert await s.client.get(ROOT, MANAGER, "TestCrashState") == "none"


async def test_one_without_rights_is_asked_for_no_password_with_a_bad_token(
    tmp_path: Path, bus: PrivateBus, can_be_nobody: None
) -> None:
    async with served(tmp_path, bus) as s, bus.client(BUS_NAME, as_nobody=True) as nobody:
        trigger, _log = with_a_trigger(s)
        assert await crash_refused(nobody, "0" * 32) == TOKEN_INVALID
        token, _plan = await prepared(nobody)
        assert await crash_refused(nobody, token) == STANDARD + "AccessDenied"
        assert await crash_refused(nobody, token) == TOKEN_INVALID, "it is used up all the same"
        assert trigger.read_text() == ""


MARKER = Marker(id="00ff", boot_id="before", time_us=1_700_000_000_000_000, uid=0, target="somewhere")


async def test_where_nothing_is_found_it_has_failed_after_five_minutes_unless_it_is_found_later(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        s.world.files.write(f"/{FILE}", begun(Record(), MARKER).model_dump_json().encode())
        await s.crashing.remember()
        await s.finds.look(s.world.reconciler.sight)
        async with meanwhile(s.crashing.run()):
            await s.world.clock.until_asleep(PATIENCE_SECONDS)
            assert s.crashing.record.state == "pending"
            s.world.clock.advance(PATIENCE_SECONDS)
            state = await s.client.wait_until(ROOT, MANAGER, lambda now: now["TestCrashState"] == "failed")
            assert "neither a dump of it nor a record" in str(state["TestCrashMessage"])

            folder = "/var/crash/127.0.0.1-2026-01-01-09:00:00"
            s.world.make_folder(folder)
            s.world.files.write(f"{folder}/vmcore-incomplete", b"co")
            s.world.files.write(f"{folder}/summary.json", b'{"result": "failed", "test_id": "00ff"}')
            for _ in range(2):
                await s.finds.look(s.world.reconciler.sight)
            assert "the crash was not captured completely" in s.crashing.record.message

            folder = "/var/crash/127.0.0.1-2026-01-01-10:00:00"
            s.world.make_folder(folder)
            s.world.files.write(f"{folder}/vmcore", b"core")
            s.world.files.write(f"{folder}/summary.json", b'{"result": "saved", "test_id": "00ff"}')
            await s.finds.look(s.world.reconciler.sight)
            state = await s.client.wait_until(ROOT, MANAGER, lambda now: now["TestCrashState"] == "passed")
            assert state["TestCrashTime"] == MARKER.time_us
        assert [entry.result for entry in await s.history.latest() if entry.kind == "test-crash"] == [
            "passed",
            "failed",
            "failed",
        ]
