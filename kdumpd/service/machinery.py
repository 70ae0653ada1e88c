"""The hands of the reconciler on a machine: each look and each step, put together from the rooms below."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

from pydantic import JsonValue

from kdumpd.core import explain, facts, mounts
from kdumpd.core.armed import Armed, is_what_was_loaded
from kdumpd.core.estimate import Estimate
from kdumpd.core.machine import Machine
from kdumpd.core.plan import Engine, Json, Plan, describe
from kdumpd.core.problems import Problem, Trouble, errors
from kdumpd.core.storing import Room
from kdumpd.core.tuning import Tuning
from kdumpd.host import blocks, direct, dracut, network, proof
from kdumpd.host.captures import Captures
from kdumpd.host.crash_kernel import crash_kernel
from kdumpd.host.doors import Files, Programs, text
from kdumpd.host.finishing import finish_writing, writing_meanwhile
from kdumpd.host.image import BASES, IMAGES, Store
from kdumpd.host.kexec import Kexec
from kdumpd.host.watch import sysfs_signature
from kdumpd.reading import Reading, read
from kdumpd.service.ahead import Ahead
from kdumpd.service.estimating import estimate_of
from kdumpd.service.hands import Sight, Telling
from kdumpd.service.wishes import Wishes

logger = logging.getLogger(__name__)

NETWORK_POLL = 300.0
"""Seconds between two looks while a dump goes to a server: what a name means is known to nobody who would tell us."""


class Machinery:
    """See `Hands`. One step at a time is the reconciler's care."""

    def __init__(
        self,
        *,
        files: Files,
        programs: Programs,
        store: Store,
        kexec: Kexec,
        wishes: Wishes,
        captures: Captures,
    ) -> None:
        self.ahead = Ahead(files=files, programs=programs, store=store)
        self._files = files
        self._programs = programs
        self._store = store
        self._kexec = kexec
        self._wishes = wishes
        self._proved = proof.Proved()
        self._captures = captures
        self._tuning = Tuning()
        self._reading: Reading | None = None
        self._described: tuple[Plan, Json] | None = None
        self._moved: tuple[Plan, Armed, tuple[str, ...]] | None = None
        self._is_on_network = False

    async def sweep(self) -> None:
        """Remove what a daemon that was killed left half done. Before the first step."""
        await asyncio.to_thread(self._store.sweep)

    async def look(self) -> Sight:
        reading = await read(self._files, self._programs)
        self._tuning = reading.tuning
        self._reading = reading
        self._is_on_network = bool(reading.machine.network.hosts)
        return await asyncio.to_thread(self._sight, reading)

    async def look_again(self) -> Sight:
        if self._reading is None:
            return await self.look()
        crash = await asyncio.to_thread(crash_kernel, self._files)
        machine = replace(self._reading.machine, crash=crash)
        return await asyncio.to_thread(self._sight, replace(self._reading, machine=machine))

    async def glimpse(self) -> str:
        present = text(self._files, "/sys/devices/system/cpu/present")
        layout = facts.layout(cpus_present=present, iomem=text(self._files, "/proc/iomem"))
        table = text(self._files, "/proc/1/mountinfo") or text(self._files, "/proc/self/mountinfo")
        mounted = mounts.signature(table, near=self._reading.watched if self._reading else frozenset())
        disks = blocks.signature(self._files)
        routes = await asyncio.to_thread(network.signature, self._files) if self._is_on_network else ""
        return f"{sysfs_signature(self._files)}\n{layout}\n{mounted}\n{disks}\n{routes}"

    async def room(self) -> Room:
        return await asyncio.to_thread(self._store.room)

    async def build_base(self, plan: Plan, telling: Telling) -> None:
        await self._with_room(lambda: self._build_base(plan, telling), telling)

    async def build_image(self, plan: Plan, telling: Telling) -> None:
        await self._with_room(lambda: self._build_image(plan, telling), telling)

    async def _with_room(self, build: Callable[[], Awaitable[None]], telling: Telling) -> None:
        """Where the disk is full, what need not be kept makes room, and the build is tried once more."""
        try:
            await build()
        except Trouble as fault:
            if not any(problem.code == "no-space" for problem in fault.problems):
                raise
            gone = await finish_writing(lambda: self._store.prune(replace(self.ahead.keep, budget_bytes=0)))
            if not gone:
                raise
            telling.line(f"there was no room: {len(gone)} older images were removed, and it is tried again")
        else:
            return
        await build()

    async def _build_base(self, plan: Plan, telling: Telling) -> None:
        with self._store.workshop() as folder:
            target = f"{folder}/base.img"
            async with self._in_time():
                telling.stage("build")
                beneath = ""
                if plan.base.engine is Engine.DRACUT:
                    beneath = await dracut.gather(
                        plan.base,
                        files=self._files,
                        programs=self._programs,
                        target=target,
                        on_stage=telling.stage,
                    )
                await direct.build_base(
                    plan.base,
                    files=self._files,
                    programs=self._programs,
                    target=target,
                    on_stage=telling.stage,
                    beneath=beneath,
                )
                telling.stage("prove")
                proved = await proof.prove_base(
                    target,
                    plan.base,
                    files=self._files,
                    programs=self._programs,
                    folder=f"{folder}/proof",
                )
            _tell_warnings(proved, telling)
            await finish_writing(
                lambda: self._store.publish_base(
                    plan.base_fingerprint,
                    built=target,
                    description=_json(describe(plan.base)),
                    unpacked_bytes=proved.unpacked_bytes,
                    record=proved.record,
                )
            )

    async def _build_image(self, plan: Plan, telling: Telling) -> None:
        with self._store.workshop() as folder:
            overlay = f"{folder}/overlay.img"
            async with self._in_time():
                telling.stage("overlay")
                await direct.build_overlay(
                    plan.overlay,
                    base=plan.base,
                    files=self._files,
                    target=overlay,
                )
                telling.stage("prove")
                async with writing_meanwhile(
                    lambda: self._store.join_image(
                        plan.image_fingerprint, base=plan.base_fingerprint, overlay=overlay, folder=folder
                    )
                ) as joining:
                    proved = await proof.prove_image(
                        (self._store.base(plan.base_fingerprint), overlay),
                        plan,
                        beneath=self._store.record(plan.base_fingerprint),
                        proved=self._proved,
                        reserved_bytes=self._kexec.crash_kernel().reserved_bytes,
                        captures=self._captures.known,
                        files=self._files,
                        programs=self._programs,
                        folder=f"{folder}/proof",
                    )
                joined = joining.result()
            _tell_warnings(proved, telling)
            await finish_writing(
                lambda: self._store.publish_image(
                    joined, description=self._describe(plan), unpacked_bytes=proved.unpacked_bytes
                )
            )
        if self._reading is not None and (tight := self._estimate(plan, self._reading.machine).warning):
            logger.warning("%s", tight)
            telling.line(str(tight))

    async def load(self, plan: Plan, telling: Telling) -> None:
        telling.stage("load")
        await asyncio.to_thread(self._require_as_planned, plan)
        record = await self._kexec.load(self._order(plan), on_line=telling.line)
        await self._remember_good(record)

    async def restore(self, last_good: Armed, telling: Telling) -> None:
        telling.stage("restore")
        await asyncio.to_thread(self._store.require_sound, last_good)
        await self._kexec.restore(last_good, on_line=telling.line)

    async def unload(self, telling: Telling) -> None:
        telling.stage("unload")
        await self._kexec.unload(on_line=telling.line)

    async def tidy(self) -> None:
        def tidy() -> None:
            if self._store.prune(self.ahead.keep):
                self.ahead.take_stock()

        await finish_writing(tidy)

    async def wish(self, *, enabled: bool, for_this_boot: bool) -> None:
        if for_this_boot:
            await asyncio.to_thread(self._wishes.want if enabled else self._wishes.hold)
        else:
            await (self._wishes.enable() if enabled else self._wishes.disable())

    async def hold(self, *, held: bool) -> None:
        await asyncio.to_thread(self._wishes.hold if held else self._wishes.release)

    def _sight(self, reading: Reading) -> Sight:
        machine, plan = reading.machine, reading.resolution.plan
        if not machine.crash.loaded:
            self._kexec.forget()
        armed = self._kexec.armed()
        last_good = self._store.last_good()
        releases = {machine.kernel_release, plan.base.kernel_release if plan else machine.kernel_release}
        manifest = self._store.manifest(armed.image) if armed is not None else None
        entries = self._store.entries()
        self.ahead.follow(reading, armed, entries)
        return Sight(
            config=reading.config,
            resolution=reading.resolution,
            machine=machine,
            settle_seconds=reading.tuning.settle_seconds,
            settle_cap_seconds=reading.tuning.settle_cap_seconds,
            slow_poll_seconds=min(
                reading.tuning.slow_poll_seconds, NETWORK_POLL if self._is_on_network else math.inf
            ),
            enabled=self._wishes.enabled,
            held=self._wishes.held,
            armed=armed,
            intent_left=self._kexec.intent() is not None,
            last_good=last_good if last_good is not None and last_good.kernel_release in releases else None,
            bases=frozenset(each.fingerprint for each in entries if each.part == BASES),
            images=frozenset(each.fingerprint for each in entries if each.part == IMAGES),
            stale=self._stale(reading, armed),
            initramfs_built_us=manifest.built_us if manifest is not None else 0,
            initramfs_bytes=manifest.size_bytes if manifest is not None else 0,
            watched=reading.watched,
            ahead=self.ahead.releases,
            ahead_inputs=self.ahead.inputs,
            estimate=self._estimate(plan, machine) if plan is not None else None,
            room=self._store.room(),
            build_timeout_seconds=reading.tuning.build_timeout_seconds,
            target_test_hours=reading.tuning.target_test_hours,
            retention=reading.tuning.retention,
        )

    def _describe(self, plan: Plan) -> JsonValue:
        """Made once for a plan: it goes into the image's manifest, into the records, and into what is stale."""
        described = self._described  # an image may be built ahead in another thread, of another plan
        if described is None or described[0] is not plan:
            described = self._described = plan, describe(plan)
        return _json(described[1])

    def _stale(self, reading: Reading, armed: Armed | None) -> tuple[str, ...]:
        plan = reading.resolution.plan
        if plan is None:
            return tuple(dict.fromkeys(problem.code for problem in errors(reading.resolution.problems)))
        if armed is None or is_what_was_loaded(plan, armed, reading.machine.crash):
            return ()
        if self._moved is None or self._moved[0] is not plan or self._moved[1] is not armed:
            moved = explain.reasons(armed.description, self._describe(plan)) or ("config-changed",)
            self._moved = plan, armed, moved
        config = reading.config.config
        is_kept = config is not None and config.force_no_rebuild
        return (*(("force_no_rebuild",) if is_kept else ()), *self._moved[2])

    def _estimate(self, plan: Plan, machine: Machine) -> Estimate:
        return estimate_of(plan, machine, store=self._store, captures=self._captures)

    def _require_as_planned(self, plan: Plan) -> None:
        """What is on the disk now is what the record will say was loaded."""
        if not self._store.is_sound(plan.image_fingerprint):
            # As good as absent: without it the next look asks for a new one.
            self._files.remove(self._store.initramfs(plan.image_fingerprint))
            raise Trouble(
                Problem(code="image-damaged", message="the image in the store is damaged; it is built again")
            )
        kernel = plan.load.kernel_image
        if self._files.digest(kernel) != plan.load.kernel_digest:
            raise Trouble(
                Problem(
                    code="changed-while-loading", message=f"{kernel} is another file than it was", file=kernel
                )
            )

    def _order(self, plan: Plan) -> Armed:
        return Armed(
            boot_id="",  # the load fills in these two
            loaded_us=0,
            kernel_release=plan.base.kernel_release,
            kernel_image=plan.load.kernel_image,
            initramfs=self._store.initramfs(plan.image_fingerprint),
            command_line=plan.load.command_line,
            kexec_flags=plan.load.kexec_flags,
            base=plan.base_fingerprint,
            overlay=plan.overlay_fingerprint,
            image=plan.image_fingerprint,
            load=plan.load_fingerprint,
            load_but_layout=plan.load_fingerprint_but_layout,
            layout=plan.load.layout,
            description=self._describe(plan),
        )

    async def _remember_good(self, record: Armed) -> None:
        try:
            await asyncio.to_thread(self._store.remember_good, record)
        except Trouble as fault:
            logger.error("armed, but the next boot will not know this image as the last good one: %s", fault)

    def _in_time(self) -> _Deadline:
        return _Deadline(self._tuning.build_timeout_seconds)


class _Deadline:
    """Ends what takes longer than `seconds`, with a Problem in place of a TimeoutError."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *raised: object) -> None:
        try:
            await self._timeout.__aexit__(*raised)  # type: ignore[arg-type]
        except TimeoutError as fault:
            raise Trouble(
                Problem(
                    code="timeout",
                    message=f"building took longer than {self._seconds:g} seconds and was ended",
                    hint="build_timeout_seconds in /etc/kdumpd.toml",
                )
            ) from fault


def _tell_warnings(proved: proof.Proof, telling: Telling) -> None:
    for problem in proved.warnings:
        telling.line(str(problem))


def _json(value: object) -> JsonValue:
    return cast("JsonValue", value)
