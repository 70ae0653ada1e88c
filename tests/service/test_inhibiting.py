"""Inhibitors on a private bus: what they hold up, how they end, and how many there may be."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from kdumpd.core.inhibitors import LONGEST_TEXT, MOST, MOST_OF_ONE
from kdumpd.service.bus import BusError, Client
from kdumpd.service.bus.standard import PROPERTIES
from kdumpd.service.permissions import BUS_NAME, CONFIG, JOB, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import OURS, STANDARD, Served, refused, served
from tests.service.world import Programs


async def inhibit(client: Client, who: str = "dpkg", why: str = "packages are being installed") -> int:
    (cookie,) = await client.call(ROOT, MANAGER, "Inhibit", "ssa{sv}", who, why, {})
    assert isinstance(cookie, int)
    return cookie


async def inhibitors(s: Served) -> object:
    return await s.client.get(ROOT, MANAGER, "Inhibitors")


def builds_and_loads(programs: Programs) -> tuple[int, int]:
    return programs.ran["zstd"], programs.ran["kexec"]


def edit(s: Served, folder: str) -> None:
    s.world.make_folder(folder)
    s.world.conf.write_text(f"path {folder}\n")
    s.world.reconciler.poke("kdump.conf changed", urgent=True)


async def test_an_edit_waits_until_the_inhibitor_is_released(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        before = builds_and_loads(s.world.programs)
        cookie = await inhibit(s.client)
        assert await inhibitors(s) == ((cookie, "dpkg", "packages are being installed"),)
        edit(s, "/var/one")
        state = await s.client.wait_until(ROOT, MANAGER, lambda now: now["StateReason"] == "inhibited")
        assert (state["State"], state["Activity"], state["Protected"]) == ("stale", "waiting", True)
        assert state["NextRetry"] == 0
        assert builds_and_loads(s.world.programs) == before
        await s.client.call(ROOT, MANAGER, "ReleaseInhibit", "u", cookie)
        await s.client.wait_until(ROOT, MANAGER, lambda now: now["State"] == "armed")
        assert builds_and_loads(s.world.programs) > before
        assert await inhibitors(s) == ()
        assert await refused(s.client, MANAGER, "ReleaseInhibit", "u", cookie) == OURS + "NoSuchInhibitor"


async def test_it_ends_with_its_caller(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s, s.client.signals(PROPERTIES, path=ROOT) as changes:
        async with bus.client(BUS_NAME) as packages:
            await inhibit(packages)
            edit(s, "/var/one")
            await s.client.wait_until(ROOT, MANAGER, lambda now: now["Activity"] == "waiting")
        await s.client.wait_until(ROOT, MANAGER, lambda now: now["State"] == "armed")
        assert await inhibitors(s) == ()
        assert (await anext(changes)).body[0] == MANAGER


async def test_what_is_asked_for_is_refused_except_what_disarms(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        text = s.world.conf.read_text()
        cookie = await inhibit(s.client)
        _settings, etag = await s.client.call(ROOT, CONFIG, "Get", "a{sv}", {})
        inhibited = OURS + "Inhibited"
        assert await refused(s.client, MANAGER, "Rebuild", "sa{sv}", "", {}) == inhibited
        assert await refused(s.client, MANAGER, "Reload", "a{sv}", {}) == inhibited
        change = {"path": "/var/one"}
        assert await refused(s.client, CONFIG, "Set", "a{sv}sa{sv}", change, etag, {}) == inhibited
        assert s.world.conf.read_text() == text
        await s.client.call(ROOT, CONFIG, "Set", "a{sv}sa{sv}", change, etag, {"dry-run": True})
        (path,) = await s.client.call(ROOT, MANAGER, "Unload", "a{sv}", {})
        job = await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        assert (job["Result"], s.world.is_loaded) == ("done", False)
        await s.client.call(ROOT, CONFIG, "Set", "a{sv}sa{sv}", change, etag, {"rebuild": False})
        assert "path /var/one" in s.world.conf.read_text()
        await s.client.call(ROOT, MANAGER, "ReleaseInhibit", "u", cookie)


async def test_a_crash_kernel_that_is_lost_meanwhile_is_loaded_again(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        await inhibit(s.client)
        built = s.world.programs.ran["zstd"]
        edit(s, "/var/one")
        await s.client.wait_until(ROOT, MANAGER, lambda now: now["Activity"] == "waiting")
        before = await s.client.get(ROOT, MANAGER, "LastSuccess")
        s.world.clock.advance(1.0)
        s.world.loaded_file.write_text("0\n")
        s.world.reconciler.poke("it was unloaded", urgent=True)
        state = await s.client.wait_until(
            ROOT, MANAGER, lambda now: now["Activity"] == "waiting" and now["LastSuccess"] != before
        )
        assert s.world.is_loaded
        assert (state["State"], state["StateReason"]) == ("stale", "inhibited")
        assert s.world.programs.ran["zstd"] == built


async def test_somebody_who_starts_kdump_is_obeyed(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        await inhibit(s.client)
        edit(s, "/var/one")
        await s.client.wait_until(ROOT, MANAGER, lambda now: now["Activity"] == "waiting")
        for enabled, state in ((False, "disabled"), (True, "armed")):
            (path,) = await s.client.call(ROOT, MANAGER, "SetEnabled", "ba{sv}", enabled, {"runtime": True})
            job = await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
            assert job["Result"] == "done", job["ErrorMessage"]
            assert await s.client.get(ROOT, MANAGER, "State") == state


async def test_a_job_that_was_asked_for_before_is_finished(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        s.world.programs.hold("zstd")
        (path,) = await s.client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {"force": True})
        await s.world.programs.reached("zstd")
        await inhibit(s.client)
        s.world.programs.let_go("zstd")
        job = await s.client.wait_until(str(path), JOB, lambda now: now["State"] == "done")
        assert job["Result"] == "done", job["ErrorMessage"]


async def test_there_is_an_end_to_how_many_there_may_be(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bus.client(BUS_NAME)) for _ in range(MOST // MOST_OF_ONE)]
        words = "Inhibit", "ssa{sv}"
        for client in clients:
            for _ in range(MOST_OF_ONE):
                await inhibit(client)
            assert await refused(client, MANAGER, *words, "a", "b", {}) == STANDARD + "LimitsExceeded"
        assert await refused(s.client, MANAGER, *words, "a", "b", {}) == STANDARD + "LimitsExceeded"
        listed = await inhibitors(s)
        assert isinstance(listed, tuple)
        assert len(set(listed)) == MOST


@pytest.mark.parametrize(
    ("who", "why"), [("", "b"), ("a", " "), ("a", "two\nlines"), ("x" * (LONGEST_TEXT + 1), "b")]
)
async def test_what_people_cannot_read_is_refused(
    tmp_path: Path, bus: PrivateBus, who: str, why: str
) -> None:
    async with served(tmp_path, bus) as s:
        assert (
            await refused(s.client, MANAGER, "Inhibit", "ssa{sv}", who, why, {}) == STANDARD + "InvalidArgs"
        )
        assert await inhibitors(s) == ()


async def test_one_who_is_refused_by_polkit_holds_nothing_up(
    tmp_path: Path, bus: PrivateBus, can_be_nobody: None
) -> None:
    async with served(tmp_path, bus) as s, bus.client(BUS_NAME, as_nobody=True) as nobody:
        with pytest.raises(BusError) as fault:
            await inhibit(nobody)
        assert fault.value.name == STANDARD + "AccessDenied"
        assert await inhibitors(s) == ()
