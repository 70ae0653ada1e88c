"""One reason why a capture could fail: a stable code, how grave it is, a sentence, and what clears it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.core.config import printable
from kdumpd.core.mounts import holding
from kdumpd.core.problems import Problem
from kdumpd.core.resolve import LONGEST_TOLD
from kdumpd.core.symptoms import Symptoms

DROP_IN = "/etc/sysctl.d/90-kdump.conf"
LAST_DROP_IN = "/etc/sysctl.d/zz-kdump.conf"


class Gravity(StrEnum):
    """The gravest first."""

    FAILURE = "failure"
    """A crash now would not be captured."""
    RISK = "risk"
    """One could go by: it would not panic the kernel, or its capture could fail."""
    UNKNOWN = "unknown"
    """Whoever looked may not see it."""
    NOTE = "note"
    """Worth knowing, and nothing wrong by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`command` is a line for root's shell that, run as it stands, clears it; "" where no one line does.

    `remedy` says in words what to do, and is there wherever something can be done.
    """

    code: str
    gravity: Gravity
    message: str
    remedy: str = ""
    command: str = ""
    file: str = ""
    line: int = 0


def of_problem(problem: Problem, gravity: Gravity, *, command: str = "", remedy: str = "") -> Finding:
    """A Problem that somebody else has found; its hint is the remedy where none is given."""
    return Finding(
        code=problem.code,
        gravity=gravity,
        message=printable(problem.message, most=LONGEST_TOLD),
        remedy=remedy or printable(problem.hint, most=LONGEST_TOLD),
        command=command,
        file=problem.file,
        line=problem.line,
    )


def unless_loaded(of: Symptoms) -> Gravity:
    """Of what keeps kdumpd from loading: what is loaded already still captures."""
    return Gravity.RISK if of.machine.crash.loaded else Gravity.FAILURE


def remount(of: Symptoms, folder: str) -> str:
    """Lets what holds `folder` be written to, where it is mounted read-only; "" where it is not."""
    place = holding(of.machine.mounts, folder) if folder else None
    if place is None or "ro" not in place.mount.options:
        return ""
    return f"mount -o remount,rw {shlex.quote(place.mount.target)}"


def sysctl(of: Symptoms, value: str, *names: str) -> str:
    """Sets them all now and at each boot: in the lines of /etc that set them, or in a file that comes after those that do."""
    lasting = []
    new = [name for name in names if name not in of.sysctl_files]
    others = [name for name in names if name in of.sysctl_files]
    for name in others:
        setting = of.sysctl_files[name]
        is_ours_to_change = setting.file.startswith("/etc/")
        edit = f"sed -i '{setting.line}s/=.*/= {value}/' {shlex.quote(setting.file)}"
        lasting.append(edit if is_ours_to_change else f"echo '{name} = {value}' >>{LAST_DROP_IN}")
    if new:
        lasting.append(f"printf '%s = {value}\\n' {' '.join(new)} >>{DROP_IN}")
    places = " ".join(f"/proc/sys/{name.replace('.', '/')}" for name in names)
    return " && ".join([*lasting, f"echo {value} | tee {places}"])
