"""Makes a plan of unrest from a seed: what is changed, one step after the other, until the machine crashes.

A plan is a value: the same seed and number give the same steps and the same moment.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.vm.installed import CONF, CONFIG, NAME, ROOT

LONGEST = 25.0  # seconds from the beginning of the unrest to the crash, at most
_STEPS = 120  # more than fit into that time

Step = dict[str, str | int | float | list[str]]
"""As tests/vm/guest/unrest.py takes it: `do`, what that needs, and the `pause` in seconds before it."""


class Room(StrEnum):
    """Which disk gets full."""

    ENOUGH = "enough"
    STORE = "store"
    """/var/lib/kdumpd is a small file system of its own; dumps go to the root file system."""
    ROOT = "root"
    """The root file system, /etc and the store included; dumps go to another disk."""


HOOKS = ("/etc/kdump/pre", "/etc/kdump/post")
PATHS = tuple(f"/var/crash/{name}" for name in ("amber", "birch", "cedar", "dune", "elm", "with a blank"))
FILLER = {Room.STORE: "/var/lib/kdumpd/filler", Room.ROOT: "/var/filler"}
_TARGET = {Room.ENOUGH: (), Room.STORE: (), Room.ROOT: ("ext4 LABEL=dumps",)}
_COLLECTORS = (
    "makedumpfile -l --message-level 7 -d 31",
    "makedumpfile -l --message-level 1 -d 31",
    "makedumpfile -c -d 31",
    "makedumpfile -l -d 17,31",
)
_FAILURE_ACTIONS = ("reboot", "poweroff", "halt", "dump_to_rootfs")
_BROKEN = (
    "pathh /var/crash",
    "ext4 UUID=00000000-1111-2222-3333-444444444444",
    "kdump_pre /etc/kdump/nowhere",
    "core_collector scp",
    "failure_action explode",
    "path",
)
_GARBAGE = "\x01\x02 \x7f}{ ;;; $(reboot) `halt` \xff\n\n\n path /var/crash/garbage \x00 garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One machine's fate."""

    seed: int
    number: int
    room: Room
    is_quick: bool
    """The daemon is back a tenth of a second after a kill, not two seconds."""
    start: tuple[str, ...]
    """The lines that are armed before the unrest begins; none where it may begin with what a boot has armed."""
    steps: tuple[Step, ...]
    crash_after: float


def plan(seed: int, number: int, *, longest: float = LONGEST) -> Plan:
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 - that it can be foreseen is what is wanted
    room = dice.choice(tuple(Room))
    is_quick = dice.random() < 0.5
    start = (*_TARGET[room], f"path {dice.choice(PATHS)}") if room is Room.ROOT else ()
    crash_after = dice.uniform(0.0, longest)
    steps = [_step(dice, room) for _ in range(_STEPS)]
    for full in reversed([number for number, step in enumerate(steps) if step["do"] == "fill"]):
        steps.insert(min(full + dice.randint(1, 5), len(steps)), {"do": "free", "file": FILLER[room]})
    for step in steps:
        step["pause"] = round(dice.choice((0.05, 0.5, 2.0, 7.0)) * dice.random(), 3)
    return Plan(
        seed=seed,
        number=number,
        room=room,
        is_quick=is_quick,
        start=start,
        steps=tuple(steps),
        crash_after=crash_after,
    )


def _step(dice: random.Random, room: Room) -> Step:
    makers = [(_edit, 30), (_bad_edit, 9), (_hook, 14), (_set_over_the_bus, 8), (_command, 12)]
    # A start takes seconds where the machine is emulated: one that is killed all the time never comes to a load.
    makers += [(_append, 4), (_kill, 3)]
    if room is not Room.ENOUGH:
        makers += [(_fill, 14)]
    (chosen,) = dice.choices([maker for maker, _ in makers], [weight for _, weight in makers])
    return chosen(dice, room)


def _edit(dice: random.Random, room: Room) -> Step:
    """A valid text; it names hooks that may be there, or not, or not be executable."""
    lines = [*_TARGET[room], f"path {dice.choice(PATHS)}"]
    lines += _some(dice, 0.5, f"core_collector {dice.choice(_COLLECTORS)}")
    lines += _some(dice, 0.5, f"failure_action {dice.choice(_FAILURE_ACTIONS)}")
    lines += _some(dice, 0.2, "final_action poweroff")
    lines += _some(dice, 0.25, f"extra_modules {dice.choice(('loop', 'dummy', 'loop dummy'))}")
    lines += _some(dice, 0.15, "extra_bins /usr/bin/env")
    lines += _some(dice, 0.25, f"kdump_pre {HOOKS[0]}")
    lines += _some(dice, 0.25, f"kdump_post {HOOKS[1]}")
    lines += _some(dice, 0.3, f"# {dice.random()}")
    return _text(dice, room, lines)


def _bad_edit(dice: random.Random, room: Room) -> Step:
    if dice.random() < 0.2:
        return _text(dice, room, [_GARBAGE])
    lines = [*_TARGET[room], "path /var/crash/never", dice.choice(_BROKEN)]
    dice.shuffle(lines)
    return _text(dice, room, lines)


def _text(dice: random.Random, room: Room, lines: list[str]) -> Step:
    # A file that is cut short for a moment is a valid one without a target: not where the root file system is full.
    way = "renamed" if room is Room.ROOT else dice.choice(("renamed", "renamed", "in place"))
    return {
        "do": "write",
        "file": CONF,
        "text": "".join(f"{line}\n" for line in lines),
        "way": way,
        "mode": 0o644,
    }


def _append(dice: random.Random, room: Room) -> Step:
    return {
        "do": "append",
        "file": CONF,
        "text": dice.choice(
            ("# a comment\n", "disk_timeout 60\n", "nonsense\n", "extra_bins /usr/bin/env\n")
        ),
    }


def _hook(dice: random.Random, room: Room) -> Step:
    file = dice.choice(HOOKS)
    match dice.choice(("make", "make", "remove", "allow", "forbid")):
        case "make":
            text = f"#!/bin/sh\necho 'a hook of {dice.randrange(1000)}'\nexit 0\n"
            # Never half a hook: one that fails means that no dump is wanted.
            return {"do": "write", "file": file, "text": text, "way": "renamed", "mode": 0o755}
        case "remove":
            return {"do": "remove", "file": file}
        case "allow":
            return {"do": "chmod", "file": file, "mode": 0o755}
        case _:
            return {"do": "chmod", "file": file, "mode": 0o644}


def _set_over_the_bus(dice: random.Random, room: Room) -> Step:
    words = [
        "busctl",
        "call",
        NAME,
        ROOT,
        CONFIG,
        "Set",
        "a{sv}sa{sv}",
        "1",
        "path",
        "s",
        dice.choice(PATHS),
        "",
        "0",
    ]
    return {"do": "start", "argv": words}


def _command(dice: random.Random, room: Room) -> Step:
    commands = (
        ["kdumpctl", "reload"],
        ["kdumpctl", "rebuild"],
        ["kdumpctl", "restart"],
        ["kdumpctl", "config", "set", "path", dice.choice(PATHS)],
    )
    return {"do": "start", "argv": dice.choice(commands)}


def _kill(dice: random.Random, room: Room) -> Step:
    if dice.random() < 0.25:
        return {"do": "start", "argv": ["systemctl", "restart", "kdumpd"]}
    whom = dice.choice(("main", "all"))
    return {"do": "start", "argv": ["systemctl", "kill", f"--kill-whom={whom}", "-s", "KILL", "kdumpd"]}


def _fill(dice: random.Random, room: Room) -> Step:
    return {"do": "fill", "file": FILLER[room]}


def _some(dice: random.Random, chance: float, line: str) -> list[str]:
    return [line] if dice.random() < chance else []
