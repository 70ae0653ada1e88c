"""kdumpd: builds the parts, hands them to each other, and runs until it is told to stop or has lost its bus."""

from __future__ import annotations

import kdumpd.lean  # noqa: F401  # before all others: see there

# isort: split
import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from systemd import daemon as systemd

from kdumpd.core.config import printable
from kdumpd.core.dumps import Dump
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.status import Activity, Status
from kdumpd.host.bootloader import Bootloader
from kdumpd.host.captures import Captures
from kdumpd.host.crash import Crash, CrashTestFile
from kdumpd.host.dumps import Dumps
from kdumpd.host.ears import ClockSet, Disks, Ear, MountTable, Processors, Routes
from kdumpd.host.history import HistoryFile
from kdumpd.host.image import Store
from kdumpd.host.kexec import Kexec
from kdumpd.host.kexec_runs import KexecRuns
from kdumpd.host.memory import give_back
from kdumpd.host.propagate import Propagations
from kdumpd.host.pstore import Pstore
from kdumpd.host.real import RealFiles, RealPrograms
from kdumpd.host.recover import Recovery
from kdumpd.host.removal import Removals
from kdumpd.host.sums import Sums
from kdumpd.host.target_test import TargetTests
from kdumpd.host.unconfirmed import UnconfirmedFile
from kdumpd.host.watch import Watch
from kdumpd.reading import tuning_of
from kdumpd.service import logs
from kdumpd.service.audit import Audited
from kdumpd.service.bus import BusError, Client, Connection, Exports
from kdumpd.service.crashing import CrashDoor, Crashing, Surroundings
from kdumpd.service.desk import Desk, descriptions
from kdumpd.service.editing import Editing
from kdumpd.service.ending import until_over
from kdumpd.service.expiring import Expiring
from kdumpd.service.finds import Finds
from kdumpd.service.hands import Sight
from kdumpd.service.history import History
from kdumpd.service.inhibiting import Inhibiting
from kdumpd.service.jobs import Job, Jobs, RealClock
from kdumpd.service.machinery import Machinery
from kdumpd.service.permissions import BUS_NAME, ROOT
from kdumpd.service.polkit import Polkit
from kdumpd.service.prebuilding import Prebuilding
from kdumpd.service.propagating import Propagating
from kdumpd.service.proving import Proving
from kdumpd.service.pulse import Pulse, stay_alive
from kdumpd.service.rations import Rations
from kdumpd.service.reconciler import Reconciler
from kdumpd.service.recovering import Recovering
from kdumpd.service.reserving import Reserving
from kdumpd.service.resting import Resting
from kdumpd.service.summing import Summing
from kdumpd.service.waking import hear_of_waking
from kdumpd.service.watcher import NETWORK, Watcher
from kdumpd.service.wishes import Wishes

logger = logging.getLogger(__name__)

THREADS = 3


class Lost(Exception):
    """The bus, or our name on it, is gone: somebody else has to start us again."""


async def serve(asked: argparse.Namespace) -> None:
    """Until the bus is lost (raises Lost) or the task is cancelled. What is loaded stays loaded."""
    clock = RealClock()
    files = RealFiles(asked.root)
    programs = _simulated(asked.root) if asked.simulate else RealPrograms(asked.root)
    store = Store(files, folder=tuning_of(files).store)
    wishes = Wishes(files, programs, folder=store.folder)
    kexec = Kexec(files, programs)
    captures = Captures(files, path=f"{store.folder}/captures.json")
    hands = Machinery(
        files=files, programs=programs, store=store, kexec=kexec, wishes=wishes, captures=captures
    )
    jobs = Jobs(clock)
    finds = Finds(
        dumps=Dumps(files, programs),
        files=files,
        memory=f"{store.folder}/dumps-seen.json",
        clock=clock,
        captures=captures,
        pstore=Pstore(files),
    )
    proving = Proving(
        tests=TargetTests(files, programs),
        jobs=jobs,
        clock=clock,
        saved=lambda: [dump.size_bytes for dump in finds.known if dump.is_complete],
    )
    propagating = Propagating(propagations=Propagations(files, programs), jobs=jobs)
    recovering = Recovering(Recovery(files, programs), on_recovered=finds.poke)

    prebuilding = Prebuilding(hands=hands, ahead=hands.ahead, jobs=jobs, clock=clock)

    def tell(status: Status, sight: Sight) -> None:
        systemd.notify(f"STATUS={printable(status.message)}")
        desk.status_changed()
        history.follow(status, sight)
        finds.follow(sight)
        recovering.follow(sight)
        proving.follow(status, sight)
        prebuilding.follow(status, sight)
        watcher.follow(sight)
        reserving.follow(sight)
        if status.activity in {Activity.IDLE, Activity.WAITING}:
            rest.begin()
        else:
            rest.put_off()

    rest = Resting(give_back)
    jobs.on_end = rest.begin
    history = History(HistoryFile(files, path=f"{store.folder}/history.jsonl"), clock)
    reconciler = Reconciler(hands=hands, jobs=jobs, clock=clock, on_status=tell, pulse=Pulse())
    summing = Summing(Sums(files), on_summed=finds.poke)
    expiring = Expiring(
        removals=Removals(files),
        finds=finds,
        summing=summing,
        clock=clock,
        sight=lambda: reconciler.sight,
    )
    watcher = Watcher(
        Watch(files, reconciler.poke),
        poke=reconciler.poke,
        doubt=reconciler.doubt,
        ears=_ears(files, programs, kexec, reconciler),
        deaf_to=asked.deaf_to,
    )
    reconciler.unwatched = lambda: watcher.problems
    reserving = Reserving(
        bootloader=Bootloader(files, programs),
        jobs=jobs,
        sight=lambda: reconciler.sight,
        on_change=lambda: reconciler.poke("the boot menu was changed", urgent=True),
        is_here=files.outside("/") == "/",
    )
    editing = Editing(
        files=files,
        path=KDUMP_CONF,
        jobs=jobs,
        reconciler=reconciler,
        memory=UnconfirmedFile(files, path=f"{store.folder}/unconfirmed.json"),
    )

    def ended(job: Job) -> None:
        history.job_ended(job)
        editing.job_ended(job)

    jobs.on_result = ended

    async with Connection(asked.bus) as connection, asyncio.TaskGroup() as tasks:
        if await Client(connection, BUS_NAME).is_running():
            raise Trouble(Problem(code="busy", message="another kdumpd is running"))
        trusted = frozenset({0, os.geteuid()})
        gate = Polkit(connection, trusted_uids=trusted)
        rations = Rations(connection, unbounded_uids=trusted)
        exports = Exports(
            connection, root=ROOT, gate=Audited(gate, clock), rations=rations, confidants=trusted
        )

        def inhibitors_changed(reason: str) -> None:
            desk.status_changed()
            reconciler.poke(reason, urgent=True)

        inhibiting = Inhibiting(connection, inhibitors_changed)
        reconciler.inhibitors = inhibiting.known
        prebuilding.is_inhibited = lambda: bool(inhibiting.known())
        crashing = Crashing(
            crash=_simulated_crash(files) if asked.simulate else Crash(files, programs),
            memory=CrashTestFile(files, path=f"{store.folder}/test-crash.json"),
            files=files,
            around=Surroundings(
                status=lambda: reconciler.status,
                sight=lambda: reconciler.sight,
                require_uninhibited=inhibiting.require_none,
                target_test=lambda: proving.last,
                is_recovering=lambda: recovering.is_at_work,
            ),
            finds=finds,
            history=history,
            clock=clock,
            is_here=asked.simulate or files.outside("/") == "/",
        )
        desk = Desk(
            exports,
            descriptions(asked.interfaces),
            reconciler=reconciler,
            jobs=jobs,
            hands=hands,
            editing=editing,
            permissions=gate,
            finds=finds,
            expiring=expiring,
            proving=proving,
            propagating=propagating,
            concerns=lambda: watcher.problems,
            history=history,
            inhibiting=inhibiting,
            reserving=reserving,
            crashing=crashing,
            image_of=hands.ahead.image_of,
        )

        def found(new: tuple[Dump, ...]) -> None:
            desk.dumps_changed(new=new)
            expiring.follow(new)
            summing.follow(finds.known, new)
            crashing.found(finds.known)
            rest.begin()

        proving.on_change = desk.status_changed
        finds.on_measured = lambda: reconciler.poke("a capture told how much memory it took")
        finds.on_change = found
        finds.marked = crashing.marked
        crashing.on_change = desk.status_changed
        prebuilding.on_prepared = desk.kernels_changed
        await hands.sweep()
        await history.remember()
        await crashing.remember()
        await editing.resume()
        tasks.create_task(history.run(), name="history")
        tasks.create_task(editing.run(), name="changes")
        tasks.create_task(reconciler.run(), name="reconciler")
        await reconciler.looked.wait()
        desk.open()
        await connection.own(BUS_NAME)
        systemd.notify("READY=1")
        tasks.create_task(finds.run(lambda: reconciler.sight), name="dumps")
        tasks.create_task(expiring.run(), name="retention")
        tasks.create_task(summing.run(), name="sums")
        tasks.create_task(recovering.run(), name="recovery")
        tasks.create_task(proving.run(lambda: reconciler.sight), name="target test")
        tasks.create_task(propagating.run(), name="keys")
        tasks.create_task(crashing.run(), name="test crash")
        tasks.create_task(reserving.run(), name="boot menu")
        tasks.create_task(prebuilding.run(), name="prebuilding")
        tasks.create_task(stay_alive(reconciler.pulse), name="watchdog")
        if "sleep" not in asked.deaf_to:
            tasks.create_task(hear_of_waking(connection, reconciler.poke), name="sleep")
        gc.collect()
        gc.freeze()
        try:
            raise Lost(await connection.lost())
        finally:
            watcher.stop()
            await exports.close()
            await inhibiting.close()


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 after SIGTERM or SIGINT, else 1, so that systemd starts us again."""
    asked = parser().parse_args(argv)
    logs.begin()
    try:
        asyncio.run(_until_stopped(asked))
    except* Lost as lost:
        logger.error("the connection to the bus is over (%s)", lost.exceptions[0])
    except* (Trouble, BusError, OSError) as faults:
        for fault in faults.exceptions:
            logger.error("%s", fault)
    else:
        return 0
    return 1


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(prog="kdumpd", description=__doc__)
    known.add_argument("--root", default="/", metavar="DIR", help="read and write below this directory")
    known.add_argument("--bus", default="", metavar="ADDRESS", help="serve on this bus, not on the system's")
    known.add_argument("--simulate", action="store_true", help="pretend to load: flip the files under --root")
    known.add_argument("--interfaces", default="", metavar="DIR", help="where the introspection files are")
    known.add_argument(
        "--deaf-to",
        action="append",
        default=[],
        metavar="WHAT",
        help="do not watch this path, or do not hear of this: mounts, processors, disks, network, kexec, clock, sleep",
    )
    return known


async def _until_stopped(asked: argparse.Namespace) -> None:
    # Each thread of the usual pool keeps memory of its own for ever; we read files in one or two at a time.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="files"))
    serving = asyncio.ensure_future(serve(asked))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await until_over(serving)
    finally:
        systemd.notify("STOPPING=1")


def _ears(
    files: RealFiles, programs: RealPrograms, kexec: Kexec, reconciler: Reconciler
) -> Mapping[str, Callable[[], Ear]]:
    """Under another root than `/` the kernel's own news are not of that machine."""

    def somebody_loads() -> None:
        kexec.disown()
        reconciler.poke("somebody else ran kexec to load a crash kernel", urgent=True)

    of_files: dict[str, Callable[[], Ear]] = {
        "kexec": lambda: KexecRuns(
            files, programs.find("kexec"), news=reconciler.doubt, on_load=somebody_loads
        ),
    }
    if files.outside("/") != "/":
        return of_files
    return of_files | {
        "mounts": lambda: MountTable(files, reconciler.doubt),
        "processors": lambda: Processors(reconciler.doubt),
        "disks": lambda: Disks(reconciler.doubt),
        NETWORK: lambda: Routes(reconciler.doubt),
        "clock": lambda: ClockSet(reconciler.poke),
    }


def _simulated_crash(files: RealFiles) -> CrashDoor:
    from kdumpd.host.simulated import SimulatedCrash

    return SimulatedCrash(files)


def _simulated(root: str) -> RealPrograms:
    from kdumpd.host.simulated import SimulatedPrograms

    return SimulatedPrograms(root)


if __name__ == "__main__":
    sys.exit(main())
