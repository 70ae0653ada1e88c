"""The whole daemon while kernels come and go: an image before the first boot, one load at it, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from kdumpd.host.image import FOLDER, Store
from kdumpd.host.real import RealFiles
from kdumpd.host.watch import Watch
from kdumpd.service.interfaces import kernel_path
from kdumpd.service.permissions import JOB, KERNEL, MANAGER, ROOT
from tests.kernels import NEXT, install_kernel, reboot_into, remove_kernel, run_depmod, unpack_kernel
from tests.service.private_bus import PrivateBus
from tests.simulate import PATIENCE, RELEASE, Machine, Sampler, simulated


def kernels_in_store(machine: Machine) -> list[str]:
    entries = Store(RealFiles(str(machine.root))).entries()
    return sorted(f"{each.part} {each.kernel_release}" for each in entries)


@contextlib.asynccontextmanager
async def prebuilt(machine: Machine) -> AsyncIterator[list[str]]:
    """Does what is in the block, then waits for the end of a job of that kind; its result and its kernel."""
    said: list[str] = []
    async with asyncio.timeout(PATIENCE), machine.client.signals(MANAGER, "JobRemoved", below=ROOT) as ends:
        yield said
        while True:
            _, path, kind, result = (await anext(ends)).body
            if kind == "prebuild":
                said += [str(result), str(await machine.client.get(str(path), JOB, "Kernel"))]
                return


async def until_stored(machine: Machine, wanted: list[str]) -> None:
    changed = asyncio.Event()
    watch = Watch(RealFiles(str(machine.root)), lambda _: changed.set())
    watch.cover(frozenset({f"{FOLDER}/bases", f"{FOLDER}/images"}))
    try:
        async with asyncio.timeout(PATIENCE):
            while kernels_in_store(machine) != wanted:
                await changed.wait()
                changed.clear()
    finally:
        watch.stop()


def both(*releases: str) -> list[str]:
    return sorted(f"{part} {release}" for part in ("bases", "images") for release in releases)


async def test_from_the_installation_of_a_kernel_to_the_removal_of_the_one_before(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus) as machine:
        await machine.until_armed()
        before = machine.armed_with
        with Sampler(machine.loaded_file) as sampler:
            async with prebuilt(machine) as said:
                unpack_kernel(machine.root)
                run_depmod(machine.root)
        assert said == ["done", NEXT]
        assert kernels_in_store(machine) == both(RELEASE, NEXT)
        kernel = await machine.client.wait_until(kernel_path(NEXT), KERNEL, lambda now: bool(now["UpToDate"]))
        assert (kernel["Release"], kernel["Running"], kernel["Default"]) == (NEXT, False, False)
        image = machine.root / str(kernel["Initramfs"]).lstrip("/")
        assert (image.stat().st_size, kernel["Image"]) == (kernel["InitramfsSize"], f"/boot/vmlinuz-{NEXT}")
        assert machine.armed_with == before
        assert not sampler.unloaded

        assert await machine.stop() == 0
        machine.log.write_bytes(b"")
        reboot_into(machine.root, NEXT, boot_id="another-boot")
        await machine.start()
        await machine.until_armed()
        log = machine.log.read_text()
        assert machine.armed_with["kernel_release"] == NEXT
        assert log.count("INFO kdumpd.service.journal: load: ") == 1
        assert "INFO kdumpd.service.journal: build" not in log
        assert "zstd" not in log

        remove_kernel(machine.root, RELEASE)
        await until_stored(machine, both(NEXT))
        assert machine.armed_with["kernel_release"] == NEXT


async def test_it_can_be_read_and_cancelled_on_the_bus_while_the_machine_is_served(
    tmp_path: Path, bus: PrivateBus
) -> None:
    async with simulated(tmp_path, bus, heavy_bytes=30_000_000) as machine:
        await machine.until_armed()
        async with (
            asyncio.timeout(PATIENCE),
            machine.client.signals(MANAGER, "JobNew", below=ROOT) as begun,
        ):
            install_kernel(machine.root)
            while True:
                _, path, kind = (await anext(begun)).body
                if kind == "prebuild":
                    break
        job = str(path)
        seen = await machine.client.wait_until(job, JOB, lambda now: now["Stage"] != "")
        assert (seen["State"], seen["Kernel"], seen["Cancelable"]) == ("running", NEXT, True)
        assert await machine.client.get(ROOT, MANAGER, "State") == "armed"
        assert await machine.client.get(ROOT, MANAGER, "Activity") == "idle"
        await machine.client.call(job, JOB, "Cancel", "a{sv}", {})
        ended = await machine.client.wait_until(job, JOB, lambda now: now["State"] == "done")
        assert ended["Result"] == "cancelled"
        assert f"images {NEXT}" not in kernels_in_store(machine)
