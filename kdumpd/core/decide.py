"""What to do next: from the plan and what is observed to one action, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core.armed import Armed, is_what_was_loaded
from kdumpd.core.faults import LONGEST_DELAY_US, NO_FAULTS, Fault, Faults
from kdumpd.core.inhibitors import Inhibitor, refusal
from kdumpd.core.machine import CrashKernel
from kdumpd.core.obstacles import obstacles
from kdumpd.core.plan import Plan, Resolution
from kdumpd.core.problems import Problem, errors
from kdumpd.core.storing import UNKNOWN_ROOM, Room


class Anew(StrEnum):
    """What somebody asked to be done again although nothing changed; each step done leads to the next one."""

    BASE = "base"
    IMAGE = "image"
    LOAD = "load"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a look found. `armed` is the record of this boot; `last_good` one whose files are still there."""

    crash: CrashKernel
    now_us: int
    enabled: bool = True  # the standing wish
    held: bool = False  # unloaded by somebody's wish, until a reboot or until asked for again
    armed: Armed | None = None
    intent_left: bool = False  # a load was begun by us and its end was never written down
    last_good: Armed | None = None
    bases: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    faults: Faults = NO_FAULTS
    anew: Anew | None = None
    keeps_image: bool = False  # force_no_rebuild: an image that exists for this kernel is not built again
    layout: str = ""  # Machine.layout
    too_big: Problem | None = None  # why the image of today's plan cannot fit the reservation
    room: Room = UNKNOWN_ROOM  # of the store
    inhibitors: tuple[Inhibitor, ...] = ()  # who wants nothing to be begun that nobody asked for

    @property
    def wants_armed(self) -> bool:
        return self.enabled and not self.held

    @property
    def is_ours(self) -> bool:
        """Something is loaded, and we loaded it (or were killed while we did)."""
        return self.crash.loaded and (self.armed is not None or self.intent_left)

    @property
    def is_foreign(self) -> bool:
        return self.crash.loaded and not self.is_ours

    def matches(self, plan: Plan) -> bool:
        """What `plan` says is what is loaded, and no half-done load casts doubt on it."""
        return (
            self.crash.loaded
            and self.armed is not None
            and not self.intent_left
            and is_what_was_loaded(plan, self.armed, self.crash)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A step failed and is in back-off; look again at `until_us`, 0 where an inhibitor's end is waited for."""

    until_us: int
    why: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Only a change from outside can help: of the configuration, of the machine, or a reboot."""

    problems: tuple[Problem, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildBase:
    plan: Plan
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildImage:
    plan: Plan
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    plan: Plan
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Load again what was loaded before: nothing is loaded by now, or what is describes the machine as it was."""

    last_good: Armed
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    why: str


KEPT = "force_no_rebuild keeps the image that there is"

Rest = Nothing | Wait | Blocked
Step = BuildBase | BuildImage | Load | Restore | Unload
Action = Rest | Step


def fault_key(step: Step) -> str:
    """Under which key a fault of `step` is remembered: another plan is another key, and so starts afresh."""
    match step:
        case BuildBase(plan=plan):
            return f"base:{plan.base_fingerprint}"
        case BuildImage(plan=plan):
            return f"image:{plan.image_fingerprint}"
        case Load() | Restore() | Unload():
            return f"{verb(step)}:{load_of(step)}"


def verb(step: Step) -> str:
    """What a step does, in a word or two."""
    match step:
        case BuildBase():
            return "build base"
        case BuildImage():
            return "build image"
        case Load():
            return "load"
        case Restore():
            return "restore"
        case Unload():
            return "unload"


def load_of(step: Step) -> str:
    """The load fingerprint that a step leads to, "" for an unload."""
    match step:
        case BuildBase(plan=plan) | BuildImage(plan=plan) | Load(plan=plan):
            return plan.load_fingerprint
        case Restore(last_good=last_good):
            return last_good.load
        case Unload():
            return ""


def possible_steps(resolution: Resolution, observed: Observed) -> tuple[Step, ...]:
    """Every step that `decide` could still ask for: a fault of any other step is of no interest any more."""
    steps: list[Step] = [] if observed.wants_armed else [Unload(why="")]
    steps += [
        Restore(last_good=record, why="")
        for record in (observed.last_good, observed.armed)
        if record is not None
    ]
    plan = resolution.plan
    if plan is not None:
        steps += [BuildBase(plan=plan, why=""), BuildImage(plan=plan, why=""), Load(plan=plan, why="")]
    return tuple(steps)


def is_on_the_way(step: BuildBase | BuildImage, to: Action) -> bool:
    """Whether `step`, decided earlier and still under way, is what `to`, decided now, asks for."""
    match step, to:
        case BuildBase(), BuildBase():
            return step.plan.base_fingerprint == to.plan.base_fingerprint
        case BuildImage(), BuildImage():
            return step.plan.image_fingerprint == to.plan.image_fingerprint
        case _:
            return False


def after(anew: Anew | None, step: Step) -> Anew | None:
    """What is still to be done anew once `step` was done."""
    match step, anew:
        case BuildBase(), Anew.BASE:
            return Anew.IMAGE
        case BuildImage(), Anew.IMAGE:
            return Anew.LOAD
        case (Load() | Restore(), Anew.LOAD) | (Unload(), _):
            return None
        case _:
            return anew


def decide(resolution: Resolution, observed: Observed) -> Action:
    """The one next action. A rest means: nothing more to do until something changes, or until its time."""
    if not observed.wants_armed:
        return _disarm(observed)
    action = _arm(resolution, observed)
    if isinstance(action, Nothing | Wait | Blocked):
        action = _reload(observed) or action
    return _unless_inhibited(action, observed)


def _arm(resolution: Resolution, observed: Observed) -> Action:
    plan = resolution.plan
    if plan is not None and observed.matches(plan) and observed.anew is None:
        return Nothing(why="armed with what the configuration says now")
    if (
        plan is not None
        and observed.anew is None
        and _is_kept(plan, observed, observed.armed)
        and (not _is_outdated(observed) or _reload(observed) is not None)
    ):
        return Nothing(why=KEPT)
    in_the_way = obstacles(observed.crash, plan)
    if in_the_way:
        return Blocked(problems=in_the_way, why=in_the_way[0].message)
    if plan is not None and observed.last_good is not None and _is_kept(plan, observed, observed.last_good):
        keep = _restored(observed.last_good, observed, why=KEPT)
        # An image that cannot be loaded protects nobody: then there is one to be built after all.
        if _fault_in_force(keep, observed) is None:
            return keep

    wanted = _towards(plan, observed) if plan is not None else None
    if not observed.crash.loaded and not (
        isinstance(wanted, Load) and observed.too_big is None and _fault_in_force(wanted, observed) is None
    ):
        restore = _restore(wanted, observed)
        if restore is not None:
            return restore
    if wanted is None or observed.too_big is not None:
        faults = (
            (observed.too_big,) if observed.too_big else errors(resolution.problems) or resolution.problems
        )
        return Blocked(problems=faults, why=str(faults[0]) if faults else "there is no plan")
    return _now_or_later(wanted, observed)


def _unless_inhibited(action: Action, observed: Observed) -> Action:
    """What an inhibitor is for is worth a stale image, but not a machine on which nothing is loaded: that is armed."""
    if not observed.inhibitors or not observed.crash.loaded or isinstance(action, Nothing | Wait | Blocked):
        return action
    problem = refusal(observed.inhibitors)
    return Wait(until_us=0, why=str(problem), problems=(problem,))


def _is_kept(plan: Plan, observed: Observed, image: Armed | None) -> bool:
    """Whether force_no_rebuild keeps `image` in the place of one that `plan` would have to build.

    Asked to build, we build; and what is in the store needs no building.
    """
    return (
        observed.keeps_image
        and observed.anew in {None, Anew.LOAD}
        and plan.image_fingerprint not in observed.images
        and image is not None
        and image.kernel_release == plan.base.kernel_release
        and (image is not observed.armed or (observed.crash.loaded and not observed.intent_left))
    )


def _disarm(observed: Observed) -> Action:
    wish = "disabled" if not observed.enabled else "unloaded until a reboot or the next start"
    if not observed.is_ours:
        return Nothing(why=wish)
    in_the_way = obstacles(observed.crash)
    if in_the_way:
        return Blocked(problems=in_the_way, why=in_the_way[0].message)
    return _now_or_later(Unload(why=wish), observed)


def _towards(plan: Plan, observed: Observed) -> BuildBase | BuildImage | Load:
    """The next step from what is in the store to what `plan` says, whether or not its time has come."""
    if observed.anew is Anew.BASE:
        return BuildBase(plan=plan, why="asked to build everything anew")
    if plan.image_fingerprint not in observed.images or observed.anew is Anew.IMAGE:
        if plan.base_fingerprint not in observed.bases:
            return BuildBase(plan=plan, why=f"the base {plan.base_fingerprint[:8]} is not built yet")
        anew = "asked to build it anew" if observed.anew is Anew.IMAGE else ""
        return BuildImage(plan=plan, why=anew or f"the image {plan.image_fingerprint[:8]} is not built yet")
    return Load(plan=plan, why=_why_load(plan, observed))


def _why_load(plan: Plan, observed: Observed) -> str:
    if observed.anew is Anew.LOAD:
        return "asked to load it again"
    if not observed.crash.loaded:
        return "nothing is loaded"
    if observed.intent_left:
        return "an earlier load was cut short"
    if observed.armed is None:
        return "what is loaded was loaded by someone else"
    if observed.armed.image != plan.image_fingerprint:
        return "another image than the loaded one is planned"
    return "the kernel, its command line or the layout of the machine changed"


def _restore(wanted: Step | None, observed: Observed) -> Restore | None:
    last_good = observed.last_good
    if last_good is None or (isinstance(wanted, Load) and last_good.load == wanted.plan.load_fingerprint):
        return None
    restore = _restored(last_good, observed, why="nothing is loaded and today's image is not ready")
    return restore if _fault_in_force(restore, observed) is None else None


def _restored(record: Armed, observed: Observed, *, why: str) -> Restore:
    """What will be loaded describes the machine as it is now, whatever it was when the record was written."""
    return Restore(last_good=record.under(observed.layout) if observed.layout else record, why=why)


def _is_outdated(observed: Observed) -> bool:
    """What is loaded by us describes processors or memory as they were, and this kernel leaves it so."""
    described = observed.armed.described_layout if observed.armed is not None else None
    return (
        observed.crash.loaded
        and not observed.intent_left
        and not observed.crash.keeps_layout
        and described is not None
        and observed.layout not in {"", described}
    )


def _reload(observed: Observed) -> Restore | None:
    """What makes the image that stays loaded describe this machine again; None where nothing does, or not now."""
    if observed.armed is None or not _is_outdated(observed) or obstacles(observed.crash):
        return None
    restore = _restored(
        observed.armed,
        observed,
        why="processors or memory changed, and what stays loaded describes the old ones",
    )
    return restore if _fault_in_force(restore, observed) is None else None


def _now_or_later(step: Step, observed: Observed) -> Action:
    fault = _fault_in_force(step, observed)
    if fault is None:
        return step
    said = str(fault.problems[0]) if fault.problems else "a step failed"
    return Wait(until_us=fault.not_before_us, why=said, problems=fault.problems)


def _fault_in_force(step: Step, observed: Observed) -> Fault | None:
    fault = observed.faults.of(fault_key(step))
    if fault is None or fault.not_before_us <= observed.now_us:
        return None
    if fault.is_over(room=observed.room, now_us=observed.now_us):
        return None
    # No delay is longer: the clock was set back since, and nobody is to wait until it has caught up.
    return fault if fault.not_before_us <= observed.now_us + LONGEST_DELAY_US else None
