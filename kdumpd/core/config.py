"""kdump.conf as kdumpd understands it: a Document in, a Config or all Problems of the file out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from kdumpd.core import collector, quoting
from kdumpd.core.document import Document, Line
from kdumpd.core.modules import normalised
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.settings import DEFAULT_COLLECTOR, DEFAULT_PATH, SETTINGS, Setting
from kdumpd.core.targets import (
    READ_ONLY_FILESYSTEMS,
    Filesystem,
    Nfs,
    Raw,
    Ssh,
    Target,
    Virtiofs,
    directive_of,
    parse_mount,
)
from kdumpd.core.values import DEFAULT_SSH_KEY, FailureAction, FinalAction, Value, also_final

__all__ = ["Config", "DracutMount", "FailureAction", "FinalAction", "Reading", "printable", "read"]

LONGEST_SHOWN = 300
"""Characters of a message; a line of a megabyte is not repeated in the journal."""

MOST_GUESSES = 50
"""Of what an unknown directive was meant to be, which takes time; a file with more of them is no kdump.conf."""

NEXT_LINE = ", and on the next line "
"""Between the two lines of a hint."""
IN_PLACE_OF = " in place of "
"""Between two directives of a hint: what is written after them stays, of which a hint would show only so much."""

LEAST_MOUNT_WORDS = 3
"""Device, mount point and type; the options may be missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DracutMount:
    """The one `--mount "device mountpoint fstype options"` among dracut_args; `options` may be empty."""

    device: str
    mountpoint: str
    fstype: str
    options: str


class Config(BaseModel, frozen=True, extra="forbid"):
    """What kdump.conf says, with the defaults where it says nothing. `lines` takes no part in a dump of the model."""

    target: Target | None = None
    """None is the default target: the device that holds `path`."""
    path: str = DEFAULT_PATH
    """Absolute and without a trailing slash; only for ssh it may be relative, then to the login directory."""
    core_collector: tuple[str, ...] = quoting.split(DEFAULT_COLLECTOR)
    """The command without file names, `-F` added or left out as the target wants."""
    kdump_pre: str = ""
    kdump_post: str = ""
    kdump_emergency: str = ""
    extra_bins: tuple[str, ...] = ()
    extra_modules: tuple[str, ...] = ()
    module_options: tuple[tuple[str, str], ...] = ()
    """A module and its joined options; each module once, its name normalised."""
    blacklist: tuple[str, ...] = ()
    sshkey: str = DEFAULT_SSH_KEY
    failure_action: FailureAction = FailureAction.REBOOT
    final_action: FinalAction = FinalAction.REBOOT
    disk_timeout: int = 180
    """Seconds."""
    link_delay: int = 0
    """Seconds."""
    debug_mem_level: int = 0
    force_rebuild: bool = False
    force_no_rebuild: bool = False
    dracut_args: tuple[str, ...] = ()
    """As written, a `--mount` included."""
    dracut_mount: DracutMount | None = None
    """Where it is given, `target` is what it mounts."""
    fence_kdump_nodes: tuple[str, ...] = ()
    fence_kdump_args: tuple[str, ...] = ()
    auto_reset_crashkernel: bool = True
    lines: Annotated[Mapping[str, int], AfterValidator(MappingProxyType)] = Field(
        default_factory=lambda: MappingProxyType({}), exclude=True, repr=False
    )
    """Directive as written -> its first line, for Problems that the machine has with it."""
    module_option_lines: Annotated[Mapping[str, int], AfterValidator(MappingProxyType)] = Field(
        default_factory=lambda: MappingProxyType({}), exclude=True, repr=False
    )
    """Module -> the first line with options for it: there may be many lines of that directive."""

    @property
    def target_directive(self) -> str:
        """The directive that names the target, or "" where it is the default one."""
        given = (name for name in self.lines if name in SETTINGS and SETTINGS[name].is_target)
        return next(given, "dracut_args" if self.dracut_mount else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of a Document. `config` is None where one of the problems is an error."""

    config: Config | None
    problems: tuple[Problem, ...]


def read(document: Document, *, file: str) -> Reading:
    """Every Problem of the file at once, in order of lines; each names `file` and a line of at least 1."""
    draft = _Draft(keys=frozenset(document.keys))
    for line in document.lines:
        _read_line(draft, line)
    _settle_target(draft)
    _settle_actions(draft)
    _settle_rebuilds(draft)
    _settle_path(draft)
    _settle_collector(draft)
    ordered = sorted(draft.problems, key=lambda problem: problem.line)
    problems = tuple(
        replace(
            problem,
            file=file,
            line=max(problem.line, 1),
            key=printable(problem.key),
            message=printable(problem.message),
            hint=printable(problem.hint),
        )
        for problem in ordered
    )
    if any(problem.is_error for problem in problems):
        return Reading(config=None, problems=problems)
    options = tuple(
        (module, " ".join(text for text, _ in several)) for module, several in draft.module_options.items()
    )
    config = Config.model_validate(
        {
            **draft.values,
            "module_options": options,
            "blacklist": tuple(draft.blacklist),
            "lines": {key: line.number for key, line in draft.lines.items()},
            "module_option_lines": {
                module: several[0][1].number for module, several in draft.module_options.items()
            },
        }
    )
    return Reading(config=config, problems=problems)


def printable(text: str, *, most: int = LONGEST_SHOWN) -> str:
    """`text` fit for a terminal, the journal and D-Bus: what cannot be printed is escaped, and it is cut to a length."""
    if text.isprintable() and len(text) <= most:
        return text
    if len(text) > most:
        text = f"{text[: most - 60]} ... {text[-50:]}"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


_STRAY_BYTES = re.compile("[\ud800-\udfff]")


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A Config on its way: values by field, the line each directive stands on, and the problems so far."""

    keys: frozenset[str]
    """All that the file sets, also below the line that is read."""
    values: dict[str, Value | DracutMount] = field(default_factory=dict)
    module_options: dict[str, list[tuple[str, Line]]] = field(default_factory=dict)
    blacklist: dict[str, None] = field(default_factory=dict)
    guesses: int = 0
    lines: dict[str, Line] = field(default_factory=dict)
    target_lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def say(self, problem: Problem, line: Line) -> None:
        self.problems.append(replace(problem, line=line.number, key=problem.key or line.key))

    def refuse(self, line: Line, code: str, message: str, hint: str = "") -> None:
        self.say(Problem(code=code, message=message, hint=hint), line)

    def warn(self, line: Line, code: str, message: str, hint: str = "") -> None:
        self.say(Problem(code=code, message=message, hint=hint, severity=Severity.WARNING), line)


def _read_line(draft: _Draft, line: Line) -> None:
    if not line.is_setting:
        if _has_stray_bytes(line.text):
            draft.warn(line, "not-utf-8", "this comment is not valid UTF-8", "save the file as UTF-8")
        return
    setting = SETTINGS.get(line.key)
    if setting is None:
        draft.guesses += 1
        hint = _meant_by(line) if draft.guesses <= MOST_GUESSES else ""
        draft.refuse(line, "unknown-directive", f"`{line.key}` is not a directive", hint)
        return
    if _has_stray_bytes(line.key + line.value):
        draft.refuse(
            line, "not-utf-8", f"the value of `{line.key}` is not valid UTF-8", "save the file as UTF-8"
        )
        return
    if not line.value.replace("\t", " ").isprintable():
        draft.refuse(
            line, "bad-character", f"the value of `{line.key}` holds a character that cannot be printed"
        )
        return
    if line.value.startswith("="):
        hint = f"write {line.key} {line.value.lstrip('= ')}"
        draft.refuse(line, "stray-equals", f"the value of `{line.key}` begins with `=`", hint)
        return
    if line.is_cut_by_comment:
        draft.warn(
            line,
            "value-cut-by-comment",
            f"the value of `{line.key}` ends at the `#`: it is read as `{line.value}`",
            "a `#` begins a comment anywhere, also inside quotes; put a blank before a comment",
        )
    if not line.value.strip() and setting.needs_value:
        hint = f"write {line.key} {setting.argument}, or remove the line"
        draft.refuse(line, "missing-value", f"`{line.key}` has no value", hint)
    _read_setting(draft, line, setting)


def _read_setting(draft: _Draft, line: Line, setting: Setting) -> None:
    first = draft.lines.setdefault(line.key, line)
    if setting.is_target:
        draft.target_lines.append(line)
    elif first is not line and not setting.repeats:
        message = f"`{line.key}` is already on line {first.number}"
        draft.refuse(
            line, "duplicate-directive", message, f"remove line {first.number} or line {line.number}"
        )
        return
    if not line.value.strip() or not setting.needs_value:
        return
    parsed = setting.parse(line.value)
    for problem in parsed.problems:
        draft.say(problem, line)
    if parsed.value is None:
        return
    if setting.deprecated:
        draft.warn(
            line, f"deprecated-{line.key}", setting.deprecated, f"write {_modern(draft, line, parsed.value)}"
        )
    match setting.name, parsed.value:
        case "options", (str(module), str(options)):
            draft.module_options.setdefault(normalised(module), []).append((options, line))
        case "blacklist", tuple(names):
            draft.blacklist |= dict.fromkeys(names)
        case _:
            draft.values[setting.config_field] = parsed.value


def _meant_by(line: Line) -> str:
    """What an unknown directive was perhaps meant to be."""
    name, equals, value = line.text.strip().partition("=")
    if equals and name.rstrip() in SETTINGS:
        return f"write {name.rstrip()} {value.strip()}, with a blank and without `=`"
    if line.key.lower() in SETTINGS:
        return f"did you mean {line.key.lower()}?"
    if line.key in READ_ONLY_FILESYSTEMS:
        return f"{line.key} cannot be written to"
    close = get_close_matches(line.key[:LONGEST_SHOWN], SETTINGS, n=1)
    return f"did you mean {close[0]}?" if close else ""


def _modern(draft: _Draft, line: Line, value: Value) -> str:
    """The line to write instead of a deprecated one, or two of them with NEXT_LINE between; or only its directive."""
    match value:
        case FailureAction():
            also = also_final(value) if "final_action" not in draft.keys else None
            then = f"{NEXT_LINE}final_action {also.value}" if also is not None else ""
            return f"failure_action {value.value}{then}"
        case Filesystem() | Raw() | Nfs() | Ssh() | Virtiofs():
            directive, _ = directive_of(value)
            return f"{directive}{IN_PLACE_OF}{line.key}"
        case _:
            return line.value


def _settle_target(draft: _Draft) -> None:
    """One target, of a target's own directive or of dracut's `--mount`."""
    arguments = draft.lines.get("dracut_args")
    mounts = _dracut_mounts(draft.values.get("dracut_args"))
    named = [*draft.target_lines, *([arguments] * len(mounts) if arguments else [])]
    for line in named[1:]:
        draft.refuse(
            line,
            "two-targets",
            f"`{line.key}` names a second target; the first is on line {named[0].number}",
            "a dump goes to exactly one target: keep only one of them",
        )
    if arguments is None or not mounts:
        return
    words = quoting.split(mounts[0])
    if len(words) < LEAST_MOUNT_WORDS:
        hint = 'write --mount "DEVICE MOUNTPOINT TYPE OPTIONS"'
        draft.refuse(arguments, "bad-mount", f"`--mount {mounts[0]}` is incomplete", hint)
        return
    device, mountpoint, fstype, *options = words
    target = parse_mount(device, fstype)
    if isinstance(target, Problem):
        draft.say(target, arguments)
        return
    draft.values["target"] = target
    draft.values["dracut_mount"] = DracutMount(
        device=device, mountpoint=mountpoint, fstype=fstype, options=options[0] if options else ""
    )


def _dracut_mounts(arguments: object) -> list[str]:
    """The values of every `--mount`; "" for one that lacks it."""
    words = arguments if isinstance(arguments, tuple) else ()
    following = (*words[1:], "")
    separate = [after for word, after in zip(words, following, strict=False) if word == "--mount"]
    return separate + [word.removeprefix("--mount=") for word in words if word.startswith("--mount=")]


def _settle_actions(draft: _Draft) -> None:
    """RHEL 6's `default` is failure_action, and may be final_action too."""
    old, new = draft.lines.get("default"), draft.lines.get("failure_action")
    if old and new:
        later, earlier = (old, new) if old.number > new.number else (new, old)
        draft.refuse(
            later,
            "contradictory-failure-actions",
            f"`{later.key}` and `{earlier.key}` on line {earlier.number} say the same thing twice",
            "keep only failure_action",
        )
        return
    action = draft.values.get("failure_action")
    also = also_final(action) if isinstance(action, FailureAction) else None
    if old and also is not None:
        draft.values.setdefault("final_action", also)


def _settle_rebuilds(draft: _Draft) -> None:
    if draft.values.get("force_rebuild") and draft.values.get("force_no_rebuild"):
        always, never = draft.lines["force_rebuild"], draft.lines["force_no_rebuild"]
        later, earlier = (always, never) if always.number > never.number else (never, always)
        draft.refuse(
            later,
            "contradictory-rebuilds",
            f"`{later.key}` contradicts `{earlier.key}` on line {earlier.number}",
            "set one of them to 0",
        )


def _settle_path(draft: _Draft) -> None:
    """Below a mounted target a relative path begins at its root; on the running system it says nothing."""
    path, line = draft.values.get("path"), draft.lines.get("path")
    if line is None or not isinstance(path, str) or path.startswith("/"):
        return
    if draft.target_lines and "target" not in draft.values:
        return
    match draft.values.get("target"):
        case Ssh():
            return
        case None | Raw():
            draft.refuse(line, "bad-path", f"`{path}` is not an absolute path", f"write path /{path}")
        case _:
            draft.values["path"] = f"/{path}"


def _settle_collector(draft: _Draft) -> None:
    """The collector fits the target; a target that was refused leaves nothing to fit it to."""
    if len(draft.target_lines) > 1 or (draft.target_lines and "target" not in draft.values):
        return
    line = draft.lines.get("core_collector")
    written = draft.values.get("core_collector")
    if line is not None and not isinstance(written, tuple):
        return
    argv = written if isinstance(written, tuple) else quoting.split(DEFAULT_COLLECTOR)
    target = draft.values.get("target")
    wanted = target if isinstance(target, Filesystem | Raw | Nfs | Ssh | Virtiofs) else None
    fitted = collector.fitted(tuple(str(word) for word in argv), wanted)
    draft.values["core_collector"] = fitted.argv
    if line is not None:
        for problem in fitted.problems:
            draft.say(problem, line)


def _has_stray_bytes(text: str) -> bool:
    """Bytes that are not UTF-8 stand as lone surrogates in a text read with surrogateescape."""
    return _STRAY_BYTES.search(text) is not None
