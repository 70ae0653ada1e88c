"""What another tool's configuration comes to in ours: kdump.conf, the KDUMP_ variables, kdumpd.toml, and what has no place."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum

from kdumpd.core import commandline, document
from kdumpd.core.config import printable, read
from kdumpd.core.document import Document
from kdumpd.core.edits import edited
from kdumpd.core.problems import Problem
from kdumpd.core.sysconfig import Assignment, assignments
from kdumpd.core.sysconfig import read as read_sysconfig


class Tool(StrEnum):
    """Whose configuration it is."""

    KDUMP_TOOLS = "kdump-tools"
    OPENSUSE = "opensuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """A setting that means nothing in ours, or not quite; `line` is 0 where it is the tool's default that does.

    A value is never told, for it may be a password; only that of crashkernel= is none.
    """

    line: int
    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What to write where. `saves_there` is False where the target itself has no equivalent, or is not clear."""

    tool: Tool
    conf: Document
    variables: tuple[tuple[str, str], ...] = ()  # of the sysconfig file
    keys: tuple[tuple[str, int | str], ...] = ()  # of kdumpd.toml
    lacks: tuple[Lack, ...] = ()
    saves_there: bool = True
    is_clear: bool = True  # where the dumps go
    warnings: tuple[Problem, ...] = ()  # of the kdump.conf


Given = Mapping[str, Assignment]
"""What the file sets, each variable as it was set last."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """An Import on its way; each entry remembers the setting that it comes from, None for a default."""

    directives: dict[str, tuple[str, Assignment | None]] = field(default_factory=dict)
    variables: dict[str, tuple[str, Assignment]] = field(default_factory=dict)
    keys: dict[str, int | str] = field(default_factory=dict)
    lacks: list[Lack] = field(default_factory=list)
    saves_there: bool = True
    is_clear: bool = True

    def lack(self, by: Assignment, why: str) -> None:
        self.lacks.append(Lack(line=by.line, name=by.name, why=why))


def sets_no_sysctl(tool: str, draft: Draft) -> None:
    """Both tools set it when they load; Debian's kernel has 0."""
    why = (
        f"{tool} lets an oops crash the machine, and kdumpd sets no sysctl: "
        "put `kernel.panic_on_oops = 1` into a file of /etc/sysctl.d"
    )
    draft.lacks.append(Lack(line=0, name="kernel.panic_on_oops", why=why))


Reader = Callable[[Draft, Given, Assignment], None]
"""What one variable comes to; of an empty one nothing is asked, for it is as good as unset to both tools."""


def nothing(_draft: Draft, _given: Given, _by: Assignment) -> None:
    """Of what is read together with something else, or is as it is here anyway."""


def lacking(why: str) -> Reader:
    return lambda draft, _given, by: draft.lack(by, why)


def unknown_to(tool: str, draft: Draft, by: Assignment, *, used: AbstractSet[str]) -> None:
    """Of a variable that the tool does not read: `used` are the names whose values the file puts into others."""
    if by.name in used:
        draft.lack(by, "it is a variable of the file's own, and its value is taken where the file uses it")
    else:
        draft.lack(by, f"{tool} has no such setting")


def to_variable(name: str) -> Reader:
    """As it stands, into a variable of the sysconfig file."""

    def reader(draft: Draft, _given: Given, by: Assignment) -> None:
        draft.variables[name] = by.value, by

    return reader


def value(given: Given, name: str, default: str = "") -> str:
    """What is set, or the tool's default where it is unset or empty."""
    found = given.get(name)
    return found.value if found is not None and found.value else default


def put(draft: Draft, directive: str, text: str, by: Assignment | None) -> None:
    draft.directives[directive] = text, by


def put_makedumpfile(draft: Draft, words: Iterable[str], by: Assignment | None) -> None:
    """The core collector; `-F` is there exactly where the target, which is known by then, takes a stream."""
    others = (word for word in words if word != "-F")
    put(
        draft,
        "core_collector",
        " ".join(["makedumpfile", *(["-F"] if "ssh" in draft.directives else []), *others]),
        by,
    )


def put_kernel(draft: Draft, by: Assignment) -> None:
    """The kernel whose image lies at this path."""
    folder, _, name = by.value.rpartition("/")
    image, dash, release = name.partition("-")
    if not dash or not image.lower().startswith(("vmlinu", "image")):
        draft.lack(by, "kdumpd finds a kernel by its release: set KDUMP_KERNELVER in the sysconfig file")
        return
    draft.variables["KDUMP_KERNELVER"] = release, by
    if folder != "/boot":
        draft.variables["KDUMP_BOOTDIR"] = folder, by
    if image != "vmlinuz":
        draft.variables["KDUMP_IMG"] = image, by


def number(draft: Draft, by: Assignment) -> int | None:
    """A whole number, or a lack."""
    if re.fullmatch(r"-?[0-9]{1,9}", by.value.strip()):
        return int(by.value)
    draft.lack(by, "it is not a number, so kdumpd's default is used")
    return None


def appended(own: str, *, architecture: str) -> str:
    """KDUMP_COMMANDLINE_APPEND with what another tool adds to the capture kernel's command line.

    There it takes the place of the words that kdumpd adds, which keep the capture small and must not be lost; of the
    same key the administrator's word stands.
    """
    words = commandline.words(own)
    keys = {word.partition("=")[0] for word in words}
    ours = (word for word in commandline.defaults(architecture).append if word.partition("=")[0] not in keys)
    return " ".join((*ours, *words))


def assembled(tool: Tool, draft: Draft, *, file: str, problems: tuple[Problem, ...]) -> Import:
    """The draft checked as kdumpd will read it: what it would refuse is a lack, with the reason.

    `problems` are those that reading the file itself found.
    """
    heading = f"# Made by `kdumpctl import` of {printable(file)} ({tool}).\n"
    conf = document.parse(heading)
    lacks = [*draft.lacks, *(_unread(problem) for problem in problems)]
    saves_there = draft.saves_there
    for directive, (text, by) in draft.directives.items():
        edit = edited(conf, {directive: (text,)}, file="kdump.conf")
        if edit.document is not None:
            conf = edit.document
            continue
        told = next(problem for problem in edit.problems if problem.is_error)
        lacks.append(_refused(told, by, directive))
        saves_there = saves_there and not directive.startswith(("nfs", "ssh", "path"))
    variables = []
    for name, (text, origin) in draft.variables.items():
        wrong = read_sysconfig(assignment(name, text), file="sysconfig").problems
        if wrong:
            lacks.append(Lack(line=origin.line, name=origin.name, why=wrong[0].message))
        else:
            variables.append((name, text))
    return Import(
        tool=tool,
        conf=conf,
        variables=tuple(variables),
        # What is to be deleted was counted for a target that this is not.
        keys=tuple(draft.keys.items()) if saves_there else (),
        lacks=tuple(sorted(lacks, key=lambda lack: lack.line)),
        saves_there=saves_there,
        is_clear=draft.is_clear,
        warnings=read(conf, file="kdump.conf").problems if saves_there else (),  # else none is written
    )


def assignment(name: str, text: str) -> str:
    """A line of a sysconfig file that sets `name` to `text`."""
    return f"{name}={shlex.quote(text)}\n"


def with_variables(text: str, variables: tuple[tuple[str, str], ...]) -> str:
    """A sysconfig file's text that sets these too: the last assignment of a name counts."""
    set_now = {each.name: each.value for each in assignments(text)[0]}
    added = "".join(assignment(name, value) for name, value in variables if set_now.get(name) != value)
    return text + ("\n" if added and text and not text.endswith("\n") else "") + added


def with_keys(text: str, keys: tuple[tuple[str, int | str], ...]) -> str:
    """A kdumpd.toml's text with these settings: in the place of the line that sets one, else before any other.

    Its keys are all of the top level, so that what stands first is never part of a table.
    """
    for key, wanted in keys:
        setting = re.compile(rf"^[ \t]*{re.escape(key)}[ \t]*=.*(?:\n|\Z)", re.MULTILINE)
        found, line = setting.search(text), toml_line(key, wanted)
        text = line + text if found is None else text[: found.start()] + line + text[found.end() :]
    return text


def toml_line(key: str, wanted: int | str) -> str:
    """A line of kdumpd.toml; a basic string of TOML is spelled as JSON spells it, paths being printable."""
    if isinstance(wanted, int):
        return f"{key} = {wanted}\n"
    escaped = wanted.replace("\\", "\\\\").replace('"', '\\"')
    return f'{key} = "{escaped}"\n'


def _refused(problem: Problem, by: Assignment | None, directive: str) -> Lack:
    why = f"{problem.message}" + (f"; {problem.hint}" if problem.hint else "")
    return Lack(line=by.line if by else 0, name=by.name if by else directive, why=printable(why))


def _unread(problem: Problem) -> Lack:
    return Lack(line=problem.line, name=printable(problem.key), why=printable(problem.message))
