"""Changes over D-Bus that stand on each other: what fails or is cancelled is taken back, however it came to its end."""

from __future__ import annotations

from pathlib import Path

from kdumpd.service.permissions import CONFIG, JOB, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import Served, served

FIRST = "path /var/one\nextra_modules fuse\n"
SECOND = "path /var/one\nextra_modules fuse e1000\n"
FAILS_FOR_EVER = 100


async def put(s: Served, text: str) -> str:
    _text, etag = await s.client.call(ROOT, CONFIG, "GetText", "a{sv}", {})
    _etag, job = await s.client.call(ROOT, CONFIG, "SetText", "ssa{sv}", text, etag, {})
    return str(job)


async def ended(s: Served, job: str) -> tuple[str, str]:
    now = await s.client.wait_until(job, JOB, lambda now: now["State"] == "done")
    return str(now["Result"]), str(now["ErrorMessage"])


async def building_the_second_instead_of_the_first(s: Served) -> tuple[str, str]:
    """The jobs of both."""
    s.world.make_folder("/var/one")
    s.world.programs.hold("zstd")
    first = await put(s, FIRST)
    await s.world.programs.reached("zstd")
    second = await put(s, SECOND)
    while not s.world.programs.ended_early["zstd"]:
        await s.world.clock.until_another_nap()
    return first, second


async def test_what_was_superseded_is_taken_back_with_what_took_its_place(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        before = s.world.conf.read_text()
        first, second = await building_the_second_instead_of_the_first(s)
        s.world.programs.failing["zstd"] = FAILS_FOR_EVER
        s.world.programs.let_go("zstd")
        for job in (second, first):
            result, message = await ended(s, job)
            assert (result, "was put back" in message) == ("failed", True)
        assert s.world.conf.read_text() == before
        await s.world.armed()


async def test_what_was_superseded_by_what_is_armed_is_told_so(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        first, second = await building_the_second_instead_of_the_first(s)
        s.world.programs.let_go("zstd")
        assert (await ended(s, second))[0] == "done"
        assert await ended(s, first) == ("superseded", "something newer took its place")
        assert s.world.conf.read_text() == SECOND
        await s.world.armed()


async def test_two_that_waited_and_were_cancelled_leave_the_text_before_both(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with served(tmp_path, bus) as s:
        before = s.world.conf.read_text()
        for name in ("one", "two"):
            s.world.make_folder(f"/var/{name}")
        s.world.programs.hold("kexec")
        (loading,) = await s.client.call(ROOT, MANAGER, "Reload", "a{sv}", {})
        await s.world.programs.reached("kexec")
        jobs = [await put(s, "path /var/one\n"), await put(s, "path /var/two\n")]
        told = []
        for job in jobs:
            await s.client.call(job, JOB, "Cancel", "a{sv}", {})
            told.append(await ended(s, job))
        assert s.world.conf.read_text() == before
        assert [result for result, _message in told] == ["cancelled", "cancelled"]
        assert "is left as it is" in told[0][1]
        assert "was put back" in told[1][1]
        s.world.programs.let_go("kexec")
        assert (await ended(s, str(loading)))[0] == "done"
        status = await s.world.armed()
        assert status.message.endswith("in /var/crash")
