"""No change costs more than it has to: how many bases, images and loads each kind of change makes, and its way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service.world import World, world
from tests.simulate import RELEASE

EDITS = 1000
SECONDS_BETWEEN = 0.01
LOADS_AT_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    bases: int = 0
    images: int = 0
    loads: int = 0


NOTHING = Made()
LOAD = Made(loads=1)
IMAGE = Made(images=1, loads=1)
BASE = Made(bases=1, images=1, loads=1)


def conf(text: str) -> Callable[[World], None]:
    return written("etc/kdump.conf", text)


def written(path: str, text: str) -> Callable[[World], None]:
    def change(w: World) -> None:
        place = w.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        if text.startswith("#!"):
            place.chmod(0o755)

    return change


CHANGES: dict[str, tuple[Callable[[World], None], Made]] = {
    "a comment": (conf("# nothing new\n"), NOTHING),
    "blanks and the order of words": (conf("\n   path    /var/crash   \n\n"), NOTHING),
    "a default that is written out": (conf("failure_action reboot\n"), NOTHING),
    "an unrelated line of fstab": (written("etc/fstab", "# nothing is mounted\n"), NOTHING),
    "path": (conf("path /var/other\n"), IMAGE),
    "core_collector": (conf("core_collector makedumpfile -l -d 17\n"), IMAGE),
    "final_action": (conf("final_action poweroff\n"), IMAGE),
    "a hook": (written("etc/kdump/pre.d/10-hook", "#!/bin/sh\necho other\n"), IMAGE),
    "a module": (conf("extra_modules fuse\n"), BASE),
    "a program": (written("usr/bin/makedumpfile", "another makedumpfile\n"), BASE),
    "what the kernel unpacks": (
        written(f"boot/config-{RELEASE}", "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n"),
        BASE,
    ),
    "compression_level": (written("etc/kdumpd.toml", "compression_level = 1\n"), BASE),
    "the command line": (written("etc/default/kdump", 'KDUMP_COMMANDLINE_APPEND="quiet"\n'), LOAD),
    "processors": (written("sys/devices/system/cpu/present", "0-63\n"), LOAD),
}


def prepared(w: World) -> None:
    w.make_folder("/var/other")
    written("etc/kdump/pre.d/10-hook", "#!/bin/sh\n")(w)
    written("etc/default/kdump", "")(w)
    written("sys/devices/system/cpu/present", "0-7\n")(w)


def files_of(w: World) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for folder in ("boot", "etc", "usr/bin")
        for path in (w.root / folder).rglob("*")
        if path.is_file()
    }


async def made_by(w: World, change: Callable[[World], None]) -> Made:
    bases, images, loads = w.store.bases(), w.store.images(), w.programs.ran["kexec"]
    change(w)
    w.reconciler.poke("something changed")
    await w.clock.until_settling()
    w.clock.advance(0.3)
    status = await w.armed()
    assert status.protected
    return Made(
        bases=len(w.store.bases() - bases),
        images=len(w.store.images() - images),
        loads=w.programs.ran["kexec"] - loads,
    )


@pytest.mark.parametrize("what", CHANGES)
async def test_each_change_makes_what_it_has_to_and_going_back_builds_nothing(
    tmp_path: Path, what: str
) -> None:
    change, expected = CHANGES[what]
    async with world(tmp_path, before=prepared) as w:
        await w.armed()
        before, statuses = files_of(w), len(w.statuses)
        assert await made_by(w, change) == expected
        if expected == NOTHING:
            assert {status.activity for status in w.statuses[statuses:]} <= {"settling", "idle"}

        def back(w: World) -> None:
            for path in files_of(w).keys() - before.keys():
                path.unlink()
            for path, data in before.items():
                if path.read_bytes() != data:
                    path.write_bytes(data)
            written("sys/devices/system/cpu/present", "0-7\n")(w)

        assert await made_by(w, back) == (NOTHING if expected == NOTHING else LOAD)


async def test_a_thousand_edits_in_ten_seconds_are_a_few_loads_and_the_last_one_is_armed(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        loads = w.programs.ran["kexec"]
        for number in range(EDITS):
            w.conf.write_text(f"disk_timeout {number + 1}\n")
            w.reconciler.poke("kdump.conf changed")
            w.clock.advance(SECONDS_BETWEEN)
            for _ in range(3):  # let it do what it can begin with
                await asyncio.sleep(0)
        text = w.conf.read_text()
        w.clock.advance(0.3)
        async with asyncio.timeout(30):
            while w.reconciler.sight.config.text != text or w.reconciler.status.activity != "idle":
                await w.clock.until_another_nap()
                w.clock.advance(0.3)
        assert w.reconciler.status.state == "armed"
        assert 1 <= w.programs.ran["kexec"] - loads <= LOADS_AT_MOST
