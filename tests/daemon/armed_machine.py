"""A daemon on a machine that is a folder, and all that it did since somebody last asked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kdumpd.service.bus import Value
from kdumpd.service.bus.standard import PROPERTIES
from kdumpd.service.permissions import JOB, MANAGER, ROOT
from tests.daemon.triggers import PATIENCE, Change, Work, has
from tests.service.private_bus import PrivateBus
from tests.simulate import Machine, make_machine, simulated

NEVER_BY_TIME = "slow_poll_seconds = 86400\n"
"""For kdumpd.toml: no timer makes good what nobody heard of."""
STEPS = {
    Work.NOTHING: (),
    Work.LOAD: ("load",),
    Work.IMAGE: ("build image", "load"),
    Work.BASE: ("build base", "build image", "load"),
}
_STEP = re.compile(r" kdumpd\.service\.journal: (build base|build image|load|restore|unload): ")
_LOOK = re.compile(r" kdumpd\.service\.lookout: looking, because (.*)")


@dataclass(slots=True)
class Done:
    """What the daemon did: its steps in their order, why it looked, and the words of `Stale` meanwhile."""

    steps: list[str] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)
    stale: set[str] = field(default_factory=set)


class ArmedMachine:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.root = machine.root
        self._read = 0

    async def asks(self) -> None:
        """Whether there is anything to do: when the answer is there, it is done."""
        client = self.machine.client
        (job,) = await client.call(ROOT, MANAGER, "Rebuild", "sa{sv}", "", {})
        ended = await client.wait_until(str(job), JOB, lambda now: now["State"] == "done")
        assert ended["Result"] == "done", ended["ErrorMessage"]

    async def is_changed(self, *changes: Change) -> None:
        """To begin with: the daemon is told to look, and what it does of it is of no interest."""
        for change in changes:
            change(self.root)
        await self.asks()
        self.did()

    async def notices(self, change: Change, *, seconds: float = PATIENCE) -> Done:
        """By itself, until it is armed with it; raises TimeoutError where nothing happens."""
        client = self.machine.client
        done = Done()
        async with client.signals(PROPERTIES, "PropertiesChanged", path=ROOT) as told:
            now: dict[str, Value] = dict(await client.get_all(ROOT, MANAGER))
            before = now["LastSuccess"]
            assert (now["State"], now["Activity"]) == ("armed", "idle")
            change(self.root)
            async with asyncio.timeout(seconds):
                while (now["State"], now["Activity"]) != ("armed", "idle") or now["LastSuccess"] == before:
                    interface, values, _gone = (await anext(told)).body
                    if interface == MANAGER and isinstance(values, Mapping):
                        now |= values
                        done.stale |= set(_words(now["Stale"]))
        self.did(done)
        return done

    def did(self, done: Done | None = None) -> Done:
        """Since this was last asked."""
        done = done or Done()
        with self.machine.log.open(errors="replace") as log:
            log.seek(self._read)
            for line in log:
                if found := _STEP.search(line):
                    done.steps.append(found[1])
                elif found := _LOOK.search(line):
                    done.looks += found[1].split("; ")
            self._read = log.tell()
        return done


@asynccontextmanager
async def armed_machine(
    folder: Path, bus: PrivateBus, *, deaf_to: Sequence[str] = ()
) -> AsyncIterator[ArmedMachine]:
    root = make_machine(folder)
    has("/etc/kdumpd.toml", NEVER_BY_TIME)(root)
    async with simulated(folder, bus, root=root, deaf_to=deaf_to) as machine:
        await machine.until_armed()
        armed = ArmedMachine(machine)
        await armed.asks()
        armed.did()
        yield armed


def _words(value: Value) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, tuple | list) else ()
