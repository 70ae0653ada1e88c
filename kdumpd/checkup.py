"""One look at all that `kdumpctl doctor` judges: the plan, and what decides beside it whether a crash is captured."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import NamedTuple

from kdumpd.core import doctor_load, locate_disk, mounts, sysconfig, tuning
from kdumpd.core.config import Config
from kdumpd.core.estimate import Estimate
from kdumpd.core.forecast import Pages, forecast
from kdumpd.core.hooks import FOLDERS
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.machine import Machine
from kdumpd.core.plan import Resolution
from kdumpd.core.problems import Problem
from kdumpd.core.symptoms import Daemon, DumpsPlace, Symptoms, Wish
from kdumpd.core.targets import Filesystem, Ssh
from kdumpd.host import symptoms
from kdumpd.host.captures import Captures
from kdumpd.host.image import Store
from kdumpd.host.kexec import ARMED, Kexec
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.host.target_test import TargetTests
from kdumpd.reading import Reading, read
from kdumpd.service.estimating import estimate_of
from kdumpd.service.wishes import Wishes


class Told(NamedTuple):
    """What only the daemon knows, with the size of a dump as it last counted it (0: it did not)."""

    daemon: Daemon | None
    forecast_bytes: int = 0


async def look(*, root: str, told: Told) -> Symptoms:
    """Touches nothing. Raises OSError where the machine itself cannot be looked at."""
    files, programs = RealFiles(root), RealPrograms(root)
    reading = await read(files, programs)
    pages = None
    config = reading.config.config
    if config is not None and not told.forecast_bytes and os.geteuid() == 0 and files.root == "/":
        pages = await TargetTests(files, programs).pages()
    found = await asyncio.to_thread(_found, files, programs, reading, told, pages)
    return replace(found, kexec_version=await symptoms.kexec_version(files, programs))


def _found(
    files: RealFiles, programs: RealPrograms, reading: Reading, told: Told, pages: Pages | None
) -> Symptoms:
    machine, config, plan = reading.machine, reading.config.config, reading.resolution.plan
    seen = symptoms.Look(files)
    store = Store(files, folder=reading.tuning.store)
    wishes = Wishes(files, programs, folder=reading.tuning.store)
    last_good = store.last_good()
    newest = max(
        last_good.loaded_us if last_good is not None else 0,
        seen.modified_us(f"/lib/modules/{machine.kernel_release}/modules.dep"),
    )
    found = Symptoms(
        machine=machine,
        resolution=reading.resolution,
        config=config,
        sysconfig=reading.sysconfig,
        tuning=reading.tuning,
        estimate=seen.attempt(
            reading.tuning.store, lambda: _estimate(files, store, machine, reading.resolution), None
        ),
        daemon=told.daemon,
        wish=Wish(
            lasts=seen.attempt("/etc/systemd/system", lambda: wishes.lasts, otherwise=True),
            is_held=seen.attempt("/run/kdumpd", lambda: wishes.held, otherwise=False),
        ),
        is_recorded=seen.attempt(ARMED, lambda: _is_recorded(files, programs), None),
        sysctls=seen.sysctls(),
        sysctl_files=seen.sysctl_files(),
        has_post_notifiers=seen.has_post_notifiers(),
        watchdogs=seen.watchdogs(),
        runtime_watchdog=seen.runtime_watchdog(),
        units=seen.units((doctor_load.WISH, doctor_load.DAEMON, *doctor_load.OTHERS)),
        modes=seen.modes((KDUMP_CONF, tuning.FILE, *sysconfig.FILES, *FOLDERS)),
        keys=seen.modes([config.sshkey] if config is not None and isinstance(config.target, Ssh) else []),
        hooks=seen.hooks(config) if config is not None else (),
        store_room=seen.room(reading.tuning.store),
        place=_place(seen, machine, config, told, pages) if config is not None else DumpsPlace(),
        now_us=time.time_ns() // 1000,
        newest_us=newest,
        is_kernel_signed=seen.is_signed(plan.load.kernel_image) if plan is not None else None,
        encryption=seen.encryption(machine),
        is_on_hyperv=seen.is_on_hyperv(),
        has_iommu=seen.has_iommu(),
        package_tool=symptoms.package_tool(programs),
        is_root=os.geteuid() == 0,
    )
    return replace(found, unread=_telling(seen.unread, told))


def _estimate(files: RealFiles, store: Store, machine: Machine, resolution: Resolution) -> Estimate | None:
    if resolution.plan is None:
        return None
    captures = Captures(files, path=f"{store.folder}/captures.json")
    return estimate_of(resolution.plan, machine, store=store, captures=captures)


def _is_recorded(files: RealFiles, programs: RealPrograms) -> bool:
    """Raises OSError where the record cannot be read."""
    kexec = Kexec(files, programs)
    if files.exists(ARMED):
        files.read_bytes(ARMED)
    return kexec.armed() is not None or kexec.intent() is not None


def _place(
    seen: symptoms.Look, machine: Machine, config: Config, told: Told, pages: Pages | None
) -> DumpsPlace:
    folder = _folder(machine, config)
    if not folder or mounts.may_wait(machine.mounts, folder):
        return DumpsPlace()
    dumps = seen.dumps(folder)
    expected = forecast(
        config.core_collector,
        memory_bytes=machine.memory_bytes,
        pages=pages,
        saved_bytes=[each.size_bytes for each in dumps],
    )
    return DumpsPlace(
        folder=folder,
        room=seen.room(folder),
        capacity_bytes=seen.capacity(folder),
        forecast_bytes=told.forecast_bytes or (expected.size_bytes if expected is not None else 0),
        dumps=dumps,
    )


def _folder(machine: Machine, config: Config) -> str:
    """Where the dumps would be seen on the running system, "" where nowhere."""
    match config.target:
        case None:
            followed = machine.followed(config.path)
            return "" if followed.is_endless or followed.is_beyond else followed.real
        case Filesystem(device=device):
            return locate_disk.seen_at(machine, device, config.path)
        case _:
            return ""


def _telling(unread: tuple[Problem, ...], told: Told) -> tuple[Problem, ...]:
    """Without the record, where the daemon says whether what is loaded is its own."""
    is_told = told.daemon is not None and bool(told.daemon.state)
    return tuple(problem for problem in unread if not (is_told and problem.message.startswith(ARMED)))
