"""What kdumpd says of itself: one immutable value, a pure function of what was observed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from kdumpd.core.armed import Armed
from kdumpd.core.boot_entries import is_reboot_due
from kdumpd.core.decide import Action, Blocked, Nothing, Observed, Wait
from kdumpd.core.machine import Machine
from kdumpd.core.obstacles import obstacles
from kdumpd.core.plan import Plan, Resolution
from kdumpd.core.problems import Problem, errors
from kdumpd.core.targets import where_to

REBOOT_HELPS = frozenset({"load-disabled", "load-limit"})


class State(StrEnum):
    """How well the machine is protected, and only that."""

    UNSUPPORTED = "unsupported"
    DISABLED = "disabled"
    NO_MEMORY = "no-memory"
    UNARMED = "unarmed"
    ARMED = "armed"
    STALE = "stale"  # a crash would be captured, but not as the configuration now says
    FOREIGN = "foreign"  # loaded by someone else
    FAILED = "failed"


class Activity(StrEnum):
    IDLE = "idle"
    SETTLING = "settling"
    BUILDING = "building"
    LOADING = "loading"
    VERIFYING = "verifying"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What became of earlier steps; times in microseconds since epoch, 0 = never."""

    last_result: str = ""
    last_error: str = ""  # a problem's code
    last_error_text: str = ""
    last_success_us: int = 0
    consecutive_failures: int = 0

    def with_done(self, *, now_us: int, is_restore: bool) -> Past:
        """What was before is loaded again because something failed, which is not undone by that."""
        if is_restore and self.last_error:
            return replace(self, last_success_us=now_us)
        return Past(last_result="done", last_success_us=now_us)

    def with_failed(self, problem: Problem) -> Past:
        return Past(
            last_result="failed",
            last_error=problem.code,
            last_error_text=str(problem),
            last_success_us=self.last_success_us,
            consecutive_failures=self.consecutive_failures + 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything the Manager interface shows, except for what jobs and dumps tell themselves."""

    state: State
    activity: Activity
    protected: bool
    reason: str  # a code: a problem's, or the state's own name
    message: str  # one sentence for three in the morning
    crash_kernel_loaded: bool
    enabled: bool
    engine: str = ""
    engine_reason: str = ""
    mode: str = "kdump"
    reserved_bytes: int = 0
    crashkernel_parameter: str = ""
    reboot_required: bool = False
    kernel_release: str = ""
    initramfs: str = ""
    initramfs_built_us: int = 0
    stale: tuple[str, ...] = ()
    next_retry_us: int = 0
    past: Past = Past()
    problems: tuple[Problem, ...] = ()  # errors that stand in the way, and warnings of the configuration


def tell(
    *,
    resolution: Resolution,
    observed: Observed,
    action: Action,
    activity: Activity,
    machine: Machine,
    stale: tuple[str, ...] = (),
    initramfs_built_us: int = 0,
    past: Past | None = None,
) -> Status:
    """The truth of one look. `stale` says in which respects the plan moved on from what is loaded."""
    state = _state(resolution, observed, action)
    is_due = is_reboot_due(
        running=machine.command_line,
        following=machine.next_command_line,
        memory_bytes=machine.memory_bytes,
        architecture=machine.architecture,
    )
    coming = crashkernel_parameter(machine.next_command_line) if is_due else ""
    in_the_way = _in_the_way(resolution, action)
    armed = observed.armed if observed.crash.loaded else None
    plan = resolution.plan
    return Status(
        state=state,
        activity=Activity.WAITING if activity is Activity.IDLE and isinstance(action, Wait) else activity,
        protected=observed.crash.loaded,
        reason=_reason(state, in_the_way, stale),
        message=f"{state}: {_sentence(state, resolution, observed, action, in_the_way, coming)}",
        crash_kernel_loaded=observed.crash.loaded,
        enabled=observed.enabled,
        engine=plan.base.engine if plan is not None else "",
        engine_reason=plan.engine_reason if plan is not None else "",
        mode="fadump" if observed.crash.fadump else "kdump",
        reserved_bytes=observed.crash.reserved_bytes,
        crashkernel_parameter=crashkernel_parameter(machine.command_line),
        reboot_required=is_due or any(problem.code in REBOOT_HELPS for problem in in_the_way),
        kernel_release=machine.kernel_release,
        initramfs=armed.initramfs if armed is not None else "",
        initramfs_built_us=initramfs_built_us if armed is not None else 0,
        stale=stale if state is State.STALE else (),
        next_retry_us=action.until_us if isinstance(action, Wait) else 0,
        past=past or Past(),
        problems=in_the_way + tuple(problem for problem in resolution.problems if not problem.is_error),
    )


def crashkernel_parameter(command_line: str) -> str:
    """Every crashkernel= of a command line, as it stands there."""
    return " ".join(word for word in command_line.split() if word.startswith("crashkernel="))


def _state(resolution: Resolution, observed: Observed, action: Action) -> State:
    crash = observed.crash
    if not crash.layout or crash.fadump:
        return State.UNSUPPORTED
    if not observed.wants_armed:
        return State.DISABLED
    if crash.loaded:
        if observed.is_foreign:
            return State.FOREIGN
        matches = resolution.plan is not None and observed.matches(resolution.plan)
        return State.ARMED if matches else State.STALE
    if crash.reserved_bytes == 0:
        return State.NO_MEMORY
    return State.FAILED if isinstance(action, Blocked | Wait) else State.UNARMED


def _in_the_way(resolution: Resolution, action: Action) -> tuple[Problem, ...]:
    match action:
        case Blocked(problems=problems) | Wait(problems=problems):
            return problems
        case _:
            return errors(resolution.problems)


def _reason(state: State, in_the_way: tuple[Problem, ...], stale: tuple[str, ...]) -> str:
    if state is State.ARMED or state is State.DISABLED:
        return str(state)
    if in_the_way:
        return in_the_way[0].code
    return stale[0] if state is State.STALE and stale else str(state)


def _sentence(
    state: State,
    resolution: Resolution,
    observed: Observed,
    action: Action,
    in_the_way: tuple[Problem, ...],
    coming: str,
) -> str:
    """`coming` is the crashkernel= of the next boot, where that makes a difference."""
    # At rest and stale at once is only what force_no_rebuild keeps.
    is_said = not isinstance(action, Nothing) or state is State.STALE
    next_thing = _told(in_the_way) or (action.why if is_said else "")
    tail = f"; {next_thing}" if next_thing else ""
    match state:
        case State.UNSUPPORTED:
            return _told(obstacles(observed.crash))
        case State.DISABLED if observed.is_foreign:
            return "kdumpd does not arm this machine; a crash kernel of someone else is loaded"
        case State.DISABLED if observed.crash.loaded:
            return f"the crash kernel is still loaded{tail}"
        case State.DISABLED:
            until = " until a reboot or the next start" if observed.enabled else ""
            return f"a crash would not be captured: the administrator turned kdump off{until}"
        case State.NO_MEMORY if coming:
            return f"a crash would not be captured before a reboot, which reserves memory ({coming})"
        case State.NO_MEMORY:
            return f"a crash would not be captured{tail or '; no memory is reserved for a crash kernel'}"
        case State.UNARMED | State.FAILED:
            return f"a crash would not be captured{tail}"
        case State.FOREIGN:
            return f"a crash kernel is loaded, but kdumpd did not load it{tail}"
        case State.STALE:
            return f"a crash would be captured as configured before{tail}"
        case State.ARMED:
            return _armed(resolution.plan, observed.armed)
        case _:
            assert_never(state)


def _armed(plan: Plan | None, armed: Armed | None) -> str:
    place = where_to(plan.target) if plan is not None else ""
    if not place and armed is not None and isinstance(armed.description, dict):
        place = where_to(armed.description.get("target"))
    return f"a crash would be saved to {place}" if place else "a crash would be saved"


def _told(problems: tuple[Problem, ...]) -> str:
    """The first problem in full, and how many more there are."""
    if not problems:
        return ""
    more = len(problems) - 1
    return str(problems[0]) + (f" (and {more} more)" if more else "")
