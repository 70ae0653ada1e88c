"""/etc/sysconfig/kdump, or /etc/default/kdump, as data: shell assignments that are read and never executed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType

from kdumpd.core.config import printable
from kdumpd.core.problems import Problem, Severity

FILES = ("/etc/sysconfig/kdump", "/etc/default/kdump")
"""The first of them that is there is read, unless kdumpd.toml names another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysconfig:
    """What the file sets; None is unset, which is not the same as set to nothing."""

    kernel_version: str | None = None
    command_line: str | None = None
    command_line_remove: str | None = None
    command_line_append: str | None = None
    kexec_args: str | None = None
    bootdir: str | None = None
    image: str | None = None
    """The beginning of the kernel image's name, as `vmlinuz`."""
    image_ext: str | None = None
    stdloglevel: int | None = None
    sysloglevel: int | None = None
    kmsgloglevel: int | None = None
    """0 nothing to 4 debug."""
    fadump_command_line_append: str | None = None
    lines: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    """Variable -> the line that sets it last."""


VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "KDUMP_KERNELVER": "kernel_version",
        "KDUMP_COMMANDLINE": "command_line",
        "KDUMP_COMMANDLINE_REMOVE": "command_line_remove",
        "KDUMP_COMMANDLINE_APPEND": "command_line_append",
        "KEXEC_ARGS": "kexec_args",
        "KDUMP_BOOTDIR": "bootdir",
        "KDUMP_IMG": "image",
        "KDUMP_IMG_EXT": "image_ext",
        "FADUMP_COMMANDLINE_APPEND": "fadump_command_line_append",
    }
)
LOG_LEVELS: Mapping[str, str] = MappingProxyType(
    {"KDUMP_STDLOGLVL": "stdloglevel", "KDUMP_SYSLOGLVL": "sysloglevel", "KDUMP_KMSGLOGLVL": "kmsgloglevel"}
)
HIGHEST_LOG_LEVEL = 4
WITHOUT_MEANING = frozenset({"MKDUMPRD_ARGS", "KDUMP_INITRD", "KDUMP_LOGLVL"})
"""Known from older tools; kdumpd has nothing to do with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SysconfigReading:
    """What became of the text. `sysconfig` is None where one of the problems is an error."""

    sysconfig: Sysconfig | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One `NAME=value` with its quoting undone. `line` is where it begins; `uses` are the variables put into it."""

    name: str
    value: str
    line: int
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What was passed over, and why: `text` begins with its command and ends where reading went on."""

    text: str
    problem: Problem


def read(text: str, *, file: str) -> SysconfigReading:
    """Every Problem of the text at once; each names `file` and a line of at least 1."""
    scanned, unread = assignments(text)
    problems = [each.problem for each in unread]
    texts: dict[str, str] = {}
    levels: dict[str, int] = {}
    lines: dict[str, int] = {}
    for each in scanned:
        if each.name == "KDUMP_BOOTDIR" and each.value and not each.value.startswith("/"):
            message = f"`{each.value}` is not an absolute path"
            problems.append(Problem(code="bad-path", message=message, key=each.name, line=each.line))
        elif each.name in VARIABLES:
            texts[VARIABLES[each.name]] = each.value
        elif each.name in LOG_LEVELS and re.fullmatch(rf"[0-{HIGHEST_LOG_LEVEL}]", each.value):
            levels[LOG_LEVELS[each.name]] = int(each.value)
        else:
            problems += _doubts(each)
            continue
        lines[each.name] = each.line
    told = tuple(
        replace(problem, file=file, message=printable(problem.message), key=printable(problem.key))
        for problem in sorted(problems, key=lambda problem: problem.line)
    )
    if any(problem.is_error for problem in told):
        return SysconfigReading(sysconfig=None, problems=told)
    sysconfig = Sysconfig(
        kernel_version=texts.get("kernel_version"),
        command_line=texts.get("command_line"),
        command_line_remove=texts.get("command_line_remove"),
        command_line_append=texts.get("command_line_append"),
        kexec_args=texts.get("kexec_args"),
        bootdir=texts.get("bootdir"),
        image=texts.get("image"),
        image_ext=texts.get("image_ext"),
        stdloglevel=levels.get("stdloglevel"),
        sysloglevel=levels.get("sysloglevel"),
        kmsgloglevel=levels.get("kmsgloglevel"),
        fadump_command_line_append=texts.get("fadump_command_line_append"),
        lines=MappingProxyType(lines),
    )
    return SysconfigReading(sysconfig=sysconfig, problems=told)


_BEGINNING = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=")
_BLANKS = " \t\r"
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_NEEDS_A_SHELL = frozenset("$`")
_ENDS_A_COMMAND = frozenset(";&|<>()")


def _doubts(assignment: Assignment) -> list[Problem]:
    name = assignment.name
    if name in LOG_LEVELS:
        message = f"`{assignment.value}` is not a log level"
        hint = f"write a number from 0 to {HIGHEST_LOG_LEVEL}"
        return [Problem(code="bad-number", message=message, hint=hint, key=name, line=assignment.line)]
    if not name.startswith(("KDUMP_", "KEXEC_", "FADUMP_")) or name in WITHOUT_MEANING:
        return []
    close = get_close_matches(name[:80], (*VARIABLES, *LOG_LEVELS), n=1)
    return [
        Problem(
            code="unknown-variable",
            message=f"`{name}` has no meaning here",
            hint=f"did you mean {close[0]}?" if close else "",
            severity=Severity.WARNING,
            key=name,
            line=assignment.line,
        )
    ]


def assignments(text: str) -> tuple[list[Assignment], list[Unread]]:
    """The assignments in order, and what is something else."""
    found: list[Assignment] = []
    known: dict[str, str] = {}
    unread: list[Unread] = []
    at, line, counted, command = 0, 1, 0, 0
    while at < len(text):
        if text[at] in f"{_BLANKS}\n;":
            command = at + 1 if text[at] in "\n;" else command
            at += 1
            continue
        line_end = _line_end(text, at)
        line += text.count("\n", counted, at)
        counted = at
        beginning = _BEGINNING.match(text, at)
        if text[at] == "#":
            at = line_end
            continue
        if beginning is None:
            message = f"`{text[at:line_end].strip()}` is not an assignment"
            hint = "this file is read as data and never executed; write NAME=value"
            problem = Problem(code="not-an-assignment", message=message, hint=hint, line=line)
            unread.append(Unread(text=text[command:line_end], problem=problem))
            at = line_end
            continue
        name = beginning[1]
        value, end, wrong = _value(text, beginning.end(), known)
        at = end if end >= 0 else line_end
        if wrong is not None:
            is_ours = name in VARIABLES or name in LOG_LEVELS
            severity = Severity.ERROR if is_ours or end < 0 else Severity.WARNING
            problem = replace(wrong, key=name, line=line, severity=severity)
            unread.append(Unread(text=text[command:at], problem=problem))
            known.pop(name, None)  # what it was before is not what it is now
        else:
            uses = frozenset(each[1] or each[2] for each in _VARIABLE.finditer(text, beginning.end(), at))
            found.append(Assignment(name=name, value=value, line=line, uses=uses))
            known[name] = value
    return found, unread


def _value(text: str, start: int, known: Mapping[str, str]) -> tuple[str, int, Problem | None]:
    """One word from `start` on: its text, where it ends (-1: nowhere), and what is wrong with it."""
    word: list[str] = []
    wrong: Problem | None = None
    at = start
    while at < len(text) and text[at] not in f"{_BLANKS}\n;":
        char = text[at]
        if char == "'":
            closing = text.find("'", at + 1)
            if closing < 0:
                return "", -1, _unclosed(char)
            word.append(text[at + 1 : closing])
            at = closing + 1
        elif char == '"':
            inner, at, trouble = _double_quoted(text, at + 1, known)
            if at < 0:
                return "", -1, _unclosed(char)
            word.append(inner)
            wrong = wrong or trouble
        elif char == "\\":
            word.append("" if text[at + 1 : at + 2] == "\n" else text[at + 1 : at + 2])
            at += 2
        elif char in _NEEDS_A_SHELL:
            expanded, at, trouble = _expanded(text, at, known)
            word.append(expanded)
            wrong = wrong or trouble
        elif char in _ENDS_A_COMMAND:
            return "", _line_end(text, at), _needs_a_shell(char)
        else:
            word.append(char)
            at += 1
    value = "".join(word)
    if wrong is None and any(not char.isprintable() and char not in "\n\t" for char in value):
        wrong = Problem(code="bad-character", message="the value holds a character that cannot be printed")
    return value, at, wrong


def _double_quoted(text: str, start: int, known: Mapping[str, str]) -> tuple[str, int, Problem | None]:
    inner: list[str] = []
    wrong: Problem | None = None
    at = start
    while at < len(text):
        char = text[at]
        if char == '"':
            return "".join(inner), at + 1, wrong
        if char == "\\" and text[at + 1 : at + 2] in {'"', "\\", "$", "`", "\n"}:
            inner.append(text[at + 1].replace("\n", ""))
            at += 2
        elif char in _NEEDS_A_SHELL:
            expanded, at, trouble = _expanded(text, at, known)
            inner.append(expanded)
            wrong = wrong or trouble
        else:
            inner.append(char)
            at += 1
    return "", -1, None


def _expanded(text: str, at: int, known: Mapping[str, str]) -> tuple[str, int, Problem | None]:
    """A variable that the file itself has set above is still data; everything else would need a shell."""
    found = _VARIABLE.match(text, at)
    name = (found[1] or found[2]) if found else ""
    if found and name in known:
        return known[name], found.end(), None
    return "", found.end() if found else at + 1, _needs_a_shell(found[0] if found else text[at])


def _needs_a_shell(what: str) -> Problem:
    return Problem(
        code="needs-a-shell",
        message=f"the value holds `{what}`, which only a shell could expand",
        hint="this file is read as data and never executed; write the text itself, in single quotes",
    )


def _unclosed(quote: str) -> Problem:
    return Problem(
        code="unclosed-quote", message=f"a {quote} is not closed", hint="close it, or leave it out"
    )


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return end if end >= 0 else len(text)
