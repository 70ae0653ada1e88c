"""What the reconciler needs of the rooms below: a look at everything, and the five steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kdumpd.core.armed import Armed
from kdumpd.core.decide import Anew, BuildBase, BuildImage, Load, Observed, Restore, Step, Unload
from kdumpd.core.estimate import Estimate
from kdumpd.core.faults import Faults
from kdumpd.core.inhibitors import Inhibitor
from kdumpd.core.machine import Machine
from kdumpd.core.plan import Plan, Resolution
from kdumpd.core.retention import NO_LIMITS, Limits
from kdumpd.core.storing import UNKNOWN_ROOM, Room
from kdumpd.reading import ConfigText


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look at the whole machine; everything decided afterwards is decided from this."""

    config: ConfigText
    resolution: Resolution
    machine: Machine
    settle_seconds: float
    settle_cap_seconds: float
    slow_poll_seconds: float
    enabled: bool
    held: bool
    armed: Armed | None
    intent_left: bool
    last_good: Armed | None
    bases: frozenset[str]
    images: frozenset[str]
    stale: tuple[str, ...]  # in which respects the plan moved on from what is loaded
    initramfs_built_us: int
    initramfs_bytes: int
    watched: frozenset[str]  # paths whose change is a reason to look
    ahead: tuple[str, ...] = ()  # kernels whose image is to be there before they are booted
    ahead_inputs: str = ""  # another text than before: what these images are made of may have changed
    estimate: Estimate | None = None  # of today's plan; None where there is none
    room: Room = UNKNOWN_ROOM  # of the store
    build_timeout_seconds: float = 600.0
    target_test_hours: float = 24.0  # 0: the target is tested only when that is asked for
    retention: Limits = NO_LIMITS

    def observed(
        self, *, now_us: int, faults: Faults, anew: Anew | None, inhibitors: tuple[Inhibitor, ...]
    ) -> Observed:
        """What is decided from, with what only the reconciler knows."""
        return Observed(
            crash=self.machine.crash,
            now_us=now_us,
            enabled=self.enabled,
            held=self.held,
            armed=self.armed,
            intent_left=self.intent_left,
            last_good=self.last_good,
            bases=self.bases,
            images=self.images,
            faults=faults,
            anew=anew,
            keeps_image=self.keeps_image,
            layout=self.machine.layout,
            too_big=self.estimate.refusal if self.estimate is not None else None,
            room=self.room,
            inhibitors=inhibitors,
        )

    @property
    def forces_rebuild(self) -> bool:
        return self.config.config is not None and self.config.config.force_rebuild

    @property
    def keeps_image(self) -> bool:
        return self.config.config is not None and self.config.config.force_no_rebuild


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Where a step says how it gets on."""

    stage: Callable[[str], None]
    line: Callable[[str], None]


class Hands(Protocol):
    """Looking and doing. Every step raises Trouble when it failed, and is finished or undone when it is cancelled."""

    async def look(self) -> Sight: ...
    async def look_again(self) -> Sight:
        """The last look, with what a step of ours can have moved since: the kernel's crash image, records, store."""
        ...

    async def glimpse(self) -> str:
        """What is cheap enough to be read often; another text than before is a reason to look."""
        ...

    async def room(self) -> Room:
        """Of the store: what says without a try whether it would take an image again."""
        ...

    async def build_base(self, plan: Plan, telling: Telling) -> None: ...
    async def build_image(self, plan: Plan, telling: Telling) -> None: ...
    async def load(self, plan: Plan, telling: Telling) -> None: ...
    async def restore(self, last_good: Armed, telling: Telling) -> None: ...
    async def unload(self, telling: Telling) -> None: ...
    async def tidy(self) -> None:
        """Throw away what no plan and no last good image needs."""
        ...

    async def wish(self, *, enabled: bool, for_this_boot: bool) -> None:
        """Remember, over reboots or not, whether the machine is to be armed; being armed ends a hold."""
        ...

    async def hold(self, *, held: bool) -> None:
        """Remember until the reboot that nothing is to be loaded."""
        ...


async def take(hands: Hands, step: Step, telling: Telling) -> None:
    """Raises Trouble when it failed."""
    match step:
        case BuildBase(plan=plan):
            await hands.build_base(plan, telling)
        case BuildImage(plan=plan):
            await hands.build_image(plan, telling)
        case Load(plan=plan):
            await hands.load(plan, telling)
        case Restore(last_good=last_good):
            await hands.restore(last_good, telling)
        case Unload():
            await hands.unload(telling)
