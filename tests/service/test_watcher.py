"""Which ears are open when, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.core.network import Host, Network
from kdumpd.host.ears import Ear, MountTable
from kdumpd.host.kexec_runs import KexecRuns
from kdumpd.host.real import RealFiles
from kdumpd.host.watch import Watch
from kdumpd.service.hands import Sight
from kdumpd.service.watcher import NETWORK, Watcher
from tests.service.world import world


class PipeEar:
    """Hears what is written into a pipe, and fails at `x`."""

    def __init__(self, said: Callable[[str], None]) -> None:
        self._said = said
        self._read, self.write = os.pipe()

    def fileno(self) -> int:
        return self._read

    def hear(self) -> None:
        word = os.read(self._read, 100).decode()
        if word == "x":
            raise OSError("it is broken")
        self._said(word)

    def close(self) -> None:
        os.close(self._read)
        os.close(self.write)


class Ears:
    """A watcher with two ears, one of which is for the network."""

    def __init__(self, folder: Path) -> None:
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.opened: dict[str, PipeEar] = {}
        self.missing = {"mounts"}
        self.watcher = Watcher(
            Watch(RealFiles(str(folder)), self.said.put_nowait),
            poke=lambda why: self.said.put_nowait(f"poke: {why}"),
            doubt=self.said.put_nowait,
            ears={name: lambda name=name: self._open(name) for name in ("mounts", NETWORK)},  # type: ignore[misc]
        )

    def _open(self, name: str) -> Ear:
        if name in self.missing:
            raise OSError("not on this machine")
        self.opened[name] = ear = PipeEar(lambda word: self.said.put_nowait(f"{name}: {word}"))
        return ear

    async def hears(self) -> str:
        async with asyncio.timeout(10):
            return await self.said.get()


@pytest.fixture
async def ears(tmp_path: Path) -> AsyncIterator[Ears]:
    made = Ears(tmp_path)
    yield made
    made.watcher.stop()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


async def sights(folder: Path) -> tuple[Sight, Sight]:
    """The same machine, with a target on a disk and with one on the network."""
    async with world(folder) as w:
        await w.armed()
        near = replace(w.reconciler.sight, watched=frozenset())
        network = Network(hosts=(Host(name="nas"),))
        return near, replace(near, machine=replace(near.machine, network=network))


async def test_the_network_is_heard_only_while_a_dump_would_go_over_it(tmp_path: Path, ears: Ears) -> None:
    near, far = await sights(tmp_path)
    ears.missing.clear()
    ears.watcher.follow(near)
    assert set(ears.opened) == {"mounts"}
    assert await ears.hears() == "what the kernel tells of mounts is heard from now on"
    ears.watcher.follow(far)
    assert await ears.hears() == "what the kernel tells of network is heard from now on"
    os.write(ears.opened[NETWORK].write, b"a route")
    assert await ears.hears() == "network: a route"
    ears.watcher.follow(near)
    with pytest.raises(OSError, match="Bad file"):
        os.write(ears.opened[NETWORK].write, b"a route")


async def test_an_ear_that_is_not_there_yet_is_tried_again_at_the_next_look(
    tmp_path: Path, ears: Ears
) -> None:
    near, far = await sights(tmp_path)
    ears.watcher.follow(near)
    assert ears.opened == {}
    ears.missing.clear()
    ears.watcher.follow(far)
    assert set(ears.opened) == {"mounts", NETWORK}


async def test_an_ear_that_fails_is_closed_and_opened_at_the_next_look(tmp_path: Path, ears: Ears) -> None:
    near, far = await sights(tmp_path)
    ears.missing.clear()
    ears.watcher.follow(near)
    assert await ears.hears() == "what the kernel tells of mounts is heard from now on"
    broken = ears.opened.pop("mounts")
    os.write(broken.write, b"x")
    assert await ears.hears() == "poke: mounts could not be heard any more"
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(broken.write)
    ears.watcher.follow(far)
    os.write(ears.opened["mounts"].write, b"again")
    heard = [await ears.hears() for _ in range(3)]
    assert "mounts: again" in heard


async def test_an_ear_that_always_fails_does_not_ask_for_looks_without_end(
    tmp_path: Path, ears: Ears
) -> None:
    near, _ = await sights(tmp_path)
    ears.missing.clear()
    opened = "what the kernel tells of mounts is heard from now on"

    async def after_another_look() -> None:
        ears.watcher.follow(replace(near))
        assert await ears.hears() == opened

    await after_another_look()
    os.write(ears.opened["mounts"].write, b"x")
    assert await ears.hears() == "poke: mounts could not be heard any more"
    await after_another_look()
    os.write(ears.opened["mounts"].write, b"x")
    while is_open(ears.opened["mounts"].write):  # noqa: ASYNC110  # its closing is told to nobody
        await asyncio.sleep(0)
    await after_another_look()  # and nothing was said before this
    os.write(ears.opened["mounts"].write, b"it works")
    assert await ears.hears() == "mounts: it works"
    os.write(ears.opened["mounts"].write, b"x")
    assert await ears.hears() == "poke: mounts could not be heard any more"


async def test_kexec_that_was_gone_for_a_moment_is_heard_again(tmp_path: Path) -> None:
    near, _ = await sights(tmp_path)
    said: asyncio.Queue[str] = asyncio.Queue()
    files, kexec = RealFiles("/"), tmp_path / "kexec"
    kexec.write_text("of yesterday")
    watcher = Watcher(
        Watch(files, said.put_nowait),
        poke=lambda why: said.put_nowait(f"poke: {why}"),
        doubt=said.put_nowait,
        ears={"kexec": lambda: KexecRuns(files, str(kexec), news=said.put_nowait, on_load=lambda: None)},
    )

    async def hears(wanted: str) -> None:
        async with asyncio.timeout(10):
            assert await said.get() == wanted

    try:
        watcher.follow(near)
        await hears("what the kernel tells of kexec is heard from now on")
        kexec.unlink()
        await hears("poke: kexec could not be heard any more")
        watcher.follow(replace(near))  # as after the look that this brings: there is none yet
        kexec.write_text("of today")
        watcher.follow(replace(near))
        await hears("what the kernel tells of kexec is heard from now on")
        kexec.read_bytes()
        await hears("kexec was run or read")
    finally:
        watcher.stop()


async def test_a_folder_that_another_is_mounted_over_is_heard_of_and_followed(tmp_path: Path) -> None:
    near, _ = await sights(tmp_path)
    sight = replace(near, watched=frozenset({"/etc/kdump.conf"}))
    etc, other = tmp_path / "root/etc", tmp_path / "other"
    other.mkdir()
    (other / "kdump.conf").write_text("path /elsewhere\n")
    said: asyncio.Queue[str] = asyncio.Queue()

    async def hears(wanted: str) -> None:
        async with asyncio.timeout(10):
            while await said.get() != wanted:  # others may mount something as well
                pass

    watcher = Watcher(
        Watch(RealFiles(str(tmp_path / "root")), said.put_nowait),
        poke=said.put_nowait,
        doubt=said.put_nowait,
        ears={"mounts": lambda: MountTable(RealFiles("/"), said.put_nowait)},
    )
    try:
        watcher.follow(sight)
        await hears("/ is watched now")
        mounted = subprocess.run(  # noqa: ASYNC221
            ["mount", "--bind", str(other), str(etc)], check=False, capture_output=True, text=True
        )
        if mounted.returncode:
            pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
        try:
            await hears("the mounts changed")
            # As after the look that this brings, which finds the same paths once more.
            watcher.follow(replace(sight, watched=frozenset(["/etc/kdump.conf"])))
            await hears("/etc is watched now")
            (other / "kdump.conf").write_text("path /another\n")
            await hears("/etc/kdump.conf changed")
        finally:
            subprocess.run(["umount", str(etc)], check=True)  # noqa: ASYNC221
    finally:
        watcher.stop()
