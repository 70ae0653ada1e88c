"""Everything kdumpd serves on the bus, kept in step with what the reconciler sees and what the jobs do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kdumpd.core.dumps import Dump
from kdumpd.core.keeping import CaptureImage
from kdumpd.core.problems import Problem
from kdumpd.service.bus import Description, Exports, describe
from kdumpd.service.crashing import Crashing
from kdumpd.service.editing import Editing
from kdumpd.service.expiring import Expiring
from kdumpd.service.finds import Finds
from kdumpd.service.hands import Hands, Sight
from kdumpd.service.history import History
from kdumpd.service.inhibiting import Inhibiting
from kdumpd.service.interfaces import (
    ManagerInterface,
    Permissions,
    dump_path,
    job_path,
    kernel_path,
)
from kdumpd.service.interfaces_config import ConfigInterface
from kdumpd.service.interfaces_dump import EXPORTED_AT_MOST, DumpCatalogue, DumpInterface
from kdumpd.service.interfaces_job import JobInterface, KernelInterface
from kdumpd.service.jobs import Job, Jobs
from kdumpd.service.log_control import LogControl
from kdumpd.service.permissions import (
    CONFIG,
    DUMP,
    JOB,
    KERNEL,
    LOG_CONTROL,
    LOG_CONTROL_PATH,
    MANAGER,
    ROOT,
    file_of,
)
from kdumpd.service.propagating import Propagating
from kdumpd.service.proving import Proving
from kdumpd.service.reconciler import Reconciler
from kdumpd.service.reserving import Reserving

INTERFACES = (MANAGER, CONFIG, JOB, KERNEL, DUMP, LOG_CONTROL)

INSTALLED = "/usr/share/dbus-1/interfaces"


def descriptions(folder: str) -> Mapping[str, Description]:
    """The introspection files, from `folder`, from where they are installed, or from the source tree. Raises OSError."""
    beside = str(Path(__file__).parents[2] / "dbus")
    places = (folder,) if folder else (beside, INSTALLED)
    place = next((one for one in places if Path(one, f"{INTERFACES[0]}.xml").exists()), places[-1])
    return {name: describe(Path(place, file_of(name)).read_text(encoding="utf-8")) for name in INTERFACES}


class Desk:
    """The audience of the jobs. Nothing is served before `open`, which needs a first look."""

    def __init__(
        self,
        exports: Exports,
        descriptions: Mapping[str, Description],
        *,
        reconciler: Reconciler,
        jobs: Jobs,
        hands: Hands,
        editing: Editing,
        permissions: Permissions,
        finds: Finds,
        expiring: Expiring,
        proving: Proving,
        propagating: Propagating,
        concerns: Callable[[], tuple[Problem, ...]],
        history: History,
        inhibiting: Inhibiting,
        reserving: Reserving,
        crashing: Crashing,
        image_of: Callable[[str], CaptureImage | None],
    ) -> None:
        """`concerns` are warnings of kdumpd itself, that no plan knows of."""
        self._image_of = image_of
        self._exports = exports
        self._descriptions = descriptions
        self._reconciler = reconciler
        self._jobs = jobs
        self._finds = finds
        self._expiring = expiring
        self._served: dict[int, JobInterface] = {}
        self._kernels: dict[str, KernelInterface] = {}
        self._dumps: dict[str, DumpInterface] = {}
        self._is_open = False
        self._seen: Sight | None = None
        self.manager = ManagerInterface(
            descriptions[MANAGER],
            reconciler=reconciler,
            jobs=jobs,
            hands=hands,
            permissions=permissions,
            last_dump=lambda: finds.latest,
            catalogue=DumpCatalogue(finds=finds, expiring=expiring),
            target_test=lambda: proving.last,
            concerns=concerns,
            history=history,
            inhibiting=inhibiting,
            reserving=reserving,
            crashing=crashing,
        )
        self.config = ConfigInterface(
            descriptions[CONFIG],
            editing=editing,
            reconciler=reconciler,
            proving=proving,
            propagating=propagating,
            inhibiting=inhibiting,
        )

    def open(self) -> None:
        """Serve what is known by now; from here on everything is told as it happens."""
        self._is_open = True
        self._exports.add(ROOT, self.manager, self.config)
        self._exports.add(LOG_CONTROL_PATH, LogControl(self._descriptions[LOG_CONTROL]))
        for job in self._jobs.known:
            self.job_new(job)
        self._jobs.audience = self
        self.dumps_changed(new=())
        self.status_changed()

    def status_changed(self) -> None:
        """One PropertiesChanged of each object that differs from what was last told."""
        if not self._is_open:
            return
        sight = self._reconciler.sight
        if sight is not self._seen:  # else nothing of these can differ
            self._seen = sight
            self.config.tell_change()
            self.config.announce()
            self._follow_kernels()
            self.kernels_changed()
        self.manager.announce()

    def kernels_changed(self) -> None:
        """What the store has for one of them may be another image, without anything else that a look sees."""
        for kernel in self._kernels.values():
            kernel.announce()

    def dumps_changed(self, *, new: tuple[Dump, ...]) -> None:
        """Objects for the newest dumps there are; DumpFound for each of `new` among them."""
        if not self._is_open:
            return
        present = {find.id: find for find in self._finds.known[-EXPORTED_AT_MOST:]}
        for identity in self._dumps.keys() - present.keys():
            self._exports.remove(dump_path(identity))
            del self._dumps[identity]
        for identity, find in present.items():
            if identity in self._dumps:
                self._dumps[identity].find = find
                self._dumps[identity].announce()
            else:
                self._dumps[identity] = DumpInterface(
                    self._descriptions[DUMP], find=find, delete=self._expiring.delete
                )
                self._exports.add(dump_path(identity), self._dumps[identity])
        for find in new:
            if find.id not in present:
                continue
            self.manager.emit("DumpFound", dump_path(find.id))
        self.manager.announce()

    def job_new(self, job: Job) -> None:
        interface = JobInterface(self._descriptions[JOB], job=job, reconciler=self._reconciler)
        self._served[job.number] = interface
        self._exports.add(job_path(job), interface)
        self.manager.emit("JobNew", job.number, job_path(job), str(job.kind))
        self.manager.announce()

    def job_changed(self, job: Job) -> None:
        self._served[job.number].announce()

    def job_ended(self, job: Job) -> None:
        interface = self._served[job.number]
        interface.announce()
        interface.emit("Completed", job.result, interface.error_name, job.message)
        self.manager.emit("JobRemoved", job.number, job_path(job), str(job.kind), job.result)
        self.manager.announce()

    def job_forgotten(self, job: Job) -> None:
        self._exports.remove(job_path(job))
        del self._served[job.number]

    def _follow_kernels(self) -> None:
        releases = {kernel.release for kernel in self._reconciler.sight.machine.kernels}
        for release in self._kernels.keys() - releases:
            self._exports.remove(kernel_path(release))
            del self._kernels[release]
        for release in sorted(releases - self._kernels.keys()):
            kernel = KernelInterface(
                self._descriptions[KERNEL],
                release=release,
                reconciler=self._reconciler,
                image_of=self._image_of,
            )
            self._kernels[release] = kernel
            self._exports.add(kernel_path(release), kernel)
