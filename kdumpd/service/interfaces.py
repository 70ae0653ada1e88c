"""Manager on the bus: each method is validate, call, return; who may call was settled before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Protocol

from kdumpd import __version__
from kdumpd.core.decide import Anew
from kdumpd.core.estimate import Estimate
from kdumpd.core.history import KEPT, Entry
from kdumpd.core.plan import Json
from kdumpd.core.plan import describe as described
from kdumpd.core.problems import Problem, Trouble, errors
from kdumpd.core.target_test import TargetTest
from kdumpd.service.bus import (
    NO_OBJECT,
    Caller,
    Description,
    Interface,
    Typed,
    Value,
    clean,
    escaped,
)
from kdumpd.service.crashing import KIND, Crashing
from kdumpd.service.hands import Hands
from kdumpd.service.history import History
from kdumpd.service.inhibiting import Inhibiting
from kdumpd.service.jobs import Job, Jobs, Kind
from kdumpd.service.options import require_known
from kdumpd.service.permissions import ROOT
from kdumpd.service.reconciler import Reconciler
from kdumpd.service.reserving import Reserving

API_REVISION = 1
_LARGEST_COUNT = (1 << 64) - 1

Options = Mapping[str, Value]


def job_path(job: Job | None) -> str:
    return f"{ROOT}/jobs/{job.number}" if job is not None else NO_OBJECT


def kernel_path(release: str) -> str:
    return f"{ROOT}/kernels/{escaped(release)}"


def dump_path(identity: str) -> str:
    return f"{ROOT}/dumps/{escaped(identity)}" if identity else NO_OBJECT


class Permissions(Protocol):
    """Who knows what a caller may do."""

    async def permissions(self, caller: Caller) -> Mapping[str, str]: ...


class Catalogue(Protocol):
    """All dumps, beside those that are objects."""

    def page(self, *, before_us: int, before_id: str, most: int) -> tuple[Value, ...]: ...
    async def prune(self, *, is_trial: bool) -> tuple[Value, ...]: ...


class ManagerInterface(Interface):
    """The state, and the verbs that change it."""

    def __init__(
        self,
        description: Description,
        *,
        reconciler: Reconciler,
        jobs: Jobs,
        hands: Hands,
        permissions: Permissions,
        last_dump: Callable[[], str],
        catalogue: Catalogue,
        target_test: Callable[[], TargetTest],
        concerns: Callable[[], tuple[Problem, ...]],
        history: History,
        inhibiting: Inhibiting,
        reserving: Reserving,
        crashing: Crashing,
    ) -> None:
        super().__init__(description)
        self._crashing = crashing
        self._reserving = reserving
        self._inhibiting = inhibiting
        self._history = history
        self._concerns = concerns
        self._reconciler = reconciler
        self._jobs = jobs
        self._hands = hands
        self._permissions = permissions
        self._last_dump = last_dump
        self._catalogue = catalogue
        self._target_test = target_test

    def properties(self) -> Mapping[str, Value]:
        status = self._reconciler.status
        past = status.past
        tested, crashed = self._target_test(), self._crashing.record
        return {
            "Version": __version__,
            "ApiRevision": API_REVISION,
            "Engine": status.engine,
            "EngineReason": status.engine_reason,
            "Mode": status.mode,
            "State": str(status.state),
            "Activity": str(status.activity),
            "Protected": status.protected,
            "StateReason": status.reason,
            "StateMessage": status.message,
            "CrashKernelLoaded": status.crash_kernel_loaded,
            "ReservedBytes": status.reserved_bytes,
            "CrashkernelParameter": status.crashkernel_parameter,
            "RebootRequired": status.reboot_required,
            "KernelRelease": status.kernel_release,
            "Kernel": self._kernel(),
            "InitramfsPath": status.initramfs,
            "InitramfsBuilt": status.initramfs_built_us,
            "Stale": status.stale,
            "Enabled": status.enabled,
            "ActiveJob": job_path(self._reconciler.active_job),
            "QueuedJobs": len(self._jobs.queued),
            "LastResult": past.last_result,
            "LastError": (past.last_error, past.last_error_text),
            "LastSuccess": past.last_success_us,
            "ConsecutiveFailures": past.consecutive_failures,
            "NextRetry": status.next_retry_us,
            "Inhibitors": tuple((each.cookie, each.who, each.why) for each in self._inhibiting.known()),
            "LastDump": dump_path(self._last_dump()),
            "TargetTestTime": tested.tested_us,
            "TargetTestResult": str(tested.verdict),
            "TargetTestMessage": clean(tested.message) if tested.tested_us else "",
            "TargetFreeBytes": tested.free_bytes,
            "DumpForecastBytes": tested.forecast_bytes,
            "TestCrashState": str(crashed.state),
            "TestCrashTime": crashed.marker.time_us if crashed.marker is not None else 0,
            "TestCrashMessage": clean(crashed.message),
        }

    def authorisation_details(self, member: str, arguments: tuple[Value, ...]) -> Mapping[str, str]:
        kernel = (
            str(arguments[0])
            if member == "Rebuild" and arguments[0]
            else self._reconciler.status.kernel_release
        )
        plan = self._reconciler.sight.resolution.plan
        target = plan.target if plan is not None else {}
        return {
            "kernel": clean(kernel),
            "job.kind": KIND if member == "TestCrash" else member.lower(),
            "target.type": clean(target.get("type", "")),
            "target.host": clean(target.get("server", "")),
        }

    def require_admissible(self, caller: Caller, member: str, arguments: tuple[Value, ...]) -> None:
        if member == "TestCrash":
            self._crashing.take(caller.sender, str(arguments[0]))
        elif member == "Rebuild":
            self._require_kernel(str(arguments[0]))

    async def rebuild(self, caller: Caller, kernel: str, options: Options) -> str:
        require_known(options, force=bool, reload=bool, reason=str)
        self._require_kernel(kernel)
        self._require_wanted()
        self._inhibiting.require_none()
        job = self._jobs.ask(
            Kind.REBUILD, kernel=kernel, reason=str(options.get("reason", "")), uid=await caller.uid()
        )
        self._reconciler.work_for(
            job,
            anew=Anew.BASE if options.get("force", False) else None,
            loads_afterwards=bool(options.get("reload", True)),
        )
        return job_path(job)

    async def reload(self, caller: Caller, options: Options) -> str:
        require_known(options, restart=bool)
        uid = await caller.uid()
        self._require_wanted(but_held=True)
        self._inhibiting.require_none()
        await self._hands.hold(held=False)
        job = self._jobs.ask(Kind.RELOAD, uid=uid)
        restart = bool(options.get("restart", False))
        self._reconciler.work_for(job, anew=Anew.LOAD, is_start=restart)
        return job_path(job)

    async def unload(self, caller: Caller, options: Options) -> str:
        require_known(options)
        uid = await caller.uid()
        await self._hands.hold(held=True)
        job = self._jobs.ask(Kind.UNLOAD, uid=uid)
        self._reconciler.work_for(job)
        return job_path(job)

    async def set_enabled(self, caller: Caller, enabled: bool, options: Options) -> str:
        require_known(options, runtime=bool)
        uid = await caller.uid()
        await self._hands.wish(enabled=enabled, for_this_boot=bool(options.get("runtime", False)))
        job = self._jobs.ask(Kind.ENABLE, reason=f"kdump was switched {'on' if enabled else 'off'}", uid=uid)
        starts = enabled and not self._reconciler.sight.machine.crash.loaded
        self._reconciler.work_for(job, is_start=starts)
        return job_path(job)

    async def set_crashkernel(self, caller: Caller, value: str, options: Options) -> str:
        if not options.get("dry-run", False):
            self._inhibiting.require_none()
        return job_path(await self._reserving.ask(caller, value, options))

    async def prepare_test_crash(self, caller: Caller, options: Options) -> tuple[Value, ...]:
        require_known(options)
        return await self._crashing.prepare(caller)

    async def test_crash(self, caller: Caller, token: str, options: Options) -> None:
        require_known(options)
        await self._crashing.crash(caller, token)

    def refresh(self, _caller: Caller, options: Options) -> None:
        require_known(options)
        self._reconciler.poke("asked to look again", urgent=True)

    async def inhibit(self, caller: Caller, who: str, why: str, options: Options) -> int:
        require_known(options)
        return await self._inhibiting.hold(caller, who=who, why=why)

    async def release_inhibit(self, _caller: Caller, cookie: int) -> None:
        await self._inhibiting.release(cookie)

    async def get_permissions(self, caller: Caller) -> Mapping[str, Value]:
        return dict(await self._permissions.permissions(caller))

    def estimate(self, _caller: Caller, options: Options) -> Mapping[str, Value]:
        require_known(options)
        sight = self._reconciler.sight
        if sight.estimate is None:
            raise Trouble(*errors(sight.resolution.problems))
        return _estimated(sight.estimate)

    async def get_history(self, _caller: Caller, most: int, options: Options) -> tuple[Value, ...]:
        require_known(options)
        return tuple(_told(entry) for entry in await self._history.latest(most or KEPT))

    def describe(self, _caller: Caller, options: Options) -> str:
        require_known(options)
        status, sight = self._reconciler.status, self._reconciler.sight
        told = {
            "status": described(status),
            "plan": _without_texts(described(sight.resolution.plan)) if sight.resolution.plan else None,
            "loaded": sight.armed.model_dump(mode="json", exclude={"description"}) if sight.armed else None,
            "problems": [described(problem) for problem in (*sight.resolution.problems, *self._concerns())],
        }
        return json.dumps(told, sort_keys=True)

    def list_dumps(self, _caller: Caller, before: int, most: int, options: Options) -> tuple[Value, ...]:
        require_known(options, before_id=str)
        return self._catalogue.page(before_us=before, before_id=str(options.get("before-id", "")), most=most)

    async def prune_dumps(self, _caller: Caller, options: Options) -> tuple[Value, ...]:
        require_known(options, dry_run=bool)
        return await self._catalogue.prune(is_trial=bool(options.get("dry-run", False)))

    def _kernel(self) -> str:
        plan = self._reconciler.sight.resolution.plan
        release = plan.base.kernel_release if plan is not None else ""
        known = {kernel.release for kernel in self._reconciler.sight.machine.kernels}
        return kernel_path(release) if release in known else NO_OBJECT

    def _require_kernel(self, kernel: str) -> None:
        sight = self._reconciler.sight
        plan = sight.resolution.plan
        if not kernel or (plan is not None and kernel == plan.base.kernel_release):
            return
        if plan is not None:
            message = f"{kernel} is not the kernel that captures; that is {plan.base.kernel_release}"
        elif kernel not in {known.release for known in sight.machine.kernels}:
            message = f"{kernel} is not installed"
        else:
            return
        hint = "KDUMP_KERNELVER says which one does"
        raise Trouble(Problem(code="kernel-not-found", message=message, hint=hint))

    def _require_wanted(self, *, but_held: bool = False) -> None:
        sight = self._reconciler.sight
        if not sight.enabled or (sight.held and not but_held):
            raise Trouble(
                Problem(
                    code="disabled",
                    message="the administrator turned kdump off",
                    hint="enable kdumpd first, as `kdumpctl start` does",
                )
            )


def _estimated(found: Estimate) -> Mapping[str, Value]:
    return {
        "reserved": found.reserved,
        "kernel": found.kernel,
        "image": found.image,
        "unpacked": found.unpacked,
        "working-set": found.working_set,
        "needed": found.needed,
        "least": found.least,
        "recommended": found.recommended,
        "crashkernel": found.crashkernel,
        "basis": str(found.basis),
        "captures": found.captures,
        "built": found.is_built,
        "fits": found.fits,
    }


def _told(entry: Entry) -> Mapping[str, Value]:
    return {
        "time": as_count(entry.time_us),
        "kind": entry.kind,
        "result": entry.result,
        "why": entry.why,
        "error": entry.error,
        "message": entry.message,
        "seconds": entry.seconds,
        "uid": Typed(signature="u", value=entry.uid),
        "image": entry.image,
        "load": entry.load,
    }


def as_count(number: int) -> int:
    """What a file system or a summary says, as the bus takes it: a date before 1970 is none."""
    return min(max(number, 0), _LARGEST_COUNT)


def _without_texts(of: Json) -> Json:
    """A description of a plan for everyone: of files that are written, the names and not what is in them."""
    match of:
        case dict():
            is_written = of.get("is") == "Written"
            return {
                key: _without_texts(value) for key, value in of.items() if not (is_written and key == "text")
            }
        case list():
            return [_without_texts(each) for each in of]
        case _:
            return of
