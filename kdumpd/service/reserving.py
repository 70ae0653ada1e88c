"""Sets crashkernel= of the next boots when somebody asks, as a job."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from kdumpd.core import reserve, usual
from kdumpd.core.boot_entries import BootFiles, next_command_line
from kdumpd.core.bootloader import ALL, DEFAULT, Change, outcome, planned, told, values_of, warnings_of
from kdumpd.core.problems import Problem, Trouble
from kdumpd.host.bootloader import Bootloader
from kdumpd.service.bus import BusError, Caller, ErrorName, Value
from kdumpd.service.hands import Sight
from kdumpd.service.in_turn import InTurn
from kdumpd.service.jobs import Job, Jobs, Kind, Result
from kdumpd.service.options import require_known

SEEN_SECONDS = 10.0
"""A look is over in less, unless the daemon is busy; who waits for the job need not wait for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What somebody wants the next boots to reserve, and for which kernel."""

    values: tuple[str, ...]
    kernel: str
    is_dry: bool
    memory_bytes: int
    architecture: str


class Reserving:
    def __init__(
        self,
        *,
        bootloader: Bootloader,
        jobs: Jobs,
        sight: Callable[[], Sight],
        on_change: Callable[[], None],
        is_here: bool = True,
    ) -> None:
        """`is_here`: the files are those of the machine that runs us; the tools of any other would change this one."""
        self._bootloader = bootloader
        self._jobs = jobs
        self._sight = sight
        self._on_change = on_change
        self._is_here = is_here
        self._in_turn = InTurn(jobs, half_done="the boot menu is as it was")
        self._looked = asyncio.Event()

    async def ask(self, caller: Caller, value: str, options: Mapping[str, Value]) -> Job:
        """`value` is empty for what is recommended. Raises Trouble where nobody knows how, BusError for a bad value."""
        require_known(options, dry_run=bool, kernel=str)
        wish = self._wish(value, options)
        uid = await caller.uid()
        await asyncio.to_thread(self._require_possible, wish)
        self._in_turn.require_room("the boot menu is being changed already; ask again")
        words = " ".join(f"crashkernel={each}" for each in wish.values)
        asked = "it was asked what would be done for" if wish.is_dry else "asked for"
        job = self._jobs.ask(Kind.CRASHKERNEL, reason=f"{asked} {words}", uid=uid)
        self._in_turn.add(job, partial(self._carry_out, wish), stage="look at the boot menu")
        return job

    def follow(self, _sight: Sight) -> None:
        """Told of each look: a change is over once it was seen, so that who waits for the job is told the truth after it."""
        self._looked.set()

    async def run(self) -> None:
        """For ever."""
        await self._in_turn.run()

    async def _carry_out(self, wish: Reservation, job: Job) -> None:
        try:
            await self._work(job, wish)
        except Trouble as trouble:
            self._jobs.end(job, Result.FAILED, problems=trouble.problems)
        except OSError as fault:
            why = fault.strerror or str(fault)
            said = Problem(code="boot-loader-failed", message=f"the boot menu was not changed: {why}")
            self._jobs.end(job, Result.FAILED, problems=(said,))
        else:
            self._jobs.end(job, Result.DONE)

    async def _work(self, job: Job, wish: Reservation) -> None:
        change, before = await asyncio.to_thread(self._planned, wish)
        for line in warnings_of(change, memory_bytes=wish.memory_bytes, architecture=wish.architecture):
            job.say(line)
        if not change.is_needed:
            for line in outcome(change, before=before, after=before):
                job.say(line)
            return
        for line in told(change, is_done=not wish.is_dry):
            job.say(line)
        if not wish.is_dry:
            # What the machine's own tool has half written nobody could put back: from here on it is done to the end.
            self._jobs.enter(job, "change the boot menu", cancelable=False, remaining=())
            after = await self._bootloader.apply(change, say=job.say)
            for line in outcome(change, before=before, after=after):
                job.say(line)
            await self._until_seen(after)

    async def _until_seen(self, boot: BootFiles) -> None:
        self._on_change()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SEEN_SECONDS):
                while self._sight().machine.next_command_line != next_command_line(boot):
                    self._looked.clear()
                    await self._looked.wait()

    def _planned(self, wish: Reservation) -> tuple[Change, BootFiles]:
        boot, tools = self._bootloader.look()
        change = planned(boot, tools, values=wish.values, kernel=wish.kernel)
        if isinstance(change, Problem):
            raise Trouble(change)
        return change, boot

    def _require_possible(self, wish: Reservation) -> None:
        if wish.kernel not in {ALL, DEFAULT} and not (
            wish.kernel.startswith("/") and self._bootloader.is_file(wish.kernel)
        ):
            raise Trouble(
                Problem(
                    code="kernel-not-found",
                    message=f"there is no kernel {wish.kernel}",
                    hint="specify a valid kernel path, ALL or DEFAULT",
                )
            )
        self._planned(wish)
        if not self._is_here and not wish.is_dry:
            told = "the boot menu is changed only by the kdumpd that runs on the machine itself"
            raise Trouble(Problem(code="not-supported", message=told))

    def _wish(self, value: str, options: Mapping[str, Value]) -> Reservation:
        sight = self._sight()
        recommended = (
            sight.estimate.crashkernel
            if sight.estimate is not None
            else reserve.render(usual.of_machine(sight.machine))
        )
        values = values_of(value if value.strip() else recommended)
        if isinstance(values, Problem):
            raise BusError(ErrorName.INVALID_ARGS, f"{values}.")
        return Reservation(
            values=values,
            kernel=str(options.get("kernel", "")) or ALL,
            is_dry=bool(options.get("dry-run", False)),
            memory_bytes=sight.machine.memory_bytes,
            architecture=sight.machine.architecture,
        )
