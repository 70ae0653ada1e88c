"""What a capture needs, asked over the bus: answered at once, refined by captures, and kept to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from kdumpd.core.estimate import Capture
from kdumpd.service.permissions import MANAGER, ROOT
from tests.service.private_bus import PrivateBus
from tests.service.test_interfaces import OURS, Served, refused, served
from tests.service.world import World, world

MIB = 1 << 20


async def estimated(s: Served) -> Mapping[str, object]:
    (found,) = await s.client.call(ROOT, MANAGER, "Estimate", "a{sv}", {})
    assert isinstance(found, Mapping)
    return found


def leave_a_dump(w: World, *, used_mib: int, kind: str, name: str = "127.0.0.1-2026-01-03-03:04:05") -> None:
    """As a capture leaves it that was given 256 MiB."""
    folder = w.root / "var/crash" / name
    folder.mkdir(parents=True)
    (folder / "vmcore").write_bytes(b"core")
    summary = {
        "result": "saved",
        "started_at": 1_767_000_000,
        "kernel_release": "6.1.0",
        "memory_kind": kind,
        "memory_reserved_kib": 256 << 10,
        "memory_least_kib": (256 - used_mib) << 10,
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def reserve(w: World, mib: int) -> None:
    (w.root / "sys/kernel/kexec_crash_size").write_text(f"{mib * MIB}\n")


async def test_the_estimate_is_answered_without_a_step(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        ran, jobs = s.world.programs.ran.total(), len(s.world.jobs.known)
        found = await estimated(s)
        assert (s.world.programs.ran.total(), len(s.world.jobs.known)) == (ran, jobs)
        assert found["reserved"] == 256 * MIB
        assert (found["basis"], found["captures"], found["built"], found["fits"]) == (
            "guessed",
            0,
            True,
            True,
        )
        plan = s.world.reconciler.sight.resolution.plan
        assert plan is not None
        manifest = s.world.store.manifest(plan.image_fingerprint)
        assert manifest is not None
        assert (found["image"], found["unpacked"]) == (manifest.size_bytes, manifest.unpacked_bytes)


async def test_a_capture_refines_it_and_is_remembered(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        plan = s.world.reconciler.sight.resolution.plan
        assert plan is not None
        guessed = s.world.reconciler.sight.estimate
        leave_a_dump(s.world, used_mib=87, kind=plan.memory_kind)
        await s.finds.look(s.world.reconciler.sight)
        await s.world.until(lambda _now: s.world.reconciler.sight.estimate != guessed)
        found = await estimated(s)
        assert (found["basis"], found["captures"], found["needed"]) == ("measured", 1, 91 * MIB)
        assert (found["recommended"], found["crashkernel"]) == (128 * MIB, "128M")
        kept = json.loads((s.world.root / "var/lib/kdumpd/captures.json").read_text())
        assert [each["kind"] for each in kept] == [plan.memory_kind]
        await s.finds.look(s.world.reconciler.sight)
        assert (await estimated(s))["captures"] == 1, "a dump tells once"


async def test_without_a_plan_it_is_said_why(tmp_path: Path, bus: PrivateBus) -> None:
    async with served(tmp_path, bus) as s:
        await s.world.edit("unheard_of 1\n")
        await s.world.until(lambda now: now.state == "stale")
        assert await refused(s.client, MANAGER, "Estimate", "a{sv}", {}) == f"{OURS}InvalidConfig"


async def test_a_reservation_that_is_too_small_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    async with world(tmp_path, before=lambda w: reserve(w, 12)) as w:
        status = await w.until(lambda now: now.state == "failed" and now.activity == "idle")
        assert status.reason == "image-too-big"
        assert "12 MiB are reserved" in status.message
        assert "crashkernel=" in status.message
        assert w.programs.ran["zstd"] == 0, "nothing was packed"
        assert not w.store.bases()


async def test_a_reservation_that_may_do_is_armed_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path, before=lambda w: reserve(w, 24)) as w:
        await w.armed()
    assert "a capture may need" in caplog.text
    assert "24 MiB are reserved" in caplog.text


async def test_what_is_armed_stays_armed_where_the_next_image_cannot_fit(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.armed()
        reserve(w, 12)
        loads = w.programs.ran["kexec"]
        w.make_folder("/var/other")
        await w.edit("path /var/other\n")
        status = await w.until(lambda now: now.state == "stale" and now.reason == "image-too-big")
        assert status.protected
        assert w.is_loaded
        assert w.programs.ran["kexec"] == loads


@pytest.mark.parametrize(("mib", "fits"), [(100, False), (320, True)])
async def test_measured_numbers_win_over_the_guess(tmp_path: Path, *, mib: int, fits: bool) -> None:
    def after_a_large_capture(w: World) -> None:
        reserve(w, mib)
        kind = "direct filesystem ext4 makedumpfile"
        large = Capture(
            started_at=1, kind=kind, kernel_release="", reserved_bytes=512 * MIB, least_bytes=200 * MIB
        )
        assert w.captures.learn([large])

    async with world(tmp_path, before=after_a_large_capture) as w:
        if fits:
            await w.armed()
        else:
            status = await w.until(lambda now: now.state == "failed" and now.activity == "idle")
            assert "measured" in status.message, "the guess alone would have let it pass"
