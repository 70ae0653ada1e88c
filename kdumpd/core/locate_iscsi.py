"""How the capture kernel reaches disks behind iSCSI sessions: the ways to their portals, and what the agent logs in with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType

from kdumpd.core import iscsi
from kdumpd.core.iscsi import IscsiSession
from kdumpd.core.located import Line, Located
from kdumpd.core.machine import BlockDevice, Machine
from kdumpd.core.network import Way, way_to
from kdumpd.core.problems import Problem
from kdumpd.core.storage import IscsiDisk, Stack, stack_under


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The ways to the portals under a stack; problems of which an error means that it is out of reach."""

    ways: tuple[Way, ...] = ()
    problems: tuple[Problem, ...] = ()


def hosts(machine: Machine, devices: Iterable[BlockDevice]) -> frozenset[str]:
    """The portals under the devices: the ways to them are looked at beforehand."""
    return frozenset(
        session.address for device in devices for session in _sessions(stack_under(machine, device))
    )


def reach(machine: Machine, stack: Stack, line: Line) -> Reach:
    ways: list[Way] = []
    problems = list(_under_unknown(machine, stack, line))
    for address in dict.fromkeys(session.address for session in _sessions(stack)):
        way = way_to(machine.network, address)
        if not isinstance(way, Way):
            problems += [line.placed(problem) for problem in way]
            continue
        # The network is the agent's with either engine: what it cannot bring up, nobody can.
        problems += [line.placed(problem) for problem in (*way.warnings, *way.beyond_direct)]
        ways.append(way)
    return Reach(ways=tuple(ways), problems=tuple(problems))


def with_logins(located: Located, ways: tuple[Way, ...]) -> Located:
    """The target as it is reached; the same one where no session lies below it."""
    if not ways:
        return located
    files = {file.path: file for file in map(iscsi.told, _sessions(located.stack))}
    found = replace(located, ways=ways, written=(*located.written, *files.values()))
    return replace(found, told=MappingProxyType({**located.told, "layers": found.words}))


def _sessions(stack: Stack) -> tuple[IscsiSession, ...]:
    return tuple(layer.session for layer in stack.layers if isinstance(layer, IscsiDisk))


def _under_unknown(machine: Machine, stack: Stack, line: Line) -> Iterable[Problem]:
    """What engine dracut would bring up is there before the agent, whose network the sessions need."""
    for layer in stack.unknown:
        if any("/session" in device.sysfs for device in _all_under(machine, layer.device)):
            yield line.problem(
                "layer-unknown",
                f"{layer.device.name}, {layer.what}, lies on disks behind iSCSI sessions, and neither engine can bring "
                "that up in the capture kernel",
                "name a target on one such disk, or on LVM or MD upon them",
            )


def _all_under(machine: Machine, device: BlockDevice) -> Iterable[BlockDevice]:
    seen: dict[str, BlockDevice] = {}
    waiting = [*device.slaves, *([device.disk] if device.disk else [])]
    while waiting:
        name = waiting.pop()
        under = machine.device(name)
        if under is None or name in seen:
            continue
        seen[name] = under
        waiting += [*under.slaves, *([under.disk] if under.disk else [])]
    return seen.values()
