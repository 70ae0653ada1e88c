"""What was built is not built again: going back and forth between configurations, on a full disk, after a kernel's end."""

from __future__ import annotations

from pathlib import Path

from tests.service.world import World, world

FULL = "zstd: error 70 : Write error : cannot write block : No space left on device"
ANOTHER_BASE = "extra_modules fuse\n"
DIRECTORIES = ("/var/crash", "/var/b", "/var/c")


async def _go_through(w: World, *directories: str) -> None:
    for directory in directories:
        await w.edit(f"path {directory}\n")
        status = await w.armed()
        assert status.message.endswith(f"in {directory}")


async def test_going_back_to_the_first_of_three_configurations_builds_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        for directory in DIRECTORIES[1:]:
            w.make_folder(directory)
        await _go_through(w, *DIRECTORIES[1:])
        assert (len(w.store.bases()), len(w.store.images())) == (1, 3)
        ran, jobs = w.programs.ran.copy(), len(w.jobs.known)
        await _go_through(w, DIRECTORIES[0])
        assert [job.kind for job in w.jobs.known[jobs:]] == ["reload"]
        assert w.programs.ran["zstd"] == ran["zstd"]
        assert w.programs.ran["kexec"] == ran["kexec"] + 1


async def test_without_a_budget_only_what_is_needed_is_kept(tmp_path: Path) -> None:
    def before(w: World) -> None:
        (w.root / "etc/kdumpd.toml").write_text("store_budget_mib = 0\n")

    async with world(tmp_path, before=before) as w:
        await w.armed()
        w.make_folder("/var/b")
        await _go_through(w, "/var/b")
        await w.clock.until_idle()
        assert (len(w.store.bases()), len(w.store.images())) == (1, 1)


async def test_on_a_full_disk_older_images_make_room_and_the_build_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        for directory in DIRECTORIES[1:]:
            w.make_folder(directory)
        await _go_through(w, "/var/b")
        assert len(w.store.images()) == 2
        w.programs.last_words["zstd"] = FULL
        w.programs.failing["zstd"] = 1
        await w.edit(f"path /var/c\n{ANOTHER_BASE}")
        assert (await w.armed()).message.endswith("in /var/c")
        assert w.programs.failing["zstd"] == 0
        [job] = [job for job in w.jobs.known if any("older images were removed" in line for line in job.tail)]
        assert job.result == "done"
        # The first went; the second was armed while the third was built.
        assert len(w.store.images()) == 2


async def test_on_a_full_disk_with_nothing_to_remove_the_build_fails_and_what_is_armed_stays(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        w.make_folder("/var/b")
        w.programs.last_words["zstd"] = FULL
        w.programs.failing["zstd"] = 9
        await w.edit(f"path /var/b\n{ANOTHER_BASE}")
        status = await w.until(lambda now: now.activity == "waiting")
        assert status.protected
        assert status.past.last_error == "no-space"
        assert w.programs.failing["zstd"] == 8
        w.programs.failing["zstd"] = 0
        await w.clock.until_asleep(2.0)
        w.clock.advance(2.0)
        status = await w.armed()
        assert status.message.endswith("in /var/b")
