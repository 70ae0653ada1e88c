"""Job and Kernel on the bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from kdumpd.core.keeping import CaptureImage
from kdumpd.core.machine import KernelFiles
from kdumpd.core.problems import Problem, Trouble
from kdumpd.service.bus import Caller, Description, ErrorName, Interface, Value, as_bus_error, first_lines
from kdumpd.service.interfaces import Options
from kdumpd.service.jobs import Job, Kind, Result
from kdumpd.service.options import require_known
from kdumpd.service.reconciler import Reconciler


def error_name(problems: tuple[Problem, ...], kind: Kind) -> str:
    """The D-Bus name of what failed; where no problem has one of its own, that of the work."""
    if not problems:
        return ""
    name = as_bus_error(Trouble(*problems), doing=kind).name
    if name != ErrorName.FAILED:
        return name
    by_kind = {
        Kind.REBUILD: ErrorName.BUILD_FAILED,
        Kind.PREBUILD: ErrorName.BUILD_FAILED,
        Kind.RELOAD: ErrorName.LOAD_FAILED,
    }
    return by_kind.get(kind, ErrorName.FAILED)


class JobInterface(Interface):
    """One job, as it is now. Its log is for those who may read it with GetLog."""

    withheld = MappingProxyType({"LogTail": ()})

    def __init__(self, description: Description, *, job: Job, reconciler: Reconciler) -> None:
        super().__init__(description)
        self.job = job
        self._reconciler = reconciler

    def properties(self) -> Mapping[str, Value]:
        job = self.job
        return {
            "Id": job.number,
            "Kind": str(job.kind),
            "Kernel": job.kernel,
            "Reason": job.reason,
            "StartedByUID": job.uid,
            "StartTime": job.queued_us,
            "Cancelable": job.cancelable,
            "State": str(job.state),
            "Stage": job.stage,
            "Progress": job.progress,
            "ProgressValid": job.progress_valid,
            "ExpectedEndTime": job.expected_end_us,
            "EndTime": job.end_us,
            "Result": job.result,
            "ErrorName": self.error_name,
            "ErrorMessage": "" if job.result == Result.DONE else job.message,
            "LogTail": job.tail,
        }

    @property
    def error_name(self) -> str:
        match self.job.result:
            case Result.CANCELLED | Result.SUPERSEDED:
                return str(ErrorName.CANCELLED)
            case Result.FAILED | Result.TIMEOUT:
                return error_name(self.job.problems, self.job.kind)
            case _:
                return ""

    def owner_uid(self) -> int | None:
        return self.job.uid

    def authorisation_details(self, _member: str, _arguments: tuple[Value, ...]) -> Mapping[str, str]:
        return {"job.kind": str(self.job.kind)}

    async def cancel(self, _caller: Caller, options: Options) -> None:
        require_known(options)
        await self._reconciler.cancel(self.job)

    def get_log(self, _caller: Caller, offset: int, max_lines: int, options: Options) -> tuple[Value, ...]:
        require_known(options)
        page = self.job.page(
            offset=offset, most=max_lines, fit=lambda lines, most: first_lines(lines, most=most)
        )
        return page.lines, page.next_offset, page.is_end


class KernelInterface(Interface):
    """An installed kernel, and its capture image: the one that is loaded, or what the store has for it."""

    def __init__(
        self,
        description: Description,
        *,
        release: str,
        reconciler: Reconciler,
        image_of: Callable[[str], CaptureImage | None],
    ) -> None:
        super().__init__(description)
        self._release = release
        self._reconciler = reconciler
        self._image_of = image_of

    def properties(self) -> Mapping[str, Value]:
        sight, status = self._reconciler.sight, self._reconciler.status
        files = next(
            (kernel for kernel in sight.machine.kernels if kernel.release == self._release),
            KernelFiles(release=self._release, image=""),
        )
        plan = sight.resolution.plan
        captures = plan is not None and plan.base.kernel_release == self._release
        image = self._image_of(self._release)
        if sight.armed is not None and sight.armed.kernel_release == self._release:
            image = CaptureImage(
                path=status.initramfs,
                size_bytes=sight.initramfs_bytes,
                built_us=status.initramfs_built_us,
                is_planned=plan is not None and plan.image_fingerprint in sight.images,
            )
        return {
            "Release": self._release,
            "Image": files.image,
            "Initramfs": image.path if image is not None else "",
            "InitramfsSize": image.size_bytes if image is not None else 0,
            "Built": image.built_us if image is not None else 0,
            "UpToDate": image is not None and image.is_planned,
            "Running": self._release == status.kernel_release,
            "Default": captures,
        }
