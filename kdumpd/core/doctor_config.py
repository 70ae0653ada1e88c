"""What is wrong with the configuration and with what goes into the image: problems of the plan, modes, missing programs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from kdumpd.core import packages
from kdumpd.core.config import IN_PLACE_OF, NEXT_LINE
from kdumpd.core.finding import Finding, Gravity, of_problem, remount, unless_loaded
from kdumpd.core.inventory import Kind
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.problems import Problem
from kdumpd.core.symptoms import Mode, Symptoms

_NOTES = frozenset(
    {
        "collector-compression-replaced",
        "dracut-args-packing",
        "dracut-args-unused",
        "not-utf-8",
        "flatten-added",
        "flatten-removed",
        "unknown-module",
        "unknown-variable",
        "value-cut-by-comment",
    }
)
"""Warnings of what is left out, or done otherwise, without harm to a capture; and all those of old spellings."""
_INSTALL: Mapping[str, str] = MappingProxyType(
    {"apt-get": "apt-get install -y", "dnf": "dnf install -y", "zypper": "zypper --non-interactive install"}
)
_UNREADABLE = re.compile("cannot be read: Permission denied|Permission denied$")


def findings(of: Symptoms) -> Iterator[Finding]:
    hooks = frozenset(mode.path for mode in of.hooks)
    for problem in of.resolution.problems:
        if problem.code == "hook-not-executable" and any(path in problem.message for path in hooks):
            continue  # told below, with its command
        yield _of_plan(of, problem)
    yield from _hooks(of)
    yield from _modes(of)
    for problem in of.unread:
        yield of_problem(problem, Gravity.UNKNOWN, remedy="run it as root")


def _of_plan(of: Symptoms, problem: Problem) -> Finding:
    if not of.is_root and _UNREADABLE.search(problem.message):
        return of_problem(problem, Gravity.UNKNOWN, remedy="run it as root")
    is_note = problem.code in _NOTES or problem.code.startswith("deprecated-")
    gravity = unless_loaded(of) if problem.is_error else Gravity.NOTE if is_note else Gravity.RISK
    return of_problem(problem, gravity, command=_command(of, problem))


def _command(of: Symptoms, problem: Problem) -> str:
    match problem.code:
        case "program-missing":
            package = packages.package_of(problem)
            names = package if of.package_tool == "apt-get" else package[::-1]
            install = _INSTALL.get(of.package_tool, "")
            return f"{install} {names[0]}" if install and names else ""
        case "target-not-mounted":
            return f"mount {shlex.quote(_unmounted(of))}" if _unmounted(of) else ""
        case "target-read-only":
            return remount(of, of.machine.followed(of.config.path).real) if of.config is not None else ""
        case "ssh-key-missing" | "ssh-key-unusable" | "host-key-unknown":
            return "kdumpctl propagate"
        case code if code.startswith("deprecated-") and problem.hint.startswith("write "):
            return f"sed -i {shlex.quote(f'{problem.line}{_rewriting(problem)}')} {KDUMP_CONF}"
        case _:
            return ""


def _rewriting(problem: Problem) -> str:
    """For sed(1), and only where the line is still the one that was read: other words, up to what stands before a comment."""
    new, in_place, old = problem.hint.removeprefix("write ").partition(IN_PLACE_OF)
    if in_place:
        return rf"s/^\([^[:alnum:]#]*\){old}\([[:blank:]]\)/\1{new}\2/"
    text = "\\n".join(new.split(NEXT_LINE))
    return rf"s/[^#]*\b{problem.key}\b[^#]*[^#[:space:]]/{text}/"


def _unmounted(of: Symptoms) -> str:
    """The mount point of fstab that `path` is to lie on and does not."""
    path = of.machine.followed(of.config.path).real if of.config is not None else ""
    mounted = {mount.target for mount in of.machine.mounts}
    above = [
        entry.target
        for entry in of.machine.fstab
        if entry.target not in mounted and f"{path}/".startswith(f"{entry.target.rstrip('/')}/")
    ]
    return max(above, key=len, default="")


def _hooks(of: Symptoms) -> Iterator[Finding]:
    for hook in of.hooks:
        if hook.kind is Kind.FILE and not hook.bits & 0o111:
            yield Finding(
                code="hook-not-executable",
                gravity=Gravity.RISK,
                message=f"{hook.path} is not executable, and so it does not run in the capture kernel",
                remedy="make it executable, or remove it",
                command=f"chmod +x {shlex.quote(hook.path)}",
            )


def _modes(of: Symptoms) -> Iterator[Finding]:
    for mode in (*of.modes, *of.hooks):
        if mode.kind is not Kind.MISSING and mode.is_writable_by_others:
            yield Finding(
                code="writable-by-others",
                gravity=Gravity.RISK,
                message=f"users other than root may write to {mode.path}{_said(mode)}: root does what it says, here "
                "and in the capture kernel",
                remedy="leave it to root alone",
                command=f"chown root:root {shlex.quote(mode.path)} && chmod go-w {shlex.quote(mode.path)}",
            )
    for key in of.keys:
        if key.kind is Kind.FILE and (key.bits & 0o077 or key.owner != 0):
            yield Finding(
                code="key-readable-by-others",
                gravity=Gravity.RISK,
                message=(
                    f"users other than root may read the private key {key.path}{_said(key)}, and ssh refuses "
                    "such a key"
                ),
                remedy="leave it to root alone",
                command=f"chown root:root {shlex.quote(key.path)} && chmod 600 {shlex.quote(key.path)}",
            )


def _said(mode: Mode) -> str:
    owner = f", owner {mode.owner}" if mode.owner else ""
    return f" (mode {mode.bits:o}{owner})"
