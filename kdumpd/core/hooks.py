"""The administrator's own files in the image: the hooks and their folders, extra_bins, what core_collector reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from kdumpd.core.collector import files_read
from kdumpd.core.config import Config
from kdumpd.core.inventory import Inventory, Kind
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.problems import Problem, Severity

PRE_D, POST_D, EMERGENCY_D = FOLDERS = ("/etc/kdump/pre.d", "/etc/kdump/post.d", "/etc/kdump/emergency.d")
_LEFT_BEHIND = (
    "~",
    ".bak",
    ".rpmsave",
    ".rpmnew",
    ".rpmorig",
    ".dpkg-old",
    ".dpkg-new",
    ".dpkg-dist",
    ".swp",
)
_NEEDS_MORE = ("python", "perl", "ruby", "node", "tclsh", "lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One file, with the Problem to tell where it is missing."""

    path: str
    missing: Problem
    is_run: bool = True  # by the agent; extra_bins and what the collector reads are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """All of them; the three folders in lexical order of their names."""

    all: tuple[Hook, ...]
    pre_d: tuple[str, ...]
    post_d: tuple[str, ...]
    emergency_d: tuple[str, ...]
    problems: tuple[Problem, ...]


def named(config: Config) -> tuple[Hook, ...]:
    """Those that kdump.conf names."""
    single = (
        ("kdump_pre", config.kdump_pre),
        ("kdump_post", config.kdump_post),
        ("kdump_emergency", config.kdump_emergency),
    )
    hooks = [
        Hook(path=path, missing=_missing(config, key, path, "hook-missing")) for key, path in single if path
    ]
    hooks += [
        Hook(path=path, missing=_missing(config, "extra_bins", path, "extra-bin-missing"), is_run=False)
        for path in config.extra_bins
    ]
    hooks += [
        Hook(
            path=path,
            missing=_missing(config, "core_collector", path, "collector-file-missing"),
            is_run=False,
        )
        for path in files_read(config.core_collector)
        if path.startswith("/")
    ]
    return tuple(hooks)


def gathered(config: Config, inventory: Inventory) -> Hooks:
    """Those of kdump.conf and of the folders, with what is wrong with those that the agent would have to run."""
    folders = [tuple(_in_folder(folder, inventory)) for folder in FOLDERS]
    all_hooks = (
        *named(config),
        *(Hook(path=path, missing=_vanished(path)) for paths in folders for path in paths),
    )
    return Hooks(
        all=all_hooks,
        pre_d=folders[0],
        post_d=folders[1],
        emergency_d=folders[2],
        problems=(
            *(problem for hook in all_hooks for problem in _troubles(hook, inventory)),
            *(problem for folder in FOLDERS for problem in _idle(folder, inventory)),
            *_nowhere(config),
        ),
    )


def _in_folder(folder: str, inventory: Inventory) -> Iterator[str]:
    for path in _entries(folder, inventory):
        facts = inventory.facts(path)
        if facts.is_executable or facts.unreadable:
            yield path


def _idle(folder: str, inventory: Inventory) -> Iterator[Problem]:
    for path in _entries(folder, inventory):
        facts = inventory.facts(path)
        if facts.kind is Kind.FILE and not facts.is_executable and not facts.unreadable:
            yield Problem(
                code="hook-not-executable",
                message=f"{path} is not executable and will not run",
                hint=f"chmod +x {path}, or remove it",
                severity=Severity.WARNING,
            )


def is_left_behind(name: str) -> bool:
    """By an editor or a package manager, beside the file that is meant."""
    return name.startswith((".", "#")) or name.endswith(_LEFT_BEHIND)


def _entries(folder: str, inventory: Inventory) -> Iterator[str]:
    for name in inventory.facts(folder).entries:
        if not is_left_behind(name):
            yield f"{folder}/{name}"


def _troubles(hook: Hook, inventory: Inventory) -> Iterator[Problem]:
    facts = inventory.facts(hook.path)
    where = hook.missing
    if hook.is_run and facts.kind is Kind.FILE and not facts.is_executable and not facts.unreadable:
        yield Problem(
            code="hook-not-executable",
            message=f"{hook.path} is not executable",
            hint=f"chmod +x {hook.path}",
            file=where.file,
            line=where.line,
            key=where.key,
        )
    env, _, options = facts.interpreter_line.partition(" ")
    if env.endswith("/env") and options.startswith("-"):
        yield Problem(
            code="interpreter-unfit",
            message=f"{hook.path} is run by `{facts.interpreter_line}`, and the env of the capture image takes no options",
            hint="name the interpreter by its path after the #!",
            severity=Severity.ERROR if hook.is_run else Severity.WARNING,
            file=where.file,
            line=where.line,
            key=where.key,
        )
    if facts.interpreter.rpartition("/")[2].startswith(_NEEDS_MORE):
        yield Problem(
            code="interpreter-needs-more",
            message=f"{hook.path} is run by {facts.interpreter}, whose own library is not in the capture image",
            hint="write it in sh",
            severity=Severity.WARNING,
            file=where.file,
            line=where.line,
            key=where.key,
        )


def _missing(config: Config, key: str, path: str, code: str) -> Problem:
    return Problem(
        code=code,
        message=f"{path} does not exist",
        hint=f"put it there, or remove it from {key}",
        file=KDUMP_CONF if key in config.lines else "",
        line=config.lines.get(key, 0),
        key=key,
    )


def _nowhere(config: Config) -> Iterator[Problem]:
    """Files of the collector that no directory is named for: nobody knows which one the capture kernel runs it in."""
    for path in files_read(config.core_collector):
        if not path.startswith("/"):
            missing = _missing(config, "core_collector", path, "collector-file-missing")
            yield replace(
                missing, message=f"`{path}` is not an absolute path", hint="write the whole path of the file"
            )


def _vanished(path: str) -> Problem:
    return Problem(
        code="hook-missing",
        message=f"{path} is a broken link",
        hint="remove the link, or create the file that it points to",
    )
