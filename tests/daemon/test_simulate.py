"""The whole daemon on a folder: every way of editing re-arms, a broken edit harms nothing, and no kill tears anything."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kdumpd.host.image import Store
from kdumpd.host.real import RealFiles
from kdumpd.service.bus import BusError
from kdumpd.service.permissions import CONFIG, JOB, KERNEL, MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.simulate import Machine, Sampler, State, simulated

KILLS = 20


def rename_over(conf: Path) -> None:
    beside = conf.with_name(".kdump.conf.swp")
    beside.write_text("path /var/by-rename\n")
    beside.replace(conf)


def sed(conf: Path) -> None:
    subprocess.run(["sed", "-i", "s:^path .*:path /var/by-sed:", str(conf)], check=True)


def append(conf: Path) -> None:
    conf.write_text("# empty so far\n")
    subprocess.run(["sh", "-c", f"echo path /var/by-echo >> '{conf}'"], check=True)


@pytest.mark.parametrize(
    ("edit", "directory"),
    [(rename_over, "/var/by-rename"), (sed, "/var/by-sed"), (append, "/var/by-echo")],
)
async def test_an_edit_re_arms_by_itself(
    tmp_path: Path, bus: PrivateBus, edit: Callable[[Path], None], directory: str
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        (machine.root / directory.lstrip("/")).mkdir()
        with Sampler(machine.loaded_file) as sampler:
            await asyncio.to_thread(edit, machine.conf)
            state = await machine.until_armed()
        assert machine.directory == directory
        assert str(state["StateMessage"]).endswith(f"in {directory}")
        assert sampler.samples
        assert not sampler.unloaded


async def test_config_set_re_arms_and_keeps_every_other_byte(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        (machine.root / "var/by-bus").mkdir()
        machine.conf.chmod(0o640)
        _settings, etag = await machine.client.call(ROOT, CONFIG, "Get", "a{sv}", {})
        new_etag, job = await machine.client.call(
            ROOT, CONFIG, "Set", "a{sv}sa{sv}", {"path": "/var/by-bus"}, etag, {}
        )
        ended = await machine.client.wait_until(str(job), JOB, lambda now: now["State"] == "done")
        assert (ended["Result"], ended["ErrorMessage"]) == ("done", "")
        assert machine.directory == "/var/by-bus"
        assert machine.conf.read_text() == "# where dumps go\npath /var/by-bus\n"
        assert machine.conf.stat().st_mode & 0o777 == 0o640
        assert await machine.client.get(ROOT, CONFIG, "Etag") == new_etag


async def test_a_set_that_cannot_be_built_is_taken_back(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.conf.read_text()
        _settings, etag = await machine.client.call(ROOT, CONFIG, "Get", "a{sv}", {})
        _new, job = await machine.client.call(
            ROOT, CONFIG, "Set", "a{sv}sa{sv}", {"ext4": "LABEL=nowhere"}, etag, {}
        )
        ended = await machine.client.wait_until(str(job), JOB, lambda now: now["State"] == "done")
        assert ended["Result"] == "failed"
        assert "was put back" in str(ended["ErrorMessage"])
        assert "nowhere" in str(ended["ErrorMessage"])
        assert machine.conf.read_text() == before
        await machine.until_armed()


async def test_a_set_against_an_older_text_is_a_conflict(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        with pytest.raises(BusError) as refused:
            await machine.client.call(ROOT, CONFIG, "Set", "a{sv}sa{sv}", {"path": "/x"}, "seen-long-ago", {})
        assert refused.value.name == "org.kdumpd.Kdump1.Error.Conflict"
        assert "path /var/crash" in machine.conf.read_text()


def has_rested_for(code: str, state: State) -> bool:
    return state["StateReason"] == code and state["Activity"] == "idle"


async def test_nothing_that_is_wrong_in_kdump_conf_touches_what_is_armed(
    tmp_path: Path, bus: PrivateBus
) -> None:
    wrong = {
        "pth /var/crash": "unknown-directive",
        "path": "missing-value",
        "path = /var/crash": "stray-equals",
        "path ../x": "bad-path",
        "ext4 sda": "bad-device",
        "nfs nowhere": "bad-nfs-export",
        "ssh host": "bad-ssh-destination",
        "core_collector dd": "unknown-collector",
        "core_collector makedumpfile -d 99": "bad-dump-level",
        "core_collector scp": "unfit-collector",
        "kdump_pre /no/such/program": "hook-missing",
        "extra_bins /no/such/file": "extra-bin-missing",
        "failure_action ignore": "bad-choice",
        "disk_timeout soon": "bad-number",
        "fence_kdump_args -x": "bad-fence-argument",
        "ext4 UUID=00000000-0000-4000-8000-000000000000": "target-not-found",
    }
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.armed_with
        with Sampler(machine.loaded_file) as sampler:
            for number, (line, code) in enumerate(wrong.items()):
                machine.conf.write_text("# a comment\n" * number + f"{line}\n")
                state = await machine.until(partial(has_rested_for, code))
                assert state["State"] == "stale"
                assert f"/etc/kdump.conf:{number + 1}: " in str(state["StateMessage"])
                assert machine.armed_with == before
            assert sampler.samples
            assert not sampler.unloaded


async def test_a_broken_edit_leaves_the_last_good_armed_and_mending_it_re_arms(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.armed_with
        with Sampler(machine.loaded_file) as sampler:
            machine.conf.write_text("# one\npath /var/crash\nfoo bar\n")
            state = await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
            assert state["StateReason"] == "unknown-directive"
            assert "/etc/kdump.conf:3: " in str(state["StateMessage"])
            assert "foo" in str(state["StateMessage"])
            assert state["Protected"] is True
            assert await machine.client.get(ROOT, CONFIG, "Valid") is False
            assert machine.armed_with == before
            (machine.root / "var/mended").mkdir()
            machine.conf.write_text("path /var/mended\n")
            await machine.until_armed()
        assert machine.directory == "/var/mended"
        assert not sampler.unloaded


async def test_a_hook_that_becomes_executable_re_arms(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        hook = machine.root / "etc/hook.sh"
        hook.write_text("#!/bin/sh\ntrue\n")
        machine.conf.write_text("kdump_pre /etc/hook.sh\n")
        state = await machine.until(lambda now: now["State"] == "stale" and now["Activity"] == "idle")
        assert "/etc/kdump.conf:1: " in str(state["StateMessage"])
        hook.chmod(0o755)
        await machine.until_armed()


async def test_a_comment_changes_nothing(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.armed_with
        machine.conf.write_text(machine.conf.read_text() + "# a remark\n")
        await machine.until_armed()
        assert machine.armed_with == before


async def test_stopping_the_daemon_keeps_the_machine_armed(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.armed_with
        assert await machine.stop() == 0
        assert machine.loaded_file.read_text().strip() == "1"
        await machine.start()
        await machine.until_armed()
        assert machine.armed_with == before


async def test_disabling_unloads_and_enabling_loads_again(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        for wish, state in ((False, "disabled"), (True, "armed")):
            (job,) = await machine.client.call(ROOT, MANAGER, "SetEnabled", "ba{sv}", wish, {})
            ended = await machine.client.wait_until(str(job), JOB, lambda now: now["State"] == "done")
            assert ended["Result"] == "done"
            assert await machine.client.get(ROOT, MANAGER, "State") == state
            assert machine.loaded_file.read_text().strip() == ("1" if wish else "0")
            kernel = await machine.client.get_all(
                str(await machine.client.get(ROOT, MANAGER, "Kernel")), KERNEL
            )
            assert kernel["UpToDate"] is True, "its image is there, loaded or not"
            assert (machine.root / str(kernel["Initramfs"]).lstrip("/")).stat().st_size == kernel[
                "InitramfsSize"
            ]
            assert await machine.client.get(ROOT, MANAGER, "Enabled") is wish


async def test_what_someone_else_unloaded_is_loaded_again(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        before = await machine.until_armed()
        machine.loaded_file.write_text("0\n")
        await machine.client.call(ROOT, MANAGER, "Refresh", "a{sv}", {})
        await machine.until(
            lambda now: now["State"] == "armed" and now["LastSuccess"] != before["LastSuccess"]
        )
        assert machine.loaded_file.read_text().strip() == "1"


async def test_a_second_daemon_leaves_the_first_alone(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        workshop = machine.root / "var/lib/kdumpd/tmp-of-the-first"
        workshop.mkdir()
        second = Machine(machine.root, bus, machine.client)
        await second.start()
        assert await second.ended() == 1
        assert workshop.exists()
        await machine.until_armed()


async def test_without_a_bus_it_ends_so_that_it_is_started_again(tmp_path: Path, bus: PrivateBus) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        await bus.kill()
        assert await machine.ended() == 1
        assert machine.loaded_file.read_text().strip() == "1"


@pytest.mark.timeout(180)
async def test_killed_at_any_moment_of_a_rebuild_it_comes_back_whole(tmp_path: Path, bus: PrivateBus) -> None:
    dice = random.Random(20)  # noqa: S311  # not for secrets, and the same each time
    async with simulated(tmp_path, bus, heavy_bytes=3_000_000) as machine:
        await machine.until_armed()
        with Sampler(machine.loaded_file) as sampler:
            for number in range(KILLS):
                directory = f"/var/crash-{number}"
                (machine.root / directory.lstrip("/")).mkdir()
                # compression_level is in the base, path in the overlay: everything is to be built again
                level = 1 + number % 9
                (machine.root / "etc/kdumpd.toml").write_text(f"compression_level = {level}\n")
                machine.conf.write_text(f"path {directory}\n")
                await asyncio.sleep(dice.uniform(0.0, 2.0))
                await machine.kill()
                assert machine.loaded_file.read_text().strip() == "1"
                _require_whole(machine)
                await machine.start()
            await machine.until_armed()
        assert machine.directory == f"/var/crash-{KILLS - 1}"
        assert not sampler.unloaded
        assert await machine.stop() == 0  # it may be tidying up
        _require_whole(machine)
        assert not [name for name in os.listdir(machine.root / "var/lib/kdumpd") if name.startswith("tmp-")]


def _require_whole(machine: Machine) -> None:
    """What the store says it has, it has to the byte; what is armed is among it."""
    store = Store(RealFiles(str(machine.root)))
    for fingerprint in store.images():
        assert store.is_sound(fingerprint)
    last_good = store.last_good()
    assert last_good is not None
    assert last_good.image in store.images()
