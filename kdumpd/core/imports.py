"""Reads the configuration of another tool as data, tells whose it is, and makes of it what kdumpd reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from kdumpd.core import import_debian, import_opensuse, sysconfig, tuning
from kdumpd.core.import_draft import Given, Import, Tool, assembled, with_keys, with_variables
from kdumpd.core.located import KDUMP_CONF
from kdumpd.core.problems import Problem, Trouble

FILES = (KDUMP_CONF, tuning.FILE, *sysconfig.FILES)
BACKUP = ".before-import"
_ONLY_OF_OPENSUSE = frozenset(import_opensuse.READERS) - frozenset(
    (*import_debian.READERS, *sysconfig.VARIABLES)
)
"""Without those that the sysconfig file of kdump-utils, and so ours, has under the same name."""
_ONLY_OF_DEBIAN = frozenset(import_debian.READERS) - frozenset(import_opensuse.READERS)


def imported(text: str, *, file: str, architecture: str, tool: Tool | None = None) -> Import:
    """Of the tool that is named, or else that the variables are of. Nothing is ever executed.

    A line that only a shell could make something of is among the lacks. Raises Trouble, `unknown-tool`, where nothing
    tells whose file it is.
    """
    found, problems = sysconfig.assignments(text)
    given: Given = MappingProxyType({each.name: each for each in found})
    whose = tool or _told(given)
    if whose is None:
        raise Trouble(
            Problem(
                code="unknown-tool",
                message="nothing in it tells whether it is of kdump-tools or of openSUSE's kdump",
                hint="say which with --from kdump-tools or --from opensuse",
                file=file,
            )
        )
    read = import_debian.read if whose is Tool.KDUMP_TOOLS else import_opensuse.read
    draft = read(given, architecture=architecture)
    return assembled(whose, draft, file=file, problems=tuple(problems))


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


def changes(found: Import, present: Mapping[str, str]) -> tuple[Change, ...]:
    """The files to write, kdump.conf last, when all else is as it should be; what stood in it is kept beside it.

    `present` are the texts of those of FILES that are there.
    """
    first, other = sysconfig.FILES
    variables = first if first in present and found.tool is not Tool.OPENSUSE else other
    after = {
        variables: with_variables(present.get(variables, ""), found.variables),
        tuning.FILE: with_keys(present.get(tuning.FILE, ""), found.keys),
    }
    conf, before = found.conf.render(), present.get(KDUMP_CONF, "")
    if before not in {"", conf}:
        after[KDUMP_CONF + BACKUP] = before
    after[KDUMP_CONF] = conf
    return tuple(Change(path, text) for path, text in after.items() if text != present.get(path, ""))


def _told(given: Given) -> Tool | None:
    """By the variables that only one of them has."""
    of_opensuse = len(_ONLY_OF_OPENSUSE & given.keys())
    of_debian = len(_ONLY_OF_DEBIAN & given.keys())
    if of_opensuse == of_debian:
        return None
    return Tool.OPENSUSE if of_opensuse > of_debian else Tool.KDUMP_TOOLS
