"""Reads the configuration of another tool as data, tells whose it is, and makes of it what kdumpd reads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from kdumpd.core import import_debian, import_opensuse, sysconfig, tuning
from kdumpd.core.import_draft import Given, Import, Tool, assembled, with_keys, with_variables
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.sysconfig import Assignment, Unread

FILES = (KDUMP_CONF, tuning.FILE, *sysconfig.FILES)
BACKUP = f"{KDUMP_CONF}.before-import"
_ONLY_OF_OPENSUSE = frozenset(import_opensuse.READERS) - frozenset(
    (*import_debian.READERS, *sysconfig.VARIABLES)
)
"""Without those that the sysconfig file of kdump-utils, and so ours, has under the same name."""
_SOURCED = r"(?:^|[\s;&|({])(?:\.|source|eval)\s"
_USED = re.compile(r"\$\{?([A-Za-z_]\w*)")
_EXPORT = re.compile(r"\s*export(?:\s+\w+)+\s*")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_AT_A_COMMAND = r"(?:^|[;&|({]|\b(?:then|do|else)\b)\s*"
_OPENS = re.compile(rf"{_AT_A_COMMAND}(?:if|case|for|while|until|select|return|exit)\b|<<", re.MULTILINE)
"""What a here-document holds is no assignment, and what follows `return` or `exit` is not always reached."""
_OPENS_A_GROUP = re.compile(r"(?:^|[\s;&|)])\{(?=\s|$)", re.MULTILINE)
_CLOSES = re.compile(r"(?:^|[;&])\s*(?:fi|esac|done|\})(?=[\s;&|)]|$)", re.MULTILINE)
_CLOSES_A_SUBSHELL = re.compile(r"(?:^|[;&])\s*\)", re.MULTILINE)
_GOES_ON = re.compile(r"(?:&&|\||\(|\\)\s*(?:#.*)?$")
"""What follows is a part of the same command, and so happens in some case only."""
_ONLY_OF_DEBIAN = frozenset(import_debian.READERS) - frozenset(import_opensuse.READERS)


def imported(text: str, *, file: str, architecture: str, tool: Tool | None = None) -> Import:
    """Of the tool that is named, or else that the variables are of. Nothing is ever executed.

    What only a shell could make something of is among the lacks; where it may say where dumps go, that is not clear.
    Raises Trouble, `unknown-tool`, where nothing tells whose file it is.
    """
    found, unread = sysconfig.assignments(text)
    problems = tuple(each.problem for each in unread)
    given: Given = MappingProxyType({each.name: each for each in found})
    whose = tool or _told(given.keys() | {problem.key for problem in problems})
    if whose is None:
        raise Trouble(
            Problem(
                code="unknown-tool",
                message="nothing in it tells whether it is of kdump-tools or of openSUSE's kdump",
                hint="say which with --from kdump-tools or --from opensuse",
                file=file,
            )
        )
    of_tool = import_debian if whose is Tool.KDUMP_TOOLS else import_opensuse
    draft = of_tool.read(given, architecture=architecture, used=_used(text))
    if _is_doubtful(of_tool.say_where(given), found, unread):
        draft.saves_there = draft.is_clear = False
    return assembled(whose, draft, file=file, problems=problems)


class Change(NamedTuple):
    """A file's text as it is to be."""

    path: str
    text: str


def beside(found: Import, *, file: str) -> Import:
    """For a machine whose own /etc/sysconfig/kdump was imported: that stays as it is, and kdumpd reads another.

    Some of its variables mean another thing to kdumpd, which would read it first.
    """
    if found.tool is not Tool.OPENSUSE or file != sysconfig.FILES[0]:
        return found
    return replace(found, keys=(*found.keys, ("sysconfig_file", sysconfig.FILES[1])))


def named_sysconfig(text: str) -> str:
    """The sysconfig file that the text of kdumpd.toml names; "" where it names none, or is wrong."""
    own = tuning.read(text, file=tuning.FILE).tuning
    return own.sysconfig_file if own is not None else ""


def changes(
    found: Import, present: Mapping[str, str], *, backups: Collection[str] = ()
) -> tuple[Change, ...]:
    """The files to write, kdump.conf last, when all else is as it should be; what stood in it is kept beside it.

    `present` are the texts of those of FILES that are there, and of the sysconfig file that kdumpd.toml names;
    `backups` are the paths that begin with BACKUP and are taken.
    """
    first, other = sysconfig.FILES
    own = present.get(tuning.FILE, "")
    keys, variables = found.keys, str(dict(found.keys).get("sysconfig_file", "")) or named_sysconfig(own)
    if not variables and _is_of_opensuse(present.get(first, "")):
        keys, variables = (*keys, ("sysconfig_file", other)), other
    elif not variables:
        variables = first if first in present else other
    after = {
        variables: with_variables(present.get(variables, ""), found.variables),
        tuning.FILE: with_keys(own, keys),
    }
    conf, before = found.conf.render(), present.get(KDUMP_CONF, "")
    if before not in {"", conf}:
        after[_free(backups)] = before
    after[KDUMP_CONF] = conf
    return tuple(Change(path, text) for path, text in after.items() if text != present.get(path, ""))


def _free(taken: Collection[str]) -> str:
    """The first import's is the administrator's own kdump.conf, and no later one may take its place."""
    numbered = (f"{BACKUP}-{number}" for number in range(2, len(taken) + 3))
    return next(path for path in (BACKUP, *numbered) if path not in taken)


def _is_of_opensuse(text: str) -> bool:
    return _told({each.name for each in sysconfig.assignments(text)[0]}) is Tool.OPENSUSE


def _is_doubtful(names: Iterable[str], found: Sequence[Assignment], unread: Sequence[Unread]) -> bool:
    """Whether a shell may have made of one of them, or of what it was made of, something else than is `found`."""
    looked_up = [(name, len(found)) for name in names]
    for name, end in looked_up:
        at = next((at for at in reversed(range(end)) if found[at].name == name), -1)
        set_at = found[at].line if at >= 0 else 0
        is_touched = re.compile(rf"\b{name}\b|{_SOURCED}", re.MULTILINE).search
        after = (each.text for each in unread if each.problem.line >= set_at)
        if any(is_touched(text) and not _EXPORT.fullmatch(text) for text in after):
            return True
        if _is_in_some_case([each.text for each in unread if each.problem.line < set_at]):
            return True
        if at >= 0:
            looked_up += ((used, at) for used in found[at].uses if (used, at) not in looked_up)
    return False


def _is_in_some_case(before: Sequence[str]) -> bool:
    """Whether what follows these commands only happens in some case."""
    depth = 0
    for text in (_COMMENT.sub("", each) for each in before):
        subshells = text.count("(") - text.count(")")
        depth += len(_OPENS.findall(text)) + len(_OPENS_A_GROUP.findall(text)) + max(subshells, 0)
        depth -= len(_CLOSES.findall(text)) + (subshells < 0 and bool(_CLOSES_A_SUBSHELL.search(text)))
        depth = max(depth, 0)
    return depth > 0 or (bool(before) and bool(_GOES_ON.search(before[-1])))


def _used(text: str) -> frozenset[str]:
    """The names of variables whose values are put in somewhere."""
    lines = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
    return frozenset(name for line in lines for name in _USED.findall(line))


def _told(names: AbstractSet[str]) -> Tool | None:
    """By the variables that only one of them has."""
    of_opensuse = len(_ONLY_OF_OPENSUSE & names)
    of_debian = len(_ONLY_OF_DEBIAN & names)
    if of_opensuse == of_debian:
        return None
    return Tool.OPENSUSE if of_opensuse > of_debian else Tool.KDUMP_TOOLS
